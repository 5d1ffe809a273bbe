import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from components.preparation.step import prepare
from osteon.errors import OsteonError
from osteon.films.manifest import read_manifest, text_to_boxes, write_manifest
from osteon.films.prepared.array import FILMS, PIXELS, PreparedFilms, open_pixels, open_prepared, write_pixels
from osteon.films.prepared.row_file import RowFile
from osteon.films.reading.decoding import decode
from osteon.films.reading.film import letterbox
from osteon.params import DataParams, PreparationParams, ValidationParams
from tests.conftest import Pipeline
from tests.making import encoded, manifest_of, ramp, write


def test_prepared_films_are_the_films_fitted_into_the_square(pipeline: Pipeline) -> None:
    prepared = open_prepared(pipeline.dataset)
    trusted = read_manifest(pipeline.trusted)
    assert list(prepared.films["film_id"]) == list(trusted["film_id"])
    for row in (0, 17, len(trusted) - 1):
        data = (pipeline.source / str(trusted["path"][row])).read_bytes()
        np.testing.assert_array_equal(prepared.pixels[row], letterbox(decode(data, max_megapixels=9), 64))


def test_boxes_move_with_the_films(pipeline: Pipeline) -> None:
    prepared, trusted = open_prepared(pipeline.dataset), read_manifest(pipeline.trusted)
    row = int(np.flatnonzero(trusted["boxes"].str.len() > 2)[0])
    ((x, y, width, height),) = text_to_boxes(trusted["boxes"][row])
    full_width, full_height = int(trusted["width"][row]), int(trusted["height"][row])
    factor = 64 / max(full_width, full_height)
    left = (64 - round(full_width * factor)) // 2
    top = (64 - round(full_height * factor)) // 2
    (box,) = text_to_boxes(prepared.films["boxes"][row])
    assert box == pytest.approx((x * factor + left, y * factor + top, width * factor, height * factor), abs=0.06)


def test_boxes_of_a_film_that_exif_turns_lie_where_the_film_shows_them(tmp_path: Path) -> None:
    """FracAtlas has some; its outlines are drawn on the film as it is shown."""
    exif = Image.Exif()
    exif[0x0112] = 6
    rows: list[dict[str, object]] = []
    rng = np.random.default_rng(0)
    for number in range(12):
        stored = rng.integers(0, 120, (60, 100), np.uint8)  # no film is a copy of another
        stored[10:20, 70:90] = 255  # shown: 60 wide, 100 high, the block at x 40 … 50, y 70 … 90
        write(tmp_path / f"{number}.jpg", encoded(Image.fromarray(stored), "JPEG", quality=100, exif=exif))
        rows.append({"path": f"{number}.jpg", "label": number % 2, "boxes": "[[40, 70, 10, 20]]"})
    write_manifest(manifest_of(rows).assign(width=100, height=60), tmp_path / "t.parquet")
    out = tmp_path / "d", tmp_path / "l", tmp_path / "s"
    prepare(tmp_path, tmp_path / "t.parquet", *out, PreparationParams(image_size=96, folds=2))
    prepared = open_prepared(tmp_path / "d")
    assert set(zip(prepared.films["shown_width"], prepared.films["shown_height"], strict=True)) == {(60, 100)}
    assert not {"width", "height"} & set(prepared.films)  # in the manifest these are the header's, 100 and 60
    for film, text in zip(prepared.pixels[:], prepared.films["boxes"], strict=True):
        ((x, y, width, height),) = text_to_boxes(text)
        rows_of, columns_of = np.nonzero(film > 200)
        seen = (columns_of.min(), rows_of.min(), columns_of.max() + 1, rows_of.max() + 1)
        assert (x, y, x + width, y + height) == pytest.approx(seen, abs=1.5)


def test_patients_are_never_on_two_sides(pipeline: Pipeline) -> None:
    films = open_prepared(pipeline.dataset).films
    assert (films.groupby("patient_id")["group"].nunique() == 1).all()
    place = films["fold"].fillna(-1)
    assert (place.groupby(films["patient_id"]).nunique() == 1).all()
    assert films["test"].sum() > 10


def test_pixels_stream_to_disk(tmp_path: Path) -> None:
    """A thousand films of 128 pixels are 16 MB; a few at a time are in memory."""

    def films() -> Iterator[np.ndarray]:
        for number in range(1000):
            yield np.full((128, 128), number % 256, np.uint8)

    tracemalloc.start()
    write_pixels(tmp_path / "p.npy", films(), 1000, 128)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6
    back = np.load(tmp_path / "p.npy", mmap_mode="r")
    assert back.shape == (1000, 128, 128)
    assert (back[:, 0, 0] == np.arange(1000) % 256).all()


def test_another_number_or_size_of_films_is_refused(tmp_path: Path) -> None:
    film = np.zeros((32, 32), np.uint8)
    with pytest.raises(ValueError, match="1 films, but 2 were announced"):
        write_pixels(tmp_path / "p.npy", [film], 2, 32)
    with pytest.raises(ValueError, match=r"film 0 is uint8 \(32, 32\)"):
        write_pixels(tmp_path / "p.npy", [film], 1, 64)


@given(
    st.integers(-12, 11) | st.slices(12) | st.lists(st.integers(-12, 11), max_size=20).map(lambda r: np.array(r, int))
)
def test_films_are_chosen_as_from_an_array(twelve: Path, rows: int | slice | np.ndarray) -> None:
    result, expected = open_pixels(twelve)[rows], np.load(twelve)[rows]
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected, strict=True)


@given(st.integers(-12, 11) | st.slices(12) | st.lists(st.integers(-12, 11)).map(lambda r: np.array(r, int)))
def test_features_are_chosen_as_from_an_array(features: Path, rows: int | slice | np.ndarray) -> None:
    result = RowFile(features, np.float32)
    np.testing.assert_array_equal(result[rows], np.load(features)[rows], strict=True)
    assert (len(result), result.shape) == (12, (12, 7))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "films.npy"
    np.save(path, np.random.default_rng(0).normal(size=(12, 7)).astype(np.float32))
    return path


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 7)), r"films\.npy is float64 \(3, 7\), not float32"),
        (np.zeros((3, 7), np.float32, order="F"), r"films\.npy is float32 \(3, 7\), not float32 films × …, row by row"),
        (np.zeros(3, np.float32), r"films\.npy is float32 \(3,\), not float32"),
    ],
)
def test_a_file_that_has_no_such_rows(tmp_path: Path, array: np.ndarray, said: str) -> None:
    np.save(tmp_path / "films.npy", array)
    with pytest.raises(ValueError, match=said):
        RowFile(tmp_path / "films.npy", np.float32)


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("twelve") / PIXELS
    films = np.random.default_rng(0).integers(0, 256, (12, 32, 32), np.uint8)
    write_pixels(path, films, 12, 32)
    return path


def test_a_film_that_is_not_there(twelve: Path) -> None:
    for row in (12, -13):
        with pytest.raises(IndexError):
            open_pixels(twelve)[row]


def test_no_films_at_all(tmp_path: Path) -> None:
    """Augment may be told to make no copies."""
    write_pixels(tmp_path / PIXELS, [], 0, 32)
    assert open_pixels(tmp_path / PIXELS)[:].shape == (0, 32, 32)


def test_blocks_are_the_rows_in_their_order(twelve: Path) -> None:
    rows = np.array([7, 3, 11, 0, 3])
    blocks = list(PreparedFilms(open_pixels(twelve), pd.DataFrame()).blocks(rows, block=2))
    assert [len(block) for block in blocks] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), np.load(twelve)[rows])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what memory is of files")
def test_films_that_were_looked_at_do_not_stay_in_memory(tmp_path: Path) -> None:
    """64 MB go by. Of a memory map all pages would still be counted."""
    write_pixels(tmp_path / PIXELS, (np.full((128, 128), n % 256, np.uint8) for n in range(4000)), 4000, 128)
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from osteon.films.prepared.array import open_pixels\n"
        "def of_files(): return int(Path('/proc/self/status').read_text().split('RssFile:')[1].split()[0])\n"
        "pixels, before = open_pixels(Path(sys.argv[1])), of_files()\n"
        "total = sum(int(pixels[np.arange(start, start + 100)].sum()) for start in range(0, 4000, 100))\n"
        "print(total, of_files() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / PIXELS)], capture_output=True, text=True, check=True
    )
    total, kilobytes = map(int, done.stdout.split())
    assert total == sum(n % 256 for n in range(4000)) * 128**2
    assert kilobytes < 4000


def test_an_array_that_does_not_belong_to_its_table(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match="no prepared films"):
        open_prepared(tmp_path)
    np.save(tmp_path / PIXELS, np.zeros((3, 64, 64), np.uint8))
    pd.read_parquet(pipeline.dataset / FILMS).to_parquet(tmp_path / FILMS)
    with pytest.raises(OsteonError, match="do not belong together"):
        open_prepared(tmp_path)
    with (tmp_path / PIXELS).open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(OsteonError, match=r"pixels\.npy is cut off"):
        open_prepared(tmp_path)
    np.save(tmp_path / PIXELS, np.zeros((3, 64, 64), np.int16))
    with pytest.raises(OsteonError, match=r"pixels\.npy is int16 \(3, 64, 64\), not uint8"):
        open_prepared(tmp_path)


def test_a_film_that_vanished_since_validation_stops_with_its_name(tmp_path: Path) -> None:
    from components.ingestion.step import ingest
    from components.validation.step import validate

    source = tmp_path / "films"
    rng = np.random.default_rng(0)
    for number in range(30):
        film = (ramp() // 2 + rng.integers(0, 99, (80, 100))).astype(np.uint8)
        write(source / ("fractured" if number % 2 else "normal") / f"{number}.png", encoded(film, "PNG"))
    ingest(source, tmp_path / "m.parquet", DataParams(layout="folders"))
    validate(source, tmp_path / "m.parquet", tmp_path / "t.parquet", tmp_path / "report", ValidationParams())
    (source / "fractured" / "7.png").unlink()
    with pytest.raises(OsteonError, match=r"fractured/7\.png: .*run the steps ingest and validate again"):
        out = tmp_path / "out", tmp_path / "l", tmp_path / "s"
        prepare(source, tmp_path / "t.parquet", *out, PreparationParams(image_size=32, folds=2))
    assert not (tmp_path / "out").exists()
