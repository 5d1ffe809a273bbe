"""A figure with its confidence interval, and the types of the arrays that figures are computed from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Labels = NDArray[np.int64]

Counts = NDArray[np.int32]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; None where it is not defined (no positive film, say)."""

    value: float | None
    low: float | None
    high: float | None


UNDEFINED = Estimate(None, None, None)


def shown(estimate: Estimate, digits: int = 3) -> str:
    """A figure and its interval as text.

    >>> shown(Estimate(0.8123, 0.7309, 0.8928))
    '0.812 [0.731, 0.893]'
    >>> shown(UNDEFINED)
    'not defined'
    """
    if estimate.value is None:
        return "not defined"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def difference(estimate: Estimate, other: Estimate) -> Estimate:
    """One figure less another of other films, with the interval that follows from both intervals.

    Zou & Donner 2008 (Stat Med 27); for proportions with Wilson's intervals it is Newcombe's (1998, Stat Med 17).

    >>> shown(difference(Estimate(0.8, 0.7, 0.9), Estimate(0.7, 0.6, 0.8)))
    '0.100 [-0.041, 0.241]'
    """
    if (
        estimate.value is None or estimate.low is None or estimate.high is None
        or other.value is None or other.low is None or other.high is None
    ):  # fmt: skip
        return UNDEFINED
    value = estimate.value - other.value
    below = float(np.hypot(estimate.value - estimate.low, other.high - other.value))
    above = float(np.hypot(estimate.high - estimate.value, other.value - other.low))
    return Estimate(value, value - below, value + above)
