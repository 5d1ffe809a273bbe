"""How a pipeline run ended, reported to MLflow and to whoever waits for it."""

import json
import logging
import os
import urllib.error
import urllib.request

from osteon.progress import configure_logging
from osteon.records import lineage, pipeline_run
from osteon.redaction import redact

WEBHOOK = "OSTEON_WEBHOOK"  # an address, which may hold a key
WAITING = 20  # seconds for an answer
MESSAGE = "osteon.failed"  # tag of a pipeline run

log = logging.getLogger(__name__)


def report_end(state: str, message: str | None) -> None:
    """Mark the pipeline run as ended, and tell a webhook, if there is one.

    Args:
        state: SUCCEEDED, or what Kubeflow says instead.
        message: what failed, as Kubeflow says it.

    """
    configure_logging()
    status = "FINISHED" if state == "SUCCEEDED" else "KILLED" if state == "CANCELLED" else "FAILED"
    tags = {MESSAGE: message[:1000]} if message and status != "FINISHED" else {}
    run = pipeline_run.end_pipeline_run(status, tags)
    log.info("%s: %s", state.lower(), f"run {run.info.run_id}" if run else "no step began")
    address = os.environ.get(WEBHOOK)
    # Where there was no reason to train there is no run, and nothing to tell with every tick of a schedule.
    if address and (run or status != "FINISHED"):
        content = {
            "state": state,
            "pass": pipeline_run.pipeline_run_key(),
            "reason": run.data.tags.get(lineage.REASON) if run else None,
            "run": run.info.run_id if run else None,
            "message": message or None,
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
