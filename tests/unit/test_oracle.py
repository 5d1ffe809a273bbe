"""What Osteon shows of DICOM against DCMTK, a second reader; `python -m benchmarks oracle` compares many more."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.film_files import COMPRESSED, dicom_file, phantom, transcoded
from benchmarks.oracle import BORDER, EXCEPTIONS, PROGRAM, compare, generated_dataset, real_files

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
    differing = [result for result in results if not result.agrees and result.name not in EXCEPTIONS]
    assert [result.name for result in differing if result.reason is None] == []
