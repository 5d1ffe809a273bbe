"""The audit of a folder: made folders with known copies, leaks and labels."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from components.cli.main import app
from osteon.audit.audit import audit_folder
from osteon.audit.copies import contradictions, split_leaks
from osteon.audit.findings import Audit, Sign
from osteon.audit.folder import read_folder
from osteon.audit.gap import find_gap
from osteon.audit.tables import print_audit
from osteon.errors import OsteonError
from osteon.params import ClassNames, DataParams, PhantomParams
from tests.command import osteon
from tests.making import dicom, dicom_bytes, encoded, manifest_of, write

# One worker makes the folders for all tests that look at them.
pytestmark = pytest.mark.xdist_group("audited")

Film = NDArray[np.uint8]
FRACTURED, SOUND = "fractured", "not fractured"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Film]:
    """32 phantoms of as many studies, 192 pixels on the longer side."""
    from components.phantoms.step import phantoms

    folder = tmp_path_factory.mktemp("drawn")
    phantoms(folder / "films", folder / "sheet.png", PhantomParams(films=64, size=192, seed=11))
    manifest = pd.read_csv(folder / "films" / "manifest.csv")
    items = manifest.drop_duplicates(next(column for column in manifest if str(column).startswith("study")))["path"]
    return [cv2.imread(str(folder / "films" / path), cv2.IMREAD_GRAYSCALE) for path in items]


def png(path: Path, film: Film) -> None:
    write(path, encoded(film, "PNG"))


def turned(film: Film, degrees: float, scale: float = 1.0) -> Film:
    height, width = film.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    return np.asarray(cv2.warpAffine(film, matrix, (width, height)), np.uint8)


def cropped(film: Film) -> Film:
    height, width = film.shape
    return np.ascontiguousarray(film[height // 10 : -height // 10, width // 10 : -width // 10])


@pytest.fixture(scope="module")
def clean(drawn: list[Film], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 films to train on and 8 to test, all different."""
    root = tmp_path_factory.mktemp("clean") / "films"
    for number, film in enumerate(drawn[:32]):
        png(root / ("train" if number < 24 else "test") / (SOUND if number % 2 else FRACTURED) / f"{number}.png", film)
    return root


@pytest.fixture(scope="module")
def leaking(clean: Path, drawn: list[Film], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and six copies of training films among the test films, one of them under the other label."""
    root = tmp_path_factory.mktemp("leaking") / "films"
    shutil.copytree(clean, root)
    shutil.copy(root / "train" / FRACTURED / "0.png", root / "test" / FRACTURED / "bytes.png")
    write(root / "test" / SOUND / "pixels.bmp", encoded(drawn[1], "BMP"))
    write(root / "test" / FRACTURED / "again.jpg", encoded(drawn[2], "JPEG", quality=85))
    png(root / "test" / FRACTURED / "turned.png", turned(drawn[3], 25))  # its film is not fractured
    png(root / "test" / FRACTURED / "mirror.png", np.ascontiguousarray(drawn[4][:, ::-1]))
    png(root / "test" / SOUND / "part.png", cropped(drawn[5]))
    return root


@pytest.fixture(scope="module")
def found(leaking: Path) -> Audit:
    return audit_folder(leaking, None, DataParams(), None)


def audited(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, which must need no key of the user's."""
    return osteon(folder, "audit", *words, unset=("OSTEON_IDENTITY_KEY",))


# ---------------------------------------------------------------- the command


def test_a_clean_split_ends_with_0(clean: Path, tmp_path: Path) -> None:
    done = audited(tmp_path, str(clean))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "No copy found; patients unknown: no two of the splits train, test share a copy, but they may share patients; "
        "32 source films behind 32 images."
    )
    assert done.stdout.splitlines()[0] == "patients: known for 0 of 32 films; studies are unknown too"
    assert "layout folders" in done.stdout
    assert list(tmp_path.iterdir()) == []  # nothing was written


def test_copies_across_the_split_end_with_3(leaking: Path, tmp_path: Path) -> None:
    done = audited(tmp_path, str(leaking), "--out", "found")
    assert done.returncode == 3, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "The given splits leak: 6 of 14 test films (43%) have a copy among the train films."
    )
    assert "train/not fractured/3.png" in done.stdout
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
        "audit.json",
        "least_certain.png",
        "pairs.csv",
    ]
    assert len(pd.read_csv(tmp_path / "found" / "pairs.csv").query("joined")) == 6
    written = Audit.model_validate_json((tmp_path / "found" / "audit.json").read_bytes())
    assert written.leaking


def test_json_is_all_that_is_printed_and_the_exit_code_stays(leaking: Path, found: Audit) -> None:
    done = CliRunner().invoke(app, ["audit", str(leaking), "--json"])
    assert done.exit_code == 3
    assert json.loads(done.stdout) == json.loads(found.model_dump_json())


def test_misuse_ends_with_2_and_says_what(tmp_path: Path) -> None:
    done = audited(tmp_path, ".", "--layout", "zip")
    assert done.returncode == 2
    assert "no layout zip; there are annotations, coco," in done.stderr
    done = audited(tmp_path, "nowhere")
    assert (done.returncode, done.stderr) == (2, "error: nowhere: no such folder\n")


@pytest.mark.parametrize(
    ("layout", "out", "said"),
    [
        (None, None, "no film there; docs/data.md says which files are films"),
        ("mura", None, "the layout mura found no film there"),
        (None, "audited/found", "--out .*: is inside the audited folder"),
        (None, "file", "--out .*: a file, not a folder"),
    ],
)
def test_what_cannot_be_audited_is_said(layout: str | None, out: str | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "audited").mkdir()
    write(tmp_path / "file", b"")
    with pytest.raises(OsteonError, match=said):
        audit_folder(tmp_path / "audited", layout, DataParams(), tmp_path / out if out else None)
    assert list((tmp_path / "audited").iterdir()) == []


def test_a_folder_with_something_else_in_it_is_not_written_over(clean: Path, tmp_path: Path) -> None:
    write(tmp_path / "out" / "thesis.tex", b"years of work")
    with pytest.raises(OsteonError, match=r"has other content \(thesis.tex\)"):
        audit_folder(clean, None, DataParams(), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.tex").read_bytes() == b"years of work"


# ---------------------------------------------------------------- copies and splits


def test_every_copy_is_found_and_told_by_its_kind(found: Audit) -> None:
    assert (found.films, found.readable, found.sources, found.groups, found.most_copies) == (38, 38, 32, 32, 2)
    assert found.signs == [
        Sign(name="identical files", pairs=1, films=2),
        Sign(name="identical pixels in another file", pairs=1, films=2),
        Sign(name="near copies, cropped, zoomed or shifted", pairs=1, films=2),
        Sign(name="near copies, in place (encoded again, other grey levels, painted over)", pairs=1, films=2),
        Sign(name="near copies, mirrored", pairs=1, films=2),
        Sign(name="near copies, rotated", pairs=1, films=2),
    ]
    (leak,) = found.leaks
    assert (leak.split, leak.other, leak.films, leak.copies, leak.other_copies) == ("test", "train", 14, 6, 6)


def test_a_copy_under_the_other_label_is_named(found: Audit) -> None:
    (item,) = found.contradictions
    assert (item.positive, item.negative) == (["test/fractured/turned.png"], ["train/not fractured/3.png"])
    assert item.likeness is not None
    assert 0.7 <= item.likeness < 1


def test_a_set_is_counted_by_source_and_split() -> None:
    """a and b show one film, as do c and d, and all of e: the third split has one of each."""
    films = manifest_of(
        [{"given_split": split} for split in ("train", "test", "train", "val", "val", "test", "test", "else")]
    )
    leaks = split_leaks(films, np.array([0, 0, 1, 1, 2, 2, 2, 3]))
    counted = {(item.other, item.split): (item.other_copies, item.copies, item.films) for item in leaks}
    assert counted == {
        ("train", "val"): (1, 1, 2),
        ("train", "test"): (1, 1, 3),
        ("train", "else"): (0, 0, 1),
        ("val", "test"): (1, 2, 3),
        ("val", "else"): (0, 0, 1),
        ("test", "else"): (0, 0, 1),
    }


def test_a_patient_on_two_sides_is_a_leak_and_stays_unnamed(drawn: list[Film], tmp_path: Path) -> None:
    rows = ["path,label,patient_id,given_split"]
    for number, film in enumerate(drawn[:6]):
        png(tmp_path / "set" / f"{number}.png", film)
        rows.append(
            f"{number}.png,yes,{'Müller-4711' if number in (1, 5) else number},{'train' if number < 4 else 'test'}"
        )
    write(tmp_path / "set" / "manifest.csv", "\n".join(rows).encode())
    done = audited(tmp_path, "set", "--out", "found")
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "The given splits leak: 1 patient is in both train and test."
    assert "ller-4711" not in done.stdout + done.stderr
    assert all(b"ller-4711" not in path.read_bytes() for path in (tmp_path / "found").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found", "set"]  # and no key was kept
    (leak,) = json.loads((tmp_path / "found" / "audit.json").read_text())["leaks"]
    assert (leak["patients"], leak["patient_films"], leak["copies"]) == (1, 1, 0)


def test_one_name_with_other_pixels_is_no_copy(drawn: list[Film], tmp_path: Path) -> None:
    for number in range(4):
        png(tmp_path / "train" / FRACTURED / f"{number}.png", drawn[number])
        png(tmp_path / "test" / SOUND / f"{number}.png", drawn[number + 4])
    audit = audit_folder(tmp_path, None, DataParams(), None)
    assert (audit.sources, audit.leaking, audit.contradictions) == (8, False, [])


def test_one_name_with_nothing_to_compare_is_no_copy(tmp_path: Path) -> None:
    flat = np.full((80, 100), 90, np.uint8)
    png(tmp_path / "train" / "1.png", flat)
    png(tmp_path / "test" / "1.png", flat + np.uint8(9))
    audit = audit_folder(tmp_path, None, DataParams(), None)
    assert (audit.sources, audit.groups, audit.leaking) == (2, 2, False)


def test_films_of_one_split_cannot_leak(drawn: list[Film], tmp_path: Path) -> None:
    png(tmp_path / "train" / "a.png", drawn[0])
    png(tmp_path / "train" / "b.png", drawn[0])
    audit = audit_folder(tmp_path, None, DataParams(), None)
    assert not audit.leaking
    assert audit.verdict == (
        "All films are in one split (train), so none can leak; patients unknown; 1 source film behind 2 images."
    )


# ---------------------------------------------------------------- labels


def test_doubted_and_missing_labels_contradict_nobody_and_same_pixels_come_first() -> None:
    films = manifest_of(
        [
            {"film_id": "a", "label": 1},
            {"film_id": "b", "label": 0},  # a near copy of a
            {"film_id": "c", "label": 1},
            {"film_id": "d", "label": 0, "doubt": "in dataset.csv twice"},
            {"film_id": "e", "label": None},
            {"film_id": "g", "label": 1},
            {"film_id": "f", "label": 0},
            {"film_id": "h", "label": 0},
            {"film_id": "i", "label": 0},  # three near copies
            {"film_id": "j", "label": 0},
            {"film_id": "k", "label": 1},
        ]
    ).assign(pixel_sha256=["1", "2", "3", "3", "3", "4", "4", "5", "6", "7", "8"])
    copies = pd.DataFrame({"first": [0, 2, 5, 6, 8, 9], "second": [1, 3, 6, 7, 9, 10], "score": None})
    copies["score"] = pd.array([0.75, None, None, 0.9, 0.8, 0.95], dtype="Float64")
    result = contradictions(films, np.array([0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]), copies)
    assert [(item.likeness, item.positive, item.negative) for item in result] == [
        (None, ["g"], ["f", "h"]),
        (0.8, ["k"], ["i", "j"]),
        (0.75, ["a"], ["b"]),
    ]


def test_without_labels_copies_are_still_found(drawn: list[Film], tmp_path: Path, caplog: Any) -> None:
    png(tmp_path / "set" / "train" / "x.png", drawn[0])
    png(tmp_path / "set" / "valid" / "y.png", turned(drawn[0], -40))
    png(tmp_path / "set" / "valid" / "z.png", drawn[1])
    with caplog.at_level("INFO"):
        audit = audit_folder(tmp_path / "set", None, DataParams(), None)
    assert "no folder is a class; found train, valid" in caplog.text
    assert (audit.layout, audit.positive, audit.negative) == (None, 0, 0)
    assert audit.gap.skipped == "0 groups have a film with a positive label, 10 are needed"
    assert audit.verdict == "The given splits leak: 1 of 2 val films (50%) has a copy among the train films."


def test_class_names_come_from_the_named_file_alone(drawn: list[Film], tmp_path: Path, monkeypatch: Any) -> None:
    png(tmp_path / "set" / "Bruch" / "a.png", drawn[0])
    png(tmp_path / "set" / "heil" / "b.png", drawn[1])
    write(tmp_path / "params.yaml", b"data: {classes: {fractured: [bruch], not_fractured: [heil]}}")
    monkeypatch.chdir(tmp_path)
    without, named = (
        json.loads(CliRunner().invoke(app, ["audit", "set", "--json", *words]).stdout)
        for words in ([], ["--params", "params.yaml"])
    )
    assert (without["layout"], without["positive"], without["negative"]) == (None, 0, 0)
    assert (named["layout"], named["positive"], named["negative"]) == ("folders", 1, 1)


def test_what_cannot_be_read_is_counted_by_reason(clean: Path, drawn: list[Film], tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(clean, root)
    for number in range(3):
        whole = encoded(drawn[number], "JPEG")
        write(root / "train" / SOUND / f"cut{number}.jpg", whole[: len(whole) // 2 + number])
    write(root / "test" / SOUND / "empty.png", b"")
    audit = audit_folder(root, None, DataParams(), None)
    assert (audit.films, audit.readable, audit.sources) == (36, 32, 32)
    (first, count), *others = audit.unreadable.items()
    assert first.startswith("truncated or damaged")
    assert count == 3
    assert others == [("empty file (… bytes)", 1)]
    assert audit.splits == {"train": 24, "test": 8}


def test_a_folder_of_broken_films_is_said_to_be_one(tmp_path: Path) -> None:
    write(tmp_path / "a.png", b"")
    with pytest.raises(OsteonError, match="none of 1 files is a film that can be read"):
        audit_folder(tmp_path, None, DataParams(), None)


def test_files_that_are_not_among_the_films_are_counted(
    drawn: list[Film], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "zipped" / "films.zip", b"")
    with pytest.raises(OsteonError, match=r"no film there; 1 file .* is not read: 1 × zip \(unpack\)"):
        audit_folder(tmp_path / "zipped", None, DataParams(), None)
    for name in ("a", "b.png"):
        write(tmp_path / "set" / name, encoded(drawn[0], "PNG"))
    for name in ("c.heic", "d.heic", "e.zip", "._b.png", "DICOMDIR"):
        write(tmp_path / "set" / name, dicom_bytes(dicom(None, SOPClassUID="1.2.840.10008.1.3.10")))
    audit = audit_folder(tmp_path / "set", None, DataParams(), None)
    assert (audit.films, audit.not_read, audit.skipped) == (
        2,
        {"heic (convert to PNG)": 2, "zip (unpack)": 1},
        {"DICOMDIR": 1, "left by macOS": 1},
    )
    print_audit(audit)
    shown = capsys.readouterr().out
    assert "not read: heic (convert to PNG)" in shown
    assert "no films, skipped: DICOMDIR, left by macOS" in shown


# ---------------------------------------------------------------- layouts


def test_the_layout_that_tells_most_is_found(drawn: list[Film], tmp_path: Path) -> None:
    film = encoded(drawn[0], "PNG")

    def layout_of(name: str) -> str | None:
        return read_folder(tmp_path / name, None, DataParams()).layout

    write(tmp_path / "mura" / "train" / "XR_WRIST" / "patient1" / "study1_positive" / "image1.png", film)
    assert layout_of("mura") == "mura"
    write(tmp_path / "folders" / "test" / "normal" / "1.png", film)
    assert layout_of("folders") == "folders"
    write(tmp_path / "annotations" / "train" / "images" / "1.png", film)
    write(tmp_path / "annotations" / "train" / "annotations.csv", b"filename,fractured\n1.png,yes\n")
    assert layout_of("annotations") == "annotations"
    assert list(read_folder(tmp_path / "annotations", None, DataParams()).films["given_split"]) == ["train"]
    write(tmp_path / "manifest" / "1.png", film)
    write(tmp_path / "manifest" / "manifest.csv", b"path,label\n1.png,yes\n")
    assert layout_of("manifest") == "manifest"
    columns = b"image_id,hand,leg,hip,shoulder,mixed,hardware,fractured,frontal,lateral,oblique\n"
    write(tmp_path / "fracatlas" / "images" / "Fractured" / "1.png", film)
    write(tmp_path / "fracatlas" / "dataset.csv", columns + b"1.png,1,0,0,0,0,0,1,1,0,0\n")
    assert layout_of("fracatlas") == "fracatlas"
    scan = dicom_bytes(dicom(drawn[0].astype(np.uint16), PatientID="P1"))
    write(tmp_path / "dicom" / "IM1", scan)
    write(tmp_path / "dicom" / "labels.csv", b"filename,fractured\nIM1,yes\n")
    assert layout_of("dicom") == "dicom"


def test_a_manifest_of_another_kind_is_passed_over(clean: Path, tmp_path: Path, caplog: Any) -> None:
    shutil.copytree(clean, tmp_path / "set")
    write(tmp_path / "set" / "manifest.csv", b"file;checksum\n")
    with caplog.at_level("INFO"):
        assert read_folder(tmp_path / "set", None, DataParams()).layout == "folders"
    assert "not the layout manifest" in caplog.text
    with pytest.raises(OsteonError, match="no column path, label"):
        read_folder(tmp_path / "set", "manifest", DataParams())


def test_patients_of_unlabelled_dicom_are_told_from_its_tags(drawn: list[Film], tmp_path: Path) -> None:
    """An export of a PACS: no extension, no table, two films of one patient in two splits."""
    for split, number, patient in (("train", 0, "P1"), ("train", 1, "P2"), ("test", 2, "P1")):
        scan = dicom(drawn[number].astype(np.uint16), PatientID=patient, StudyInstanceUID=f"1.{number}")
        write(tmp_path / split / f"IM{number}", dicom_bytes(scan))
    audit = audit_folder(tmp_path, None, DataParams(), None)
    assert (audit.layout, audit.patients, audit.groups, audit.sources) == (None, 2, 2, 3)
    assert audit.verdict == "The given splits leak: 1 patient is in both train and test."
    assert audit.known == "known for 3 of 3 films (2 patients)"

    nothing = {"copies": 0, "other_copies": 0, "patients": 0, "studies": 0, "patient_films": 0}
    clean = audit.model_copy(update={"leaks": [audit.leaks[0].model_copy(update=nothing)]})
    assert clean.verdict == (
        "No leak found: no two of the splits train, test share a copy or a patient; 3 source films behind 3 images."
    )
    partly = clean.model_copy(update={"patients_known": 2})
    assert partly.verdict == (
        "No leak found among the 2 films whose patient is known; the patient of 1 film is unknown; "
        "3 source films behind 3 images."
    )
    unknown = clean.model_copy(update={"patients_known": 0, "patients": None})
    assert unknown.verdict.startswith("No copy found; patients unknown: ")


# ---------------------------------------------------------------- the gap


@pytest.mark.slow
def test_copies_make_a_model_look_good_that_has_learnt_nothing(drawn: list[Film], tmp_path: Path) -> None:
    """The label is drawn by lot for each source film; there is nothing to learn but the film."""
    lot = np.random.default_rng(2).permutation([FRACTURED, SOUND] * 12)
    for number, label in enumerate(lot):
        for copy, degrees in enumerate(np.linspace(-10, 10, 6)):
            png(tmp_path / str(label) / f"{number:02}{copy}x.png", turned(drawn[number], float(degrees)))
    audit = audit_folder(tmp_path, None, DataParams(), None)
    assert (audit.readable, audit.sources, audit.most_copies) == (144, 24, 6)
    gap = audit.gap
    assert gap.random is not None
    assert gap.grouped is not None
    assert gap.difference is not None
    assert gap.majority == 0.5
    assert gap.random.accuracy.value is not None
    assert gap.random.accuracy.value > 0.9
    assert gap.grouped.accuracy.low is not None
    assert gap.grouped.accuracy.high is not None
    assert gap.grouped.accuracy.high < 0.65
    assert gap.difference.low is not None
    assert gap.difference.low > 0.2
    # 24 groups tell less than 144 films do: by film the interval would be 0.14 wide.
    assert gap.grouped.accuracy.high - gap.grouped.accuracy.low > 0.2


def squares_with(brightness: NDArray[np.int64]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 20, (len(brightness), 64, 64))
    return (noise + brightness[:, None, None]).astype(np.uint8)


def test_without_copies_there_is_no_gap() -> None:
    labels = np.arange(60) % 2
    gap = find_gap(squares_with(100 * labels), np.arange(60), labels, np.arange(60), 0.95, 1)
    assert gap.random is not None
    assert gap.grouped is not None
    assert gap.random.accuracy.value == gap.grouped.accuracy.value == 1.0
    assert gap.random.auroc.value == 1.0
    assert gap.difference is not None
    assert (gap.difference.value, gap.difference.low, gap.difference.high) == (0, 0, 0)


def test_the_films_asked_are_those_with_a_label() -> None:
    """Rows are numbers among all films: the first 30 have none, and would teach the opposite."""
    labels = np.arange(60) % 2
    squares = np.concatenate([squares_with(100 * (1 - labels[:30])), squares_with(100 * labels)])
    gap = find_gap(squares, np.arange(30, 90), labels, np.arange(60), 0.95, 1)
    assert gap.films == 60
    assert gap.grouped is not None
    assert gap.grouped.accuracy.value == 1.0


def test_of_many_films_whole_groups_are_drawn(monkeypatch: Any) -> None:
    """Groups of 3, of which 33 fit; each film is asked with its own label."""
    monkeypatch.setattr("osteon.audit.gap.MOST_FILMS", 100)
    groups = np.arange(150) % 50
    labels = groups % 2
    gap = find_gap(squares_with(100 * labels), np.arange(150), labels, groups, 0.95, 1)
    assert (gap.films, gap.groups, gap.left_out) == (99, 33, 51)
    assert gap.grouped is not None
    assert gap.grouped.accuracy.value == 1.0


def test_nothing_is_asked_of_few_groups() -> None:
    labels = np.array([0] * 20 + [1] * 20)
    groups = np.concatenate([np.arange(20), 20 + np.arange(20) % 9])
    gap = find_gap(squares_with(labels), np.arange(40), labels, groups, 0.95, 1)
    assert gap.skipped == "9 groups have a film with a positive label, 10 are needed"
    assert gap.random is None


# ---------------------------------------------------------------- what is printed


def test_all_of_it_is_printed(found: Audit, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    print_audit(found)
    output = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "films 38",
        "labelled fractured 20",
        "labelled not fractured 18",
        "split train 24",
        "split test 14",
        "source films, copies counted once 32",
        "identical files 1 2",
        "near copies, rotated 1 2",
        "test films with a copy in train 6 14 42.9%",
        "train films with a copy in test 6 24 25.0%",
        "always the commoner class 0.526 0.500",
        "1 source film is labelled both fractured and not fractured, 0 of them on identical pixels:",
    ):
        assert line in output, "\n".join(output)


def test_class_words_that_are_not_known_are_said(drawn: list[Film], tmp_path: Path) -> None:
    png(tmp_path / "Fractured" / "a.png", drawn[0])
    png(tmp_path / "Ohne_Bruch" / "b.png", drawn[1])
    audit = audit_folder(tmp_path, None, DataParams(classes=ClassNames()), None)
    assert (audit.positive, audit.negative) == (1, 0)
    assert list(audit.doubts) == [
        "folder 'Ohne_Bruch' is neither in data.classes.fractured nor in data.classes.not_fractured"
    ]
