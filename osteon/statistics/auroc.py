"""AUROC with DeLong's confidence interval: by group, in strata, over folds, and of two scores on the same films.

scikit-learn's roc_auc_score gives no interval, and SciPy has no DeLong; neither knows groups or strata.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from osteon.statistics.estimate import UNDEFINED, Estimate, Floats, Labels

ROUNDING = 1e-10  # what AUROCs that are equal differ by at most


def delong(labels: Labels, scores: Floats, confidence: float) -> Estimate:
    """AUROC with DeLong's interval (DeLong et al. 1988, Biometrics 44; by midranks, Sun & Xu 2014, IEEE SPL 21).

    Where the scores part the classes completely DeLong's variance is 0. The interval is then the exact binomial
    one for as many successes as the smaller class has films, which does not pretend to certainty.

    Args:
        labels: 0 or 1.
        scores: higher for 1; ties count half.
        confidence: of the two-sided interval.

    Five of the six pairs of a film of each class are ranked rightly:

    >>> from osteon.statistics.estimate import shown
    >>> shown(delong(np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.4, 0.2, 0.3, 0.8]), 0.95))
    '0.833 [0.371, 1.000]'

    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    if len(positive) == 0 or len(negative) == 0:
        return UNDEFINED
    of_positive, of_negative = _components(positive, negative)
    auroc = float(of_positive.mean())
    if auroc in (0.0, 1.0):
        return _separable_interval(auroc, min(len(positive), len(negative)), confidence)
    # One film alone does not show how much its class varies: take the most that shares of this mean can.
    variance = sum(
        float(components.var(ddof=1)) / len(components) if len(components) > 1 else auroc * (1 - auroc)
        for components in (of_positive, of_negative)
    )
    return _normal(auroc, variance, confidence)


def auroc_in_strata(
    labels: Labels, scores: Floats, groups: NDArray[np.int64], strata: NDArray[np.int64], confidence: float
) -> Estimate:
    """The share of pairs, a film of each class and both of one stratum, that the scores rank rightly.

    Scores of different strata (folds, whose models differ) are never compared. The interval takes groups as
    independent, not films: DeLong's components summed by group (Obuchowski 1997, Biometrics 53), the strata weighted
    by their number of pairs as if that number were fixed. With a stratum and a film a group it is DeLong's. As for
    cross-validated AUROC in general (LeDell et al. 2015, Electron J Stat 9), chance in the models' training films
    is not in it.

    Args:
        labels: 0 or 1.
        scores: higher for 1; ties count half.
        groups: number of each film's group.
        strata: number of each film's stratum; one that lacks a class has no pairs.
        confidence: of the two-sided interval.

    """
    auroc, pairs = 0.0, 0
    influence = np.zeros(len(labels))  # of each film on the figure, times the number of pairs
    for positive, negative in _both_classes(labels, strata):
        m, n = len(positive), len(negative)
        of_positive, of_negative = _components(scores[positive], scores[negative])
        here = float(of_positive.mean())
        auroc, pairs = auroc + m * n * here, pairs + m * n
        most = float(np.sqrt(here * (1 - here)))
        influence[positive] = n * _deviations(of_positive, groups[positive], most)
        influence[negative] = m * _deviations(of_negative, groups[negative], most)
    if not pairs:
        return UNDEFINED
    auroc /= pairs
    if auroc in (0.0, 1.0):
        return _separable_interval(auroc, _fewest_groups(labels, groups), confidence)
    variance = float((np.bincount(groups, influence) ** 2).sum()) / pairs**2
    return _normal(auroc, variance, confidence)


@dataclass(frozen=True)
class Difference:
    """How much better one score ranks than another, and the two-sided p of 'not at all'; None where not defined."""

    auroc: Estimate
    p: float | None


def compare_aurocs(
    labels: Labels,
    scores: Floats,
    others: Floats,
    groups: NDArray[np.int64],
    strata: NDArray[np.int64],
    confidence: float,
) -> Difference:
    """DeLong's paired test: AUROC of `scores` less that of `others` on the same films.

    As DeLong et al. 1988 and Sun & Xu 2014, but with the pairs and groups of auroc_in_strata: each film's influence on
    the difference is the difference of its influences, summed by group. In one stratum with a film a group it is
    theirs. For out-of-fold scores the folds are the strata. The test is of these films' chance: two models trained
    once more would differ by something else (Bates et al. 2024, J Am Stat Assoc 119).

    Where every film ranks better by the same share, DeLong's variance is 0. Then k groups of the smaller class that
    all agree say that at least a share q = ((1 − confidence) / 2)^(1/k) of groups would; the rest may be as bad as
    can be (−1). p follows from the same bound, and is that of the sign test where the difference is 1.

    Args:
        labels: 0 or 1.
        scores: higher for 1; ties count half.
        others: the same of another model.
        groups: number of each film's group.
        strata: number of each film's stratum; all 0 to compare films of all folds with each other.
        confidence: of the two-sided interval.

    """
    difference, pairs = 0.0, 0
    influence = np.zeros(len(labels))
    for positive, negative in _both_classes(labels, strata):
        m, n = len(positive), len(negative)
        ours = _components(scores[positive], scores[negative])
        theirs = _components(others[positive], others[negative])
        aurocs = [float(of_positive.mean()) for of_positive, _ in (ours, theirs)]
        difference, pairs = difference + m * n * (aurocs[0] - aurocs[1]), pairs + m * n
        # Whatever the two have to do with each other.
        most = float(sum(np.sqrt(auroc * (1 - auroc)) for auroc in aurocs))
        influence[positive] = n * _deviations(ours[0] - theirs[0], groups[positive], most)
        influence[negative] = m * _deviations(ours[1] - theirs[1], groups[negative], most)
    if not pairs:
        return Difference(UNDEFINED, None)
    difference /= pairs
    variance = float((np.bincount(groups, influence) ** 2).sum()) / pairs**2
    if variance < ROUNDING**2:
        count = _fewest_groups(labels, groups)
        agree = ((1 - confidence) / 2) ** (1 / count)
        low, high = (agree * difference + side * (1 - agree) for side in (-1, 1))
        return Difference(Estimate(difference, low, high), min(1.0, 2 * (1 + abs(difference)) ** -count))
    deviation = float(np.sqrt(variance))
    half = float(stats.norm.ppf((1 + confidence) / 2)) * deviation
    interval = Estimate(difference, max(-1.0, difference - half), min(1.0, difference + half))
    return Difference(interval, float(2 * stats.norm.sf(abs(difference) / deviation)))


@dataclass(frozen=True)
class FoldAurocs:
    """AUROC of out-of-fold scores.

    folds: fold → its AUROC, folds of both classes only. mean, sd: over these (sd with n − 1). pooled: all films in
    one ranking, though the folds' models differ. within: films of the same fold only. Where pooled is well below
    within, the models' scores do not mean the same, and one threshold for all is a poor one.
    """

    folds: dict[int, float]
    mean: float | None
    sd: float | None
    pooled: Estimate
    within: Estimate


def auroc_over_folds(
    labels: Labels, scores: Floats, groups: NDArray[np.int64], folds: NDArray[np.int64], confidence: float
) -> FoldAurocs:
    """AUROC by fold and of all folds together, with DeLong's intervals by group.

    The sd over folds says how far one fold's figure can be off. It is no standard error of the mean, for the folds'
    models share most of their training films (Bengio & Grandvalet 2004, J Mach Learn Res 5).

    Args:
        labels: 0 or 1.
        scores: out of fold, higher for 1; ties count half.
        groups: number of each film's group.
        folds: number of each film's fold.
        confidence: of the two-sided intervals.

    """
    by_fold = {}
    for positive, negative in _both_classes(labels, folds):
        of_positive, _ = _components(scores[positive], scores[negative])
        by_fold[int(folds[positive[0]])] = float(of_positive.mean())
    values = np.array(list(by_fold.values()))
    return FoldAurocs(
        folds=by_fold,
        mean=float(values.mean()) if len(values) else None,
        sd=float(values.std(ddof=1)) if len(values) > 1 else None,
        pooled=auroc_in_strata(labels, scores, groups, np.zeros_like(folds), confidence),
        within=auroc_in_strata(labels, scores, groups, folds, confidence),
    )


def _both_classes(labels: Labels, strata: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Places of the positive and of the negative films of each stratum that has both."""
    for stratum in np.unique(strata):
        inside = strata == stratum
        positive, negative = np.flatnonzero(inside & (labels == 1)), np.flatnonzero(inside & (labels == 0))
        if len(positive) and len(negative):
            yield positive, negative


def _deviations(components: Floats, groups: NDArray[np.int64], most: float) -> Floats:
    """Components less their mean, scaled so that their squares summed by group are unbiased.

    One group alone does not show how much its class varies: then `most`, the most that the mean allows.
    """
    count = len(np.unique(groups))
    if count == 1:
        return np.full(len(components), most)
    return np.asarray((components - components.mean()) * np.sqrt(count / (count - 1)))


def _fewest_groups(labels: Labels, groups: NDArray[np.int64]) -> int:
    return min(len(np.unique(groups[labels == label])) for label in (0, 1))


def _components(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """DeLong's structural components: the share of the other class that each film ranks rightly against."""
    m, n = len(positive), len(negative)
    together = stats.rankdata(np.concatenate([positive, negative]))
    return (together[:m] - stats.rankdata(positive)) / n, 1 - (together[m:] - stats.rankdata(negative)) / m


def _separable_interval(auroc: float, count: int, confidence: float) -> Estimate:
    """The exact binomial interval for as many successes (or failures) as there are."""
    bound = float(stats.beta.ppf((1 - confidence) / 2, count, 1))
    return Estimate(auroc, bound, 1.0) if auroc == 1.0 else Estimate(auroc, 0.0, 1 - bound)


def _normal(value: float, variance: float, confidence: float) -> Estimate:
    half = float(stats.norm.ppf((1 + confidence) / 2)) * float(np.sqrt(variance))
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))
