"""How a pipeline run ended, reported to MLflow and to whoever waits for it."""

import json
import logging
import os
import urllib.error
import urllib.request
from typing import Literal, NamedTuple

from osteon.progress import configure_logging
from osteon.records import lineage, pipeline_run
from osteon.redaction import redact

WEBHOOK = "OSTEON_WEBHOOK"  # an address, which may hold a key
WAITING = 20  # seconds for an answer
MESSAGE = "osteon.failed"  # tag of a pipeline run

log = logging.getLogger(__name__)


class Verdict(NamedTuple):
    """How a pipeline run ended.

    status: for MLflow. why: what is known of an end that is no success.
    """

    status: Literal["FINISHED", "FAILED", "KILLED"]
    why: str = ""


# As a webhook is told; Kubeflow's own words of an exit handler say less.
STATES = {"FINISHED": "SUCCEEDED", "FAILED": "FAILED", "KILLED": "KILLED"}


def judge(state: str, steps: dict[str, str] | None, last: str, *, cached: bool = False) -> Verdict | None:
    """How a pipeline run ended, by what Kubeflow says and by the steps' own runs.

    Kubeflow says COMPLETE, FAILED or RUNNING (its local runner SUCCEEDED or FAILED). RUNNING proves nothing: it says
    so where every step came from the cache, where a condition was false, and where the run was terminated.

    Args:
        state: Kubeflow's.
        steps: status in MLflow of each step's last run; None: no pipeline run was begun, as where there was no reason.
        last: the step with which the pipeline ends.
        cached: the last step may have come from the cache, for an earlier pipeline run had all that it needs.

    Returns:
        None where there is nothing to report.

    """
    of = {status: [name for name, its in (steps or {}).items() if its == status] for status in (steps or {}).values()}
    if failed := of.get("FAILED"):
        return Verdict("FAILED", f"failed: {', '.join(failed)}")
    open_runs = [*of.get("RUNNING", ()), *of.get("KILLED", ())]
    if state == "FAILED":
        unknown = (
            f"its pod was killed: {', '.join(open_runs)}" if open_runs else "a task failed before its run in MLflow"
        )
        return Verdict("FAILED", unknown)
    if state in ("CANCELED", "CANCELLED"):
        return Verdict("KILLED", "terminated")
    if steps is None:
        return None
    if state in ("SUCCEEDED", "COMPLETE"):
        return Verdict("FINISHED")
    if open_runs:
        return Verdict("KILLED", f"terminated, or its pod was killed: {', '.join(open_runs)}")
    if steps.get(last) == "FINISHED" or (cached and not steps):
        return Verdict("FINISHED")
    return Verdict("KILLED", f"terminated, or a pod did not start: {last} has not run")


def report_end(state: str, message: str | None, mode: str = "enforce") -> None:
    """Mark the pipeline run as ended, and tell a webhook, if there is one.

    Args:
        state: what Kubeflow says.
        message: what failed, as Kubeflow says it, which mostly is nothing.
        mode: of the promotion; off: the pipeline ends with evaluate, whose result may come from the cache.

    """
    configure_logging()
    begun = pipeline_run.step_runs()
    steps = None if begun is None else {name: run.status for name, run in begun.items()}
    off = mode == "off"
    cached = off and steps == {} and pipeline_run.same_finished_before()
    verdict = judge(state, steps, "evaluate" if off else "promote", cached=cached)
    if verdict is None:
        log.info("%s: no pipeline run was begun", state.lower())
        return
    why = (message or verdict.why)[:1000] or None
    run = pipeline_run.end_pipeline_run(verdict.status, {MESSAGE: why})
    log.info("%s: %s", verdict.status.lower(), f"run {run.info.run_id}" if run else "no step began")
    if address := os.environ.get(WEBHOOK):
        content = {
            "state": STATES[verdict.status],
            "pass": pipeline_run.pipeline_run_key(),
            "reason": run.data.tags.get(lineage.REASON) if run else None,
            "run": run.info.run_id if run else None,
            "message": why,
            "figures": run.data.metrics if run else {},
        }
        tell(address, redact(content))


def tell(address: str, content: dict[str, object]) -> None:
    """POST JSON. A webhook that does not answer fails no pipeline run; the log says so, and not the address."""
    request = urllib.request.Request(  # noqa: S310 – checked below
        address, json.dumps(content).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    if request.type not in ("http", "https"):
        log.warning("%s is no address of http or https; nobody was told", WEBHOOK)
        return
    try:
        with urllib.request.urlopen(request, timeout=WAITING):  # noqa: S310 – http or https
            pass
    except (OSError, urllib.error.URLError) as error:
        why = f"answered {error.code}" if isinstance(error, urllib.error.HTTPError) else "does not answer"
        log.warning("%s %s; nobody was told how this pipeline run ended", WEBHOOK, why)
