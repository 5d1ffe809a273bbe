"""kill -9 in the middle of every stage, then `dvc repro` again: the end is that of a run nobody disturbed."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from components.steps import STEPS
from osteon.files import dvc_hash, partial_path
from osteon.models.package.package import load_networks
from tests.dvc_stages import outs_of
from tests.e2e.conftest import Project, make_project
from tests.e2e.test_repro import lock_of

# One worker runs all tests that need the finished project, so that it is made once.
pytestmark = pytest.mark.xdist_group("finished")


def started(project: Project) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["dvc", "repro"],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def step_process(repro: subprocess.Popen[bytes], name: str) -> psutil.Process | None:
    """The process of the step, once it is running."""
    try:
        for child in psutil.Process(repro.pid).children(recursive=True):
            words = child.cmdline()
            if "python" in Path(words[0]).name and name in words[:4]:
                return child
    except (psutil.Error, IndexError):
        pass
    return None


def wait_for_the_middle(repro: subprocess.Popen[bytes], project: Project, name: str) -> psutil.Process:
    """Until the step has begun to write: half of its output lies there under its temporary name.

    A manifest is written in a moment nobody can hit from outside; that step is caught when its run has begun.
    """
    outputs = [partial_path(project.folder / out) for out in outputs_of(name)]
    # After the first epoch, before the last; of the second fold, when the first is done.
    if name == "search":
        outputs = [outputs[0] / "trials" / "trial-0" / "fold-0" / "state.json"]
    if name == "train":
        outputs = [outputs[0] / "checkpoint" / "state.json"]
    if name == "cross_validate":
        outputs = [partial_path(outputs[0] / "fold-1") / "checkpoint" / "state.json"]
    seen: psutil.Process | None = None
    since = time.monotonic()
    while time.monotonic() - since < 180:
        seen = seen or step_process(repro, name)
        if seen is not None and any(output.exists() for output in outputs):
            return seen
        if seen is not None and name == "ingest" and has_a_run(project, name):
            return seen
        assert repro.poll() is None, f"dvc repro ended before {name} was caught"
        time.sleep(0.002)
    raise AssertionError(f"{name} never began to write")


def has_a_run(project: Project, name: str) -> bool:
    with closing(sqlite3.connect(f"file:{project.folder}/mlflow/store/mlflow.db?mode=ro", uri=True)) as store:
        query = "select count(*) from runs where name = ? and status = 'RUNNING'"
        return bool(store.execute(query, (name,)).fetchone()[0])


def outputs_of(name: str) -> list[str]:
    from ruamel.yaml import YAML

    stages = YAML(typ="safe").load((Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return outs_of(stages[name])


def stages_locked(project: Project) -> list[str]:
    return list(lock_of(project)) if (project.folder / "dvc.lock").exists() else []


def test_a_run_killed_in_every_stage_ends_as_one_that_was_not(finished: Project, tmp_path: Path) -> None:
    project = make_project(tmp_path / "killed")
    for number, name in enumerate(STEPS):
        repro = started(project)
        wait_for_the_middle(repro, project, name)
        os.killpg(repro.pid, signal.SIGKILL)  # dvc, its shell and the step, none of them told
        repro.wait()
        for output in outputs_of(name):
            assert not (project.folder / output).exists() or name == "validate", f"{output} looks whole, but is not"
        assert stages_locked(project) == list(STEPS)[:number]
        if name == "cross_validate":
            done = (partial_path(project.folder / outputs_of(name)[0]) / "fold-0" / "fold.json").read_bytes()
    project.done("dvc", "repro")

    whole, again = lock_of(finished), lock_of(project)
    for name in ("phantoms", "ingest", "validate", "prepare", "augment", "features"):
        ours, theirs = ({out["path"]: out["md5"] for out in lock[name]["outs"]} for lock in (again, whole))
        ours.pop("reports/validation", None)  # Data Docs carry the time
        theirs.pop("reports/validation", None)
        assert ours == theirs, name
    assert not [path for path in project.folder.rglob(".*.partial") if ".dvc" not in path.parts]

    # The trial that was killed was taken up under another number, and came to the same.
    result = [(item.folder / "artifacts/search/best.yaml").read_text(encoding="utf-8") for item in (finished, project)]
    assert result[0] == result[1]
    trials = pd.concat(pd.read_csv(item.folder / "artifacts/search/trials.csv") for item in (finished, project))
    assert trials["state"].tolist() == ["complete", "complete"]
    assert trials["trial"].tolist() == [0, 1]
    np.testing.assert_allclose(*trials["auroc"], atol=1e-3)

    # No fold was computed twice (its seconds would differ), and the one that was killed came to the same scores.
    folds = [item.folder / "artifacts/cross_validation" for item in (finished, project)]
    assert (folds[1] / "fold-0/fold.json").read_bytes() == done
    scores = [
        pd.read_parquet(folder / "predictions.parquet").sort_values(["model", "film_id"])["score"] for folder in folds
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)

    # The training went on from its checkpoint and came to the same weights.
    models = [item.folder / "artifacts/model" for item in (finished, project)]
    assert sorted(path.name for path in models[0].iterdir()) == sorted(path.name for path in models[1].iterdir())
    histories = [pd.read_csv(model / "history.csv").to_numpy(float) for model in models]
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-3, atol=1e-4)
    weights = [load_networks(model)[0].get_weights() for model in models]
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    scores = [pd.read_csv(item.folder / "reports/evaluation/predictions.csv")["score"] for item in (finished, project)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)

    # Nobody is left looking as if it were still at work.
    runs = project.done(
        "python",
        "-c",
        "import mlflow, json; mlflow.set_tracking_uri('sqlite:///mlflow/store/mlflow.db');"
        "print(json.dumps([[r.info.run_name, r.info.status] for r in"
        " mlflow.search_runs(experiment_names=['osteon'], output_format='list')]))",
    )
    states = json.loads(runs.strip().splitlines()[-1])
    assert {state for name, state in states if name in STEPS} == {"FINISHED", "KILLED"}
    # A killed step's parts, too.
    assert [state for name, state in states if name == "fold 0"] == ["FINISHED", "FINISHED"]
    assert sorted(state for name, state in states if name == "fold 1") == ["FINISHED", "KILLED"]
    assert sorted(name for name, state in states if state == "KILLED" and name in STEPS) == sorted(STEPS)
    assert all(state != "RUNNING" for _, state in states)


def test_only_the_step_is_killed_and_dvc_says_so(tmp_path: Path) -> None:
    """As the kernel does when memory runs out."""
    project = make_project(tmp_path / "step killed")
    repro = started(project)
    step = wait_for_the_middle(repro, project, "phantoms")
    step.kill()
    assert repro.wait() != 0
    assert stages_locked(project) == []
    project.done("dvc", "repro", "ingest")
    assert dvc_hash(project.folder / "data/phantoms") == next(
        out["md5"] for out in lock_of(project)["phantoms"]["outs"] if out["path"] == "data/phantoms"
    )


@pytest.mark.parametrize("name", ["data/phantoms", "data/prepared"])
def test_a_left_over_partial_folder_is_not_data(finished: Project, name: str) -> None:
    """DVC does not see it, and the next run of the step removes it."""
    partial = partial_path(finished.folder / name)
    partial.mkdir()
    (partial / "half.png").write_bytes(b"half")
    assert "up to date" in finished.done("dvc", "repro")
    (partial / "half.png").unlink()
    partial.rmdir()
