"""Predicted boxes against true ones: IoU, matching, FROC and average precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from osteon.statistics.bootstrap import bootstrap, group_weights
from osteon.statistics.detection import Marks, hits, mark_films, overlaps
from osteon.statistics.estimate import Floats

NOTHING = (np.zeros((0, 4)), np.zeros(0))
NO_LESION = np.zeros((0, 4))


def boxes(*rows: tuple[float, float, float, float]) -> Floats:
    return np.array(rows, np.float64).reshape(-1, 4)


def every(films: int) -> Floats:
    return np.ones((1, films))


# ---------------------------------------------------------------- IoU


def test_overlaps_by_hand() -> None:
    """Two squares of 10 that share 5 × 10, of 150; 5 × 5, of 175; the same; apart; touching; one in the other."""
    square = boxes((0, 0, 10, 10))
    others = boxes((5, 0, 10, 10), (5, 5, 10, 10), (0, 0, 10, 10), (20, 0, 5, 5), (10, 0, 10, 10), (2, 2, 5, 4))
    np.testing.assert_allclose(overlaps(square, others), [[1 / 3, 1 / 7, 1, 0, 0, 0.2]])
    np.testing.assert_allclose(overlaps(others, square), overlaps(square, others).T)
    assert overlaps(square, NO_LESION).shape == (1, 0)
    # A box without area shares nothing, not even with itself.
    assert overlaps(boxes((3, 3, 0, 0)), boxes((3, 3, 0, 0))).tolist() == [[0.0]]


# ---------------------------------------------------------------- what hits what


def hit(predicted: Floats, scores: list[float], lesions: Floats, rule: str = "iou") -> list[int]:
    return hits(predicted, np.array(scores), lesions, rule).tolist()


def test_a_lesion_is_hit_once_by_the_box_of_the_highest_score() -> None:
    lesion = boxes((10, 10, 10, 10))
    twice = boxes((11, 10, 10, 10), (10, 10, 10, 10))
    assert hit(twice, [0.9, 0.8], lesion) == [0, -1]  # though the second fits better
    assert hit(twice, [0.8, 0.9], lesion) == [-1, 0]
    assert hit(twice, [0.9, 0.9], lesion) == [0, -1]  # of equals the first


def test_a_box_takes_the_free_lesion_that_it_fits_best() -> None:
    lesions = boxes((0, 0, 10, 10), (4, 0, 10, 10))
    assert hit(boxes((3, 0, 10, 10)), [0.5], lesions) == [1]
    # The first takes its best; the second would fit that one best too, and takes the other.
    assert hit(boxes((4, 0, 10, 10), (3, 0, 10, 10)), [0.9, 0.8], lesions) == [1, 0]


def test_a_box_hits_from_an_iou_of_three_tenths_on() -> None:
    lesion = boxes((0, 0, 10, 10))
    assert hit(boxes((0, 0, 10, 3)), [0.5], lesion) == [0]
    assert hit(boxes((0, 0, 10, 2.99)), [0.5], lesion) == [-1]
    assert hit(boxes((0, 0, 20, 17)), [0.5], lesion) == [-1]  # too large is as wrong as too small: 100 of 340


def test_a_middle_in_the_lesion_is_a_rule_of_its_own() -> None:
    lesion = boxes((10, 10, 10, 10))
    small, far = boxes((14, 14, 2, 2)), boxes((2, 10, 15, 10))  # 4 of 100; 70 of 180, its middle at 9.5
    assert (hit(small, [0.5], lesion), hit(small, [0.5], lesion, "centre")) == ([-1], [0])
    assert (hit(far, [0.5], lesion), hit(far, [0.5], lesion, "centre")) == ([0], [-1])
    assert hit(boxes((8, 8, 4, 4)), [0.5], lesion, "centre") == [0]  # the edge is inside


def test_nothing_predicted_and_nothing_true() -> None:
    assert hit(NO_LESION, [], boxes((0, 0, 1, 1))) == []
    assert hit(boxes((0, 0, 1, 1), (0, 0, 1, 1)), [0.5, 0.4], NO_LESION) == [-1, -1]


# ---------------------------------------------------------------- FROC and average precision, by hand

LESION = (10.0, 10.0, 10.0, 10.0)
AWAY = (50.0, 50.0, 10.0, 10.0)
OTHER = (30.0, 30.0, 10.0, 10.0)


@pytest.fixture
def four_films() -> Marks:
    """Lesions: A, B on film 0, C on film 1. Boxes by falling score.

    0.9 hits A · 0.8 false (film 2) · 0.7 hits C · 0.6 false (film 3) · 0.5 false (film 0) · 0.4 hits B.
    """
    predicted = [
        (boxes(LESION, AWAY, OTHER), np.array([0.9, 0.5, 0.4])),
        (boxes(LESION), np.array([0.7])),
        (boxes(LESION), np.array([0.8])),
        (boxes(AWAY), np.array([0.6])),
    ]
    return mark_films(predicted, [boxes(LESION, OTHER), boxes(LESION), NO_LESION, NO_LESION])


def test_marks_know_their_films(four_films: Marks) -> None:
    assert four_films.films == 4
    assert four_films.film.tolist() == [0, 0, 0, 1, 2, 3]
    assert four_films.hit.tolist() == [True, False, True, True, False, False]
    assert four_films.lesion_film.tolist() == [0, 0, 1]
    assert four_films.lesion_scores.tolist() == [0.9, 0.4, 0.7]
    assert four_films.false_marks(every(4)).tolist() == [0.75]


def test_sensitivity_at_false_marks_by_hand(four_films: Marks) -> None:
    """Without a false mark: A, above 0.8. One on four films: A and C, above 0.6. Two: the same. Three: all."""
    rates = [0.0, 0.2, 0.25, 0.3, 0.5, 0.7, 0.75, 1.0]
    by_lesion = four_films.sensitivity(every(4), rates)
    np.testing.assert_allclose(by_lesion, np.array([[1, 1, 2, 2, 2, 2, 3, 3]]) / 3)
    by_film = four_films.sensitivity(every(4), rates, by_film=True)
    np.testing.assert_allclose(by_film, np.array([[1, 1, 2, 2, 2, 2, 2, 2]]) / 2)


def test_average_precision_by_hand(four_films: Marks) -> None:
    """Precision at the hits: 1, 2/3, 3/6, and each is the highest from there on."""
    assert four_films.average_precision(every(4))[0] == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)


def test_precision_counts_that_is_reached_later() -> None:
    """False, then two hits of two lesions: the precision at both is the highest from there on, 2/3."""
    marks = mark_films([(boxes(AWAY, LESION, OTHER), np.array([0.9, 0.8, 0.7]))], [boxes(LESION, OTHER)])
    assert marks.average_precision(every(1))[0] == pytest.approx(2 / 3)


def test_a_weight_of_two_is_a_film_twice(four_films: Marks) -> None:
    """Film 0 twice, film 2 not at all: lesions A, A, B, B, C; false marks 0.6, 0.5, 0.5 on four films."""
    weights = np.array([[2.0, 1, 0, 1]])
    rates = [0.0, 0.25, 0.5, 0.75]
    np.testing.assert_allclose(four_films.sensitivity(weights, rates), np.array([[3, 3, 3, 5]]) / 5)
    np.testing.assert_allclose(four_films.sensitivity(weights, rates, by_film=True), np.ones((1, 4)))
    # Hits after 2, 3 and 8 marks: 2/2, 3/3, 5/8.
    np.testing.assert_allclose(four_films.average_precision(weights), (2 * 1 + 1 * 1 + 2 * 5 / 8) / 5)


def test_equal_scores_count_together() -> None:
    """A hit and a false mark of one score: neither is before the other, in whatever order they come."""
    for order in ([0, 1], [1, 0]):
        predicted = [(boxes(LESION, AWAY)[order], np.array([0.5, 0.5]))]
        marks = mark_films(predicted, [boxes(LESION)])
        assert marks.average_precision(every(1))[0] == 0.5
        assert marks.sensitivity(every(1), [0.5, 1.0]).tolist() == [[0.0, 1.0]]


def test_no_box_finds_nothing_and_no_lesion_is_no_figure() -> None:
    silent = mark_films([NOTHING, NOTHING], [boxes(LESION), NO_LESION])
    assert silent.average_precision(every(2)).tolist() == [0.0]
    assert silent.sensitivity(every(2), [0.0, 1.0]).tolist() == [[0.0, 0.0]]
    healthy = mark_films([NOTHING, (boxes(LESION), np.array([0.9]))], [NO_LESION, NO_LESION])
    assert np.isnan(healthy.average_precision(every(2))).all()
    assert np.isnan(healthy.sensitivity(every(2), [0.1])).all()


def test_a_sample_of_the_bootstrap_without_a_lesion_is_no_figure(four_films: Marks) -> None:
    """Groups are drawn such that there is one; a caller's own weights may have none."""
    assert np.isnan(four_films.average_precision(np.array([[0.0, 0, 1, 1]]))).all()


# ---------------------------------------------------------------- against slow and plain definitions

FILM = st.tuples(
    st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 8)] * 2, st.integers(1, 6)), max_size=5),
    st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 8)] * 2), max_size=3),
)


def marked(films: list[tuple[list[tuple[int, ...]], list[tuple[int, ...]]]], rule: str = "iou") -> Marks:
    predicted = [(boxes(*[row[:4] for row in rows]), np.array([row[4] / 10 for row in rows])) for rows, _ in films]
    return mark_films(predicted, [boxes(*lesions) for _, lesions in films], rule)


def repeated(marks: Marks, counts: NDArray[np.int64]) -> Marks:
    """The marks of a set in which each film is so many times."""
    chosen = np.repeat(np.arange(marks.films), counts)

    def of(film: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pairs = [(number, row) for number, old in enumerate(chosen) for row in np.flatnonzero(film == old)]
        return tuple(np.array(pairs, np.int64).reshape(-1, 2).T)  # type: ignore[return-value]

    film, rows = of(marks.film)
    lesion_film, lesions = of(marks.lesion_film)
    return Marks(len(chosen), film, marks.scores[rows], marks.hit[rows], lesion_film, marks.lesion_scores[lesions])


@settings(deadline=None, max_examples=60)
@given(st.lists(FILM, min_size=1, max_size=6), st.data())
def test_weights_are_repetitions(
    films: list[tuple[list[tuple[int, ...]], list[tuple[int, ...]]]], data: st.DataObject
) -> None:
    marks = marked(films)
    counts = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(films), max_size=len(films))))
    if not counts.sum():
        return
    rates = [0.0, 0.1, 0.5, 1.0, 3.0]
    weights, again = counts[None].astype(np.float64), repeated(marks, counts)
    each_film = every(again.films)
    np.testing.assert_allclose(marks.average_precision(weights), again.average_precision(each_film))
    for by_film in (False, True):
        np.testing.assert_allclose(
            marks.sensitivity(weights, rates, by_film=by_film), again.sensitivity(each_film, rates, by_film=by_film)
        )


@settings(deadline=None, max_examples=100)
@given(st.lists(FILM, min_size=1, max_size=6), st.sampled_from(["iou", "centre"]))
def test_froc_is_what_counting_at_every_score_gives(
    films: list[tuple[list[tuple[int, ...]], list[tuple[int, ...]]]], rule: str
) -> None:
    """At each score all is matched anew, of the boxes with that score and more."""
    lesions = sum(len(true) for _, true in films)
    if not lesions:
        return
    points = [(0.0, 0.0)]
    for score in range(1, 7):
        at = marked([([row for row in rows if row[4] >= score], true) for rows, true in films], rule)
        points.append(
            (float(at.false_marks(every(len(films)))[0]), float(np.isfinite(at.lesion_scores).sum()) / lesions)
        )
    marks = marked(films, rule)
    for rate in (0.0, 0.25, 0.5, 1.0, 2.0, 9.0):
        expected = max(share for false, share in points if false <= rate)
        assert marks.sensitivity(every(len(films)), [rate])[0, 0] == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(st.lists(FILM, min_size=1, max_size=6))
def test_figures_lie_between_0_and_1_and_rise_with_the_rate(
    films: list[tuple[list[tuple[int, ...]], list[tuple[int, ...]]]],
) -> None:
    marks = marked(films)
    assert marks.hit.sum() == np.isfinite(marks.lesion_scores).sum()
    if not len(marks.lesion_film):
        return
    assert 0 <= marks.average_precision(every(len(films)))[0] <= 1
    curve = marks.sensitivity(every(len(films)), [0.0, 0.1, 0.5, 1.0, 5.0])[0]
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == pytest.approx(marks.hit.sum() / len(marks.lesion_film))


@settings(deadline=None, max_examples=60)
@given(st.lists(FILM, min_size=1, max_size=6))
def test_average_precision_is_the_area_under_scikit_learns_curve(
    films: list[tuple[list[tuple[int, ...]], list[tuple[int, ...]]]],
) -> None:
    """Its precision and recall are of the boxes that were predicted; the highest precision from each recall on."""
    marks = marked(films)
    if not marks.hit.any():
        return
    precision, recall, _ = precision_recall_curve(marks.hit, marks.scores)
    highest = np.maximum.accumulate(precision)  # from recall 1 on down to 0: the last is 1 by definition
    area = float((-np.diff(recall) * highest[:-1]).sum())
    expected = area * marks.hit.sum() / len(marks.lesion_film)
    assert marks.average_precision(every(len(films)))[0] == pytest.approx(expected)


def test_the_interval_of_a_figure_holds_it(four_films: Marks) -> None:
    weights = group_weights(np.arange(4), np.array([1, 1, 0, 0]), 300, 5)
    figure = bootstrap(four_films.average_precision, weights, 0.95)
    assert figure.low < figure.value < figure.high  # type: ignore[operator]
    # In pieces of memory as at once.
    np.testing.assert_allclose(
        four_films.sensitivity(weights.astype(float), [0.1, 0.5])[7],
        four_films.sensitivity(weights[7:8].astype(float), [0.1, 0.5])[0],
    )
