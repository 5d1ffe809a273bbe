"""Which row of a table labels which film, and what is a doubt."""

import time
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osteon.errors import OsteonError
from osteon.films.labels.label_rows import read_label_table, with_labels
from osteon.films.layouts import read_layout
from osteon.params import DataParams
from tests.making import dicom, dicom_bytes, encoded, ramp, write

PNG = encoded(ramp(), "PNG")


def labelled(
    root: Path, films: list[str], tables: dict[str, str], params: DataParams | None = None, **tags: list[str]
) -> dict[str, tuple[int | None, str | None]]:
    """Label and doubt of each film, and of each row that names none."""
    params = params or DataParams()
    frame = pd.DataFrame({"film_id": films, "path": films, "finding": "fractured"} | tags)
    read = [
        read_label_table(write(root / place, f"filename,fractured\n{rows}".encode()), frame, params)
        for place, rows in tables.items()
    ]
    rows = with_labels(frame, read, root, params)
    assert set(rows.columns).isdisjoint({"SOPInstanceUID", "StudyInstanceUID", "PatientID"})
    assert rows["film_id"].is_unique
    return {
        path: (None if pd.isna(label) else int(label), None if pd.isna(doubt) else doubt)
        for path, label, doubt in zip(rows["path"], rows["label"], rows["doubt"], strict=True)
    }


# ---------------------------------------------------------------- a film by its path


@pytest.mark.parametrize(
    ("name", "film"),
    [
        ("a/IM1.png", "a/IM1.png"),
        ("./a/IM1.png", "a/IM1.png"),
        ("a//x/../IM1.png", "a/IM1.png"),
        ("a\\IM1.png", "a/IM1.png"),
        (".\\A\\im1.PNG", "a/IM1.png"),
        (" a/IM1.png ", "a/IM1.png"),
        ("IM1.png", "a/IM1.png"),
        ("IM1", "a/IM1.png"),
        ("im1", "a/IM1.png"),
        ("IM1.jpg", "a/IM1.png"),
        ("IM1.DCM", "a/IM1.png"),
        ("a/IM1", "site/a/IM1.png"),
        ("a/IM1.png", "site/a/IM1.png"),
        ("a\\IM1.tif", "site/A/IM1.png"),
        ("IM0001.dcm", "IM0001"),
        ("1.2.840.113", "x/1.2.840.113"),
        ("1.2.840.113.dcm", "x/1.2.840.113"),
        ("Röntgen.png", unicodedata.normalize("NFD", "Röntgen.png")),
        (unicodedata.normalize("NFD", "É/Ö.png"), "é/ö.png"),
        ("STRASSE.png", "Straße.png"),
        ("ä\\b.png", "ä\\b.png"),
    ],
)
def test_a_row_finds_its_film(tmp_path: Path, name: str, film: str) -> None:
    found = labelled(tmp_path, [film, "other.png"], {"t.csv": f"{name},yes\nother.png,no\n"})
    assert found == {film: (1, None), "other.png": (0, None)}


@pytest.mark.parametrize(
    ("name", "film"),
    [
        ("IM1.png", "xIM1.png"),
        ("IM1.png", "a/1IM1.png"),
        ("2024/IM1.png", "2023/IM1.png"),
        ("024/IM1.png", "2024/IM1.png"),
        ("C:\\films\\IM1.png", "a/IM1.png"),
        ("/etc/IM1.png", "a/IM1.png"),
        ("../IM1.png", "a/IM1.png"),
        ("1.2.840.113", "1.2.840.114"),
        ("patient.left", "patient.right"),
        ("IM1.2", "IM1.png"),
        ("IM1.png.bak", "IM1.png"),
        ("a", "a/IM1.png"),
        ("png", "IM1.png"),
        ("IM1.png,", "IM1.png"),
    ],
)
def test_a_row_that_names_no_film_is_listed_and_labels_none(tmp_path: Path, name: str, film: str) -> None:
    found = labelled(tmp_path, [film, "other.png"], {"t.csv": f'"{name}",yes\nother.png,no\n'})
    assert found[film] == (None, "not in t.csv")
    assert len(found) == 3
    listed = next(path for path in found if path not in (film, "other.png"))
    assert found[listed] == (1, "t.csv, line 2: no film here is called so")
    assert not Path(listed).is_absolute()
    assert ".." not in Path(listed).parts


def test_the_folder_of_all_films_may_be_part_of_a_name(tmp_path: Path) -> None:
    root = tmp_path / "2023"
    names = {"2023/IM1.png": "yes", "2024/IM2.png": "no", str(root / "IM3.png"): "no"}
    films = ["IM1.png", "IM2.png", "IM3.png"]
    found = labelled(root, films, {"t.csv": "\n".join(f"{name},{word}" for name, word in names.items())})
    assert [found[film][0] for film in films] == [1, None, 0]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("D:\\x\\set\\2023\\IM1.png", 1),
        ("/home/a/Set/2023/IM1", 1),
        ("/home/a/set/x/2023/IM1.png", None),
        ("/home/a/2023/IM1.png", None),
        ("/home/a/set/IM1.png", None),
        ("/home/a/otherset/2023/IM1.png", None),
    ],
)
def test_a_path_of_another_machine_fits_if_the_folder_of_all_films_is_in_it(
    tmp_path: Path, name: str, label: int | None
) -> None:
    found = labelled(tmp_path / "set", ["2023/IM1.png", "b.png"], {"t.csv": f"{name},yes\nb.png,no\n"})
    assert found["2023/IM1.png"][0] == label


def test_the_same_name_in_two_folders(tmp_path: Path) -> None:
    """What the path says goes before what the name alone would fit."""
    found = labelled(tmp_path, ["2023/IM1.png", "2024/IM1.png", "IM1.png"], {"t.csv": "2024/IM1.png,yes\nIM1.png,no\n"})
    assert found == {"2023/IM1.png": (None, "not in t.csv"), "2024/IM1.png": (1, None), "IM1.png": (0, None)}


def test_a_row_that_fits_several_films_is_a_doubt_about_all(tmp_path: Path) -> None:
    films = [f"ST{number}/IM1" for number in range(5)] + ["a/x/1.png", "b/x/1.png", "b/2.png"]
    found = labelled(tmp_path, films, {"t.csv": "IM1,yes\nx/1.png,no\nb/x/1.png,no\n2.png,no\n"})
    doubt = "t.csv, line 2, 'IM1' fits 5 films (ST0/IM1, ST1/IM1, ST2/IM1, …): name it by its path"
    assert {found[film] for film in films[:5]} == {(None, doubt)}
    doubt = "t.csv, line 3, 'x/1.png' fits 2 films (a/x/1.png, b/x/1.png): name it by its path"
    assert [found[film] for film in films[5:]] == [(None, doubt), (None, doubt), (0, None)]


def test_films_without_a_certain_label_are_said_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        labelled(tmp_path, ["a.png", "b.png", "c.png"], {"t.csv": "a,yes\nb,perhaps\nx,no\nx,no\n"})
    assert caplog.messages[1:] == [
        "t.csv: 2 of 3 films have a row; 2 rows name no film",
        "t.csv: 2 films have no certain label; the first: t.csv: fractured 'perhaps' is neither in "
        "data.classes.fractured nor in data.classes.not_fractured",
    ]


def test_two_films_that_differ_in_case_alone(tmp_path: Path) -> None:
    films = ["a.png", "A.png", "b.png"]
    assert labelled(tmp_path, films, {"t.csv": "a.png,yes\nA.png,no\nB.PNG,no\n"}) == {
        "a.png": (1, None),
        "A.png": (0, None),
        "b.png": (0, None),
    }
    assert [label for label, _ in labelled(tmp_path, films, {"t.csv": "A.PNG,yes\nb.png,no\n"}).values()] == [
        None,
        None,
        0,
    ]


def test_rows_that_differ_are_a_doubt_and_rows_that_agree_are_none(tmp_path: Path) -> None:
    rows = "a.png,yes\nx/a.png,no\nb.png,yes\nB,1\nc.png,no\nc.png,\nd.png,\ne.png,maybe\n,yes\n"
    found = labelled(tmp_path, ["x/a.png", "b.png", "c.png", "d.png", "e.png"], {"t.csv": rows})
    assert found == {
        "x/a.png": (None, "t.csv gives it more than one label: no, yes"),
        "b.png": (1, None),
        "c.png": (None, "t.csv gives it more than one label: none, no"),
        "d.png": (None, "t.csv, line 8: fractured is empty"),
        "e.png": (
            None,
            "t.csv: fractured 'maybe' is neither in data.classes.fractured nor in data.classes.not_fractured",
        ),
        "line 10 of t.csv": (1, "t.csv, line 10: it names no film"),
    }


def test_tables_of_several_folders(tmp_path: Path) -> None:
    films = ["train/images/1.png", "train/images/2.png", "test/images/1.png", "test/images/3.png"]
    tables = {
        "train/annotations.csv": "1.png,yes\nimages/2.png,no\n3.png,yes\n",
        "test/labels/annotations.csv": "1.png,no\n",
        "annotations.csv": "test/images/3.png,no\n",
    }
    assert labelled(tmp_path, films, tables) == {
        "train/images/1.png": (1, None),
        "train/images/2.png": (0, None),
        "test/images/1.png": (0, None),
        "test/images/3.png": (0, None),
        "train/3.png": (1, "train/annotations.csv, line 4: no film here is called so"),
    }
    tables["annotations.csv"] = "train/images/1.png,no\n"
    assert labelled(tmp_path, films, tables)["train/images/1.png"] == (
        None,
        "annotations.csv gives it more than one label: no, yes",
    )


def test_a_path_is_below_the_folder_of_its_table_first(tmp_path: Path) -> None:
    films = ["images/1.png", "train/images/1.png", "test/2.png"]
    found = labelled(tmp_path, films, {"train/annotations.csv": "images/1.png,yes\n../test/2.png,no\n"})
    assert [label for label, _ in found.values()] == [None, 1, 0]


def test_where_no_row_names_a_film_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        OsteonError, match=r"t\.csv: none of its rows names a film of this folder; line 2 names 'D:.x.png'"
    ):
        labelled(tmp_path, ["a.png"], {"t.csv": "D:\\x.png,yes\n"})
    with pytest.raises(OsteonError, match=r"line 2 names an id, the first film is 'a\.png'.*data\.label_unit: study"):
        labelled(tmp_path, ["a.png"], {"t.csv": "1.2.3.4.5,yes\n"}, StudyInstanceUID=["1.2.9"], PatientID=["P"])
    with pytest.raises(OsteonError, match=r"line 2 names an id"):
        labelled(tmp_path, ["a.png"], {"t.csv": "Doe,yes\n"}, PatientID=["Doe"])


def test_ten_thousand_rows_that_fit_each_of_ten_thousand_films(tmp_path: Path) -> None:
    films = [f"ST{number}/IM1" for number in range(10_000)]
    frame = pd.DataFrame({"film_id": films, "path": films, "finding": "fractured"})
    rows = "".join(f"{film},yes\n" for film in films) + "IM1,yes\n" * 10_000
    began = time.process_time()
    table = read_label_table(write(tmp_path / "t.csv", f"filename,fractured\n{rows}".encode()), frame, DataParams())
    found = with_labels(frame, [table], tmp_path, DataParams())
    assert found["doubt"].str.startswith("t.csv, line 10002, 'IM1' fits 10000 films").all()
    assert time.process_time() - began < 5


# ---------------------------------------------------------------- by UID


def test_every_copy_of_an_instance_has_its_label(tmp_path: Path) -> None:
    films = ["a/1.dcm", "b/1.dcm", "c/2.dcm", "d/3.dcm", "e/4.dcm"]
    tags = {
        "SOPInstanceUID": ["1.5.1", "1.5.1", "1.5.2", "1.5.3", "1.5.3"],
        "StudyInstanceUID": ["1.9.1", "1.9.1", "1.9.1", "1.9.2", "1.9.3"],
    }
    both = {"a/1.dcm": (1, None), "b/1.dcm": (1, None)}
    for name in ("1.5.1", "1.5.1.dcm", "a/1.dcm", "1.dcm"):  # by UID, by the path of one, by the name of both
        found = labelled(tmp_path, films, {"t.csv": f"{name},yes\n1.5.2,no\n"}, **tags)
        assert {film: found[film] for film in films[:3]} == both | {"c/2.dcm": (0, None)}
    found = labelled(tmp_path, films, {"t.csv": "1.5.3,yes\na/1.dcm,yes\nb/1.dcm,no\n"}, **tags)
    assert [label for label, _ in found.values()] == [1, 0, None, None, None]
    assert "names an instance of different studies, 2 films (d/3.dcm, e/4.dcm)" in str(found["d/3.dcm"][1])


def test_labels_by_study(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    films = ["1/a.dcm", "1/b.dcm", "2/a.dcm", "3/a.dcm"]
    studies = ["1.9.100", "1.9.100", "1.9.200", "1.9.300"]
    rows = "1.9.100,yes\n1.9.200,no\n1.9.400,yes\n"
    found = labelled(tmp_path, films, {"t.csv": f"{rows}3/a.dcm,no\n"}, StudyInstanceUID=studies)
    doubt = "names its study and not the film; if labels are by study, set data.label_unit: study"
    assert list(found.values()) == [
        (None, f"t.csv, line 2, {doubt}"),
        (None, f"t.csv, line 2, {doubt}"),
        (None, f"t.csv, line 3, {doubt}"),
        (0, None),
        (1, "t.csv, line 4: no film here is called so"),
    ]
    assert not [name for name in found if "1.9" in name]

    by_study = DataParams(label_unit="study")
    found = labelled(tmp_path, films, {"t.csv": rows}, by_study, StudyInstanceUID=studies)
    assert list(found.values()) == [
        (1, None),
        (1, None),
        (0, None),
        (None, "not in t.csv"),
        (1, "t.csv, line 4: no film here is called so"),
    ]
    assert "the 2 films of 1 positive studies are all labelled positive" in caplog.text
    assert not [name for name in found if "1.9" in name]
    found = labelled(
        tmp_path, films, {"t.csv": "1.9.100,yes\n1.9.100,no\n2,no\n3/,yes\n"}, by_study, StudyInstanceUID=studies
    )
    assert [label for label, _ in found.values()] == [None, None, 0, 1]


def test_a_study_may_be_named_by_its_folder(tmp_path: Path) -> None:
    films = ["p1/st1/a.png", "p1/st1/b.png", "p2/st1/a.png", "p2/st2/x/a.png"]
    params = DataParams(label_unit="study")
    found = labelled(tmp_path, films, {"t.csv": "p1/st1,yes\nST1,no\np2\\st2,no\n"}, params)
    assert [label for label, _ in found.values()] == [None, None, None, 0]
    assert "'ST1' fits 2 folders (p1/st1, p2/st1)" in str(found["p2/st1/a.png"][1])
    found = labelled(tmp_path, films, {"t.csv": "p1/st1,yes\nst2,no\n"}, params)
    assert [label for label, _ in found.values()] == [1, 1, None, 0]


# ---------------------------------------------------------------- as the layouts read them


def test_dicom_by_study_and_with_copies(tmp_path: Path) -> None:
    for place, study, sop in (("a/1", "1.2.3", "1.7.1"), ("b/1", "1.2.3", "1.7.1"), ("c/1.dcm", "1.2.4", "1.7.2")):
        tags = {"PatientID": f"P{study}", "StudyInstanceUID": study, "SOPInstanceUID": sop}
        write(tmp_path / place, dicom_bytes(dicom(ramp(top=4000).astype(np.uint16), **tags)))
    write(tmp_path / "labels.csv", b"filename;fractured\r\n1.7.1;TRUE\r\n1.7.2;FALSE\r\n")
    films = read_layout(tmp_path, DataParams(layout="dicom"))
    assert films["label"].tolist() == [1, 1, 0]
    write(tmp_path / "labels.csv", "filename\tfractured\r\n1.2.3\tTRUE\r\n1.2.4\tFALSE\r\n".encode("utf-16"))
    films = read_layout(tmp_path, DataParams(layout="dicom", label_unit="study"))
    assert films["label"].tolist() == [1, 1, 0]
    assert films["doubt"].isna().all()
    films = read_layout(tmp_path, DataParams(layout="dicom"))
    assert films["label"].isna().all()
    assert films["doubt"].str.contains("data.label_unit: study").all()


def test_ids_of_a_table_reach_its_films(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "a/3.png", "b/3.png"):
        write(tmp_path / name, PNG)
    table = "Filename;Fractured;PatientID\n1;1;P1\n2;0;P1\n3;0;P2\n"
    write(tmp_path / "annotations.csv", table.encode())
    films = read_layout(tmp_path, DataParams(layout="annotations")).set_index("path")
    assert films.loc["1.png", "patient_id"] == films.loc["2.png", "patient_id"]
    assert films.loc[["a/3.png", "b/3.png"], "patient_id"].isna().all()  # which of them is P2's is not certain


def test_class_folders_that_disagree_or_are_not_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    places = ("Fractured/normal/a", "Fractured/b", "NON-fractured/train/c", "not_fractured/Normal/d")
    for place in (*places, "test/Not Fractured Bones/e", unicodedata.normalize("NFD", "cassé/f")):
        write(tmp_path / f"{place}.png", PNG)
    films = read_layout(tmp_path, DataParams(layout="folders"))
    found = {
        path[-5]: (label, doubt)
        for path, label, doubt in zip(films["path"], films["label"], films["doubt"], strict=True)
    }
    assert [found[name][0] for name in "bcd"] == [1, 0, 0]
    assert found["a"][1] == "folders 'Fractured' and 'normal' name both classes; move the film, or rename one of them"
    assert [pd.isna(found[name][0]) for name in "aef"] == [True] * 3
    assert "2 of 6 films are in folders that name no class: 'Not Fractured Bones' (1)" in caplog.text or (
        "'Not Fractured Bones' (1). Write each name" in caplog.text
    )


def test_a_capital_header_and_another_place_of_the_table(tmp_path: Path) -> None:
    write(tmp_path / "a.png", PNG)
    write(tmp_path / "manifest.csv", b"Path,Label,Region\na.png,1.0,wrist\n")
    assert read_layout(tmp_path, DataParams(layout="manifest"))[["label", "region"]].to_numpy().tolist() == [
        [1, "wrist"]
    ]
    write(tmp_path / "Annotations.CSV", b"filename,fractured\na.png,no\n")
    assert read_layout(tmp_path, DataParams(layout="annotations"))["label"].tolist() == [0]
    (tmp_path / "Annotations.CSV").rename(tmp_path / "annotations.xlsx")
    with pytest.raises(OsteonError, match=r"no annotations\.csv .*; save annotations\.xlsx as annotations\.csv"):
        read_layout(tmp_path, DataParams(layout="annotations"))
