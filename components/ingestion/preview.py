"""`osteon ingest --dry-run`: what a folder gives, before anything is written."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from osteon.films.known_patients import PATTERN, count_patients
from osteon.films.layouts import files_left_out, read_layout
from osteon.films.left_out import skipped_line, warning_of
from osteon.films.path_patterns import patients_by_pattern, suggested_pattern
from osteon.params import DataParams

SHOWN, NAMED = 10, 3  # groups and reasons; films of each


def preview(source: Path, params: DataParams) -> list[str]:
    """Lines for a person: films, labels, patients and where they are from, and the groups of data.patient_pattern.

    Ids are hashed with a key that is forgotten, so not even a key is written.

    Raises:
        OsteonError: as read_layout.

    """
    rows = read_layout(source, params, secrets.token_bytes(32))
    left_out = files_left_out(source, rows, params.layout)
    others = [line for line in (warning_of(left_out), skipped_line(left_out)) if line]
    return [*_films(rows), *others, *_patients(rows, params), *_pattern(rows["path"], params), "nothing was written"]


def _films(rows: pd.DataFrame) -> Iterator[str]:
    labels = rows["label"]
    finding = ", ".join(sorted(rows["finding"].dropna().unique())) or "positive"
    yield (
        f"films {len(rows):,} · {finding} {int((labels == 1).sum()):,} · not {finding} {int((labels == 0).sum()):,}"
        + (f" · without a label {int(labels.isna().sum()):,}")
    )
    doubts = rows["doubt"].dropna().value_counts()
    for reason, count in doubts.head(SHOWN).items():
        yield f"  doubt about {count:,}: {reason}"
    if len(doubts) > SHOWN:
        yield f"  … and doubts of {len(doubts) - SHOWN:,} more kinds"


def _patients(rows: pd.DataFrame, params: DataParams) -> Iterator[str]:
    known = count_patients(rows)
    yield f"patients {known.line}"
    for kind in ("patient", "study"):
        sources = rows[f"{kind}_source"].dropna().value_counts()
        for source, count in sources.items():
            yield f"  {kind} by {source}: {_many(count)}"
    if known.unknown and (suggestion := suggestion_for(rows, params)):
        yield f"  {suggestion}"


def suggestion_for(rows: pd.DataFrame, params: DataParams) -> str | None:
    """Which pattern may find patients, where none is set, none is known and the paths look as if they named them."""
    if params.patient_pattern or rows["patient_id"].notna().any():
        return None
    paths = rows["path"]
    pattern = suggested_pattern(paths)
    if pattern is None:
        return None
    groups = patients_by_pattern(paths, pattern)
    return (
        f"the paths look as if they named patients: data.patient_pattern: '{pattern}' makes {groups.nunique():,} "
        f"groups of {int(groups.notna().sum()):,} films; set it if these are patients"
    )


def _pattern(paths: "pd.Series[str]", params: DataParams) -> Iterator[str]:
    if not params.patient_pattern:
        return
    groups = patients_by_pattern(paths, params.patient_pattern)
    matching = f"matches {int(groups.notna().sum()):,} of {len(paths):,} films"
    yield f"{PATTERN} '{params.patient_pattern}': groups {groups.nunique():,}, {matching}"
    for number, (patient, films) in enumerate(paths.groupby(groups)):
        if number == SHOWN:
            yield f"  … and {groups.nunique() - SHOWN:,} more"
            break
        yield f"  {patient}: {_many(len(films))}: {_listed(films)}"
    out = paths[groups.isna()]
    yield f"  falls out: {_many(len(out))}" + (f": {_listed(out)}" if len(out) else "")


def _many(films: int) -> str:
    return "1 film" if films == 1 else f"{films:,} films"


def _listed(paths: "pd.Series[str]") -> str:
    return ", ".join(paths.head(NAMED)) + (", …" if len(paths) > NAMED else "")
