"""`osteon pipeline diff` of two runs of a server that speaks Kubeflow Pipelines, and of MLflow."""

from pathlib import Path
from typing import Any

import pytest

from components.promotion.policy import read_policy
from osteon.params import load_params
from tests.pipelines.conftest import TRAINING, Osteon, version_of
from tests.pipelines.kfp_server import Kfp
from tests.pipelines.workflow_nodes import frame
from tests.stores import free_port


@pytest.fixture
def compared(server: Kfp, osteon: Osteon) -> list[str]:
    """The ids of two runs with other parameters."""
    server.plays = [frame("SUCCEEDED")]
    osteon("submit", "--wait", "--repository", "git@git.example:osteon.git")
    osteon("submit", "--wait", "--param", "training.epochs=3", "--revision", "v1", "--mode", "dry_run")
    return [run["run_id"] for run in server.runs]


def test_diff_names_what_two_runs_were_given_otherwise_and_what_they_reached(
    server: Kfp, osteon: Osteon, compared: list[str], mlflow: Any
) -> None:
    from osteon.records.lineage import DATA, PASS

    client, experiment = mlflow
    for i, run_id in enumerate(compared):
        run = client.create_run(experiment, tags={PASS: run_id, DATA: f"md{i}"}).info.run_id
        client.log_metric(run, "evaluate.auroc", 0.8 + i / 100)
        client.log_metric(run, "evaluate.n", 120)
    done = osteon("diff", *compared)
    assert (done.code, done.err) == (0, "")
    mode = read_policy(Path("mlflow/promotion.yaml")).mode
    rows = {line.split()[0]: line.split()[1:] for line in done.lines[1:-1]}
    assert rows == {
        "training.epochs": [str(load_params(Path("params.yaml")).training.epochs), "3"],
        "repository": ["git@git.example:osteon.git"],
        "revision": ["main", "v1"],
        **({"mode": [mode, "dry_run"]} if mode != "dry_run" else {}),
        "data": ["md0", "md1"],
        "evaluate.auroc": ["0.8", "0.81"],
    }
    assert done.lines[-1].endswith(" other values are the same")
    same = osteon("diff", compared[0], compared[0])
    assert same.lines[-1].startswith("all ")


def test_diff_without_mlflow_says_so_and_shows_the_rest(
    server: Kfp, osteon: Osteon, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    done = osteon("diff", *compared)
    assert done.code == 0
    assert any(line.split()[0] == "training.epochs" for line in done.lines)
    (note,) = done.err.splitlines()
    assert note.startswith("note: data and figures are not compared: ")


def test_diff_of_runs_that_mlflow_does_not_know_and_of_a_deleted_version(
    server: Kfp, osteon: Osteon, compared: list[str], mlflow: Any
) -> None:
    server.runs[1]["pipeline_version_reference"] = {"pipeline_id": "p0", "pipeline_version_id": "gone"}
    done = osteon("diff", *compared)
    assert done.code == 0
    assert done.err.splitlines() == [f"note: MLflow has nothing of run {run_id}" for run_id in compared]
    (version,) = (line.split()[1:] for line in done.lines if line.startswith("version"))
    assert version == [version_of(TRAINING), "gone"]
