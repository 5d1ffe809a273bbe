"""What is recorded of a step, in a real store; one step through a real server, one model loaded in a new process."""

import json
import os
import platform
import re
import subprocess
import sys
import textwrap
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import mlflow
import numpy as np
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from components.cli.show_lineage import print_lineage
from components.steps import STEPS
from osteon.contract import Input, Output, Summary, describe
from osteon.environment import describe_environment, uncommitted_code_warning
from osteon.errors import OsteonError
from osteon.files import dvc_hash
from osteon.models.package.package import example_film, open_package
from osteon.params import (
    DataParams,
    EvaluationParams,
    Params,
    PreparationParams,
    TrainingParams,
    ValidationParams,
    flatten,
)
from osteon.records import lineage, pipeline_run
from osteon.records import runs as tracking
from osteon.records.logged_model import log_model
from tests.command import osteon
from tests.conftest import Pipeline
from tests.making import encoded, packaged, ramp
from tests.unit.conftest import use_store

PARAMS = Params(
    validation=ValidationParams(min_side=32),
    preparation=PreparationParams(image_size=64, folds=3),
    evaluation=EvaluationParams(resamples=100),
)


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A store of the test's own, and its folder the current one."""
    return use_store(tmp_path, empty_store, monkeypatch)


def runs_of(client: MlflowClient) -> list[Run]:
    """All runs, the first first."""
    (experiment,) = client.search_experiments(filter_string="name = 'osteon'")
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


def step_of(run: Run) -> str:
    return str(run.data.tags[lineage.STEP])


def ingest(source: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    manifest = folder / "manifest.parquet"
    tracking.run_step(STEPS["ingest"], {"source": source, "manifest": manifest}, PARAMS)
    return manifest


# ---------------------------------------------------------------- a pipeline run


@dataclass
class Recorded:
    """A pipeline run of three steps, and a second one that had only the last to do."""

    client: MlflowClient
    source: Path
    folder: Path
    runs: dict[str, Run] = field(default_factory=dict)  # of the first pipeline run
    again: dict[str, Run] = field(default_factory=dict)  # of the second

    def path(self, name: str) -> Path:
        return self.source if name == "source" else self.folder / name


@pytest.fixture(scope="module")
def two_runs(phantoms: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as monkeypatch:
        result = Recorded(use_store(folder, empty_store, monkeypatch), phantoms, folder)

        def run(name: str) -> None:
            step = STEPS[name]
            tracking.run_step(step, {path: result.path(path) for path in step.paths}, PARAMS)

        monkeypatch.setenv("OSTEON_PASS", "one")
        for name in ("ingest", "validate", "prepare"):
            run(name)
        result.runs = {step_of(run): run for run in runs_of(result.client)}
        monkeypatch.setenv("OSTEON_PASS", "two")
        run("prepare")
        known = {run.info.run_id for run in result.runs.values()}
        result.again = {step_of(run): run for run in runs_of(result.client) if run.info.run_id not in known}
    return result


@pytest.fixture
def recorded(two_runs: Recorded, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{two_runs.folder / 'mlflow.db'}")
    monkeypatch.chdir(two_runs.folder)
    return two_runs


def test_a_pipeline_run_is_a_parent_with_a_run_for_each_step(recorded: Recorded) -> None:
    assert list(recorded.runs) == ["pipeline", "ingest", "validate", "prepare"]
    parent = recorded.runs["pipeline"]
    assert parent.data.tags[lineage.PASS] == "one"
    assert parent.info.run_name.startswith("pipeline 20")
    for name in ("ingest", "validate", "prepare"):
        run = recorded.runs[name]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.run_name == name
    assert {run.info.status for run in recorded.runs.values()} == {"FINISHED"}
    assert list(recorded.again) == ["pipeline", "prepare"]


def test_what_a_step_read_and_wrote_is_tagged_with_dvcs_hash(recorded: Recorded) -> None:
    for name, reads in {"ingest": ["source"], "validate": ["manifest"], "prepare": ["trusted"]}.items():
        tags = recorded.runs[name].data.tags
        expected = {
            **{f"osteon.read.{dvc_hash(recorded.path(path))}": path for path in reads},
            **{f"osteon.wrote.{dvc_hash(recorded.path(path))}": path for path in STEPS[name].outputs},
        }
        assert {
            tag: path for tag, path in tags.items() if tag.startswith(("osteon.read.", "osteon.wrote."))
        } == expected


def test_the_datas_hash_is_on_every_run(recorded: Recorded) -> None:
    for run in (*recorded.runs.values(), *recorded.again.values()):
        assert run.data.tags["osteon.data"] == dvc_hash(recorded.source), step_of(run)


def test_a_step_logs_its_own_parameters_and_the_parent_all(recorded: Recorded) -> None:
    sections = {"ingest": "data", "validate": "validation", "prepare": "preparation"}
    for name, section in sections.items():
        expected = {key: str(value) for key, value in flatten(getattr(PARAMS, section), f"{section}.").items()}
        assert recorded.runs[name].data.params == expected
    everything = {key: str(value) for key, value in flatten(PARAMS).items()}
    assert recorded.runs["pipeline"].data.params == everything
    assert everything["validation.min_side"] == "32"


def test_figures_are_on_the_step_and_on_the_parent(recorded: Recorded) -> None:
    metrics = recorded.runs["ingest"].data.metrics
    assert (metrics["films"], metrics["unreadable"]) == (120, 0)
    assert 0 < metrics["seconds"] < 3600
    trusted = recorded.runs["validate"].data.metrics["trusted"]
    parent = recorded.runs["pipeline"].data.metrics
    assert (parent["ingest.films"], parent["validate.trusted"]) == (120, trusted)
    assert set(recorded.again["pipeline"].data.metrics) == {
        f"prepare.{name}" for name in recorded.again["prepare"].data.metrics
    }


def test_what_a_step_read_is_a_dataset_of_its_run(recorded: Recorded) -> None:
    for name, read in {"ingest": "source", "validate": "manifest", "prepare": "trusted"}.items():
        (result,) = recorded.runs[name].inputs.dataset_inputs
        assert result.dataset.name == read
        assert result.dataset.digest == dvc_hash(recorded.path(read))
        assert {tag.key: tag.value for tag in result.tags} == {"mlflow.data.context": name}


def test_a_report_is_kept_with_the_run(recorded: Recorded) -> None:
    run = recorded.runs["validate"].info.run_id
    assert "report/quarantine.csv" in {item.path for item in recorded.client.list_artifacts(run, "report")}
    kept = Path(recorded.client.download_artifacts(run, "report/quarantine.csv"))
    assert kept.read_bytes() == (recorded.folder / "report" / "quarantine.csv").read_bytes()
    assert [item.path for item in recorded.client.list_artifacts(recorded.runs["ingest"].info.run_id)] == [
        lineage.ENVIRONMENT_FILE
    ]


# ---------------------------------------------------------------- lineage


def test_a_file_is_followed_back_to_the_films(recorded: Recorded) -> None:
    for path, steps in {
        "trusted": ["ingest", "validate"],
        "report": ["ingest", "validate"],
        "dataset": ["ingest", "validate", "prepare"],
    }.items():
        result = lineage.lineage_of_file(recorded.path(path))
        assert result is not None
        assert [node.step for node in result.walk()] == steps
        assert result.data == dvc_hash(recorded.source)
        assert not any(node.missing for node in result.walk())
    assert lineage.lineage_of_file(recorded.folder / "mlflow.db") is None


def test_a_step_that_was_skipped_stays_linked_to_the_run_that_did_it(recorded: Recorded) -> None:
    result = lineage.lineage(recorded.again["prepare"].info.run_id)
    assert [node.run_id for node in result.walk()] == [
        recorded.runs["ingest"].info.run_id,
        recorded.runs["validate"].info.run_id,
        recorded.again["prepare"].info.run_id,
    ]
    # And the parent of the second pipeline run names them.
    tags = recorded.again["pipeline"].data.tags
    assert tags["osteon.step.ingest"] == recorded.runs["ingest"].info.run_id
    assert tags["osteon.step.prepare"] == recorded.again["prepare"].info.run_id


def test_a_lineage_carries_what_it_takes_to_make_it_again(recorded: Recorded) -> None:
    nodes = {node.step: node for node in lineage.lineage(recorded.runs["prepare"].info.run_id).walk()}
    assert nodes["prepare"].params["preparation.image_size"] == "64"
    assert nodes["ingest"].params["data.layout"] == "manifest"
    assert nodes["validate"].metrics == recorded.runs["validate"].data.metrics
    for node in nodes.values():
        assert (node.status, node.seconds) == ("FINISHED", node.metrics["seconds"])
        assert {lineage.COMMIT, lineage.DIRTY} <= set(node.tags)


@pytest.mark.parametrize("what", ["0" * 32, "nope", "models:/osteon/1", "models:/osteon@champion", "m-" + "0" * 32])
def test_a_run_or_model_that_is_not_there(recorded: Recorded, what: str) -> None:
    with pytest.raises(OsteonError, match="give a run's id or models:/NAME/VERSION") as caught:
        lineage.lineage(what)
    assert str(caught.value).startswith(f"{what}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_each_run_keeps_the_environment_it_ran_in(recorded: Recorded) -> None:
    nodes = list(lineage.lineage(recorded.runs["prepare"].info.run_id).walk())
    result = lineage.environments(nodes)
    assert list(result) == [node.tags[lineage.ENVIRONMENT] for node in nodes][:1]
    (environment,) = result.values()
    assert environment == describe_environment()
    for run in (recorded.runs[name] for name in ("ingest", "validate", "prepare")):
        kept = Path(recorded.client.download_artifacts(run.info.run_id, lineage.ENVIRONMENT_FILE))
        assert json.loads(kept.read_text()) == environment


def lineage_as_json(run: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    print_lineage(run, as_json=True)
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def test_what_lineage_tells(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded.runs["prepare"].info.run_id
    content = lineage_as_json(run, capsys)
    (environment,) = content["environments"]
    assert [(step["step"], step["environment"]) for step in content["steps"]] == [
        (name, environment) for name in ("ingest", "validate", "prepare")
    ]
    assert content["environments"][environment]["packages"]["keras"] == version("keras")
    assert content["films"] is None  # no model yet
    print_lineage(run, as_json=False)
    shown = capsys.readouterr().out
    assert f"\npython   {platform.python_version()} on {platform.system()} {platform.machine()}, " in shown
    assert f" keras {version('keras')}, " in shown


def test_of_runs_that_kept_less_the_rest_is_null(client: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    """As those that were made before environments and remotes were kept."""
    made_by_hand(client, 1, osteon_step="ingest", osteon_wrote_a="manifest", osteon_data="d.dir")
    run = made_by_hand(client, 2, osteon_step="validate", osteon_read_a="manifest", osteon_environment="gone")
    shown = lineage_as_json(run, capsys)
    assert (shown["commit"], shown["data"], shown["remote"], shown["images"]) == (
        ["unknown"],
        "d.dir",
        None,
        [],
    )
    assert (shown["environments"], shown["films"], shown["decisions"]) == ({}, None, [])
    unknown = {"commit": None, "image": None, "environment": None}
    assert unknown.items() <= shown["steps"][0].items()
    print_lineage(run, as_json=False)
    assert "python" not in capsys.readouterr().out


def test_remote_and_image_are_those_of_the_runs(client: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    made = {"osteon_image": "osteon@sha256:1", "osteon_dvc_remote": "s3://old/films", "osteon_wrote_a": "x"}
    made_by_hand(client, 1, **made)
    changed = {"osteon_image": "osteon@sha256:2", "osteon_dvc_remote": "s3://new/films", "osteon_read_a": "x"}
    run = made_by_hand(client, 2, **changed)
    shown = lineage_as_json(run, capsys)
    assert (shown["remote"], shown["images"]) == ("s3://new/films", ["osteon@sha256:1", "osteon@sha256:2"])
    assert [step["image"] for step in shown["steps"]] == ["osteon@sha256:1", "osteon@sha256:2"]
    print_lineage(run, as_json=False)
    assert "remote   s3://new/films\n" in capsys.readouterr().out


def test_an_alias_that_nobody_set_is_one_line(client: MlflowClient, tmp_path: Path) -> None:
    client.create_registered_model("osteon-fracture")
    what = "models:/osteon-fracture@champion"
    done = osteon(tmp_path, "lineage", what)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: {what}: Registered model alias champion not found")


def made_by_hand(client: MlflowClient, minute: int, status: str = "FINISHED", **tags: str) -> str:
    """A run that began so many minutes after the epoch."""
    experiment = client.get_experiment_by_name("osteon")
    number = experiment.experiment_id if experiment else client.create_experiment("osteon")
    named = {tag.replace("_", "."): value for tag, value in tags.items()}
    run = client.create_run(number, start_time=minute * 60_000, tags=named)
    client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


def test_of_several_runs_that_wrote_a_file_the_last_that_finished_before_is_its_maker(client: MlflowClient) -> None:
    wrote = {"osteon_wrote_abc": "manifest"}
    made_by_hand(client, 1, **wrote)
    second = made_by_hand(client, 2, **wrote)
    made_by_hand(client, 3, "FAILED", **wrote)
    made_by_hand(client, 3, osteon_wrote_abcd="manifest")
    reader = made_by_hand(client, 4, osteon_read_abc="manifest")
    made_by_hand(client, 5, **wrote)
    assert [node.run_id for node in lineage.lineage(reader).walk()] == [second, reader]


def test_files_of_the_same_bytes_are_told_apart_by_their_names(client: MlflowClient) -> None:
    """Where no film is quarantined, the trusted films are the manifest."""
    ingested = made_by_hand(client, 1, osteon_wrote_abc="manifest")
    validated = made_by_hand(client, 2, osteon_read_abc="manifest", osteon_wrote_abc="trusted")
    made_by_hand(client, 3, osteon_wrote_abc="manifest")
    prepared = made_by_hand(client, 4, osteon_read_abc="trusted")
    assert [node.run_id for node in lineage.lineage(prepared).walk()] == [ingested, validated, prepared]


def test_an_input_is_named_as_the_output_it_comes_from() -> None:
    outputs = {name for step in STEPS.values() for name in step.outputs}
    for step in STEPS.values():
        for name, mark in step.inputs.items():
            # Another step's report has its room's name: the step writes a report of its own.
            assert name in outputs or mark.kind in ("source", "films", "report"), f"{step.name} --{name}"


def test_a_run_that_two_read_from_is_there_once(client: MlflowClient) -> None:
    first = made_by_hand(client, 1, osteon_wrote_a="x")
    left = made_by_hand(client, 2, osteon_read_a="x", osteon_wrote_b="y")
    right = made_by_hand(client, 3, osteon_read_a="x", osteon_wrote_c="z")
    last = made_by_hand(client, 4, osteon_read_b="y", osteon_read_c="z", osteon_read_d="elsewhere")
    result = lineage.lineage(last)
    walked = [node.run_id for node in result.walk()]
    assert (walked[0], walked[-1], sorted(walked)) == (first, last, sorted([first, left, right, last]))
    assert result.missing == ["elsewhere"]


# ---------------------------------------------------------------- steps that do not end well


class Nothing(Summary):
    films: int = 0


def stopped(
    source: Annotated[Path, Input("films", "source")], manifest: Annotated[Path, Output("rows")], params: DataParams
) -> Nothing:
    """A person stops it after its first figure."""
    tracking.log_metrics({"loss": 0.5}, step=1)
    tracking.log_metrics({"loss": 0.25}, step=2)
    raise KeyboardInterrupt


class Measured(Summary):
    films: int
    auroc: dict[str, float]


def in_parts(
    source: Annotated[Path, Input("films", "source")], manifest: Annotated[Path, Output("rows")], params: DataParams
) -> Measured:
    """Two parts that end well, and one whose error the step can live with."""
    for number, loss in enumerate((0.5, 0.25)):
        with tracking.nested_run(f"fold {number}"):
            tracking.log_metrics({"loss": 1.0}, step=1)
            tracking.log_metrics({"loss": loss}, step=2)
    with suppress(ZeroDivisionError), tracking.nested_run("fold 2"):
        tracking.log_metrics({"loss": 1 / 0}, step=1)
    tracking.log_metrics({"whole": 3.0})
    manifest.write_text("rows")
    return Measured(films=2, auroc={"network": 0.75, "svm": 0.5})


def stopped_in_a_part(
    source: Annotated[Path, Input("films", "source")], manifest: Annotated[Path, Output("rows")], params: DataParams
) -> Nothing:
    """A person stops it in the middle of a part."""
    with tracking.nested_run("fold 0"):
        raise KeyboardInterrupt


def test_parts_of_a_step_are_runs_below_its_own(client: MlflowClient, phantoms: Path, tmp_path: Path) -> None:
    tracking.run_step(describe(in_parts), {"source": phantoms, "manifest": tmp_path / "m"}, PARAMS)
    runs = {run.info.run_name: run for run in runs_of(client)}
    assert list(runs) == ["in_parts", "fold 0", "fold 1", "fold 2"]
    outer = runs.pop("in_parts")
    for run in runs.values():
        assert run.data.tags["mlflow.parentRunId"] == outer.info.run_id
        for tag in (lineage.PROCESS, lineage.COMMIT, lineage.DIRTY):
            assert run.data.tags[tag] == outer.data.tags[tag]
    assert [run.info.status for run in runs.values()] == ["FINISHED", "FINISHED", "FAILED"]
    assert outer.info.status == "FINISHED"
    for name, losses in {"fold 0": [1.0, 0.5], "fold 1": [1.0, 0.25], "fold 2": []}.items():
        result = client.get_metric_history(runs[name].info.run_id, "loss")
        assert [(item.step, item.value) for item in result] == [(step + 1, loss) for step, loss in enumerate(losses)]
    # What follows is the step's own again, and figures by name are figures too.
    figures = dict(outer.data.metrics)
    del figures["seconds"]
    assert figures == {"whole": 3.0, "films": 2.0, "auroc.network": 0.75, "auroc.svm": 0.5}


def test_a_step_that_is_stopped_in_a_part_stops_both_runs(client: MlflowClient, phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tracking.run_step(describe(stopped_in_a_part), {"source": phantoms, "manifest": tmp_path / "m"}, PARAMS)
    assert [run.info.status for run in runs_of(client)] == ["KILLED", "KILLED"]
    assert mlflow.active_run() is None


def test_where_nothing_is_recorded_a_part_is_no_run(client: MlflowClient) -> None:
    with tracking.nested_run("fold 0"):
        assert mlflow.active_run() is None
        tracking.log_metrics({"loss": 0.5}, step=1)
    assert mlflow.active_run() is None
    experiments = [item.experiment_id for item in client.search_experiments()]
    assert len(client.search_runs(experiments)) == 0
    with pytest.raises(ZeroDivisionError), tracking.nested_run("fold 1"):
        _ = 1 / 0


def test_a_process_that_is_told_of_no_run_records_none_though_one_was_open_when_it_began(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process of joblib's that outlived the run: its next work is another's."""
    experiment = client.create_experiment("folds")
    monkeypatch.setenv("OSTEON_RECORDING_RUN", client.create_run(experiment).info.run_id)
    with tracking.joined(None), tracking.nested_run("fold 0"):
        pass
    assert len(client.search_runs([experiment])) == 1


def test_without_a_pipeline_run_a_run_stands_alone(client: MlflowClient, phantoms: Path, tmp_path: Path) -> None:
    ingest(phantoms, tmp_path / "out")
    (run,) = runs_of(client)
    assert "mlflow.parentRunId" not in run.data.tags
    assert mlflow.active_run() is None


def test_a_step_that_fails(
    client: MlflowClient, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTEON_PASS", "one")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OsteonError):
        ingest(tmp_path / "empty", tmp_path / "out")
    parent, run = sorted(runs_of(client), key=lambda run: step_of(run) == "ingest")
    assert (parent.info.status, run.info.status) == ("FAILED", "FAILED")
    assert not any(tag.startswith("osteon.wrote.") for tag in run.data.tags)
    assert mlflow.active_run() is None
    # Put right, in the same pipeline run.
    ingest(phantoms, tmp_path / "out")
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
    assert sorted(run.info.status for run in runs_of(client)) == ["FAILED", "FINISHED", "FINISHED"]


def test_a_step_that_a_person_stops(client: MlflowClient, phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tracking.run_step(describe(stopped), {"source": phantoms, "manifest": tmp_path / "m"}, PARAMS)
    (run,) = runs_of(client)
    assert run.info.status == "KILLED"
    result = client.get_metric_history(run.info.run_id, "loss")
    assert [(item.step, item.value) for item in result] == [(1, 0.5), (2, 0.25)]
    tracking.log_metrics({"loss": 0.1}, step=3)  # outside a step: into no run
    assert len(runs_of(client)) == 1


def test_runs_whose_process_is_gone_are_closed_by_the_next_step(
    client: MlflowClient, phantoms: Path, tmp_path: Path
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    here, started = platform.node(), int(psutil.Process().create_time())
    experiment = client.create_experiment("osteon")
    parents = {
        name: client.create_run(experiment, tags={"osteon.step": "pipeline"}).info.run_id for name in ("dead", "live")
    }

    def running(process: str, **tags: str) -> str:
        named = {tag.replace("_", "."): value for tag, value in tags.items()}
        run = client.create_run(experiment, tags={"osteon.step": "train", "osteon.process": process, **named})
        return str(run.info.run_id)

    killed = [
        running(f"{here}/{gone.pid}/{started}", mlflow_parentRunId=parents["dead"]),
        running(f"{here}/{os.getpid()}/{started - 1000}"),  # the number went to another process
    ]
    alive = [
        running(f"{here}/{os.getpid()}/{started}", mlflow_parentRunId=parents["live"]),
        running(f"elsewhere/{gone.pid}/{started}"),  # nobody here can tell
        running("garbage"),
    ]
    ingest(phantoms, tmp_path / "out")
    states = {run.info.run_id: run.info.status for run in runs_of(client)}
    assert {states[run] for run in killed} == {"KILLED"}
    assert {states[run] for run in alive} == {"RUNNING"}
    assert (states[parents["dead"]], states[parents["live"]]) == ("KILLED", "RUNNING")


def test_a_missing_input_is_told_before_anything_is_recorded(client: MlflowClient, tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match=r"ingest: --source .*nowhere does not exist; run the step that makes it"):
        ingest(tmp_path / "nowhere", tmp_path / "out")
    assert client.search_experiments(filter_string="name = 'osteon'") == []


def test_an_experiment_that_was_deleted(client: MlflowClient) -> None:
    client.delete_experiment(client.create_experiment("osteon"))
    with pytest.raises(OsteonError, match="experiment 'osteon' was deleted; restore it or set MLFLOW_EXPERIMENT_NAME"):
        lineage.lineage("0" * 32)


# ---------------------------------------------------------------- where from


def test_the_commit_and_whether_the_tree_was_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert pipeline_run.origin_tags()[lineage.COMMIT] == "unknown"

    def git(*words: str) -> str:
        options = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *options, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    Path("osteon/films").mkdir(parents=True)
    for name in ("params.yaml", "dvc.lock", "dvc.yaml", "requirements.lock", "osteon/films/reading.py"):
        Path(name).write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    clean = {lineage.COMMIT: git("rev-parse", "HEAD"), lineage.DIRTY: "false"}
    # A run writes dvc.lock, parameters are recorded with it, and what else lies in the folder changes no figure.
    for name in ("dvc.lock", "params.yaml", "look.ipynb", "audit/pairs.csv"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("2")
        assert clean.items() <= pipeline_run.origin_tags().items()
        assert uncommitted_code_warning() is None
    for name in ("dvc.yaml", "requirements.lock", "osteon/films/reading.py", "osteon/films/new.py"):
        Path(name).write_text("2")
        assert pipeline_run.origin_tags()[lineage.DIRTY] == "true"
        warning = str(uncommitted_code_warning())
        assert name in warning
        # The command that it names mends it.
        git("reset", "-q")
        command = warning.partition("Commit first: ")[2].replace(
            "git commit", "git -c user.name=a -c user.email=a commit"
        )
        subprocess.run(["bash", "-c", command], check=True, capture_output=True)
        assert pipeline_run.origin_tags()[lineage.DIRTY] == "false"
    Path("osteon/films/new.py").unlink()
    assert pipeline_run.origin_tags()[lineage.DIRTY] == "true"


def test_the_address_of_dvcs_remote_is_a_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lineage.REMOTE not in pipeline_run.origin_tags()
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    remote = far\n['remote \"far\"']\n    url = s3://films/osteon\n")
    assert pipeline_run.origin_tags()[lineage.REMOTE] == "s3://films/osteon"


def test_in_an_image_the_commit_comes_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_GIT_COMMIT", "abc")
    monkeypatch.setenv("OSTEON_GIT_DIRTY", "false")
    monkeypatch.setenv("OSTEON_IMAGE", "osteon@sha256:1")
    result = pipeline_run.origin_tags()
    output = [result[tag] for tag in (lineage.COMMIT, lineage.DIRTY, lineage.IMAGE)]
    assert output == ["abc", "false", "osteon@sha256:1"]


def test_the_steps_of_one_dvc_repro_are_one_pipeline_run(tmp_path: Path) -> None:
    """DVC itself runs them, each in a process of its own."""
    (tmp_path / "key.py").write_text(
        "import sys, pathlib; from osteon.records.pipeline_run import pipeline_run_key\n"
        "pathlib.Path(sys.argv[1]).write_text(str(pipeline_run_key()))\n"
    )
    stages = {
        "a": {"cmd": f'"{sys.executable}" key.py a.txt', "outs": ["a.txt"]},
        "b": {"cmd": f'"{sys.executable}" key.py b.txt', "deps": ["a.txt"], "outs": ["b.txt"]},
    }
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    subprocess.run(["dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "repro", "-q"], cwd=tmp_path, check=True, env=environment)
    first, second = ((tmp_path / name).read_text() for name in ("a.txt", "b.txt"))
    assert first == second
    assert first.startswith(f"dvc-{platform.node()}-")


def test_nothing_is_sent_home() -> None:
    """MLflow counts its users unless it is told not to, before it is imported."""
    code = "import osteon.records.runs, mlflow.telemetry as t; print(t.get_telemetry_client())"
    kept = {name: value for name, value in os.environ.items() if not re.search("PYTEST|CI|MLFLOW|GITHUB", name)}
    done = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


def test_a_pipeline_run_is_named_by_the_environment_or_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipeline_run.pipeline_run_key() is None
    monkeypatch.setenv("OSTEON_PASS", "mine")
    assert pipeline_run.pipeline_run_key() == "mine"


# ---------------------------------------------------------------- stores and servers


def test_by_default_the_store_is_in_the_projects_folder(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow writes into it
    ingest(phantoms, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow", "out"]
    assert (tmp_path / "mlflow" / "store" / "mlflow.db").is_file()
    (run,) = runs_of(MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'store' / 'mlflow.db'}"))
    assert run.info.artifact_uri.startswith((tmp_path / "mlflow" / "store" / "artifacts").as_uri())


def test_a_step_recorded_by_a_server(
    mlflow_address: str,
    pipeline: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A report too, which the server keeps; from a folder that has no store."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_address.replace("://", "://me:sesame@"))
    paths = {
        "source": pipeline.source,
        "manifest": pipeline.manifest,
        "trusted": Path("trusted"),
        "report": Path("report"),
    }
    tracking.run_step(STEPS["validate"], paths, PARAMS)
    assert "sesame" not in "".join(capfd.readouterr())
    client = MlflowClient(mlflow_address)
    (run,) = runs_of(client)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["films"] == 120
    assert run.data.tags[f"osteon.wrote.{dvc_hash(Path('trusted'))}"] == "trusted"
    assert "report/quarantine.csv" in {item.path for item in client.list_artifacts(run.info.run_id, "report")}
    assert list((tmp_path / "kept").rglob("quarantine.csv"))
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["report", "trusted"]
    assert lineage.lineage(run.info.run_id).missing == ["manifest"]


# ---------------------------------------------------------------- models


def pack(
    dataset: Annotated[Path, Input("films")],
    model: Annotated[Path, Output("model", "model")],
    params: TrainingParams,
) -> Nothing:
    """A training in which nothing is learned."""
    packaged(model, classical=("svm",))
    tracking.log_at_end(lambda: log_model(model))
    return Nothing()


LOAD = """
    import sys
    import mlflow
    import pandas as pd
    from pathlib import Path
    model = mlflow.pyfunc.load_model(sys.argv[1])
    answers = model.predict(pd.DataFrame({"film": [Path(name).read_bytes() for name in sys.argv[2:]]}))
    answers.to_json("answers.json", orient="records", double_precision=15)
    import osteon.models.package.package
    print(osteon.models.package.package.__file__)
"""


@pytest.mark.slow
def test_a_model_is_logged_measured_and_loads_anywhere(
    client: MlflowClient, pipeline: Pipeline, beside: dict[str, Path], tmp_path: Path
) -> None:
    model = tmp_path / "out" / "model"
    tracking.run_step(describe(pack), {"dataset": pipeline.dataset, "model": model}, PARAMS)
    paths = {
        "model": model,
        "dataset": pipeline.dataset,
        **beside,
        "report": tmp_path / "out" / "report",
    }
    summary = tracking.run_step(STEPS["evaluate"], paths, PARAMS)
    made, measured = runs_of(client)
    (output,) = client.get_run(made.info.run_id).outputs.model_outputs
    logged = client.get_logged_model(output.model_id)

    # The evaluation's figures are on the model's page, and both lead back to one run.
    figures = {metric.key: metric.value for metric in logged.metrics}
    assert figures["auroc"] == summary.model_dump()["auroc"]
    assert lineage.lineage(logged.model_id).run_id == made.info.run_id
    assert [node.step for node in lineage.lineage(measured.info.run_id).walk()] == ["pack", "evaluate"]

    # It has a signature and an example, …
    signature = mlflow.models.get_model_info(logged.model_uri).signature
    assert signature.inputs.to_dict() == [
        {"type": "binary", "name": "film", "required": False},
        {"type": "string", "name": "path", "required": False},
    ]
    assert [(item["name"], item["type"]) for item in signature.outputs.to_dict()] == [
        ("probability", "double"),
        ("answer", "string"),
        ("warnings", "array"),
        ("map", "string"),
        ("boxes", "array"),
    ]
    # … and answers in another process and folder, with the code it was logged with.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    film = encoded(ramp(80, 100), "PNG")
    (elsewhere / "a film.png").write_bytes(film)
    (elsewhere / "example.png").write_bytes(example_film())
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOAD), logged.model_uri, "a film.png", "example.png"],
        cwd=elsewhere,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert Path(done.stdout.splitlines()[-1]).is_relative_to(tmp_path / "artifacts"), done.stdout
    answers = json.loads((elsewhere / "answers.json").read_text())
    expected = open_package(model).predict([film, example_film()])
    assert [item["answer"] for item in answers] == expected["answer"].tolist()
    np.testing.assert_allclose([item["probability"] for item in answers], expected["probability"], atol=1e-6)
