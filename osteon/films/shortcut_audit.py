"""The shortcut audit, how well attributes other than bone predict the label: written by validate, read by reports."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.errors import OsteonError
from osteon.statistics.estimate import Estimate

SHORTCUTS = "shortcuts.json"
CONFIDENCE = 0.95
FEW = 20  # films; with fewer a share says little


class Record(BaseModel):
    """Written as JSON, checked when read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelShare(Record):
    """Films whose attribute has one value, or lies in one range; how many are positive, with Wilson's interval."""

    value: str
    films: int
    positive: int
    share: Estimate


class Attribute(Record):
    """How well one attribute alone predicts the label."""

    name: str
    auroc: Estimate
    shares: list[LabelShare]

    def furthest(self) -> "tuple[LabelShare, int, int] | None":
        """The value whose share is surely not that of all others, the furthest from it, with their positive and all.

        Surely: the value's interval does not hold the others' share. Values of fewer than 20 films, or of more than
        all others have, are passed over. None where there is no such value.
        """
        films, positive = (sum(getattr(value, name) for value in self.shares) for name in ("films", "positive"))
        distinct: list[tuple[float, LabelShare, int, int]] = []
        for value in self.shares:
            others, others_positive = films - value.films, positive - value.positive
            low, high = value.share.low, value.share.high
            if not FEW <= value.films <= others or low is None or high is None:
                continue
            elsewhere = others_positive / others
            if not low <= elsewhere <= high:
                distinct.append((abs(value.positive / value.films - elsewhere), value, others_positive, others))
        return max(distinct, key=lambda each: each[0])[1:] if distinct else None


class ShortcutAudit(Record):
    """The whole of shortcuts.json."""

    finding: str
    limit: float  # validation.max_shortcut
    confidence: float = CONFIDENCE
    films: int = 0  # that were predicted
    groups: int = 0
    left_out: int = 0  # films beyond the most that are used
    skipped: str | None = None  # why nothing was measured
    auroc: Estimate = Estimate(None, None, None)  # of all attributes together
    within_region: Estimate | None = None  # the same, comparing films of one region only
    attributes: list[Attribute] = []  # the highest AUROC first
    constant: list[str] = []  # attributes that are the same on all films
    warning: str | None = None


def read_shortcut_audit(report: Path) -> ShortcutAudit:
    """Read what validate wrote into its report's folder.

    Raises:
        OsteonError: there is none, or it is of another version.

    """
    path = report / SHORTCUTS
    try:
        return ShortcutAudit.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise OsteonError(f"{path}: no such file; run the step validate first") from None
    except ValidationError:
        raise OsteonError(f"{path}: not a shortcut audit of this version; run the step validate again") from None
