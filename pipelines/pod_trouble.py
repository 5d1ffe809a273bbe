"""Why a pod does not start, or was killed, in words.

Kubeflow's list of a run's tasks does not say it. Its server of pages passes on what Kubernetes says of a pod, as long
as the pod is there; its older API gives the whole workflow, in which Argo wrote a message to each node.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from osteon.errors import OsteonError
from pipelines.cluster import Cluster, node_messages, pod_of

IMAGE = "its image cannot be pulled"
# Kubernetes' reasons.
REASONS = {
    "OOMKilled": "it was killed, for it took more memory than it may; raise it under resources in params.yaml",
    "Unschedulable": "no node can have its pod",
    "ImagePullBackOff": IMAGE,
    "ErrImagePull": IMAGE,
    "ErrImageNeverPull": IMAGE,
    "InvalidImageName": IMAGE,
    "CreateContainerConfigError": "its pod cannot be set up",
    "CreateContainerError": "its pod cannot be set up",
    "Evicted": "its node had no room left, and its pod was evicted",
    "DeadlineExceeded": "it took longer than it may",
}
OF_KERNEL = re.compile(r"signal: killed|exit status 137|OOMKilled|^Killed$", re.MULTILINE)
EXITED = re.compile(r"(main: )?Error \(exit code \d+\)|child '.*' failed|.*No more retries left.*|exit code \d+")


def trouble_of(cluster: Cluster, run_id: str, names: Iterable[str]) -> str:
    """Why the pod with one of these names does not start, or was killed; empty where nobody says it.

    Args:
        cluster: where it runs.
        run_id: of which run.
        names: that the pod may have, and the ids of its nodes.

    """
    names = list(names)
    try:
        for name in names:
            if "-container-" in name and (pod := pod_of(cluster, name)):
                return _of_pod(pod)
        messages = node_messages(cluster, run_id) if names else {}
    except OsteonError:  # who may see the run need not be let to its pods
        return ""
    return next((of_message(messages[name]) for name in names if messages.get(name)), "")


def of_message(message: str) -> str:
    """What Argo's message to a node says; empty where it only says that a program ended with an error."""
    reason = next((reason for reason in REASONS if reason in message), None)
    if reason:
        return _words(reason, message.removeprefix(reason).lstrip(": "))
    return "" if EXITED.fullmatch(message.strip()) else f"Argo says: {' '.join(message.split())[:300]}"


def of_log(text: str | None) -> str:
    """That a program was killed, if the end of its log says so."""
    return _words("OOMKilled", "signal: killed") if text and OF_KERNEL.search(text[-2000:]) else ""


def _of_pod(pod: dict[str, Any]) -> str:
    status = pod.get("status") or {}
    since = _time(status.get("startTime") or (pod.get("metadata") or {}).get("creationTimestamp"))
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        state = container.get("state") or {}
        ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
        if ended.get("reason") in REASONS:
            return _words(ended["reason"], f"exit code {ended.get('exitCode')}", _time(ended.get("finishedAt"), "at"))
        waiting = state.get("waiting") or {}
        if waiting.get("reason") in REASONS:
            return _words(waiting["reason"], waiting.get("message") or "", since)
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            when = _time(condition.get("lastTransitionTime"))
            return _words(condition.get("reason") or "Unschedulable", condition.get("message") or "", when)
    return _words(status["reason"], status.get("message") or "") if status.get("reason") in REASONS else ""


def _words(reason: str, message: str, when: str = "") -> str:
    words = REASONS.get(reason, "its pod does not start")
    details = ": ".join(part for part in (reason, " ".join(message.split())[:300]) if part)
    return f"{words} ({details}){when}"


def _time(when: str | None, word: str = "since") -> str:
    try:
        return f", {word} {datetime.fromisoformat(when or ''):%H:%M:%S}"
    except ValueError:
        return ""
