"""What validate found, as one page: report.html."""

from typing import TYPE_CHECKING

from osteon.films.shortcut_audit import ShortcutAudit
from osteon.pages.page import render_page

if TYPE_CHECKING:
    import pandas as pd

LOWEST = 0.3  # AUROC at the left end of its scale
DETAILED = 6  # attributes whose shares are drawn


def render_report(
    films: int,
    usable: "pd.DataFrame",
    quarantine: "pd.DataFrame",
    counts: dict[str, int],
    faults: list[str],
    notes: list[str],
    audit: ShortcutAudit,
) -> str:
    """The page as HTML text.

    Args:
        films: in the manifest.
        usable: those that may be used.
        quarantine: the others, with their reason.
        counts: films for each reason.
        faults: why the run stops; empty where it does not.
        notes: what is only said.
        audit: what of the label can be told without looking at bone.

    """
    # What tells most comes first; of the rest, those that have a value with a share of its own.
    first = audit.attributes[:DETAILED]
    odd = [one for one in audit.attributes[DETAILED:] if one.furthest()]
    shares = [share.share.high or 0.0 for one in (*first, *odd) for share in one.shares]
    return render_page(
        "components.validation",
        films=films,
        trusted=len(usable),
        quarantined=len(quarantine),
        positive=int(usable["label"].sum()) if len(usable) else 0,
        counts=counts,
        faults=faults,
        notes=notes,
        audit=audit,
        detailed=[*first, *odd],
        lowest=LOWEST,
        widest=max([*shares, 0.01]),
    )
