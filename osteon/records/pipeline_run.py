"""The run of MLflow's that stands for a whole run of the pipeline; the runs of its steps lie below it."""

import logging
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil
from mlflow import MlflowClient
from mlflow.entities import Param, Run
from mlflow.exceptions import MlflowException

from osteon.environment import dvc_remote, present_commit, uncommitted_code_warning
from osteon.errors import OsteonError
from osteon.params import Params, flatten
from osteon.records.lineage import (
    COMMIT,
    DIRTY,
    FILMS_COMMIT,
    IMAGE,
    PARENT,
    PASS,
    PIPELINE,
    PROCESS,
    REMOTE,
    STEP,
    Lineage,
    lineage_of_run,
)
from osteon.records.store import connect, reason, translate_outage
from osteon.redaction import redact

log = logging.getLogger(__name__)

KEY = "OSTEON_PASS"  # the variable that names the pipeline run of a process


def pipeline_run_key() -> str | None:
    """What names the pipeline run that this process belongs to: OSTEON_PASS, or the `dvc repro` above it.

    None: it belongs to no pipeline run, as a step that a person calls alone.
    """
    if given := os.environ.get(KEY):
        return given
    if "DVC_STAGE" in os.environ:
        for process in psutil.Process().parents():
            try:
                if any(Path(word).name == "dvc" for word in process.cmdline()[:3]):
                    return f"dvc-{platform.node()}-{process.pid}-{int(process.create_time())}"
            except psutil.Error:
                continue
    return None


def begin_pipeline_run(params: Params, tags: dict[str, str]) -> None:
    """Make MLflow's run of the pipeline run, or take up the one that is there, and tag it; nothing without a key."""
    key = pipeline_run_key()
    if key is None:
        return
    client, experiment = connect()
    with translate_outage():
        run = open_pipeline_run(client, experiment, key, params)
        for name, value in redact(tags).items():
            client.set_tag(run.info.run_id, name, value)


def end_pipeline_run(status: str, tags: dict[str, str | None]) -> Run | None:
    """Record how the pipeline run ended. Unless it finished, steps' runs that have not ended are marked KILLED.

    Args:
        status: one of MLflow's: FINISHED, FAILED or KILLED.
        tags: to set on its run; None: to remove, if it is there.

    Returns:
        its run; None where no step came so far as to make one.

    """
    key = pipeline_run_key()
    client, experiment = connect()
    with translate_outage():
        run = find_pipeline_run(client, experiment, key) if key else None
        if run is None:
            return None
        run_id = str(run.info.run_id)
        for name, value in tags.items():
            if value is not None:
                client.set_tag(run_id, name, redact(value))
            elif name in run.data.tags:
                client.delete_tag(run_id, name)
        if status != "FINISHED":
            _end_open_runs(client, experiment, run_id)
        client.set_terminated(run_id, status)
        return client.get_run(run_id)


def _end_open_runs(client: MlflowClient, experiment: str, parent: str) -> None:
    """Mark the runs below one as KILLED that have not ended; nobody on another machine can tell that they are gone."""
    for run in _runs_below(client, experiment, parent):
        _end_open_runs(client, experiment, run.info.run_id)
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")


def _runs_below(client: MlflowClient, experiment: str, parent: str) -> list[Run]:
    """The runs right below one, the first that began first."""
    below = f"tags.`mlflow.parentRunId` = '{parent}'"
    return list(client.search_runs([experiment], below, order_by=["attributes.start_time ASC"], max_results=1000))


class StepRun(NamedTuple):
    """A step's run of a pipeline run.

    name: the step's, of a fold or a worker its own. status: MLflow's. ended: None while it runs. process: the
    machine's name, which on a cluster is the pod's.
    """

    name: str
    status: str
    started: datetime
    ended: datetime | None
    process: str


def step_runs(key: str | None = None) -> dict[str, StepRun] | None:
    """The steps' runs of a pipeline run by their names, of each the last; None where no step has begun one.

    Args:
        key: of the pipeline run; None: the present one.

    Raises:
        OsteonError: MLflow does not answer, or refuses.

    """
    key = key or pipeline_run_key()
    client, experiment = connect()
    try:
        with translate_outage():
            parent = find_pipeline_run(client, experiment, key) if key else None
            below = _runs_below(client, experiment, parent.info.run_id) if parent else None
    except MlflowException as error:
        raise OsteonError(f"MLflow refuses ({reason(error)})") from None
    return None if below is None else {str(run.info.run_name): _step_run(run) for run in below}


def _step_run(run: Run) -> StepRun:
    process = run.data.tags.get(PROCESS, "").partition("/")[0]
    started, ended = _time(run.info.start_time), _time(run.info.end_time)
    return StepRun(str(run.info.run_name), run.info.status, started or datetime.now(UTC), ended, process)


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def same_finished_before() -> bool:
    """Whether an earlier pipeline run of the same image, films and parameters has finished: a cache may have it all."""
    key = pipeline_run_key()
    client, experiment = connect()
    with translate_outage():
        run = find_pipeline_run(client, experiment, key) if key else None
        if run is None:
            return False
        same = [f"tags.`{name}` = '{run.data.tags[name]}'" for name in (IMAGE, FILMS_COMMIT) if name in run.data.tags]
        done = " and ".join([*same, f"tags.`{STEP}` = '{PARENT}'", "attributes.status = 'FINISHED'"])
        earlier = client.search_runs([experiment], f"{done} and attributes.start_time < {run.info.start_time}")
        return any(other.data.params == run.data.params for other in earlier if other.info.run_id != run.info.run_id)


def pipeline_run_lineage() -> list[Lineage]:
    """The runs behind the present pipeline run, its own among them; none outside of a pipeline run."""
    key = pipeline_run_key()
    client, experiment = connect()
    run = find_pipeline_run(client, experiment, key) if key else None
    return list(lineage_of_run(client, run.info.run_id).walk()) if run else []


def find_pipeline_run(client: MlflowClient, experiment: str, key: str) -> Run | None:
    """MLflow's run of the pipeline run with this key; None where no step has begun it."""
    runs = client.search_runs([experiment], f"tags.`{PASS}` = '{key}'", max_results=1)
    return runs[0] if runs else None


def last_tags(needed: str, wanted: dict[str, str]) -> dict[str, str]:
    """The tags of the last pipeline run that has a tag, and others with these values; empty where there is none."""
    client, experiment = connect()
    with translate_outage():
        # A tag may hold a quotation mark, for which MLflow's filter knows no escape.
        page = client.search_runs([experiment], f"tags.`{needed}` != ''", order_by=["attributes.start_time DESC"])
        while True:
            for run in page:
                if wanted.items() <= run.data.tags.items():
                    return dict(run.data.tags)
            if not page.token:
                return {}
            page = client.search_runs(
                [experiment], f"tags.`{needed}` != ''", order_by=["attributes.start_time DESC"], page_token=page.token
            )


def open_pipeline_run(client: MlflowClient, experiment: str, key: str, params: Params) -> Run:
    """MLflow's run of the pipeline run with this key, marked as running; the first step makes it."""
    run = find_pipeline_run(client, experiment, key)
    if run:
        client.update_run(run.info.run_id, "RUNNING")
        return run
    if warning := uncommitted_code_warning():
        log.warning("warning: %s", warning)
    tags = {PASS: key, STEP: PARENT, PROCESS: process_tag(), **origin_tags()}
    run = client.create_run(experiment, run_name=f"{PARENT} {datetime.now(UTC):%Y-%m-%d %H:%M}", tags=tags)
    client.log_batch(run.info.run_id, params=[Param(name, str(value)) for name, value in flatten(params).items()])
    return run


def origin_tags() -> dict[str, str]:
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


def process_tag() -> str:
    """Machine, process and when it began, so that another process with the same number is not taken for it."""
    return f"{platform.node()}/{os.getpid()}/{int(psutil.Process().create_time())}"


def close_killed_runs(client: MlflowClient, experiment: str) -> None:
    """Mark runs as KILLED whose process on this machine is gone without a word."""
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
