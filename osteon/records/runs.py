"""A run of MLflow's for each step that did work, and one for the whole pass."""

import hashlib
import json
import logging
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from osteon.contract import Step, Summary
from osteon.environment import describe_environment, dvc_remote
from osteon.errors import OsteonError
from osteon.files import dvc_hash
from osteon.params import Params, flatten, section_of
from osteon.records.lineage import (
    COMMIT,
    DATA,
    DIRTY,
    ENVIRONMENT,
    ENVIRONMENT_FILE,
    IMAGE,
    PARENT,
    PASS,
    PIPELINE,
    PROCESS,
    READ,
    REMOTE,
    STEP,
    WROTE,
    Lineage,
    lineage_of_run,
)
from osteon.records.store import (
    A_RESTART,
    AT_FIRST,
    connect,
    http_limits,
    retry_once_on_conflict,
    tracking_uri,
    translate_outage,
)
from osteon.redaction import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

# Of a step's run and those below it.
_SHARED_TAGS = (STEP, PROCESS, COMMIT, DIRTY, IMAGE, PIPELINE, "mlflow.source.git.commit")


def run_step(
    step: Step, paths: dict[str, Path], params: Params, *, patient: bool = True, name: str | None = None
) -> Summary:
    """Run a step and record it: parameters, lineage, datasets, figures, reports and the model it made.

    Args:
        step: what to run.
        paths: one for each of its inputs and outputs.
        params: the whole of params.yaml; the step gets the sections it names.
        patient: wait four minutes for a server that goes away in the middle, as suits a training; else half of one.
        name: of the run; the step's, unless a pass has several of it.

    Raises:
        OsteonError: an input is missing, or the tracking server cannot be reached, before or in the middle.

    """
    for given in step.inputs:
        if not paths[given].exists():
            raise OsteonError(f"{step.name}: --{given} {paths[given]} does not exist; run the step that makes it first")
    sections = {argument: section_of(params, kind) for argument, kind in step.sections.items()}
    read = {given: dvc_hash(paths[given]) for given, mark in step.inputs.items() if mark.kind != "films"}
    client, experiment = connect()
    with (
        translate_outage(),
        nullcontext() if patient else http_limits(A_RESTART),
        _recording(client, experiment, step, params, read, name or step.name) as recorder,
    ):
        for title, section in sections.values():
            recorder.log_params(title, section)
        summary = step.function(**paths, **{argument: section for argument, (_, section) in sections.items()})
        recorder.log_results(summary, paths)
    return summary


def log_metrics(figures: dict[str, float], step: int | None = None) -> None:
    """Add figures to the innermost run, if one is being recorded: a nested one's, or the step's."""
    if os.environ.get(_RECORDING):
        import mlflow

        mlflow.log_metrics(figures, step=step)


def log_params(values: dict[str, Any]) -> None:
    """Add parameters to the innermost run, if one is being recorded."""
    if os.environ.get(_RECORDING):
        import mlflow

        mlflow.log_params(redact(values))


def set_tag(name: str, value: str) -> None:
    """Tag the innermost run, if one is being recorded."""
    if os.environ.get(_RECORDING):
        import mlflow

        mlflow.set_tag(name, redact(value))


def log_report(folder: Path, name: str) -> str | None:
    """Keep a folder's files with the run that is recorded, now and not at its end; the run's id, if there is one."""
    run_id = os.environ.get(_RECORDING)
    if run_id:
        import mlflow

        mlflow.log_artifacts(str(folder), name)
    return run_id


class RecordedRun(NamedTuple):
    """A run that is being recorded, as another process has to know it."""

    uri: str
    run_id: str


def recorded_run() -> RecordedRun | None:
    """The step's run, if it is being recorded."""
    run_id = os.environ.get(_RECORDING)
    return RecordedRun(tracking_uri(), run_id) if run_id else None


@contextmanager
def joined(recorded: RecordedRun | None) -> Iterator[None]:
    """In another process than the step's: nested runs lie below its run.

    None: nothing is recorded, though a run was open when this process began. joblib keeps its processes for later work.
    """
    if recorded is None:
        os.environ.pop(_RECORDING, None)
        yield
        return
    os.environ["MLFLOW_TRACKING_URI"], os.environ[_RECORDING] = recorded
    try:
        yield
    finally:
        del os.environ["MLFLOW_TRACKING_URI"], os.environ[_RECORDING]


@contextmanager
def nested_run(name: str) -> Iterator[None]:
    """A run below the step's for a part of its work, such as a trial or a fold; nothing where none is recorded."""
    if not os.environ.get(_RECORDING):
        yield
        return
    import mlflow

    nested = mlflow.active_run() is not None  # else it is another process that records it
    outer = mlflow.active_run() or connect()[0].get_run(os.environ[_RECORDING])
    tags = {tag: outer.data.tags[tag] for tag in _SHARED_TAGS if tag in outer.data.tags}
    status = "FINISHED"
    mlflow.start_run(
        experiment_id=outer.info.experiment_id,
        run_name=name,
        tags=tags,
        nested=nested,
        parent_run_id=None if nested else outer.info.run_id,
    )
    try:
        yield
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except BaseException:
        status = "FAILED"
        raise
    finally:
        mlflow.end_run(status)


_RECORDING = "OSTEON_RECORDING_RUN"  # set while a run is open in this process


@dataclass
class _Recorder:
    """One step's open run."""

    step: Step
    run: "Run"
    parent: "Run | None"
    client: "MlflowClient"

    def log_params(self, section_name: str, section: Any) -> None:
        import mlflow

        mlflow.log_params(redact(flatten(section, f"{section_name}.")))

    def log_results(self, summary: Summary, paths: dict[str, Path]) -> None:
        """Figures, outputs' hashes, reports, models and datasets; then the parent's view of them."""
        import mlflow
        import psutil

        figures: dict[str, float] = {}
        for name, value in summary.model_dump().items():
            named = {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
            figures |= {key: float(one) for key, one in named.items() if isinstance(one, int | float)}
        figures["seconds"] = time.time() - psutil.Process().create_time()
        mlflow.log_metrics(figures)
        for name, output in self.step.outputs.items():
            mlflow.set_tag(f"{WROTE}{dvc_hash(paths[name])}", name)
            if output.kind == "report":
                (mlflow.log_artifacts if paths[name].is_dir() else mlflow.log_artifact)(str(paths[name]), name)
            elif output.kind == "model":
                log_model(paths[name])
        upstream = lineage_of_run(self.client, self.run.info.run_id)
        if data := upstream.data:
            mlflow.set_tag(DATA, data)
        self._log_to_model(figures, upstream)
        if self.parent is not None:
            self._log_to_parent(self.parent.info.run_id, figures, upstream)

    def _log_to_parent(self, parent: str, figures: dict[str, float], upstream: Lineage) -> None:
        """In one call: of steps that set a tag at once, MLflow has each try again here, and not in set_tag."""
        from mlflow.entities import Metric, RunTag

        tags = {f"{STEP}.{made.step}": made.run_id for made in upstream.walk()}
        if upstream.data:
            tags[DATA] = upstream.data
        now = int(time.time() * 1000)
        metrics = [Metric(f"{self.step.name}.{name}", value, now, 0) for name, value in figures.items()]
        told = [RunTag(name, value) for name, value in tags.items()]
        retry_once_on_conflict(partial(self.client.log_batch, parent, metrics=metrics, tags=told))

    def _log_to_model(self, figures: dict[str, float], upstream: Lineage) -> None:
        """A step that read a model has measured it: its figures belong on the model's page."""
        import mlflow

        if not any(mark.kind == "model" for mark in self.step.inputs.values()):
            return
        for made in upstream.upstream:
            outputs = self.client.get_run(made.run_id).outputs
            for model in outputs.model_outputs if outputs else ():
                mlflow.log_metrics(figures, model_id=model.model_id)


@contextmanager
def _recording(
    client: "MlflowClient", experiment: str, step: Step, params: Params, read: dict[str, str], name: str
) -> Iterator[_Recorder]:
    import mlflow

    _close_killed_runs(client, experiment)
    key = current_pass()
    parent = _parent_run(client, experiment, key, params) if key else None
    # A file, for MLflow cuts a tag after 8,000 characters without a word, and the names and versions of all packages
    # come near to that. The tag with its hash tells the steps apart that ran elsewhere, without reading each file.
    environment = json.dumps(describe_environment(), indent=1) + "\n"
    tags: dict[str, str] = {
        STEP: step.name,
        PROCESS: _process_tag(),
        ENVIRONMENT: hashlib.sha256(environment.encode()).hexdigest(),
        **_origin(),
        **{f"{READ}{md5}": name for name, md5 in read.items()},
    }
    for given, mark in step.inputs.items():
        if mark.kind == "source":
            tags[DATA] = read[given]
    status = "FINISHED"
    begun = _begun(client, experiment, parent, name, tags) if parent else None
    if begun:
        # Its old process may have been killed on another machine, which nobody could tell.
        run = mlflow.start_run(run_id=begun, tags=tags)
    else:
        run = mlflow.start_run(
            experiment_id=experiment,
            run_name=name,
            tags=tags,
            parent_run_id=parent.info.run_id if parent else None,
        )
    os.environ[_RECORDING] = run.info.run_id
    try:
        mlflow.log_text(environment, ENVIRONMENT_FILE)
        for given, md5 in read.items():
            retry_once_on_conflict(partial(mlflow.log_input, _dataset(given, md5), context=step.name))
        yield _Recorder(step, run, parent, client)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except BaseException:
        status = "FAILED"
        raise
    finally:
        del os.environ[_RECORDING]
        _end_run(client, parent, status)


def _begun(client: "MlflowClient", experiment: str, parent: "Run", name: str, tags: dict[str, str]) -> str | None:
    """The run of this step and pass that did not come to its end: a step that is tried again goes on in it.

    Only where it read the same, so that what the run says of it stays true.
    """
    found = client.search_runs(
        [experiment],
        f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.`{STEP}` = '{tags[STEP]}' "
        f"and attributes.run_name = '{name}' and attributes.status != 'FINISHED'",
    )
    read = {tag for tag in tags if tag.startswith(READ)}
    for run in found:
        if {tag for tag in run.data.tags if tag.startswith(READ)} == read:
            return str(run.info.run_id)
    return None


def _end_run(client: "MlflowClient", parent: "Run | None", status: str) -> None:
    """What made a step fail is what its user must read, not that a server which is gone cannot be told of it."""
    import mlflow
    from mlflow.exceptions import MlflowException

    failed = status != "FINISHED"
    try:
        with http_limits(AT_FIRST) if failed else nullcontext():
            mlflow.end_run(status)
            if parent:
                client.set_terminated(parent.info.run_id, status)
    except MlflowException:
        if not failed:
            raise
        log.warning("the run could not be marked %s; the next step on this machine does it", status)


def current_pass() -> str | None:
    """What names the pass through the pipeline this process belongs to: OSTEON_PASS, or the `dvc repro` above it."""
    import psutil

    if given := os.environ.get("OSTEON_PASS"):
        return given
    if "DVC_STAGE" in os.environ:
        for process in psutil.Process().parents():
            try:
                if any(Path(word).name == "dvc" for word in process.cmdline()[:3]):
                    return f"dvc-{platform.node()}-{process.pid}-{int(process.create_time())}"
            except psutil.Error:
                continue
    return None


def begin_pass(params: Params, tags: dict[str, str]) -> None:
    """Make the run that stands for the pass, or take up the one that is there, and tag it; nothing without a pass."""
    key = current_pass()
    if key is None:
        return
    client, experiment = connect()
    with translate_outage():
        run = _parent_run(client, experiment, key, params)
        for name, value in redact(tags).items():
            client.set_tag(run.info.run_id, name, value)


def end_pass(status: str, tags: dict[str, str]) -> "Run | None":
    """Say how the pass ended.

    Args:
        status: one of MLflow's: FINISHED, FAILED or KILLED.
        tags: of the pass' run.

    Returns:
        its run; None where no step of this pass came so far as to make one.

    """
    key = current_pass()
    client, experiment = connect()
    with translate_outage():
        found = run_of_pass(client, experiment, key) if key else None
        if found is None:
            return None
        run_id = str(found.info.run_id)
        for name, value in redact(tags).items():
            client.set_tag(run_id, name, value)
        client.set_terminated(run_id, status)
        return client.get_run(run_id)


def lineage_of_pass() -> list[Lineage]:
    """The runs behind the present pass, its own among them; none where there is no pass."""
    key = current_pass()
    client, experiment = connect()
    found = run_of_pass(client, experiment, key) if key else None
    return list(lineage_of_run(client, found.info.run_id).walk()) if found else []


def run_of_pass(client: "MlflowClient", experiment: str, key: str) -> "Run | None":
    """The run that stands for a pass; None where no step has begun it."""
    found = client.search_runs([experiment], f"tags.`{PASS}` = '{key}'", max_results=1)
    return found[0] if found else None


def _parent_run(client: "MlflowClient", experiment: str, key: str, params: Params) -> "Run":
    """The run that stands for the whole pass; the first step of a pass makes it."""
    from mlflow.entities import Param

    found = run_of_pass(client, experiment, key)
    if found:
        client.update_run(found.info.run_id, "RUNNING")
        return found
    tags = {PASS: key, STEP: PARENT, PROCESS: _process_tag(), **_origin()}
    run = client.create_run(experiment, run_name=f"{PARENT} {datetime.now(UTC):%Y-%m-%d %H:%M}", tags=tags)
    client.log_batch(run.info.run_id, params=[Param(name, str(value)) for name, value in flatten(params).items()])
    return run


def _origin() -> dict[str, str]:
    """Commit, whether the tree was dirty, image and DVC's remote, as tags. In an image they come from its environment.

    An image has no .dvc, so no remote is known there.
    """
    commit, dirty = present_commit()
    tags = {COMMIT: commit, DIRTY: dirty, "mlflow.source.git.commit": commit}
    for variable, name in (("OSTEON_IMAGE", IMAGE), ("OSTEON_PIPELINE_COMMIT", PIPELINE)):
        if value := os.environ.get(variable):
            tags[name] = value
    if remote := dvc_remote():
        tags[REMOTE] = remote
    return redact(tags)


def present_commit() -> tuple[str, str]:
    """The commit of this folder or image, and whether something was changed since: true, false or unknown."""
    commit, dirty = os.environ.get("OSTEON_GIT_COMMIT"), os.environ.get("OSTEON_GIT_DIRTY", "")
    if not commit:
        commit = _git("rev-parse", "HEAD")
        # dvc.lock is what a run writes, not what it was made from.
        dirty = str(bool(_git("status", "--porcelain", "--", ".", ":!dvc.lock"))).lower() if commit else "unknown"
    return commit or "unknown", dirty


def _git(*words: str) -> str:
    try:
        done = subprocess.run(("git", *words), capture_output=True, text=True, timeout=30, check=True)  # noqa: S603, S607
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _process_tag() -> str:
    import psutil

    return f"{platform.node()}/{os.getpid()}/{int(psutil.Process().create_time())}"


def _close_killed_runs(client: "MlflowClient", experiment: str) -> None:
    """Runs whose process on this machine is gone without a word were killed; say so."""
    import psutil

    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        node, pid, started = (*run.data.tags.get(PROCESS, "").split("/"), "", "")[:3]
        if node != platform.node() or not pid.isdigit():
            continue
        try:
            alive = int(psutil.Process(int(pid)).create_time()) == int(started)
        except psutil.Error:
            alive = False
        # The parent's process is that of its first step, which may be long done while others go on; a parent ends
        # with its steps.
        if not alive and run.data.tags.get(STEP) != PARENT:
            client.set_terminated(run.info.run_id, "KILLED")
            if parent := run.data.tags.get("mlflow.parentRunId"):
                client.set_terminated(parent, "KILLED")


def _dataset(name: str, md5: str) -> Any:
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    return MetaDataset(CodeDatasetSource({"osteon.input": name}), name=name, digest=md5)  # type: ignore[abstract]


def log_model(folder: Path) -> str:
    """Log a packaged model to the run that is open, so that mlflow.pyfunc.load_model answers for films; its address."""
    import mlflow
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    from osteon.models.package import package

    signature = ModelSignature(
        inputs=Schema(
            [ColSpec(DataType.binary, "film", required=False), ColSpec(DataType.string, "path", required=False)]
        ),
        outputs=Schema(
            [
                ColSpec(DataType.double, "probability"),
                ColSpec(DataType.string, "answer"),
                ColSpec(Array(DataType.string), "warnings"),
                ColSpec(DataType.string, "map", required=False),
            ]
        ),
        params=ParamSchema([ParamSpec("maps", DataType.boolean, default=False)]),
    )
    root = Path(package.__file__).parents[2]
    logged = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(root / "models" / "package" / "mlflow_model.py"),
        artifacts={"package": str(folder)},
        code_paths=[str(root)],
        signature=signature,
        input_example=pd.DataFrame({"film": [package.example_film()]}),
        model_config={"threads": 0},
        pip_requirements=package.requirements(package.read_info(folder)),
    )
    return str(logged.model_uri)
