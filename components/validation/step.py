"""The manifest → the films that may be used, the quarantine with reasons, and the report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from osteon.contract import Input, Output, Summary
from osteon.errors import OsteonError
from osteon.params import ValidationParams

if TYPE_CHECKING:
    import pandas as pd

QUARANTINE, DOCS, REPORT = "quarantine.csv", "data_docs", "report.html"


class ValidationSummary(Summary):
    """How many films may be used, and what attributes alone tell of their label."""

    films: int
    trusted: int
    quarantined: int
    positive: float
    shortcut_auroc: float | None  # None: not asked

    def line(self) -> str:
        """As other steps say it, without a figure that is not there."""
        return super().line().removesuffix(" · shortcut auroc None")


def validate(
    source: Annotated[Path, Input("folder of films the manifest speaks of", "films")],
    manifest: Annotated[Path, Input("one row a film (parquet, from ingest)")],
    trusted: Annotated[Path, Output("the manifest's films that may be used (parquet)")],
    report: Annotated[Path, Output("report.html, quarantine.csv with reasons, shortcuts.json, Data Docs", "report")],
    params: ValidationParams,
) -> ValidationSummary:
    """Look into every film, put the unusable ones into quarantine, and stop where the set cannot be trusted."""
    import logging

    import pandas as pd

    from components.validation.contradictions import contradicted_by
    from components.validation.expectations import (
        Validator,
        broken_expectations,
        failing_films,
        film_expectations,
        manifest_expectations,
    )
    from components.validation.looking import look_at_films
    from components.validation.report import render_report
    from components.validation.shortcuts import audit_shortcuts
    from osteon.files import atomic_dir
    from osteon.films.manifest import COLUMNS, read_manifest, write_manifest
    from osteon.films.shortcut_audit import SHORTCUTS, ShortcutAudit

    log = logging.getLogger(__name__)
    frame = read_manifest(manifest)
    frame = pd.concat([frame, look_at_films(frame, source, params)], axis=1)
    frame["contradicted_by"] = contradicted_by(frame)
    films = len(frame)

    validator = Validator()
    of_films, of_manifest = film_expectations(params), manifest_expectations(params)
    asked = frame[[expectation.column for expectation, _ in of_films]]
    reasons = failing_films(asked, validator.run("films", asked, of_films), of_films)
    quarantine = frame.loc[sorted(reasons), ["film_id", "path", "label"]].copy()
    quarantine["reason"] = pd.array(["; ".join(reasons[row]) for row in sorted(reasons)], dtype="string")
    frame = frame.drop(index=list(reasons))  # of many films there is no room for two
    usable = frame[list(COLUMNS)]
    broken = broken_expectations(validator.run("manifest", usable, of_manifest), of_manifest)
    share = len(quarantine) / films
    faults = [one.text for one in broken if one.critical]
    if share > params.max_quarantined:
        faults.insert(
            0,
            f"{len(quarantine)} of {films} films ({share:.1%}) are in quarantine, more than max_quarantined = "
            f"{params.max_quarantined:.1%}; most often: {next(iter(count_reasons(quarantine)))}",
        )
    notes = [one.text for one in broken if not one.critical]
    audit = (
        ShortcutAudit(
            finding=params.finding, limit=params.max_shortcut, skipped="the films cannot be trusted as they are"
        )
        if faults
        else audit_shortcuts(frame, params)
    )
    with atomic_dir(report) as folder:
        quarantine.to_csv(folder / QUARANTINE, index=False, lineterminator="\n")
        validator.write_docs(folder / DOCS)
        (folder / SHORTCUTS).write_text(audit.model_dump_json(indent=2) + "\n", encoding="utf-8")
        page = render_report(films, usable, quarantine, count_reasons(quarantine), faults, notes, audit)
        (folder / REPORT).write_text(page, encoding="utf-8")

    for reason, count in count_reasons(quarantine).items():
        log.info("quarantined: %d × %s", count, reason)
    for text in notes:
        log.warning("note: %s", text)
    if audit.warning:
        log.warning("warning: %s (see %s)", audit.warning, report / REPORT)
    if faults:
        raise OsteonError(
            f"the films cannot be trusted: {'; '.join(faults)} (see {report / REPORT} and {report / QUARANTINE})"
        )
    write_manifest(usable, trusted)
    return ValidationSummary(
        films=films,
        trusted=len(usable),
        quarantined=len(quarantine),
        positive=float(usable["label"].mean()),
        shortcut_auroc=audit.auroc.value,
    )


def count_reasons(quarantine: "pd.DataFrame") -> dict[str, int]:
    """How many films there are for each reason, the commonest first; numbers and ids do not tell reasons apart."""
    alike = quarantine["reason"].str.replace(r"(?<=has the pixels of ).+?(?=, labelled)", "…", regex=True)
    alike = alike.str.replace(r"\d+(\.\d+)?", "…", regex=True)
    return {str(reason): int(count) for reason, count in alike.value_counts().items()}
