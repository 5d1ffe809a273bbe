"""Two films aligned, and their likeness: how much of them shows the same fine structure.

Matching SIFT features give a first map. Twice, points of the fixed film are followed to a fraction of a pixel on the
moved one by optical flow, and an affine map is fitted to where they went. The likeness is the share of points around
which the films, laid over each other, correlate.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.films.copies.glances import SIDE_OF_GLANCE, Glance, changed_glance, glance_likeness, make_glance
from osteon.films.copies.keypoints import CHANGES, SIDE, Change, Features, changed, find_features, local_contrast
from osteon.films.reading.film import Film, Fit, fit_into_square, letterbox

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Frame = tuple[float, float, float, float]  # left, top, right, bottom

MATCH_WITHIN, FLOW_WITHIN = 4.0, 1.0  # pixels; how far a map may miss a matched feature, a followed point
POINTS, POINT_QUALITY, POINT_DISTANCE = 150, 0.003, 6
# Standard deviations of the band-pass, pixels; finer is noise, and in what is coarser bones of one kind are alike.
FINEST, COARSEST = 1.0, 4.0
PATCH = 8  # pixels around a point that are compared
MIN_CORRELATION = 0.85  # of two patches that count as alike
MIN_VARIANCE = 0.5  # squared grey levels; leaves what rounding to 8 bits makes without weight
MAX_WEIGHT = 6.0  # grey levels of fine structure from which a patch counts fully; noise counts for little
EDGE = 10  # pixels; what is nearer to a film's edge is not compared
FEWEST_POINTS = 12
MIN_OVERLAP = 0.5  # share of the smaller film that must lie on the other: one plate or marker in two films is little
EVEN = 8  # grey levels by which a row or column of a border may vary
LEAST_LEFT, MOST_LEFT = 0.15, 0.9  # of a film's longer side, for its border to be taken off
UNLIKE = 0.55  # likeness at a glance below which two films are not aligned; hardly a copy has less
HOPELESS, CERTAIN = 0.3, 0.9  # scores after the first refinement, below and above which no second is made
FLOW_ENDS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03)  # steps for a point; pixels of the last one
SMALLEST, LARGEST = 1 / 3, 3.0  # size of a copy, beside its film's


class Alignment(NamedTuple):
    """How one film lies on another, and how alike they are there.

    score: likeness, 0 … 1. mirrored, inverted: whether the first film was mirrored, and made its negative, before
    `matrix` (2 × 3, positions on the first film's square to positions on the second's) was applied.
    """

    score: float
    mirrored: bool
    inverted: bool
    matrix: Floats

    @property
    def rotation(self) -> float:
        """Degrees, clockwise as seen."""
        return float(np.rad2deg(np.arctan2(self.matrix[1, 0], self.matrix[0, 0])))

    @property
    def scale(self) -> float:
        """Size on the second film beside that on the first."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    @property
    def shift(self) -> tuple[float, float]:
        """How far the middle goes to the right and down, share of the square's side."""
        middle = np.full(2, (SIDE - 1) / 2)
        x, y = (self.matrix[:, :2] @ middle + self.matrix[:, 2] - middle) / SIDE
        return float(x), float(y)


class Squares(Protocol):
    """Films fitted into squares: an array, or a file that is read like one."""

    def __getitem__(self, film: int, /) -> Pixels: ...


class Appearance(NamedTuple):
    """What aligning a film needs of its pixels.

    lit: evenly lit, SIDE × SIDE. fine: the film without noise and coarse structure, grey levels, SIDE × SIDE. white:
    where it is as white as can be, 255, else 0, SIDE × SIDE. points: n × 2, x and y, that can be followed. frame: left,
    top, right, bottom of the film in its square, without its edge.
    """

    lit: Pixels
    fine: NDArray[np.float16]
    white: Pixels
    points: NDArray[np.float32]
    frame: Frame

    def changed(self, change: Change) -> "Appearance":
        """The same of the mirror image, left for right, of the negative, or of both.

        What was as white as can be has nothing to compare on the negative either, where it is black.
        """
        look = self._mirrored() if change.mirrored else self
        return look._replace(lit=cv2.bitwise_not(look.lit), fine=-look.fine) if change.inverted else look

    def _mirrored(self) -> "Appearance":
        last = len(self.lit) - 1
        left, top, right, bottom = self.frame
        return Appearance(
            np.ascontiguousarray(self.lit[:, ::-1]),
            self.fine[:, ::-1],
            np.ascontiguousarray(self.white[:, ::-1]),
            np.column_stack([last - self.points[:, 0], self.points[:, 1]]).astype(np.float32),
            (last - right, top, last - left, bottom),
        )


class Trimmed(NamedTuple):
    """A film that fills its square, without the even border that a screenshot or a canvas has.

    square: SIDE × SIDE. frame: left, top, right, bottom of the film in it. fit: position here = position on the film's
    square × factor + (left, top).
    """

    square: Pixels
    frame: Frame
    fit: Fit

    def placed(self, *, mirrored: bool) -> Floats:
        """`fit` as a matrix, 3 × 3; of the mirror image, where wanted."""
        factor, left, top = self.fit.factor, self.fit.left, self.fit.top
        if mirrored:
            left = (SIDE - 1) * (1 - factor) - left
        return np.array([[factor, 0, left], [0, factor, top], [0, 0, 1]], np.float64)


class FilmStack:
    """Films as squares, read when they are needed, and what aligning them needs of each."""

    def __init__(self, squares: Squares, sizes: Sequence[tuple[int, int]]) -> None:
        """Take films by their numbers.

        Args:
            squares: squares[n] is a film fitted into a square of any one size, as letterbox does it, uint8.
            sizes: width and height of each before.

        """
        self.squares, self.sizes = squares, sizes
        # An appearance takes 260 kB.
        self.trimmed = lru_cache(maxsize=256)(self._trimmed)
        self.appearance = lru_cache(maxsize=512)(self._appearance)
        self.glance = lru_cache(maxsize=4096)(self._glance)

    def read(self, film: int) -> Pixels:
        """A film as a square of SIDE pixels, border and all."""
        square = np.asarray(self.squares[film])
        if len(square) == SIDE:
            return square
        how = cv2.INTER_AREA if len(square) > SIDE else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=how), np.uint8)

    def _trimmed(self, film: int) -> Trimmed:
        """A film without its border, if that makes it larger by a tenth or more: a film enlarged loses sharpness."""
        square, (width, height) = self.read(film), self.sizes[film]
        fit = fit_into_square(width, height, SIDE)
        left, top = int(fit.left), int(fit.top)
        shown = square[top : top + max(1, round(height * fit.factor)), left : left + max(1, round(width * fit.factor))]
        rows, columns = (_varied(shown, axis) for axis in (1, 0))
        inside = shown[rows, columns]
        if not LEAST_LEFT <= max(inside.shape) / max(shown.shape) <= MOST_LEFT:
            return Trimmed(square, _frame(width, height), Fit(1.0, 0.0, 0.0))
        height, width = inside.shape
        fit = fit_into_square(width, height, SIDE)
        half = fit.factor / 2 - 0.5
        return Trimmed(
            letterbox(Film(np.ascontiguousarray(inside), 0.0, 255.0, 8), SIDE),
            _frame(width, height),
            Fit(
                fit.factor,
                fit.left + half - (left + columns.start) * fit.factor,
                fit.top + half - (top + rows.start) * fit.factor,
            ),
        )

    def _appearance(self, film: int) -> Appearance:
        square, frame, _ = self.trimmed(film)
        lit = local_contrast(square)
        points = cv2.goodFeaturesToTrack(cv2.GaussianBlur(lit, (0, 0), 1), POINTS, POINT_QUALITY, POINT_DISTANCE)
        grey = square.astype(np.float32)
        return Appearance(
            lit,
            (cv2.GaussianBlur(grey, (0, 0), FINEST) - cv2.GaussianBlur(grey, (0, 0), COARSEST)).astype(np.float16),
            np.where(square == 255, square, np.uint8(0)),
            np.zeros((0, 2), np.float32) if points is None else points.reshape(-1, 2),
            frame,
        )

    def _glance(self, film: int) -> Glance:
        square, frame, _ = self.trimmed(film)
        return make_glance(square, frame)


def _varied(film: Pixels, axis: int) -> slice:
    """From the first row (axis 1) or column (axis 0) that is not of one grey to the last; nothing, where none is."""
    varied = np.flatnonzero(film.max(axis=axis) - film.min(axis=axis) > EVEN)
    return slice(int(varied[0]), int(varied[-1]) + 1) if len(varied) else slice(0)


def _frame(width: int, height: int) -> Frame:
    """Left, top, right, bottom of a film of that size within its square, without what is too near its edge."""
    fit = fit_into_square(width, height, SIDE)
    return (
        fit.left + EDGE,
        fit.top + EDGE,
        fit.left + width * fit.factor - 1 - EDGE,
        fit.top + height * fit.factor - 1 - EDGE,
    )


def best_alignment(films: FilmStack, first: int, second: int) -> Alignment | None:
    """How one film lies on another, changed or not, whichever scores highest; None where too little can be compared."""
    features = [find_features(films.trimmed(film).square) for film in (first, second)]
    each = [align(films, (first, features[0]), (second, features[1]), change) for change in CHANGES]
    return max((alignment for alignment in each if alignment is not None), key=lambda each: each.score, default=None)


def align(
    films: FilmStack, first: tuple[int, Features], second: tuple[int, Features], change: Change
) -> Alignment | None:
    """Lay one film over another and measure their likeness.

    Args:
        films: the films.
        first: number and features of the film that is moved over …
        second: … this one.
        change: what is done to the first before.

    Returns:
        None where no map fits, the films are unlike at a glance, or too few points lie on both.

    """
    matrix = _match_features(changed(first[1], change, SIDE), second[1])
    if matrix is None:
        return None
    if _unlike(films.glance(first[0]), films.glance(second[0]), change, matrix):
        return None
    moving, fixed = films.appearance(first[0]).changed(change), films.appearance(second[0])
    best = None
    for _ in range(2):
        refined = _refine(moving, fixed, matrix)
        if refined is None:
            break
        matrix, score = refined, likeness(moving, fixed, refined)
        if score is None:
            break
        if best is None or score > best.score:
            best = Alignment(score, *change, matrix)
        if score < HOPELESS or score > CERTAIN:
            break
    if best is None:
        return None
    before, after = (
        films.trimmed(first[0]).placed(mirrored=change.mirrored),
        films.trimmed(second[0]).placed(mirrored=False),
    )
    laid = np.linalg.inv(after) @ np.vstack([best.matrix, [0, 0, 1]]) @ before
    return best._replace(matrix=laid[:2])


def _unlike(moving: Glance, fixed: Glance, change: Change, matrix: Floats) -> bool:
    """Whether a glance is enough to see that two films are no copies."""
    half = (SIDE / SIDE_OF_GLANCE - 1) / 2  # pixels of the square between a glance's first pixel and the square's
    small = matrix.copy()
    small[:, 2] = (matrix[:, :2] @ (half, half) + matrix[:, 2] - half) * SIDE_OF_GLANCE / SIDE
    made = changed_glance(moving, mirrored=change.mirrored, inverted=change.inverted)
    return glance_likeness(made, fixed, small) < UNLIKE


def _match_features(first: Features, second: Features) -> Floats | None:
    """The turn, size and shift that most pairs of mutually nearest features agree on."""
    if min(len(first.places), len(second.places)) < 3:
        return None
    left, right = (features.descriptors.astype(np.float32) for features in (first, second))
    similarity = left @ right.T
    best = similarity.argmax(axis=1)
    mutual = similarity.argmax(axis=0)[best] == np.arange(len(left))
    rows = np.flatnonzero(mutual & (similarity[np.arange(len(left)), best] > 0.75 * 512**2))
    return _fit_map(first.places[rows, :2], second.places[best[rows], :2], MATCH_WITHIN, affine=False)


def _refine(moving: Appearance, fixed: Appearance, matrix: Floats) -> Floats | None:
    """A better map: the fixed film's points followed on the moved film by optical flow (Lucas–Kanade)."""
    moved, inverse = _warp(moving.lit, matrix, beyond=128), cv2.invertAffineTransform(matrix)
    points = _points_on_both(fixed.points, fixed.frame, inverse, moving.frame)
    if len(points) < FEWEST_POINTS:
        return None
    arrived, status, _ = cv2.calcOpticalFlowPyrLK(
        fixed.lit, moved, points.reshape(-1, 1, 2), None, winSize=(15, 15), maxLevel=2, criteria=FLOW_ENDS
    )
    kept = status.ravel() == 1
    return _fit_map(_transform(arrived.reshape(-1, 2)[kept], inverse), points[kept], FLOW_WITHIN, affine=True)


def likeness(moving: Appearance, fixed: Appearance, matrix: Floats) -> float | None:
    """Share of the patches around both films' points that correlate, weighted by the fine structure on either film.

    A patch's weight is the larger of its two standard deviations, between √MIN_VARIANCE and MAX_WEIGHT. Where one film
    is burnt out, by brightening or beside a turned film, nothing can be compared: it has no weight.

    Args:
        moving: the film that is moved.
        fixed: the film it is laid over.
        matrix: 2 × 3, positions on the moving film's square to positions on the fixed one's.

    Returns:
        0 … 1; None where too little of either lies on the other, or too few points on both.

    """
    if _overlap(moving.frame, fixed.frame, matrix) < MIN_OVERLAP:
        return None
    inverse = cv2.invertAffineTransform(matrix)
    fixed_points = _points_on_both(fixed.points, fixed.frame, inverse, moving.frame)
    moving_points = _transform(_points_on_both(moving.points, moving.frame, matrix, fixed.frame), matrix)
    points = np.concatenate([fixed_points, moving_points])
    if len(points) < FEWEST_POINTS:
        return None
    left, right = _warp(moving.fine.astype(np.float32), matrix, beyond=0), fixed.fine.astype(np.float32)
    white = np.maximum(_warp(moving.white, matrix, beyond=0), fixed.white).astype(np.float32) / 255
    x, y = np.rint(points).astype(int).T

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.boxFilter(values, -1, (2 * PATCH + 1, 2 * PATCH + 1))[y, x])

    mean_left, mean_right = mean(left), mean(right)
    variance_left = np.maximum(mean(left * left) - mean_left**2, MIN_VARIANCE)
    variance_right = np.maximum(mean(right * right) - mean_right**2, MIN_VARIANCE)
    correlation = (mean(left * right) - mean_left * mean_right) / np.sqrt(variance_left * variance_right)
    comparable = np.clip(1 - mean(white), 0, 1)
    if comparable.sum() < FEWEST_POINTS:
        return None
    weight = np.minimum(np.sqrt(np.maximum(variance_left, variance_right)), MAX_WEIGHT) * comparable
    return float(weight[correlation > MIN_CORRELATION].sum() / weight.sum())


# ---------------------------------------------------------------- maps, points and frames


def _fit_map(
    source: NDArray[np.floating], target: NDArray[np.floating], within: float, *, affine: bool
) -> Floats | None:
    """The map from `source` to `target` (n × 2 each) that most points agree on within some pixels (RANSAC)."""
    if len(source) < 3:
        return None
    cv2.setRNGSeed(0)
    estimate = cv2.estimateAffine2D if affine else cv2.estimateAffinePartial2D
    matrix, _ = estimate(
        source.astype(np.float64), target.astype(np.float64), ransacReprojThreshold=within, maxIters=1000
    )
    if matrix is None or not SMALLEST < np.sqrt(abs(np.linalg.det(matrix[:, :2]))) < LARGEST:
        return None
    return np.asarray(matrix, np.float64)


def _warp(film: NDArray[Any], matrix: Floats, *, beyond: int) -> NDArray[Any]:
    """A square film under an affine map; `beyond` is the value of what lies outside it."""
    return np.asarray(cv2.warpAffine(film, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderValue=beyond))


def _transform(points: NDArray[np.floating], matrix: Floats) -> NDArray[np.float32]:
    transformed: NDArray[np.float32] = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return transformed


def _points_on_both(
    points: NDArray[np.float32],
    frame: Frame,
    matrix: Floats,
    other: Frame,
) -> NDArray[np.float32]:
    """The points that lie within one film's frame and, moved, within the other's."""
    return points[_inside(points, frame) & _inside(_transform(points, matrix), other)]


def _overlap(moving: Frame, fixed: Frame, matrix: Floats) -> float:
    """Area that a film, moved, shares with another, as a share of the smaller of the two."""
    moved, still = _transform(_corners(moving), matrix), _corners(fixed)
    areas = [cv2.contourArea(corners) for corners in (moved, still)]
    return float(cv2.intersectConvexConvex(moved, still)[0] / max(min(areas), 1.0))


def _corners(frame: Frame) -> NDArray[np.float32]:
    left, top, right, bottom = frame
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)


def _inside(points: NDArray[np.floating], frame: Frame) -> NDArray[np.bool_]:
    left, top, right, bottom = frame
    inside: NDArray[np.bool_] = (
        (points[:, 0] >= left) & (points[:, 1] >= top) & (points[:, 0] <= right) & (points[:, 1] <= bottom)
    )
    return inside
