"""One fold after the other, every model on the same films; what is kept, what is computed again, what is compared."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from components.cross_validation.step import cross_validate
from components.cross_validation.table import table_of
from components.errors import OsteonError
from components.films.folds import rows_in, rows_outside
from components.films.prepared import open_prepared
from components.models.comparison import compare, read_comparison
from components.models.folds import compute_fold
from components.models.out_of_fold import PREDICTIONS, FoldInfo, read_folds, read_predictions
from components.outputs import dvc_hash
from components.params import ClassicalParams, CrossValidationParams
from tests.conftest import Experiment

MODELS = ["network", "svm", "logistic_regression", "soft_vote"]


def run(experiment: Experiment, folder: Path, **changes: object) -> None:
    cross_validate(
        experiment.pipeline.dataset,
        experiment.pipeline.augmented,
        experiment.features,
        experiment.best,
        folder / "folds",
        folder / "report",
        CrossValidationParams(models=["svm", "logistic_regression"]),
        experiment.training.model_copy(update=changes),
        ClassicalParams(components=8),
    )


def test_every_development_film_is_asked_once_by_every_model_and_no_test_film_is(experiment: Experiment) -> None:
    films = open_prepared(experiment.pipeline.dataset).films
    scores = pd.read_parquet(experiment.folds / PREDICTIONS)
    development = films[~films["test"]]
    for model in MODELS:
        part = scores[scores["model"] == model].set_index("film_id")
        assert sorted(part.index) == sorted(development["film_id"])
        assert (part["fold"] == development.set_index("film_id")["fold"].astype(int).loc[part.index]).all()
        assert (part["label"] == development.set_index("film_id")["label"].loc[part.index]).all()
    assert set(scores["model"]) == set(MODELS)
    assert scores["score"].between(0, 1).all()


def test_the_vote_is_the_mean_of_the_others(experiment: Experiment) -> None:
    scores = pd.read_parquet(experiment.folds / PREDICTIONS).pivot(index="film_id", columns="model", values="score")
    expected = scores[["network", "svm", "logistic_regression"]].mean(axis=1)
    np.testing.assert_allclose(scores["soft_vote"], expected, atol=1e-12)


def test_the_network_of_a_fold_gives_the_folds_scores(experiment: Experiment) -> None:
    """So the scores are its own, on films of its fold, and it was saved with the weights that were asked."""
    from components.models.package import load_network, logits_of, probabilities_of

    prepared = open_prepared(experiment.pipeline.dataset)
    rows = rows_in(prepared.films, 1)
    network = load_network(experiment.folds / "fold-1" / "network.keras")
    learnt = prepared.films["label"].to_numpy(float)[rows_outside(prepared.films, 1)].mean()
    found = probabilities_of(logits_of(network, prepared.pixels[rows]), learnt)
    kept = read_predictions(experiment.folds, "network").set_index("film_id")["score"]
    np.testing.assert_allclose(kept.loc[prepared.films["film_id"].iloc[rows]], found, atol=1e-5)


def test_the_comparison_says_what_scikit_learn_says(experiment: Experiment) -> None:
    comparison = read_comparison(experiment.folds)
    scores = pd.read_parquet(experiment.folds / PREDICTIONS)
    for row in comparison.models:
        part = scores[scores["model"] == row.model]
        assert row.auroc.pooled.value == pytest.approx(roc_auc_score(part["label"], part["score"]))
        by_fold = [roc_auc_score(one["label"], one["score"]) for _, one in part.groupby("fold")]
        assert row.auroc.mean == pytest.approx(np.mean(by_fold))
        assert row.auroc.sd == pytest.approx(np.std(by_fold, ddof=1))
    values = {row.model: row.auroc.pooled.value for row in comparison.models}
    assert list(values.values()) == sorted(values.values(), reverse=True)
    for row in comparison.models:
        if row.model == "network":
            assert row.against is None
        else:
            assert row.against.auroc.value == pytest.approx(values["network"] - values[row.model])
    table = pd.read_csv(experiment.report / "comparison.csv")
    pd.testing.assert_frame_equal(table, table_of(comparison), atol=1e-6)
    assert (experiment.report / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_models_are_compared_on_the_same_film_in_whatever_order_it_comes() -> None:
    """Three films a model, the second model's rows upside down."""
    films = pd.DataFrame({"film_id": list("abcd"), "group": list("wxyz"), "label": [0, 1, 0, 1], "fold": [0, 0, 1, 1]})
    network = films.assign(model="network", score=[0.1, 0.9, 0.2, 0.8])
    other = films.assign(model="svm", score=[0.9, 0.1, 0.2, 0.8])[::-1]
    found = compare(pd.concat([network, other], ignore_index=True), {"network": 1.0, "svm": 2.0}, 0.95)
    assert [(row.model, row.auroc.pooled.value) for row in found.models] == [("network", 1.0), ("svm", 0.25)]
    assert found.models[1].against.auroc.value == 0.75
    assert (found.films, found.positive, found.groups, found.folds) == (4, 2, 4, 2)


def test_copies_of_a_folds_films_are_not_learnt_from(experiment: Experiment) -> None:
    prepared, copies = open_prepared(experiment.pipeline.dataset), open_prepared(experiment.pipeline.augmented)
    for info in read_folds(experiment.folds):
        assert info.films == len(rows_outside(prepared.films, info.fold))
        assert info.copies == int((copies.films["fold"] != info.fold).sum()) < len(copies.films)
        assert info.set_aside == 0


def test_films_set_aside_for_stopping_are_not_of_the_fold_that_is_asked(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.models import folds as room

    seen = []
    real = room.learn

    def spy(films, rows, params, checkpoint, watched=None, **rest):  # type: ignore[no-untyped-def]
        seen.append((rows, watched))
        return real(films, rows, params, checkpoint, watched, **rest)

    monkeypatch.setattr(room, "learn", spy)
    run(experiment, tmp_path, patience=1, epochs=1)
    prepared = open_prepared(experiment.pipeline.dataset)
    for fold, (rows, watched) in enumerate(seen):
        others = rows_outside(prepared.films, fold)
        assert sorted([*rows, *watched]) == others.tolist()
        groups = prepared.films["group"].to_numpy(str)
        assert not set(groups[rows]) & set(groups[watched])
    assert [info.set_aside for info in read_folds(tmp_path / "folds")] == [len(watched) for _, watched in seen]


def test_a_killed_cross_validation_computes_no_fold_twice(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from components.cross_validation import step
    from components.models import folds as room

    asked: list[int] = []

    def killed_in_fold_2(films, features, fold, *rest):  # type: ignore[no-untyped-def]
        asked.append(fold)
        if fold == 2 and asked.count(2) == 1:
            raise KeyboardInterrupt
        return compute_fold(films, features, fold, *rest)

    monkeypatch.setattr(room, "compute_fold", killed_in_fold_2)
    with pytest.raises(KeyboardInterrupt):
        run(experiment, tmp_path)
    assert not (tmp_path / "folds").exists()
    partial = tmp_path / ".folds.partial"
    stamps = {fold: (partial / f"fold-{fold}" / "network.keras").stat().st_mtime_ns for fold in (0, 1)}
    (partial / "fold-9").mkdir()  # of another number of folds
    run(experiment, tmp_path)
    assert step.__name__  # the step looks the function up anew in each call
    after = {fold: (tmp_path / "folds" / f"fold-{fold}" / "network.keras").stat().st_mtime_ns for fold in (0, 1)}
    assert stamps == after
    assert not partial.exists()
    assert sorted(path.name for path in (tmp_path / "folds").iterdir() if path.is_dir()) == [
        "fold-0",
        "fold-1",
        "fold-2",
    ]
    assert asked == [0, 1, 2, 0, 1, 2]


def test_a_fold_of_other_parameters_is_computed_again(experiment: Experiment, tmp_path: Path) -> None:
    """Left by a killed call with one epoch; the new call asks for two."""
    left = tmp_path / ".folds.partial" / "fold-0"
    shutil.copytree(experiment.folds / "fold-0", left)
    content = json.loads((left / "fold.json").read_text())
    (left / "fold.json").write_text(json.dumps({**content, "epochs": 77, "fingerprint": "another"}))
    run(experiment, tmp_path)
    assert FoldInfo.model_validate_json((tmp_path / "folds/fold-0/fold.json").read_bytes()).epochs == 2


def test_the_data_steps_do_not_change_what_they_read(experiment: Experiment, tmp_path: Path) -> None:
    before = dvc_hash(experiment.pipeline.dataset), dvc_hash(experiment.features)
    run(experiment, tmp_path)
    assert (dvc_hash(experiment.pipeline.dataset), dvc_hash(experiment.features)) == before


def test_missing_and_damaged_results_are_said(tmp_path: Path, experiment: Experiment) -> None:
    with pytest.raises(OsteonError, match="no folds there; run the step cross_validate"):
        read_folds(tmp_path)
    with pytest.raises(OsteonError, match=r"comparison\.json is missing"):
        read_comparison(tmp_path)
    with pytest.raises(OsteonError, match="no out-of-fold scores of k_nearest, only of network, svm"):
        read_predictions(experiment.folds, "k_nearest")
