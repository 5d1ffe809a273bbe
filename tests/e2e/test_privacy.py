"""DICOM files full of identity through the whole pipeline: nothing of it comes out anywhere."""

import io
import random
import re
import sqlite3
import string
import subprocess
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from osteon.films.identity import KEY_FILE, VARIABLE, keyed_hash
from tests.e2e.conftest import make_project
from tests.making import dicom, dicom_bytes, write

KEY = "a hospital's own secret"
YEAR, MONTH, DAY = "1923", "11", "17"
BIRTH = YEAR + MONTH + DAY
WRITTEN_BIRTH = re.compile(f"(?<![0-9a-f])({BIRTH}|{YEAR}-{MONTH}-{DAY}|{DAY}.{MONTH}.{YEAR})(?![0-9a-f])".encode())
PATIENTS = 20


class Planted:
    """Made-up words, each once in the world; drawn, so that the code that is searched too does not hold them."""

    def __init__(self) -> None:
        self.rng = random.Random(8)
        self.words: list[str] = []
        self.values: list[str] = [BIRTH]

    def __call__(self, form: str = "{}") -> str:
        word = "".join(self.rng.choices(string.ascii_lowercase, k=8))
        self.words.append(word)
        self.values.append(form.format(word))
        return self.values[-1]

    @cached_property
    def hashes(self) -> list[str]:
        """The beginnings of the values' plain hashes: whoever has a list of ids could look them up."""
        return [plain(value.encode()).hexdigest()[:16] for value in self.values for plain in (sha256, md5)]

    @cached_property
    def by_beginning(self) -> dict[int, list[str]]:
        """Words and hashes by their first eight bytes, as a number."""
        result: dict[int, list[str]] = {}
        for word in (*self.words, *self.hashes):
            result.setdefault(int.from_bytes(word.encode()[:8], "little"), []).append(word)
        return result

    def found_in(self, data: bytes) -> list[str]:
        """Words, dates and the plain hashes of whole values that the bytes hold."""
        lower = data.lower()
        # Eight bytes at every place, all looked up at once: to look for one word after the other took a second a MB.
        places = np.ndarray(max(len(lower) - 7, 0), "<u8", lower, strides=(1,))
        known = np.sort(np.array([*self.by_beginning], "<u8"))
        candidates = np.unique(places[known[np.searchsorted(known, places) % len(known)] == places])
        result = [word for item in candidates for word in self.by_beginning[int(item)] if word.encode() in lower]
        if WRITTEN_BIRTH.search(lower):
            result.append(BIRTH)
        return result


def film(planted: Planted, number: int, patient: str, **other: Any) -> Dataset:
    rng = np.random.default_rng(number)
    pixels = (np.tile(np.linspace(0, 3000, 80), (96, 1)) + rng.integers(0, 1000, (96, 80))).astype(np.uint16)
    inner = Dataset()
    inner.PatientID, inner.PatientName = planted(), planted("{}^Jane")
    tags = {
        "PatientID": patient,
        "StudyInstanceUID": f"1.2.826.0.1.{number}",
        "PatientName": planted("{}^Jane"),
        "PatientBirthDate": BIRTH,
        "PatientAddress": planted("1 {} Street"),
        "AccessionNumber": planted(),
        "StudyID": planted(),
        "OtherPatientIDs": [planted(), planted()],
        "OtherPatientIDsSequence": Sequence([inner]),
        "ReferringPhysicianName": planted("{}^Dr"),
        "OperatorsName": planted(),
        "InstitutionName": planted("{} Hospital"),
        "BodyPartExamined": "HAND" if number % 3 else planted("{} WRIST"),
        "StudyDescription": planted("Wrist, Mrs {}"),
        "SeriesDescription": planted("Hand AP {}"),
        "ProtocolName": planted("Hand {}"),
        "ImageComments": planted("said {}"),
        "PixelSpacing": [0.15, 0.15],
    }
    dataset = dicom(pixels, **{**tags, **other})
    private = dataset.private_block(0x0011, planted(), create=True)
    private.add_new(1, "LO", planted())
    dataset.preamble = planted("{:8}").encode().ljust(128)
    return dataset


def with_text_in(dataset: Dataset, tag: str, value: object, text: str) -> bytes:
    """A file whose tag holds a text that cannot stand there; `value` fills the place until it is written."""
    setattr(dataset, tag, value)
    data, place = dicom_bytes(dataset), str(value).encode()
    assert data.count(place) == 1
    assert len(text) == len(place)
    return data.replace(place, text.encode())


def plant(root: Path) -> Planted:
    """Good films of 20 patients, two of one of them, and one film of each kind of trouble."""
    planted = Planted()
    files: dict[str, bytes] = {}
    patients = [planted("MRN-{}") for _ in range(PATIENTS)]
    for number, patient in enumerate([*patients, f" {patients[0]} "]):
        files[f"IM{number:04}"] = dicom_bytes(film(planted, number, patient))

    def bad(name: str, **other: Any) -> Dataset:
        number = 100 + len(files)
        dataset = film(planted, number, planted("MRN-{}"), **other)
        files[name] = dicom_bytes(dataset)
        return dataset

    # Read with a warning.
    bad("birth.dcm", PatientBirthDate=planted())
    bad("charset.dcm", SpecificCharacterSet=planted("ISO_IR {}"))
    bad("letters.dcm", SpecificCharacterSet="ISO_IR 100", PatientName=planted("Mü{}^Jörg"))
    bad("groups.dcm", PatientName=planted("a=b=c=d={}"))
    bad("uid.dcm", StudyInstanceUID=planted())
    files["spacing.dcm"] = with_text_in(bad("spacing.dcm", PixelSpacing=None), "PixelSpacing", 12345678, planted())
    # Not to be used.
    bad("burned_in.dcm", BurnedInAnnotation="YES")
    files["frames.dcm"] = with_text_in(bad("frames.dcm"), "NumberOfFrames", 12345678, planted())
    files["window.dcm"] = with_text_in(bad("window.dcm", WindowWidth=100), "WindowCenter", 12345678, planted())
    files["samples.dcm"] = with_text_in(bad("samples.dcm"), "PhotometricInterpretation", "MONO5678", planted())
    colour = dicom(np.zeros((80, 90, 3), np.uint8), "RGB", 8)
    colour.update(film(planted, 200, planted()).group_dataset(0x0010))
    files["colour.dcm"] = dicom_bytes(colour)
    syntax = bad("syntax.dcm")
    syntax.file_meta.TransferSyntaxUID = planted("1.2.{}")
    files["syntax.dcm"] = files["syntax.dcm"].replace(
        b"1.2.840.10008.1.2.1\0", syntax.file_meta.TransferSyntaxUID.encode().ljust(20, b"\0")
    )
    whole = dicom_bytes(film(planted, 300, planted()))
    files["cut_pixels.dcm"] = whole[: len(whole) // 2]
    files["cut_tags.dcm"] = whole[:700]
    files["no_dicom.dcm"] = f"{planted()} was here".encode()

    names = [*files, "missing.dcm"]
    lines = [f"{name},{number % 2},{planted()}" for number, name in enumerate(names)]
    for name, data in files.items():
        write(root / "exports" / name, data)
    write(root / "labels.csv", "\n".join(["filename,fractured,patient_name", *lines]).encode())
    return planted


def searched(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, git's and DVC's too, and what is packed inside it."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        yield str(path), data
        if data[:4] == b"PAR1":
            yield f"{path} (rows)", pd.read_parquet(io.BytesIO(data)).to_csv().encode()
        elif data[:4] == b"PK\3\4":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                yield from ((f"{path} ({name})", archive.read(name)) for name in archive.namelist())
        elif data[:15] == b"SQLite format 3":
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
                yield f"{path} (rows)", "\n".join(store.iterdump()).encode()


def test_no_identity_comes_out_anywhere(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    root = tmp_path / "films"
    with disable_value_validation(), warnings.catch_warnings(action="ignore"):
        planted = plant(root)
    project.set(
        data={"root": str(root), "layout": "dicom"},
        validation={"max_quarantined": 0.5},
        preparation={"folds": 2, "test_share": 0.33},
        cross_validation={"models": ["logistic_regression"]},
        training={"epochs": 1},
    )
    repro = project.run("dvc", "repro", "evaluate")
    output = repro.stdout + repro.stderr
    assert repro.returncode == 0, output[-3000:]

    # What is wanted came through.
    rows = pd.read_parquet(project.folder / "data/manifest.parquet").set_index("film_id")
    good = rows.loc[[f"exports/IM{number:04}" for number in range(PATIENTS + 1)]]
    assert good["patient_id"].nunique() == PATIENTS
    assert good["patient_id"].iloc[0] == good["patient_id"].iloc[-1]
    assert set(good["region"]) == {"hand", "wrist"}
    assert set(good["view"]) == {"frontal"}
    assert set(good["pixel_spacing"]) == {"[0.15, 0.15]"}
    quarantine = pd.read_csv(project.folder / "reports/validation/quarantine.csv").set_index("film_id")["reason"]
    reasons = {Path(name).stem: reason for name, reason in quarantine.items()}
    assert set(reasons) == {
        *("burned_in", "frames", "window", "samples", "colour", "syntax", "cut_pixels", "cut_tags", "no_dicom"),
        "missing",
    }
    assert reasons["burned_in"].startswith("BurnedInAnnotation = YES")
    assert reasons["frames"] == "damaged DICOM"
    assert reasons["samples"] == "DICOM of an unknown PhotometricInterpretation; a radiograph is grey"

    # The same with a key, with tracebacks, and stopped by an error.
    words = ("--source", str(root), "--manifest", "manifest.parquet")
    keyed = project.run("osteon", "--debug", "ingest", *words, **{VARIABLE: KEY})
    assert keyed.returncode == 0, keyed.stderr
    assert "IDENTITY" not in keyed.stdout + keyed.stderr
    again = pd.read_parquet(project.folder / "manifest.parquet").set_index("film_id")
    (mrn,) = {
        value
        for value in planted.values
        if keyed_hash(KEY.encode(), "patient", value) == again["patient_id"]["exports/IM0000"]
    }
    assert mrn.startswith("MRN-")
    assert not set(again["patient_id"].dropna()) & set(rows["patient_id"].dropna())
    project.set(validation={"max_quarantined": 0.0})
    words = (*words, "--trusted", "trusted.parquet", "--report", "report")
    stopped = project.run("osteon", "--debug", "validate", *words)
    assert "the films cannot be trusted" in stopped.stderr
    assert "Traceback" in stopped.stderr

    texts = [("what dvc repro said", output.encode())]
    texts += [(" ".join(map(str, run.args)), (run.stdout + run.stderr).encode()) for run in (keyed, stopped)]
    outputs = [*searched(project.folder), *texts]
    assert not [(where, result) for where, data in outputs if (result := planted.found_in(data))]

    # One warning, and the keys themselves stay where they are.
    assert output.count(f"{VARIABLE} is not set") == 1
    random_key = (project.folder / KEY_FILE).read_bytes().strip()
    assert [where for where, data in outputs if random_key in data] == [str(project.folder / KEY_FILE)]
    assert not [where for where, data in outputs if KEY.encode() in data and "tests" not in Path(where).parts]
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project.folder, capture_output=True, text=True, check=True
    )
    assert ".osteon" not in status.stdout

    # The search finds what is there to be found.
    shown = {where.removeprefix(f"{project.folder}/") for where, data in outputs if b"exports/im0003" in data.lower()}
    assert {"data/manifest.parquet (rows)", "data/prepared/films.parquet (rows)"} <= shown
    for data in (
        f"x {BIRTH},".encode(),
        planted.words[0].upper().encode(),
        sha256(mrn.encode()).hexdigest().encode(),
    ):
        assert planted.found_in(data)
