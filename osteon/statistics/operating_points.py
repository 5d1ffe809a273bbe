"""From probabilities to answers: rule out, rule in, and uncertain between them. How points are set: point_search.py."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from osteon.statistics.estimate import Floats

UNCERTAIN = "uncertain"


class OperatingPoint(BaseModel):
    """One threshold, and what is known of it.

    threshold: a probability at or above it is a positive answer. target: the sensitivity (rule out) or specificity
    (rule in) it is to keep. guaranteed: it keeps it, at `confidence`. kept: what it keeps on the films it was set on,
    which by itself proves little. groups: those with a film of the class in question. needed: groups without which
    no guarantee is possible, not even where none errs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    threshold: float
    target: float
    confidence: float
    guaranteed: bool
    kept: float
    groups: int
    needed: int


class OperatingPoints(BaseModel):
    """Below rule_out the answer is no, from rule_in on it is yes, between them uncertain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule_out: OperatingPoint
    rule_in: OperatingPoint

    @model_validator(mode="after")
    def _do_not_cross(self) -> Self:
        if self.rule_out.threshold > self.rule_in.threshold:
            raise ValueError("rule_out lies above rule_in")
        return self


def answers(probabilities: Floats, points: OperatingPoints, finding: str) -> NDArray[np.str_]:
    """'not FINDING', 'uncertain' or 'FINDING' for each probability; one that is no number is uncertain."""
    conditions = [probabilities < points.rule_out.threshold, probabilities >= points.rule_in.threshold]
    return np.select(conditions, [f"not {finding}", finding], UNCERTAIN)
