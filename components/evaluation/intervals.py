"""Intervals for the figures of a test: Wilson, DeLong, and a bootstrap that draws whole groups."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Counts = NDArray[np.int32]

BLOCK = 2**22  # weights that a figure looks at together: 32 MB as float64, and a few times that on the way


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; None where it is not defined (no positive film, say)."""

    value: float | None
    low: float | None
    high: float | None


UNDEFINED = Estimate(None, None, None)


def wilson(successes: int, trials: int, confidence: float) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927, J Am Stat Assoc 22), without continuity correction."""
    if trials == 0:
        return UNDEFINED
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high))


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
    m, n = len(positive), len(negative)
    if m == 0 or n == 0:
        return UNDEFINED
    together = stats.rankdata(np.concatenate([positive, negative]))
    # Share of the other class that each film is above (ties half): DeLong's structural components.
    of_positive = (together[:m] - stats.rankdata(positive)) / n
    of_negative = 1 - (together[m:] - stats.rankdata(negative)) / m
    auroc = float(of_positive.mean())
    if auroc in (0.0, 1.0):
        bound = float(stats.beta.ppf((1 - confidence) / 2, min(m, n), 1))
        return Estimate(auroc, bound, 1.0) if auroc == 1.0 else Estimate(auroc, 0.0, 1 - bound)
    # One film alone does not show how much its class varies: take the most that shares of this mean can.
    variance = sum(
        float(components.var(ddof=1)) / len(components) if len(components) > 1 else auroc * (1 - auroc)
        for components in (of_positive, of_negative)
    )
    half = float(stats.norm.ppf((1 + confidence) / 2)) * float(np.sqrt(variance))
    return Estimate(auroc, max(0.0, auroc - half), min(1.0, auroc + half))


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
