"""Operating points that keep their targets: how they are set, and whether they keep them on other films."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.statistics.bootstrap import bootstrap, group_weights
from osteon.statistics.estimate import Estimate, Floats, Labels
from osteon.statistics.operating_points import OperatingPoint, OperatingPoints
from osteon.statistics.proportions import hoeffding_bentkus_p_value, mean_share

Ints = NDArray[np.int64]


def find_operating_points(
    labels: Labels, probabilities: Floats, groups: Ints, sensitivity: float, specificity: float, confidence: float
) -> OperatingPoints:
    """The points that keep their targets with the fewest uncertain answers between them.

    *What is guaranteed.* Draw a new patient (a group) with a fracture, and one of their fractured films: its
    probability is at or above rule_out with a chance of `sensitivity` or more. This is true in a share `confidence`
    or more of all draws of films that the point could have been set on. Likewise rule_in, films without a fracture,
    and `specificity`. Both are true together in a share 1 − 2 (1 − confidence) or more.

    *The unit is the group*, for films of one patient are not independent: to count them singly would promise too
    much. A group is missed by the share of its films that is missed, 0 … 1, and every group counts the same. To
    call it missed when any of its films is would ask more of a patient with six films than of one with one; a
    design effect would be an approximation.

    *The test.* That the mean of these shares is above 1 − target is rejected by hoeffding_bentkus_p_value at
    1 − confidence; with a film a group that is Clopper and Pearson's lower bound. The threshold is chosen on the same
    films: the safest is tested first, then the next, until one is not rejected. Since the order was fixed beforehand
    and each threshold errs at least as often as the one before, no correction is needed (fixed-sequence testing: Bauer
    1991, Stat Med 10; Learn then Test: Angelopoulos et al. 2025, Ann Appl Stat 19). MAPIE's
    BinaryClassificationController does the same for independent films.

    *Calibrated probabilities* may have been calibrated on the same films, if one rising map was used for all of them
    (Calibration.apply, not cross_fitted): the order of thresholds is that of the scores. *Scores of k folds* come from
    k models. The guarantee is then for the mean over these models, as if they had been there before the films (unequal
    chances stray less than equal ones: Hoeffding 1956, Ann Math Stat 27); it is not for another model.

    *Too few groups*, fewer than ln(1 − confidence) / ln(target): no guarantee is possible. The point is where the
    target is kept on these very films, and `guaranteed` is False.

    *Crossing.* Of a good model rule_out can lie above rule_in. Every threshold from one to the other keeps both
    targets, so both take the same: Youden's, or the end next to it. No answer is uncertain then.

    Args:
        labels: 0 or 1, both present.
        probabilities: of 1.
        groups: number of each film's group.
        sensitivity: target of rule_out, inside (0, 1).
        specificity: target of rule_in, inside (0, 1).
        confidence: of each guarantee, one-sided, inside (0, 1).

    Raises:
        ValueError: one class only, or a target or confidence out of bounds.

    """
    if labels.min() == labels.max():
        raise ValueError("both classes are needed")
    if not all(0 < share < 1 for share in (sensitivity, specificity, confidence)):
        raise ValueError("targets and confidence must lie inside (0, 1)")
    positive, negative = (_Class(probabilities[labels == label], groups[labels == label]) for label in (1, 0))
    candidates = np.unique(probabilities)
    highest = np.nextafter(candidates[-1], np.inf)  # at which no film is positive
    low, low_sure = _last_kept(candidates, positive.below(candidates), positive, sensitivity, confidence)
    candidates = np.append(candidates, highest)[::-1]
    alarms = len(negative.sizes) - negative.below(candidates)
    high, high_sure = _last_kept(candidates, alarms, negative, specificity, confidence)
    if low > high:
        low = high = min(max(youden_threshold(labels, probabilities), high), low)

    def describe(threshold: float, films: _Class, kept: float, target: float, *, guaranteed: bool) -> OperatingPoint:
        count = len(films.sizes)
        return OperatingPoint(
            threshold=threshold,
            target=target,
            confidence=confidence,
            guaranteed=guaranteed,
            kept=kept / count,
            groups=count,
            needed=math.ceil(math.log(1 - confidence) / math.log(target)),
        )

    missed, cleared = (float(films.below(np.array([at]))[0]) for films, at in ((positive, low), (negative, high)))
    return OperatingPoints(
        rule_out=describe(low, positive, len(positive.sizes) - missed, sensitivity, guaranteed=low_sure),
        rule_in=describe(high, negative, cleared, specificity, guaranteed=high_sure),
    )


@dataclass(frozen=True)
class Kept:
    """What a point keeps on other films.

    share: mean over groups of the share of their films that is kept, the quantity that find_operating_points
    guarantees, with mean_share's interval. met: it reaches the target. refuted: the whole interval lies below the
    target. Few films often leave both open.
    """

    target: float
    guaranteed: bool
    groups: int
    share: Estimate
    met: bool | None
    refuted: bool | None


@dataclass(frozen=True)
class MeasuredPoints:
    """Operating points on films they were not set on; uncertain: share of films, by a bootstrap over groups."""

    sensitivity: Kept
    specificity: Kept
    uncertain: Estimate


def measure_operating_points(
    labels: Labels,
    probabilities: Floats,
    groups: Ints,
    points: OperatingPoints,
    confidence: float,
    resamples: int,
    seed: int,
) -> MeasuredPoints:
    """Sensitivity at rule out, specificity at rule in and the share of uncertain answers, on test films.

    Args:
        labels: 0 or 1, both present.
        probabilities: of 1.
        groups: number of each film's group, 0 ….
        points: set on other films.
        confidence: of the two-sided intervals.
        resamples: of groups, for the share of uncertain answers.
        seed: of the bootstrap.

    """
    low, high = points.rule_out, points.rule_in
    between = ((probabilities >= low.threshold) & (probabilities < high.threshold)).astype(np.float64)
    return MeasuredPoints(
        sensitivity=_kept(probabilities[labels == 1] >= low.threshold, groups[labels == 1], low, confidence),
        specificity=_kept(probabilities[labels == 0] < high.threshold, groups[labels == 0], high, confidence),
        uncertain=bootstrap(
            lambda weights: np.asarray(weights @ between / weights.sum(axis=1)),
            group_weights(groups, labels, resamples, seed),
            confidence,
        ),
    )


def youden_threshold(labels: Labels, scores: Floats) -> float:
    """The threshold with the largest sensitivity + specificity − 1 (Youden 1950, Cancer 3).

    Args:
        labels: 0 or 1, both present.
        scores: higher for 1.

    Returns:
        A score t such that 'score ≥ t' is the answer 1; one of the scores, even where none is better than chance.

    >>> youden_threshold(np.array([0, 0, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.9]))
    0.3

    """
    from sklearn.metrics import roc_curve

    false, true, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    # scikit-learn's first threshold, infinity, is the answer 0 for every film; a package could not store it.
    return float(thresholds[1 + int(np.argmax((true - false)[1:]))])


class _Class:
    """Films of one class, for sums over groups of the share of films below a threshold."""

    def __init__(self, probabilities: Floats, groups: Ints) -> None:
        _, group, self.sizes = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.argsort(probabilities)
        self.sorted = probabilities[order]
        self.shares = np.concatenate([[0.0], np.cumsum(1 / self.sizes[group][order])])

    def below(self, thresholds: Floats) -> Floats:
        return np.asarray(np.round(self.shares[np.searchsorted(self.sorted, thresholds, side="left")], 6))


def _last_kept(thresholds: Floats, lost: Floats, films: _Class, target: float, confidence: float) -> tuple[float, bool]:
    """The last of the thresholds, the safest first, before one that is not known to keep the target.

    Not even the first may be known to: then the last that keeps it on these films, and False.
    """
    count = len(films.sizes)
    p = hoeffding_bentkus_p_value(lost, count, 1 - target, binary=bool((films.sizes == 1).all()))
    safe = p <= 1 - confidence
    guaranteed = bool(safe[0])
    if not guaranteed:
        safe = lost <= count * (1 - target) + 1e-6
    return float(thresholds[np.argmin(np.append(safe, False)) - 1]), guaranteed


def _kept(right: NDArray[np.bool_], groups: Ints, point: OperatingPoint, confidence: float) -> Kept:
    """On films of one class, of which `right` are kept."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    shares = np.bincount(group, right) / sizes
    interval = mean_share(shares, confidence, binary=bool((sizes == 1).all()))
    return Kept(
        target=point.target,
        guaranteed=point.guaranteed,
        groups=len(sizes),
        share=interval,
        met=None if interval.value is None else interval.value >= point.target - 1e-9,
        refuted=None if interval.high is None else interval.high < point.target,
    )
