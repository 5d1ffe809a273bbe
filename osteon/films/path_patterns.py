"""Patients by the films' paths: data.patient_pattern, and which pattern may be meant where none is set."""

import re

import pandas as pd

# Patterns that sets' names often follow, the surest first: patient00006/…, P00028-1-lateral, 4711_2.
USUAL = (
    r"(?i)^(?:.*/)?((?:patient|pat|subject|sub|case)[-_ ]?[0-9]+)(?![0-9])",
    r"^(?:.*/)?([A-Za-z]*[0-9]+)[-_ ][^/]*$",
    r"^(?:.*/)?([^/]*[0-9][^/]*)/[^/]+$",
)
FEW = 10  # films; of fewer nothing is suggested


def patients_by_pattern(paths: "pd.Series[str]", pattern: str) -> "pd.Series[str]":
    """The patient that each path names; null where the pattern does not match, or its group is empty.

    Args:
        paths: below the folder, with '/'.
        pattern: a regular expression that may match anywhere; its group named patient, else its first group.

    """
    form = re.compile(pattern)
    group: str | int = "patient" if "patient" in form.groupindex else 1

    def patient(path: str) -> str | None:
        match = form.search(path)
        return (match[group] or "").strip() or None if match else None

    return pd.Series([patient(str(path)) for path in paths], index=paths.index, dtype="string")


def suggested_pattern(paths: "pd.Series[str]") -> str | None:
    """A usual pattern by which the paths fall into groups as films of patients do; None where none does.

    Such groups take in nine films of ten, most films are not alone in theirs, and none has more than a tenth of all.
    """
    if len(paths) < FEW:
        return None
    for pattern in USUAL:
        films = patients_by_pattern(paths, pattern).value_counts()
        if films.empty or films.sum() < 0.9 * len(paths):
            continue
        if films[films > 1].sum() > films.sum() / 2 and films.iloc[0] <= max(0.1 * len(paths), 2):
            return pattern
    return None
