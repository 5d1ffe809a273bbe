"""Whose film each is, from all that says so: the path by a pattern, the layout (tables, folders), DICOM's tags.

What comes out goes to identity.py, which hashes it. What is no id although it stands where one should (ANONYMOUS, one
value on all films) is taken for unknown, and that is said. No message quotes an id.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from osteon.films.groups import connected_components, with_first_of_its_kind
from osteon.films.id_columns import KINDS
from osteon.films.known_patients import COLUMN, GUESS, PATTERN, PSEUDONYM, TAG
from osteon.films.path_patterns import patients_by_pattern
from osteon.films.reading.dicom_ids import PATIENT, STUDY, identifying_tags
from osteon.params import DataParams
from osteon.progress import progress
from osteon.threads import over_cores

log = logging.getLogger(__name__)

FEW, MANY = 10, 20  # films; of fewer nothing is said about what all, or most, have in common
LARGEST_STUDY, MOST_STUDIES = 40, 50  # films of a study, studies of a patient: there are none with more
# Of a text in lower case, letters and digits alone.
NO_ID = re.compile(
    r"x{2,}|(?:anon|anonym|anonyme|anonymous|anonymi[sz]ed|anonymisiert|deidentified|pseudonymi[sz]ed|redacted|removed"
    r"|masked|hidden|private|confidential|default|empty|blank|missing|unknown|unk|unbekannt|inconnu|desconocido"
    r"|bilinmiyor|undefined|unspecified|no|na|nan|nil|none|null|notavailable|notapplicable|tbd)?(?:patient)?(?:id|name)?"
)


class Ids(NamedTuple):
    """The ids of one kind from one source, a value a film; null where it says nothing.

    source: as the manifest's patient_source has it. explicit: the user asked for it by a parameter.
    """

    source: str
    values: "pd.Series[str]"
    explicit: bool = False


def with_ids(rows: pd.DataFrame, root: Path, params: DataParams) -> pd.DataFrame:
    """Give a layout's rows the ids of patients and studies of all sources, and which source each is from.

    Args:
        rows: of a layout: path, and where it has them patient_id, study_id (the source's own) or patient_pseudonym,
            study_pseudonym (which name nobody), patient_source, study_source.
        root: of the paths.
        params: patient_pattern, columns, cores.

    Returns:
        The rows with patient_id, study_id (own ids, to be hashed), patient_pseudonym, study_pseudonym (of other films;
        both null where nothing is known) and patient_source, study_source.

    """
    of_tags = read_tags_of(rows["path"], root, params.cores)
    sources = {
        "patient": [Ids(PATTERN, patients_by_pattern(rows["path"], params.patient_pattern), explicit=True)]
        if params.patient_pattern
        else [],
        "study": [],
    }
    for kind, tag in zip(KINDS, (PATIENT, STUDY), strict=True):
        if (column := getattr(params.columns, kind)) and not {f"{kind}_id", f"{kind}_pseudonym"} & set(rows.columns):
            log.warning("data.columns.%s is %s, and the layout %s reads no table with it", kind, column, params.layout)
        sources[kind] += _of_layout(rows, kind, explicit=bool(getattr(params.columns, kind)))
        sources[kind].append(Ids(TAG, of_tags[tag]))
    studies = [_without_non_ids(ids, "study") for ids in sources["study"]]
    study = next((ids.values for ids in reversed(studies) if ids.values.notna().any()), None)
    patients = [_without_non_ids(ids, "patient", study) for ids in sources["patient"]]
    joined = {"patient": _joined(patients, "patient")}
    studies = [_apart_by_patient(ids, joined["patient"][0]) for ids in studies]
    joined["study"] = _joined(studies, "study")
    _warn_of_studies_of_several(joined["patient"][0], *joined["study"])
    rows = rows.drop(columns=[f"{kind}_{form}" for kind in KINDS for form in FORMS], errors="ignore")
    for kind, (ids, source) in joined.items():
        kept = source == PSEUDONYM
        kept = kept.fillna(False) | (source == GUESS).fillna(False)
        rows[f"{kind}_id"], rows[f"{kind}_pseudonym"] = ids.mask(kept), ids.where(kept)
        rows[f"{kind}_source"] = source
    return rows


FORMS = ("id", "pseudonym", "source")


def read_tags_of(paths: "pd.Series[str]", root: Path, cores: int) -> pd.DataFrame:
    """PatientID and StudyInstanceUID of every file that is DICOM, on the index of the paths."""

    def read_block(numbers: Sequence[int]) -> list[dict[str, str]]:
        return [identifying_tags(root / path) for path in paths.iloc[numbers[0] : numbers[-1] + 1]]

    tags = list(progress(over_cores(read_block, range(len(paths)), cores), "patients", total=len(paths)))
    columns = {tag: pd.array([_bare(of_film.get(tag)) for of_film in tags], dtype="string") for tag in (PATIENT, STUDY)}
    return pd.DataFrame(columns, index=paths.index)


def _bare(identity: object) -> str | None:
    text = "" if identity is None or identity is pd.NA else str(identity).strip(" \t\r\n\0")
    return text or None


def _of_layout(rows: pd.DataFrame, kind: str, *, explicit: bool) -> list[Ids]:
    """What the layout itself says, own ids or pseudonyms."""
    own, kept = f"{kind}_id", f"{kind}_pseudonym"
    column = kept if kept in rows and (own not in rows or rows[kept].notna().any()) else own
    if column not in rows:
        return []
    usual = PSEUDONYM if column == kept else COLUMN
    source = rows[f"{kind}_source"].dropna() if f"{kind}_source" in rows else pd.Series(dtype="string")
    values = pd.Series([_bare(value) for value in rows[column].astype("string")], index=rows.index, dtype="string")
    return [Ids(str(source.iloc[0]) if len(source) else usual, values, explicit)]


# ---------------------------------------------------------------- what is no id


def _without_non_ids(ids: Ids, kind: str, study: "pd.Series[str] | None" = None) -> Ids:
    """The ids without words that mean 'none', and without one value that too many films have to be one of anything.

    Args:
        ids: of a source.
        kind: patient or study.
        study: of each film, to tell a patient with many films from a placeholder; None: not known.

    """
    if ids.source == GUESS:
        return ids
    values, where = ids.values, {"patient": PATIENT, "study": STUDY}[kind] if ids.source == TAG else ids.source
    words = _words_for_none(values)
    if count := int(words.sum()):
        most = str(values[words].value_counts().index[0])
        log.warning(
            "%s: %r%s is no id (%d of %d films); their %s is unknown",
            where,
            most,
            " and the like" if values[words].nunique() > 1 else "",
            count,
            len(values),
            kind,
        )
        values = values.mask(words)
    while (placeholder := _placeholder(values, kind, study)) is not None:
        films = (values == placeholder).fillna(False)
        of_studies = study[films].nunique() if kind == "patient" and study is not None else 0
        log.warning(
            "%s: %d of %d films%s have one value: it stands for none and is no id of a %s; their %s is unknown",
            where,
            int(films.sum()),
            len(values),
            f" in {of_studies} studies" if of_studies else "",
            kind,
            kind,
        )
        values = values.mask(films)
    return ids._replace(values=values)


def _placeholder(values: "pd.Series[str]", kind: str, study: "pd.Series[str] | None") -> str | None:
    """The commonest value, if it is on more films or studies than one patient, or study, has."""
    counts = values.value_counts()
    if counts.empty:
        return None
    value, films, known = str(counts.index[0]), int(counts.iloc[0]), int(counts.sum())
    most = films == known >= FEW or (films > known / 2 and known >= MANY)
    if kind == "study":
        return value if most or films > LARGEST_STUDY else None
    its_studies = study[(values == value).fillna(False)] if study is not None else pd.Series(dtype="string")
    if most and its_studies.notna().sum() == films and its_studies.nunique() == 1:
        return None  # a patient in one study
    return value if most or its_studies.nunique() > MOST_STUDIES else None


def _words_for_none(values: "pd.Series[str]") -> "pd.Series[bool]":
    """Which values are words or signs for 'no id'; 0 is one unless other films are numbered 1, 2, …."""
    different = values.dropna().drop_duplicates()
    numbered_from_0 = bool(different.str.fullmatch(r"0*1(\.0*)?").any())

    def means_none(text: str) -> bool:
        plain = "".join(letter for letter in text.casefold() if letter.isalnum())
        if re.fullmatch(r"0+(\.0*)?", text):
            return not numbered_from_0
        return bool(NO_ID.fullmatch(plain))

    none = {text for text in different if means_none(text)}
    return values.isin(none)


# ---------------------------------------------------------------- several sources


def _apart_by_patient(ids: Ids, patient: "pd.Series[str]") -> Ids:
    """Study ids of a table that are numbered within each patient (1, 2, …), made different for each patient."""
    if ids.source != COLUMN:
        return ids
    several = patient.groupby(ids.values).transform("nunique") > 1
    several = several.fillna(False) & patient.notna()
    if not several.any():
        return ids
    log.warning("one study id stands on films of several patients: studies are taken as numbered within each patient")
    return ids._replace(values=ids.values.mask(several, patient + " " + ids.values))


def _warn_of_studies_of_several(patient: "pd.Series[str]", study: "pd.Series[str]", source: "pd.Series[str]") -> None:
    """Say where a study is of several patients, as it is where each file was given an id of its own."""
    patients = patient.groupby(study.mask((source == GUESS).fillna(False))).nunique()
    if several := int((patients > 1).sum()):
        log.warning(
            "%d of %d studies have films of several patients, so ids of patients may have been made up film by film; "
            "films of one study stay together, those of one patient may not",
            several,
            len(patients),
        )


def _joined(sources: list[Ids], kind: str) -> "tuple[pd.Series[str], pd.Series[str]]":
    """One id a film from several sources, and the source of each.

    The first source that knows a film names it. Another source's id becomes the id of the first where films have both.
    Where two sources contradict each other (one id of the one is several of the other), films are joined by both, which
    is safe; an explicit source is believed. Both are said.

    Args:
        sources: the most trusted first, on one index.
        kind: for messages.

    """
    first = sources[0]
    ids, source = first.values, first.values.mask(first.values.notna(), first.source)
    for other in sources[1:]:
        if _contradict(ids, other, _names(source), kind, believed=first.explicit) and not first.explicit:
            links = np.concatenate([with_first_of_its_kind(ids), with_first_of_its_kind(other.values)])
            component = pd.Series(connected_components(len(ids), links), index=ids.index)
            ids = ids.groupby(component).transform("min").where(ids.notna())
        both = pd.DataFrame({"ids": ids, "other": other.values}).dropna().drop_duplicates("other")
        filled = other.values.map(both.set_index("other")["ids"]).astype("string").fillna(other.values)
        source = source.fillna(filled.mask(filled.notna(), other.source))
        ids = ids.fillna(filled)
    return ids.astype("string"), source.astype("string")


def _contradict(ids: "pd.Series[str]", other: Ids, name: str, kind: str, *, believed: bool) -> bool:
    """Whether one id of one source is several ids of another on the same films; which is said."""
    both = pd.DataFrame({"ids": ids, "other": other.values}).dropna().drop_duplicates()
    finer = both["other"].duplicated(keep=False)
    coarser = both["ids"].duplicated(keep=False)
    for count, of, others in (
        (both.loc[finer, "other"].nunique(), other.source, name),
        (both.loc[coarser, "ids"].nunique(), name, other.source),
    ):
        if count:
            log.warning(
                "the ids contradict each other: %d of those by %s %s several by %s; %s",
                count,
                of,
                "is" if count == 1 else "are",
                others,
                f"{name} is believed, as a parameter asks for it" if believed else f"all these count as one {kind}",
            )
    return bool(finer.any())


def _names(source: "pd.Series[str]") -> str:
    return " and ".join(str(name) for name in source.dropna().unique()) or "none"
