"""A column that says whose film it is is taken and named, or refused and named."""

import logging

import pandas as pd
import pytest

from osteon.errors import OsteonError
from osteon.films.id_columns import id_columns
from osteon.params import Columns


def taken(columns: Columns | None = None, **table: list[str | None]) -> dict[str, str]:
    frame = pd.DataFrame({name.replace("_blank_", " "): values for name, values in table.items()}, dtype="string")
    return id_columns(frame, "labels.csv", columns or Columns())


@pytest.mark.parametrize(
    "name",
    ["patient", "patient_id", "PatientID", "Patient ID", "patient-id", "PATIENT_ID", "pat_id", "PatID", "pid", "pat",
     "mrn", "MRN", "subject", "subject_id", "SubjectID", "patient_no", "patientennummer", "Patienten-Nr", "id_patient",
     "hasta_no", "Hasta ID", "paciente_id", "ID_paciente", "anon_patient_id", "patient_key", "participant_id"],
)  # fmt: skip
def test_a_column_with_the_patient(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert id_columns(pd.DataFrame({"filename": ["a"], name: ["7"]}), "labels.csv", Columns()) == {
            "patient_id": name
        }
    assert caplog.messages == [f"labels.csv: column {name} is taken as the patient"]


@pytest.mark.parametrize(
    "name", ["study", "study_id", "StudyID", "StudyInstanceUID", "accession", "AccessionNumber", "exam_id", "Exam No"]
)
def test_a_column_with_the_study(name: str) -> None:
    assert id_columns(pd.DataFrame({name: ["7"]}), "labels.csv", Columns()) == {"study_id": name}


@pytest.mark.parametrize(
    "name",
    ["patient_age", "PatientSex", "patient_position", "filename", "fractured", "spatial", "study_date", "age", "id",
     "site", "hospital_id", "examiner", "path", "paths", "part", "pathology"],
)  # fmt: skip
def test_other_columns_are_not_taken_and_nothing_is_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert id_columns(pd.DataFrame({name: ["7"]}), "labels.csv", Columns()) == {}
    assert not caplog.messages


@pytest.mark.parametrize("name", ["case", "case_id", "patient_name", "patient_hash_v2", "person_ref"])
def test_a_column_that_may_be_it_is_named_and_how_to_take_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({name: ["7"]})
    assert id_columns(table, "labels.csv", Columns()) == {}
    assert f"if {name} says who it is, set data.columns.patient: {name}" in caplog.text
    assert id_columns(table, "labels.csv", Columns(patient=name)) == {"patient_id": name}


def test_a_pseudonym_keeps_its_form() -> None:
    assert taken(patient_pseudonym=["a"], study_pseudonym=["b"]) == {
        "patient_pseudonym": "patient_pseudonym",
        "study_pseudonym": "study_pseudonym",
    }


def test_two_columns_that_differ_are_an_error_until_one_is_named() -> None:
    table = {"patient_id": ["1", "1", "2"], "subject": ["a", "b", "b"]}
    with pytest.raises(OsteonError, match=r"patient_id and subject may each be the patient.*data\.columns\.patient"):
        taken(**table)
    assert taken(Columns(patient="subject"), **table) == {"patient_id": "subject"}


def test_two_columns_that_say_the_same_are_one() -> None:
    assert taken(patient_id=["1", "1", "2"], mrn=["x9", "x9", "x8"]) == {"patient_id": "patient_id"}
    assert taken(patient_id=[None, None], mrn=["x9", "x8"]) == {"patient_id": "mrn"}


def test_a_named_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OsteonError, match=r"no column whose, which data\.columns\.patient names; it has filename, who"):
        taken(Columns(patient="whose"), filename=["a"], who=["b"])
    assert taken(Columns(patient="Whose"), whose=["b"]) == {"patient_id": "whose"}


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["3", "3.0", "003", "4"], "writes 1 id in several ways"),
        (["3", "3.0", "12", "012"], "writes 2 ids in several ways"),
        (["p3", "P3"], "writes 1 id in several ways"),
        (["P-03", "P-3"], "writes 1 id in several ways"),
        (["3", " 3 ", "30", "3.5", "P3", "300"], None),
        (["3", "3", None, ""], None),
        (["1.2.840.1", "1.2.840.10"], None),
    ],
)
def test_one_id_in_several_spellings_is_said(
    ids: list[str | None], said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    taken(patient_id=ids)
    assert (said in caplog.text) if said else "in several ways" not in caplog.text
    assert not any(shown in message for message in caplog.messages for shown in ("P-3", "012"))
