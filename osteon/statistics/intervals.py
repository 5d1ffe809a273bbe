"""Intervals: Wilson, shares, DeLong (in groups and strata, of two scores), differences, a bootstrap of whole groups."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Counts = NDArray[np.int32]

BLOCK = 2**22  # weights that a figure looks at together: 32 MB as float64, and a few times that on the way
ROUNDING = 1e-10  # what AUROCs that are equal differ by at most


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; None where it is not defined (no positive film, say)."""

    value: float | None
    low: float | None
    high: float | None


UNDEFINED = Estimate(None, None, None)


def shown(estimate: Estimate, digits: int = 3) -> str:
    """'0.812 [0.731, 0.893]'."""
    if estimate.value is None:
        return "not defined"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def wilson(successes: int, trials: int, confidence: float) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927, J Am Stat Assoc 22), without continuity correction."""
    if trials == 0:
        return UNDEFINED
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high))


def p_of_at_most(total: Floats, count: int, most: float, *, binary: bool) -> Floats:
    """How likely a sum of independent shares is to be as small as this where their mean is above `most`.

    Shares that are 0 or 1 are counted by the exact binomial. For others in [0, 1] it is the smaller of Hoeffding's
    and Bentkus' bounds (Bates et al. 2021, J ACM 68; Angelopoulos et al. 2025, Ann Appl Stat 19), which hold
    for every distribution and every n.

    Args:
        total: sums of the shares.
        count: how many shares each is the sum of.
        most: the mean in question, in [0, 1].
        binary: the shares can be nothing but 0 and 1.

    """
    total = np.round(total, 6)  # thirds and sixths do not add up to whole numbers exactly
    if binary:
        return np.asarray(stats.binom.cdf(total, count, most))
    mean = np.minimum(total / count, most)
    hoeffding = np.exp(-count * (special.rel_entr(mean, most) + special.rel_entr(1 - mean, 1 - most)))
    bentkus = np.e * stats.binom.cdf(np.ceil(total), count, most)
    return np.asarray(np.minimum(hoeffding, bentkus))


def mean_share(shares: Floats, confidence: float, *, binary: bool) -> Estimate:
    """Mean of independent shares, with the interval that p_of_at_most does not reject: Clopper and Pearson's if binary.

    Args:
        shares: in [0, 1].
        confidence: of the two-sided interval; it covers at least that often, for every n.
        binary: the shares can be nothing but 0 and 1.

    """
    count = len(shares)
    if count == 0:
        return UNDEFINED

    def highest(total: float) -> float:
        def excess(most: float) -> float:
            return float(p_of_at_most(np.array(total), count, most, binary=binary)) - (1 - confidence) / 2

        return 1.0 if total > count - 1e-6 else float(optimize.brentq(excess, total / count, 1.0))

    total = float(shares.sum())
    return Estimate(total / count, 1 - highest(count - total), highest(total))


def wilson_in_groups(hits: NDArray[np.bool_], groups: NDArray[np.int64], confidence: float) -> Estimate:
    """A proportion with Wilson's interval for as many films as the groups are worth (Rao & Scott 1992, Biometrics 48).

    Films of a group that are alike say less than as many films of different groups: the number of films is divided
    by the design effect, the variance of the proportion with groups as units over that with films as units. With a
    film a group it is Wilson's. Where no film, or every film, is a hit, a group counts as one film.

    Args:
        hits: of each film.
        groups: number of each film's group.
        confidence: of the two-sided interval.

    """
    films, count = len(hits), len(np.unique(groups))
    if films == 0:
        return UNDEFINED
    share = float(hits.mean())
    effect = films / count
    if 0 < share < 1 and count > 1:
        of_groups = float((np.bincount(groups, hits - share) ** 2).sum()) / films**2 * count / (count - 1)
        effect = max(of_groups / (share * (1 - share) / (films - 1)), 1.0)
    worth = films / effect
    z2 = float(stats.norm.ppf((1 + confidence) / 2)) ** 2
    middle = (share + z2 / (2 * worth)) / (1 + z2 / worth)
    half = float(np.sqrt(z2 * (share * (1 - share) / worth + z2 / (4 * worth**2)))) / (1 + z2 / worth)
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """One figure less another of other films, with the interval that follows from both intervals.

    Zou & Donner 2008 (Stat Med 27); for proportions with Wilson's intervals it is Newcombe's (1998, Stat Med 17).
    """
    if (
        one.value is None or one.low is None or one.high is None
        or other.value is None or other.low is None or other.high is None
    ):  # fmt: skip
        return UNDEFINED
    value = one.value - other.value
    below = float(np.hypot(one.value - one.low, other.high - other.value))
    above = float(np.hypot(one.high - one.value, other.value - other.low))
    return Estimate(value, value - below, value + above)


def delong(labels: Labels, scores: Floats, confidence: float) -> Estimate:
    """AUROC with DeLong's interval (DeLong et al. 1988, Biometrics 44; by midranks, Sun & Xu 2014, IEEE SPL 21).

    Where the scores part the classes completely DeLong's variance is 0. The interval is then the exact binomial
    one for as many successes as the smaller class has films, which does not pretend to certainty.

    Args:
        labels: 0 or 1.
        scores: higher for 1; ties count half.
        confidence: of the two-sided interval.

    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    if len(positive) == 0 or len(negative) == 0:
        return UNDEFINED
    of_positive, of_negative = _components(positive, negative)
    auroc = float(of_positive.mean())
    if auroc in (0.0, 1.0):
        return _parted(auroc, min(len(positive), len(negative)), confidence)
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
    cross-validated AUROC in general (LeDell et al. 2015, Electron J Stat 9), chance in what the models learnt from
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
        return _parted(auroc, _fewest_groups(labels, groups), confidence)
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
    found = {}
    for positive, negative in _both_classes(labels, folds):
        of_positive, _ = _components(scores[positive], scores[negative])
        found[int(folds[positive[0]])] = float(of_positive.mean())
    values = np.array(list(found.values()))
    return FoldAurocs(
        folds=found,
        mean=float(values.mean()) if len(values) else None,
        sd=float(values.std(ddof=1)) if len(values) > 1 else None,
        pooled=auroc_in_strata(labels, scores, groups, np.zeros_like(folds), confidence),
        within=auroc_in_strata(labels, scores, groups, folds, confidence),
    )


def ratio(above: Floats, below: Floats) -> Floats:
    """Quotients, not a number where nothing is below."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


class Order:
    """Films by falling score, for figures that go through all thresholds, many weightings at once."""

    def __init__(self, truth: Floats, scores: Floats) -> None:
        self.rows = np.argsort(-scores, kind="stable")
        self.truth = truth[self.rows]
        sorted_scores = scores[self.rows]
        # A threshold lies after the last film of each score.
        self.ends = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))

    def average_precision(self, weights: Floats) -> Floats:
        """Sum over thresholds of precision × gain in recall, as scikit-learn defines it; no interpolation."""
        w = weights[:, self.rows]
        hits = np.cumsum(w * self.truth, axis=1)[:, self.ends]
        seen = np.cumsum(w, axis=1)[:, self.ends]
        gains = np.diff(hits, axis=1, prepend=0.0)
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        return ratio((precision * gains).sum(axis=1), hits[:, -1])

    def auroc(self, weights: Floats) -> Floats:
        """Area under the ROC curve, ties counting half."""
        w = weights[:, self.rows]
        hits = np.cumsum(w * self.truth, axis=1)[:, self.ends]
        alarms = np.cumsum(w * (1 - self.truth), axis=1)[:, self.ends]
        # A trapezium for each threshold.
        heights = hits - np.diff(hits, axis=1, prepend=0.0) / 2
        area = (np.diff(alarms, axis=1, prepend=0.0) * heights).sum(axis=1)
        return ratio(area, hits[:, -1] * alarms[:, -1])


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


def _parted(auroc: float, count: int, confidence: float) -> Estimate:
    """The exact binomial interval for as many successes (or failures) as there are."""
    bound = float(stats.beta.ppf((1 - confidence) / 2, count, 1))
    return Estimate(auroc, bound, 1.0) if auroc == 1.0 else Estimate(auroc, 0.0, 1 - bound)


def _normal(value: float, variance: float, confidence: float) -> Estimate:
    half = float(stats.norm.ppf((1 + confidence) / 2)) * float(np.sqrt(variance))
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))


def group_weights(groups: NDArray[np.int64], labels: Labels, resamples: int, seed: int) -> Counts:
    """How often each film is in each of the bootstrap's samples: groups are drawn with replacement, whole.

    Args:
        groups: number of each film's group.
        labels: 0 or 1; a sample without one of the classes is drawn again.
        resamples: samples to draw.
        seed: of the draw.

    Returns:
        resamples × films.

    Raises:
        ValueError: there is one class only.

    """
    if labels.min() == labels.max():
        raise ValueError("both classes are needed")
    rng = np.random.default_rng(seed)
    count = int(groups.max()) + 1
    weights = np.empty((resamples, len(groups)), np.int32)
    filled = 0
    while filled < resamples:
        size = min(resamples - filled, max(1, BLOCK // len(groups)))
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=size)[:, groups]
        both = (drawn[:, labels == 1].sum(axis=1) > 0) & (drawn[:, labels == 0].sum(axis=1) > 0)
        kept = drawn[both]
        weights[filled : filled + len(kept)] = kept
        filled += len(kept)
    return weights


def bootstrap(figure: Callable[[Floats], Floats], weights: Counts, confidence: float) -> Estimate:
    """A figure of the films with the percentile interval of its bootstrap samples (Efron & Tibshirani 1993, ch. 13).

    Args:
        figure: from weights (samples × films) to one value a sample.
        weights: of group_weights.
        confidence: of the two-sided interval.

    """
    value = float(figure(np.ones((1, weights.shape[1])))[0])
    if np.isnan(value):
        return UNDEFINED
    size = max(1, BLOCK // weights.shape[1])
    parts = (weights[start : start + size].astype(np.float64) for start in range(0, len(weights), size))
    low, high = np.nanquantile(
        np.concatenate([figure(part) for part in parts]), [(1 - confidence) / 2, (1 + confidence) / 2]
    )
    # A bias of the bootstrap on a few films, or the last digit, can leave the value itself outside.
    return Estimate(value, min(float(low), value), max(float(high), value))
