"""What is particular about a film's pixels: places that can be found again on a turned, mirrored or cropped copy."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

cv2.setNumThreads(1)

SIDE = 256  # pixels; all films are compared at this size, whatever theirs is
MOST_FEATURES = 96  # of a film
DESCRIPTOR = 128  # values of one feature
LOCAL, FLOOR, GAIN = 12.0, 6.0, 40.0  # of the local contrast: pixels, grey levels, grey levels a standard deviation
CONTRAST, EDGE = 0.02, 12  # thresholds of the detector; lower than usual, for soft films
_MIRRORED = np.arange(DESCRIPTOR).reshape(4, 4, 8)[::-1, :, -np.arange(8) % 8].ravel()


class Features(NamedTuple):
    """A film's strongest features, n ≤ MOST_FEATURES.

    places: n × 4, float32: x, y, direction (degrees), size (pixels). descriptors: n × 128, uint8.
    """

    places: NDArray[np.float32]
    descriptors: NDArray[np.uint8]


def local_contrast(film: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A film evenly lit: each place by its difference from its surroundings' mean, in their standard deviations."""
    grey = film.astype(np.float32)
    difference = grey - cv2.GaussianBlur(grey, (0, 0), LOCAL)
    deviation = np.sqrt(cv2.GaussianBlur(difference * difference, (0, 0), LOCAL)) + FLOOR
    lit: NDArray[np.uint8] = np.clip(difference / deviation * GAIN + 128, 0, 255).astype(np.uint8)
    return lit


def find_features(film: NDArray[np.uint8]) -> Features:
    """SIFT features (Lowe 2004, IJCV 60) with square-rooted descriptors (Arandjelović & Zisserman 2012, CVPR).

    Args:
        film: height × width.

    """
    detector = cv2.SIFT.create(MOST_FEATURES, contrastThreshold=CONTRAST, edgeThreshold=EDGE)
    keypoints, values = detector.detectAndCompute(local_contrast(film), None)
    if not keypoints:
        return Features(np.zeros((0, 4), np.float32), np.zeros((0, DESCRIPTOR), np.uint8))
    # More than MOST_FEATURES where the last are equally strong; one place may have several directions.
    order = sorted(
        range(len(keypoints)), key=lambda row: (-keypoints[row].response, keypoints[row].pt, keypoints[row].angle)
    )
    strongest = order[:MOST_FEATURES]
    values = values[strongest]
    places = np.array(
        [(*keypoints[row].pt, keypoints[row].angle, keypoints[row].size) for row in strongest], np.float32
    )
    rooted = np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-9))
    return Features(places, np.clip(np.rint(rooted * 512), 0, 255).astype(np.uint8))


def _strongest_first(keypoint: cv2.KeyPoint) -> tuple[float, Sequence[float], float]:
    return -keypoint.response, keypoint.pt, keypoint.angle


def mirrored(features: Features, side: int) -> Features:
    """The features that the mirror image (left for right) of a square film of `side` pixels has."""
    x, y, direction, size = features.places.T
    places = np.column_stack([side - 1 - x, y, (180 - direction) % 360, size]).astype(np.float32)
    return Features(places, features.descriptors[:, _MIRRORED])
