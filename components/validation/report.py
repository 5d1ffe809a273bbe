"""What validate found, as one page: report.html."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from osteon.films.known_patients import count_patients
from osteon.films.left_out import LeftOut, count_kinds
from osteon.films.shortcut_audit import ShortcutAudit
from osteon.pages.page import render_page

LOWEST = 0.3  # AUROC at the left end of its scale
DETAILED = 6  # attributes whose shares are drawn


@dataclass(frozen=True)
class Verdict:
    """What validate found of a set.

    usable: the films that may be used, manifest columns. quarantine: the others: film_id, path, label, reason.
    faults: why the run stops; empty where it does not. notes: what does not stop it. audit: how well the label can be
    predicted without looking at bone.
    """

    usable: pd.DataFrame
    quarantine: pd.DataFrame
    faults: list[str]
    notes: list[str]
    audit: ShortcutAudit

    @property
    def films(self) -> int:
        """Films in the manifest."""
        return len(self.usable) + len(self.quarantine)

    @property
    def counts(self) -> dict[str, int]:
        """Reason → films in quarantine, the commonest first."""
        return count_reasons(self.quarantine)


def count_reasons(quarantine: pd.DataFrame) -> dict[str, int]:
    """How many films there are for each reason, the commonest first; numbers and ids do not tell reasons apart."""
    alike = quarantine["reason"].str.replace(r"(?<=has the pixels of ).+?(?=, labelled)", "…", regex=True)
    alike = alike.str.replace(r"\d+(\.\d+)?", "…", regex=True)
    return {str(reason): int(count) for reason, count in alike.value_counts().items()}


def render_report(verdict: Verdict, left_out: Sequence[LeftOut], odd_films: bytes | None = None) -> str:
    """The page as HTML text.

    Args:
        verdict: on the films.
        left_out: the files of the folder that are not among them.
        odd_films: a contact sheet, PNG.

    """
    # The highest AUROC first; of the rest, attributes that have a value with a share of its own.
    attributes, usable = verdict.audit.attributes, verdict.usable
    detailed = attributes[:DETAILED]
    detailed += [attribute for attribute in attributes[DETAILED:] if attribute.furthest()]
    highest_shares = [share.share.high or 0.0 for attribute in detailed for share in attribute.shares]
    return render_page(
        "components.validation",
        films=verdict.films,
        trusted=len(usable),
        quarantined=len(verdict.quarantine),
        positive=int(usable["label"].sum()) if len(usable) else 0,
        counts=verdict.counts,
        left_out=count_kinds(left_out),
        faults=verdict.faults,
        notes=verdict.notes,
        audit=verdict.audit,
        odd_films=base64.b64encode(odd_films).decode() if odd_films else None,
        patients=count_patients(usable),
        detailed=detailed,
        lowest=LOWEST,
        widest=max([*highest_shares, 0.01]),
    )
