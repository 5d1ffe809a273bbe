"""From maps to boxes: which cells are a box, where it lies on the film, and how the rule is chosen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from osteon.films.reading.film import Film, letterbox
from osteon.models.inference.boxes import (
    FALSE_MARKS,
    LEAST,
    MOST,
    SAME,
    SHARES,
    boxes_of_map,
    choose_rule,
    on_film,
)
from osteon.statistics.detection import mark_films, overlaps
from osteon.statistics.estimate import Floats

SQUARE = (128, 128)


def heat_of(cells: dict[tuple[int, int], float], side: int = 8) -> Floats:
    """A map, 0 but for some cells (row, column)."""
    heat = np.zeros((side, side))
    for cell, value in cells.items():
        heat[cell] = value
    return heat


def found_in(heat: Floats, share: float = 0.5, size: tuple[int, int] = SQUARE) -> tuple[list[list[float]], list[float]]:
    boxes, scores = boxes_of_map(heat, share, 128, size)
    return boxes.tolist(), scores.tolist()


# ---------------------------------------------------------------- by hand, cells of 16 pixels


def test_a_cell_alone_is_a_box_of_a_cell() -> None:
    assert found_in(heat_of({(2, 3): 0.9})) == ([[48, 32, 16, 16]], [0.9])


def test_connected_cells_are_a_box_half_a_cell_smaller_on_all_sides() -> None:
    """Three rows and two columns of cells, one of them by a corner: 48 × 32 pixels around (56, 40), less 16."""
    heat = heat_of({(1, 2): 0.6, (2, 2): 0.8, (3, 3): 0.5})
    assert found_in(heat) == ([[40, 24, 16, 32]], [0.8])


def test_cells_below_the_share_of_the_highest_are_outside() -> None:
    heat = heat_of({(1, 1): 0.8, (1, 2): 0.4, (1, 3): 0.39, (1, 4): 0.3})
    assert found_in(heat, 0.5) == ([[24, 16, 16, 16]], [0.8])
    assert found_in(heat, 0.3) == ([[24, 16, 48, 16]], [0.8])


def test_two_places_are_two_boxes_highest_first() -> None:
    """The second has cells of half its own height, which are nothing beside the first."""
    heat = heat_of({(0, 0): 0.9, (5, 5): 0.2, (5, 6): 0.1, (6, 5): 0.02})
    assert found_in(heat) == ([[0, 0, 16, 16], [88, 80, 16, 16]], [0.9, 0.2])


def test_a_shoulder_of_a_higher_place_is_no_box_of_its_own() -> None:
    """Between 0.9 and 0.5 there are cells of 0.3: half of 0.5 reaches the higher place, half of 0.9 does not."""
    heat = heat_of({(2, 1): 0.9, (2, 2): 0.3, (2, 3): 0.3, (2, 4): 0.5})
    assert found_in(heat)[1] == [0.9]
    # Where the valley is deeper than half of the lower one, there are two.
    heat[2, 2:4] = 0.2
    assert found_in(heat)[1] == [0.9, 0.5]


def test_equal_neighbours_are_one_box() -> None:
    assert found_in(heat_of({(4, 1): 0.5, (4, 2): 0.5, (4, 3): 0.5, (5, 2): 0.5})) == ([[24, 72, 32, 16]], [0.5])


def ring(side: int, hole: int, core: float) -> Floats:
    """A ring of cells around cells that it does not touch: boxes one in the other."""
    heat = np.zeros((12, 12))
    heat[:side, :side] = 0.9
    heat[1 : side - 1, 1 : side - 1] = 0.0
    heat[hole : side - hole, hole : side - hole] = core
    return heat


def test_of_boxes_that_lie_over_each_other_the_best_stays() -> None:
    """Of 11 cells and of 7: 96² of 160² pixels are the same place. Of 7 and of 3: 32² of 96² are not."""
    assert boxes_of_map(ring(11, 2, 0.8), 0.5, 192, (192, 192))[0].tolist() == [[8, 8, 160, 160]]
    inner, scores = boxes_of_map(ring(11, 2, 0.95), 0.5, 192, (192, 192))
    assert (inner.tolist(), scores.tolist()) == ([[40, 40, 96, 96]], [0.95])
    assert boxes_of_map(ring(7, 2, 0.8), 0.5, 192, (192, 192))[1].tolist() == [0.9, 0.8]


def test_nothing_begins_below_the_least() -> None:
    assert found_in(heat_of({(2, 2): LEAST - 1e-6})) == ([], [])
    assert found_in(heat_of({(2, 2): LEAST}))[1] == [LEAST]
    assert found_in(np.zeros((8, 8))) == ([], [])


def test_a_film_has_so_many_boxes_at_most_and_they_are_the_best() -> None:
    cells = {(row, column): 0.1 + 0.01 * (row * 4 + column) for row in range(0, 16, 3) for column in range(0, 16, 3)}
    scores = boxes_of_map(heat_of(cells, 16), 0.95, 256, (256, 256))[1]
    assert scores.tolist() == sorted(cells.values(), reverse=True)[:MOST]


def test_boxes_end_where_the_film_ends() -> None:
    """A film of 256 × 64 in a square of 128 lies between the rows 48 and 80."""
    heat = np.full((8, 8), 0.7)
    assert found_in(heat, size=(256, 64)) == ([[8, 48, 112, 32]], [0.7])
    assert found_in(heat_of({(1, 1): 0.9, (3, 2): 0.4}), size=(256, 64)) == ([[32, 48, 16, 16]], [0.4])


# ---------------------------------------------------------------- on the film


def test_boxes_on_the_film_by_hand() -> None:
    """A film of 400 × 200 in a square of 128: a factor of 0.32, 32 black rows above."""
    boxes = np.array([[32.0, 48, 16, 32]])
    np.testing.assert_allclose(on_film(boxes, 128, (400, 200)), [[100, 50, 50, 100]])
    # Pixels twice as high as wide: the file has 400 × 100.
    np.testing.assert_allclose(on_film(boxes, 128, (400, 200), (1.0, 2.0)), [[100, 25, 50, 50]])


@settings(deadline=None, max_examples=30)
@given(st.integers(40, 700), st.integers(40, 700), st.floats(0.1, 0.7), st.floats(0.1, 0.7), st.sampled_from([96, 128]))
def test_what_is_bright_on_a_film_is_where_its_box_is(
    width: int, height: int, across: float, down: float, side: int
) -> None:
    """A bright patch, through letterbox and back: its box on the film is where it was drawn."""
    x, y, w, h = round(across * width), round(down * height), round(0.2 * width), round(0.2 * height)
    pixels = np.full((height, width), 20, np.uint8)
    pixels[y : y + h, x : x + w] = 250
    square = letterbox(Film(pixels, 0, 255, 8), side)
    rows, columns = np.nonzero(square > 135)
    if not len(rows):
        return
    low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
    box = np.array([[*low, high[0] - low[0], high[1] - low[1]]], np.float64)
    slack = max(width, height) / side + 1  # a pixel of the square, and of the film
    np.testing.assert_allclose(on_film(box, side, (width, height))[0], [x, y, w, h], atol=2 * slack)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SHARES), st.integers(1, 400), st.integers(1, 400))
def test_boxes_lie_on_the_film_apart_and_in_order(seed: int, share: float, width: int, height: int) -> None:
    heat = np.random.default_rng(seed).random((9, 9)) ** 4
    boxes, scores = boxes_of_map(heat, share, 144, (width, height))
    assert len(boxes) == len(scores) <= MOST
    assert (np.diff(scores) <= 0).all()
    assert ((scores >= LEAST) & (scores <= 1)).all()
    assert (boxes[:, 2:] >= 1).all()
    shared = overlaps(boxes, boxes) - np.eye(len(boxes))
    assert (shared <= SAME + 1e-6).all()
    on = on_film(boxes, 144, (width, height))
    pixel = max(width, height) / 144 / 2 + 1e-6  # of the square, by rounding
    assert (on[:, :2] >= -pixel).all()
    assert (on[:, :2] + on[:, 2:] <= np.array([width, height]) + pixel * 2).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_a_mirrored_map_has_mirrored_boxes(seed: int) -> None:
    heat = np.random.default_rng(seed).random((8, 8)) ** 3
    boxes, scores = boxes_of_map(heat, 0.5, 128, SQUARE)
    mirrored, again = boxes_of_map(heat[:, ::-1], 0.5, 128, SQUARE)
    np.testing.assert_allclose(scores, again)
    mirrored[:, 0] = 128 - mirrored[:, 0] - mirrored[:, 2]
    np.testing.assert_allclose(boxes, mirrored)


# ---------------------------------------------------------------- the rule


def blobs(count: int, share: float) -> tuple[NDArray[np.float64], list[list[tuple[float, float, float, float]]]]:
    """Maps whose lesion is where cells have more than that share of the peak, with a halo around it below that."""
    heats, lesions = np.zeros((count, 12, 12)), []
    for number in range(count):
        row, column = 3 + number % 4, 3 + number // 4 % 4
        heats[number, row - 2 : row + 4, column - 2 : column + 4] = 0.9 * (share - 0.05)
        heats[number, row : row + 2, column : column + 2] = 0.9
        lesions.append([(column * 16 + 8.0, row * 16 + 8.0, 16.0, 16.0)])
    return heats, lesions


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_share_is_chosen_that_fits_the_lesions(share: float) -> None:
    heats, lesions = blobs(20, share)
    rule = choose_rule(heats, lesions, [(192, 192)] * 20, 192)
    assert rule.share == share  # the smallest that leaves the halo out
    assert (rule.average_precision, rule.films, rule.lesions) == (1.0, 20, 20)


def test_boxes_are_shown_up_to_the_false_marks_that_are_allowed() -> None:
    """Ten films with a lesion and twenty without, each with a box of its own score."""
    heats, lesions = blobs(10, 0.5)
    alarms = np.zeros((20, 12, 12))
    alarms[np.arange(20), 2, 2] = 0.1 + 0.02 * np.arange(20)
    every = np.concatenate([heats, alarms])
    true = [*lesions, *([[]] * 20)]
    rule = choose_rule(every, true, [(192, 192)] * 30, 192)
    predicted = [boxes_of_map(heat, rule.share, 192, (192, 192)) for heat in every]
    kept = [(boxes[scores >= rule.threshold], scores[scores >= rule.threshold]) for boxes, scores in predicted]
    lesion_boxes = [np.array(boxes, float).reshape(-1, 4) for boxes in true]
    assert mark_films(kept, lesion_boxes).false_marks(np.ones((1, 30))).tolist() == [FALSE_MARKS]
    # Where there are fewer, all are shown.
    assert choose_rule(heats, lesions, [(192, 192)] * 10, 192).threshold == LEAST
