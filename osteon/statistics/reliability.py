"""Reliability: whether 30 % of the films that were given a probability of 30 % are positive."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.statistics.bootstrap import bootstrap, group_weights
from osteon.statistics.estimate import Estimate, Floats, Labels
from osteon.statistics.proportions import wilson

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Films of nearly the same probability: how many, its mean, and the share of them that is positive.

    The interval is Wilson's and takes films as independent; where films of a group are alike it is too narrow.
    """

    films: int
    probability: float
    positive: Estimate


@dataclass(frozen=True)
class Reliability:
    """Bins by rising probability, the expected calibration error, and what of it chance alone explains.

    ece: mean over films of |mean probability − share positive| of their bin (Naeini et al. 2015, AAAI). by_chance: the
    error to expect of a model that is perfectly calibrated and gives these films these probabilities.
    """

    bins: tuple[Bin, ...]
    ece: Estimate
    by_chance: float


def reliability(
    labels: Labels,
    probabilities: Floats,
    groups: NDArray[np.int64],
    confidence: float,
    resamples: int,
    seed: int,
    bins: int = BINS,
) -> Reliability:
    """Compare probabilities with what came true, in bins of equal numbers of films.

    The error is never 0, not even for a perfect model, for no bin's share is exactly its probability: it is biased
    upward, the more so the fewer films (Bröcker 2012, Clim Dyn 39; Roelofs et al. 2022, AISTATS). So look at it
    beside `by_chance`, √(2/π · Σ p (1 − p)) a bin: the mean of |deviation| of a sum of independent films, which is
    nearly normal. Films of a group that come true together would make that larger. The bootstrap draws groups; each
    sample has that bias once more, so the interval too lies high, and its lower end does not reach 0.

    Args:
        labels: 0 or 1, both present.
        probabilities: of 1.
        groups: number of each film's group.
        confidence: of the intervals.
        resamples: of groups, for the interval of the error.
        seed: of the bootstrap.
        bins: how many; fewer come out where films share a probability, for they stay in one bin.

    """
    edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1]))
    _, places, counts = np.unique(np.searchsorted(edges, probabilities), return_inverse=True, return_counts=True)
    member = (places[:, None] == np.arange(len(counts))).astype(np.float64)  # films × bins
    excess = member * (probabilities - labels)[:, None]

    def error(weights: Floats) -> Floats:
        return np.asarray(np.abs(weights @ excess).sum(axis=1) / weights.sum(axis=1))

    result = [
        Bin(
            films=int(count),
            probability=float(probabilities[places == place].mean()),
            positive=wilson(int(labels[places == place].sum()), int(count), confidence),
        )
        for place, count in enumerate(counts)
    ]
    variances = member.T @ (probabilities * (1 - probabilities))
    return Reliability(
        bins=tuple(result),
        ece=bootstrap(error, group_weights(groups, labels, resamples, seed), confidence),
        by_chance=float(np.sqrt(2 / np.pi * variances).sum() / len(labels)),
    )
