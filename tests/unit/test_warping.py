from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.augmentation.step import augment
from osteon.films.manifest import text_to_boxes
from osteon.films.prepared.array import open_prepared
from osteon.films.prepared.warping import Variation, draw_variation, vary, vary_boxes
from osteon.params import AugmentationParams
from tests.conftest import Pipeline

STILL = AugmentationParams(rotation=0, scale=0, shift=0, shear=0, mirror=False, gamma=0, gain=0, noise=0)
SAME = np.arange(256, dtype=np.uint8)


def still(**changes: object) -> AugmentationParams:
    return STILL.model_copy(update=changes)


def test_no_variation_changes_nothing() -> None:
    film = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    np.testing.assert_array_equal(vary(film, draw_variation(np.random.default_rng(1), STILL, 64)), film)


def test_a_mirror_image_is_the_mirror_image() -> None:
    film = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    seen = [vary(film, draw_variation(np.random.default_rng(seed), still(mirror=True), 64)) for seed in range(12)]
    kinds = {"same" if (item == film).all() else "mirror" if (item == film[:, ::-1]).all() else "?" for item in seen}
    assert kinds == {"same", "mirror"}


def test_what_comes_from_beyond_the_edge_is_black() -> None:
    shifted = Variation(np.array([[1.0, 0, 10], [0, 1, 0]]), SAME, 0.0, 0)
    film = vary(np.full((32, 32), 200, np.uint8), shifted)
    assert (film[:, :10] == 0).all()
    assert (film[:, 10:] == 200).all()


def test_the_table_is_gamma_then_gain() -> None:
    params = still(gamma=0.5, gain=0.5)
    rng = np.random.default_rng(3)
    variation = draw_variation(rng, params, 64)
    # From the table itself: t(g) = gain · (g/255)^gamma, so two of its values give both.
    low, high = variation.table[64] / 255, variation.table[128] / 255
    gamma = np.log(high / low) / np.log(128 / 64)
    gain = high / (128 / 255) ** gamma
    assert 0.5 <= gamma <= 1.5
    assert 0.5 <= gain <= 1.5
    expected = np.clip(gain * (np.arange(256) / 255) ** gamma, 0, 1) * 255
    np.testing.assert_allclose(variation.table, expected, atol=3)


def test_a_film_is_sheared_then_mirrored_then_turned_and_scaled_about_its_middle_then_shifted() -> None:
    params, side = AugmentationParams(rotation=30, scale=0.4, shift=0.2, shear=20, mirror=True), 65
    mirrored = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        turn, lean, growth, right, down = (rng.uniform(-1, 1) for _ in range(5))
        flip = -1 if rng.random() < 0.5 else 1
        mirrored.add(flip)
        shear = np.array([[1, np.tan(np.deg2rad(20 * lean)) * flip], [0, 1]])
        expected = cv2.getRotationMatrix2D((32, 32), -30 * turn, 1 + 0.4 * growth)
        linear = expected[:, :2] @ np.diag([flip, 1]) @ shear
        middle = expected @ [32, 32, 1] + [0.2 * side * right, 0.2 * side * down]
        matrix = draw_variation(np.random.default_rng(seed), params, side).matrix
        np.testing.assert_allclose(matrix[:, :2], linear, atol=1e-12)
        np.testing.assert_allclose(matrix @ [32, 32, 1], middle, atol=1e-12)
    assert mirrored == {-1, 1}


def test_noise_has_its_strength_and_no_mean() -> None:
    film = np.full((256, 256), 128, np.uint8)
    grain = vary(film, Variation(np.eye(2, 3), SAME, 4.0, 7)).astype(float) - 128
    assert grain.std() == pytest.approx(4.0, rel=0.05)
    assert abs(grain.mean()) < 0.3


@given(seed=st.integers(0, 10_000), x=st.floats(20, 90), y=st.floats(20, 90), w=st.floats(4, 20), h=st.floats(4, 20))
@settings(max_examples=80, deadline=None)
def test_boxes_travel_with_the_film(seed: int, x: float, y: float, w: float, h: float) -> None:
    """Paint the box white and vary both: every white pixel lies in the moved box, and it is no larger than needed."""
    side = 128
    film = np.zeros((side, side), np.uint8)
    x, y, w, h = (float(round(value)) for value in (x, y, w, h))
    film[int(y) : int(y + h), int(x) : int(x + w)] = 255
    variation = draw_variation(
        np.random.default_rng(seed), still(rotation=20, scale=0.2, shift=0.1, shear=8, mirror=True), side
    )
    moved = vary(film, variation)
    boxes = vary_boxes([(x, y, w, h)], variation, side)
    rows, columns = np.nonzero(moved > 127)
    if not boxes:
        assert len(rows) <= side
        return
    ((left, top, width, height),) = boxes
    assert left - 1 <= columns.min()
    assert columns.max() <= left + width + 1
    assert top - 1 <= rows.min()
    assert rows.max() <= top + height + 1
    if left > 0 and top > 0 and left + width < side and top + height < side:
        # Wholly on the film: the upright box of a turned rectangle touches its corners, which are a little blurred.
        assert width <= columns.max() - columns.min() + 4
        assert height <= rows.max() - rows.min() + 4


def test_a_box_moved_off_the_film_is_dropped() -> None:
    away = Variation(np.array([[1.0, 0, 100], [0, 1, 0]]), SAME, 0.0, 0)
    assert vary_boxes([(10, 10, 20, 20), (0, 0, 1, 64)], away, 64) == []


def test_copies_are_of_development_films_and_keep_their_place(pipeline: Pipeline) -> None:
    prepared, copies = open_prepared(pipeline.dataset), open_prepared(pipeline.augmented)
    films = prepared.films.set_index("film_id")
    assert len(copies.films) > 0
    assert not copies.films["test"].any()
    for column in ("group", "fold", "label", "sha256", "patient_id"):
        of_source = films.loc[copies.films["film_id"], column].reset_index(drop=True)
        pd.testing.assert_series_equal(copies.films[column].reset_index(drop=True), of_source, check_names=False)
    assert sorted(copies.films["film_id"]) == sorted(prepared.films.loc[~prepared.films["test"], "film_id"])
    assert set(copies.films["copy"]) == {1}
    row = copies.films.iloc[0]
    source = prepared.pixels[int(np.flatnonzero(prepared.films["film_id"] == row["film_id"])[0])]
    assert (copies.pixels[0] != source).any()
    assert np.corrcoef(copies.pixels[0].ravel().astype(float), source.ravel())[0, 1] > 0.2


def test_a_copy_depends_on_its_film_and_number_only(
    pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("augment")
    params = AugmentationParams(copies=1, copies_rarer=3)
    augment(pipeline.dataset, folder / "a", folder / "a.png", params)
    augment(pipeline.dataset, folder / "b", folder / "b.png", params.model_copy(update={"cores": 1}))
    a, b, fewer = open_prepared(folder / "a"), open_prepared(folder / "b"), open_prepared(pipeline.augmented)
    np.testing.assert_array_equal(a.pixels, b.pixels)
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()
    firsts = a.films[(a.films["copy"] == 1) & a.films["film_id"].isin(fewer.films["film_id"])]
    np.testing.assert_array_equal(a.pixels[firsts.index], fewer.pixels)
    counts = a.films.groupby("label")["copy"].max()
    assert sorted(counts) == [1, 3]


def test_copies_boxes_are_their_own(pipeline: Pipeline) -> None:
    prepared, copies = open_prepared(pipeline.dataset), open_prepared(pipeline.augmented)
    boxed = copies.films[copies.films["boxes"].str.len() > 2]
    assert len(boxed) > 0
    for _, row in boxed.iterrows():
        of_film = prepared.films.loc[prepared.films["film_id"] == row["film_id"], "boxes"].item()
        assert text_to_boxes(row["boxes"]) != text_to_boxes(of_film)


@pytest.mark.parametrize(("copies", "rarer", "warns"), [(0, 1, True), (1, 0, True), (1, 2, False), (0, 0, False)])
def test_copies_of_one_class_only_are_warned_of(
    pipeline: Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture, copies: int, rarer: int, warns: bool
) -> None:
    params = AugmentationParams(copies=copies, copies_rarer=rarer)
    augment(pipeline.dataset, tmp_path / "a", tmp_path / "a.png", params)
    assert ("only films of one class get copies" in caplog.text) == warns


def test_no_copies_at_all(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("none")
    summary = augment(pipeline.dataset, folder / "a", folder / "a.png", AugmentationParams(copies=0, copies_rarer=0))
    assert summary.copies == 0
    assert len(open_prepared(folder / "a").films) == 0
