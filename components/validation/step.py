"""The manifest → the films that may be used, the quarantine with reasons, and the report."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import ValidationParams

QUARANTINE, LEFT_OUT, ODD_FILMS = "quarantine.csv", "left_out.csv", "odd_films.png"
DOCS, REPORT = "data_docs", "report.html"


class ValidationSummary(Summary):
    """How many films may be used, and what attributes alone tell of their label."""

    films: int
    trusted: int
    quarantined: int
    positive: float
    shortcut_auroc: float | None  # None: not measured

    def line(self) -> str:
        """The line of any summary, without the AUROC where none was measured."""
        return super().line().removesuffix(" · shortcut auroc None")


def validate(
    source: Annotated[Path, Input("folder of the films in the manifest", "films")],
    manifest: Annotated[Path, Input("one row a film (parquet, from ingest)")],
    trusted: Annotated[Path, Output("the trusted films (parquet)")],
    report: Annotated[
        Path,
        Output(
            "report.html, quarantine.csv and left_out.csv with reasons, odd films, shortcuts.json, Data Docs", "report"
        ),
    ],
    params: ValidationParams,
) -> ValidationSummary:
    """Check every film, put unusable films into quarantine, and stop if the set cannot be trusted."""
    from components.validation.run import run_validate

    return run_validate(source, manifest, trusted, report, params)
