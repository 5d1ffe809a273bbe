"""From a network's map to boxes with scores, in pixels of the square and of the film."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from osteon.films.manifest import Box
from osteon.films.reading.film import fit_into_square
from osteon.statistics.detection import mark_films
from osteon.statistics.estimate import Floats

LEAST = 0.01  # probability of a cell below which nothing begins
MOST = 10  # boxes of a film
SAME = 0.3  # IoU from which two boxes are of one place, and the better one stays
SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
FALSE_MARKS = 0.5  # false marks a film, out of fold, up to which boxes are shown


class BoxRule(BaseModel):
    """How a model's map becomes boxes, chosen on the maps of held-out films.

    share: cells belong to a box from this share of its highest cell on. threshold: score from which a box is shown.
    films, lesions, average_precision: what it was chosen on, and the average precision there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float
    threshold: float
    films: int
    lesions: int
    average_precision: float


def boxes_of_map(heat: NDArray[np.floating], share: float, side: int, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Boxes in pixels of the square, n × 4 (x, y, width, height), and their scores, highest first; at most MOST.

    A box is around the connected cells (of 8 neighbours) that have at least a share of the highest of them, which is
    the box's score; of boxes with an IoU of SAME or more the best stays (non-maximum suppression). Cells that a true
    box touches are learnt, on average one more than it is long, so a box is half a cell smaller than its cells on
    all sides, and at least a cell wide and high. It is cut at the film's edge.

    Args:
        heat: map of a film, h × w, 0 … 1.
        share: 0 … 1, cells below that share of the highest are outside.
        side: of the square, pixels.
        size: width and height of the film before it was fitted into the square.

    """
    values: Floats = heat.astype(np.float64)
    cell = side / values.shape[1]
    boxes, scores = [], []
    taken = np.zeros(values.shape, bool)
    for row, column in _peaks(values):
        peak = values[row, column]
        # No component begins at a cell from which a higher one is reached.
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            (values >= share * peak).astype(np.uint8), connectivity=8
        )
        number = labels[row, column]
        cells = labels == number
        if taken[cells].any() or values[cells].max() > peak:
            continue
        taken |= cells
        left, top, width, height = (float(value) for value in stats[number, :4])
        middle = np.array([left + width / 2, top + height / 2]) * cell
        extent = np.array([max(width - 1, 1), max(height - 1, 1)]) * cell
        boxes.append(np.concatenate([middle - extent / 2, extent]))
        scores.append(float(peak))
    if not boxes:
        return np.zeros((0, 4)), np.zeros(0)
    cut = _cut_at_film(np.array(boxes), side, size)
    kept = np.flatnonzero((cut[:, 2:] >= 1).all(axis=1))
    chosen = cv2.dnn.NMSBoxes(cut[kept].tolist(), np.array(scores)[kept].tolist(), 0.0, SAME)
    kept = kept[np.asarray(chosen, np.int64).reshape(-1)][:MOST]
    return cut[kept], np.array(scores)[kept]


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
    heats: NDArray[np.floating], lesions: Sequence[Sequence[Box]], sizes: Sequence[tuple[int, int]], side: int
) -> BoxRule:
    """The share with the highest average precision on held-out films, and the score from which to show boxes.

    Args:
        heats: films × h × w, of films that no network behind them was trained on.
        lesions: of each film its true boxes, in pixels of the square; none on a film without the finding. At least
            one film has some.
        sizes: width and height of each film before it was fitted into the square.
        side: of the square.

    """
    every = np.ones((1, len(heats)))
    true = [as_array(boxes) for boxes in lesions]
    of_shares = []
    for share in SHARES:
        predicted = [boxes_of_map(heat, share, side, size) for heat, size in zip(heats, sizes, strict=True)]
        marks = mark_films(predicted, true)
        of_shares.append((float(marks.average_precision(every)[0]), share, marks))
    figure, share, marks = max(of_shares, key=lambda entry: entry[0])  # the first of equals
    false = np.sort(marks.scores[~marks.hit])[::-1]
    most = int(FALSE_MARKS * len(heats))
    return BoxRule(
        share=share,
        # Above the first false mark that is too many.
        threshold=float(np.nextafter(false[most], 1)) if len(false) > most else LEAST,
        films=len(heats),
        lesions=len(marks.lesion_film),
        average_precision=figure,
    )


def as_array(boxes: Sequence[Box]) -> Floats:
    """Boxes as n × 4 numbers."""
    return np.array(boxes, np.float64).reshape(-1, 4)


def _peaks(heat: Floats) -> list[tuple[int, int]]:
    """Cells of LEAST or more that no neighbour exceeds, as (row, column), highest first."""
    highest = cv2.dilate(heat, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero((heat >= highest) & (heat >= LEAST))
    order = np.argsort(-heat[rows, columns], kind="stable")
    return [(int(rows[number]), int(columns[number])) for number in order]


def _cut_at_film(boxes: Floats, side: int, size: tuple[int, int]) -> Floats:
    fit = fit_into_square(*size, side)
    shown = [max(1, round(length * fit.factor)) for length in size]
    low, high = np.array([fit.left, fit.top]), np.array([fit.left + shown[0], fit.top + shown[1]])
    first = np.clip(boxes[:, :2], low, high)
    last = np.clip(boxes[:, :2] + boxes[:, 2:], low, high)
    return np.concatenate([first, last - first], axis=1)
