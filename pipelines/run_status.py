"""The status of a run: its steps, followed until the run ends, and the log of a failed step."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from osteon.errors import OsteonError, UnreachableError
from pipelines.cluster import Cluster, get_run, log_of

POLL = 5.0  # seconds
MAX_FAILED_POLLS = 120  # in a row without an answer: ten minutes
LOG_LINES = 20  # of a failed step's log
WIDTH = len("cross_validation")
OF_STEPS = re.compile(r"condition(-branches)?-\d+|for-loop-\d+|exit-handler-\d+|iteration(-item)?")
ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
WORDS = {"RUNTIME_STATE_UNSPECIFIED": "waiting", "PENDING": "waiting", "CACHED": "from the cache"}


class RunStep(NamedTuple):
    """A step of a run; its pods are those of its attempts, the last one last."""

    name: str
    state: str
    started: datetime | None
    ended: datetime | None
    pods: tuple[str, ...] = ()
    node: str = ""  # distinguishes steps that run side by side under one name

    def line(self) -> str:
        """State, and how long it took or has taken."""
        if self.state in ("SUCCEEDED", "FAILED", "RUNNING") and self.started:
            took = duration(self.started, self.ended)
            return f"{state_word(self.state)}{', ' if self.state == 'RUNNING' else ' after '}{took}"
        return state_word(self.state)


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
    return RunStep("", run.state or "PENDING", _time(run.created_at), ended).line()


def steps_of(run: Any) -> list[RunStep]:
    """The steps, the first that began first.

    KFP lists the nodes of Argo's graph. For a step there are three: NAME-driver, which prepares it and asks the cache;
    NAME, a graph; and in it the pod that works, executor, or executor(0), executor(1) … where it is tried again.
    Conditions, loops and pipelines in pipelines are graphs too, of other steps; they count where their driver failed.
    """
    nodes = (run.run_details.task_details if run.run_details else None) or []
    named: dict[str, list[Any]] = {}
    for node in nodes:
        named.setdefault(node.display_name or "", []).append(node)
    # A node's own name has the template's in it, as its pod's has; as a child it has not. Both end in the same number.
    numbered = {_number(node.pod_name): node for node in nodes if node.pod_name}
    drivers = [name for name in named if name.endswith("-driver") and name != "root-driver"]
    if not drivers:  # other servers list only the steps
        alone = [node for node in nodes if node.display_name not in (None, "", "root", "executor")]
        return sorted((_step(node.display_name, node, (node,)) for node in alone), key=_begin)
    steps = []
    for driver in drivers:
        name, graphs = driver.removesuffix("-driver"), named.get(driver.removesuffix("-driver"), [])
        failed = [node for node in named[driver] if node.state == "FAILED"]
        steps += [_step(name, node, (node,)) for node in failed]
        if OF_STEPS.fullmatch(name):
            continue
        if failed:  # then the graph is left out
            graphs = [node for node in graphs if node.state in ("SUCCEEDED", "FAILED", "RUNNING")]
        elif len(graphs) < len(named[driver]):
            waiting = [_step(name, node, ()) for node in named[driver] if node.state != "SUCCEEDED"]
            steps += [step if step.state == "SKIPPED" else step._replace(state="PENDING") for step in waiting]
        steps += [_step(name, node, _executors(node, numbered)) for node in graphs if not _of_steps(node, numbered)]
    return sorted(steps, key=_begin)


def _of_steps(graph: Any, numbered: dict[str, Any]) -> bool:
    """Whether there are other steps in a graph, and not a pod."""
    inner = (numbered.get(_number(child.pod_name)) for child in graph.child_tasks or ())
    return any(node.display_name.endswith("-driver") for node in inner if node and node.display_name)


def _executors(graph: Any, numbered: dict[str, Any]) -> tuple[Any, ...]:
    """The nodes of a step that are its pods."""
    executors = []
    for child in graph.child_tasks or ():
        node = numbered.get(_number(child.pod_name))
        if node is None:
            executors.append(child)  # a server that does not give the nodes' own names
        elif (node.display_name or "").startswith("executor"):
            attempts = [numbered.get(_number(attempt.pod_name)) for attempt in node.child_tasks or ()]
            executors += [pod for pod in attempts if pod and pod.display_name.startswith("executor(")] or [node]
    return tuple(executors)


def _step(name: str, node: Any, pods: tuple[Any, ...]) -> RunStep:
    state = node.state or "PENDING"
    # A cached result needs no work: the pod is skipped.
    if state == "SUCCEEDED" and pods and all(getattr(pod, "state", None) == "SKIPPED" for pod in pods):
        state = "CACHED"
    names = tuple(str(pod.pod_name) for pod in pods if pod.pod_name)
    return RunStep(
        name, state, _time(node.start_time), _time(node.end_time), names, node.pod_name or node.task_id or name
    )


def _number(pod: str | None) -> str:
    return (pod or "").rpartition("-")[2]


def _time(value: datetime | None) -> datetime | None:
    """The timestamp; None for the year 1 or 1970, by which the server means that it has not come yet."""
    return value if value is not None and value.year > 1970 else None


def _begin(step: RunStep) -> tuple[bool, datetime]:
    return step.started is None, step.started or datetime.now(UTC)


def follow(cluster: Cluster, run_id: str, echo: Callable[[str], None]) -> Any:
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
    failed_polls = 0
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
        for step in steps_of(run):
            if (step.node, step.state) not in known and state_word(step.state) != "waiting":
                known.add((step.node, step.state))
                when = (step.started if step.state == "RUNNING" else step.ended or step.started) or datetime.now(UTC)
                text = state_word(step.state) if step.state == "RUNNING" else step.line()
                echo(f"{when:%H:%M:%S}  {step.name:<{WIDTH}}  {text}")
        if run.state in ENDED:
            return run
        time.sleep(POLL)


def failed_steps(run: Any) -> list[RunStep]:
    """The steps that failed, those with a pod first: a graph has failed because a step in it has."""
    failed = [step for step in steps_of(run) if step.state == "FAILED"]
    return sorted(failed, key=lambda step: not step.pods)


def describe_failure(cluster: Cluster, run: Any) -> list[str]:
    """What a run that did not succeed needs to be shown with: the failed step, the end of its log, what to do."""
    failed = failed_steps(run)
    if not failed:
        reason = f": {' '.join(run.error.message.split())}" if run.error and run.error.message else ""
        return [f"{state_word(run.state)}{reason}; see {cluster.page(run.run_id)}"]
    step = failed[0]
    lines = [f"{step.name} {step.line()}"]
    text = log_of(cluster, run.run_id, step.pods[-1]) if step.pods else None
    if text is None:
        return [*lines, no_log(cluster, run.run_id, step)]
    lines[0] += "; the end of its log:"
    lines += [f"    {line}" for line in text.rstrip().splitlines()[-LOG_LINES:]]
    return [*lines, f"all of it: `osteon pipeline logs {run.run_id} {step.name}`"]


def no_log(cluster: Cluster, run_id: str, step: RunStep) -> str:
    """What to do where the cluster does not give a log."""
    which = step.pods[-1] if step.pods else f"-l pipeline/runid={run_id} --prefix"
    command = f"kubectl logs -n {cluster.pods_in} {which} -c main"
    return f"the cluster does not keep its log; while the pod is there: `{command}`"


def print_logs(cluster: Cluster, run_id: str, name: str | None, echo: Callable[[str], None]) -> None:
    """Print what steps have written.

    Args:
        cluster: where they ran.
        run_id: of which run.
        name: of the step; None: those that failed, else all.
        echo: takes each text.

    Raises:
        OsteonError: no such run or step, or the cluster does not keep the log.

    """
    run = get_run(cluster, run_id)
    steps = steps_of(run)
    wanted = [step for step in steps if step.name == name] if name else failed_steps(run) or steps
    if not wanted:
        names = ", ".join(dict.fromkeys(step.name for step in steps)) or "none so far"
        raise OsteonError(f"run {run_id} has no step {name}; it has {names}" if name else f"run {run_id}: no step yet")
    unkept = []
    for step in wanted:
        for pod in step.pods:
            text = log_of(cluster, run_id, pod) if step.state != "CACHED" else None
            if text is None:
                if step.state != "CACHED":
                    unkept.append(step)
                continue
            if len(wanted) > 1 or len(step.pods) > 1:
                echo(f"── {step.name} ({pod})")
            echo(text.rstrip("\n"))
    if unkept:
        raise OsteonError(f"{unkept[0].name}: {no_log(cluster, run_id, unkept[0])}")
    if name and all(step.state == "CACHED" for step in wanted):
        echo(f"{name} wrote nothing: its result came from the cache")
