"""Which models saw a film: real models in a real store, in two experiments, and once behind a real server."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput

from components.cli.show_lineage import print_lineage
from components.steps import STEPS
from osteon.contract import Input, Output, Summary, describe
from osteon.errors import OsteonError
from osteon.films.manifest import read_manifest
from osteon.films.prepared.array import open_prepared
from osteon.models.package.package import FILMS
from osteon.params import EvaluationParams, Params, TrainingParams
from osteon.records import lineage, runs
from osteon.records.film_lineage import FilmSearch, films_of, models_that_saw
from osteon.records.logged_model import log_model
from tests.command import osteon
from tests.conftest import Pipeline
from tests.making import packaged
from tests.unit.conftest import use_store

# One worker makes the models for all tests that ask about them.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("seen")]  # several models, each packaged and recorded

# The seed names the fold whose films chose the model; see pack.
PARAMS = Params(evaluation=EvaluationParams(resamples=100), training=TrainingParams(seed=1))


class Nothing(Summary):
    films: int = 0


def pack(
    dataset: Annotated[Path, Input("films")],
    model: Annotated[Path, Output("the packaged model", "model")],
    params: TrainingParams,
) -> Nothing:
    """A training in which nothing is learned. One fold chose the model, as it did in Osteon's first version."""
    films = open_prepared(dataset).films
    packaged(model, seed=params.seed)
    films = films.loc[~films["test"], ["film_id", "sha256", "md5", "fold"]]
    roles = films["fold"].eq(params.seed).map({True: "validation", False: "train"})
    if params.seed == 0:  # as from another set, in which one of the films has another id
        last = films.index[films["fold"] == 2][-1]
        films.loc[last, "film_id"] = "renamed"
    films.drop(columns="fold").assign(role=roles).to_csv(model / FILMS, index=False)
    runs.log_at_end(lambda: log_model(model))
    return Nothing()


@dataclass
class Store:
    """Three models of Osteon and one of somebody else; the first is measured, registered and somebody's champion."""

    client: MlflowClient
    folder: Path
    films: pd.DataFrame
    first: str
    second: str
    old: str

    def of(self, **values: object) -> pd.Series:
        """A film of a fold, or of the test set."""
        rows = self.films
        for name, value in values.items():
            rows = rows[(rows[name] == value).fillna(False)]
        return rows.iloc[0]


@pytest.fixture(scope="module")
def made(
    pipeline: Pipeline, beside: dict[str, Path], empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    folder = tmp_path_factory.mktemp("seen")
    with pytest.MonkeyPatch.context() as monkeypatch:
        client = use_store(folder, empty_store, monkeypatch)

        def trained(name: str, params: Params) -> str:
            runs.run_step(describe(pack), {"dataset": pipeline.dataset, "model": folder / name}, params)
            experiments = [item.experiment_id for item in client.search_experiments()]
            return str(client.search_logged_models(experiments, max_results=1)[0].model_id)

        first = trained("first", PARAMS)
        paths = {
            "model": folder / "first",
            "dataset": pipeline.dataset,
            **beside,
            "report": folder / "report",
        }
        runs.run_step(STEPS["evaluate"], paths, PARAMS)
        mlflow.register_model(f"models:/{first}", "fracture")
        client.set_registered_model_alias("fracture", "champion", "1")

        # Its own experiment, and every film of fold 1 among those it learned from.
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
        second = trained("second", Params(training=TrainingParams(seed=0)))

        experiment = client.get_experiment_by_name("osteon").experiment_id
        old = client.create_run(experiment, tags={lineage.STEP: "train"}).info.run_id
        foreign = client.create_run(experiment).info.run_id
        unlisted = client.create_logged_model(experiment, source_run_id=old).model_id
        client.log_outputs(old, [LoggedModelOutput(unlisted, step=0)])
        client.create_logged_model(experiment, source_run_id=foreign)
    return Store(client, folder, open_prepared(pipeline.dataset).films, first, second, str(unlisted))


@pytest.fixture
def store(made: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{made.folder / 'mlflow.db'}")
    monkeypatch.chdir(made.folder)
    return made


def seen(result: FilmSearch) -> list[tuple[str, str]]:
    return [(model.model_id, role) for model, role in result.seen]


def test_a_film_is_found_in_each_role(store: Store) -> None:
    taught = models_that_saw(str(store.of(fold=2)["film_id"]))
    assert seen(taught) == [(store.first, "train"), (store.second, "train")]
    chose = models_that_saw(str(store.of(fold=1)["film_id"]))
    assert seen(chose) == [(store.first, "validation"), (store.second, "train")]
    # The second model was not measured yet.
    measured = models_that_saw(str(store.of(test=True)["film_id"]))
    assert seen(measured) == [(store.first, "test")]
    film = store.of(test=True)
    assert measured.contents == [(film["film_id"], film["sha256"], film["md5"])]


def test_a_film_that_has_another_id_elsewhere_is_found_there_too(store: Store) -> None:
    film = store.films[(store.films["fold"] == 2).fillna(False)].iloc[-1]
    for requested in (film["film_id"], "renamed", film["sha256"]):
        result = models_that_saw(str(requested))
        assert seen(result) == [(store.first, "train"), (store.second, "train")]
        assert {name for name, *_ in result.contents} == {film["film_id"], "renamed"}


def test_a_model_is_named_as_people_know_it_and_others_models_are_left_out(store: Store) -> None:
    result = models_that_saw(str(store.of(fold=2)["film_id"]))
    first, second = (model for model, _ in result.seen)
    assert first.registered == ("fracture/1@champion",)
    assert second.registered == ()
    assert first.run_id == store.client.get_logged_model(store.first).source_run_id
    assert result.models == 3
    assert [model.model_id for model in result.unknown] == [store.old]


def test_a_film_is_known_by_hash_by_the_beginning_of_one_and_by_its_file(
    store: Store, pipeline: Pipeline, tmp_path: Path
) -> None:
    film = store.of(fold=1)
    expected = [(store.first, "validation"), (store.second, "train")]
    for requested in (film["sha256"], film["md5"], film["md5"][:8], film["sha256"][:8].upper()):
        assert seen(models_that_saw(str(requested))) == expected
    paths = read_manifest(pipeline.manifest).set_index("film_id")["path"]
    copy = tmp_path / "another name.png"
    shutil.copy(pipeline.source / str(paths[film["film_id"]]), copy)
    assert seen(models_that_saw(str(copy))) == expected
    copy.write_bytes(copy.read_bytes() + b"\0")
    assert seen(models_that_saw(str(copy))) == []
    assert seen(models_that_saw(str(film["md5"][:7]))) == []  # too short to mean a film
    assert seen(models_that_saw("f" * 64)) == []


def test_digits_that_fit_several_films_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteon.records.film_lineage.FEWEST_DIGITS", 1)
    digit = str(store.films["sha256"].iloc[0])[0]
    with pytest.raises(OsteonError, match=rf"^{digit} matches \d+ films; give more digits, or the film's id$"):
        models_that_saw(digit)


def test_a_model_leads_to_the_md5_of_every_film(store: Store) -> None:
    for what in ("models:/fracture/1", "models:/fracture@champion", store.first):
        films = films_of(what)
        assert len(films) == len(store.films)  # each has one role
        merged = films.merge(store.films, on="film_id", suffixes=("", "_prepared"))
        assert merged["md5"].tolist() == merged["md5_prepared"].tolist()
        assert (merged["role"] == "test").tolist() == merged["test"].tolist()
        assert ((merged["role"] == "validation") == (merged["fold"] == 1).fillna(False)).all()
    with pytest.raises(
        OsteonError,
        match=(
            r"there is no list of films with m-\w+; it was made before lists were kept, or "
            r"its files are gone$"
        ),
    ):
        films_of(store.old)


def test_an_evaluation_leads_to_the_model_it_measured(store: Store) -> None:
    (run,) = store.client.search_runs(
        [store.client.get_experiment_by_name("osteon").experiment_id], "tags.`osteon.step` = 'evaluate'"
    )
    assert len(films_of(run.info.run_id)) == len(store.films)


def test_what_lineage_tells_of_a_model_has_its_films(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    print_lineage("models:/fracture/1", as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["films"] == films_of("models:/fracture/1").to_dict("records")
    (measured,) = shown["evaluations"]
    assert store.client.get_run(measured).data.tags[lineage.STEP] == "evaluate"
    assert {film["role"] for film in shown["films"]} == {"train", "validation", "test"}
    print_lineage(store.old, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["films"], shown["evaluations"]) == (None, [])  # no list was kept


def told_of(store: Store, *words: str) -> subprocess.CompletedProcess[str]:
    return osteon(store.folder, "lineage", *words, columns=60)


def test_the_command_answers_in_words_and_in_json(store: Store) -> None:
    film = store.of(fold=1)
    done = told_of(store, "--film", str(film["film_id"]))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"film    {film['film_id']}", f"sha256  {film['sha256']}", f"md5     {film['md5']}"]
    assert re.fullmatch(
        rf"{store.first}  chosen by it    made 20[0-9-]{{8}} [0-9:]{{5}} UTC  fracture/1@champion", lines[3]
    )
    assert lines[-2] == "2 of 2 models saw it"
    assert lines[-1].startswith(f"unknown {store.old}, made 20")
    shown = json.loads(told_of(store, "--film", str(film["md5"]), "--json").stdout)
    assert [(item["model"], item["role"]) for item in shown["seen"]] == [
        (store.first, "validation"),
        (store.second, "train"),
    ]
    listed = told_of(store, "models:/fracture/1", "--films").stdout.splitlines()
    assert listed[0] == "film_id,sha256,md5,role"
    assert f"{film['film_id']},{film['sha256']},{film['md5']},validation" in listed


def test_a_film_that_nobody_saw_is_an_answer_and_no_error(store: Store) -> None:
    done = told_of(store, "--film", "never")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "no model of this store saw never, of 2 that keep a list"


@pytest.mark.parametrize("words", [(), ("run", "--film", "f"), ("--film", "f", "--films")])
def test_the_command_wants_one_thing(store: Store, words: tuple[str, ...]) -> None:
    done = told_of(store, *words)
    assert done.returncode == 2
    assert "give RUN_OR_MODEL" in done.stderr


def test_a_server_keeps_the_list_too(
    mlflow_address: str, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another folder than the one where the model was made."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_address)
    monkeypatch.chdir(tmp_path)
    runs.run_step(describe(pack), {"dataset": pipeline.dataset, "model": tmp_path / "model"}, PARAMS)
    shutil.rmtree(tmp_path / "model")
    films = open_prepared(pipeline.dataset).films
    (film, *_) = films[(films["fold"] == 0).fillna(False)]["film_id"]
    ((model, role),) = models_that_saw(str(film)).seen
    assert role == "train"
    assert len(films_of(model.model_id)) == int((~films["test"]).sum())
    # Gone is not the same as not seen.
    for path in (tmp_path / "kept").rglob(FILMS):
        path.unlink()
    result = models_that_saw(str(film))
    assert (result.seen, [item.model_id for item in result.unknown]) == ([], [model.model_id])


def test_an_evaluation_whose_films_are_gone_is_no_answer(store: Store) -> None:
    (predictions,) = store.folder.rglob("artifacts/report/predictions.csv")
    hidden = predictions.rename(predictions.with_name("hidden"))
    try:
        with pytest.raises(OsteonError, match=r"predictions\.csv: this list of films cannot be read"):
            models_that_saw(str(store.of(fold=2)["film_id"]))
    finally:
        hidden.rename(predictions)
