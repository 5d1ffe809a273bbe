"""No leak: which films and copies models are really given, by the rows that are read, in folds, search and training.

A film that a model is asked about, a copy of one, another film of its group or a test film is never among those that
it is trained on; all others are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from numpy.typing import NDArray

from components.search.trials import classical_trial, network_trial
from osteon.films.prepared.array import PreparedFilms
from osteon.films.prepared.folds import development_rows, rows_in, rows_outside
from osteon.models.best_hyperparameters import BestHyperparameters
from osteon.models.classical.film_features import FeatureInfo, FilmFeatures
from osteon.models.fitting.train_network import TrainingData, open_training_data, train_network
from osteon.models.heldout.fold import compute_fold
from osteon.params import ClassicalParams, TrainingParams
from tests.conftest import Pipeline
from tests.tiny_network import tiny_networks

TRAINING = TrainingParams(width=8, epochs=1, patience=0, batch_size=16, precision="float32")
CLASSICAL = ClassicalParams(components=4)


@pytest.fixture(autouse=True)
def no_network_of_a_size() -> Iterator[None]:
    with tiny_networks():
        yield


class RowsRead:
    """An array that writes down which of its rows are read."""

    def __init__(self, array: Any) -> None:
        self.array, self.rows = array, set[int]()

    def __getitem__(self, rows: Any) -> Any:
        self.rows |= set(np.atleast_1d(rows).tolist())
        return self.array[rows]

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)


@dataclass(frozen=True)
class Watched:
    """Films and features from the files on the disk, and the rows of each that have been read."""

    films: TrainingData
    features: FilmFeatures

    @property
    def table(self) -> pd.DataFrame:
        return self.films.prepared.films

    def read(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The films and the copies whose pixels or features have been read since the last call."""
        tables = []
        for prepared, described in (
            (self.films.prepared, self.features.films),
            (self.films.copies, self.features.copies),
        ):
            arrays: list[Any] = [prepared.pixels, described]
            tables.append(prepared.films.iloc[sorted(set().union(*(array.rows for array in arrays)))])
            for array in arrays:
                array.rows.clear()
        return tables[0], tables[1]


@pytest.fixture
def watched(pipeline: Pipeline, tmp_path: Path) -> Watched:
    """From what prepare and augment wrote; the features are random numbers."""
    films = open_training_data(pipeline.dataset, pipeline.augmented, TRAINING, BestHyperparameters())
    rng = np.random.default_rng(3)
    described = [
        RowsRead(rng.normal(size=(len(prepared.films), 8)).astype(np.float32))
        for prepared in (films.prepared, films.copies)
    ]
    info = FeatureInfo(image_size=64, parts={"random": 8}, films=len(described[0]), copies=len(described[1]))
    prepared, copies = (
        PreparedFilms(RowsRead(part.pixels), part.films)  # type: ignore[arg-type]
        for part in (films.prepared, films.copies)
    )
    return Watched(
        replace(films, prepared=prepared, copies=copies),
        FilmFeatures(described[0], described[1], info),  # type: ignore[arg-type]
    )


def ids(films: pd.DataFrame) -> set[str]:
    return set(films["film_id"])


def assert_trained_on(watched: Watched, rows: NDArray[np.int64], held_out: NDArray[np.int64]) -> None:
    """What has been read are these rows and all of their copies; and nothing of the films held out, or of the test."""
    films, copies = watched.read()
    table, all_copies = watched.table, watched.films.copies.films
    wanted = table.iloc[rows]
    assert ids(films) == ids(wanted)
    assert len(copies) == int(all_copies["film_id"].isin(wanted["film_id"]).sum()) > 0
    assert ids(copies) <= ids(wanted)
    forbidden = pd.concat([table.iloc[held_out], table[table["test"]]])
    for table_read in (films, copies):
        assert not ids(table_read) & ids(forbidden)
        assert not set(table_read["group"]) & set(forbidden["group"])


def all_batches(batches: Any) -> None:
    """Read as many epochs as show every film."""
    for epoch in range(4):
        batches.epoch = epoch
        for number in range(len(batches)):
            _ = batches[number]


def test_the_batches_of_every_fold_are_of_the_other_folds_films_and_copies(watched: Watched) -> None:
    for fold in (0, 1, 2):
        rows, held_out = rows_outside(watched.table, fold), rows_in(watched.table, fold)
        all_batches(watched.films.batches(rows, TRAINING))
        assert_trained_on(watched, rows, held_out)


def test_the_batches_of_the_final_training_are_of_all_development_films(watched: Watched) -> None:
    rows = development_rows(watched.table)
    all_batches(watched.films.batches(rows, TRAINING))
    assert_trained_on(watched, rows, np.empty(0, np.int64))


def test_a_classical_model_of_every_fold_is_given_the_other_folds_films_and_copies(watched: Watched) -> None:
    for fold in (0, 1, 2):
        rows, held_out = rows_outside(watched.table, fold), rows_in(watched.table, fold)
        _, labels, groups = watched.films.described(watched.features, rows, CLASSICAL)
        assert not set(groups) & set(watched.table["group"].iloc[held_out])
        assert len(labels) == len(groups)
        assert_trained_on(watched, rows, held_out)


@contextmanager
def during(monkeypatch: pytest.MonkeyPatch, target: str, watched: Watched) -> Iterator[list[tuple[Any, Any]]]:
    """What has been read when a function is called that is given the last that a model is trained on."""
    seen: list[tuple[Any, Any]] = []
    module, name = target.rsplit(".", 1)
    real = getattr(__import__(module, fromlist=[name]), name)

    def spy(*arguments: Any, **named: Any) -> Any:
        seen.append(watched.read())
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(target, spy)
        yield seen


def assert_nothing_of(held_out: pd.DataFrame, *tables: pd.DataFrame) -> None:
    for table in tables:
        assert not ids(table) & ids(held_out)
        assert not set(table["group"]) & set(held_out["group"])


@pytest.mark.parametrize("patience", [0, 1])
def test_a_fold_trains_on_nothing_of_its_own_films_and_asks_about_no_test_film(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int
) -> None:
    """The whole of compute_fold: what is read until the network is trained, and until the classical model is."""
    params = TRAINING.model_copy(update={"patience": patience, "epochs": 3})
    held_out = watched.table.iloc[rows_in(watched.table, 1)]
    test = watched.table[watched.table["test"]]
    with (
        during(monkeypatch, "osteon.models.heldout.fold.with_embedding", watched) as network,
        during(monkeypatch, "osteon.models.heldout.fold.reduce_features", watched) as classical,
    ):
        compute_fold(watched.films, watched.features, 1, tmp_path / "fold", params, CLASSICAL, ["logistic_regression"])
    ((films, copies),) = network
    assert_nothing_of(pd.concat([held_out, test]), films, copies)
    outside = watched.table.iloc[rows_outside(watched.table, 1)]
    assert ids(films) == ids(outside)  # those set aside for stopping are measured on
    assert len(copies) > 0
    ((films, copies),) = classical
    # Between the two, the network was asked about the held-out films; copies are read for training alone.
    assert_nothing_of(pd.concat([held_out, test]), copies)
    assert ids(copies) == ids(watched.films.copies.films) & ids(outside)
    assert_nothing_of(test, films)
    films, copies = watched.read()
    assert ids(films) == ids(held_out)
    assert copies.empty


def test_a_trial_of_the_search_trains_on_nothing_of_the_fold_it_is_measured_on(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.create_study(direction="maximize")
    held_out = watched.table.iloc[rows_in(watched.table, 0)]
    test = watched.table[watched.table["test"]]
    network_trial(watched.films, [0], TRAINING, {}, tmp_path)(study.ask())
    films, copies = watched.read()
    assert_nothing_of(test, films, copies)
    assert_nothing_of(held_out, copies)
    assert ids(films) <= ids(watched.table[~watched.table["test"]])
    with during(monkeypatch, "components.search.trials.probabilities", watched) as given:
        classical_trial("logistic_regression", watched.films, watched.features, [0], CLASSICAL, {})(study.ask())
    (_, copies) = given[0]
    assert_nothing_of(pd.concat([held_out, test]), copies)
    assert len(copies) > 0


def test_the_final_training_reads_every_development_film_and_no_test_film(watched: Watched, tmp_path: Path) -> None:
    rows = development_rows(watched.table)
    train_network(watched.films, rows, TRAINING.model_copy(update={"epochs": 3}), tmp_path / "checkpoint")
    films, copies = watched.read()
    assert ids(films) == ids(watched.table.iloc[rows])
    assert_nothing_of(watched.table[watched.table["test"]], films, copies)
    assert ids(copies) <= ids(films)
