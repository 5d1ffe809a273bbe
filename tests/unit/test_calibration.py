"""Calibration by hand, against scikit-learn, and as properties that hold for every set of scores."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as scikit_learns_log_loss

from osteon.statistics.calibration import (
    METHODS,
    Calibration,
    Floats,
    Labels,
    Method,
    cross_fitted,
    fit_calibration,
    log_loss,
    probabilities_of,
)

SETTINGS = settings(deadline=None, max_examples=60)
Films = tuple[Floats, Labels, Labels]


def simulated(count: int, steepness: float, seed: int = 0) -> Films:
    """Scores whose logits are `steepness` times too far from 0, labels, folds."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1.5, count)
    labels = (rng.random(count) < expit(logits)).astype(np.int64)
    return expit(steepness * logits), labels, np.arange(count) % 5


@st.composite
def scored(draw: st.DrawFn) -> Films:
    """Two folds, both classes in each; scores from 0 to 1 with many ties."""
    count = draw(st.integers(8, 40))
    scores = draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))
    labels = [0, 1, 0, 1, *draw(st.lists(st.integers(0, 1), min_size=count - 4, max_size=count - 4))]
    folds = [0, 0, 1, 1, *draw(st.lists(st.integers(0, 1), min_size=count - 4, max_size=count - 4))]
    return np.array(scores) / 20, np.array(labels), np.array(folds)


# ---------------------------------------------------------------- properties of all


@SETTINGS
@given(scored(), st.sampled_from(METHODS), st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_no_two_films_change_their_order(films: Films, method: Method, new: list[float]) -> None:
    calibration = fit_calibration(*films, method)
    output = calibration.apply(np.sort(new))
    assert (np.diff(output) >= 0).all()
    if method != "none":
        assert ((output > 0) & (output < 1)).all()


@SETTINGS
@given(scored(), st.sampled_from(METHODS))
def test_a_calibration_comes_back_from_json_to_the_last_bit(films: Films, method: Method) -> None:
    calibration = fit_calibration(*films, method)
    again = Calibration.model_validate_json(calibration.model_dump_json())
    assert again == calibration
    new = np.random.default_rng(0).random(50)
    np.testing.assert_array_equal(again.apply(new), calibration.apply(new))


@SETTINGS
@given(scored(), st.sampled_from(METHODS))
def test_the_order_of_films_does_not_matter(films: Films, method: Method) -> None:
    order = np.random.default_rng(1).permutation(len(films[0]))
    probabilities = cross_fitted(*films, method)
    shuffled = cross_fitted(*(values[order] for values in films), method)
    np.testing.assert_allclose(shuffled, probabilities[order], rtol=1e-6)


@SETTINGS
@given(scored(), st.sampled_from(METHODS))
def test_a_folds_labels_do_not_reach_its_own_probabilities(films: Films, method: Method) -> None:
    scores, labels, folds = films
    probabilities = cross_fitted(scores, labels, folds, method)
    other = cross_fitted(scores, np.where(folds == 1, 1 - labels, labels), folds, method)
    np.testing.assert_array_equal(other[folds == 1], probabilities[folds == 1])


def test_the_folds_of_cross_fitting_by_hand() -> None:
    """Isotonic on one film of each class: 1/4 up to its lower score, 3/4 from its upper."""
    scores, labels = np.array([0.2, 0.6, 0.4, 0.8]), np.array([0, 1, 0, 1])
    result = cross_fitted(scores, labels, np.array([0, 0, 1, 1]), "isotonic")
    assert result == pytest.approx([0.25, 0.5, 0.5, 0.75])


@SETTINGS
@given(scored(), st.sampled_from(METHODS))
def test_the_losses_kept_are_scikit_learns(films: Films, method: Method) -> None:
    scores, labels, folds = films
    probabilities = cross_fitted(scores, labels, folds, method)
    expected = scikit_learns_log_loss(labels, np.clip(probabilities, 1e-6, 1 - 1e-6), labels=[0, 1])
    assert fit_calibration(scores, labels, folds, "auto").log_loss[method] == pytest.approx(expected)


# ---------------------------------------------------------------- temperature


@SETTINGS
@given(scored())
def test_temperature_is_a_logistic_regression_without_intercept(films: Films) -> None:
    scores, labels, folds = films
    logits = logit(np.clip(scores, 1e-6, 1 - 1e-6))[:, None]
    oracle = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, solver="newton-cholesky").fit(logits, labels)
    slope = oracle.coef_.item()
    assume(0.06 < slope < 18)
    assert fit_calibration(scores, labels, folds, "temperature").temperature == pytest.approx(1 / slope, rel=1e-3)


def test_temperature_finds_by_how_much_a_model_is_too_sure() -> None:
    scores, labels, folds = simulated(20_000, 2.5)
    result = fit_calibration(scores, labels, folds, "temperature")
    assert result.temperature == pytest.approx(2.5, rel=0.04)
    inner = scores[(scores > 1e-6) & (scores < 1 - 1e-6)]
    np.testing.assert_allclose(result.apply(inner), expit(logit(inner) / result.temperature), rtol=1e-9)


def test_the_temperature_is_where_the_loss_rises_neither_way() -> None:
    """The derivative of the mean loss by 1/T is 0, to six digits."""
    scores, labels, folds = simulated(500, 1.7)
    turned = np.where(labels == 1, -logit(scores), logit(scores))
    slope = brentq(lambda slope: float((turned * expit(turned * slope)).sum()), 0.1, 10, xtol=1e-14)
    assert fit_calibration(scores, labels, folds, "temperature").temperature == pytest.approx(1 / slope, rel=5e-7)


def test_a_half_stays_a_half_and_certainty_is_not_believed() -> None:
    result = Calibration(method="temperature", temperature=2.0)
    assert result.apply(np.array([0.0, 0.5, 0.8, 1.0])) == pytest.approx([1e-3, 0.5, 2 / 3, 1 - 1e-3], rel=1e-2)
    assert 1 - result.apply(np.array([1.0])) == pytest.approx([1e-3], rel=1e-2)
    assert Calibration(method="temperature", temperature=0.05).apply(np.array([0.0, 1.0])).tolist() == [1e-6, 1 - 1e-6]


def test_classes_that_are_parted_or_turned_around_stop_at_the_bounds() -> None:
    scores, folds = np.linspace(0.1, 0.9, 10), np.arange(10) % 2
    labels = (scores > 0.5).astype(np.int64)
    assert fit_calibration(scores, labels, folds, "temperature").temperature == pytest.approx(1 / 20, rel=1e-3)
    assert fit_calibration(scores, 1 - labels, folds, "temperature").temperature == pytest.approx(20, rel=1e-3)


# ---------------------------------------------------------------- isotonic


def test_isotonic_by_hand() -> None:
    """0 | 1 0 | 1: shares 0, 1/2, 1, the outer ones as after four films of one class, 1/6 and 5/6; lines between."""
    result = fit_calibration(
        np.array([0.1, 0.2, 0.4, 0.8] * 2), np.array([0, 1, 0, 1] * 2), np.repeat([0, 1], 4), "isotonic"
    )
    assert result.scores == pytest.approx((0.1, 0.2, 0.4, 0.8))
    assert result.probabilities == pytest.approx((0.1, 0.5, 0.5, 0.9))  # eight films: 1/10 and 9/10
    output = result.apply(np.array([0.0, 0.1, 0.15, 0.3, 0.6, 0.8, 1.0]))
    assert output == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.7, 0.9, 0.9])


@SETTINGS
@given(scored())
def test_isotonic_is_scikit_learns_clipped(films: Films) -> None:
    scores, labels, folds = films
    count = len(scores)
    new = np.linspace(0, 1, 101)
    expected = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    result = fit_calibration(scores, labels, folds, "isotonic")
    at = np.array(result.scores)
    bounds = 1 / (count + 2), (count + 1) / (count + 2)
    np.testing.assert_allclose(result.apply(at), np.clip(expected.predict(at), *bounds), atol=1e-12)
    assert (result.apply(new) >= bounds[0]).all()
    assert (result.apply(new) <= bounds[1]).all()


# ---------------------------------------------------------------- which one


def test_auto_takes_temperature_for_a_model_that_is_only_too_sure() -> None:
    result = fit_calibration(*simulated(400, 2.5), "auto")
    assert result.method == "temperature"
    assert result.log_loss["temperature"] < result.log_loss["isotonic"] < result.log_loss["none"]


def test_auto_takes_isotonic_where_no_temperature_helps() -> None:
    """A score that rises with the probability, but is its fourth power."""
    rng = np.random.default_rng(0)
    truth = rng.random(4000)
    labels = (rng.random(4000) < truth).astype(np.int64)
    result = fit_calibration(truth**4, labels, np.arange(4000) % 5, "auto")
    assert result.method == "isotonic"
    assert result.log_loss["isotonic"] < result.log_loss["temperature"] - 0.02
    grid = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(result.apply(grid**4), grid, atol=0.06)


def test_auto_takes_temperature_where_both_are_as_good() -> None:
    """A model that says a half of every film, and is right: ln 2 either way."""
    result = fit_calibration(np.full(8, 0.5), np.arange(8) % 2, np.arange(8) // 4, "auto")
    assert result.log_loss["temperature"] == result.log_loss["isotonic"] == pytest.approx(np.log(2))
    assert result.method == "temperature"


def test_auto_is_not_taken_in_by_a_good_fit_to_the_films_it_was_fitted_on() -> None:
    """On its own films isotonic always has the smaller loss than on others: 40 films, 20 draws."""
    for seed in range(20):
        scores, labels, folds = simulated(40, 1.0, seed)
        result = fit_calibration(scores, labels, folds, "auto")
        isotonic = fit_calibration(scores, labels, folds, "isotonic")
        assert log_loss(labels, isotonic.apply(scores)) < isotonic.log_loss["isotonic"]
        best = min(("temperature", "isotonic"), key=lambda name: result.log_loss[name])
        assert result.method == best
        assert result.films == 40


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_is_named_is_taken_whatever_the_losses(method: Method) -> None:
    result = fit_calibration(*simulated(100, 2.5), method)
    assert result.method == method
    assert set(result.log_loss) == set(METHODS)


def test_none_changes_nothing() -> None:
    scores, labels, folds = simulated(50, 1.0)
    np.testing.assert_array_equal(fit_calibration(scores, labels, folds, "none").apply(scores), scores)
    np.testing.assert_array_equal(Calibration().apply(np.array([0.0, 1.0])), [0.0, 1.0])


# ---------------------------------------------------------------- from logits to probabilities


@pytest.mark.parametrize("prevalence", [0.01, 0.3, 0.5, 0.9])
def test_a_film_that_speaks_for_neither_class_has_the_prevalence(prevalence: float) -> None:
    assert probabilities_of(np.zeros(1), prevalence) == pytest.approx([prevalence])


def test_probabilities_by_bayes_rule() -> None:
    """Logit ln 4 is 4:1 where half are positive; among 1:3 it is 4:3. Logit −ln 4 is 1:12."""
    assert probabilities_of(np.log([4, 1 / 4]), 0.25) == pytest.approx([4 / 7, 1 / 13])


@pytest.mark.filterwarnings("error")
def test_extreme_logits() -> None:
    result = probabilities_of(np.array([-1e9, -800.0, -30.0, 30.0, 800.0, 1e9]), 0.5)
    assert result[[0, -1]].tolist() == [0.0, 1.0]
    assert result[2] == pytest.approx(np.exp(-30), rel=1e-6)
    assert np.isfinite(result).all()


@SETTINGS
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=20), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_probabilities_rise_with_the_logit_and_with_the_prevalence(logits: list[float], one: float, two: float) -> None:
    low, high = sorted((one, two))
    result = probabilities_of(np.sort(logits), low)
    assert (np.diff(result) >= 0).all()
    assert (probabilities_of(np.sort(logits), high) >= result).all()


# ---------------------------------------------------------------- errors


def test_one_fold_or_one_class_cannot_be_cross_fitted() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match=r"^cross-fitting needs two folds or more$"):
        fit_calibration(scores, np.array([0, 1, 0, 1]), np.zeros(4, np.int64), "auto")
    with pytest.raises(ValueError, match=r"^both classes are needed$"):
        fit_calibration(scores, np.array([0, 1, 0, 0]), np.array([0, 0, 1, 1]), "auto")


@pytest.mark.parametrize(
    "damage",
    [
        {"method": "isotonic"},
        {"method": "isotonic", "scores": [0.1, 0.2], "probabilities": [0.5]},
        {"method": "isotonic", "scores": [0.2, 0.1], "probabilities": [0.4, 0.5]},
        {"method": "isotonic", "scores": [0.1, 0.2], "probabilities": [0.5, 0.4]},
        {"method": "isotonic", "scores": [0.1, 0.2], "probabilities": [0.0, 0.4]},
        {"method": "isotonic", "scores": [0.1, 0.2], "probabilities": [0.1, 1.0]},
        {"method": "isotonic", "scores": [0.1, float("nan")], "probabilities": [0.1, 0.2]},
        {"method": "temperature", "scores": [0.1], "probabilities": [0.1]},
        {"method": "temperature", "temperature": 0.0},
        {"method": "platt"},
        {"slope": 2.0},
    ],
)
def test_a_damaged_calibration_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate(damage)
