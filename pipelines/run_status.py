"""The status of a run: its steps, and the run followed until it ends."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from osteon.errors import OsteonError, UnreachableError
from osteon.records.pipeline_run import StepRun, step_runs
from osteon.records.retries import Retries
from osteon.records.store import http_limits
from osteon.records.store_address import tracking_uri
from pipelines.argo_nodes import ATTEMPT, Workflow, around, last_name, workflow_of
from pipelines.cluster import Cluster, get_run
from pipelines.pod_trouble import trouble_of

POLL = 5.0  # seconds
MAX_FAILED_POLLS = 120  # in a row without an answer: ten minutes
WIDTH = len("cross-validate-fold 0")
DRIVER = "-driver"
OF_STEPS = re.compile(
    r"root|condition(-branches)?-\d+|for-loop-\d+|exit-handler-\d+|iteration(-item)?|osteon-training-steps"
)
ITERATION = re.compile(r"\.iteration-iterations\((\d+):\1\)")
POD = re.compile(r"executor(\(\d+\))?")
ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
OPEN = ("PENDING", "POD", "RUNNING")
# States of steps beside Kubeflow's: POD, its pod does not run yet; CACHED; OMITTED, an earlier step failed; UNKNOWN.
WORDS = {
    "RUNTIME_STATE_UNSPECIFIED": "waiting",
    "PENDING": "waiting",
    "POD": "waiting for its pod",
    "CACHED": "from the cache",
    "OMITTED": "not run",
    "UNKNOWN": "not known",
}
FROM_MLFLOW = {"FINISHED": "SUCCEEDED", "FAILED": "FAILED", "KILLED": "CANCELED"}


class RunStep(NamedTuple):
    """A step of a run.

    node: its path in the workflow, which tells apart steps that run side by side; empty: only MLflow knows it. pods:
    for each attempt the names under which the server may have its log, the likeliest first.
    """

    name: str
    state: str
    started: datetime | None
    ended: datetime | None
    node: str = ""
    pods: tuple[tuple[str, ...], ...] = ()

    def line(self) -> str:
        """State, and how long it took or has taken."""
        if self.state in ("SUCCEEDED", "FAILED", "RUNNING", "POD") and self.started:
            took = duration(self.started, self.ended)
            return f"{state_word(self.state)}{' after ' if self.state in ENDED else ', '}{took}"
        return state_word(self.state)

    def is_named(self, name: str) -> bool:
        """Whether a person means this step; find_films is find-films, and a loop's step is each of its iterations."""
        name = name.replace("_", "-")
        return self.name == name or self.name.rpartition(" ")[0] == name


class Status(NamedTuple):
    """A run, its steps, the first that began first, and what cannot be told of them."""

    run: Any
    steps: list[RunStep]
    notes: list[str]

    @property
    def failed(self) -> list[RunStep]:
        """The steps that failed, those with a pod first: a graph has failed because a step in it has."""
        return sorted((step for step in self.steps if step.state == "FAILED"), key=lambda step: not step.pods)


def state_word(state: str | None) -> str:
    """A state for a person."""
    return WORDS.get(state or "PENDING") or str(state).lower()


def duration(started: datetime, ended: datetime | None) -> str:
    """How long, in units that suit it."""
    seconds = round(((ended or datetime.now(UTC)) - started).total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def run_line(run: Any) -> str:
    """State of a run, and how long it took or has taken."""
    ended = _time(run.finished_at)
    line = RunStep("", run.state or "PENDING", _time(run.created_at), ended).line()
    return f"terminated, {line}" if terminated(run) and run.state == "FAILED" else line


def terminated(run: Any) -> datetime | None:
    """When somebody ended a run before its end: it is CANCELING, and then FAILED or CANCELED."""
    when = None
    for entry in run.state_history or ():
        if entry.state == "CANCELING":
            when = _time(entry.update_time)
        elif entry.state in ("PENDING", "RUNNING"):  # it was tried again
            when = None
    return when


# ---------------------------------------------------------------- steps, from the server


def steps_of(run: Any) -> list[RunStep]:
    """The steps as the server lists them, the first that began first.

    A step has three nodes: NAME-driver, which prepares it and asks the cache; NAME, in which lies executor, its pod.
    Each is tried again on an error, as NAME(0), NAME(1) … Conditions, loops and pipelines in pipelines are nodes too,
    of other steps; they count where their driver failed.
    """
    tasks = (run.run_details.task_details if run.run_details else None) or []
    workflow = workflow_of(tasks)
    if workflow is None:
        return []
    drivers = [path for path in workflow.tasks if last_name(path).endswith(DRIVER) and _in_run(path)]
    groups = {ATTEMPT.sub("", around(path)) for path in drivers}
    steps = [_step(workflow, path, tasks) for path in drivers]
    cut_off = terminated(run)
    return sorted(
        (
            _cut_off(step, cut_off)
            for step in steps
            if step.node.endswith(DRIVER) or not (OF_STEPS.fullmatch(last_name(step.node)) or step.node in groups)
        ),
        key=_begin,
    )


def _in_run(path: str) -> bool:
    return last_name(path) != f"root{DRIVER}"


def _step(workflow: Workflow, driver_path: str, tasks: Iterable[Any]) -> RunStep:
    """The step that a driver prepares; if the driver has failed, its node is the driver's."""
    path = driver_path.removesuffix(DRIVER)
    iteration = ITERATION.search(path)
    name = last_name(path) + (f" {iteration[1]}" if iteration and not OF_STEPS.fullmatch(last_name(path)) else "")
    driver, task = workflow.tasks[driver_path], workflow.tasks.get(path)
    if driver is not None and driver.state == "FAILED":
        pods = workflow.driver_names(driver_path)
        return RunStep(name, "FAILED", _time(driver.start_time), _time(driver.end_time), driver_path, pods)
    if task is None:  # the driver is at work, or waits
        return RunStep(name, "PENDING", _time(driver.start_time) if driver else None, None, path)
    started, ended = _time(task.start_time), _time(task.end_time)
    state = task.state or ("OMITTED" if ended else "PENDING")
    pods = workflow.pods_of(path) if state not in ("OMITTED", "SKIPPED", "PENDING") else ()
    within = _executors_within(tasks, started, ended)
    if state == "SUCCEEDED" and within and all(pod.state == "SKIPPED" for pod in within):
        # A cached result needs no work: the pod is skipped.
        return RunStep(name, "CACHED", started, ended, path)
    if state == "RUNNING":
        open_pods = [pod for pod in within if not pod.child_tasks and pod.state in ("PENDING", "RUNNING")]
        if open_pods and all(pod.state == "PENDING" for pod in open_pods):
            state = "POD"
    return RunStep(name, state, started, ended, path, pods)


def _executors_within(tasks: Iterable[Any], started: datetime | None, ended: datetime | None) -> list[Any]:
    """Pods that began and ended while a step was there: pods without children do not say of which step they are."""
    return [
        task
        for task in tasks
        if POD.fullmatch(task.display_name or "")
        and started is not None
        and task.start_time >= started
        and (ended is None or started <= (_time(task.end_time) or datetime.max.replace(tzinfo=UTC)) <= ended)
    ]


def _cut_off(step: RunStep, when: datetime | None) -> RunStep:
    """A step that failed because its run was terminated has not failed."""
    if when and step.state == "FAILED" and step.ended and step.ended >= when:
        return step._replace(state="CANCELED")
    return step


def _time(value: datetime | None) -> datetime | None:
    """The timestamp; None for the year 1 or 1970, by which the server means that it has not come yet."""
    return value if value is not None and value.year > 1970 else None


def _begin(step: RunStep) -> tuple[bool, datetime]:
    return step.started is None, step.started or datetime.max.replace(tzinfo=UTC)


# ---------------------------------------------------------------- steps, from MLflow


def read_status(cluster: Cluster, run_id: str) -> Status:
    """A run and its steps as they are now.

    Raises:
        OsteonError: there is none with this id, or we are not let in.

    """
    return status_of(get_run(cluster, run_id))


def status_of(run: Any) -> Status:
    """The steps of a run; where it has ended and the list has not, what came later is as MLflow has it."""
    steps = steps_of(run)
    stopped = list_stopped(run)
    if stopped is None:
        return Status(run, steps, [])
    try:
        recorded = _recorded_steps(run.run_id)
        why = "" if recorded is not None else "MLflow has nothing of this run"
    except OsteonError as error:
        recorded, why = None, str(error)
    note = (
        f"Kubeflow's list stops at {stopped:%H:%M:%S}, before the run's end, as it does where a workflow's status is "
        f"larger than 1 MiB; later steps are as MLflow has them"
    )
    if why:
        note = f"{note.rpartition(';')[0]}; of later steps nothing is known: {why}"
    result = [step if step.node else _placed(run, step) for step in filled_in(steps, recorded or {})]
    return Status(run, result, [note])


def unlisted_step(run: Any, name: str) -> RunStep:
    """A step that a list which stopped too early lacks: what is known of it is where its log may be."""
    return _placed(run, RunStep(name.replace("_", "-"), "UNKNOWN", None, None))


def _placed(run: Any, step: RunStep) -> RunStep:
    """The same with the names that its pod has, if it lies beside the last step that is listed, loops left aside."""
    workflow = workflow_of(run.run_details.task_details)
    aside = re.compile(rf"{ITERATION.pattern}|\.onExit")
    places = [around(listed.node) for listed in steps_of(run) if not aside.search(listed.node)]
    if workflow is None or not places:
        return step
    known = step.pods[-1] if step.pods else ()
    *earlier, last = workflow.pods_of(f"{places[-1]}.{step.name}")
    return step._replace(pods=(*earlier, (*known, *last)))


def _recorded_steps(run_id: str) -> dict[str, StepRun] | None:
    """The runs of a run's steps in MLflow; None where it has none."""
    uri = tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise OsteonError("set MLFLOW_TRACKING_URI to the MLflow server of the cluster")
    with http_limits(Retries.CONNECTING):
        return step_runs(run_id)


def list_stopped(run: Any) -> datetime | None:
    """When the list of a run that has ended stops too early: something in it has not ended. None: it is whole."""
    tasks = (run.run_details.task_details if run.run_details else None) or []
    named = [task for task in tasks if task.display_name]
    if run.state not in ENDED or not any(task.state in ("RUNNING", "PENDING") for task in named):
        return None
    times = (_time(value) for task in named for value in (task.start_time, task.end_time))
    return max((value for value in times if value), default=_time(run.created_at))


def filled_in(steps: list[RunStep], recorded: Mapping[str, StepRun]) -> list[RunStep]:
    """The steps of a run that has ended; what the list has as open is as MLflow has it, and what it lacks is added.

    Args:
        steps: as the server lists them.
        recorded: the runs of the steps in MLflow, by their names there.

    """
    of_mlflow = {_listed_name(name): run for name, run in recorded.items()}
    result = []
    for step in steps:
        known = of_mlflow.pop(step.name, None)
        if step.state not in OPEN:
            result.append(step)
        elif known is None:
            result.append(step._replace(state="UNKNOWN", started=None))
        else:
            result.append(_as_recorded(step, known))
    added = [_as_recorded(RunStep(name, "UNKNOWN", None, None), known) for name, known in of_mlflow.items()]
    return sorted([*result, *added], key=_begin)


def _as_recorded(step: RunStep, known: StepRun) -> RunStep:
    # A pod's machine is named after the pod, in at most 63 characters.
    pods = (*step.pods[:-1], ((known.process, *(step.pods[-1] if step.pods else ())))) if known.process else step.pods
    state = FROM_MLFLOW.get(known.status, "UNKNOWN")
    return step._replace(state=state, started=known.started, ended=known.ended, pods=pods)


def _listed_name(name: str) -> str:
    """The name in Kubeflow's list of a step's run in MLflow."""
    if name.startswith("fold "):
        return f"cross-validate-{name}"
    return "join-search" if name.startswith("search, worker") else name.replace("_", "-")


# ---------------------------------------------------------------- follow


def follow(cluster: Cluster, run_id: str, echo: Callable[[str], None]) -> Status:
    """Wait until a run has ended, with a line whenever a step's state changes.

    Args:
        cluster: where it runs.
        run_id: which.
        echo: takes each line.

    Returns:
        The run as it is at its end.

    Raises:
        OsteonError: it is not there, or we are not let in any more; the run goes on.

    """
    known: set[tuple[str, str]] = set()
    failed_polls, looked = 0, -1
    while True:
        try:
            run = get_run(cluster, run_id)
        except UnreachableError as error:
            failed_polls += 1
            if failed_polls == 1:
                echo(f"{datetime.now(UTC):%H:%M:%S}  {error}; retrying")
            if failed_polls > MAX_FAILED_POLLS:
                raise
            time.sleep(POLL)
            continue
        failed_polls = 0
        status = status_of(run)
        for step in status.steps:
            change = (step.node or step.name, step.state)
            if change not in known and state_word(step.state) not in ("waiting", "not known"):
                known.add(change)
                open_step = step.state in OPEN
                when = (step.started if open_step else step.ended or step.started) or datetime.now(UTC)
                text = state_word(step.state) if open_step else step.line()
                echo(f"{when:%H:%M:%S}  {step.name:<{WIDTH}}  {text}")
        minute = int(time.monotonic() // 60)
        if minute > looked:  # the answer is large
            looked = minute
            for step, why in troubles(cluster, status):
                if (step.node, why) not in known:
                    known.add((step.node, why))
                    echo(f"{datetime.now(UTC):%H:%M:%S}  {step.name:<{WIDTH}}  {why}")
        if run.state in ENDED:
            return status
        time.sleep(POLL)


def troubles(cluster: Cluster, status: Status) -> list[tuple[RunStep, str]]:
    """The steps whose pods do not start, and why, as far as the server tells it."""
    waiting = [step for step in status.steps if step.state == "POD"]
    found = [(step, trouble_of(cluster, status.run.run_id, step.pods[-1])) for step in waiting]
    return [(step, why) for step, why in found if why]
