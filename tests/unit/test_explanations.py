"""Where the model looked: choice of films, failures, the pointing game and the gallery."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.evaluation.explanations import KINDS, failure_of, most_certain, peak_of, pointing_game
from components.evaluation.gallery import Picture, draw_gallery
from osteon.films.manifest import Box
from osteon.statistics.estimate import Floats
from osteon.statistics.proportions import wilson


def peaked(*cells: tuple[int, int]) -> Floats:
    """Maps of 4 × 4 cells, each highest in one (row, column)."""
    maps = np.zeros((len(cells), 4, 4))
    for number, cell in enumerate(cells):
        maps[number][cell] = 1.0
    return maps


# ---------------------------------------------------------------- which films


def test_the_most_certain_of_each_kind_by_hand() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 1, 0])
    scores = np.array([0.6, 0.9, 0.1, 0.7, 0.2, 0.05, 0.4, 0.5])
    assert most_certain(labels, scores, 0.5, each=2) == {"tp": [1, 0], "fn": [2, 6], "fp": [3, 7], "tn": [5, 4]}
    assert most_certain(labels, scores, 0.5, each=1) == {"tp": [1], "fn": [2], "fp": [3], "tn": [5]}
    assert most_certain(labels, scores, 1.1, each=9)["tp"] == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1), st.floats(0, 1))
def test_no_film_is_of_two_kinds(films: list[tuple[int, float]], threshold: float) -> None:
    labels, scores = np.array([label for label, _ in films]), np.array([score for _, score in films])
    chosen = most_certain(labels, scores, threshold, each=len(films))
    assert list(chosen) == list(KINDS)
    assert sorted(row for rows in chosen.values() for row in rows) == list(range(len(films)))
    assert all(labels[row] == (kind in ("tp", "fn")) for kind, rows in chosen.items() for row in rows)


# ---------------------------------------------------------------- failure


def test_a_map_that_explains_nothing_says_why() -> None:
    assert failure_of(np.full((4, 4), 0.3)) == "the map is the same everywhere"
    assert failure_of(np.zeros((4, 4))) == "the map is the same everywhere"
    for value in (np.nan, np.inf):
        broken = peaked((1, 1))[0]
        broken[2, 2] = value
        assert failure_of(broken) == "the map has values that are no numbers"
    assert failure_of(peaked((1, 1))[0]) is None
    assert failure_of(peaked((1, 1))[0] * 1e-3) is None


# ---------------------------------------------------------------- the pointing game


def test_the_peak_is_the_middle_of_its_cell() -> None:
    assert peak_of(peaked((0, 3))[0], 64) == (56.0, 8.0)
    assert peak_of(peaked((2, 1))[0], 64) == (24.0, 40.0)
    assert peak_of(np.zeros((2, 4)), 64) == (8.0, 16.0)


def test_the_pointing_game_by_hand() -> None:
    """Cells of 16 pixels; a box of 4 pixels, grown by 8, covers 20 × 20 of 64 × 64."""
    boxes: list[list[Box]] = [[(30, 30, 4, 4)], [(2, 50, 4, 4)], [(50, 10, 4, 4), (8, 8, 4, 4)], [(40, 40, 4, 4)]]
    heats = np.concatenate([peaked((1, 1), (0, 0), (0, 0)), np.full((1, 4, 4), 0.2)])
    result = pointing_game(heats, boxes, [(64, 64)] * 4, np.arange(4), 64, 0.95)
    # Film 0: peak (24, 24) in 22 … 42; film 1: (8, 8) is far; film 2: in its second box; film 3: no peak at all.
    assert (result.films, result.failed, result.tolerance) == (4, 1, 8.0)
    assert result.peak.value == 0.5
    assert (result.peak.low, result.peak.high) == pytest.approx((wilson(2, 4, 0.95).low, wilson(2, 4, 0.95).high))
    assert result.centre.value == 0.5  # (32, 32) lies in 22 … 42, and in 32 … 52
    # Film 1's box reaches beyond the left edge: 14 of its 20 columns are on the film, and 20 rows from 42 to 62.
    # Film 2's are 42 … 62 × 2 … 22 and 0 … 20 × 0 … 20.
    assert result.chance == pytest.approx((400 + 14 * 20 + 2 * 400 + 400) / 4 / 64**2)


def test_chance_counts_the_film_and_not_the_black_around_it() -> None:
    """A film of 32 × 64 lies in the middle of its square, x 16 … 48."""
    heats, boxes = peaked((0, 0)), [[(16.0, 0.0, 32.0, 64.0)]]
    assert pointing_game(heats, boxes, [(100, 200)], np.zeros(1, np.int64), 64, 0.95).chance == 1.0
    boxes = [[(24.0, 8.0, 16.0, 16.0)]]  # grown: 16 … 48 × 0 … 32
    assert pointing_game(heats, boxes, [(100, 200)], np.zeros(1, np.int64), 64, 0.95).chance == 0.5


@settings(deadline=None)
@given(
    st.integers(0, 3),
    st.integers(0, 3),
    st.tuples(st.floats(0, 60), st.floats(0, 60), st.floats(1, 30), st.floats(1, 30)),
)
def test_a_peak_is_a_hit_where_its_cell_touches_the_box(row: int, column: int, box: Box) -> None:
    left, top, width, height = box
    touches = (
        left <= 16 * (column + 1) and left + width >= 16 * column and top <= 16 * (row + 1) and top + height >= 16 * row
    )
    result = pointing_game(peaked((row, column)), [[box]], [(64, 64)], np.zeros(1, np.int64), 64, 0.95)
    assert result.peak.value == float(touches)


def test_films_of_one_patient_make_a_wider_interval() -> None:
    heats = peaked(*[(0, 0)] * 10, *[(3, 3)] * 10)
    boxes: list[list[Box]] = [[(4, 4, 4, 4)]] * 20
    alone = pointing_game(heats, boxes, [(64, 64)] * 20, np.arange(20), 64, 0.95).peak
    together = pointing_game(heats, boxes, [(64, 64)] * 20, np.arange(20) // 5, 64, 0.95).peak
    assert alone.value == together.value == 0.5
    assert together.high - together.low > 1.4 * (alone.high - alone.low)  # type: ignore[operator]


# ---------------------------------------------------------------- the gallery


def picture(name: str, heat: Floats | None) -> Picture:
    return Picture(name, 0.75, np.full((64, 64), 90, np.uint8), heat, [(10.0, 10.0, 20.0, 20.0)])


def colourful(path: Path) -> float:
    """Share of pixels that are not grey."""
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB")).astype(int)
    return float((np.ptp(pixels, axis=2) > 30).mean())


def test_the_gallery_lays_the_heat_over_the_film(tmp_path: Path) -> None:
    heat = np.zeros((4, 4))
    heat[0, 0] = 1.0
    hot = np.ones((4, 4))
    hot[0, 0] = 0.9
    for name, item in (("cold", heat), ("hot", hot)):
        draw_gallery(tmp_path / f"{name}.png", {"tp": [picture("a", item)], "fn": [], "fp": [], "tn": []})
    assert colourful(tmp_path / "hot.png") > colourful(tmp_path / "cold.png") + 0.05


def test_without_maps_the_films_are_shown_alone(tmp_path: Path) -> None:
    draw_gallery(tmp_path / "alone.png", {"tp": [picture("a", None)], "tn": [picture("b", None)] * 3})
    draw_gallery(tmp_path / "both.png", {"tp": [picture("a", np.eye(4))], "tn": [picture("b", np.eye(4))] * 3})
    with Image.open(tmp_path / "alone.png") as alone, Image.open(tmp_path / "both.png") as both:
        assert both.width == pytest.approx(2 * alone.width, rel=0.05)
        assert both.height == alone.height


@pytest.mark.parametrize("name", ["$x^2$ and $\\frac{", "a" * 200, "Röntgen_1–2"])
def test_any_id_can_be_written_above_a_film(name: str, tmp_path: Path) -> None:
    draw_gallery(tmp_path / "g.png", {"tp": [picture(name, np.eye(4))] * 3})
    draw_gallery(tmp_path / "short.png", {"tp": [picture("a", np.eye(4))] * 3})
    with Image.open(tmp_path / "g.png") as result, Image.open(tmp_path / "short.png") as short:
        assert result.size == short.size
