"""Whether to train again, and why: a pure function of what the world looks like."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from osteon.params import RetrainingParams


class DriftReport(BaseModel):
    """What a look at the films that were read lately says: which share of the figures that were compared drifted."""

    model_config = ConfigDict(frozen=True)

    made: datetime
    share: float = Field(ge=0, le=1)


@dataclass(frozen=True)
class Judged:
    """A model that was judged: when, of which films, and whether it came into use."""

    at: datetime
    data: str | None
    used: bool


def reason_to_train(
    data: str, judged: list[Judged], drift: DriftReport | None, params: RetrainingParams, now: datetime
) -> str:
    """Why a model should be trained now; empty where there is no reason.

    What was judged and refused is not tried again for the same reason: it would be refused again, with every tick of
    the schedule.

    Args:
        data: DVC's hash of the films as they are now.
        judged: every decision until now, the first first; rollbacks are none.
        drift: the last report, if there is one.
        params: limits.
        now: the present time.

    """
    if not judged:
        return "no model has been judged yet"
    last = judged[-1]
    if data not in {model.data for model in judged}:
        return f"new films: {data}"
    if drift and drift.share > params.max_drift and drift.made > last.at:
        return f"drift: {drift.share:.0%} of the figures compared, more than {params.max_drift:.0%}"
    used = [model for model in judged if model.used]
    age, limit = now - (used or judged)[-1].at, timedelta(days=params.max_age_days)
    if age > limit and now - last.at > limit:
        what = "the model in use was judged" if used else "the last model was judged"
        return f"age: {what} {age.days} days ago, more than {params.max_age_days:g}"
    return ""
