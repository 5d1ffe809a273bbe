"""The step search, on real trainings of two epochs."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from mlflow import MlflowClient

from components.search.step import search
from components.search.study import report
from components.steps import STEPS
from osteon.errors import OsteonError
from osteon.files import partial_path
from osteon.models.best_hyperparameters import BestHyperparameters, read_best_hyperparameters
from osteon.params import ClassicalParams, FeatureParams, Params, SearchParams, TrainingParams
from osteon.records import lineage
from osteon.records import runs as tracking
from tests.command import ROOT
from tests.conftest import Pipeline
from tests.making import search_space
from tests.tiny_network import tiny_networks
from tests.unit.conftest import use_store

# One worker makes the search and the features for all tests that look at them.
searched = pytest.mark.xdist_group("searched")
TRAINING = TrainingParams(width=8, epochs=2, batch_size=8, precision="float32")
SMALL = SearchParams(
    trials=3,
    classical_trials=4,
    epochs=0,
    space=search_space(
        training={"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
        augmentation={"rotation": {"low": 0.0, "high": 20.0}},
        logistic_regression={"c": {"low": 1e-4, "high": 1.0, "log": True}},
    ),
)
CLASSICAL = ClassicalParams(components=8)


@pytest.fixture(scope="module")
def features(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from components.features.step import features as describe_films

    folder = tmp_path_factory.mktemp("described") / "features"
    describe_films(pipeline.dataset, pipeline.augmented, folder, FeatureParams(image_size=64))
    return folder


@pytest.fixture(scope="module")
def store(
    pipeline: Pipeline, features: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, MlflowClient]]:
    """A search that was recorded: its output's folder, and the store."""
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as monkeypatch:
        client = use_store(folder, empty_store, monkeypatch)
        paths = {"dataset": pipeline.dataset, "augmented": pipeline.augmented, "features": features}
        params = Params(search=SMALL, training=TRAINING, classical=CLASSICAL)
        with tiny_networks():
            tracking.run_step(STEPS["search"], {**paths, "best": folder / "best"}, params)
        yield folder / "best", client


@searched
def test_a_search_writes_the_best_and_how_it_came_to_it(store: tuple[Path, MlflowClient]) -> None:
    best, _ = store
    assert not partial_path(best).exists()
    assert sorted(path.name for path in best.iterdir()) == ["best.yaml", "plots", "search.json", "trials.csv"]
    table = pd.read_csv(best / "trials.csv")
    assert table["model"].value_counts().to_dict() == {"network": 3, "logistic_regression": 4}
    network, classical = (part for _, part in table.groupby("model", sort=False))

    # The file's own values were the first of each.
    first = network.iloc[0]
    assert (first["training.learning_rate"], first["augmentation.rotation"]) == (TRAINING.learning_rate, 10.0)
    assert (first["state"], first["done"], first["own_values"]) == ("complete", 2, True)
    assert classical.iloc[0]["logistic_regression.c"] == CLASSICAL.logistic_regression.c

    result = read_best_hyperparameters(best)
    won = network[network["state"] == "complete"].sort_values("auroc", ascending=False, kind="stable").iloc[0]
    assert result.training == {"learning_rate": pytest.approx(won["training.learning_rate"], rel=1e-5)}
    assert result.over_training(TRAINING).learning_rate == result.training["learning_rate"]
    assert result.augmentation["rotation"] == pytest.approx(won["augmentation.rotation"], rel=1e-5)
    assert set(result.classical) == {"logistic_regression"}
    assert result.over_classical(CLASSICAL).logistic_regression.c == result.classical["logistic_regression"]["c"]

    infos = {info["model"]: info for info in json.loads((best / "search.json").read_text())}
    assert infos["network"]["auroc"] == pytest.approx(won["auroc"], abs=1e-5)
    assert infos["network"]["auroc"] >= infos["network"]["own_auroc"]
    assert infos["network"]["done"] == network["done"].sum()
    assert infos["logistic_regression"]["not_drawn"]["steps"] == "a trial has one of folds only"
    plots = {path.stem for path in (best / "plots").iterdir()}
    drawable = {"history", "steps", "parameters", "importance"}
    for model, info in infos.items():
        assert {name for name in drawable if f"{model}_{name}" in plots} == drawable - set(info["not_drawn"])
    assert {"network_history", "network_steps"} <= plots


@searched
def test_a_classical_trials_figure_is_the_models_auroc_on_the_fold(
    store: tuple[Path, MlflowClient], pipeline: Pipeline, features: Path
) -> None:
    """Counted again by hand: learnt from the other folds and their copies, asked about fold 0."""
    from sklearn.metrics import roc_auc_score

    from osteon.films.prepared.array import open_prepared
    from osteon.models.classical.classifiers import fit_classical, probabilities
    from osteon.models.classical.film_features import open_features

    films, copies = (open_prepared(item).films for item in (pipeline.dataset, pipeline.augmented))
    described = open_features(features)
    requested = (films["fold"] == 0).fillna(False).to_numpy(bool)
    others = films["fold"].isin([1, 2]).to_numpy(bool)
    copied = copies["film_id"].isin(films["film_id"][others]).to_numpy(bool)
    learnt = pd.concat([films[others], copies[copied]])
    estimator = fit_classical(
        "logistic_regression",
        np.concatenate([described.films[others], described.copies[copied]]),
        learnt["label"].to_numpy(np.int64),
        learnt["group"].to_numpy(object),
        CLASSICAL,
    )
    auroc = roc_auc_score(films["label"][requested], probabilities(estimator, described.films[requested], 0.3))
    table = pd.read_csv(store[0] / "trials.csv")
    assert table[table["model"] == "logistic_regression"]["auroc"].iloc[0] == pytest.approx(auroc, abs=1e-5)


@searched
def test_every_trial_is_a_run_below_the_steps(store: tuple[Path, MlflowClient]) -> None:
    best, client = store
    (experiment,) = client.search_experiments(filter_string="name = 'osteon'")
    runs = client.search_runs([experiment.experiment_id])
    (step,) = (run for run in runs if run.info.run_name == "search")
    below = {run.info.run_name: run for run in runs if run is not step}
    table = pd.read_csv(best / "trials.csv")
    assert set(below) == {f"{row.model} trial {row.trial}" for row in table.itertuples()}
    for row in table.to_dict("records"):
        run = below[f"{row['model']} trial {row['trial']}"]
        assert run.data.tags["mlflow.parentRunId"] == step.info.run_id
        assert run.data.tags["osteon.trial"] == row["state"]
        for tag in (lineage.STEP, lineage.PROCESS, lineage.COMMIT):
            assert run.data.tags[tag] == step.data.tags[tag]
        assert run.info.status == "FINISHED"
        assert ("auroc" in run.data.metrics) == True  # noqa: E712
        if row["model"] == "network":
            assert float(run.data.params["training.learning_rate"]) == pytest.approx(
                row["training.learning_rate"], rel=1e-5
            )
            steps = [item.step for item in client.get_metric_history(run.info.run_id, "watched_auroc")]
            assert steps == list(range(1, row["done"] + 1))
    assert step.data.metrics["trials"] == 7
    assert step.data.metrics["auroc.network"] == pytest.approx(
        table[(table["model"] == "network") & (table["state"] == "complete")]["auroc"].max(), abs=1e-5
    )
    assert "best/plots" in [item.path for item in client.list_artifacts(step.info.run_id, "best")]


def test_without_trials_nothing_is_tried_and_no_network_loaded(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from osteon.params import ClassicalParams, SearchParams, TrainingParams
        from components.search.step import search
        nowhere = Path("nowhere")
        params = SearchParams(trials=0, classical_trials=0)
        print(search(nowhere, nowhere, nowhere, Path(sys.argv[1]), params, TrainingParams(), ClassicalParams()).line())
        assert not {"tensorflow", "keras", "optuna", "sklearn"} & set(sys.modules)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "best")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trials 0")
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["best.yaml"]
    assert read_best_hyperparameters(tmp_path / "best") == BestHyperparameters()


@searched
def test_more_folds_than_there_are_is_said(pipeline: Pipeline, features: Path, tmp_path: Path) -> None:
    params = SMALL.model_copy(update={"folds": 4})
    with pytest.raises(OsteonError, match=r"search\.folds = 4: there are 3 folds, see preparation\.folds"):
        search(pipeline.dataset, pipeline.augmented, features, tmp_path / "best", params, TRAINING, CLASSICAL)


KILLED = """
    import sys
    from pathlib import Path
    from tests.unit.test_search import CLASSICAL, LONG, TWICE, search
    search(*map(Path, sys.argv[1:]), TWICE, LONG, CLASSICAL)
"""
LONG = TRAINING.model_copy(update={"epochs": 3})
TWICE = SMALL.model_copy(update={"trials": 2, "classical_trials": 0, "folds": 2})


@pytest.mark.slow
@searched
def test_a_killed_search_goes_on_in_the_middle_of_its_trial(
    pipeline: Pipeline,
    features: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from osteon.models.networks.backend import load_keras

    load_keras()
    from components.search import trials as room

    best = tmp_path / "best"
    paths = [pipeline.dataset, pipeline.augmented, features, best]
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED), *map(str, paths)], cwd=ROOT)
    checkpoint = partial_path(best) / "trials" / "trial-0" / "fold-1" / "state.json"
    since = time.monotonic()
    while not checkpoint.exists():
        assert process.poll() is None
        assert time.monotonic() - since < 300
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not best.exists()

    reported: dict[int, list[int]] = {}

    def noted(trial: optuna.Trial, value: float, step: int, steps: int) -> None:
        reported.setdefault(trial.number, []).append(step)
        report(trial, value, step, steps)

    monkeypatch.setattr(room, "report", noted)
    with caplog.at_level(logging.INFO):
        summary = search(*paths, TWICE, LONG, CLASSICAL)
    assert summary.trials == 2
    table = pd.read_csv(best / "trials.csv")
    # Number 0 was killed, 1 has its values, its place, and what it had learnt already.
    assert table["trial"].tolist() == [1, 2]
    assert table["own_values"].tolist() == [True, False]
    assert caplog.text.count("continuing after epoch 3") == 1  # the first fold was whole
    assert "epoch 1 of 3" not in caplog.text.split("trial 2")[0]
    assert reported[1] == list(range(1, 7))
    assert table["done"].iloc[0] == 6
    assert sorted(path.name for path in best.iterdir()) == ["best.yaml", "plots", "search.json", "trials.csv"]
