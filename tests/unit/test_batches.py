"""Batches that a network is trained and measured on, without a network: which films, varied how, with what targets."""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from osteon.errors import OsteonError
from osteon.films.prepared.array import PreparedFilms
from osteon.films.prepared.warping import draw_variation, vary, vary_boxes
from osteon.models.fitting.batches import FilmBatches, TrainingBatches, map_of, type_targets, types_to_learn
from osteon.params import AugmentationParams

SIDE = 32
TYPES = ["hairline", "oblique"]


def typed(labels: Sequence[int], types: Sequence[str | None]) -> pd.DataFrame:
    table = pd.DataFrame({"label": pd.array(labels, dtype="Int8"), "fracture_type": pd.array(types, dtype="string")})
    return table.assign(boxes="[]", finding="fractured")


def noise(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE), np.uint8)


# Three fractured, two of them with a box, and two whole.
ORIGINALS = PreparedFilms(
    noise(5),
    typed([1, 0, 1, 0, 1], ["oblique", None, "hairline", "oblique", None]).assign(
        boxes=["[[1, 1, 9, 9]]", "[]", "[[17, 2, 3, 3], [2, 20, 4, 4]]", "[]", "[]"]
    ),
)
COPIES = PreparedFilms(
    noise(3, seed=1), typed([0, 1, 0], [None, "spiral", None]).assign(boxes=["[]", "[[8, 8, 16, 16]]", "[]"])
)
SETS = [(ORIGINALS, np.array([4, 1, 0, 2])), (COPIES, np.array([1, 2, 0]))]
# As they stand together: what each is, and where its boxes are.
PIXELS = np.concatenate([ORIGINALS.pixels[[4, 1, 0, 2]], COPIES.pixels[[1, 2, 0]]])
LABELS = np.array([1, 0, 1, 1, 1, 0, 0])
BOXES: list[list[tuple[float, float, float, float]]] = [
    [],
    [],
    [(1, 1, 9, 9)],
    [(17, 2, 3, 3), (2, 20, 4, 4)],
    [(8, 8, 16, 16)],
    [],
    [],
]


def rounds_of(label: int, seed: int, count: int) -> NDArray[np.int64]:
    """The films of a class in so many shuffled rounds, one after the other."""
    members = np.flatnonzero(label == LABELS)
    turns = [np.random.default_rng([seed, label, turn]).permutation(len(members)) for turn in range(count)]
    return members[np.concatenate(turns)]


@pytest.mark.parametrize("first_epoch", [0, 3])
def test_each_class_comes_in_shuffled_rounds_that_depend_on_seed_epoch_and_number_only(first_epoch: int) -> None:
    batches = TrainingBatches(SETS, 4, None, 7, first_epoch)
    assert len(batches) == 2  # of 7 films
    rows = {label: rounds_of(label, 7, 10) for label in (0, 1)}
    for epoch in range(first_epoch, first_epoch + 3):
        batches.on_epoch_begin()
        for number in (1, 0):
            start = 2 * (2 * epoch + number)
            chosen = np.concatenate([rows[label][start : start + 2] for label in (0, 1)])
            films, targets, _ = batches[number]
            np.testing.assert_array_equal(films, PIXELS[chosen][..., None])
            np.testing.assert_array_equal(targets["finding"], [[0], [0], [1], [1]])


def test_before_the_first_epoch_the_batches_are_the_first_epochs() -> None:
    """Keras looks at a batch before it begins."""
    waiting, begun = TrainingBatches(SETS, 4, None, 7), TrainingBatches(SETS, 4, None, 7)
    begun.on_epoch_begin()
    assert (waiting.epoch, begun.epoch) == (-1, 0)
    np.testing.assert_array_equal(waiting[1][0], begun[1][0])
    begun.on_epoch_begin()
    assert (waiting[1][0] != begun[1][0]).any()


def test_a_batch_that_is_larger_than_a_class_goes_on_into_the_next_rounds() -> None:
    films = TrainingBatches(SETS, 14, None, 2)[0][0]
    chosen = np.concatenate([rounds_of(label, 2, 3)[:7] for label in (0, 1)])
    np.testing.assert_array_equal(films, PIXELS[chosen][..., None])


def test_films_and_their_boxes_are_varied_alike_and_each_slot_in_its_own_way() -> None:
    params = AugmentationParams(rotation=20, shift=0.1, noise=8)
    batches = TrainingBatches(SETS, 14, params, 7, first_epoch=5)
    batches.on_epoch_begin()
    films, targets, weights = batches[0]
    start = 7 * 5
    chosen = np.concatenate([rounds_of(label, 7, 15)[start : start + 7] for label in (0, 1)])
    for slot, film in enumerate(chosen):
        variation = draw_variation(np.random.default_rng([7, 5, 0, slot]), params, SIDE)
        np.testing.assert_array_equal(films[slot, :, :, 0], vary(PIXELS[film], variation))
        expected = map_of(vary_boxes(BOXES[film], variation, SIDE), SIDE)
        np.testing.assert_array_equal(targets["map"][slot, :, :, 0], expected)
        # Of the film as it was: a box that moved off the edge has taught nothing wrong.
        assert weights["map"][slot] == (LABELS[film] == 0 or bool(BOXES[film]))
    assert targets["map"].any()


def test_targets_and_weights_of_films_as_they_are() -> None:
    """Batch 1: the last two positive films of a round of four."""
    films, targets, weights = TrainingBatches(SETS, 4, None, 7)[1]
    chosen = np.concatenate([rounds_of(label, 7, 2)[2:4] for label in (0, 1)])
    assert films.shape == (4, SIDE, SIDE, 1)
    assert targets["map"].shape == (4, 2, 2, 1)
    for slot, film in enumerate(chosen):
        np.testing.assert_array_equal(targets["map"][slot, ..., 0], map_of(BOXES[film], SIDE))
    assert weights["finding"].tolist() == [1, 1, 1, 1]
    assert weights["map"].tolist() == [1, 1, *(float(bool(BOXES[film])) for film in chosen[2:])]
    assert films.dtype == np.uint8
    assert {array.dtype for part in (targets, weights) for array in part.values()} == {np.dtype(np.float32)}
    assert set(targets) == set(weights) == {"finding", "map"}


def test_a_fractured_film_without_boxes_does_not_teach_the_map() -> None:
    """Film 4 has none; every other film of the set has or is whole."""
    films, _, weights = TrainingBatches(SETS, 14, None, 7)[0]
    without = (films[..., 0] == ORIGINALS.pixels[4]).all(axis=(1, 2))
    assert without.any()
    np.testing.assert_array_equal(weights["map"], ~without)


def test_a_set_without_boxes_does_not_teach_the_map_at_all() -> None:
    bare = PreparedFilms(ORIGINALS.pixels, ORIGINALS.films.assign(boxes="[]"))
    _, _, weights = TrainingBatches([(bare, np.arange(5))], 4, None, 7)[0]
    assert weights["map"].tolist() == [0, 0, 0, 0]
    assert weights["finding"].tolist() == [1, 1, 1, 1]


def test_films_are_as_they_were_after_a_batch_was_written_into() -> None:
    """TensorFlow takes arrays over without a copy and writes into them."""
    before = ORIGINALS.pixels.copy()
    for batches in (
        TrainingBatches(SETS, 4, None, 7, types=TYPES),
        FilmBatches(ORIGINALS, np.arange(5), types=TYPES),
    ):
        films, targets, weights = batches[0]
        expected = [array.copy() for array in (films, *targets.values(), *weights.values())]
        for array in (films, *targets.values(), *weights.values()):
            array[:] = 77
        films, targets, weights = batches[0]
        for array, kept in zip((films, *targets.values(), *weights.values()), expected, strict=True):
            np.testing.assert_array_equal(array, kept)
    np.testing.assert_array_equal(ORIGINALS.pixels, before)


def test_a_film_with_its_type_and_its_weight() -> None:
    learnt = TrainingBatches(SETS, 14, None, 0, types=TYPES)
    expected = np.array([[0, 0], [0, 0], [0, 1], [1, 0], [0, 0], [0, 0], [0, 0]])  # the copy's type is not in the list
    films, targets, weights = learnt[0]
    place = [int(np.flatnonzero((film == PIXELS).all(axis=(1, 2))).item()) for film in films[..., 0]]
    assert set(place) == set(range(7))
    np.testing.assert_array_equal(targets["type"], expected[place])
    np.testing.assert_array_equal(weights["type"], expected[place].sum(axis=1))
    assert set(targets) == set(weights) == {"finding", "map", "type"}
    assert targets["type"].dtype == weights["type"].dtype == np.float32


# ---------------------------------------------------------------- films to measure on


def test_films_to_measure_on_come_as_they_are_and_in_order() -> None:
    rows = np.array([4, 3, 0])
    batches = FilmBatches(ORIGINALS, rows, 2, TYPES)
    assert len(batches) == 2
    assert len(FilmBatches(ORIGINALS, rows, 3)) == 1
    parts = [batches[number] for number in range(2)]
    films = np.concatenate([films for films, _, _ in parts])
    np.testing.assert_array_equal(films, ORIGINALS.pixels[rows][..., None])
    targets = {name: np.concatenate([targets[name] for _, targets, _ in parts]) for name in parts[0][1]}
    weights = {name: np.concatenate([weights[name] for _, _, weights in parts]) for name in parts[0][2]}
    assert {name: values.tolist() for name, values in targets.items()} == {
        "finding": [[1], [0], [1]],
        "map": np.zeros((3, 2, 2, 1)).tolist(),  # it is not measured
        "type": [[0, 0], [0, 0], [0, 1]],
    }
    assert {name: values.tolist() for name, values in weights.items()} == {
        "finding": [1, 1, 1],
        "map": [0, 0, 0],
        "type": [0, 0, 1],
    }
    assert {array.dtype for part in (targets, weights) for array in part.values()} == {np.dtype(np.float32)}


def test_by_itself_a_batch_to_measure_on_has_64_films() -> None:
    many = np.zeros(65, np.int64)
    batches = FilmBatches(ORIGINALS, many)
    assert [len(batches), len(batches[0][0]), len(batches[1][0])] == [2, 64, 1]


def test_without_types_there_is_no_such_target() -> None:
    for batches in (FilmBatches(ORIGINALS, np.arange(5)), TrainingBatches(SETS, 2, None, 0)):
        assert set(batches[0][1]) == set(batches[0][2]) == {"finding", "map"}


# ---------------------------------------------------------------- maps and types


def test_the_map_has_the_cells_a_box_touches() -> None:
    cells = map_of([(0, 0, 16, 16), (33.5, 20, 20, 12)], 64)
    expected = np.zeros((4, 4))
    expected[0, 0] = 1
    expected[1, 2:4] = 1
    np.testing.assert_array_equal(cells, expected)
    np.testing.assert_array_equal(map_of([(20, 33.5, 12, 20)], 64)[2:], [[0, 1, 0, 0], [0, 1, 0, 0]])
    assert map_of([], 64).sum() == 0
    assert np.argwhere(map_of([(30, 47.5, 2.5, 1)], 64)).tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]
    assert cells.dtype == np.float32


def test_films_that_say_nothing_about_types_are_rows_of_zeros() -> None:
    """A missing type, one that is not in the list, no fracture; the last whatever its type says."""
    films = typed([1, 1, 1, 1, 0, 0], ["oblique", "hairline", None, "spiral", None, "oblique"])
    result = type_targets(films, TYPES)
    np.testing.assert_array_equal(result, [[0, 1], [1, 0], [0, 0], [0, 0], [0, 0], [0, 0]])
    assert result.dtype == np.float32
    assert type_targets(films, ()).shape == (6, 0)
    assert type_targets(films, ()).dtype == np.float32


def test_the_types_to_learn_are_in_order_and_frequent_enough(caplog: pytest.LogCaptureFixture) -> None:
    films = typed(
        [1] * 11 + [0] * 3, ["spiral"] * 3 + ["oblique"] * 4 + ["hairline", "buckle", "buckle", None] + ["hairline"] * 3
    )
    with caplog.at_level(logging.INFO):
        assert types_to_learn(films, fewest=3) == ["oblique", "spiral"]
        assert types_to_learn(films, fewest=1) == ["buckle", "hairline", "oblique", "spiral"]
    assert caplog.messages == [
        "types: oblique (4), spiral (3) · too rare to train: buckle (2), hairline (1)",
        "types: buckle (2), hairline (1), oblique (4), spiral (3)",
    ]


@pytest.mark.parametrize(
    ("films", "counted"),
    [
        (
            typed([1] * 8 + [0], ["spiral"] * 3 + ["oblique"] * 4 + ["hairline"] * 2),
            "hairline (1), oblique (4), spiral (3)",
        ),
        (typed([1, 0], [None, None]), "no type at all"),
    ],
)
def test_too_few_types_are_refused_with_their_counts_and_the_way_out(films: pd.DataFrame, counted: str) -> None:
    with pytest.raises(OsteonError) as caught:
        types_to_learn(films, fewest=4)
    assert str(caught.value) == (
        "training.task = fracture_type: two types with at least 4 training films are needed; there is "
        f"{counted}; set it to fracture, or name the column with the types in data.columns.fracture_type"
    )


def test_a_type_needs_ten_films_by_itself() -> None:
    films = typed([1] * 19, ["spiral"] * 10 + ["oblique"] * 9)
    with pytest.raises(OsteonError, match="at least 10 training films"):
        types_to_learn(films)
    assert types_to_learn(typed([1] * 20, ["spiral"] * 10 + ["oblique"] * 10)) == ["oblique", "spiral"]
