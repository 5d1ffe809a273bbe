"""What the commands of `osteon pipeline` do that speak with a cluster. KFP loads with this file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

from components.promotion.policy import Mode, Policy, read_policy
from osteon.errors import OsteonError
from osteon.params import Params, load_params
from pipelines import schedules
from pipelines.arguments import origin, retraining_arguments, training_arguments, with_values
from pipelines.cluster import (
    Cluster,
    connect,
    experiment_of,
    get_run,
    last_runs,
    newest_version,
    retry,
    start,
    terminate,
    upload,
)
from pipelines.compiled_file import CompiledFile, check_arguments, read_compiled, without_cache
from pipelines.run_diff import diff_runs
from pipelines.run_status import ENDED, follow, read_status, run_line, troubles
from pipelines.step_logs import LOST, describe_failure, print_logs

TRAINING, RETRAINING = "osteon-training", "osteon-retraining"
RETRIED = ("FAILED", "CANCELED")  # states of runs that Kubeflow can retry
POLICY = Path("mlflow/promotion.yaml")


@dataclass(frozen=True)
class Server:
    """How to reach Kubeflow Pipelines. None: as pipelines.cluster.connect finds it."""

    host: str | None
    namespace: str | None
    ca: Path | None

    def connect(self) -> Cluster:
        """The server, which has answered.

        Raises:
            OsteonError: see pipelines.cluster.connect.

        """
        return connect(self.host, self.namespace, self.ca)


@dataclass(frozen=True)
class RunRequest:
    """What a run is started with.

    compiled: the pipeline's file. params: the parameter file. values: KEY=VALUE, instead of those in the file.
    repository: None: this folder's origin. mode: None: the policy's.
    """

    compiled: Path
    params: Path
    values: list[str]
    repository: str | None
    revision: str
    mode: Mode | None
    experiment: str

    def checked(self) -> tuple[Params, Policy, str]:
        """Parameters, rules and the repository's address.

        Raises:
            OsteonError: a file is missing, or a value is not allowed.

        """
        params = with_values(load_params(self.params), self.values)
        return params, read_policy(POLICY), origin(Path()) if self.repository is None else self.repository

    def file(self, arguments: dict[str, str]) -> CompiledFile:
        """The compiled pipeline, which takes these arguments.

        Raises:
            OsteonError: it is missing, or takes others.

        """
        file = read_compiled(self.compiled)
        check_arguments(file, arguments)
        return file


# ---------------------------------------------------------------- submit


def submit_run(server: Server, request: RunRequest, reason: str, *, wait: bool, cached: bool = True) -> bool:
    """Start a training.

    Args:
        server: where.
        request: what.
        reason: why; kept with the run.
        wait: until the run has ended.
        cached: take a step's result from an earlier run with the same inputs.

    Returns:
        False if it was waited for and has failed.

    Raises:
        OsteonError: a value is not allowed, before anything is sent; or the server refuses.

    """
    params, policy, repository = request.checked()
    arguments = training_arguments(params, policy, repository, request.revision, request.mode, reason)
    file = request.file(arguments)

    cluster = server.connect()
    with TemporaryDirectory() as temporary:
        version = upload(cluster, TRAINING, file if cached else without_cache(file, Path(temporary)))
    run_id = start(cluster, version, experiment_of(cluster, request.experiment, make=True), arguments)
    typer.echo(f"pipeline  {TRAINING}, version {version.name}" + (" (new)" if version.new else ""))
    typer.echo(f"run       {run_id}")
    typer.echo(f"page      {cluster.page(run_id)}")
    if not cached:
        typer.echo("cache     off: every step runs")
    return _wait(cluster, run_id) if wait else True


def _wait(cluster: Cluster, run_id: str) -> bool:
    """Follow a run to its end; whether it succeeded."""
    try:
        status = follow(cluster, run_id, typer.echo)
    except KeyboardInterrupt:
        typer.echo(f"the run continues: `osteon pipeline status {run_id}`", err=True)
        raise
    except OsteonError as error:
        raise OsteonError(f"{error}; the run continues: `osteon pipeline status {run_id}`") from None
    typer.echo(run_line(status.run))
    _print_notes(status.notes)
    if status.run.state == "SUCCEEDED":
        return True
    for line in describe_failure(cluster, status):
        typer.echo(line)
    return False


def cancel_run(server: Server, run_id: str) -> None:
    """End a run before its end.

    Raises:
        OsteonError: there is none with this id, it has ended, or the server refuses.

    """
    cluster = server.connect()
    run = get_run(cluster, run_id)
    if run.state in ENDED:
        raise OsteonError(f"run {run_id}: nothing to cancel, it has ended ({run_line(run)})")
    if run.state == "CANCELING":
        typer.echo(f"run {run_id}: is being canceled")
        return
    terminate(cluster, run_id)
    typer.echo(f"run {run_id}: is being canceled; `osteon pipeline status {run_id}` shows when it has ended")


def retry_run(server: Server, run_id: str) -> None:
    """Let a run that has failed or was canceled go on where it stopped.

    Raises:
        OsteonError: there is none with this id, it has not failed, or the server refuses.

    """
    cluster = server.connect()
    status = read_status(cluster, run_id)
    if status.run.state not in RETRIED:
        instead = "it has ended well" if status.run.state in ENDED else f"`osteon pipeline cancel {run_id}` first"
        raise OsteonError(f"run {run_id}: nothing to retry ({run_line(status.run)}); {instead}")
    retry(cluster, run_id)
    typer.echo(f"run {run_id}: goes on with the steps that failed or did not run")
    typer.echo(f"page  {cluster.page(run_id)}")
    if any(step.state == "CACHED" for step in status.steps):
        typer.echo(f"note: its steps from the cache do not run; {LOST}", err=True)


# ---------------------------------------------------------------- schedule


def set_schedule(server: Server, request: RunRequest, name: str, cron: str, *, paused: bool) -> None:
    """Make a schedule, in place of those that have its name.

    Args:
        server: where.
        request: what its runs are started with.
        name: of the schedule.
        cron: as crontab has it.
        paused: it begins no runs yet.

    Raises:
        OsteonError: a value is not allowed, before anything is sent; or the server refuses.

    """
    checked_cron = schedules.read_cron(cron)
    params, policy, repository = request.checked()
    arguments = retraining_arguments(params, policy, repository, request.revision, request.mode)
    file = request.file(arguments)

    cluster = server.connect()
    version = upload(cluster, RETRAINING, file)
    experiment_id = experiment_of(cluster, request.experiment, make=True)
    earlier = schedules.replace(cluster, name, version, experiment_id, checked_cron, arguments, paused=paused)
    typer.echo(f"{name}: {'replaced' if earlier else 'made'}{', paused' if paused else ''}")
    newest = version.name if version.new else newest_version(cluster, version)
    typer.echo(f"pipeline  {RETRAINING}, version {newest} or, once there is one, a newer")
    if newest != version.name:
        typer.echo(f"warning: {request.compiled} is version {version.name}, which is older and not run", err=True)
    if not paused:
        times = ", ".join(f"{time:%Y-%m-%d %H:%M}" for time in schedules.next_times(checked_cron))
        typer.echo(f"next      {times} UTC")


def stop_schedule(server: Server, name: str, *, delete: bool) -> None:
    """Pause a schedule, or delete it.

    Raises:
        OsteonError: there is none with this name, or the server refuses.

    """
    cluster = server.connect()
    (schedules.delete if delete else schedules.pause)(cluster, name)
    typer.echo(f"{name}: deleted" if delete else f"{name}: paused; --cron starts it again")


def print_schedules(server: Server) -> None:
    """All schedules, by name."""
    rows = schedules.listed(server.connect())
    _table(("schedule", "cron", "state", "next"), rows, "no schedule; `osteon pipeline schedule --cron …` makes one")


# ---------------------------------------------------------------- look


def print_runs(server: Server, experiment: str) -> None:
    """The last ten runs of an experiment."""
    cluster = server.connect()
    runs = last_runs(cluster, experiment_of(cluster, experiment, make=False))
    rows = [(run.run_id, f"{run.created_at:%Y-%m-%d %H:%M}", run.display_name, run_line(run)) for run in runs]
    _table(("run", "begun, UTC", "name", "state"), rows, "no run yet; `osteon pipeline submit` starts one")


def print_status(server: Server, run_id: str) -> None:
    """The state of a run and of its steps."""
    cluster = server.connect()
    status = read_status(cluster, run_id)
    typer.echo(f"run    {run_id}  {status.run.display_name}")
    typer.echo(f"page   {cluster.page(run_id)}")
    typer.echo(f"state  {run_line(status.run)}\n")
    begun = (step.started if step.state != "OMITTED" else None for step in status.steps)
    rows = [
        (step.name, f"{when:%H:%M:%S}" if when else "", step.line())
        for step, when in zip(status.steps, begun, strict=True)
    ]
    _table(("step", "begun, UTC", "state"), rows, "no step yet")
    for step, why in troubles(cluster, status):
        typer.echo(f"\n{step.name}: {why}")
    _print_notes(status.notes)


def print_run_logs(server: Server, run_id: str, step: str) -> None:
    """The output of a run's steps; an empty name: of those that failed, else of all."""
    _print_notes(print_logs(server.connect(), run_id, step or None, typer.echo))


def print_diff(server: Server, first: str, second: str) -> None:
    """What differs between two runs."""
    diff = diff_runs(server.connect(), first, second)
    if diff.different:
        _table(("", first[:8], second[:8]), diff.different, "")
    typer.echo(f"{diff.same} other values are the same" if diff.different else f"all {diff.same} values are the same")
    _print_notes(diff.notes)


def _print_notes(notes: Iterable[str]) -> None:
    """What could not be told."""
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def _table(header: tuple[str, ...], rows: Iterable[Any], none: str) -> None:
    """Columns as wide as their content: ids are to be copied, so nothing is cut or wrapped."""
    if not rows:
        typer.echo(none)
        return
    texts = [tuple(str(cell) for cell in row) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for text in texts:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(text, widths, strict=True)).rstrip())
