"""The training pipeline on this machine: the compiled one, on a few phantoms.

DVC's remote, MLflow's store and whatever a task writes lie in one folder. Every task runs in a process or a container
of its own and finds its films by their hash, as on a cluster. A second rehearsal in the same folder finds in the cache
what has not changed.
"""

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Literal
from uuid import uuid4

import kfp.components
from kfp import local
from kfp.local import docker_task_handler, logging_utils
from kfp.local.cache import LocalCache

from components.cli.show_evaluation import print_summary
from components.phantoms.step import phantoms
from components.promotion.policy import read_policy
from components.steps import STEPS
from osteon.errors import OsteonError
from osteon.files import dvc_hash, remove
from osteon.params import Params, load_params, one_line
from osteon.records import lineage, pipeline_run
from pipelines.arguments import with_values
from pipelines.compilation import commit_of_pipelines, compile_pipeline, source_digest
from pipelines.containers import find_image, run_container
from pipelines.local_output import COLOUR, LocalOutput

Runner = Literal["subprocess", "docker"]
POLICY = Path("mlflow/promotion.yaml")
FILMS, REMOTE, CACHE, STORE = "films", "remote", "cache", "mlflow.db"
PACKAGE, LOG = "training.yaml", "pipeline.log"
# What makes a pipeline run short; anything else is as params.yaml has it.
FEW: dict[str, dict[str, object]] = {
    "phantoms": {"films": 72, "size": 96, "fractured": 0.5},
    "validation": {"min_side": 32},
    "preparation": {"image_size": 64, "folds": 2},
    "augmentation": {"copies": 1, "copies_rarer": 1},
    "features": {"image_size": 64},
    "search": {"trials": 1, "classical_trials": 0, "epochs": 2},
    "cross_validation": {"models": ["svm", "logistic_regression"]},
    "training": {"width": 8, "epochs": 2, "patience": 0, "batch_size": 8, "precision": "float32"},
    "classical": {"components": 8},
    "evaluation": {"resamples": 200},
}


def with_few_films(params: Params) -> Params:
    """Parameters for a pipeline run of a few minutes: few and small phantoms, two folds, two epochs."""
    few = {name: getattr(params, name).model_copy(update=values) for name, values in FEW.items()}
    data = params.data.model_copy(update={"root": "data/phantoms", "layout": "manifest"})
    return params.model_copy(update={**few, "data": data})


def rehearse_here(out: Path, params_file: Path, values: list[str], runner: Runner, image: str) -> None:
    """Run the training pipeline with the parameters and rules of the current folder, and print the evaluation.

    Args:
        out: folder for all that comes of it; made if it is not there.
        params_file: the parameter file; with_few_films shortens what it says.
        values: KEY=VALUE, instead of those.
        runner: a process or a container for each task.
        image: the name of the containers' image on this machine.

    Raises:
        OsteonError: a task failed; the text says which, and where its log is.

    """
    params = with_values(with_few_films(load_params(params_file)), values)
    digest = find_image(image) if runner == "docker" else source_digest()
    rehearse(out, params, one_line(read_policy(POLICY).model_dump(mode="json")), runner, digest, print_summary)


def rehearse(out: Path, params: Params, policy: str, runner: Runner, image: str, show: Callable[[Path], None]) -> None:
    """Run the training pipeline here.

    Args:
        out: folder for all that comes of it; made if it is not there.
        params: phantoms and all.
        policy: of promotion, as one line.
        runner: a process or a container a task.
        image: for containers NAME@ID; for processes what stands for it.
        show: shows the evaluation in a folder; called while MLflow's store is that of the rehearsal.

    Raises:
        OsteonError: a task failed; the text says which, and where its log is.

    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    make_repository(out / FILMS, out / REMOTE, params)
    # Whoever waits for it wants to know at once what failed.
    once = params.resources.model_copy(update={"retries": 0})
    compile_pipeline("training", out / PACKAGE, image, once, commit_of_pipelines())
    arguments = {
        "params": one_line(params.model_dump(mode="json")),
        "policy": policy,
        "repository": str(out / FILMS),
        "revision": "main",
        "reason": "rehearsal",
    }
    variables = {
        "OSTEON_PASS": f"rehearsal-{uuid4().hex[:12]}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{out / STORE}",
    }
    with _variables(variables):
        run_compiled(out / PACKAGE, arguments, out, runner, variables)
        show(_evaluation(out))


def make_repository(folder: Path, remote: Path, params: Params) -> None:
    """A git repository with DVC that has the phantoms, pushed to a remote; what is there already is kept."""
    made_of = folder / "phantoms.json"
    wanted = params.phantoms.model_dump_json()
    if made_of.is_file() and made_of.read_text(encoding="utf-8") == wanted:
        return
    remove(folder)
    folder.mkdir(parents=True)
    films = folder / params.data.root
    phantoms(films, folder / "sheet.png", params.phantoms)

    def do(*words: str) -> None:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise OsteonError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()[-300:]}")

    dvc = (sys.executable, "-m", "dvc")
    do("git", "init", "-q", "-b", "main")
    do(*dvc, "init", "-q")
    # `dvc remote add` writes no letters but those of ASCII, though it reads them.
    config = f"[core]\n    analytics = false\n    remote = here\n['remote \"here\"']\n    url = {remote}\n"
    (folder / ".dvc" / "config").write_text(config, encoding="utf-8")
    do(*dvc, "add", "-q", params.data.root)
    do(*dvc, "push", "-q")
    do("git", "add", "-A")
    identity = ("-c", "user.name=Osteon", "-c", "user.email=osteon@localhost")
    do("git", *identity, "commit", "-q", "--no-verify", "-m", "Phantoms")
    made_of.write_text(wanted, encoding="utf-8")  # last: what was interrupted is made anew


def run_compiled(
    package: Path, arguments: dict[str, str], out: Path, runner: Runner, variables: dict[str, str]
) -> None:
    """Run a compiled pipeline by kfp.

    Args:
        package: the file.
        arguments: of the pipeline.
        out: gets the tasks' artefacts, the cache, and a log of all output.
        runner: a process or a container a task.
        variables: that the tasks need; of processes they must be this one's already.

    Raises:
        OsteonError: a task failed.

    """
    docker_task_handler.run_docker_container = run_container
    # kfp collects folds in the order in which they end; in another order it would not find what came of them.
    key_of = LocalCache._serialize_value_for_key
    LocalCache._serialize_value_for_key = staticmethod(lambda value: _in_any_order(key_of(value)))
    with warnings.catch_warnings(), (out / LOG).open("w", encoding="utf-8") as file:
        warnings.simplefilter("ignore")  # that GPUs and the like have no effect here
        in_container = local.DockerRunner(environment={**variables, "HOME": "/tmp"})  # noqa: S108
        runs = local.SubprocessRunner(use_venv=False) if runner == "subprocess" else in_container
        local.init(runs, pipeline_root=str(out), enable_caching=True, cache_root=str(out / CACHE))
        pipeline = kfp.components.load_component_from_file(str(package))
        output = LocalOutput(file, sys.stdout, frozenset({"find_films", "fold", "promote", *STEPS}))
        try:
            # Without its own context kfp does not log which tasks were in the cache.
            with redirect_stdout(output), logging_utils.local_logger_context():
                pipeline(**arguments)
        except RuntimeError as error:
            raise OsteonError(_failure(str(error), output.reasons, out / LOG)) from None


def _in_any_order(value: object) -> object:
    return sorted(value, key=json.dumps) if isinstance(value, list) else value


def _failure(message: str, reasons: list[str], log: Path) -> str:
    """Which task failed and why, from the message of kfp."""
    task = re.search(r"Inner task failed: '([^']+)'", COLOUR.sub("", message))
    why = f": {reasons[-1]}" if reasons else ""
    return f"{task[1].replace('-', '_') if task else 'a task'} failed{why} (the whole output: {log})"


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _evaluation(out: Path) -> Path:
    """The folder of the evaluation that this pipeline run made or took from the cache."""
    made = pipeline_run.pipeline_run_lineage()
    wrote = {tag.removeprefix(lineage.WROTE) for node in made if node.step == "evaluate" for tag in node.tags}
    for folder in out.glob("osteon-training-*/evaluate/report"):
        if dvc_hash(folder) in wrote:
            return folder
    raise OsteonError(f"{out}: has no evaluation of this pipeline run; remove the folder and run again")
