"""Look into the manifest's films, judge each and all of them, and write report and trusted films."""

import logging
from pathlib import Path

import pandas as pd

from components.validation.contradictions import contradicted_by
from components.validation.expectations import (
    Validator,
    broken_expectations,
    failing_films,
    film_expectations,
    manifest_expectations,
)
from components.validation.film_checks import check_films
from components.validation.odd_films import LOOKS, draw_odd_films, odd_looks
from components.validation.report import Verdict, count_reasons, render_report
from components.validation.shortcuts import audit_shortcuts
from components.validation.step import DOCS, LEFT_OUT, ODD_FILMS, QUARANTINE, REPORT, ValidationSummary
from osteon.errors import OsteonError
from osteon.files import atomic_dir
from osteon.films.left_out import LeftOut
from osteon.films.manifest import COLUMNS, read_left_out, read_manifest, write_manifest
from osteon.films.shortcut_audit import SHORTCUTS, ShortcutAudit
from osteon.params import ValidationParams

log = logging.getLogger(__name__)


def run_validate(
    source: Path, manifest: Path, trusted: Path, report: Path, params: ValidationParams
) -> ValidationSummary:
    """Judge the films; arguments as of the step `validate`.

    Raises:
        OsteonError: the set cannot be trusted; the report is written all the same.

    """
    films, left_out = read_manifest(manifest), read_left_out(manifest)
    films = pd.concat([films, check_films(films, source, params)], axis=1)
    films["contradicted_by"] = contradicted_by(films)
    films["odd"] = odd_looks(films)
    validator = Validator()
    quarantine = quarantined_films(films, validator, params)
    measured = films[["film_id", "path", "depth", *LOOKS]]
    films = films.drop(index=quarantine.index)  # of many films there is no room for two
    verdict = _judge(films, quarantine, validator, params)
    with atomic_dir(report) as folder:
        odd_films = folder / ODD_FILMS
        drawn = draw_odd_films(odd_films, measured, source, params.max_megapixels)
        quarantine.to_csv(folder / QUARANTINE, index=False, lineterminator="\n")
        table = pd.DataFrame(left_out, columns=list(LeftOut._fields))
        table.to_csv(folder / LEFT_OUT, index=False, lineterminator="\n")
        validator.write_docs(folder / DOCS)
        (folder / SHORTCUTS).write_text(verdict.audit.model_dump_json(indent=2) + "\n", encoding="utf-8")
        page = render_report(verdict, left_out, odd_films.read_bytes() if drawn else None)
        (folder / REPORT).write_text(page, encoding="utf-8")
    _log(verdict, report)
    if verdict.faults:
        raise OsteonError(
            f"the films cannot be trusted: {'; '.join(verdict.faults)} "
            f"(see {report / REPORT} and {report / QUARANTINE})"
        )
    write_manifest(verdict.usable, trusted)
    return ValidationSummary(
        films=verdict.films,
        trusted=len(verdict.usable),
        quarantined=len(quarantine),
        positive=float(verdict.usable["label"].mean()),
        shortcut_auroc=verdict.audit.auroc.value,
    )


def quarantined_films(films: pd.DataFrame, validator: Validator, params: ValidationParams) -> pd.DataFrame:
    """The films that fail an expectation, on their index in `films`: film_id, path, label and reason.

    Args:
        films: manifest columns, those of check_films, contradicted_by and odd.
        validator: keeps the results for Data Docs.
        params: the limits.

    """
    expectations = film_expectations(params)
    checked = films[[expectation.column for expectation, _ in expectations]]
    reasons = failing_films(checked, validator.run("films", checked, expectations), expectations)
    quarantine = films.loc[sorted(reasons), ["film_id", "path", "label"]].copy()
    quarantine["reason"] = pd.array(["; ".join(reasons[row]) for row in sorted(reasons)], dtype="string")
    return quarantine


def _judge(films: pd.DataFrame, quarantine: pd.DataFrame, validator: Validator, params: ValidationParams) -> Verdict:
    """What is wrong with the set as a whole, and what attributes alone tell of the label.

    Args:
        films: those that are not in quarantine, with all columns.
        quarantine: of quarantined_films.
        validator: keeps the results for Data Docs.
        params: the limits.

    """
    usable = films[list(COLUMNS)]
    expectations = manifest_expectations(params)
    broken = broken_expectations(validator.run("manifest", usable, expectations), expectations)
    faults = [expectation.text for expectation in broken if expectation.critical]
    count = len(usable) + len(quarantine)
    share = len(quarantine) / count
    if share > params.max_quarantined:
        faults.insert(
            0,
            f"{len(quarantine)} of {count} films ({share:.1%}) are in quarantine, more than max_quarantined = "
            f"{params.max_quarantined:.1%}; most often: {next(iter(count_reasons(quarantine)))}",
        )
    audit = (
        ShortcutAudit(
            finding=params.finding, limit=params.max_shortcut, skipped="the films cannot be trusted as they are"
        )
        if faults
        else audit_shortcuts(films, params)
    )
    notes = [expectation.text for expectation in broken if not expectation.critical]
    return Verdict(usable, quarantine, faults, notes, audit)


def _log(verdict: Verdict, report: Path) -> None:
    for reason, count in verdict.counts.items():
        log.info("quarantined: %d × %s", count, reason)
    for note in verdict.notes:
        log.warning("note: %s", note)
    if verdict.audit.warning:
        log.warning("warning: %s (see %s)", verdict.audit.warning, report / REPORT)
