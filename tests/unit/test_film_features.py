"""Features of films: worked out by hand, and against skimage called directly; the step that writes them."""

import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.feature import hog, local_binary_pattern

from components.augmentation.step import augment
from components.features.step import features
from osteon.errors import OsteonError
from osteon.files import dvc_hash, partial_path
from osteon.films.prepared.array import open_prepared
from osteon.models.classical.film_features import (
    COPIES,
    FEATURES,
    FILMS,
    INFO,
    PARTS,
    features_of,
    open_features,
    write_features,
)
from osteon.params import AugmentationParams, FeatureParams
from tests.conftest import Pipeline
from tests.making import phantom_films, squared

SIDE = 128


def parts_of(film: NDArray[np.uint8], image_size: int = SIDE) -> tuple[NDArray[np.float32], ...]:
    """HOG as block row, block column, cell row, cell column, bin; LBP as radius, row, column, pattern; grey levels."""
    (row,) = features_of(film[None], image_size)
    edges, texture, grey = np.split(row, np.cumsum(list(PARTS.values()))[:-1])
    return edges.reshape(7, 7, 2, 2, 9), texture.reshape(2, 4, 4, 10), grey


def noise(seed: int = 0, side: int = SIDE, top: int = 110) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, top, (side, side), np.uint8)


# ---------------------------------------------------------------- by hand


def test_a_black_film_has_no_edges_one_texture_and_no_contrast() -> None:
    edges, texture, grey = parts_of(np.zeros((SIDE, SIDE), np.uint8))
    assert (edges == 0).all()
    assert (texture[..., 8] == 1).all()  # no neighbour is darker, all eight count
    assert texture.sum() == 2 * 16
    assert (grey == 0).all()


@pytest.mark.parametrize(("down", "right", "place"), [(0, 1, 0), (1, 0, 4), (1, 1, 2), (1, -1, 6)])
def test_an_edge_lies_in_the_bin_of_its_gradient(down: int, right: int, place: int) -> None:
    """Bins of 20° from 0°: the gradient to the right is 0°, downwards 90°, in between 45° and 135°."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    edges, _, _ = parts_of((64 + (rows * down + columns * right) // (1 + abs(down * right))).astype(np.uint8))
    middle = edges[1:-1, 1:-1]
    assert (middle.argmax(axis=-1) == place).all()
    if not down * right:
        # Four cells of one full bin each: 1 / √4; L2-Hys cuts them at 0.2 and brings them back.
        np.testing.assert_allclose(middle[..., place], 0.5, atol=1e-4)
        assert middle.sum() == pytest.approx(middle[..., place].sum())


def test_a_bright_quarter_by_hand() -> None:
    """A quarter of 200 on black: mean 50, deviation √(¼·¾)·200 = 86.6; standardised 1.732 and −0.577."""
    film = np.zeros((SIDE, SIDE), np.uint8)
    film[: SIDE // 2, : SIDE // 2] = 200
    _, _, grey = parts_of(film)
    means, deviations = grey[:64].reshape(8, 8), grey[64:128]
    np.testing.assert_allclose(means[:4, :4], np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(means[4:], -1 / np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(deviations, 0, atol=1e-6)
    # The quantile 0.75 lies a quarter of the way from the last dark pixel to the first bright one.
    np.testing.assert_allclose(grey[128:], [-1 / np.sqrt(3)] * 7 + [0] + [np.sqrt(3)] * 2, atol=1e-6)


def test_a_mirrored_film_has_mirrored_features() -> None:
    # A slope downwards, so that no gradient lies on the border between the first and the last bin.
    film = (np.arange(SIDE)[:, None] + noise(top=2)).astype(np.uint8)
    edges, texture, grey = parts_of(film)
    turned = parts_of(np.ascontiguousarray(film[:, ::-1]))
    inner = slice(1, -1)  # the outermost rows have no gradient downwards
    np.testing.assert_allclose(turned[0][inner], edges[inner, ::-1, :, ::-1, ::-1], atol=1e-6)
    # Of the 1,024 pixels of a cell a few are ties that rounding decides.
    np.testing.assert_allclose(turned[1], texture[:, :, ::-1], atol=3 / 1024)
    np.testing.assert_allclose(turned[2][:64].reshape(8, 8), grey[:64].reshape(8, 8)[:, ::-1], atol=1e-6)


@settings(deadline=None)
@given(st.integers(1, 2), st.integers(0, 30))
def test_gain_and_offset_change_nothing(gain: int, offset: int) -> None:
    film = noise()
    edges, texture, grey = parts_of(film)
    lit = parts_of((film * gain + offset).astype(np.uint8))
    np.testing.assert_allclose(lit[0], edges, atol=1e-5)
    # Beyond the film it is black, which the outermost pixels see.
    np.testing.assert_array_equal(lit[1][:, 1:3, 1:3], texture[:, 1:3, 1:3])
    np.testing.assert_allclose(lit[2], grey, atol=1e-5)


# ---------------------------------------------------------------- against skimage and OpenCV


def test_skimage_finds_the_same_on_the_shrunk_film() -> None:
    film = squared(phantom_films(1)[0], 192)
    small = cv2.resize(film, (96, 96), interpolation=cv2.INTER_AREA)
    edges, texture, grey = parts_of(film, 96)
    np.testing.assert_allclose(edges.ravel(), hog(small, pixels_per_cell=(12, 12), cells_per_block=(2, 2)), atol=1e-6)
    for number, radius in enumerate((1, 2)):
        pattern = local_binary_pattern(small, 8, radius, "uniform")
        for row, column in np.ndindex(4, 4):
            cell = pattern[24 * row : 24 * row + 24, 24 * column : 24 * column + 24]
            share = np.histogram(cell, bins=np.arange(11) - 0.5)[0] / 24**2
            np.testing.assert_allclose(texture[number, row, column], share, atol=1e-6)
    assert grey[9] == pytest.approx((small[12:24, 12:24].mean() - small.mean()) / small.std(), rel=1e-5)
    assert grey[64 + 9] == pytest.approx(small[12:24, 12:24].std() / small.std(), rel=1e-5)


def test_a_film_has_as_many_features_whatever_its_size() -> None:
    for side, image_size in ((64, 128), (192, 32), (128, 128)):
        result = features_of(np.stack([noise(1, side), noise(2, side)]), image_size)
        assert result.shape == (2, FEATURES)
        assert result.dtype == np.float32
        assert np.isfinite(result).all()
    assert features_of(np.empty((0, 64, 64), np.uint8), 64).shape == (0, FEATURES)


# ---------------------------------------------------------------- the step


def test_every_film_and_copy_has_its_row(pipeline: Pipeline, tmp_path: Path) -> None:
    params = FeatureParams(image_size=64)
    summary = features(pipeline.dataset, pipeline.augmented, tmp_path / "f", params)
    films, copies, result = (
        open_prepared(pipeline.dataset),
        open_prepared(pipeline.augmented),
        open_features(tmp_path / "f"),
    )
    assert (summary.films, summary.copies, summary.features) == (len(films.films), len(copies.films), FEATURES)
    for prepared, rows in ((films, result.films), (copies, result.copies)):
        assert rows.shape == (len(prepared.films), FEATURES)
        # Blocks are of 16: the first, one within, one behind a border, the last.
        for row in (0, 7, 17, len(rows) - 1):
            np.testing.assert_array_equal(rows[row], features_of(prepared.pixels[row][None], 64)[0])
    assert result.info.image_size == 64
    assert sum(result.info.parts.values()) == FEATURES


def test_the_same_bytes_twice_whatever_the_cores(pipeline: Pipeline, tmp_path: Path) -> None:
    hashes = set()
    for cores in (1, 2, 2):
        features(pipeline.dataset, pipeline.augmented, tmp_path / "f", FeatureParams(image_size=32, cores=cores))
        hashes.add(dvc_hash(tmp_path / "f"))
    assert len(hashes) == 1


def test_a_killed_step_leaves_nothing_that_looks_whole(pipeline: Pipeline, tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from components.features.step import features
        from osteon.models.classical import film_features
        from osteon.params import FeatureParams

        whole, calls = film_features.features_of, []

        def dying(squares, image_size):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(squares, image_size)

        film_features.features_of = dying
        features(*map(Path, sys.argv[1:]), FeatureParams(image_size=32, cores=1))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), pipeline.dataset, pipeline.augmented, tmp_path / "f"]
    assert subprocess.run([str(word) for word in command], check=False).returncode == -9
    assert partial_path(tmp_path / "f").exists()
    with pytest.raises(OsteonError, match=r"no features of films .*run the step features"):
        open_features(tmp_path / "f")
    features(pipeline.dataset, pipeline.augmented, tmp_path / "f", FeatureParams(image_size=32))
    assert not partial_path(tmp_path / "f").exists()
    assert len(open_features(tmp_path / "f").films) == len(open_prepared(pipeline.dataset).films)


def test_no_copies_at_all(pipeline: Pipeline, tmp_path: Path) -> None:
    augment(pipeline.dataset, tmp_path / "a", tmp_path / "s.png", AugmentationParams(copies=0, copies_rarer=0))
    features(pipeline.dataset, tmp_path / "a", tmp_path / "f", FeatureParams(image_size=32))
    assert open_features(tmp_path / "f").copies.shape == (0, FEATURES)


def test_features_stream_to_disk(tmp_path: Path) -> None:
    def rows() -> Iterator[NDArray[np.float32]]:
        for number in range(2000):
            yield np.full(FEATURES, number, np.float32)

    tracemalloc.start()
    write_features(tmp_path / "f.npy", rows(), 2000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6
    assert (np.load(tmp_path / "f.npy")[:, -1] == np.arange(2000)).all()
    with pytest.raises(ValueError, match="features of 2000 films, but 2001 were announced"):
        write_features(tmp_path / "f.npy", rows(), 2001)


def test_features_that_do_not_belong_together(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    features(pipeline.dataset, pipeline.augmented, folder, FeatureParams(image_size=32))
    whole = (folder / FILMS).read_bytes()
    (folder / FILMS).write_bytes((folder / COPIES).read_bytes())
    with pytest.raises(OsteonError, match=r"films\.npy is float32 .*run the step features again"):
        open_features(folder)
    (folder / FILMS).write_bytes(whole[:-1])
    with pytest.raises(OsteonError, match="run the step features"):
        open_features(folder)
    (folder / FILMS).write_bytes(whole)
    (folder / INFO).write_text((folder / INFO).read_text().replace('"hog": ', '"hog": 1'))
    with pytest.raises(OsteonError, match="run the step features again"):
        open_features(folder)
