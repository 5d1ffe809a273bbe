"""What becomes of the answers when films are a little turned, lighter or darker, compressed or cropped.

None of these changes touches what a film shows; an answer that flips under one of them did not rest on much.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.films.prepared.warping import Variation, vary
from osteon.films.reading.film import Film, fit_into_square, letterbox
from osteon.statistics.bootstrap import bootstrap
from osteon.statistics.estimate import Counts, Estimate, Floats, Labels
from osteon.statistics.proportions import wilson
from osteon.statistics.ranking import WeightedRanking

Square = NDArray[np.uint8]
Size = tuple[int, int]  # width and height of the film before it was fitted into the square, pixels

DEGREES, EXPOSURE, QUALITY, CROP = 5.0, 0.2, 50, 0.03
MOST_FILMS = 2000  # each change costs as much as the test itself: of more test films so many are drawn


@dataclass(frozen=True)
class Flips:
    """How many answers a change of the films flips, and the AUROC of the changed films less that of the films."""

    change: str
    films: int
    flipped: int
    share: Estimate
    auroc: Estimate


def turned(square: Square, degrees: float) -> Square:
    """The film turned about the middle of its square, anticlockwise; what comes from beyond the edge is black."""
    middle = (len(square) - 1) / 2
    matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), degrees, 1.0), np.float64)
    return vary(square, Variation(matrix, np.arange(256, dtype=np.uint8), 0.0, 0))


def exposed(square: Square, share: float) -> Square:
    """Every grey level multiplied by 1 + share, white at most; the black around the film stays black."""
    table = np.clip(np.rint(np.arange(256) * (1 + share)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(square, table), np.uint8)


def compressed(square: Square, quality: int) -> Square:
    """The square after a JPEG file of it, quality 0 … 100."""
    data = cv2.imencode(".jpg", square, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def cropped(square: Square, size: Size, share: float) -> Square:
    """The film without a share of its width at the left and right and of its height at top and bottom, fitted anew."""
    side = len(square)
    fit = fit_into_square(*size, side)
    left, top = int(fit.left), int(fit.top)
    width, height = (max(1, round(length * fit.factor)) for length in size)
    x, y = round(width * share), round(height * share)
    inner = square[top + y : top + height - y, left + x : left + width - x]
    return letterbox(Film(np.ascontiguousarray(inner), 0, 255, 8), side)


CHANGES: dict[str, Callable[[Square, Size], Square]] = {
    f"turned by +{DEGREES:g}°": lambda square, _: turned(square, DEGREES),
    f"turned by −{DEGREES:g}°": lambda square, _: turned(square, -DEGREES),
    f"exposure +{EXPOSURE:.0%}": lambda square, _: exposed(square, EXPOSURE),
    f"exposure −{EXPOSURE:.0%}": lambda square, _: exposed(square, -EXPOSURE),
    f"JPEG of quality {QUALITY}": lambda square, _: compressed(square, QUALITY),
    f"{CROP:.0%} cropped at every edge": lambda square, size: cropped(square, size, CROP),
}


def changed_scores(
    blocks: Iterable[tuple[NDArray[np.uint8], list[Size]]], predict: Callable[[NDArray[np.uint8]], Floats]
) -> dict[str, Floats]:
    """The scores of the films under each of CHANGES.

    Args:
        blocks: squares (films × side × side uint8) and the films' sizes before they were fitted, some at a time.
        predict: squares → probabilities.

    """
    scores_of: dict[str, list[Floats]] = {name: [] for name in CHANGES}
    for squares, sizes in blocks:
        for name, change in CHANGES.items():
            varied = np.stack([change(square, size) for square, size in zip(squares, sizes, strict=True)])
            scores_of[name].append(predict(varied))
    return {name: np.concatenate(scores) for name, scores in scores_of.items()}


def measure_robustness(
    labels: Labels, scores: Floats, changed: dict[str, Floats], threshold: float, weights: Counts, confidence: float
) -> list[Flips]:
    """How many answers each change flips, and what it does to AUROC.

    Args:
        labels: 0 or 1, of both classes.
        scores: of the films as they are.
        changed: change → scores of the same films.
        threshold: a score at or above it is the answer 1.
        weights: of group_weights, for the interval of the difference: both scores of a film are drawn together.
        confidence: of the intervals.

    """
    truth = labels.astype(np.float64)
    before = WeightedRanking(truth, scores)
    rows = []
    for name, after in changed.items():
        flipped = int(((scores >= threshold) != (after >= threshold)).sum())
        order = WeightedRanking(truth, after)

        def gain(w: Floats, order: WeightedRanking = order) -> Floats:
            return order.auroc(w) - before.auroc(w)

        rows.append(
            Flips(
                change=name,
                films=len(labels),
                flipped=flipped,
                share=wilson(flipped, len(labels), confidence),
                auroc=bootstrap(gain, weights, confidence),
            )
        )
    return rows
