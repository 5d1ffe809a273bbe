"""The search: its space, its study under kills and among workers, and the step on real trainings of two epochs."""

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
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState
from pydantic import ValidationError

from components import run_lineage, tracking
from components.errors import OsteonError
from components.models.searched import Best, read_best
from components.outputs import partial_path
from components.params import (
    AugmentationParams,
    ClassicalParams,
    FeatureParams,
    Params,
    Range,
    SearchParams,
    SearchSpace,
    SvmParams,
    TrainingParams,
    flatten,
    without_password,
)
from components.search.report import Searched, describe, draw_plots, trials_table
from components.search.space import Distributions, as_best, distributions, own_values, suggest
from components.search.step import search
from components.search.study import OWN, best_trial, finished, open_study, opened, report, work
from components.steps import STEPS
from tests.conftest import Pipeline
from tests.unit.conftest import use_store

ROOT = Path(__file__).parents[2]
X = distributions("svm", {"c": Range(low=0.1, high=10.0, log=True)}, SvmParams())


def space(**parts: Any) -> SearchSpace:
    """A space of these sections alone."""
    empty: dict[str, Any] = {name: {} for name in SearchSpace.model_fields}
    return SearchSpace.model_validate({**empty, **parts})


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


# ---------------------------------------------------------------- the space


def drawn(searched: Distributions, trials: int = 60) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [suggest(study.ask(), searched) for _ in range(trials)]


def test_whole_keys_are_drawn_whole_and_multiples_as_multiples() -> None:
    searched = distributions(
        "training",
        {"width": Range(low=8, high=40), "learning_rate": Range(low=1e-4, high=1e-1, log=True)},
        TrainingParams(),
    )
    tried = drawn(searched)
    assert {one["training.width"] for one in tried} == {8, 16, 24, 32, 40}
    assert {type(one["training.width"]) for one in tried} == {int}
    rates = [one["training.learning_rate"] for one in tried]
    assert {type(rate) for rate in rates} == {float}
    # By log a third of the draws lies in each decade; evenly, nine of ten would lie in the last.
    assert 10 < sum(rate < 1e-3 for rate in rates) < 30
    for one in tried:
        as_best(one).over_training(TrainingParams())


def test_choices_keep_their_types() -> None:
    searched = distributions(
        "training", {"network": ["compact", "plain"], "dropout": [0.1, 0.2, 0.5]}, TrainingParams()
    )
    tried = drawn(searched)
    assert {one["training.network"] for one in tried} == {"compact", "plain"}
    assert {one["training.dropout"] for one in tried} == {0.1, 0.2, 0.5}
    mirror = distributions("augmentation", {"mirror": [False]}, AugmentationParams())
    assert {one["augmentation.mirror"] for one in drawn(mirror)} == {True, False}


def test_the_space_reaches_to_the_values_of_the_file() -> None:
    """They are tried first, so they must be in it."""
    params = TrainingParams(width=64, weight_decay=0.9)
    searched = distributions("training", {"width": [8, 16], "weight_decay": Range(low=0.1, high=0.2)}, params)
    assert searched["training.width"] == optuna.distributions.CategoricalDistribution([8, 16, 64])
    assert searched["training.weight_decay"] == optuna.distributions.FloatDistribution(0.1, 0.9)
    assert own_values("training", {"width": [8]}, params) == {"training.width": 64}


def test_zero_cannot_be_reached_by_log() -> None:
    with pytest.raises(OsteonError, match=r"search\.space\.training\.weight_decay: 0.* cannot be drawn by log"):
        distributions("training", {"weight_decay": Range(low=0.1, high=0.2, log=True)}, TrainingParams(weight_decay=0))


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({"training": {"width": [16, 20]}}, "training.width = 20: .*multiple of 8"),
        ({"training": {"learning_rate": {"low": 0.1, "high": 2.0}}}, "training.learning_rate = 2.0"),
        ({"training": {"rate": [1.0]}}, "training.rate: no key that can be searched"),
        ({"training": {"epochs": [5, 10]}}, "training.epochs: no key that can be searched"),
        ({"training": {"seed": [1, 2]}}, "training.seed: no key that can be searched"),
        ({"augmentation": {"copies": [0, 1]}}, "augmentation.copies: no key that can be searched"),
        ({"training": {"network": ["compakt"]}}, "training.network = 'compakt'"),
        ({"training": {"width": {"low": 8.5, "high": 16}}}, "low and high must be whole"),
        ({"training": {"width": {"low": 8, "high": 64, "log": True}}}, "multiples of 8 cannot be drawn by log"),
        ({"augmentation": {"mirror": {"low": 0, "high": 1}}}, "augmentation.mirror = 0.0"),
        ({"svm": {"c": {"low": 3.0, "high": 1.0}}}, "low must be less than high"),
    ],
)
def test_a_space_that_cannot_be_tried_is_refused(part: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        space(**part)


def test_a_trials_values_go_back_to_their_sections() -> None:
    assert as_best({"training.width": 8, "augmentation.gamma": 0.1, "svm.c": 2.0, "svm.gamma": 1.0}) == Best(
        training={"width": 8}, augmentation={"gamma": 0.1}, classical={"svm": {"c": 2.0, "gamma": 1.0}}
    )


# ---------------------------------------------------------------- the database


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://karl:s3cret@host:5432/studies", "postgresql://host:5432/studies"),
        ("postgresql://karl:s3@c/ret@host/studies?password=s3cret", "postgresql://host/studies"),
        ("sqlite:////data/study.db", "sqlite:////data/study.db"),
        ("data/phantoms", "data/phantoms"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
    flat = flatten(Params.model_validate({"search": {"storage": url}}))
    assert flat["search.storage"] == shown
    assert "s3" not in str(flat)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://karl:s3cret@localhost:1/studies",  # no driver here, or nobody answers
        "nonsense://karl:s3cret@localhost/studies",
        "no url",
        "sqlite:////nowhere/at/all/study.db",
    ],
)
def test_a_database_that_cannot_be_used_is_said_without_its_password(url: str) -> None:
    with pytest.raises(OsteonError, match=r"search\.storage: the database .* cannot be used") as said, opened(url):
        pass
    assert "s3cret" not in str(said.value)
    assert "karl" not in str(said.value)
    assert said.value.__cause__ is None


# ---------------------------------------------------------------- a study


def bowl(trial: optuna.Trial) -> float:
    """Best at c = 1."""
    return 1 - float(np.log10(suggest(trial, X)["svm.c"])) ** 2


def test_the_same_seed_tries_the_same_and_another_does_not(tmp_path: Path) -> None:
    tried = []
    for number, seed in enumerate((1, 1, 2)):
        with opened(f"sqlite:///{tmp_path / f'{number}.db'}") as storage:
            study = open_study(storage, "s", "f", 1, alone=True)
            work(study, bowl, 14, seed)  # more than the ten that are drawn at random
            tried.append([trial.params["svm.c"] for trial in study.trials])
    assert tried[0] == tried[1]
    assert len(set(tried[0])) == 14
    assert not set(tried[0]) & set(tried[2])


def test_an_interrupted_search_goes_on_to_the_same_trials(tmp_path: Path) -> None:
    """Interrupted in the third trial: it is tried again, and what follows is what would have followed."""
    with opened(f"sqlite:///{tmp_path / 'whole.db'}") as storage:
        whole = open_study(storage, "s", "f", 1, alone=True)
        work(whole, bowl, 6, 7)
        expected = [trial.params for trial in finished(whole)]

    def interrupted(trial: optuna.Trial) -> float:
        value = bowl(trial)
        if trial.number == 2:
            raise KeyboardInterrupt
        return value

    for measure in (interrupted, bowl):
        with opened(f"sqlite:///{tmp_path / 'again.db'}") as storage:
            study = open_study(storage, "s", "f", 1, alone=True)
            if measure is interrupted:
                with pytest.raises(KeyboardInterrupt):
                    work(study, measure, 6, 7)
            else:
                work(study, measure, 6, 7)
                work(study, measure, 6, 7)  # nothing more to do
                assert [trial.params for trial in finished(study)] == expected
                assert [trial.number for trial in finished(study)] == [0, 1, 3, 4, 5, 6]
                assert study.trials[3].system_attrs["retry_history"] == [2]


def test_a_trial_that_kills_its_worker_each_time_is_given_up(url: str) -> None:
    for _ in range(4):
        with opened(url) as storage:
            study = open_study(storage, "s", "f", 1, alone=True)
            suggest(study.ask(), X)  # and never heard of again
    with opened(url) as storage:
        study = open_study(storage, "s", "f", 1, alone=True)
        work(study, bowl, 1, 7)
        # Three retries, then another trial takes its place.
        assert [trial.state.name for trial in study.trials] == ["FAIL"] * 4 + ["COMPLETE"]
        assert [trial.system_attrs.get("retry_history") for trial in study.trials] == [
            None,
            [0],
            [0, 1],
            [0, 1, 2],
            None,
        ]


def test_an_error_ends_the_search_and_is_not_hidden(url: str) -> None:
    def broken(trial: optuna.Trial) -> float:
        suggest(trial, X)
        raise RuntimeError("no such layer")

    with opened(url) as storage:
        study = open_study(storage, "s", "f", 1, alone=True)
        with pytest.raises(RuntimeError, match="no such layer"):
            work(study, broken, 3, 7)
        assert [trial.state for trial in finished(study)] == [TrialState.FAIL]
        work(study, bowl, 3, 7)
        assert [trial.state.name for trial in finished(study)] == ["FAIL"] + ["COMPLETE"] * 3


def test_a_study_of_other_films_is_begun_anew_or_refused(url: str) -> None:
    with opened(url) as storage:
        work(open_study(storage, "s", "these films", 1, alone=True), bowl, 2, 7)
        with pytest.raises(OsteonError, match=r"search\.study: 's' in sqlite.* was begun with other films"):
            open_study(storage, "s", "other films", 1, alone=False)
        assert len(open_study(storage, "s", "these films", 1, alone=False).trials) == 2
        assert open_study(storage, "s", "other films", 1, alone=True).trials == []


def curves(trial: optuna.Trial) -> float:
    """Fifty steps; what is far from 1 is worse from the first."""
    value = bowl(trial)
    for step in range(1, 51):
        report(trial, value * step / 50, step, 50)
    return value


def test_what_is_worse_is_pruned_early_and_the_files_own_values_never(url: str, tmp_path: Path) -> None:
    with opened(url) as storage:
        study = open_study(storage, "s", "f", 50, alone=True)
        for c in (1.0, 9.0, 0.2, 8.0, 0.9):
            study.enqueue_trial({"svm.c": c})
        study.enqueue_trial({"svm.c": 10.0}, user_attrs={OWN: True})
        work(study, curves, 16, 7)
        trials = study.trials
        assert trials[0].state == TrialState.COMPLETE
        assert (trials[5].state, trials[5].last_step) == (TrialState.COMPLETE, 50)
        pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
        assert len(pruned) > 3
        assert {trial.last_step for trial in pruned} == {6, 18}  # a ninth and a third of the way
        best = best_trial(trials)
        assert best is not None
        assert best.value == max(trial.value for trial in trials if trial.state == TrialState.COMPLETE)

        searched = Searched("svm", study, "epochs", 50)
        table, info = trials_table([searched]), describe(searched)
        assert list(table["state"]).count("pruned") == info.pruned == len(pruned)
        assert table["done"].sum() == info.done == sum(trial.last_step or 0 for trial in trials)
        assert info.asked == 16 * 50
        assert info.saved() == f"{800 - info.done} of 800 epochs saved by pruning"
        assert table[table["own_values"]]["svm.c"].tolist() == [10.0]
        assert info.own_auroc == pytest.approx(trials[5].value)
        assert draw_plots(searched, tmp_path, 1) == {}
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        f"svm_{name}.png" for name in ("history", "importance", "parameters", "steps")
    ]


def test_of_equals_the_earliest_is_best_so_the_files_own_values_stay(url: str) -> None:
    with opened(url) as storage:
        study = open_study(storage, "s", "f", 1, alone=True)
        work(study, lambda trial: suggest(trial, X) and 0.5, 4, 7)  # type: ignore[arg-type, return-value]
        best = best_trial(study.trials)
        assert best is not None
        assert best.number == 0


def test_what_cannot_be_drawn_is_said(url: str, tmp_path: Path) -> None:
    with opened(url) as storage:
        study = open_study(storage, "s", "f", 1, alone=True)

        def measure(trial: optuna.Trial) -> float:
            value = bowl(trial)
            report(trial, value, 1, 1)
            return value

        work(study, measure, 1, 7)
        missing = draw_plots(Searched("svm", study, "folds", 1), tmp_path, 1)
    assert missing == {
        "steps": "a trial has one of folds only",
        "parameters": "complete trials: 1, needed: 2",
        "importance": "complete trials: 1, needed: 4",
    }
    assert [path.name for path in tmp_path.glob("*.png")] == ["svm_history.png"]


# ---------------------------------------------------------------- several workers

WORKER = """
    import os, sys, time
    from components.search import study as room
    from components.search.space import distributions, suggest
    from components.params import Range, SvmParams
    room.HEARTBEAT, room.GRACE, room.PAUSE = 1, 6, 0.1
    X = distributions("svm", {"c": Range(low=0.1, high=10.0, log=True)}, SvmParams())
    url, trials, hangs = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "hangs"

    def measure(trial):
        value = suggest(trial, X)["svm.c"]
        trial.set_user_attr("worker", os.getpid())
        print("begun", flush=True)
        time.sleep(600 if hangs else 0.1)
        return value

    with room.opened(url) as storage:
        study = room.open_study(storage, "s", "f", 1, alone=False)
        room.work(study, measure, trials, 7)
        print(room.best_trial(room.finished(study)).params)
"""


def worker(url: str, trials: int, how: str = "") -> subprocess.Popen[str]:
    code = textwrap.dedent(WORKER)
    command = [sys.executable, "-c", code, url, str(trials), how]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_workers_share_a_study_and_take_over_what_a_dead_one_left(url: str) -> None:
    with opened(url) as storage:
        open_study(storage, "s", "f", 1, alone=False)  # the tables are there before the workers are
    dead = worker(url, 8, "hangs")
    assert dead.stdout is not None
    assert dead.stdout.readline() == "begun\n"
    dead.kill()
    dead.wait()
    workers = [worker(url, 8) for _ in range(2)]
    answers = []
    for one in workers:
        out, error = one.communicate(timeout=300)
        assert one.returncode == 0, error[-2000:]
        answers.append(out.splitlines()[-1])
    assert answers[0] == answers[1]  # each waited until all was done
    with opened(url) as storage:
        study = open_study(storage, "s", "f", 1, alone=False)
        trials = study.trials
        assert sum(trial.state == TrialState.COMPLETE for trial in trials) == 8
        assert len(finished(study)) == 8
    assert trials[0].state == TrialState.FAIL
    (again,) = (trial for trial in trials if trial.system_attrs.get("retry_history") == [0])
    assert again.params == trials[0].params
    assert {trial.user_attrs["worker"] for trial in finished(study)} == {one.pid for one in workers}
    assert len({trial.params["svm.c"] for trial in finished(study)}) == 8


# ---------------------------------------------------------------- the step

# One worker makes the search and the features for all tests that look at them.
searched = pytest.mark.xdist_group("searched")
TRAINING = TrainingParams(width=8, epochs=2, batch_size=8, precision="float32")
SMALL = SearchParams(
    trials=3,
    classical_trials=4,
    epochs=0,
    space=space(
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

    found = read_best(best)
    won = network[network["state"] == "complete"].sort_values("auroc", ascending=False, kind="stable").iloc[0]
    assert found.training == {"learning_rate": pytest.approx(won["training.learning_rate"], rel=1e-5)}
    assert found.over_training(TRAINING).learning_rate == found.training["learning_rate"]
    assert found.augmentation["rotation"] == pytest.approx(won["augmentation.rotation"], rel=1e-5)
    assert set(found.classical) == {"logistic_regression"}
    assert found.over_classical(CLASSICAL).logistic_regression.c == found.classical["logistic_regression"]["c"]

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

    from components.films.prepared import open_prepared
    from components.models.classical import fit_classical, probabilities
    from components.models.film_features import open_features

    films, copies = (open_prepared(one).films for one in (pipeline.dataset, pipeline.augmented))
    described = open_features(features)
    asked = (films["fold"] == 0).fillna(False).to_numpy(bool)
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
    auroc = roc_auc_score(films["label"][asked], probabilities(estimator, described.films[asked], 0.3))
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
        for tag in (run_lineage.STEP, run_lineage.PROCESS, run_lineage.COMMIT):
            assert run.data.tags[tag] == step.data.tags[tag]
        assert run.info.status == "FINISHED"
        assert ("auroc" in run.data.metrics) == True  # noqa: E712
        if row["model"] == "network":
            assert float(run.data.params["training.learning_rate"]) == pytest.approx(
                row["training.learning_rate"], rel=1e-5
            )
            steps = [one.step for one in client.get_metric_history(run.info.run_id, "watched_auroc")]
            assert steps == list(range(1, row["done"] + 1))
    assert step.data.metrics["trials"] == 7
    assert step.data.metrics["auroc.network"] == pytest.approx(
        table[(table["model"] == "network") & (table["state"] == "complete")]["auroc"].max(), abs=1e-5
    )
    assert "best/plots" in [one.path for one in client.list_artifacts(step.info.run_id, "best")]


def test_without_trials_nothing_is_tried_and_no_network_loaded(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from components.params import ClassicalParams, SearchParams, TrainingParams
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
    assert read_best(tmp_path / "best") == Best()


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


@searched
def test_a_killed_search_goes_on_in_the_middle_of_its_trial(
    pipeline: Pipeline,
    features: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from components.models.backend import load_keras

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
    with caplog.at_level(logging.INFO, logger="components"):
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
