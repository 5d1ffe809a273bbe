"""The logs of a run's steps, and the error in a log."""

import re
from collections.abc import Callable, Iterable

from osteon.errors import OsteonError
from pipelines.cluster import Cluster, Log, log_of
from pipelines.pod_trouble import of_log, trouble_of
from pipelines.run_status import RunStep, Status, read_status, state_word, terminated, unlisted_step

LOG_LINES = 20  # of a failed step's log
# What the launcher, its executor and Argo write around a step's own lines.
KLOG = re.compile(r"(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+:\d+\] (?P<text>.*)")
AROUND = re.compile(
    r"\[KFP Executor [^\]]*\]: (Looking for component|Loading KFP component|Got executor_input|Wrote executor output"
    r"|Did not write output)"
    r"|time=\"[^\"]*\" level=|Error: exit status \d+$|exit status \d+$"
)
BEGINNING = re.compile(r"\[KFP Executor |Traceback \(most recent")
GOROUTINE = re.compile(r"goroutine \d+ ")
EXIT_STATUS = re.compile(r"failed to execute component: exit status \d+$")
# Kubeflow's cache does not look whether the artefacts that it names are still there.
LACKING = re.compile(r"NoSuchKey|[Nn]o such (file|key)|FileNotFoundError|not found", re.MULTILINE)
LOST = "if the object store has lost what they wrote, `osteon pipeline submit --no-cache` computes all again"
ERROR = re.compile(r"Traceback \(most recent|([\w]+\.)*[A-Z]\w*(Error|Exception|Interrupt)\b|error: |[EF]\d{4} ")


# ---------------------------------------------------------------- logs


def print_logs(cluster: Cluster, run_id: str, name: str | None, echo: Callable[[str], None]) -> list[str]:
    """Print what steps have written.

    Args:
        cluster: where they ran.
        run_id: of which run.
        name: of the step; None: those that failed, else all.
        echo: takes each text.

    Returns:
        What cannot be told of the run.

    Raises:
        OsteonError: no such run or step, or the cluster does not keep the log.

    """
    status = read_status(cluster, run_id)
    steps = status.steps
    wanted = [step for step in steps if step.is_named(name)] if name else status.failed or steps
    if name and not wanted and status.notes:  # the list has stopped too early
        late = unlisted_step(status.run, name)
        wanted = [late] if late.pods and find_log(cluster, run_id, late.pods[-1]).text is not None else []
    if not wanted:
        names = ", ".join(dict.fromkeys(step.name for step in steps)) or "none so far"
        names = "; ".join([names, *status.notes])
        raise OsteonError(f"run {run_id} has no step {name}; it has {names}" if name else f"run {run_id}: no step yet")
    missing: list[tuple[RunStep, str]] = []
    for step in wanted:
        for names_of_pod in step.pods:
            text, fault = find_log(cluster, run_id, names_of_pod)
            if text is not None:
                if len(wanted) > 1 or len(step.pods) > 1:
                    echo(f"── {step.name} ({names_of_pod[0]})")
                echo(text.rstrip("\n"))
            if text is None or fault:
                missing.append((step, fault))
        if name and not step.pods:
            echo(_without_log(step))
    if missing:
        step, fault = missing[0]
        raise OsteonError(f"{step.name}: {no_log(cluster, run_id, step, fault)}")
    return status.notes


def find_log(cluster: Cluster, run_id: str, names: Iterable[str]) -> Log:
    """The log of a pod under the first of its names under which the server has it."""
    log = Log(None)
    for name in names:
        found = log_of(cluster, run_id, name)
        if found.text is not None:
            return found
        log = Log(None, log.fault or found.fault)
    return log


def _without_log(step: RunStep) -> str:
    if step.state == "CACHED":
        return f"{step.name} wrote nothing: its result came from the cache"
    return f"{step.name} has no log: {state_word(step.state)}"


def no_log(cluster: Cluster, run_id: str, step: RunStep, fault: str = "") -> str:
    """What to do where the cluster does not give a log."""
    place = f"-n {cluster.pods_in}"
    number = step.pods[-1][0].rpartition("-")[2] if step.pods else ""
    pods = f"$(kubectl get pods {place} -o name -l pipeline/runid={run_id} | grep {number})" if number else ""
    command = f"kubectl logs {place} -c main {pods or f'-l pipeline/runid={run_id} --prefix'}"
    reason = f" ({fault})" if fault else ""
    return f"the cluster does not keep its log{reason}; while the pod is there: `{command}`"


def error_in(text: str, most: int = LOG_LINES) -> list[str]:
    """The last lines of a log with the error in them, without what Kubeflow writes around a step's own lines."""
    lines = _own_lines(text) or text.rstrip().splitlines()
    last = max((i for i, line in enumerate(lines) if ERROR.match(line.strip())), default=len(lines))
    return lines[-most:] if last >= len(lines) - most else lines[last : last + most]


def _own_lines(text: str) -> list[str]:
    """The lines of a log that a step has written, and the launcher's errors that say more than that it failed."""
    own: list[str] = []
    end: str | None = None  # the line with which something ends that is left out: JSON, or a stack of Go's
    for line in text.rstrip().splitlines():
        klog = KLOG.match(line)
        message = klog["text"] if klog else line
        if end is not None and not (klog or BEGINNING.match(line)):
            end = None if line.rstrip() == end else end
            continue
        end = "" if GOROUTINE.match(line) else "}" if line == "{" or (klog and message.endswith("{")) else None
        from_launcher = klog and (klog["level"] in "IW" or EXIT_STATUS.search(message))
        if end is None and not from_launcher and not AROUND.match(line):
            own.append(line)
    return own


# ---------------------------------------------------------------- why a run has failed


def describe_failure(cluster: Cluster, status: Status) -> list[str]:
    """What a run that did not succeed needs to be shown with: the failed step, the error in its log, what to do."""
    run = status.run
    if when := terminated(run):
        return [f"somebody ended it at {when:%H:%M:%S}"]
    if not status.failed:
        reason = f": {' '.join(run.error.message.split())}" if run.error and run.error.message else ""
        return [f"{state_word(run.state)}{reason}; see {cluster.page(run.run_id)}"]
    step = status.failed[0]
    lines = [f"{step.name} {step.line()}"]
    log = find_log(cluster, run.run_id, step.pods[-1]) if step.pods else Log(None)
    if why := trouble_of(cluster, run.run_id, step.pods[-1] if step.pods else ()) or of_log(log.text):
        lines.append(f"{step.name}: {why}")
    if log.text is None:
        return [*lines, no_log(cluster, run.run_id, step, log.fault), *_lost_inputs(status, None)]
    lines[-1] += "; the end of its log:"
    error = error_in(log.text)
    lines += [f"    {line}" for line in error]
    return [*lines, f"all of it: `osteon pipeline logs {run.run_id} {step.name}`", *_lost_inputs(status, error)]


def _lost_inputs(status: Status, error: list[str] | None) -> list[str]:
    """What to do if a step lacked what an earlier one had from the cache. error: of its log; None: it is not known."""
    text = "\n".join(error or ())
    if not any(step.state == "CACHED" for step in status.steps) or "--no-cache" in text:
        return []
    return [f"steps before it came from the cache; {LOST}"] if error is None or LACKING.search(text) else []
