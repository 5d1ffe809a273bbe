"""`osteon data layouts` and `osteon data guess`: what they propose can be pasted, and what they do not know is said."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from osteon.audit.folder import read_folder
from osteon.errors import OsteonError
from osteon.films.class_words import Meaning, meaning_of
from osteon.films.guessing import FACTS, as_yaml, describe_layouts, guess, layout_module, layouts_by_knowledge, seen
from osteon.films.layouts import read_layout
from osteon.params import DataParams, Params, checked, layout_names
from tests.command import osteon
from tests.making import encoded, ramp, write

FILM = encoded(ramp(80, 100), "PNG")


def laid_out(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        write(root / name, content if isinstance(content, bytes) else content.encode())
    return root


def pasted(root: Path) -> Params:
    """The parameters that a proposal makes; every parameter that it does not name has its default."""
    return checked(YAML(typ="safe", pure=True).load(as_yaml(guess(root, DataParams()))), Params, "pasted")


def labels(root: Path) -> tuple[str, list[int | None]]:
    data = pasted(root).data
    films = read_layout(root, data, b"a key of the tests, 32 bytes long")
    return data.layout, [
        None if label is None else int(label)
        for label in films["label"].astype(object).where(films["label"].notna(), None)
    ]


COCO = json.dumps(
    {
        "images": [{"id": 0, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9]}],
        "categories": [{"id": 0, "name": "bones"}, {"id": 1, "name": "fracture"}],
    }
)
VOC = "<annotation><filename>{}</filename>{}</annotation>"
OBJECT = "<object><name>fracture</name></object>"
TWO = {"a.png": FILM, "b.png": FILM}
SETS: dict[str, dict[str, str | bytes]] = {
    "annotations": {"annotations.csv": "filename,fractured\na.png,yes\nb.png,no\n", **TWO},
    "coco": {"train/_annotations.coco.json": COCO, "train/a.png": FILM, "train/b.png": FILM},
    "folders": {"Fractured/a.png": FILM, "Non_fractured/b.png": FILM},
    "grazpedwri": {"dataset.csv": "filestem,patient_id,fracture_visible\na,1,1\nb,2,\n", **TWO},
    "manifest": {"manifest.csv": "path,label\na.png,fractured\nb.png,normal\n", **TWO},
    "mura": {
        "train/XR_WRIST/patient00006/study1_positive/image1.png": FILM,
        "train/XR_WRIST/patient00007/study1_negative/image1.png": FILM,
    },
    "voc": {"a.xml": VOC.format("a.png", OBJECT), "b.xml": VOC.format("b.png", ""), **TWO},
    "yolo": {
        "images/a.png": FILM,
        "images/b.png": FILM,
        "labels/a.txt": "0 0.5 0.5 0.2 0.2",
        "labels/b.txt": "",
        "data.yaml": "names: [fracture, metal]",
    },
}


@pytest.mark.parametrize("layout", SETS)
def test_a_proposal_can_be_pasted_and_reads_the_set(tmp_path: Path, layout: str) -> None:
    assert labels(laid_out(tmp_path, SETS[layout])) == (layout, [1, 0])


@pytest.mark.parametrize("layout", SETS)
def test_audit_takes_the_layout_that_guess_proposes(tmp_path: Path, layout: str) -> None:
    assert read_folder(laid_out(tmp_path, SETS[layout]), None, DataParams()).layout == layout


def test_every_layout_says_what_it_knows() -> None:
    for name in layout_names():
        module = layout_module(name)
        assert set(module.KNOWS) <= set(FACTS), name
        assert callable(module.class_words), name
    assert layouts_by_knowledge()[0] == "manifest"
    assert layouts_by_knowledge()[-1] == "folders"
    lines = list(describe_layouts())
    assert [line.split()[0] for line in lines[::2]] == list(layout_names())
    assert all(line.strip().startswith("knows ") for line in lines[1::2])
    assert osteon(Path(), "data", "layouts").stdout.splitlines() == lines


def test_words_that_are_not_certain_are_marked(tmp_path: Path) -> None:
    names = "elbow positive, fracture, Knochen, no fracture"
    text = {
        "images/a.png": FILM,
        "labels/a.txt": "0 0.5 0.5 0.2 0.2\n2 0.5 0.5 0.2 0.2\n",
        "data.yaml": f"names: [{names}]",
    }
    proposal = guess(laid_out(tmp_path, text), DataParams())
    assert as_yaml(proposal) == (
        f'data:\n  root: "{tmp_path}"\n  layout: yolo\n  classes:\n    fractured:\n'
        '      - "elbow positive"  # check\n      - "fracture"\n    not_fractured:\n      - "no fracture"\n'
        '  # no finding: these make no film positive: "Knochen"  # check\n'
    )
    assert list(seen(proposal)) == [
        f"{tmp_path}: 1 films; layout yolo, which knows boxes, splits",
        "fractured: 'elbow positive' 1 (check), 'fracture' 0",
        "not fractured: 'no fracture' 0",
        "neither: 'Knochen' 1 (check)",
    ]


def test_the_opposite_of_a_known_word_is_marked(tmp_path: Path) -> None:
    proposal = guess(laid_out(tmp_path, {"fractured/a.png": FILM, "B/b.png": FILM}), DataParams())
    assert [(word.text, word.sure) for word in proposal.not_fractured] == [("B", False)]


def test_of_several_that_fit_the_one_that_knows_most(tmp_path: Path) -> None:
    """FracAtlas comes with COCO, YOLO and Pascal VOC of its own."""
    columns = "image_id,hand,leg,hip,shoulder,mixed,hardware,hardware,fractured,frontal,lateral,oblique\n"
    files: dict[str, str | bytes] = {
        "dataset.csv": columns,
        "images/Fractured/a.png": FILM,
        "Annotations/a.xml": VOC.format("a.png", OBJECT),
        "Annotations/x.json": COCO.replace("b.png", "c.png"),
    }
    proposal = guess(laid_out(tmp_path, files), DataParams())
    assert proposal.fit.layout == "fracatlas"
    assert proposal.also == ("coco", "voc", "folders")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"films.zip": b"PK"}, r"no layout fits; it holds 1 \.zip\. Unpack the archives, and guess again"),
        ({}, r"no layout fits; it holds nothing\. Name the folder that holds the films"),
        ({"a.png": FILM}, r"no layout fits; it holds 1 \.png\. Put the films into a folder for each class"),
        (
            {"A/a.png": FILM, "B/a.png": FILM},
            r"may be folders, but none .* 'A' \(1\), 'B' \(1\)\. Set data\.layout: folders",
        ),
        (
            {"annotations.csv": "name,x\na.png,yes\n", "a.png": FILM},
            r"not the layout annotations: .*no column filename",
        ),
    ],
)
def test_what_it_cannot_tell_it_refuses(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(OsteonError, match=message):
        guess(laid_out(tmp_path, files), DataParams())


def test_the_command_prints_yaml_and_says_the_rest_beside_it(tmp_path: Path) -> None:
    done = osteon(tmp_path, "data", "guess", str(laid_out(tmp_path, SETS["folders"])))
    assert YAML(typ="safe", pure=True).load(done.stdout)["data"]["layout"] == "folders"
    assert "2 films; layout folders" in done.stderr
    assert osteon(tmp_path, "data", "guess", "nowhere").returncode == 2


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("Fractured", (1, True)),
        ("1.0", (1, True)),
        ("FALSE", (0, True)),
        ("Kırık", (1, True)),
        ("Non-Fractured", (0, True)),
        ("not_fractured", (0, True)),
        ("No Fracture", (0, True)),
        ("Not Fractured Bones", (0, True)),
        ("without fracture", (0, True)),
        ("Normal", (0, True)),
        ("healed fracture", (1, False)),
        ("no healed fracture", (0, False)),
        ("Radiusfraktur", (1, False)),
        ("positive", (1, False)),
        ("study1_negative", (0, False)),
        ("metal", (None, False)),
        ("-1", (None, False)),
        ("2", (None, False)),
        ("01", (1, True)),
        ("", (None, False)),
    ],
)
def test_what_a_word_means_by_itself(word: str, meaning: tuple[int | None, bool]) -> None:
    assert meaning_of(word) == Meaning(*meaning)


@pytest.mark.parametrize(
    ("table", "text", "expected"),
    [
        (
            "annotations.csv",
            "image,age,diagnosis\na.png,1,fracture\nb.png,0,normal\n",
            ("annotations", "labels.csv", "image", "diagnosis"),
        ),
        ("truth.csv", "img;kırık\nA.PNG;evet\nb;hayır\n", ("dicom", "truth.csv", "img", "kırık")),
    ],
)
def test_tables_of_other_names_and_columns(tmp_path: Path, table: str, text: str, expected: tuple[str, ...]) -> None:
    root = laid_out(tmp_path, {table: text, "f/a.png": FILM, "f/b.png": FILM})
    data = pasted(root).data
    assert (data.layout, data.label_file, data.columns.film, data.columns.label) == expected
    assert as_yaml(guess(root, DataParams())).count("# check") >= 2
    assert labels(root) == (expected[0], [1, 0])


def test_of_two_tables_that_may_hold_the_labels_none_is_taken(tmp_path: Path) -> None:
    text = "img,broken\na.png,yes\nb.png,no\n"
    root = laid_out(tmp_path, {"x.csv": text, "y.csv": text, "f/a.png": FILM, "f/b.png": FILM})
    with pytest.raises(OsteonError, match=r"none of its class words is one for fractured: 'f' \(2\)"):
        guess(root, DataParams())
