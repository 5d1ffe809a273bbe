"""Confidence intervals of proportions and of mean shares, of films and of groups of films.

SciPy (stats.binomtest) has Wilson's and the exact interval of independent films; it takes neither groups nor shares.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from osteon.statistics.estimate import UNDEFINED, Estimate, Floats


def wilson(successes: int, trials: int, confidence: float) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927, J Am Stat Assoc 22), without continuity correction.

    None of ten is no proof of never:

    >>> from osteon.statistics.estimate import shown
    >>> shown(wilson(0, 10, 0.95))
    '0.000 [0.000, 0.278]'
    >>> shown(wilson(8, 10, 0.95))
    '0.800 [0.490, 0.943]'
    """
    if trials == 0:
        return UNDEFINED
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high))


def hoeffding_bentkus_p_value(total: Floats, count: int, most: float, *, binary: bool) -> Floats:
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
    """Mean of independent shares; its interval is what hoeffding_bentkus_p_value does not reject.

    Where the shares are binary that is Clopper and Pearson's.

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
            return float(hoeffding_bentkus_p_value(np.array(total), count, most, binary=binary)) - (1 - confidence) / 2

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
