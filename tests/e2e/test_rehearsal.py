"""The whole pipeline for Kubeflow on this machine, in processes and in containers, beside `dvc repro` of the same."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from components.steps import STEPS
from osteon.files import dvc_hash
from tests.e2e.conftest import Project
from tests.e2e.test_repro import lock_of
from tests.image import Image

# One worker runs all tests that need the finished project, so that it is made once.
pytestmark = pytest.mark.xdist_group("finished")

# What a task writes, and the stage's output that has the same bytes.
BY_BYTES = {
    "ingest/manifest": "data/manifest.parquet",
    "validate/trusted": "data/trusted.parquet",
    "prepare/dataset": "data/prepared",
    "prepare/leaks": "reports/leaks",
    "augment/augmented": "data/augmented",
    "augment/sheet": "reports/augmentation/contact_sheet.png",
    "features/features": "data/features",
}
SAME = 1e-3  # what a figure may differ by
# What looks at the world, and what tells how it ended, is done in every pass.
NEVER_CACHED = ["find_films", "promote"]


def rehearsed(project: Project, out: Path, *words: str) -> CompletedProcess[str]:
    return project.run("osteon", "pipeline", "run", "--local", "--out", str(out), *words)


def done(result: CompletedProcess[str], out: Path) -> list[str]:
    """The lines of a rehearsal that must succeed."""
    log = out / "pipeline.log"
    output = log.read_text(encoding="utf-8")[-3000:] if log.exists() else ""
    assert result.returncode == 0, f"{result.stdout[-2000:]}\n{result.stderr[-2000:]}\n{output}"
    return result.stdout.splitlines()


def steps_in(lines: list[str]) -> list[str]:
    """The steps that said what they did, in their order."""
    known = {"find_films", "promote", *STEPS}
    return [line.partition(":")[0] for line in lines if line.partition(":")[0] in known and "nothing has" not in line]


def artefact(out: Path, name: str) -> Path:
    """The newest of this name."""
    return max(out.glob(f"osteon-training-*/**/{name}"), key=lambda path: path.stat().st_mtime)


def same_as_repro(project: Project, out: Path) -> None:
    """Data byte for byte, figures closely."""
    outs = {item["path"]: item["md5"] for stage in lock_of(project).values() for item in stage["outs"]}
    for task, stage in BY_BYTES.items():
        assert dvc_hash(artefact(out, task)) == outs[stage], task
    figures = figures_of(artefact(out, "evaluate/report"))
    expected = figures_of(project.folder / "reports" / "evaluation")
    assert set(figures) == set(expected)
    assert figures == pytest.approx(expected, abs=SAME)


def figures_of(report: Path) -> dict[str, float]:
    test = json.loads((report / "metrics.json").read_text(encoding="utf-8"))["test"]
    return {
        f"{name} {key}": item[key]
        for name, item in test.items()
        if isinstance(item, dict)
        for key in ("value", "low", "high")
        if item.get(key) is not None
    }


@pytest.fixture(scope="module")
def in_processes(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("rehearsal") / "Röntgen films"
    return out, done(rehearsed(finished, out), out)


def test_every_step_says_what_it_did_and_the_figures_come_at_the_end(in_processes: tuple[Path, list[str]]) -> None:
    _, lines = in_processes
    assert steps_in(lines) == ["find_films", *(name for name in STEPS if name != "phantoms"), "promote"]
    assert {line.partition(":")[0] for line in lines} >= {"fold 0", "fold 1"}
    text = "\n".join(lines)
    for word in ("AUROC", "95% interval", "together", "report.html", "mlflow.db"):
        assert word in text


def test_what_comes_of_it_is_what_comes_of_dvc_repro(finished: Project, in_processes: tuple[Path, list[str]]) -> None:
    out, _ = in_processes
    same_as_repro(finished, out)


def test_kubeflows_page_has_the_figures_curves_and_pages(in_processes: tuple[Path, list[str]]) -> None:
    out, _ = in_processes
    written = json.loads(artefact(out, "evaluate/executor_output.json").read_text(encoding="utf-8"))["artifacts"]
    (figures,) = written["figures"]["artifacts"]
    expected = figures_of(artefact(out, "evaluate/report"))
    assert figures["metadata"]["auroc"] == expected["auroc value"]
    assert figures["metadata"]["auroc, low"] == expected["auroc low"]
    curves = written["curves"]["artifacts"][0]["metadata"]
    points = curves["confidenceMetrics"]
    assert (points[0]["recall"], points[-1]["recall"]) == (0.0, 1.0)
    matrix = curves["confusionMatrix"]
    assert [item["displayName"] for item in matrix["annotationSpecs"]] == ["not fractured", "fractured"]
    assert sum(sum(row["row"]) for row in matrix["rows"]) == figures["metadata"]["films"]
    assert artefact(out, "evaluate/page").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "quarantine" in artefact(out, "validate/page").read_text(encoding="utf-8")
    assert artefact(out, "promote/card").read_text(encoding="utf-8").startswith("#")


def test_the_pass_is_one_run_with_its_reason_and_its_steps_below(
    finished: Project, in_processes: tuple[Path, list[str]]
) -> None:
    from mlflow import MlflowClient

    out, _ = in_processes
    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'osteon'")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["osteon.reason"] == "rehearsal"
    commit = finished.done("git", "rev-parse", "HEAD").strip()
    assert parent.data.tags["osteon.pipeline.commit"] == commit  # the log of `dvc repro` beside it is no code
    below = [run.info.run_name for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(below) == sorted([*(set(STEPS) - {"phantoms"}), "fold 0", "fold 1", "promote"])


def test_a_second_rehearsal_does_only_what_looks_at_the_world(
    finished: Project, in_processes: tuple[Path, list[str]]
) -> None:
    out, first = in_processes
    lines = done(rehearsed(finished, out), out)
    assert steps_in(lines) == NEVER_CACHED
    auroc = next(line for line in first if line.startswith("AUROC"))
    assert auroc in lines


def test_a_change_of_one_parameter_does_only_what_it_concerns(
    finished: Project, in_processes: tuple[Path, list[str]]
) -> None:
    out, _ = in_processes
    lines = done(rehearsed(finished, out, "--param", "evaluation.confidence=0.9"), out)
    assert steps_in(lines) == ["find_films", "evaluate", "promote"]
    assert "90% interval" in "\n".join(lines)


def test_a_task_that_fails_is_named_with_its_reason(finished: Project, in_processes: tuple[Path, list[str]]) -> None:
    out, _ = in_processes
    result = rehearsed(finished, out, "--param", "validation.max_positive=0.1")
    assert result.returncode == 2
    assert "error: validate failed: the films cannot be trusted" in result.stderr
    assert "pipeline.log" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


RETRAIN = """
import sys
from pathlib import Path
from osteon.params import load_params, one_line
from components.promotion.policy import read_policy
from pipelines.compilation import commit_of_pipelines, compile_pipeline, source_digest
from pipelines.rehearsal import run_compiled, with_few_films

out = Path(sys.argv[1])
params = with_few_films(load_params(Path("params.yaml")))
once = params.resources.model_copy(update={"retries": 0})
compile_pipeline("retraining", out / "retraining.yaml", source_digest(), once, commit_of_pipelines())
arguments = {"params": one_line(params.model_dump(mode="json")), "repository": str(out / "films"), "mode": "off"}
arguments["policy"] = one_line(read_policy(Path("mlflow/promotion.yaml")).model_dump(mode="json"))
run_compiled(out / "retraining.yaml", arguments, out, "subprocess", {})
"""


def test_retraining_trains_for_a_reason_and_else_does_nothing(
    finished: Project, in_processes: tuple[Path, list[str]], tmp_path: Path
) -> None:
    out, _ = in_processes

    def retrained(store: Path) -> tuple[list[str], str]:
        variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}", "OSTEON_PASS": f"retraining {store}"}
        result = finished.run(sys.executable, "-c", RETRAIN, str(out), **variables)
        return done(result, out), (out / "pipeline.log").read_text(encoding="utf-8")

    # Its model was refused by a policy for grown models: the same films are no reason again.
    lines, output = retrained(out / "mlflow.db")
    assert "no reason to train" in output
    assert lines == []

    # In a store that knows of none, the training pipeline begins within; its steps are in the cache.
    lines, output = retrained(tmp_path / "mlflow.db")
    assert ": no model has been judged yet" in output
    assert steps_in(lines) == ["find_films"]
    assert "evaluate: nothing has changed" in lines
    assert runs_tags(tmp_path / "mlflow.db", "osteon.reason") == {"no model has been judged yet"}


# ---------------------------------------------------------------- in containers


@contextmanager
def killing(task: str) -> Iterator[list[str]]:
    """Kill the first container of a task some seconds after it has begun; what was killed is in the list."""
    import docker

    killed: list[str] = []
    over = threading.Event()
    client = docker.from_env()

    def watch() -> None:
        while not over.is_set() and not killed:
            containers = []
            # Of one that is gone since it was listed, podman says 500, which ignore_removed does not know.
            with suppress(docker.errors.APIError):
                containers = client.containers.list(ignore_removed=True)
            for container in containers:
                words = [*(container.attrs["Config"]["Cmd"] or ()), *container.attrs.get("Args", ())]
                if ("--function_to_execute", task) in pairwise(words):
                    time.sleep(3)
                    container.kill()
                    killed.append(container.id)
                    return
            time.sleep(0.2)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
        client.close()


def test_a_task_killed_in_its_container_is_named_and_the_next_run_goes_on_there(
    finished: Project, image: Image, tmp_path: Path
) -> None:
    words = ("--runner", "docker", "--image", image.name)
    with killing("train") as killed:
        result = rehearsed(finished, tmp_path / "out", *words)
    assert killed, result.stdout + result.stderr
    assert result.returncode == 2, result.stdout
    assert "error: train failed" in result.stderr
    before = steps_in(result.stdout.splitlines())
    assert before == ["find_films", *(name for name in STEPS if name not in ("phantoms", "train", "evaluate"))]

    lines = done(rehearsed(finished, tmp_path / "out", *words), tmp_path / "out")
    assert steps_in(lines) == ["find_films", "train", "evaluate", "promote"]
    same_as_repro(finished, tmp_path / "out")
    images = runs_tags(tmp_path / "out" / "mlflow.db", "osteon.image")
    assert len(images) == 1
    assert next(iter(images)).partition("@")[2].startswith("sha256:")


def runs_tags(store: Path, tag: str) -> set[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store}")
    (experiment,) = client.search_experiments(filter_string="name = 'osteon'")
    return {run.data.tags.get(tag) for run in client.search_runs([experiment.experiment_id])}


def test_without_an_engine_it_says_what_to_do(finished: Project, tmp_path: Path) -> None:
    words = ("osteon", "pipeline", "run", "--local", "--runner", "docker", "--out", str(tmp_path / "out"))
    result = finished.run(*words, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert result.returncode == 2
    assert "no container engine answers" in result.stderr
