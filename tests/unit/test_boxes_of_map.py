"""From maps to boxes: which cells are a box, where it lies on the film, and how the rule is chosen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from osteon.films.manifest import Box
from osteon.films.reading.film import Film, letterbox
from osteon.models.inference.boxes import (
    DEPTHS,
    FALSE_MARKS,
    LEAST,
    MOST,
    SAME,
    boxes_of_map,
    choose_rule,
    on_film,
)
from osteon.models.inference.predict import map_probabilities
from osteon.statistics.detection import mark_films, overlaps
from osteon.statistics.estimate import Floats

SQUARE = (128, 128)


NOWHERE = -4.0


def heat_of(cells: dict[tuple[int, int], float], side: int = 8) -> Floats:
    """A map whose logits are NOWHERE but for some cells (row, column)."""
    logits = np.full((side, side), NOWHERE)
    for cell, value in cells.items():
        logits[cell] = value
    return expit(logits)


def ridges(*columns: float) -> Floats:
    """A map of 8 × 8 whose logits are the same in all rows."""
    return expit(np.tile(columns, (8, 1)))


def predicted_in(
    heat: Floats, depth: float = 1.0, size: tuple[int, int] = SQUARE
) -> tuple[list[list[float]], list[float]]:
    boxes, scores = boxes_of_map(heat, depth, 128, size)
    return boxes.tolist(), logit(scores).round(6).tolist()


# ---------------------------------------------------------------- by hand, cells of 16 pixels, made four of 4 each way


@pytest.mark.parametrize(("depth", "box"), [(1.0, [52, 36, 8, 8]), (1.4, [48, 32, 16, 16]), (2.7, [44, 28, 24, 24])])
def test_a_cell_alone_is_a_box_around_its_middle(depth: float, box: list[float]) -> None:
    """Of logit 2 among cells of −4: −4 + 6 · w · w, where w is 7/8, 5/8, 3/8 … of the cells from its middle on.

    The highest are 0.59375; 5/8 · 7/8 is 1.3125 lower, 3/8 · 7/8 2.625.
    """
    assert predicted_in(heat_of({(2, 3): 2.0}), depth) == ([box], [0.59375])


def test_two_places_are_two_boxes_highest_first() -> None:
    assert predicted_in(heat_of({(5, 5): 0.0, (0, 1): 2.0})) == (
        [[20, 0, 8, 12], [80, 80, 16, 16]],
        # The first lies at the map's edge, beyond which it goes on as it is. The lower falls less steeply.
        [1.25, -0.9375],
    )


def test_a_shoulder_of_a_higher_place_is_no_box_of_its_own() -> None:
    """Between 2 and 1 the map is 0: 1 below the lower one, 0.875, the higher one is reached, 0.6 below it is not."""
    heat = ridges(-4, 2, 0, 0, 1, -4, -4, -4)
    assert predicted_in(heat, 1.0)[1] == [1.75]
    # From 1.15 on, the cells of 1.25, 1.75 and 1.25; from 0.275 on, those of 0.375, 0.625, 0.875 and 0.375.
    assert predicted_in(heat, 0.6) == ([[20, 0, 12, 128], [60, 0, 16, 128]], [1.75, 0.875])


def test_equal_neighbours_are_one_box() -> None:
    assert predicted_in(ridges(-4, -4, 1, 1, -4, -4, -4, -4), 0.5) == ([[40, 0, 16, 128]], [1.0])


def test_cells_that_meet_at_a_corner_are_connected() -> None:
    boxes, scores = predicted_in(heat_of({(2, 2): 2.0, (3, 3): 2.0}), 2.5)
    assert len(scores) == 1
    assert boxes == [[32, 32, 32, 32]]


def test_the_rarity_of_positive_cells_moves_no_box() -> None:
    """A cell's weight in the loss, or another share of positive cells, adds the same to all logits."""
    logits = np.random.default_rng(3).normal(0, 2, (8, 8))
    boxes, scores = predicted_in(expit(logits))
    moved, others = predicted_in(expit(logits + 1.5))
    for box, score in zip(boxes, scores, strict=True):
        assert (box, round(score + 1.5, 4)) in list(zip(moved, np.round(others, 4), strict=True))


def ring(side: int, core: float) -> Floats:
    """A ring of cells of logit 2, and cells within that it does not touch: one box in the other."""
    logits = np.full((12, 12), -20.0)
    logits[:side, :side] = 2.0
    logits[1 : side - 1, 1 : side - 1] = -20.0
    logits[2 : side - 2, 2 : side - 2] = core
    return expit(logits)


def test_of_boxes_that_lie_over_each_other_the_best_stays() -> None:
    """Of 11 cells and of 7 a side they are of one place, of 7 and of 3 they are not."""
    outer, scores = boxes_of_map(ring(11, 1.5), 3.0, 192, (192, 192))
    assert (len(scores), outer[0, 2:].min() > 160) == (1, True)
    inner, scores = boxes_of_map(ring(11, 2.5), 3.0, 192, (192, 192))
    assert (len(scores), inner[0, 2:].max() < 120) == (1, True)
    assert len(boxes_of_map(ring(7, 1.5), 3.0, 192, (192, 192))[1]) == 2


def test_nothing_begins_below_the_least() -> None:
    assert predicted_in(np.full((8, 8), 0.99 * LEAST)) == ([], [])
    assert len(predicted_in(np.full((8, 8), 1.01 * LEAST))[1]) == 1
    assert predicted_in(np.zeros((8, 8))) == ([], [])
    assert predicted_in(np.ones((8, 8)))[0] == [[0, 0, 128, 128]]  # and certainty has a logit


def test_a_film_has_so_many_boxes_at_most_and_they_are_the_best() -> None:
    cells = {(row, column): (row * 4 + column) / 40 for row in range(1, 16, 3) for column in range(1, 15, 3)}
    scores = boxes_of_map(heat_of(cells, 16), 0.5, 256, (256, 256))[1]
    highest = np.sort(list(cells.values()))[::-1][:MOST]
    np.testing.assert_allclose(scores, expit(NOWHERE + (highest - NOWHERE) * 49 / 64))


def test_boxes_end_where_the_film_ends() -> None:
    """A film of 256 × 64 in a square of 128 lies between the rows 48 and 80."""
    heat = np.full((8, 8), 0.7)
    assert predicted_in(heat, size=(256, 64))[0] == [[0, 48, 128, 32]]
    assert predicted_in(heat_of({(1, 1): 2.0, (3, 2): 0.0}), size=(256, 64))[0] == [[32, 48, 16, 16]]


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
@given(st.integers(0, 2**32 - 1), st.sampled_from(DEPTHS), st.integers(1, 400), st.integers(1, 400))
def test_boxes_lie_on_the_film_apart_and_in_order(seed: int, depth: float, width: int, height: int) -> None:
    heat = np.random.default_rng(seed).random((9, 9)) ** 4
    boxes, scores = boxes_of_map(heat, depth, 144, (width, height))
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
    boxes, scores = boxes_of_map(heat, 1.0, 128, SQUARE)
    mirrored, again = boxes_of_map(heat[:, ::-1], 1.0, 128, SQUARE)
    np.testing.assert_allclose(scores, again)
    mirrored[:, 0] = 128 - mirrored[:, 0] - mirrored[:, 2]
    np.testing.assert_allclose(boxes, mirrored)


# ---------------------------------------------------------------- the rule


def cones(count: int, depth: float) -> tuple[Floats, list[list[Box]]]:
    """Maps that fall by a logit a cell from one place on; the lesion is what lies at most a depth below it."""
    rows, columns = np.mgrid[:12, :12]
    heats, lesions = [], []
    for number in range(count):
        middle = 4.5 + number % 4, 4.5 + number // 4 % 4
        heats.append(expit(2.0 - 0.5 * np.maximum(abs(rows - middle[0]), abs(columns - middle[1]))))
        boxes, _ = boxes_of_map(heats[-1], depth, 192, (192, 192))
        lesions.append([tuple(boxes[0])])
    return logit(np.array(heats)), lesions


@pytest.mark.parametrize("depth", [1.0, 3.0])
def test_the_depth_is_chosen_that_fits_the_lesions_best(depth: float) -> None:
    """The first with which every box hits: 0.3 of the lesions' area is that of some half of the depth."""
    logits, lesions = cones(20, depth)
    rule = choose_rule(logits.astype(np.float16), lesions, [(192, 192)] * 20, 192)
    assert (rule.average_precision, rule.films, rule.lesions) == (1.0, 20, 20)
    assert depth / 2 <= rule.depth < depth


def test_boxes_are_shown_up_to_the_false_marks_that_are_allowed() -> None:
    """Ten films with a lesion and twenty without, each with a box of its own score."""
    logits, lesions = cones(10, 1.0)
    alarms = np.full((20, 12, 12), NOWHERE)
    alarms[np.arange(20), 2, 2] = 0.1 * np.arange(20)
    every = np.concatenate([logits, alarms])
    true = [*lesions, *([[]] * 20)]
    rule = choose_rule(every, true, [(192, 192)] * 30, 192)
    predicted = [boxes_of_map(map_probabilities(values), rule.depth, 192, (192, 192)) for values in every]
    kept = [(boxes[scores >= rule.threshold], scores[scores >= rule.threshold]) for boxes, scores in predicted]
    lesion_boxes = [np.array(boxes, float).reshape(-1, 4) for boxes in true]
    assert mark_films(kept, lesion_boxes).false_marks(np.ones((1, 30))).tolist() == [FALSE_MARKS]
    # Where there are fewer, all are shown.
    assert choose_rule(logits, lesions, [(192, 192)] * 10, 192).threshold == LEAST
