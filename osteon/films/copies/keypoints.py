"""What is particular about a film's pixels: places that can be found again on a turned, mirrored or cropped copy."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

cv2.setNumThreads(1)

SIDE = 256  # pixels; all films are compared at this size, whatever theirs is
FEATURES_SIDE = 160  # pixels at which features are looked for: half the time of 256; at 128 more copies are missed
MOST_FEATURES = 96  # of a film
DESCRIPTOR = 128  # values of one feature
LOCAL, GAIN = 12.0, 40.0  # of the local contrast: pixels of SIDE, grey levels a standard deviation
COARSER = 4  # times smaller, where surroundings are averaged
FLOOR = 6.0  # grey levels that a standard deviation is raised by
CONTRAST, EDGE = 0.01, 20  # thresholds of the detector; laxer than usual, for soft films

# A mirror image (left for right) has its features' descriptors upside down, and angles the other way round. On a
# negative every gradient, and so a feature's direction, points the other way: the descriptor is turned by half a turn.
_CELLS = np.arange(DESCRIPTOR).reshape(4, 4, 8)
_MIRRORED, _INVERTED = _CELLS[::-1, :, -np.arange(8) % 8].ravel(), _CELLS[::-1, ::-1].ravel()
# By these two sums of its squared values a descriptor gets its one form: gradients to the right of the feature's
# direction against those to its left, and the part before the feature against that behind it.
_SIGNS = np.stack(
    [
        np.broadcast_to(np.sin(np.arange(8) * np.pi / 4), (4, 4, 8)).ravel(),
        np.broadcast_to(np.array([1, 1, -1, -1])[:, None], (4, 4, 8)).ravel(),
    ],
    axis=1,
).astype(np.float32)


class Change(NamedTuple):
    """What a copy's grey levels underwent beside a turn, a shift and a change of size."""

    mirrored: bool
    inverted: bool


CHANGES = tuple(Change(mirrored, inverted) for inverted in (False, True) for mirrored in (False, True))


class Features(NamedTuple):
    """A film's strongest features, n ≤ MOST_FEATURES.

    places: n × 4, float32: x, y, direction (degrees), size (pixels). descriptors: n × 128, uint8.
    """

    places: NDArray[np.float32]
    descriptors: NDArray[np.uint8]


def local_contrast(film: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A film evenly lit: each place by its difference from its surroundings' mean, in their standard deviations."""
    grey = film.astype(np.float32)
    difference = grey - _surroundings(grey)
    deviation = np.sqrt(_surroundings(difference * difference)) + FLOOR
    lit: NDArray[np.uint8] = np.clip(difference / deviation * GAIN + 128, 0, 255).astype(np.uint8)
    return lit


def _surroundings(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean around each place, by a Gaussian of LOCAL.

    It is blurred at a quarter of the size, where a Gaussian so wide loses nothing and takes less time.
    """
    side = len(values)
    small = cv2.resize(values, (side // COARSER, side // COARSER), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), LOCAL * len(small) / SIDE)
    return np.asarray(cv2.resize(blurred, (side, side), interpolation=cv2.INTER_LINEAR))


def find_features(film: NDArray[np.uint8]) -> Features:
    """SIFT features (Lowe 2004, IJCV 60) with square-rooted descriptors (Arandjelović & Zisserman 2012, CVPR).

    Args:
        film: a square, side × side; places are in its pixels.

    """
    detector = cv2.SIFT.create(
        MOST_FEATURES,
        contrastThreshold=CONTRAST,
        edgeThreshold=EDGE,
        enable_precise_upscale=True,  # else all places are a quarter of a pixel off, and a mirror image's the other way
    )
    small = cv2.resize(film, (FEATURES_SIDE, FEATURES_SIDE), interpolation=cv2.INTER_AREA)
    keypoints, values = detector.detectAndCompute(local_contrast(small), None)
    if not keypoints:
        return Features(np.zeros((0, 4), np.float32), np.zeros((0, DESCRIPTOR), np.uint8))
    places = np.array([(*point.pt, point.angle, point.size) for point in keypoints], np.float32)
    # More than MOST_FEATURES where the last are equally strong; one place may have several directions.
    strength = np.array([point.response for point in keypoints], np.float32)
    strongest = np.lexsort((places[:, 2], places[:, 1], places[:, 0], -strength))[:MOST_FEATURES]
    places, values = places[strongest], values[strongest]
    factor = len(film) / FEATURES_SIDE
    places[:, :2] = (places[:, :2] + 0.5) * factor - 0.5
    places[:, 3] *= factor
    rooted = np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-9))
    return Features(places, np.clip(np.rint(rooted * 512), 0, 255).astype(np.uint8))


def changed(features: Features, change: Change, side: int) -> Features:
    """The features that the mirror image, the negative or both of a square film of `side` pixels has."""
    places, descriptors = changed_places(features.places, *change, side), features.descriptors
    if change.mirrored:
        descriptors = descriptors[:, _MIRRORED]
    if change.inverted:
        descriptors = descriptors[:, _INVERTED]
    return Features(places, descriptors)


def changed_places(
    places: NDArray[np.float32], mirrored: NDArray[np.bool_] | bool, inverted: NDArray[np.bool_] | bool, side: int
) -> NDArray[np.float32]:
    """Where features, n × 4, are on the mirror image or the negative; for all, or by feature."""
    x, y, direction, size = places.T
    x = np.where(mirrored, side - 1 - x, x)
    direction = np.where(mirrored, 180 - direction, direction) + np.where(inverted, 180, 0)
    return np.column_stack([x, y, direction % 360, size]).astype(np.float32)


def one_form(descriptors: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Descriptors that are the same for a film, its mirror image and its negative, and what was done to get them.

    Of the four forms of a feature one is chosen by two signs, each of which one change turns round and the other does
    not: whether more gradients point to the right of the feature's direction than to its left, and whether the part
    before it is richer than that behind it. So one search finds all four kinds of copies.

    Args:
        descriptors: n × 128.

    Returns:
        Descriptors; whether each was mirrored; whether each was inverted.

    """
    values = descriptors.astype(np.float32)
    mirror, invert = (np.square(values, out=values) @ _SIGNS < 0).T
    formed = descriptors.copy()
    for mirrored, inverted in ((True, False), (False, True), (True, True)):
        rows = np.flatnonzero((mirror == mirrored) & (invert == inverted))
        order = _MIRRORED if mirrored else np.arange(DESCRIPTOR)
        formed[rows] = descriptors[rows][:, order[_INVERTED] if inverted else order]
    return formed, mirror, invert
