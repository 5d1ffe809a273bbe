"""The bootstrap of whole groups: how often each film is drawn, and the percentile interval of a figure.

SciPy's stats.bootstrap draws rows, not whole groups of rows, and computes the figure anew for each sample.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from osteon.statistics.estimate import UNDEFINED, Counts, Estimate, Floats, Labels

BLOCK = 2**22  # weights that a figure looks at together: 32 MB as float64, and a few times that on the way


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
