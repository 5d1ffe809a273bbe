"""One fold after the other, every model on the same films; what is kept, what is computed again, what is compared."""

import dataclasses
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score

from components.cross_validation.side_by_side import processes
from components.cross_validation.step import cross_validate
from components.cross_validation.table import table_of
from osteon.errors import OsteonError
from osteon.files import dvc_hash, write_checksums
from osteon.films.prepared.array import open_prepared
from osteon.films.prepared.folds import rows_in, rows_outside
from osteon.models.best_hyperparameters import read_best_hyperparameters
from osteon.models.classical.classifiers import fit_classical, probabilities
from osteon.models.classical.film_features import open_features
from osteon.models.fitting.train_network import TrainingData, open_training_data
from osteon.models.heldout import fold as room
from osteon.models.heldout.comparison import compare, read_comparison
from osteon.models.heldout.fold import compute_fold
from osteon.models.heldout.predictions import PREDICTIONS, FoldInfo, read_folds, read_predictions
from osteon.params import ClassicalParams, CrossValidationParams
from osteon.records import runs
from osteon.records.store_address import tracking_uri
from tests.command import python
from tests.conftest import Experiment
from tests.tiny_network import tiny_networks
from tests.unit.conftest import use_store

# One worker makes the experiment's folds for all tests that look at them.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("experiment")]  # minutes of training

MODELS = ["network", "svm", "logistic_regression", "soft_vote"]
CLASSICAL = ClassicalParams(components=8)


@pytest.fixture(autouse=True)
def no_network_of_a_size() -> Iterator[None]:
    """In this process. Folds side by side have processes of their own."""
    with tiny_networks():
        yield


def run(experiment: Experiment, folder: Path, at_once: int = 1, **changes: object) -> None:
    cross_validate(
        experiment.pipeline.dataset,
        experiment.pipeline.augmented,
        experiment.features,
        experiment.best,
        folder / "folds",
        folder / "report",
        CrossValidationParams(models=["svm", "logistic_regression"], at_once=at_once),
        experiment.training.model_copy(update=changes),
        CLASSICAL,
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
    from osteon.models.inference.predict import logits_with_flip_tta
    from osteon.models.networks.network_files import load_network
    from osteon.statistics.calibration import probabilities_of

    prepared = open_prepared(experiment.pipeline.dataset)
    rows = rows_in(prepared.films, 1)
    network = load_network(experiment.folds / "fold-1" / "network.keras")
    learnt = prepared.films["label"].to_numpy(float)[rows_outside(prepared.films, 1)].mean()
    result = probabilities_of(logits_with_flip_tta(network, prepared.pixels[rows]), learnt)
    kept = read_predictions(experiment.folds, "network").set_index("film_id")["score"]
    np.testing.assert_allclose(kept.loc[prepared.films["film_id"].iloc[rows]], result, atol=1e-5)


def test_a_classical_model_of_a_fold_learns_from_the_others_films_and_copies(experiment: Experiment) -> None:
    films, features = learning_films(experiment), open_features(experiment.features)
    others, requested = (rows(films.prepared.films, 1) for rows in (rows_outside, rows_in))
    copies = films.copies.films["fold"].ne(1).to_numpy(bool)
    learnt = pd.concat([films.prepared.films.iloc[others], films.copies.films[copies]])
    estimator = fit_classical(
        "svm",
        np.concatenate([features.films[others], features.copies[copies]]),
        learnt["label"].to_numpy(np.int64),
        learnt["group"].to_numpy(object),
        CLASSICAL,
    )
    prevalence = films.prepared.films["label"].iloc[others].mean()
    kept = read_predictions(experiment.folds, "svm").set_index("film_id")["score"]
    np.testing.assert_allclose(
        kept.loc[films.prepared.films["film_id"].iloc[requested]],
        probabilities(estimator, features.films[requested], prevalence),
        atol=1e-9,
    )
    np.testing.assert_array_equal(np.concatenate(list(features.blocks(requested, 7))), features.films[requested])


def test_the_comparison_says_what_scikit_learn_says(experiment: Experiment) -> None:
    comparison = read_comparison(experiment.folds)
    scores = pd.read_parquet(experiment.folds / PREDICTIONS)
    for row in comparison.models:
        part = scores[scores["model"] == row.model]
        assert row.auroc.pooled.value == pytest.approx(roc_auc_score(part["label"], part["score"]))
        by_fold = [roc_auc_score(item["label"], item["score"]) for _, item in part.groupby("fold")]
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
    result = compare(pd.concat([network, other], ignore_index=True), {"network": 1.0, "svm": 2.0}, 0.95)
    assert [(row.model, row.auroc.pooled.value) for row in result.models] == [("network", 1.0), ("svm", 0.25)]
    assert result.models[1].against.auroc.value == 0.75
    assert (result.films, result.positive, result.groups, result.folds) == (4, 2, 4, 2)


def test_copies_of_a_folds_films_are_not_learnt_from(experiment: Experiment) -> None:
    prepared, copies = open_prepared(experiment.pipeline.dataset), open_prepared(experiment.pipeline.augmented)
    for info in read_folds(experiment.folds):
        assert info.films == len(rows_outside(prepared.films, info.fold))
        assert info.copies == int((copies.films["fold"] != info.fold).sum()) < len(copies.films)
        assert info.set_aside == 0


def learning_films(experiment: Experiment) -> TrainingData:
    return open_training_data(
        experiment.pipeline.dataset,
        experiment.pipeline.augmented,
        experiment.training,
        read_best_hyperparameters(experiment.best),
    )


def of_fold(experiment: Experiment, folder: Path, fold: int, **changes: object) -> FoldInfo:
    """One fold's network alone."""
    training = experiment.training.model_copy(update=changes)
    return compute_fold(
        learning_films(experiment), open_features(experiment.features), fold, folder, training, CLASSICAL, []
    )


def test_classical_models_are_shown_films_and_copies_or_so_many_of_them_drawn(experiment: Experiment) -> None:
    films, features = learning_films(experiment), open_features(experiment.features)
    rows = rows_outside(films.prepared.films, 1)
    copies = np.flatnonzero(films.copies.films["film_id"].isin(films.prepared.films["film_id"].iloc[rows]))
    everything = np.concatenate([features.films[rows], features.copies[copies]])
    tables = pd.concat([films.prepared.films.iloc[rows], films.copies.films.iloc[copies]])
    result, labels, groups = films.described(features, rows, CLASSICAL)
    np.testing.assert_array_equal(result, everything)
    assert labels.tolist() == tables["label"].tolist()
    assert groups.tolist() == tables["group"].tolist()

    few = CLASSICAL.model_copy(update={"max_films": 40})
    result, labels, groups = films.described(features, rows, few)
    drawn = np.sort(np.random.default_rng(few.seed).choice(len(everything), 40, replace=False))
    assert (drawn < len(rows)).any()
    assert (drawn >= len(rows)).any()
    np.testing.assert_array_equal(result, everything[drawn])
    assert labels.tolist() == tables["label"].iloc[drawn].tolist()
    assert groups.tolist() == tables["group"].iloc[drawn].tolist()
    other, _, _ = films.described(features, rows, few.model_copy(update={"seed": 1}))
    assert (other != result).any()


def test_films_set_aside_for_stopping_are_not_of_the_fold_that_is_asked(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SeenError(Exception):
        pass

    seen = []
    real = room.train_network

    def spy(films, rows, params, checkpoint, validation_rows=None, **rest):  # type: ignore[no-untyped-def]
        seen.append((rows, validation_rows))
        if len(seen) < 3:
            raise SeenError
        return real(films, rows, params, checkpoint, validation_rows, **rest)

    monkeypatch.setattr(room, "train_network", spy)
    for fold in (0, 1):
        with pytest.raises(SeenError):
            of_fold(experiment, tmp_path / f"{fold}", fold, patience=1, epochs=1)
    info = of_fold(experiment, tmp_path / "2", 2, patience=1, epochs=1)
    films = open_prepared(experiment.pipeline.dataset).films
    groups = films["group"].to_numpy(str)
    for fold, (rows, validation_rows) in enumerate(seen):
        assert sorted([*rows, *validation_rows]) == rows_outside(films, fold).tolist()
        assert not set(groups[rows]) & set(groups[validation_rows])
    rows, validation_rows = seen[2]
    assert (info.films, info.set_aside, info.epochs) == (len(rows), len(validation_rows), 1)
    assert pd.read_csv(tmp_path / "2" / "history.csv")["watched_auroc"].between(0, 1).all()
    # Without classical models there is nobody to vote with.
    scores = pd.read_parquet(tmp_path / "2" / PREDICTIONS)
    assert scores["model"].tolist() == ["network"] * len(rows_in(films, 2))


def test_a_killed_cross_validation_goes_on_in_the_fold_it_was_in(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two folds are done; the third is killed after its first epoch."""
    partial = tmp_path / ".folds.partial"
    for fold in (0, 1):
        shutil.copytree(experiment.folds / f"fold-{fold}", partial / f"fold-{fold}")
    (partial / "fold-9").mkdir()  # of another number of folds
    shown: list[int | None] = []

    def killed_after_the_first_epoch(figures: dict[str, float], step: int | None = None) -> None:
        shown.append(step)
        if len(shown) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(runs, "log_metrics", killed_after_the_first_epoch)
    stamps = {fold: (partial / f"fold-{fold}" / "network.keras").stat().st_mtime_ns for fold in (0, 1)}
    with pytest.raises(KeyboardInterrupt):
        run(experiment, tmp_path)
    assert not (tmp_path / "folds").exists()
    caplog.clear()  # another test may have let INFO through
    with caplog.at_level("INFO"):
        run(experiment, tmp_path)
    output = [message for message in caplog.messages if message.startswith(("fold", "computed"))]
    assert output == ["fold 0", "computed already", "fold 1", "computed already", "fold 2"]
    assert "continuing after epoch 1" in caplog.text
    assert shown[-1] == 2
    assert stamps == {
        fold: (tmp_path / "folds" / f"fold-{fold}" / "network.keras").stat().st_mtime_ns for fold in (0, 1)
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folds", "report"]
    for folder in (experiment.folds, *(experiment.folds / f"fold-{fold}" for fold in range(3))):
        again = tmp_path / "folds" / folder.relative_to(experiment.folds)
        assert sorted(path.name for path in again.iterdir()) == sorted(path.name for path in folder.iterdir())
    # The end is that of a call that nobody killed.
    order = ["model", "film_id"]
    ours, theirs = (
        pd.read_parquet(folder / PREDICTIONS).sort_values(order, ignore_index=True)
        for folder in (tmp_path / "folds", experiment.folds)
    )
    learnt = ours["model"].isin(["network", "soft_vote"])
    for rows, allowed in ((learnt, 0.1), (~learnt, 1e-3)):
        pd.testing.assert_frame_equal(ours[rows], theirs[rows], rtol=0, atol=allowed)


def test_a_fold_of_other_parameters_is_computed_again_and_nothing_that_was_read_changes(
    experiment: Experiment, tmp_path: Path
) -> None:
    """Left by a killed call with another number of epochs."""
    before = dvc_hash(experiment.pipeline.dataset), dvc_hash(experiment.features)
    for fold in range(3):
        left = tmp_path / ".folds.partial" / f"fold-{fold}"
        shutil.copytree(experiment.folds / f"fold-{fold}", left)
    content = json.loads((tmp_path / ".folds.partial" / "fold-0" / "fold.json").read_text())
    fingerprint = {**content["fingerprint"], "backend": "another"}
    other = {**content, "epochs": 77, "fingerprint": fingerprint}
    (tmp_path / ".folds.partial" / "fold-0" / "fold.json").write_text(json.dumps(other))
    write_checksums(tmp_path / ".folds.partial" / "fold-0")
    run(experiment, tmp_path)
    infos = read_folds(tmp_path / "folds")
    assert infos[0].model_dump(exclude={"seconds"}) == {
        key: value for key, value in content.items() if key != "seconds"
    }
    assert infos[0].seconds != content["seconds"]
    assert infos[1:] == read_folds(experiment.folds)[1:]
    assert (dvc_hash(experiment.pipeline.dataset), dvc_hash(experiment.features)) == before


def test_what_a_fold_was_computed_from_decides_whether_it_is_computed_again(experiment: Experiment) -> None:
    """By the fingerprint: each thing that changes the result changes it."""
    features = open_features(experiment.features)
    films = learning_films(experiment)
    usual = (films, features, 1, experiment.training, CLASSICAL, ["svm"])
    info = features.info.model_copy(update={"image_size": 96})
    others = [
        (0, dataclasses.replace(films, fingerprint="other films")),
        (0, dataclasses.replace(films, limits=films.limits.model_copy(update={"rotation": 1.5}))),
        (0, dataclasses.replace(films, types=["oblique", "transverse"])),
        (1, dataclasses.replace(features, info=info)),
        (2, 2),
        (3, experiment.training.model_copy(update={"learning_rate": 0.1})),
        (4, CLASSICAL.model_copy(update={"components": 9})),
        (5, []),
    ]
    made = [room._fingerprint(*(*usual[:place], value, *usual[place + 1 :])) for place, value in others]
    assert len({part.digest for part in (room._fingerprint(*usual), *made)}) == 1 + len(others)
    assert room._fingerprint(*usual) == room._fingerprint(*usual)


def test_missing_and_damaged_results_are_said(tmp_path: Path, experiment: Experiment) -> None:
    with pytest.raises(OsteonError, match="no folds there; run the step cross_validate"):
        read_folds(tmp_path)
    with pytest.raises(OsteonError, match=r"comparison\.json is missing"):
        read_comparison(tmp_path)
    with pytest.raises(OsteonError, match="no out-of-fold scores of k_nearest, only of network, svm"):
        read_predictions(experiment.folds, "k_nearest")


# ---------------------------------------------------------------- side by side


@pytest.fixture(scope="module")
def side_by_side(
    experiment: Experiment, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, MlflowClient, str]:
    """The folds that two processes computed, and the run that was recorded: its store and its id."""
    folder = tmp_path_factory.mktemp("side_by_side")
    with pytest.MonkeyPatch.context() as monkeypatch:
        client = use_store(folder, empty_store, monkeypatch)
        run_id = client.create_run(client.create_experiment("folds"), run_name="cross_validate").info.run_id
        with runs.joined(runs.RecordedRun(tracking_uri(), run_id)):
            run(experiment, folder, at_once=2)
    return folder / "folds", client, run_id


@pytest.fixture(scope="module")
def one_after_the_other(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folds with the networks that processes of their own have."""
    folder = tmp_path_factory.mktemp("one_after_the_other")
    run(experiment, folder)
    return folder / "folds"


@pytest.mark.slow
def test_folds_side_by_side_are_the_folds_one_after_the_other(
    one_after_the_other: Path, side_by_side: tuple[Path, MlflowClient, str]
) -> None:
    """But for rounding, and the seconds: each process has fewer threads.

    What rounding does to a network grows while it learns: on one kind of processor a fold's scores moved by 0.034
    with one thread instead of two, on another by less than 0.001. With as many threads they are the same.
    """
    folds, _, _ = side_by_side
    order = ["model", "film_id"]
    ours, theirs = (
        pd.read_parquet(folder / PREDICTIONS).sort_values(order, ignore_index=True)
        for folder in (folds, one_after_the_other)
    )
    learnt = ours["model"].isin(["network", "soft_vote"])
    for rows, allowed in ((learnt, 0.1), (~learnt, 1e-3)):
        pd.testing.assert_frame_equal(ours[rows], theirs[rows], rtol=0, atol=allowed)
    for item, other in zip(read_folds(folds), read_folds(one_after_the_other), strict=True):
        assert item.model_dump(exclude={"seconds"}) == other.model_dump(exclude={"seconds"})


@pytest.mark.slow
def test_the_process_of_a_fold_that_is_killed_ends_the_step_with_advice(experiment: Experiment, tmp_path: Path) -> None:
    """The system kills the largest process when memory is out. What was done is kept, and the next call goes on."""
    partial = tmp_path / ".folds.partial"

    def kill_one() -> None:
        while not list(partial.glob(".fold-*.partial/checkpoint/*")):
            time.sleep(0.05)
        children = psutil.Process().children(recursive=True)
        max(children, key=lambda item: item.memory_info().rss).kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(OsteonError, match=r"cross_validation\.at_once to 1"):
        run(experiment, tmp_path, at_once=2, epochs=40)
    killer.join()
    assert not (tmp_path / "folds").exists()
    assert partial.is_dir()


@pytest.mark.slow
def test_folds_side_by_side_are_runs_below_the_step(side_by_side: tuple[Path, MlflowClient, str]) -> None:
    _, client, run_id = side_by_side
    below = client.search_runs([client.get_run(run_id).info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    assert sorted(item.info.run_name for item in below) == ["fold 0", "fold 1", "fold 2"]
    assert {item.info.status for item in below} == {"FINISHED"}
    for item in below:
        assert [point.step for point in client.get_metric_history(item.info.run_id, "loss")] == [1, 2]


@pytest.mark.parametrize(
    ("asked", "folds", "gpu", "expected"),
    [(3, 5, False, 3), (9, 5, False, 5), (0, 5, True, 1), (2, 5, True, 2), (1, 5, False, 1)],
)
def test_how_many_folds_at_once(asked: int, folds: int, gpu: bool, expected: int) -> None:
    assert processes(asked, folds, gpu=gpu) == expected


@pytest.mark.parametrize(
    ("cores", "gigabytes", "expected"),
    [
        (2, 100, 3),  # 1½ turns and 1; by twos there would be 3, one core idle in the last
        (2, 8, 2),
        (4, 100, 5),  # 1¼ turns; by fours there would be 2
        (4, 7, 2),
        (8, 100, 5),
        (1, 100, 1),
        (5, 1, 1),
    ],
)
def test_as_many_folds_at_once_as_keep_all_cores_busy_and_have_memory(
    monkeypatch: pytest.MonkeyPatch, cores: int, gigabytes: int, expected: int
) -> None:
    monkeypatch.setattr("components.cross_validation.side_by_side.cpu_count", lambda: cores)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=gigabytes * 2**30))
    assert processes(0, 5, gpu=False) == expected


PARENT = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from components.cross_validation.side_by_side import end_with_parent
executor = ProcessPoolExecutor(1, get_context("forkserver"), initializer=end_with_parent)
print(executor.submit(os.getpid).result(), flush=True)
executor.submit(time.sleep, 60)
time.sleep(0.5)
os._exit(0)
"""


def test_a_process_does_not_outlive_the_step_it_works_for(tmp_path: Path) -> None:
    orphan = int(python(tmp_path, "-c", PARENT).stdout)
    for _ in range(100):
        if not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    psutil.Process(orphan).kill()
    raise AssertionError("it goes on working")


@pytest.mark.slow
def test_no_fold_is_waited_for_when_another_cannot_be_computed(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / ".folds.partial").mkdir()
    (tmp_path / ".folds.partial" / ".fold-1.partial").write_text("no folder")
    with pytest.raises(FileExistsError, match=r"fold-1\.partial"):
        run(experiment, tmp_path, at_once=2, epochs=1000, patience=0)
    assert not [child for child in psutil.Process().children(recursive=True) if child.cpu_percent(0.5) > 10]
