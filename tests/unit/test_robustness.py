"""Small changes of films, and the answers that flip."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from components.evaluation.robustness import (
    CHANGES,
    Size,
    changed_scores,
    compressed,
    cropped,
    exposed,
    measure_robustness,
    turned,
)
from osteon.films.reading.film import Film, letterbox
from osteon.statistics.bootstrap import group_weights
from osteon.statistics.proportions import wilson
from tests.making import phantom_films, squared


@pytest.fixture(scope="module")
def square() -> NDArray[np.uint8]:
    return squared(phantom_films(1)[0], 128)


# ---------------------------------------------------------------- changes


def test_there_is_a_row_for_each_direction() -> None:
    assert list(CHANGES) == [
        "turned by +5°",
        "turned by −5°",
        "exposure +20%",
        "exposure −20%",
        "JPEG of quality 50",
        "3% cropped at every edge",
    ]


def test_a_film_is_turned_by_five_degrees_about_its_middle() -> None:
    film = np.zeros((101, 101), np.uint8)
    film[49:52, 84:97] = 255  # right of the middle, its own middle at x 90, y 50
    for degrees, sign in ((5.0, -1), (-5.0, 1)):
        moved = turned(film, degrees).astype(float)
        y, x = (float((axis * moved).sum() / moved.sum()) for axis in np.mgrid[:101, :101])
        assert (x, y) == pytest.approx(
            (50 + 40 * np.cos(np.deg2rad(5)), 50 + sign * 40 * np.sin(np.deg2rad(5))), abs=0.1
        )


def test_turning_there_and_back_is_nearly_nothing(square: NDArray[np.uint8]) -> None:
    inner = slice(30, 98)
    back = turned(turned(square, 5), -5)[inner, inner].astype(int)
    assert np.abs(back - square[inner, inner]).mean() < 3
    assert np.abs(turned(square, 5)[inner, inner].astype(int) - square[inner, inner]).mean() > 3


@settings(deadline=None)
@given(st.integers(0, 255))
def test_exposure_by_hand(level: int) -> None:
    film = np.full((2, 2), level, np.uint8)
    assert (exposed(film, 0.2) == min(255, round(level * 1.2))).all()
    assert (exposed(film, -0.2) == round(level * 0.8)).all()


def test_jpeg_loses_something_and_more_at_lower_quality(square: NDArray[np.uint8]) -> None:
    at_50, at_95 = (np.abs(compressed(square, quality).astype(int) - square).mean() for quality in (50, 95))
    assert 0 < at_95 < at_50 < 10


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (100, 100)])
def test_a_crop_takes_off_the_films_edges_and_not_the_black_around_it(size: Size) -> None:
    width, height = size
    film = np.full((height, width), 100, np.uint8)
    film[:3], film[-3:], film[:, :3], film[:, -3:] = 255, 255, 255, 255
    fitted = letterbox(Film(film, 0, 255, 8), max(size))
    assert (fitted == 255).any()
    result = cropped(fitted, size, 0.03)
    # What is left has the film's form, its white rim is gone (3 of 200 pixels on the longer side are more than 1 %).
    rows, columns = np.flatnonzero(result.any(axis=1)), np.flatnonzero(result.any(axis=0))
    shape = (np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert shape == pytest.approx(size, abs=2)
    inner = result[rows[0] + 2 : rows[-1] - 1, columns[0] + 2 : columns[-1] - 1]
    assert (inner == 100).all()


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_keeps_shape_and_type_and_leaves_the_film_itself(name: str, square: NDArray[np.uint8]) -> None:
    before = square.copy()
    result = CHANGES[name](square, (384, 300))
    assert (result.shape, result.dtype) == (square.shape, np.uint8)
    assert (result != square).any()
    np.testing.assert_array_equal(square, before)


def test_films_come_in_blocks_with_their_sizes(square: NDArray[np.uint8]) -> None:
    squares = np.stack([square, square // 2, square[::-1]])
    sizes = [(384, 300), (100, 100), (300, 384)]

    def blocks(size: int) -> Iterator[tuple[NDArray[np.uint8], list[Size]]]:
        for start in range(0, 3, size):
            yield squares[start : start + size], sizes[start : start + size]

    def predict(films: NDArray[np.uint8]) -> NDArray[np.float64]:
        return films.mean(axis=(1, 2)) / 255

    item, other = changed_scores(blocks(1), predict), changed_scores(blocks(3), predict)
    assert list(item) == list(CHANGES)
    for name, change in CHANGES.items():
        expected = [change(film, size).mean() / 255 for film, size in zip(squares, sizes, strict=True)]
        np.testing.assert_allclose(item[name], expected)
        np.testing.assert_array_equal(item[name], other[name])


# ---------------------------------------------------------------- figures

LABELS = np.array([1, 1, 1, 0, 0, 0])
SCORES = np.array([0.9, 0.6, 0.3, 0.4, 0.2, 0.1])
WEIGHTS = group_weights(np.arange(6), LABELS, 200, 0)


def test_flips_by_hand() -> None:
    changed = {"none": SCORES, "two": np.array([0.9, 0.4, 0.3, 0.5, 0.2, 0.1]), "lower": SCORES / 10}
    same, two, lower = measure_robustness(LABELS, SCORES, changed, 0.5, WEIGHTS, 0.95)
    assert (same.change, same.films, same.flipped, same.share) == ("none", 6, 0, wilson(0, 6, 0.95))
    assert (same.auroc.value, same.auroc.low, same.auroc.high) == (0, 0, 0)
    # 0.6 → 0.4 and 0.4 → 0.5, which is the finding. Pairs won: 8 of 9 before; 3 + 2 + 2 after.
    assert (two.flipped, two.share) == (2, wilson(2, 6, 0.95))
    assert two.auroc.value == pytest.approx(7 / 9 - 8 / 9)
    assert two.auroc.low is not None
    assert two.auroc.low < two.auroc.value
    # Answers flip though not one pair changes places.
    assert lower.flipped == 2
    assert lower.auroc.value == 0


def test_the_change_is_paired() -> None:
    """One film's fall moves the AUROC by about as much in every sample; its interval is narrow."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    scores = rng.random(200) + 0.3 * labels
    weights = group_weights(np.arange(200), labels, 500, 0)
    (row,) = measure_robustness(labels, scores, {"a little": scores + rng.normal(0, 0.01, 200)}, 0.5, weights, 0.95)
    assert row.auroc.low is not None
    assert row.auroc.high is not None
    assert row.auroc.high - row.auroc.low < 0.02
