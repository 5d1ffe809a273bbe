"""Predicted boxes against true ones: which hit, the FROC curve and the average precision, films weighted.

pycocotools reads files of its own form and knows neither weights, which the bootstrap needs, nor FROC.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.statistics.estimate import Floats
from osteon.statistics.ranking import ratio

LEAST_IOU = 0.3  # of a predicted box that hits a true one
RULES = ("iou", "centre")
TOGETHER = 2**22  # weights of predicted boxes in memory at once


def overlaps(boxes: Floats, others: Floats) -> Floats:
    """Intersection over union of each box with each other one: n × m, 0 … 1.

    Args:
        boxes: n × 4: x, y, width, height.
        others: m × 4.

    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum((boxes[:, :2] + boxes[:, 2:])[:, None], (others[:, :2] + others[:, 2:])[None])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    union = boxes[:, 2:].prod(axis=1)[:, None] + others[:, 2:].prod(axis=1)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def hits(boxes: Floats, scores: Floats, lesions: Floats, rule: str) -> NDArray[np.int64]:
    """Which true box each predicted box of a film hits; −1: none, a false mark.

    By falling score, each predicted box takes the true box with the greatest IoU that fits it and that is free. So a
    true box is hit once; a second box on it is a false mark (PASCAL VOC, Everingham et al. 2010, Int J Comput Vis 88).

    Args:
        boxes: n × 4, predicted.
        scores: of each.
        lesions: m × 4, true boxes.
        rule: 'iou', it fits from LEAST_IOU on; or 'centre', it fits if its middle lies in the true box, as FROC
            studies count marks (Bunch et al. 1977, Proc SPIE 127; Setio et al. 2017, Med Image Anal 42).

    """
    shares = overlaps(boxes, lesions)
    if rule == "iou":
        fits = shares >= LEAST_IOU
    else:
        middles = (boxes[:, :2] + boxes[:, 2:] / 2)[:, None]
        fits = np.all((middles >= lesions[:, :2]) & (middles <= lesions[:, :2] + lesions[:, 2:]), axis=2)
    hit = np.full(len(boxes), -1, np.int64)
    free = np.ones(len(lesions), bool)
    for number in np.argsort(-scores, kind="stable"):
        candidates = np.flatnonzero(fits[number] & free)
        if len(candidates):
            hit[number] = candidates[shares[number, candidates].argmax()]
            free[hit[number]] = False
    return hit


@dataclass(frozen=True)
class Marks:
    """The predicted boxes of some films, the lesions (true boxes) of these films, and which boxes hit.

    films: how many. film, scores, hit: of each predicted box, its film's number, its score, and whether it hits.
    lesion_film, lesion_scores: of each lesion, its film's number and the score of the box that hits it; −inf: none.
    """

    films: int
    film: NDArray[np.int64]
    scores: Floats
    hit: NDArray[np.bool_]
    lesion_film: NDArray[np.int64]
    lesion_scores: Floats

    def sensitivity(self, weights: Floats, rates: Sequence[float], *, by_film: bool = False) -> Floats:
        """Share of lesions that are hit where there are so many false marks a film: samples × rates.

        Boxes count from a score on: the lowest at which false marks (weighted) are at most the rate × the films. Where
        all false marks together are fewer, all boxes count.

        Args:
            weights: samples × films.
            rates: false marks a film.
            by_film: the share of films with lesions on which one of them is hit, instead.

        """
        film, scores = self._best_of_films() if by_film else (self.lesion_film, self.lesion_scores)
        order = np.argsort(-scores, kind="stable")
        film, scores = film[order], scores[order]
        false = np.flatnonzero(~self.hit)
        false = false[np.argsort(-self.scores[false], kind="stable")]
        false_scores = self.scores[false]
        ends = _ends(false_scores)
        limits = np.append(false_scores[ends], -np.inf)
        result = np.empty((len(weights), len(rates)))
        size = max(1, TOGETHER // max(len(false), 1))
        for start in range(0, len(weights), size):
            w = weights[start : start + size]
            alarms = np.cumsum(w[:, self.film[false]], axis=1)[:, ends]
            reached = np.concatenate([np.zeros((len(w), 1)), np.cumsum(w[:, film], axis=1)], axis=1)
            for number, (few, films) in enumerate(zip(alarms, w.sum(axis=1), strict=True)):
                # The first score at which there are too many: only what lies above it counts.
                limit = limits[np.searchsorted(few, np.asarray(rates) * films + 1e-9, side="right")]
                above = np.searchsorted(-scores, -limit, side="left")
                result[start + number] = ratio(reached[number, above], np.full(len(rates), reached[number, -1]))
        return result

    def average_precision(self, weights: Floats) -> Floats:
        """Area under precision and recall of the predicted boxes, all points interpolated: one value a sample.

        At each recall counts the highest precision at that recall or a higher one (PASCAL VOC since 2010). Boxes of
        equal score count together. Boxes that were never predicted leave recall where it is.

        Args:
            weights: samples × films.

        """
        order = np.argsort(-self.scores, kind="stable")
        ends = _ends(self.scores[order])
        film, hit = self.film[order], self.hit[order].astype(np.float64)
        result = np.empty(len(weights))
        size = max(1, TOGETHER // max(len(order), 1))
        for start in range(0, len(weights), size):
            w = weights[start : start + size]
            found = np.cumsum(w[:, film] * hit, axis=1)[:, ends]
            marked = np.cumsum(w[:, film], axis=1)[:, ends]
            precision = np.divide(found, marked, out=np.zeros_like(found), where=marked > 0)
            highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            gains = np.diff(found, axis=1, prepend=0.0)
            result[start : start + size] = ratio((gains * highest).sum(axis=1), w[:, self.lesion_film].sum(axis=1))
        return result

    def false_marks(self, weights: Floats) -> Floats:
        """False marks a film, where all boxes count: one value a sample; weights: samples × films."""
        of_films = np.bincount(self.film[~self.hit], minlength=self.films).astype(np.float64)
        return ratio(weights @ of_films, weights.sum(axis=1))

    def above(self, threshold: float) -> "Marks":
        """The marks without boxes of a lower score; as boxes are matched by falling score, the others hit the same."""
        kept = self.scores >= threshold
        lesion_scores = np.where(self.lesion_scores >= threshold, self.lesion_scores, -np.inf)
        return Marks(self.films, self.film[kept], self.scores[kept], self.hit[kept], self.lesion_film, lesion_scores)

    def _best_of_films(self) -> tuple[NDArray[np.int64], Floats]:
        """Films with lesions, and the highest score of a box that hits one of them."""
        films, number = np.unique(self.lesion_film, return_inverse=True)
        best = np.full(len(films), -np.inf)
        np.maximum.at(best, number, self.lesion_scores)
        return films, best


def mark_films(predicted: Sequence[tuple[Floats, Floats]], lesions: Sequence[Floats], rule: str = "iou") -> Marks:
    """Match the predicted boxes of films with their true ones.

    Args:
        predicted: of each film its boxes, n × 4, and their scores.
        lesions: of each film its true boxes, m × 4; none on a film without the finding.
        rule: of RULES; of `hits`.

    """
    film, scores, hit, lesion_film, lesion_scores = [], [], [], [], []
    for number, ((boxes, box_scores), true) in enumerate(zip(predicted, lesions, strict=True)):
        which = hits(boxes, box_scores, true, rule)
        best = np.full(len(true), -np.inf)
        best[which[which >= 0]] = box_scores[which >= 0]
        film.append(np.full(len(boxes), number))
        scores.append(box_scores)
        hit.append(which >= 0)
        lesion_film.append(np.full(len(true), number))
        lesion_scores.append(best)
    return Marks(
        films=len(lesions),
        film=np.concatenate(film).astype(np.int64),
        scores=np.concatenate(scores).astype(np.float64),
        hit=np.concatenate(hit).astype(bool),
        lesion_film=np.concatenate(lesion_film).astype(np.int64),
        lesion_scores=np.concatenate(lesion_scores).astype(np.float64),
    )


def _ends(falling: Floats) -> NDArray[np.int64]:
    """Number of the last of each run of equal scores."""
    return np.flatnonzero(np.diff(falling, append=-np.inf) != 0)
