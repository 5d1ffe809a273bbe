import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osteon.errors import OsteonError
from osteon.films.identity import keyed_hash
from osteon.films.labels.class_labels import label_of
from osteon.films.layouts import read_layout
from osteon.films.manifest import COLUMNS
from osteon.params import ClassNames, Columns, DataParams, layout_names
from tests.making import dicom, dicom_bytes, encoded, ramp, write

PNG = encoded(ramp(), "PNG")


def by_id(root: Path, layout: str, **params: object) -> dict[str, dict[str, object]]:
    rows = read_layout(root, DataParams(root=str(root), layout=layout, **params))  # type: ignore[arg-type]
    assert list(rows.columns) == list(COLUMNS)
    return {
        str(row["film_id"]): {key: (None if pd.isna(value) else value) for key, value in row.items()}
        for row in rows.to_dict("records")
    }


def ids(patient: str, study: str) -> tuple[str, str]:
    """What becomes of a patient's and a study's id."""
    key = os.environ["OSTEON_IDENTITY_KEY"].encode()
    return keyed_hash(key, "patient", patient), keyed_hash(key, "study", study)


@pytest.mark.parametrize("layout", layout_names())
def test_a_missing_folder_and_an_empty_one_say_so(tmp_path: Path, layout: str) -> None:
    with pytest.raises(OsteonError, match=r"nowhere: no such folder; set data\.root"):
        by_id(tmp_path / "nowhere", layout)
    with pytest.raises(OsteonError, match=str(tmp_path)):
        by_id(tmp_path, layout)


def test_labels_are_words_not_an_order() -> None:
    names = ClassNames(fractured=["Fractured", "1"], not_fractured=["not fractured", "0"])
    assert [label_of(word, names) for word in ("fractured", " FRACTURED ", "Not Fractured", 1, 0, "2", "", None)] == [
        1,
        1,
        0,
        1,
        0,
        None,
        None,
        None,
    ]


# ---------------------------------------------------------------- folders


def test_folders_with_and_without_splits(tmp_path: Path) -> None:
    for place in ("train/fractured/a.png", "val/not fractured/b.jpg", "Test/Fractured/c d ü.PNG", "fractured/e.bmp"):
        write(tmp_path / place, PNG)
    films = by_id(tmp_path, "folders")
    assert {key: (row["label"], row["given_split"]) for key, row in films.items()} == {
        "train/fractured/a.png": (1, "train"),
        "val/not fractured/b.jpg": (0, "val"),
        "Test/Fractured/c d ü.PNG": (1, "test"),
        "fractured/e.bmp": (1, None),
    }


def test_folders_by_the_names_given(tmp_path: Path) -> None:
    """Alphabetical order would make A the class 0."""
    write(tmp_path / "A" / "x.png", PNG)
    write(tmp_path / "B" / "x.png", PNG)
    films = by_id(tmp_path, "folders", classes=ClassNames(fractured=["A"], not_fractured=["B"]))
    assert (films["A/x.png"]["label"], films["B/x.png"]["label"]) == (1, 0)


def test_a_folder_that_is_no_class_is_a_doubt_and_none_at_all_an_error(tmp_path: Path) -> None:
    write(tmp_path / "odd" / "x.png", PNG)
    with pytest.raises(OsteonError, match=r"no folder is a class; found odd\. Name the class folders in data\.classes"):
        by_id(tmp_path, "folders")
    write(tmp_path / "fractured" / "x.png", PNG)
    films = by_id(tmp_path, "folders")
    assert films["odd/x.png"]["label"] is None
    assert "folder 'odd' is neither" in str(films["odd/x.png"]["doubt"])


def test_files_that_are_no_films_are_not_listed(tmp_path: Path) -> None:
    write(tmp_path / "fractured" / "x.png", PNG)
    write(tmp_path / "fractured" / "notes.txt", b"")
    write(tmp_path / "fractured" / ".DS_Store", b"")
    assert list(by_id(tmp_path, "folders")) == ["fractured/x.png"]


def test_a_folder_that_is_still_zipped_says_so(tmp_path: Path) -> None:
    write(tmp_path / "films.zip", b"PK\x03\x04")
    with pytest.raises(OsteonError, match=r"found no film there; 1 file .*: 1 × zip \(unpack\), as films\.zip"):
        by_id(tmp_path, "folders")


# ---------------------------------------------------------------- annotations


def annotated(folder: Path, table: str) -> None:
    for split, names in {"train": ["1.png", "2.png"], "test": ["1.png", "3.png"]}.items():
        for name in names:
            write(folder / split / "images" / name, PNG)
        write(folder / split / "annotations.csv", table.encode())


def test_annotations_beside_each_split(tmp_path: Path) -> None:
    table = "filename,fractured,fracture_type,region\n1.png,yes,oblique,wrist\n2.png,no,,\n3.png,No,spiral,hip\n"
    annotated(tmp_path, table)
    films = by_id(tmp_path, "annotations")
    assert films["train/images/1.png"]["label"] == 1
    assert films["train/images/1.png"]["fracture_type"] == "oblique"
    assert films["train/images/1.png"]["given_split"] == "train"
    assert (films["train/images/1.png"]["region"], films["train/images/2.png"]["view"]) == ("wrist", None)
    assert films["test/images/3.png"]["label"] == 0
    assert films["test/images/3.png"]["fracture_type"] is None  # a film without a fracture has no type
    # Entries without a film are not dropped.
    assert {"train/3.png", "test/2.png"} <= set(films)


def test_an_annotation_file_at_the_top_with_other_columns(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.png", PNG)
    write(tmp_path / "annotations.csv", b"img;x\n")
    with pytest.raises(OsteonError, match=r"annotations\.csv: no column filename, fractured; it has img, x"):
        by_id(tmp_path, "annotations")
    write(tmp_path / "annotations.csv", b"img,broken\na.png,1\n")
    films = by_id(tmp_path, "annotations", columns=Columns(film="img", label="broken"))
    assert films["images/a.png"]["label"] == 1


def test_a_third_value_no_entry_and_two_labels_are_doubts(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / "images" / f"{name}.png", PNG)
    write(tmp_path / "annotations.csv", b"filename,fractured\na.png,maybe\nb.png,yes\nb.png,no\n")
    films = by_id(tmp_path, "annotations")
    assert "annotations.csv: fractured 'maybe' is neither" in str(films["images/a.png"]["doubt"])
    assert films["images/b.png"]["doubt"] == "annotations.csv gives it more than one label: no, yes"
    assert films["images/c.png"]["doubt"] == "not in annotations.csv"
    assert [films[f"images/{name}.png"]["label"] for name in "abc"] == [None, None, None]


# ---------------------------------------------------------------- mura


def test_mura_reads_its_paths_and_keeps_its_finding_apart(tmp_path: Path) -> None:
    write(tmp_path / "MURA-v1.1/train/XR_WRIST/patient00006/study1_positive/image1.png", PNG)
    write(tmp_path / "MURA-v1.1/valid/XR_HAND/patient00006/study2_negative/image1.png", PNG)
    write(tmp_path / "MURA-v1.1/valid/elsewhere.png", PNG)
    films = by_id(tmp_path, "mura")
    item = films["MURA-v1.1/train/XR_WRIST/patient00006/study1_positive/image1.png"]
    assert (item["label"], item["finding"], item["region"], item["given_split"]) == (1, "abnormal", "wrist", "train")
    assert (item["patient_id"], item["study_id"]) == ids("patient00006", "patient00006/wrist/study1")
    two = films["MURA-v1.1/valid/XR_HAND/patient00006/study2_negative/image1.png"]
    assert (two["label"], two["given_split"]) == (0, "val")
    assert two["patient_id"] == item["patient_id"]
    assert two["study_id"] != item["study_id"]
    assert "path is not" in str(films["MURA-v1.1/valid/elsewhere.png"]["doubt"])


# ---------------------------------------------------------------- fracatlas

HEADER = "image_id,hand,leg,hip,shoulder,mixed,hardware,multiscan,fractured,fracture_count,frontal,lateral,oblique\n"


def fracatlas(folder: Path) -> Path:
    lines = [
        "IMG0000001.jpg,0,1,0,0,0,0,0,0,0,1,0,0",
        "IMG0000002.jpg,0,1,0,0,0,1,0,1,2,0,1,0",
        "IMG0000003.jpg,1,0,0,0,0,0,0,0,0,1,1,0",
        "IMG0000005.jpg,1,0,0,0,0,0,0,0,0,1,0,0",  # one number missing before it
        "IMG0000008.jpg,1,0,0,0,0,0,0,1,1,1,0,0",  # two missing
        "IMG0000009.jpg,1,1,0,0,1,0,0,1,1,1,0,0",
        "IMG0000010.jpg,0,1,0,0,0,0,0,0,0,0,0,0",  # no file
        "IMG0000001.jpg,0,1,0,0,0,0,0,0,0,1,0,0",  # the first row once more
        "IMG0000009.jpg,1,1,0,0,1,0,0,0,1,1,0,0",  # another answer
    ]
    write(folder / "dataset.csv", (HEADER + "\n".join(lines)).encode())
    places = (
        "Non_fractured/IMG0000001",
        "Fractured/IMG0000002",
        "Non_fractured/IMG0000003",
        "Non_fractured/IMG0000005",
    )
    places += ("Non_fractured/IMG0000008", "Fractured/IMG0000009", "Fractured/IMG0000011")
    for place in places:
        write(folder / "images" / f"{place}.jpg", b"")
    coco = {
        "images": [{"id": 7, "file_name": "IMG0000002.jpg", "width": 100, "height": 80}],
        "annotations": [
            {"image_id": 7, "bbox": [10, 20, 30.04, 40], "segmentation": []},
            {"image_id": 7, "bbox": [1, 2, 3, 4], "segmentation": []},
        ],
    }
    write(folder / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json", json.dumps(coco).encode())
    return folder


def test_fracatlas_reads_labels_regions_views_and_boxes(tmp_path: Path) -> None:
    films = by_id(fracatlas(tmp_path), "fracatlas")
    item, two = films["IMG0000001.jpg"], films["IMG0000002.jpg"]
    assert (item["label"], item["region"], item["view"], item["hardware"]) == (0, "leg", "frontal", False)
    assert item["path"] == "images/Non_fractured/IMG0000001.jpg"
    assert (two["label"], two["hardware"], two["boxes"]) == (
        1,
        True,
        "[[10.0, 20.0, 30.0, 40.0], [1.0, 2.0, 3.0, 4.0]]",
    )
    assert films["IMG0000003.jpg"]["view"] == "frontal+lateral"
    assert films["IMG0000009.jpg"]["region"] == "mixed"


def test_fracatlas_saved_again_by_a_spreadsheet(tmp_path: Path) -> None:
    before = by_id(fracatlas(tmp_path), "fracatlas")
    lines = (tmp_path / "dataset.csv").read_text(encoding="utf-8").splitlines()
    values = [
        line.split(",", 1)[0] + ";" + ";".join(f"{value},0" for value in line.split(",")[1:]) for line in lines[1:]
    ]
    write(tmp_path / "dataset.csv", "\r\n".join([lines[0].replace(",", ";"), *values]).encode("utf-16"))
    assert by_id(tmp_path, "fracatlas") == before


def test_fracatlas_joins_neighbouring_numbers_of_one_region(tmp_path: Path) -> None:
    films = by_id(fracatlas(tmp_path), "fracatlas")
    studies = {key[7:10]: row["study_id"] for key, row in films.items()}
    assert studies["001"] == studies["002"]  # leg, leg
    assert studies["002"] != studies["003"]  # leg, hand
    assert studies["003"] == studies["005"]  # hand, hand, one number missing
    assert studies["005"] != studies["008"]  # two missing


def test_fracatlas_doubts(tmp_path: Path) -> None:
    films = by_id(fracatlas(tmp_path), "fracatlas")
    assert films["IMG0000008.jpg"]["doubt"] == "dataset.csv says fractured = 1, its folder is Non_fractured"
    assert films["IMG0000011.jpg"]["doubt"] == "not in dataset.csv"
    assert films["IMG0000010.jpg"]["path"] == "images/IMG0000010.jpg"  # validate will find it missing
    assert films["IMG0000001.jpg"]["doubt"] is None
    assert films["IMG0000009.jpg"]["doubt"] == "in dataset.csv twice, with different values"


def test_fracatlas_films_of_one_name_are_two_films_in_doubt(tmp_path: Path) -> None:
    """Version 7 has IMG0003375.jpg and IMG0003376.jpg in both folders."""
    root = fracatlas(tmp_path)
    before = by_id(root, "fracatlas")
    (root / "images/Fractured/IMG0000001.jpg").write_bytes(b"another film")
    films = by_id(root, "fracatlas")
    both = {f"images/{folder}/IMG0000001.jpg" for folder in ("Fractured", "Non_fractured")}
    assert films.keys() - before.keys() == both
    assert before.keys() - films.keys() == {"IMG0000001.jpg"}
    assert all(str(films[name]["doubt"]).startswith("2 films are called IMG0000001.jpg") for name in both)
    assert len({films[name]["study_id"] for name in (*both, "IMG0000002.jpg")}) == len(
        {before[name]["study_id"] for name in ("IMG0000001.jpg", "IMG0000002.jpg")}
    )


def test_fracatlas_with_broken_tables(tmp_path: Path) -> None:
    folder = fracatlas(tmp_path)
    write(folder / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json", b"{")
    with pytest.raises(OsteonError, match="not COCO annotations"):
        by_id(folder, "fracatlas")
    write(folder / "dataset.csv", b"image_id,fractured\n")
    with pytest.raises(OsteonError, match=r"dataset\.csv: no column hand, leg"):
        by_id(folder, "fracatlas")


# ---------------------------------------------------------------- dicom


def test_dicom_tree_with_a_label_file(tmp_path: Path) -> None:
    tags = {"PatientName": "Doe^Jane", "StudyInstanceUID": "1.2.3"}
    first = dicom(ramp(top=4000), PatientID="4711", **tags)
    second = dicom(ramp(top=4000), PatientID=" 4711 ", **tags)
    write(tmp_path / "a" / "1.dcm", dicom_bytes(first))
    write(tmp_path / "a" / "IM0002", dicom_bytes(second))  # PACS exports have no extension
    write(tmp_path / "a" / "README", b"no film")
    write(tmp_path / "a" / "3.dcm", b"broken")
    table = f"filename,fractured,region,view\na/1.dcm,1,wrist,frontal\n{second.SOPInstanceUID},0,,\nmissing.dcm,1,,\n"
    write(tmp_path / "labels.csv", table.encode())
    films = by_id(tmp_path, "dicom")
    assert set(films) == {"a/1.dcm", "a/IM0002", "a/3.dcm", "missing.dcm"}
    item, two = films["a/1.dcm"], films["a/IM0002"]
    assert (item["label"], item["view"], item["region"]) == (1, "frontal", "wrist")
    assert (two["label"], two["view"], two["region"]) == (0, None, None)
    assert (item["patient_id"], item["study_id"]) == ids("4711", "1.2.3")
    assert (two["patient_id"], two["study_id"]) == ids("4711", "1.2.3")
    assert films["a/3.dcm"]["doubt"] == "not in labels.csv"
    assert "4711" not in str(films)
    assert "Jane" not in str(films)


def test_a_table_beside_films_of_any_kind(tmp_path: Path) -> None:
    """The layout is called dicom, and reads pictures as well, as its description says."""
    write(tmp_path / "a" / "IM1", dicom_bytes(dicom(ramp(top=4095), PatientID="7")))
    write(tmp_path / "b" / "2.jpg", encoded(ramp(), "JPEG"))
    (tmp_path / "labels.csv").write_text("filename,fractured,patient_id\nIM1,yes,\nb/2.jpg,no,8\n")
    films = by_id(tmp_path, "dicom")
    assert {name: film["label"] for name, film in films.items()} == {"a/IM1": 1, "b/2.jpg": 0}
    assert (films["b/2.jpg"]["patient_id"], films["a/IM1"]["doubt"]) == (ids("8", "")[0], None)


def test_dicom_without_the_label_column(tmp_path: Path) -> None:
    write(tmp_path / "1.dcm", dicom_bytes(dicom(ramp(top=4000))))
    write(tmp_path / "labels.csv", b"filename,diagnosis\n1.dcm,1\n")
    with pytest.raises(OsteonError, match=r"labels\.csv: no column fractured; it has filename, diagnosis"):
        by_id(tmp_path, "dicom")


# ---------------------------------------------------------------- manifest


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_our_own_layout(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "x" / "a.png", PNG)
    write(tmp_path / "stray.png", PNG)
    table = pd.DataFrame(
        {
            "path": ["x/a.png", "x/gone.png", "x/odd.png"],
            "label": ["fractured", "not fractured", "third"],
            "patient_id": ["p1", "p1", None],
            "hardware": [True, False, None],
            "comment": ["ours", "", ""],
        }
    )
    if kind == "csv":
        table.to_csv(tmp_path / "manifest.csv", index=False)
    else:
        table.assign(label=["1", "0", "2"]).to_parquet(tmp_path / "manifest.parquet")
    films = by_id(tmp_path, "manifest")
    assert set(films) == {"x/a.png", "x/gone.png", "x/odd.png", "stray.png"}
    assert (films["x/a.png"]["label"], films["x/a.png"]["hardware"]) == (1, True)
    assert films["x/a.png"]["patient_id"] == films["x/gone.png"]["patient_id"] == ids("p1", "")[0]
    assert films["x/odd.png"]["patient_id"] is None
    assert films["x/gone.png"]["label"] == 0
    assert "is neither" in str(films["x/odd.png"]["doubt"])
    assert films["stray.png"]["doubt"] == "not in the manifest"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    "written", ["./x/ü.png", "x\\ü.png", ".\\x\\ü.png", "x//ü.png", "y/../x/ü.png", " x/ü.png", "X/U\u0308.PNG"]
)
def test_a_path_is_found_however_it_is_written(tmp_path: Path, kind: str, written: str) -> None:
    write(tmp_path / "x" / "ü.png", PNG)
    table = pd.DataFrame({"path": [written], "label": ["1"]})
    table.to_csv(tmp_path / "manifest.csv", index=False) if kind == "csv" else table.to_parquet(
        tmp_path / "manifest.parquet"
    )
    films = by_id(tmp_path, "manifest")
    assert {key: (row["path"], row["label"], row["doubt"]) for key, row in films.items()} == {
        "x/ü.png": ("x/ü.png", 1, None)
    }


def test_a_name_with_a_backslash_is_a_name(tmp_path: Path) -> None:
    write(tmp_path / "a\\b.png", PNG)
    write(tmp_path / "manifest.csv", b"path,label\na\\b.png,1\n")
    assert [row["path"] for row in by_id(tmp_path, "manifest").values()] == ["a\\b.png"]


def test_two_films_that_differ_by_case_are_not_guessed_between(tmp_path: Path) -> None:
    write(tmp_path / "a.png", PNG)
    write(tmp_path / "A.png", PNG)
    write(tmp_path / "manifest.csv", b"path,label\na.PNG,1\n")
    films = by_id(tmp_path, "manifest")
    assert {key: row["doubt"] for key, row in films.items()} == {
        "a.PNG": None,  # validate says that the file is missing
        "a.png": "not in the manifest",
        "A.png": "not in the manifest",
    }


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("/elsewhere/a.png", "/elsewhere/a.png is absolute; write the film's path below data.root, and move or link"),
        ("C:\\films\\a.png", "C:/films/a.png is absolute; write the film's path below"),
        ("\\\\server\\share\\a.png", "//server/share/a.png is absolute; write the film's path below"),
        ("~/a.png", "~/a.png is absolute; write"),
        ("../a.png", "../a.png leads out of data.root; move or link the film into it"),
        ("x/../../a.png", "../a.png leads out of data.root"),
        ("..\\a.png", "../a.png leads out of data.root"),
        ("..", ".. leads out of data.root"),
        ("", "no path"),
        (".", "no path"),
    ],
)
def test_a_path_out_of_the_folder_is_refused_with_its_line(tmp_path: Path, written: str, reason: str) -> None:
    write(tmp_path / "a.png", PNG)
    pd.DataFrame({"path": ["a.png", written], "label": ["1", "0"]}).to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(OsteonError) as error:
        by_id(tmp_path, "manifest")
    assert f"manifest.csv, line 3: {reason}" in str(error.value)


def test_an_absolute_path_into_the_folder_is_refused_with_what_to_write(tmp_path: Path) -> None:
    folder, link = tmp_path / "films", tmp_path / "link"
    write(folder / "x" / "a.png", PNG)
    link.symlink_to(folder)
    lines = "".join(f"{folder}/x/a.png,1\n" for _ in range(5))
    write(folder / "manifest.csv", f"path,label\n{lines}".encode())
    for root in (folder, link):
        with pytest.raises(OsteonError) as error:
            by_id(root, "manifest")
        assert "line 2: " in str(error.value)
        assert "is absolute; paths are below data.root: write x/a.png; line 3: " in str(error.value)
        assert str(error.value).endswith("; and 2 more")


def test_rows_of_one_film_are_one_film_or_a_doubt(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.png", PNG)
    write(
        tmp_path / "manifest.csv",
        b"path,label,patient_id,region\na.png,1,p,\n./a.png,fractured,p,wrist\n"
        b"b.png,1,p,\n.\\b.png,0,q,\nb.png,1,,\nc.png,0,,\nc.png,unsure,,\n",
    )
    films = by_id(tmp_path, "manifest")
    assert list(films) == ["a.png", "b.png", "c.png"]
    assert (films["a.png"]["label"], films["a.png"]["region"], films["a.png"]["doubt"]) == (1, "wrist", None)
    assert films["a.png"]["patient_id"] == ids("p", "")[0]
    assert films["b.png"]["label"] is films["b.png"]["patient_id"] is None
    assert films["b.png"]["doubt"] == "the manifest names it in lines 4, 5, 6, with different label, patient_id"
    assert "'unsure' is neither" in str(films["c.png"]["doubt"])


def test_numbers_in_a_manifest_stay_text(tmp_path: Path) -> None:
    """Patient 007 is not patient 7."""
    write(tmp_path / "manifest.csv", b"path,label,patient_id\na.png,1,007\nb.png,0,7\n")
    films = by_id(tmp_path, "manifest")
    assert [films[name]["patient_id"] for name in ("a.png", "b.png")] == [ids("007", "")[0], ids("7", "")[0]]


def test_pseudonyms_in_a_manifest_stay_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "manifest.csv", b"path,label,patient_pseudonym,study_pseudonym\na.png,1,P1,P1-1\nb.png,0,,\n")
    films = by_id(tmp_path, "manifest")
    assert (films["a.png"]["patient_id"], films["a.png"]["study_id"]) == ("P1", "P1-1")
    assert films["b.png"]["patient_id"] is None


def test_paths_with_spaces_and_other_letters(tmp_path: Path) -> None:
    folder = tmp_path / "Röntgen bilder – ß 骨"
    write(folder / "fractured" / "día 1.png", PNG)
    assert list(by_id(folder, "folders")) == ["fractured/día 1.png"]


def test_a_table_that_is_not_text(tmp_path: Path) -> None:
    write(tmp_path / "manifest.csv", bytes(np.random.default_rng(0).integers(128, 255, 500, dtype=np.uint8)))
    with pytest.raises(OsteonError, match=r"manifest\.csv: not a table"):
        by_id(tmp_path, "manifest")
    write(tmp_path / "manifest.csv", b"")
    with pytest.raises(OsteonError, match=r"manifest\.csv: not a table"):
        by_id(tmp_path, "manifest")
