"""A user's folder with everything that can be wrong with it, through `dvc repro` and the command line."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from tests.e2e.conftest import Project, make_project
from tests.making import dicom, dicom_bytes, encoded, ramp, write


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def films_of_two_classes(folder: Path, count: int = 24) -> Path:
    """Folders named after their class; every film another picture."""
    for number in range(count):
        rng = np.random.default_rng(number)
        pixels = np.clip(ramp(96, 80).astype(int) + rng.integers(-60, 60, (96, 80)), 0, 255).astype(np.uint8)
        name = "fractured" if number % 2 else "not fractured"
        write(folder / name / f"patient{number:02d}.png", encoded(pixels, "PNG"))
    return folder


def bomb() -> bytes:
    """A header that promises 50,000 × 50,000 pixels."""
    data = bytearray(encoded(Image.new("L", (8, 8)), "PNG"))
    import struct
    import zlib

    data[16:24] = struct.pack(">II", 50_000, 50_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def test_bad_films_among_good_ones_go_to_quarantine_and_the_rest_goes_on(project: Project, tmp_path: Path) -> None:
    """In a folder outside the project whose name has spaces and letters beyond ASCII."""
    root = films_of_two_classes(tmp_path / "Röntgen bilder – 骨" / "2026 alle")
    jpeg = encoded(ramp(300, 200), "JPEG")
    unsupported = dicom(ramp(), bits=8)
    unsupported.PixelData = encapsulate([b"\0\1\2\3"])
    unsupported["PixelData"].is_undefined_length = True
    unsupported.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")  # MPEG-4
    bad = {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "text.png": (b"this is no picture", "no picture that can be read"),
        "nothing.png": (b"", "empty"),
        "bomb.png": (bomb(), "max_megapixels"),
        "no_pixels.dcm": (dicom_bytes(dicom(None)), "without pixels"),
        "video.dcm": (dicom_bytes(unsupported), "transfer syntax"),
        "frames.dcm": (dicom_bytes(dicom(np.stack([ramp(top=4000)] * 2), NumberOfFrames=2)), "multi-frame"),
        "colour.dcm": (dicom_bytes(dicom(np.dstack([ramp(), ramp()[:, ::-1], 0 * ramp()]), "RGB", bits=8)), "colour"),
        "photo.png": (encoded(np.dstack([ramp(), ramp()[:, ::-1], 0 * ramp()]), "PNG"), "colour"),
        "blank.png": (encoded(np.full((90, 90), 7, np.uint8), "PNG"), "blank"),
    }
    for name, (data, _) in bad.items():
        write(root / "not fractured" / name, data)
    project.set(
        data={"root": str(root), "layout": "folders"}, validation={"max_quarantined": 0.5}, preparation={"folds": 2}
    )
    out = project.done("dvc", "repro", "augment")
    with (project.folder / "reports/validation/quarantine.csv").open(encoding="utf-8") as file:
        reasons = {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == set(bad)
    for name, (_, word) in bad.items():
        assert word in reasons[name], (name, reasons[name])
    assert f"quarantined {len(bad)}" in out
    films = pd.read_parquet(project.folder / "data/prepared/films.parquet")
    assert len(films) == 24
    assert sum(path.is_file() for path in root.rglob("*")) == 24 + len(bad)  # nothing was moved or lost


def test_too_many_bad_films_stop_the_run_with_the_reason(project: Project, tmp_path: Path) -> None:
    root = films_of_two_classes(tmp_path / "films")
    for number in range(6):
        write(root / "fractured" / f"text{number}.png", b"text")
    project.set(data={"root": str(root), "layout": "folders"})
    result = project.run("dvc", "repro", "prepare")
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert "6 of 30 films (20.0%) are in quarantine, more than max_quarantined = 10.0%" in output
    assert "Traceback" not in output
    # What to look at is there, what must not be used is not. DVC gives its own place back to a failed stage.
    assert not (project.folder / "data/trusted.parquet").exists()
    assert (project.folder / "reports/validation/quarantine.csv").exists()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.mkdir(), "no film"),
        (lambda root: write(root / "readme.txt", b"hello"), "no film"),
    ],
    ids=["missing", "empty", "no films"],
)
def test_a_missing_or_empty_folder(project: Project, tmp_path: Path, make: object, said: str) -> None:
    root = tmp_path / "films"
    make(root)  # type: ignore[operator]
    project.set(data={"root": str(root), "layout": "folders"})
    result = project.run("osteon", "ingest", "--source", str(root), "--manifest", "manifest.parquet")
    assert result.returncode == 2
    assert said in result.stderr
    assert str(root) in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (project.folder / "manifest.parquet").exists()


def test_one_class_only(project: Project, tmp_path: Path) -> None:
    root = films_of_two_classes(tmp_path / "films")
    shutil.rmtree(root / "fractured")
    project.set(data={"root": str(root), "layout": "folders"})
    result = project.run("dvc", "repro", "prepare")
    assert result.returncode != 0
    assert "the films cannot be trusted" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_fewer_groups_than_folds(project: Project, tmp_path: Path) -> None:
    root = films_of_two_classes(tmp_path / "films", count=12)
    project.set(data={"root": str(root), "layout": "folders"}, preparation={"folds": 9})
    result = project.run("dvc", "repro", "prepare")
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert "folds" in output
    assert "error: " in output
    assert "Traceback" not in output
    assert not (project.folder / "data/prepared").exists()
