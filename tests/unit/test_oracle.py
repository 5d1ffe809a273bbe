"""What Osteon shows of DICOM against DCMTK, a second reader; `python -m benchmarks oracle` compares many more."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.film_files import COMPRESSED, dicom_file, phantom, transcoded
from benchmarks.oracle import BORDER, PROGRAM, UNSEEN, Comparison, compare, generated_dataset, real_files
from tests.making import dicom, write

pytestmark = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} (Debian's dcmtk) is not installed")
GREY = phantom(64)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([8, 10, 12, 14, 16]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["nothing", "window", "narrow", "exact", "sigmoid", "lut", "rescale", "falling"]),
    st.booleans(),
)
def test_generated_films(bits: int, signed: bool, high: bool, turned: bool, view: str, padded: bool) -> None:
    dataset = generated_dataset(GREY, bits, signed=signed, high=high, turned=turned, view=view, padded=padded)
    result = compare("generated", dicom_file(dataset), BORDER * padded)
    assert result is not None
    assert result.agrees, result


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_films(name: str) -> None:
    lossy = COMPRESSED[name].startswith(("JPEGBaseline", "JPEGExtended"))
    data = transcoded(dicom_file(generated_dataset(GREY, 8 if lossy else 12, view="window")), COMPRESSED[name])
    result = compare(name, data)
    assert result is not None
    assert result.agrees, result


def test_the_films_that_pydicom_ships() -> None:
    results = [result for file in real_files() if (result := compare(*file)) is not None]
    assert len(results) > 25
    differing = [result for result in results if not result.agrees and result.exception is None]
    assert [result.name for result in differing if result.reason is None] == []


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("value", [0, 4095])
def test_padding_is_neither_compared_nor_spanned_by_a_view(photometric: str, value: int) -> None:
    """PS3.3, C.7.5.1.1.2: it is no part of the film, wherever it lies among the values."""
    words = np.rint(400 + GREY / 255 * 3000).astype(np.uint16)
    words[:, :12] = value
    result = compare("padded", dicom_file(dicom(words, photometric, PixelPaddingValue=value)))
    assert result is not None
    assert result.agrees, result


def test_a_window_that_shows_nothing_is_an_exception_and_another_film_is_not() -> None:
    words = np.rint(GREY / 255 * 4095).astype(np.uint16)
    preset = compare("preset", dicom_file(dicom(words, WindowCenter=40, WindowWidth=80)))
    fitting = compare("fitting", dicom_file(dicom(words, WindowCenter=2048, WindowWidth=4096)))
    assert preset is not None
    assert fitting is not None
    assert (preset.agrees, preset.exception) == (False, UNSEEN)
    assert (fitting.agrees, fitting.exception) == (True, None)


def test_an_exception_for_a_view_is_none_for_a_film_that_is_seen() -> None:
    assert Comparison("inverted", correlation=-1.0, difference=30.0).exception is None


def test_a_folder_of_cases_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = dicom_file(generated_dataset(GREY, 12))
    write(tmp_path / "a" / "b" / "IM1", film)
    write(tmp_path / "notes.txt", b"no film")
    monkeypatch.setenv("OSTEON_DICOM_CASES", str(tmp_path))
    monkeypatch.delenv("OSTEON_REAL_DATA", raising=False)
    assert next(real_files()) == ("IM1", film, 0)
