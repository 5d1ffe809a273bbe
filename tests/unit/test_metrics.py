"""Every figure against scikit-learn, and by hand where it has none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from components.evaluation.metrics import NAMES, confusion, measure
from osteon.params import EvaluationParams
from osteon.statistics.estimate import UNDEFINED, Estimate, Floats, Labels
from osteon.statistics.proportions import wilson
from osteon.statistics.ranking import WeightedRanking, ratio

PARAMS = EvaluationParams(resamples=100)
Films = tuple[Labels, Floats, NDArray[np.int64]]

# Ten films, four positive; at ≥ 0.5: 3 found, 1 missed, 4 cleared, 2 alarms.
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.7, 0.5, 0.2, 0.8, 0.5, 0.4, 0.3, 0.3, 0.1])
GROUPS = np.array([0, 0, 1, 2, 2, 3, 4, 5, 6, 6])


@st.composite
def measurable(draw: st.DrawFn) -> Films:
    """Films of both classes with scores 0.05 … 0.95, ties common, in 3 groups or more."""
    count = draw(st.integers(4, 30))
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), min_size=count - 2, max_size=count - 2))]
    scores = draw(st.lists(st.integers(1, 19), min_size=count, max_size=count))
    groups = [0, 1, 2, *draw(st.lists(st.integers(0, 2), min_size=count - 3, max_size=count - 3))]
    return np.array(labels), np.array(scores) / 20, np.array(groups)


# ---------------------------------------------------------------- values


def test_the_confusion_by_hand() -> None:
    assert confusion(LABELS, SCORES, 0.5) == (3, 1, 4, 2)
    assert confusion(LABELS, SCORES, 0.50001) == (2, 2, 5, 1)
    assert confusion(LABELS, SCORES, 0) == (4, 0, 0, 6)
    assert confusion(LABELS, SCORES, 1) == (0, 4, 6, 0)


def test_the_figures_by_hand() -> None:
    result = {name: item.value for name, item in measure(LABELS, SCORES, GROUPS, 0.5, PARAMS).items()}
    # Pairs won: 0.9 six, 0.7 five, 0.5 four and a tie, 0.2 one, of 24. Precision where a positive film comes:
    # 1/1, 2/3, 3/5 (a tie with a negative one), 4/9.
    assert result == pytest.approx(
        {
            "auroc": 16.5 / 24,
            "average_precision": (1 + 2 / 3 + 3 / 5 + 4 / 9) / 4,
            "sensitivity": 3 / 4,
            "specificity": 4 / 6,
            "ppv": 3 / 5,
            "npv": 4 / 5,
            "f1": 6 / 9,
            "balanced_accuracy": (3 / 4 + 4 / 6) / 2,
            "accuracy": 7 / 10,
            "brier": (0.01 + 0.09 + 0.25 + 0.64 + 0.64 + 0.25 + 0.16 + 0.09 + 0.09 + 0.01) / 10,
            "log_loss": -np.log([0.9, 0.7, 0.5, 0.2, 0.2, 0.5, 0.6, 0.7, 0.7, 0.9]).mean(),
        }
    )
    assert list(result) == list(NAMES)


@settings(deadline=None, max_examples=60)
@given(measurable(), st.integers(1, 19))
def test_the_figures_are_scikit_learns(films: Films, cut: int) -> None:
    labels, scores, groups = films
    result = {name: item.value for name, item in measure(labels, scores, groups, cut / 20, PARAMS).items()}
    output = (scores >= cut / 20).astype(int)
    expected = {
        "auroc": metrics.roc_auc_score(labels, scores),
        "average_precision": metrics.average_precision_score(labels, scores),
        "sensitivity": metrics.recall_score(labels, output),
        "specificity": metrics.recall_score(labels, output, pos_label=0),
        "ppv": metrics.precision_score(labels, output, zero_division=np.nan),
        "npv": metrics.precision_score(labels, output, pos_label=0, zero_division=np.nan),
        "f1": metrics.f1_score(labels, output),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, output),
        "accuracy": metrics.accuracy_score(labels, output),
        "brier": metrics.brier_score_loss(labels, scores),
        "log_loss": metrics.log_loss(labels, scores),
    }
    assert result == pytest.approx({name: None if np.isnan(item) else item for name, item in expected.items()})


@settings(deadline=None)
@given(measurable(), st.randoms(use_true_random=False))
def test_average_precision_of_weighted_films_is_scikit_learns(films: Films, random: object) -> None:
    labels, scores, _ = films
    weights = np.random.default_rng(random.getrandbits(32)).integers(0, 4, (5, len(labels))).astype(float)  # type: ignore[attr-defined]
    weights[:, :2] += 1  # both classes
    result = WeightedRanking(labels.astype(float), scores).average_precision(weights)
    expected = [metrics.average_precision_score(labels, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(result, expected, atol=1e-12)


@settings(deadline=None)
@given(measurable(), st.randoms(use_true_random=False))
def test_the_auroc_of_weighted_films_is_scikit_learns(films: Films, random: object) -> None:
    labels, scores, _ = films
    weights = np.random.default_rng(random.getrandbits(32)).integers(0, 4, (5, len(labels))).astype(float)  # type: ignore[attr-defined]
    weights[:, :2] += 1  # both classes
    result = WeightedRanking(labels.astype(float), scores).auroc(weights)
    expected = [metrics.roc_auc_score(labels, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_figures_of_weighted_films_by_hand() -> None:
    """Two samples. 0.7 and 0.2 are of both classes; their pairs count half.

    Pairs won: 2 + 1.5 + 1 + 0.5 of 8; 2 · 4 + 3.5 + 1.5 of 16. Precision by 0.9, 0.7, 0.4, 0.2: 1/1, 2/3, 3/4, 4/6,
    a quarter of the positive films each; 2/2 for a half, 3/4 for a quarter, none, 4/8 for a quarter.
    """
    truth, scores = np.array([0.0, 1, 1, 1, 0, 1]), np.array([0.2, 0.7, 0.2, 0.9, 0.7, 0.4])
    ranking, weights = WeightedRanking(truth, scores), np.array([[1.0] * 6, [3, 1, 1, 2, 1, 0]])
    assert ranking.auroc(weights) == pytest.approx([5 / 8, 13 / 16])
    assert ranking.average_precision(weights) == pytest.approx([(1 + 2 / 3 + 3 / 4 + 2 / 3) / 4, 3.25 / 4])


@pytest.mark.filterwarnings("error")
def test_a_first_threshold_of_both_classes_or_of_no_film() -> None:
    tied = WeightedRanking(np.array([1.0, 0, 1]), np.array([0.5, 0.5, 0.1]))
    assert tied.auroc(np.array([[2.0, 1, 0], [1, 1, 1]])) == pytest.approx([1 / 2, 1 / 4])
    # The film of the highest score is not in the sample.
    ranking = WeightedRanking(np.array([1.0, 1, 0]), np.array([0.9, 0.5, 0.1]))
    assert ranking.average_precision(np.array([[0.0, 1, 1]])).tolist() == [1.0]
    assert ranking.auroc(np.array([[0.0, 1, 1]])).tolist() == [1.0]


def test_a_sample_of_one_class_has_no_auroc() -> None:
    result = WeightedRanking(np.array([1.0, 0.0]), np.array([0.5, 0.4])).auroc(
        np.array([[0.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
    )
    np.testing.assert_array_equal(result, [np.nan, np.nan, 1.0])


def test_a_sample_without_positive_films_has_no_average_precision() -> None:
    result = WeightedRanking(np.array([1.0, 0.0]), np.array([0.5, 0.4])).average_precision(
        np.array([[0.0, 2.0], [1.0, 1.0]])
    )
    np.testing.assert_array_equal(result, [np.nan, 1.0])


def test_a_probability_of_0_or_1_that_is_wrong_costs_much_but_not_everything() -> None:
    result = measure(np.array([1, 0, 1, 0]), np.array([0.0, 1.0, 1.0, 0.0]), np.arange(4), 0.5, PARAMS)
    assert result["log_loss"].value == pytest.approx(-np.log(1e-15) / 2, rel=0.01)
    assert result["brier"].value == 0.5


# ---------------------------------------------------------------- intervals


def test_proportions_have_wilsons_interval() -> None:
    result = measure(LABELS, SCORES, GROUPS, 0.5, EvaluationParams(resamples=100, confidence=0.9))
    for name, counts in {
        "sensitivity": (3, 4),
        "specificity": (4, 6),
        "ppv": (3, 5),
        "npv": (4, 5),
        "accuracy": (7, 10),
    }.items():
        assert result[name] == wilson(*counts, 0.9)


@settings(deadline=None)
@given(measurable(), st.integers(0, 20))
def test_intervals_contain_their_value(films: Films, cut: int) -> None:
    labels, scores, groups = films
    for name, item in measure(labels, scores, groups, cut / 20, PARAMS).items():
        if item == UNDEFINED:
            continue
        assert item.low is not None
        assert item.high is not None
        assert item.value is not None
        assert item.low <= item.value <= item.high, name
        assert item.low >= 0, name
        assert item.high <= 1 or name == "log_loss", name


def test_films_of_one_group_make_a_wider_interval_than_as_many_single_films() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 2, 50), 6)
    scores = np.clip(np.repeat(rng.normal(0.5, 0.2, 50), 6) + 0.2 * labels, 0.01, 0.99)
    params = EvaluationParams(resamples=500)
    alone = measure(labels, scores, np.arange(300), 0.5, params)
    together = measure(labels, scores, np.arange(300) // 6, 0.5, params)
    for name in ("average_precision", "f1", "balanced_accuracy", "brier", "log_loss"):
        a, b = alone[name], together[name]
        assert a.value == pytest.approx(b.value)
        assert (b.high - b.low) / (a.high - a.low) == pytest.approx(np.sqrt(6), rel=0.2)  # type: ignore[operator]


def test_the_order_of_films_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 60), rng.random(60).round(1)
    groups = np.arange(60) // 2
    order = rng.permutation(60)
    expected = measure(labels, scores, groups, 0.5, PARAMS)
    result = measure(labels[order], scores[order], groups[order], 0.5, PARAMS)
    for name, item in expected.items():
        other = result[name]
        assert (other.value, other.low, other.high) == pytest.approx((item.value, item.low, item.high)), name


def test_the_same_seed_gives_the_same_intervals_and_another_one_others() -> None:
    assert measure(LABELS, SCORES, GROUPS, 0.5, PARAMS) == measure(LABELS, SCORES, GROUPS, 0.5, PARAMS)
    other = measure(LABELS, SCORES, GROUPS, 0.5, PARAMS.model_copy(update={"seed": 1}))
    assert other["brier"] != measure(LABELS, SCORES, GROUPS, 0.5, PARAMS)["brier"]


# ---------------------------------------------------------------- what is not defined


def test_where_no_film_is_called_positive() -> None:
    result = measure(LABELS, SCORES, GROUPS, 0.95, PARAMS)
    assert result["ppv"] == UNDEFINED
    assert result["npv"].value == 0.6
    assert (result["sensitivity"].value, result["specificity"].value) == (0.0, 1.0)
    assert result["f1"] == Estimate(0.0, 0.0, 0.0)
    assert result["balanced_accuracy"] == Estimate(0.5, 0.5, 0.5)


def test_where_every_film_is_called_positive() -> None:
    result = measure(LABELS, SCORES, GROUPS, 0.0, PARAMS)
    assert result["npv"] == UNDEFINED
    assert result["ppv"].value == 0.4
    assert (result["sensitivity"].value, result["specificity"].value) == (1.0, 0.0)


@pytest.mark.filterwarnings("error")
def test_a_ratio_to_nothing_is_not_a_number_and_no_warning() -> None:
    np.testing.assert_array_equal(ratio(np.array([1.0, 0.0, 3.0]), np.array([0.0, 0.0, 2.0])), [np.nan, np.nan, 1.5])
