"""What is said of patients is counted from rows."""

import pandas as pd
import pytest

from osteon.films.known_patients import KnownPatients, count_patients


def counted(patients: list[str | None], studies: list[str | None], source: str = "column") -> KnownPatients:
    films = pd.DataFrame({"patient_id": patients, "study_id": studies}, dtype="string")
    for kind in ("patient", "study"):
        films[f"{kind}_source"] = films[f"{kind}_id"].mask(films[f"{kind}_id"].notna(), source)
    return count_patients(films)


@pytest.mark.parametrize(
    ("patients", "studies", "source", "line"),
    [
        (["a", "a", "b"], [None] * 3, "column", "known for 3 of 3 films (2 patients)"),
        (["a", "a", "a"], [None] * 3, "column", "known for 3 of 3 films (1 patient)"),
        ([None] * 3, [None] * 3, "column", "unknown, known for 0 of 3 films; studies are unknown too"),
        (
            [None] * 3,
            ["x", "x", None],
            "DICOM tag",
            "unknown, known for 0 of 3 films; the study is known for 2 (1 study)",
        ),
        (
            [None] * 3,
            ["x", "x", "y"],
            "guess",
            "unknown, known for 0 of 3 films; studies are guessed from file numbers",
        ),
        (
            ["a", "b", None],
            ["x", "y", "z"],
            "DICOM tag",
            "known for 2 of 3 films (2 patients); the study is known for 3 (3 studies)",
        ),
    ],
)
def test_the_line(patients: list[str | None], studies: list[str | None], source: str, line: str) -> None:
    assert counted(patients, studies, source).line == line


def test_a_warning_only_where_something_is_unknown() -> None:
    assert counted(["a", "b"], [None, None]).warning is None
    assert str(counted(["a", None], [None, None]).warning).startswith(
        "the patient of 1 of 2 films is unknown, so films"
    )
    assert str(counted([None, None], [None, None]).warning).startswith("patients are unknown, so films of one patient")


def test_what_a_group_is() -> None:
    assert counted(["a", "b"], ["x", "y"]).group == "patients and copies of their films"
    unknown = "patients are unknown, so one may be in several groups"
    assert counted([None] * 2, [None] * 2).group == f"copies of a film; {unknown}"
    assert counted([None] * 2, ["x", "y"]).group == f"studies and copies of a film; {unknown}"
    guessed = counted([None] * 2, ["x", "y"], "guess").group
    assert guessed == f"studies guessed from file numbers and copies of a film; {unknown}"
    assert counted(["a", None], [None] * 2).group == (
        "patients where they are known, copies of a film; for 1 of 2 films the patient is unknown, so one may be in "
        "several groups"
    )
