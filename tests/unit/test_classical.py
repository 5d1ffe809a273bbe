"""The classical models: against scikit-learn and formulas worked out by hand, without leaks, and to a file and back."""

import json
import zipfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from osteon.errors import OsteonError
from osteon.models.classical.classifiers import fit_classical, load_classical, probabilities, save_classical, soft_vote
from osteon.models.classical.film_features import features_of
from osteon.params import ClassicalName, ClassicalParams, KNearestParams, RandomForestParams, SvmParams

PARAMS = ClassicalParams(components=8, random_forest=RandomForestParams(trees=40), cores=2)
Films = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def films(count: int = 400, seed: int = 0, positive: float = 0.3, features: int = 30) -> Films:
    """Features, labels and groups; two films a group, and a few features that tell the label in part."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < positive).astype(np.int64)
    result = rng.normal(size=(count, features)) * np.linspace(3, 0.5, features)
    result[:, :4] += 2 * labels[:, None]
    return result.astype(np.float32), labels, np.arange(count) // 2


every_model = pytest.mark.parametrize("name", get_args(ClassicalName))


# ---------------------------------------------------------------- by hand


def test_logistic_regression_step_by_step() -> None:
    """Scale, PCA, balanced regression, and a sigmoid fitted to the scores of unseen groups by another optimiser."""
    features, labels, groups = films()
    other, _, _ = films(seed=1)
    weights = np.where(labels == 1, 200 / (labels == 1).sum(), 200 / (labels == 0).sum())

    scale = StandardScaler().fit(features)
    reduction = PCA(8, svd_solver="full").fit(scale.transform(features))
    reduced = reduction.transform(scale.transform(features))

    def taught(rows: NDArray[np.int64]) -> LogisticRegression:
        return LogisticRegression(C=0.01, max_iter=1000).fit(reduced[rows], labels[rows], sample_weight=weights[rows])

    scores = np.empty(400)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=PARAMS.seed)
    for seen, unseen in folds.split(reduced, labels, groups):
        scores[unseen] = taught(seen).decision_function(reduced[unseen])
    # Platt's targets; 200 is each class's weight.
    targets = np.where(labels == 1, 201 / 202, 1 / 202)

    def loss(line: NDArray[np.float64]) -> float:
        z = line[0] * scores + line[1]
        return float((weights * (np.logaddexp(0, z) - targets * z)).sum())

    slope, height = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    z = slope * taught(np.arange(400)).decision_function(reduction.transform(scale.transform(other))) + height
    balanced = 1 / (1 + np.exp(-z))
    expected = balanced * 0.3 / (balanced * 0.3 + (1 - balanced) * 0.7)

    fitted = fit_classical("logistic_regression", features, labels, groups, PARAMS)
    np.testing.assert_allclose(probabilities(fitted, other, 0.3), expected, atol=2e-4)


@settings(deadline=None)
@given(st.floats(0.01, 0.99))
def test_the_prevalence_by_hand(prevalence: float) -> None:
    """Bayes: p·π / (p·π + (1 − p)·(1 − π)), where p was learnt with as many films of each class."""

    class Said:
        def predict_proba(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
            positive = features[:, 0].astype(np.float64)
            return np.column_stack([1 - positive, positive])

    output = np.array([[0.0], [0.25], [0.5], [0.75], [1.0]], np.float32)
    result = probabilities(Said(), output, prevalence)  # type: ignore[arg-type]
    p = output[:, 0].astype(np.float64)
    np.testing.assert_allclose(result, p * prevalence / (p * prevalence + (1 - p) * (1 - prevalence)), rtol=1e-9)
    assert result[2] == pytest.approx(prevalence)


def test_a_soft_vote_by_hand() -> None:
    scores = {"network": np.array([0.2, 1.0]), "svm": np.array([0.4, 0.0]), "k_nearest": np.array([0.9, 0.5])}
    np.testing.assert_allclose(soft_vote(scores), [0.5, 0.5])
    np.testing.assert_array_equal(soft_vote({"svm": scores["svm"]}), scores["svm"])
    with pytest.raises(ValueError, match="same shape"):
        soft_vote({"svm": np.zeros(2), "network": np.zeros(3)})


# ---------------------------------------------------------------- what a probability means


@every_model
def test_probabilities_add_up_whether_the_rarer_class_has_copies_or_not(name: ClassicalName) -> None:
    """Of 1,000 films a share of 0.3 is positive, with copies nearly half of what is learnt from."""
    features, labels, groups = films(600)
    rare = np.flatnonzero(labels)
    more = np.concatenate([np.arange(600), rare])
    noise = np.random.default_rng(5).normal(scale=0.3, size=(len(rare), 30)).astype(np.float32)
    with_copies = np.concatenate([features, features[rare] + noise])
    other, actual, _ = films(1000, seed=1)
    for seen, rows in ((features, np.arange(600)), (with_copies, more)):
        result = probabilities(fit_classical(name, seen, labels[rows], groups[rows], PARAMS), other, labels.mean())
        assert roc_auc_score(actual, result) > 0.68
        assert result.mean() == pytest.approx(actual.mean(), abs=0.05)
        sure = result > 0.5
        assert actual[sure].mean() == pytest.approx(result[sure].mean(), abs=0.1)


@pytest.mark.parametrize("name", ["svm", "random_forest", "k_nearest"])
def test_what_is_learnt_by_heart_does_not_make_sure(name: ClassicalName) -> None:
    """Groups of five near copies, labels by chance: who saw a film's copies would be certain of it, and wrong."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(80), 5)
    labels = np.repeat(rng.integers(0, 2, 80), 5)
    features = (rng.normal(size=(80, 30))[groups] + rng.normal(scale=0.05, size=(400, 30))).astype(np.float32)
    params = ClassicalParams(
        components=20,
        svm=SvmParams(c=100, gamma=1),
        k_nearest=KNearestParams(neighbours=3),
        random_forest=RandomForestParams(trees=40, min_leaf=1),
    )
    fitted = fit_classical(name, features, labels, groups, params)
    unseen = probabilities(fitted, rng.normal(size=(300, 30)).astype(np.float32), 0.5)
    assert 0.25 < unseen.min() <= unseen.max() < 0.75


@every_model
def test_a_model_that_ranks_unseen_films_the_wrong_way_says_what_is_known_without_it(
    name: ClassicalName, caplog: pytest.LogCaptureFixture
) -> None:
    """Few films of noise: the fold that is left out has more of the label that the others have less of."""
    groups = np.repeat(np.arange(12), 2)
    features = np.random.default_rng(0).standard_normal((24, 64)).astype(np.float32)
    model = fit_classical(name, features, groups % 2, groups, ClassicalParams(cores=2))
    np.testing.assert_allclose(probabilities(model, features, 0.3), 0.3)
    assert caplog.messages == [f"{name}: its scores do not rank held-out films; every film gets the prevalence"]


def test_a_class_in_one_group_alone() -> None:
    features, labels, groups = films()
    with pytest.raises(OsteonError, match="svm: each class needs training films of two groups"):
        fit_classical("svm", features, labels, np.where(labels == 1, 0, groups), PARAMS)
    few = fit_classical("svm", features, labels, np.where(labels == 1, groups % 2, groups), PARAMS)
    assert np.isfinite(probabilities(few, features, 0.3)).all()


# ---------------------------------------------------------------- what it learns from


@every_model
def test_the_same_twice(name: ClassicalName) -> None:
    features, labels, groups = films()
    first, second = (fit_classical(name, features, labels, groups, PARAMS) for _ in range(2))
    np.testing.assert_array_equal(probabilities(first, features, 0.3), probabilities(second, features, 0.3))


@every_model
def test_few_films_ask_for_fewer_components_and_neighbours(name: ClassicalName) -> None:
    features, labels, groups = films(24, positive=0.5)
    params = ClassicalParams(components=64, k_nearest=KNearestParams(neighbours=50))
    result = probabilities(fit_classical(name, features, labels, groups, params), features, 0.5)
    assert ((result > 0) & (result < 1)).all()


def test_a_long_list_is_answered_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, groups = films()
    fitted = fit_classical("svm", features, labels, groups, PARAMS)
    whole = probabilities(fitted, features, 0.3)
    monkeypatch.setattr("osteon.models.classical.classifiers.BLOCK", 7)
    np.testing.assert_allclose(probabilities(fitted, features, 0.3), whole, atol=1e-6)
    assert probabilities(fitted, features[:0], 0.3).shape == (0,)


@every_model
def test_broken_bars_are_told_from_whole_ones(name: ClassicalName) -> None:
    """From pixels to probability: bars anywhere on a film of 64 pixels, in half of them a gap."""
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 2
    squares = rng.integers(0, 40, (240, 64, 64)).astype(np.uint8)
    for square, broken in zip(squares, labels, strict=True):
        left, bright = rng.integers(8, 36), rng.integers(90, 200)
        square[:, left : left + 20] += np.uint8(bright)
        if broken:
            top = rng.integers(8, 50)
            square[top : top + 6, left : left + 20] = rng.integers(0, 40, (6, 20))
    features = features_of(squares, 64)
    params = ClassicalParams(components=32, random_forest=RandomForestParams(trees=60))
    fitted = fit_classical(name, features[:160], labels[:160], np.arange(160), params)
    assert roc_auc_score(labels[160:], probabilities(fitted, features[160:], 0.5)) > 0.8


# ---------------------------------------------------------------- to a file and back


@every_model
def test_a_loaded_model_says_the_same(name: ClassicalName, tmp_path: Path) -> None:
    features, labels, groups = films()
    fitted = fit_classical(name, features, labels, groups, PARAMS)
    save_classical(tmp_path / "m.skops", fitted)
    back = load_classical(tmp_path / "m.skops")
    np.testing.assert_array_equal(probabilities(back, features, 0.3), probabilities(fitted, features, 0.3))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "m.skops"
    save_classical(path, fit_classical("logistic_regression", *films(), PARAMS))
    return path


def test_a_file_that_names_another_class_is_refused_before_it_is_loaded(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved) as whole:
        content = {name: whole.read(name) for name in whole.namelist()}
    text = content["schema.json"].decode()
    mark = '"__class__": "_SigmoidCalibration", "__module__": "sklearn.calibration"'
    plain = json.dumps(json.loads(text))
    assert mark in plain
    content["schema.json"] = plain.replace(mark, '"__class__": "Popen", "__module__": "subprocess"').encode()
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as changed:
        for name, data in content.items():
            changed.writestr(name, data)
    with pytest.raises(OsteonError, match=r"holds subprocess\.Popen, which no model of Osteon does"):
        load_classical(tmp_path / "m.skops")


def test_a_file_that_holds_something_else(saved: Path, tmp_path: Path) -> None:
    from skops.io import dump

    dump(StandardScaler(), tmp_path / "m.skops")
    with pytest.raises(OsteonError, match="holds StandardScaler, not a classical model"):
        load_classical(tmp_path / "m.skops")
    with pytest.raises(OsteonError, match="no such model; run the step train"):
        load_classical(tmp_path / "none.skops")


@pytest.mark.parametrize("cut", [0, 10, 1000, -30])
def test_a_cut_file(saved: Path, tmp_path: Path, cut: int) -> None:
    (tmp_path / "m.skops").write_bytes(saved.read_bytes()[:cut])
    with pytest.raises(OsteonError, match=r"damaged model \(.+\); run the step train again"):
        load_classical(tmp_path / "m.skops")
