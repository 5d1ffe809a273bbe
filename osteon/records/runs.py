"""A run of MLflow's for each step that did work, below that of the pipeline run it belongs to."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import psutil
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric, Run, RunTag
from mlflow.exceptions import MlflowException

from osteon.contract import Step, Summary
from osteon.environment import describe_environment
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
    PIPELINE,
    PROCESS,
    READ,
    STEP,
    WROTE,
    Lineage,
    lineage_of_run,
)
from osteon.records.pipeline_run import (
    close_killed_runs,
    open_pipeline_run,
    origin_tags,
    pipeline_run_key,
    process_tag,
)
from osteon.records.retries import Retries
from osteon.records.store import (
    connect,
    http_limits,
    retry_once_on_conflict,
    translate_outage,
)
from osteon.records.store_address import tracking_uri
from osteon.redaction import redact

log = logging.getLogger(__name__)

# Of a step's run and those below it.
_SHARED_TAGS = (STEP, PROCESS, COMMIT, DIRTY, IMAGE, PIPELINE, "mlflow.source.git.commit")


def run_step(
    step: Step,
    paths: dict[str, Path],
    params: Params,
    *,
    retries: Retries = Retries.LONG,
    name: str | None = None,
    options: dict[str, Any] | None = None,
) -> Summary:
    """Run a step and record it: parameters, lineage, datasets, figures, reports and the model it made.

    Args:
        step: what to run.
        paths: one for each of its inputs and outputs.
        params: the whole of params.yaml; the step gets the sections it names.
        retries: how long to wait for a tracking server that goes away in the middle.
        name: of the run; the step's, unless a pipeline run has several of it.
        options: of the step, that a person gave.

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
        http_limits(retries),
        _recording(client, experiment, step, params, read, name or step.name) as recorder,
    ):
        for title, section in sections.values():
            recorder.log_params(title, section)
        given_options = {key: value for key, value in (options or {}).items() if value}
        mlflow.log_params(redact({f"{step.name}.{key}": value for key, value in given_options.items()}))
        arguments = {argument: section for argument, (_, section) in sections.items()}
        summary = step.function(**paths, **arguments, **given_options)
        recorder.log_results(summary, paths)
    return summary


def log_metrics(figures: dict[str, float], step: int | None = None) -> None:
    """Add figures to the innermost run, if one is being recorded: a nested one's, or the step's."""
    if os.environ.get(_RECORDING):
        mlflow.log_metrics(figures, step=step)


def log_params(values: dict[str, Any]) -> None:
    """Add parameters to the innermost run, if one is being recorded."""
    if os.environ.get(_RECORDING):
        mlflow.log_params(redact(values))


def set_tag(name: str, value: str) -> None:
    """Tag the innermost run, if one is being recorded."""
    if os.environ.get(_RECORDING):
        mlflow.set_tag(name, redact(value))


def log_report(folder: Path, name: str) -> str | None:
    """Keep a folder's files with the run that is recorded, now and not at its end; the run's id, if there is one."""
    run_id = os.environ.get(_RECORDING)
    if run_id:
        mlflow.log_artifacts(str(folder), name)
    return run_id


def log_at_end(log_output: Callable[[], object]) -> None:
    """Log something when the step's metrics are recorded, if a run is being recorded: MLflow copies them to a model.

    The step gives what logs its output, so that the other steps' code does not reach what the output is.
    """
    if os.environ.get(_RECORDING):
        _at_end.append(log_output)


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
    nested = mlflow.active_run() is not None  # else it is another process that records it
    outer = mlflow.active_run() or connect()[0].get_run(os.environ[_RECORDING])
    tags = {tag: outer.data.tags[tag] for tag in _SHARED_TAGS if tag in outer.data.tags}
    mlflow.start_run(
        experiment_id=outer.info.experiment_id,
        run_name=name,
        tags=tags,
        nested=nested,
        parent_run_id=None if nested else outer.info.run_id,
    )
    with _ended_by(mlflow.end_run):
        yield


@contextmanager
def _ended_by(end: Callable[[str], None]) -> Iterator[None]:
    """Call `end` when the block is left, with MLflow's status for how it was."""
    status = "FINISHED"
    try:
        yield
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except BaseException:
        status = "FAILED"
        raise
    finally:
        end(status)


_RECORDING = "OSTEON_RECORDING_RUN"  # set while a run is open in this process
_at_end: list[Callable[[], object]] = []


@dataclass
class _Recorder:
    """One step's open run."""

    step: Step
    run: Run
    parent: Run | None
    client: MlflowClient

    def log_params(self, section_name: str, section: Any) -> None:
        mlflow.log_params(redact(flatten(section, f"{section_name}.")))

    def log_results(self, summary: Summary, paths: dict[str, Path]) -> None:
        """Figures, outputs' hashes and reports, and what log_at_end was given; then the parent's view of them."""
        figures: dict[str, float] = {}
        for name, value in summary.model_dump().items():
            named = (
                {f"{name}.{key}": content for key, content in value.items()}
                if isinstance(value, dict)
                else {name: value}
            )
            figures |= {key: float(number) for key, number in named.items() if isinstance(number, int | float)}
        figures["seconds"] = time.time() - psutil.Process().create_time()
        mlflow.log_metrics(figures)
        mlflow.set_tags(redact(summary.tags()))
        for name, output in self.step.outputs.items():
            mlflow.set_tag(f"{WROTE}{dvc_hash(paths[name])}", name)
            if output.kind == "report":
                (mlflow.log_artifacts if paths[name].is_dir() else mlflow.log_artifact)(str(paths[name]), name)
        while _at_end:
            _at_end.pop(0)()
        upstream = lineage_of_run(self.client, self.run.info.run_id)
        if data := upstream.data:
            mlflow.set_tag(DATA, data)
        self._log_to_model(figures, upstream)
        if self.parent is not None:
            self._log_to_parent(self.parent.info.run_id, figures, upstream)

    def _log_to_parent(self, parent: str, figures: dict[str, float], upstream: Lineage) -> None:
        """In one call: of steps that set a tag at once, MLflow has each try again here, and not in set_tag."""
        tags = {f"{STEP}.{made.step}": made.run_id for made in upstream.walk()}
        if upstream.data:
            tags[DATA] = upstream.data
        now = int(time.time() * 1000)
        metrics = [Metric(f"{self.step.name}.{name}", value, now, 0) for name, value in figures.items()]
        parent_tags = [RunTag(name, value) for name, value in tags.items()]
        retry_once_on_conflict(partial(self.client.log_batch, parent, metrics=metrics, tags=parent_tags))

    def _log_to_model(self, figures: dict[str, float], upstream: Lineage) -> None:
        """A step that read a model has measured it: its figures belong on the model's page."""
        if not any(mark.kind == "model" for mark in self.step.inputs.values()):
            return
        for made in upstream.upstream:
            outputs = self.client.get_run(made.run_id).outputs
            for model in outputs.model_outputs if outputs else ():
                mlflow.log_metrics(figures, model_id=model.model_id)


@contextmanager
def _recording(
    client: MlflowClient, experiment: str, step: Step, params: Params, read: dict[str, str], name: str
) -> Iterator[_Recorder]:
    close_killed_runs(client, experiment)
    key = pipeline_run_key()
    parent = open_pipeline_run(client, experiment, key, params) if key else None
    # A file, for MLflow cuts a tag after 8,000 characters without a word, and the names and versions of all packages
    # come near to that. The tag with its hash shows which steps ran elsewhere, without reading each file.
    environment = json.dumps(describe_environment(), indent=1) + "\n"
    tags: dict[str, str] = {
        STEP: step.name,
        PROCESS: process_tag(),
        ENVIRONMENT: hashlib.sha256(environment.encode()).hexdigest(),
        **origin_tags(),
        **{f"{READ}{md5}": name for name, md5 in read.items()},
    }
    for given, mark in step.inputs.items():
        if mark.kind == "source":
            tags[DATA] = read[given]
    unfinished = _unfinished_run(client, experiment, parent, name, tags) if parent else None
    if unfinished:
        # Its old process may have been killed on another machine, which nobody could tell.
        run = mlflow.start_run(run_id=unfinished, tags=tags)
    else:
        run = mlflow.start_run(
            experiment_id=experiment,
            run_name=name,
            tags=tags,
            parent_run_id=parent.info.run_id if parent else None,
        )
    os.environ[_RECORDING] = run.info.run_id
    _at_end.clear()

    def end(status: str) -> None:
        del os.environ[_RECORDING]
        _end_run(client, parent, status)

    with _ended_by(end):
        mlflow.log_text(environment, ENVIRONMENT_FILE)
        for given, md5 in read.items():
            retry_once_on_conflict(partial(mlflow.log_input, _dataset(given, md5), context=step.name))
        yield _Recorder(step, run, parent, client)


def _unfinished_run(client: MlflowClient, experiment: str, parent: Run, name: str, tags: dict[str, str]) -> str | None:
    """The run of this step in this pipeline run that did not come to its end: a retry of the step goes on in it.

    Only where it read the same, so that what the run says of it stays true.
    """
    runs = client.search_runs(
        [experiment],
        f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.`{STEP}` = '{tags[STEP]}' "
        f"and attributes.run_name = '{name}' and attributes.status != 'FINISHED'",
    )
    read = {tag for tag in tags if tag.startswith(READ)}
    for run in runs:
        if {tag for tag in run.data.tags if tag.startswith(READ)} == read:
            return str(run.info.run_id)
    return None


def _end_run(client: MlflowClient, parent: Run | None, status: str) -> None:
    """The user must read why the step failed, not that a server is gone which cannot record it."""
    failed = status != "FINISHED"
    try:
        with http_limits(Retries.CONNECTING) if failed else nullcontext():
            mlflow.end_run(status)
            if parent:
                client.set_terminated(parent.info.run_id, status)
    except MlflowException:
        if not failed:
            raise
        log.warning("the run could not be marked %s; the next step on this machine does it", status)


def _dataset(name: str, md5: str) -> Any:
    return MetaDataset(CodeDatasetSource({"osteon.input": name}), name=name, digest=md5)  # type: ignore[abstract]
