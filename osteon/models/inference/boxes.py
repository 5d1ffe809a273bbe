"""From a network's map to boxes with scores, in pixels of the square and of the film."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from osteon.films.manifest import Box
from osteon.films.reading.film import fit_into_square
from osteon.models.inference.predict import map_probabilities
from osteon.statistics.detection import mark_films
from osteon.statistics.estimate import Floats

FINER = 4  # times as many cells each way, interpolated: most breaks are no larger than a cell
LEAST = 0.01  # probability of a cell below which no box begins
MOST = 10  # boxes of a film
SAME = 0.3  # IoU above which two boxes are of one place, and the better one stays
DEPTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
FALSE_MARKS = 0.5  # false marks a film, out of fold, up to which boxes are shown
CERTAIN = 1e-9  # a probability's distance from 0 and 1, so that it has a logit


class BoxRule(BaseModel):
    """How a model's map becomes boxes, chosen on the maps of held-out films.

    depth: cells belong to a box down to so many logits below its highest. threshold: score from which it is shown.
    films, lesions, average_precision: what it was chosen on, and the average precision there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: float
    threshold: float
    films: int
    lesions: int
    average_precision: float


def boxes_of_map(heat: Floats, depth: float, side: int, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Boxes in pixels of the square, n × 4 (x, y, width, height), and their scores, highest first; at most MOST.

    The map's logits are interpolated to FINER cells. A box is around the connected cells (of 8 neighbours) that are at
    most a depth below the highest of them, whose probability is the box's score. A place from which a higher one is
    reached is no box of its own. Of two boxes with an IoU above SAME the better one stays (non-maximum suppression).
    Boxes are cut at the film's edge.

    Args:
        heat: map of a film, h × w, 0 … 1.
        depth: logits; of odds it is a factor, so it is the same place whatever share of cells was positive in training.
        side: of the square, pixels.
        size: width and height of the film before it was fitted into the square.

    """
    values = _finer_logits(heat)
    cell = side / values.shape[1]
    boxes, peaks = [], []
    taken = np.zeros(values.shape, bool)
    for row, column in _peaks(values):
        peak = values[row, column]
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            (values >= peak - depth).astype(np.uint8), connectivity=8
        )
        number = labels[row, column]
        cells = labels == number
        if taken[cells].any() or values[cells].max() > peak:
            continue
        taken |= cells
        boxes.append(stats[number, :4] * cell)  # left, top, width, height
        peaks.append(float(peak))
    if not boxes:
        return np.zeros((0, 4)), np.zeros(0)
    cut, scores = _cut_at_film(np.array(boxes), side, size), map_probabilities(np.array(peaks))
    kept = np.flatnonzero((cut[:, 2:] >= 1).all(axis=1))
    chosen = cv2.dnn.NMSBoxes(cut[kept].tolist(), scores[kept].tolist(), 0.0, SAME)
    kept = kept[np.asarray(chosen, np.int64).reshape(-1)][:MOST]
    return cut[kept], scores[kept]


def on_film(boxes: Floats, side: int, size: tuple[int, int], stretch: tuple[float, float] = (1.0, 1.0)) -> Floats:
    """Boxes in pixels of the film's file, as manifests have them, from boxes in pixels of the square.

    Args:
        boxes: n × 4.
        side: of the square.
        size: width and height of the film before it was fitted into the square.
        stretch: of the film, whose pixels may not be square (osteon.films.reading.film.Film).

    """
    fit = fit_into_square(*size, side)
    across, down = stretch[0] * fit.factor, stretch[1] * fit.factor
    return (boxes - [fit.left, fit.top, 0, 0]) / [across, down, across, down]


def choose_rule(
    logits: NDArray[np.floating], lesions: Sequence[Sequence[Box]], sizes: Sequence[tuple[int, int]], side: int
) -> BoxRule:
    """The depth with the highest average precision on held-out films, and the score from which to show boxes.

    Args:
        logits: maps, films × h × w, of films that no network behind them was trained on.
        lesions: of each film its true boxes, in pixels of the square; none on a film without the finding. At least
            one film has some.
        sizes: width and height of each film before it was fitted into the square.
        side: of the square.

    """
    every = np.ones((1, len(logits)))
    true = [as_array(boxes) for boxes in lesions]
    of_depths = []
    for depth in DEPTHS:
        predicted = [
            boxes_of_map(map_probabilities(values.astype(np.float64)), depth, side, size)
            for values, size in zip(logits, sizes, strict=True)
        ]
        marks = mark_films(predicted, true)
        of_depths.append((float(marks.average_precision(every)[0]), depth, marks))
    figure, depth, marks = max(of_depths, key=lambda entry: entry[0])  # the first of equals
    false = np.sort(marks.scores[~marks.hit])[::-1]
    most = int(FALSE_MARKS * len(logits))
    return BoxRule(
        depth=depth,
        # Above the first false mark that is too many.
        threshold=float(np.nextafter(false[most], 1)) if len(false) > most else LEAST,
        films=len(logits),
        lesions=len(marks.lesion_film),
        average_precision=figure,
    )


def as_array(boxes: Sequence[Box]) -> Floats:
    """Boxes as n × 4 numbers."""
    return np.array(boxes, np.float64).reshape(-1, 4)


def _finer_logits(heat: Floats) -> Floats:
    certain = np.clip(heat, CERTAIN, 1 - CERTAIN)
    size = (heat.shape[1] * FINER, heat.shape[0] * FINER)
    return np.asarray(cv2.resize(np.log(certain / (1 - certain)), size, interpolation=cv2.INTER_LINEAR))


def _peaks(logits: Floats) -> list[tuple[int, int]]:
    """Cells with a probability of LEAST or more that no neighbour exceeds, as (row, column), highest first."""
    highest = cv2.dilate(logits, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((logits >= highest) & (logits >= np.log(LEAST / (1 - LEAST))))
    order = np.argsort(-logits[rows, columns], kind="stable")
    return [(int(rows[number]), int(columns[number])) for number in order]


def _cut_at_film(boxes: Floats, side: int, size: tuple[int, int]) -> Floats:
    fit = fit_into_square(*size, side)
    shown = [max(1, round(length * fit.factor)) for length in size]
    low, high = np.array([fit.left, fit.top]), np.array([fit.left + shown[0], fit.top + shown[1]])
    first = np.clip(boxes[:, :2], low, high)
    last = np.clip(boxes[:, :2] + boxes[:, 2:], low, high)
    return np.concatenate([first, last - first], axis=1)
