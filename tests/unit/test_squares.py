"""Decoding that goes on where it was interrupted: kill -9, cut files, other films, a full disk."""

import hashlib
import logging
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.augmentation.step import augment
from components.preparation import squares
from components.preparation.squares import COMPARED, FACTS, standardise_films
from components.preparation.step import prepare
from osteon import fingerprint
from osteon.errors import OsteonError
from osteon.files import check_space, dvc_hash, partial_path
from osteon.films.prepared.array import PIXELS
from osteon.params import AugmentationParams, PreparationParams
from tests.conftest import Pipeline
from tests.making import encoded, write

SIDE, COUNT, BLOCK = 32, 22, 4


# ---------------------------------------------------------------- kill -9

SCRIPT = """
    import logging, os, signal, sys, time
    from pathlib import Path
    from osteon.params import PreparationParams
    from components.preparation import squares, step

    source, trusted, dataset = map(Path, sys.argv[1:4])
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    squares.BLOCK = 8
    decode = squares.decode

    def slowly(*data, **options):
        time.sleep(0.01)
        return decode(*data, **options)

    squares.decode = slowly
    if sys.argv[4:] == ["die when all is decoded"]:
        squares.typed_frame = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    params = PreparationParams(image_size=64, folds=3, cores=2)
    step.prepare(source, trusted, dataset, dataset.with_name("leaks"), dataset.with_name("sides"), params)
"""


def preparing(pipeline: Pipeline, dataset: Path, *words: str) -> subprocess.Popen[str]:
    paths = (str(pipeline.source), str(pipeline.trusted), str(dataset))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), *paths, *words], stderr=subprocess.PIPE, text=True
    )


def kill_when_so_large(process: subprocess.Popen[str], file: Path, size: int) -> None:
    since = time.monotonic()
    while not file.exists() or file.stat().st_size < size:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() - since < 60
        time.sleep(0.001)
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_preparation_that_is_killed_again_and_again_ends_as_one_that_was_not(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    dataset = tmp_path / "prepared"
    pixels = partial_path(dataset) / PIXELS
    for films in (20, 50, 90):
        kill_when_so_large(preparing(pipeline, dataset), pixels, films * 64**2)
        assert not dataset.exists()
    dying = preparing(pipeline, dataset, "die when all is decoded")
    output = dying.communicate()[1]
    assert dying.returncode == -signal.SIGKILL
    continued = int(output.split("continues after ")[1].split(" of 120 films")[0])
    assert 80 <= continued < 120
    last = preparing(pipeline, dataset)
    output = last.communicate()[1]
    assert last.returncode == 0, output
    assert "continues after 120 of 120 films" in output
    assert dvc_hash(dataset) == dvc_hash(pipeline.dataset)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leaks", "prepared", "sides"]


# ---------------------------------------------------------------- what may be left


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        write(folder / f"{number}.png", encoded(rng.integers(0, 256, (40, 30 + number), np.uint8), "PNG"))
    return folder


@pytest.fixture(scope="module")
def films(source: Path) -> pd.DataFrame:
    paths = [f"{number}.png" for number in range(COUNT)]
    hashes = [hashlib.sha256((source / path).read_bytes()).hexdigest() for path in paths]
    return pd.DataFrame({"path": paths, "sha256": hashes}, index=range(100, 100 + COUNT))


@pytest.fixture(autouse=True, scope="module")
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(squares, "BLOCK", BLOCK)
        yield


Whole = tuple[pd.DataFrame, bytes, bytes, bytes]


def whole(films: pd.DataFrame, source: Path, folder: Path, side: int = SIDE) -> Whole:
    """What an undisturbed call returns and writes."""
    folder.mkdir()
    seen = standardise_films(films, source, folder, side, 2)
    return seen, *((folder / name).read_bytes() for name in (PIXELS, COMPARED, FACTS))


@pytest.fixture(scope="module")
def undisturbed(films: pd.DataFrame, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return whole(films, source, tmp_path_factory.mktemp("undisturbed") / "whole")


def test_what_is_seen_of_a_film(films: pd.DataFrame, undisturbed: Whole) -> None:
    seen, pixels, compared, facts = undisturbed
    assert seen.index.equals(films.index)
    assert list(seen["shown_width"]) == list(range(30, 30 + COUNT))
    assert set(seen["shown_height"]) == {40}
    assert seen["pixel_sha256"].is_unique
    assert len(pixels) == 128 + COUNT * SIDE**2
    assert len(compared) == 128 + COUNT * 256**2
    assert facts.count(b"\n") == 1 + 6  # 22 films in blocks of 4


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([b"", b"\0" * 99, b"[[", b'[["a", 1, 2]]', b'"\xff\n']),
    st.none() | st.integers(0, SIDE**2),
    st.floats(0, 1) | st.just(1.0),
)
def test_wherever_the_files_were_cut_off_the_end_is_the_same(
    films: pd.DataFrame,
    source: Path,
    undisturbed: Whole,
    tmp_path_factory: pytest.TempPathFactory,
    facts_share: float,
    pixels_share: float,
    after_facts: bytes,
    zeros: int | None,
    compared_share: float,
) -> None:
    """And no film is decoded twice whose square and facts were whole.

    After a power cut a file may end in zeros; squares come to the disk before their facts do.
    """
    seen, pixels, compared, facts = undisturbed
    left = tmp_path_factory.mktemp("left")
    cut_facts = facts[: round(facts_share * len(facts))]
    noted = min(BLOCK * max(0, cut_facts.count(b"\n") - 1), COUNT)
    if zeros is None:
        cut_pixels = pixels[: round(pixels_share * len(pixels))]
    else:
        cut_pixels = pixels[: 128 + noted * SIDE**2] + bytes(zeros)
    cut_compared = compared[: round(compared_share * len(compared))]
    (left / PIXELS).write_bytes(cut_pixels)
    (left / COMPARED).write_bytes(cut_compared)
    (left / FACTS).write_bytes(cut_facts + after_facts)
    (left / "stray").touch()
    whole_films = max(0, min((len(cut_pixels) - 128) // SIDE**2, (len(cut_compared) - 128) // 256**2))
    done = noted if noted <= whole_films else whole_films // BLOCK * BLOCK
    decoded: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(squares, "_standardise", lambda path, *given: decoded.append(path) or standardise(path, *given))
        again = standardise_films(films, source, left, SIDE, 2)
    assert (left / PIXELS).read_bytes() == pixels
    assert (left / COMPARED).read_bytes() == compared
    assert (left / FACTS).read_bytes() == facts
    assert sorted(path.name for path in left.iterdir()) == sorted([COMPARED, FACTS, PIXELS])
    pd.testing.assert_frame_equal(again, seen)
    assert len(decoded) == COUNT - done
    shutil.rmtree(left)


standardise = squares._standardise


@pytest.mark.parametrize("what", ["size", "order", "bytes", "library", "decoding", "dicom_pixels", "film", "nothing"])
def test_squares_of_other_films_or_of_another_decoding_are_not_continued(
    what: str,
    films: pd.DataFrame,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    left = tmp_path / "left"
    whole(films, source, left)
    side = SIDE
    match what:
        case "size":
            side = 64
        case "order":
            films = films.iloc[::-1]
        case "bytes":
            films = films.assign(sha256=[*films["sha256"].iloc[:-1], "0" * 64])
        case "library":
            monkeypatch.setattr(fingerprint, "version", lambda name: "1.0" if name == "pillow" else "2.0")
        case "decoding" | "dicom_pixels" | "film":
            name = f"osteon/films/reading/{what}.py"
            changed = {**fingerprint.code_of(squares.__name__), name: "another"}
            monkeypatch.setattr(fingerprint, "code_of", lambda module: changed)
    with caplog.at_level(logging.INFO):
        standardise_films(films, source, left, side, 2)
    if what == "nothing":
        assert caplog.messages == ["continues after 22 of 22 films"]
    else:
        (output,) = caplog.messages
        reason = {
            "size": "parameters changed: side",
            "order": "data changed: films",
            "bytes": "data changed: films",
            "library": "versions changed: ",
        }.get(what, f"code changed: osteon/films/reading/{what}.py")
        assert output.startswith(f"prepare begins anew: {reason}")
    _, pixels, compared, facts = whole(films, source, tmp_path / "whole", side)
    assert (left / PIXELS).read_bytes() == pixels
    assert (left / COMPARED).read_bytes() == compared
    assert (left / FACTS).read_bytes() == facts


def test_specks_go_from_what_is_compared_and_not_from_what_is_learnt(tmp_path: Path) -> None:
    folder, left = tmp_path / "films", tmp_path / "left"
    grey = np.full((256, 256), 120, np.uint8)
    speckled = grey.copy()
    speckled[10:250:20, 10:250:20] = 255
    write(folder / "a.png", encoded(speckled, "PNG"))
    left.mkdir()
    standardise_films(pd.DataFrame({"path": ["a.png"], "sha256": ["0" * 64]}), folder, left, 256, 1)
    assert sorted(path.name for path in left.iterdir()) == sorted([COMPARED, FACTS, PIXELS])
    np.testing.assert_array_equal(np.load(left / PIXELS), speckled[None])
    np.testing.assert_array_equal(np.load(left / COMPARED), grey[None])


# ---------------------------------------------------------------- a full disk


def test_what_will_not_fit_is_said_with_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, 3_000_000_000))
    check_space(tmp_path, 3_000_000_000)
    with pytest.raises(OsteonError, match=r"5\.02 GB will be written .* has 3\.00 GB free; free 2\.02 GB"):
        check_space(tmp_path, 5_020_000_000)
    with pytest.raises(OsteonError):
        check_space(tmp_path, 3_000_000_001)


def test_augment_says_it_before_it_writes(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(OsteonError, match="will be written here"):
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, 100_000))
        augment(pipeline.dataset, tmp_path / "a", tmp_path / "sheet.png", AugmentationParams(copies=1, copies_rarer=1))
    assert not (tmp_path / "a").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a small file system cannot be made here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_prepare_says_it_before_it_decodes(pipeline: Pipeline, small_disk: Path, tmp_path: Path) -> None:
    """120 films need 8 MB at 64 pixels and at the size that copies are searched at.

    The folder of films is not even looked into: there is none.
    """
    params = PreparationParams(image_size=64, folds=3)
    out = small_disk / "prepared", small_disk / "leaks", small_disk / "sides"
    with pytest.raises(OsteonError, match=r"disk: 0\.01 GB will be written here and its disk has 0\.01 GB free"):
        prepare(tmp_path / "nowhere", pipeline.trusted, *out, params)


def test_a_disk_that_becomes_full_is_said_in_one_line_and_what_was_done_is_kept(
    pipeline: Pipeline, small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    params = PreparationParams(image_size=64, folds=3)
    dataset = small_disk / "prepared"
    out = dataset, small_disk / "leaks", small_disk / "sides"
    with monkeypatch.context() as patch:
        patch.setattr(squares, "check_space", lambda *_: None)  # others fill the disk meanwhile
        with pytest.raises(OsteonError, match=r"prepared: its disk is full; .* it continues where it was$"):
            prepare(pipeline.source, pipeline.trusted, *out, params)
    assert not dataset.exists()
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    with caplog.at_level(logging.INFO):
        prepare(pipeline.source, pipeline.trusted, *out, params)
    done = int(caplog.messages[0].split("continues after ")[1].split(" of 120 films")[0])
    assert 60 <= done < 120
    assert dvc_hash(dataset) == dvc_hash(pipeline.dataset)


def test_boxes_follow_pixels_that_are_made_square_and_one_depth_is_that_of_the_set(tmp_path: Path) -> None:
    """Two films of 10 and 12 bits in PNG of 16, one of them with pixels twice as high as wide."""
    from components.ingestion.step import ingest
    from components.preparation.run import fitted_boxes
    from components.validation.film_checks import check_films
    from osteon.films.manifest import read_manifest
    from osteon.params import DataParams, ValidationParams

    values = np.tile(np.linspace(0, 1023, 100).round().astype(np.uint16), (50, 1))
    write(tmp_path / "source" / "a.png", encoded(values, "PNG", dpi=(200, 100)))
    write(tmp_path / "source" / "b.png", encoded(np.minimum(values * 2, 1100), "PNG"))
    table = 'path,label,boxes\na.png,fractured,"[[10, 20, 80, 30]]"\nb.png,normal,\n'
    write(tmp_path / "source" / "manifest.csv", table.encode())
    ingest(tmp_path / "source", tmp_path / "manifest.parquet", DataParams())
    films = read_manifest(tmp_path / "manifest.parquet")
    assert films["depth"].tolist() == [12, 12]
    checks = check_films(films, tmp_path / "source", ValidationParams())
    assert checks["fault"].isna().all()
    assert checks["boxes_outside"].tolist() == [0, 0]
    assert checks["bits"].tolist() == [12, 12]
    (tmp_path / "prepared").mkdir()
    facts = standardise_films(films, tmp_path / "source", tmp_path / "prepared", 64, 1)
    assert facts[["shown_width", "shown_height"]].iloc[0].tolist() == [100, 100]
    assert facts["stretch_down"].tolist() == [2, 1]
    assert fitted_boxes(films.join(facts), 100)[0] == "[[10.0, 40.0, 80.0, 60.0]]"
    squares_written = np.load(tmp_path / "prepared" / PIXELS)
    assert squares_written[0].max() == 63  # 1023 of 4095, of 255, but for the mean over the last pixels
