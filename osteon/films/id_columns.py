"""Which column of a table says whose film it is. A column that does is taken and named, or refused and named."""

import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping

import pandas as pd

from osteon.errors import OsteonError
from osteon.params import Columns

log = logging.getLogger(__name__)

KINDS = ("patient", "study")
_NUMBER = r"(?:identifier|ident|id|uid|no|nr|num|number|nummer|numero|key|code|hash|pseudonym)"
_MADE = r"(?:anon|anonymi[sz]ed|anonymous|pseudo|pseudonymi[sz]ed|hashed|deidentified|dicom|original)?"
_PERSON = r"(?:patients?|patienten|pat|pt|subjects?|subj|person|participant|paciente|paziente|hasta)"
# Names in lower case, of letters and digits alone: 'Patient ID', 'patient_id' and 'PatientID' are one.
_NAMES = {
    "patient": re.compile(
        rf"{_MADE}{_PERSON}{_NUMBER}?|{_NUMBER}(?:de)?{_PERSON}|pid|mrn|medicalrecord{_NUMBER}|emprid|empi"
    ),
    "study": re.compile(
        rf"{_MADE}(?:study|exam|accession|estudio|etude|untersuchungs?|tetkik)(?:instance)?{_NUMBER}?"
        rf"|(?:examination|untersuchung){_NUMBER}|{_NUMBER}(?:de)?(?:study|exam|estudio|etude)"
    ),
}
# Columns about a patient that do not say who it is.
_ABOUT = re.compile(
    r"age|sex|gender|birth|dob|height|weight|size|position|orientation|history|comment|species|ethnic|race|count|class"
    r"|type|status|date|time|films|images"
)
_MAY_BE = re.compile(r"patient|hasta|paciente|paziente|subject|^cases?(id|no|nr|number)?$|^person")


def id_columns(table: pd.DataFrame, name: str, columns: Columns) -> dict[str, str]:
    """The columns of a table that hold ids, by what they become: patient_id, study_id, or …_pseudonym.

    What is taken is logged; so is a column that may hold patients' ids and is not taken, with how to name it.

    Args:
        table: as text.
        name: of the table, for messages.
        columns: patient and study name a column; empty: it is looked for by its name.

    Raises:
        OsteonError: the named column is not there, or several columns may be it.

    """
    taken = {}
    for kind in KINDS:
        column = _column_of(kind, table, name, getattr(columns, kind))
        if column is not None:
            form = "pseudonym" if _plain(column).endswith("pseudonym") else "id"
            taken[f"{kind}_{form}"] = column
            log.info("%s: column %s is taken as the %s", name, column, kind)
            _warn_of_spellings(table[column], f"{name}: column {column}", kind)
    if not any(key.startswith("patient") for key in taken):
        others = [column for column in table.columns if _MAY_BE.search(_plain(column)) and column not in taken.values()]
        if others := [column for column in others if not _ABOUT.search(_plain(column))]:
            log.warning(
                "%s: no column is taken as the patient; if %s says who it is, set data.columns.patient: %s",
                name,
                " or ".join(others[:3]),
                others[0],
            )
    return taken


def _column_of(kind: str, table: pd.DataFrame, name: str, wanted: str) -> str | None:
    """The column of a table that holds the ids of a kind; None where there is none."""
    if wanted:
        if wanted in table:
            return wanted
        alike = [column for column in table.columns if _plain(column) == _plain(wanted)]
        if len(alike) != 1:
            raise OsteonError(
                f"{name}: no column {wanted}, which data.columns.{kind} names; it has {', '.join(table.columns)}"
            )
        return str(alike[0])
    fitting = [str(column) for column in table.columns if _NAMES[kind].fullmatch(_plain(column))]
    fitting = [column for column in fitting if table[column].notna().any()] or fitting[:1]
    kept = [column for column in fitting if _plain(column).endswith("pseudonym")]
    if kept and len(kept) < len(fitting):
        hashed = next(column for column in fitting if column not in kept)
        raise OsteonError(
            f"{name} has both {hashed}, which is hashed, and {kept[0]}, which is kept as it is; leave one out, or name "
            f"the right one in data.columns.{kind}"
        )
    if len(fitting) > 1 and not all(_say_the_same(table[fitting[0]], table[other]) for other in fitting[1:]):
        raise OsteonError(
            f"{name}: {' and '.join(fitting)} may each be the {kind}, and they differ; name the right one, "
            f"as in data.columns.{kind}: {fitting[0]}"
        )
    return fitting[0] if fitting else None


def _say_the_same(first: "pd.Series[str]", second: "pd.Series[str]") -> bool:
    """Whether two columns tell the same rows apart."""
    pairs = pd.DataFrame({"first": first, "second": second}).drop_duplicates()
    return not (pairs["first"].duplicated().any() or pairs["second"].duplicated().any())


def _warn_of_spellings(ids: "pd.Series[str]", where: str, kind: str) -> None:
    """Say where a table seems to write one id in several ways. None of them is shown: it may name somebody."""
    different = ids.dropna().astype(str).str.strip()
    different = different[different != ""].drop_duplicates()
    forms = different.map(_one_spelling)
    ways = forms.value_counts()
    if twice := int((ways > 1).sum()):
        log.warning(
            "%s writes %d %s in several ways, as 3, 3.0 and 003, or p3 and P3, would be. They count as different, so "
            "films of one %s may lie on both sides of a split; write each id in one way",
            where,
            twice,
            "id" if twice == 1 else "ids",
            kind,
        )


def _one_spelling(identity: str) -> str:
    """What spellings of one id have in common: lower case, no blanks, no zeros before or behind a number."""
    text = re.sub(r"\s+", "", unicodedata.normalize("NFKC", identity).casefold())
    number = re.fullmatch(r"\+?(\d+)[.,]0*", text)
    return re.sub(r"(?<!\d)0+(?=\d)", "", number[1] if number else text)


def _plain(column: object) -> str:
    """A column's name in lower case, letters and digits alone."""
    letters = unicodedata.normalize("NFKD", str(column).casefold())
    return "".join(letter for letter in letters if letter.isalnum())


def agreed_ids(rows: Iterable[Mapping[str, object]], taken: dict[str, str]) -> dict[str, str | None]:
    """The ids of one film from its rows of a table; null where they name several, or none.

    Args:
        rows: those of the film.
        taken: of id_columns.

    """
    rows = list(rows)
    ids: dict[str, str | None] = {}
    for key, column in taken.items():
        values = {text.strip() for row in rows if isinstance(text := row[column], str)} - {""}
        ids[key] = values.pop() if len(values) == 1 else None
    return ids
