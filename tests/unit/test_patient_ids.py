"""Whose film each is, by all that says so, and what is no id."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom import Dataset

from components.ingestion.preview import preview
from osteon.films.identity import keyed_hash
from osteon.films.layouts import read_layout
from osteon.films.path_patterns import patients_by_pattern, suggested_pattern
from osteon.films.patient_ids import with_ids
from osteon.films.reading.dicom_ids import identifying_tags
from osteon.films.reading.dicom_tags import read_tags
from osteon.params import Columns, DataParams
from tests.making import dicom, dicom_bytes, encoded, ramp, write

PNG = encoded(ramp(), "PNG")
PATTERN = r"^(?:.*/)?(P\d+)-"


def scan(path: Path, patient: str | None, study: str | None = None) -> None:
    tags = {name: value for name, value in (("PatientID", patient), ("StudyInstanceUID", study)) if value is not None}
    write(path, dicom_bytes(dicom(np.full((8, 8), 100, np.uint16), **tags)))


def hashed(patient: str) -> str:
    return keyed_hash(os.environ["OSTEON_IDENTITY_KEY"].encode(), "patient", patient)


def ids(root: Path, layout: str = "folders", **params: object) -> dict[str, str | None]:
    rows = read_layout(root, DataParams(layout=layout, **params))  # type: ignore[arg-type]
    return {
        str(name): None if pd.isna(value) else str(value)
        for name, value in zip(rows["film_id"], rows["patient_id"], strict=True)
    }


def joined(rows: dict[str, list[str | None]], tags: list[str | None] | None, **params: object) -> pd.DataFrame:
    """Rows of a layout whose files are not there, or have these PatientIDs."""
    count = len(next(iter(rows.values())))
    frame = pd.DataFrame({"path": [f"{number}.png" for number in range(count)]} | rows)
    with pytest.MonkeyPatch.context() as patch:
        of_tags = iter([{"PatientID": tag} if tag else {} for tag in tags or [None] * count])
        patch.setattr("osteon.films.patient_ids.identifying_tags", lambda _: next(of_tags))
        return with_ids(frame, Path(), DataParams(cores=1, **params))  # type: ignore[arg-type]


# ---------------------------------------------------------------- DICOM in every layout


@pytest.mark.parametrize("name", ["1.dcm", "1.DCM", "1.dicom"])
def test_class_folders_of_dicom_have_patients(tmp_path: Path, name: str) -> None:
    scan(tmp_path / "fractured" / name, "P7", "1.2")
    scan(tmp_path / "normal" / name, "P7 ", "1.3")
    write(tmp_path / "normal" / "a.png", PNG)
    found = ids(tmp_path)
    assert found == {f"fractured/{name}": hashed("P7"), f"normal/{name}": hashed("P7"), "normal/a.png": None}


def test_the_manifest_is_joined_with_tags(tmp_path: Path) -> None:
    """One film has a column, one a tag, one both; a name without extension is DICOM too."""
    scan(tmp_path / "IM0001", "MRN1")
    scan(tmp_path / "IM0002.IMA", "MRN1")
    write(tmp_path / "c.png", PNG)
    write(tmp_path / "manifest.csv", b"path,label,PatientID\nIM0001,1,4711\nIM0002.IMA,0,\nc.png,0,4711\n")
    assert ids(tmp_path, "manifest") == {name: hashed("4711") for name in ("IM0001", "IM0002.IMA", "c.png")}


def test_a_file_without_preamble_has_its_patient_and_no_doubt(tmp_path: Path) -> None:
    """A data set as a network transfer leaves it."""
    scanned = dicom(np.full((8, 8), 100, np.uint16), PatientID="P7", Modality="DX", BodyPartExamined="WRIST")
    bare = Dataset()
    for element in scanned:
        bare[element.tag] = element
    path = tmp_path / "fractured" / "IM0001"
    path.parent.mkdir()
    bare.save_as(path, implicit_vr=True, little_endian=True)
    assert identifying_tags(path)["PatientID"] == "P7"
    tags = read_tags(path.read_bytes())
    assert (tags.region, tags.doubt) == ("wrist", None)


def test_a_damaged_file_has_no_patient(tmp_path: Path) -> None:
    write(tmp_path / "fractured" / "a.dcm", b"\0" * 128 + b"DICM" + b"\xff" * 64)
    assert ids(tmp_path) == {"fractured/a.dcm": None}


# ---------------------------------------------------------------- what is no id


@pytest.mark.parametrize(
    "word",
    ["ANONYMOUS", "anonymous", "Anon", "Anonymized", "UNKNOWN", "unknown patient", "N/A", "NA", "None", "null", "-",
     "?", "XXXX", "xx", "0", "000", "0.0", "nan", "No ID", "removed", "PatientID"],
)  # fmt: skip
def test_a_word_for_none_is_no_id(word: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = joined({"patient_id": [word, word, "P2", "P3"]}, None)
    assert list(rows["patient_id"].fillna("")) == ["", "", "P2", "P3"]
    assert f"column: {word!r} is no id (2 of 4 films); their patient is unknown" in caplog.text


@pytest.mark.parametrize("word", ["ANON001", "X1", "10", "NA12", "P0", "00A"])
def test_what_looks_like_it_is_an_id(word: str, caplog: pytest.LogCaptureFixture) -> None:
    assert list(joined({"patient_id": [word, word, "P2"]}, None)["patient_id"]) == [word, word, "P2"]
    assert not caplog.text


def test_patient_0_is_one_where_there_is_a_patient_1() -> None:
    assert joined({"patient_id": ["0", "1", "2"]}, None)["patient_id"].notna().all()
    assert joined({"patient_id": ["0", "7", "9"]}, None)["patient_id"].isna().sum() == 1


def test_one_value_on_all_films_is_no_id(caplog: pytest.LogCaptureFixture) -> None:
    rows = joined({"label": [1] * 10, "study_id": list("aabbccddee")}, ["SITE-4"] * 10)
    assert rows["patient_id"].isna().all()
    assert rows["study_id"].nunique() == 5
    assert (
        "PatientID: 10 of 10 films in 5 studies have one value: it stands for none and is no id of a patient; "
        "their patient is unknown"
    ) in caplog.text
    assert "SITE-4" not in caplog.text
    assert joined({"label": [1] * 9}, ["SITE-4"] * 9)["patient_id"].notna().all()  # a patient may have nine films


def test_a_patient_with_all_films_in_one_study_is_a_patient() -> None:
    rows = joined({"study_id": ["s"] * 9 + ["t"] * 3, "label": [1] * 12}, ["P7"] * 9 + ["P8"] * 3)
    assert rows["patient_id"].nunique() == 2


def test_one_value_on_most_films_is_no_id_and_the_others_are() -> None:
    rows = joined({"label": [1] * 24}, ["SITE"] * 14 + [f"P{number // 2}" for number in range(10)])
    assert rows["patient_id"].isna().sum() == 14
    assert rows["patient_id"].nunique() == 5


def test_a_value_of_very_many_studies_is_no_id() -> None:
    sites = [f"SITE{number // 60}" for number in range(240)]
    rows = joined({"study_id": [f"s{number}" for number in range(240)]}, sites)
    assert rows["patient_id"].isna().all()


def test_a_study_of_all_films_is_none() -> None:
    rows = joined({"study_id": ["FRAC-TRIAL"] * 12, "patient_id": [f"P{number // 2}" for number in range(12)]}, None)
    assert rows["study_id"].isna().all()
    assert rows["patient_id"].nunique() == 6


# ---------------------------------------------------------------- several sources


def test_a_tag_becomes_the_patient_of_the_column(caplog: pytest.LogCaptureFixture) -> None:
    rows = joined({"patient_id": ["A", None, "B", None]}, ["x", "x", "y", "z"])
    assert list(rows["patient_id"]) == ["A", "A", "B", "z"]
    assert list(rows["patient_source"]) == ["column", "DICOM tag", "column", "DICOM tag"]
    assert not caplog.text


def test_contradicting_sources_join_and_are_said(caplog: pytest.LogCaptureFixture) -> None:
    rows = joined({"patient_id": ["A", "B", "C", "B", None]}, ["x", "x", "y", None, "x"])
    assert list(rows["patient_id"]) == ["A", "A", "C", "A", "A"]
    assert caplog.messages == [
        "the ids contradict each other: 1 of those by DICOM tag is several by column; all these count as one patient"
    ]
    caplog.clear()
    rows = joined({"patient_id": ["A", "A", "B"]}, ["x", "y", "z"])
    assert list(rows["patient_id"]) == ["A", "A", "B"]
    assert "1 of those by column is several by DICOM tag" in caplog.text


def test_what_was_asked_for_is_believed(caplog: pytest.LogCaptureFixture) -> None:
    rows = joined({"who": ["A", "B"], "patient_id": ["A", "B"]}, ["x", "x"], columns=Columns(patient="who"))
    assert list(rows["patient_id"]) == ["A", "B"]
    assert "column is believed, as a parameter asks for it" in caplog.text
    rows = joined({"patient_id": ["A", "A", "A"]}, None, patient_pattern=r"^([01])")
    assert list(rows["patient_id"]) == ["0", "1", "0"]
    assert list(rows["patient_source"]) == ["data.patient_pattern", "data.patient_pattern", "column"]


def test_a_study_of_several_patients_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """An anonymiser that gives every file a patient of its own."""
    rows = joined({"study_id": ["s", "s", "t"], "study_source": ["DICOM tag"] * 3}, ["x1", "x2", "x3"])
    assert rows["patient_id"].nunique() == 3
    assert "1 of 2 studies have films of several patients" in caplog.text
    caplog.clear()
    joined({"study_pseudonym": ["s", "s", "t"], "study_source": ["guess"] * 3}, ["x1", "x2", "x3"])
    assert not caplog.text


def test_a_column_that_no_table_has_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "fractured" / "a.png", PNG)
    ids(tmp_path, columns=Columns(patient="who"))
    assert "data.columns.patient is who, and the layout folders reads no table with it" in caplog.text


def test_studies_numbered_within_each_patient_are_apart(caplog: pytest.LogCaptureFixture) -> None:
    rows = joined({"patient_id": ["A", "A", "B", None], "study_id": ["1", "2", "1", "2"]}, None)
    assert list(rows["study_id"]) == ["A 1", "2", "B 1", "2"]
    assert "numbered within each patient" in caplog.text


def test_pseudonyms_stay_and_tags_are_hashed(tmp_path: Path) -> None:
    scan(tmp_path / "a.dcm", "x")
    scan(tmp_path / "b.dcm", "y")
    write(tmp_path / "manifest.csv", b"path,label,patient_pseudonym\na.dcm,1,P1\nb.dcm,0,\n")
    assert ids(tmp_path, "manifest") == {"a.dcm": "P1", "b.dcm": hashed("y")}


# ---------------------------------------------------------------- the pattern


def test_the_group_of_a_pattern() -> None:
    paths = pd.Series(["x/P1-2.png", "P2-1.png", "Q3.png", "P-1.png"])
    assert list(patients_by_pattern(paths, PATTERN).fillna("")) == ["P1", "P2", "", ""]
    assert list(patients_by_pattern(paths, r"(.*/)?(?P<patient>P\d*)-").fillna("")) == ["P1", "P2", "", "P"]
    assert list(patients_by_pattern(paths, r"P(\d*)-").fillna("")) == ["1", "2", "", ""]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("P[0-9", "is no regular expression"), ("P[0-9]+-", "has no group: put brackets"), ("(?:P)", "has no group")],
)
def test_a_pattern_is_checked_when_the_file_is_read(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DataParams(patient_pattern=pattern)


def test_which_pattern_is_suggested() -> None:
    named = pd.Series([f"fractured/P{number // 4:05}-{number % 4}-lateral.jpg" for number in range(40)])
    pattern = suggested_pattern(named)
    assert pattern is not None
    assert patients_by_pattern(named, pattern).nunique() == 10
    assert suggested_pattern(pd.Series([f"images/IMG{number:07}.jpg" for number in range(40)])) is None
    assert suggested_pattern(pd.Series([f"fractured/{number}.jpg" for number in range(40)])) is None
    folders = pd.Series([f"train/patient{number // 3:05}/image{number % 3}.png" for number in range(60)])
    pattern = suggested_pattern(folders)
    assert pattern is not None
    assert set(patients_by_pattern(folders, pattern)) == {f"patient{number:05}" for number in range(20)}


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve patients of two films, and a film that names nobody."""
    folder = tmp_path_factory.mktemp("named") / "films"
    for number in range(24):
        word = "fractured" if number % 2 else "normal"
        write(folder / word / f"P{number // 2:05}-1-{number % 2}.png", PNG)
    return folder


def test_a_dry_run_shows_the_groups_and_writes_nothing(
    class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OSTEON_IDENTITY_KEY")
    lines = preview(class_folders, DataParams(layout="folders", patient_pattern=r"(P\d+)-1-[01]"))
    assert lines[0] == "films 24 · fractured 12 · not fractured 12 · without a label 0"
    assert lines[1] == "patients known for 24 of 24 films (12 patients)"
    assert r"data.patient_pattern '(P\d+)-1-[01]': groups 12, matches 24 of 24 films" in lines
    assert "  P00000: 2 films: fractured/P00000-1-1.png, normal/P00000-1-0.png" in lines
    assert lines[-3:] == ["  … and 2 more", "  falls out: 0 films", "nothing was written"]
    lines = preview(class_folders, DataParams(layout="folders", patient_pattern=r"fractured/(P\d+)"))
    assert lines[1].startswith("patients known for 12 of 24 films (12 patients)")
    out = next(line for line in lines if "falls out" in line)
    assert out == "  falls out: 12 films: normal/P00000-1-0.png, normal/P00001-1-0.png, normal/P00002-1-0.png, …"
    lines = preview(class_folders, DataParams(layout="folders"))
    assert lines[1] == "patients unknown, known for 0 of 24 films; studies are unknown too"
    assert "makes 12 groups of 24 films; set it if these are patients" in lines[2]
    assert not list(tmp_path.iterdir())
