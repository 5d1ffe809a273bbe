"""What of a log is shown where a step has failed, and why a pod does not start or was killed."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import run_status
from pipelines.step_logs import error_in
from tests.pipelines.conftest import Osteon
from tests.pipelines.kfp_server import Answer, Kfp
from tests.pipelines.recorded_replies import reply
from tests.pipelines.workflow_nodes import Step, at, frame, log_id, node_id, pod_name

# As the recorded log begins, its JSON brought to an end.
BEFORE = reply("failed-run-0023").partition("{\n")[0] + json.dumps({"inputs": {"parameterValues": {}}}, indent=4) + "\n"
INFO = 'I1130 03:30:53.460720      15 launcher_v2.go:171] publish success: {\n    "outputs": {}\n}\n'
AFTER = (
    "I1130 03:30:53.460720      15 launcher_v2.go:171] publishing the execution\n" * 25
    + "F1130 03:30:53.460720      15 main.go:63] failed to execute component: exit status 1\n"
    + "goroutine 1 [running]:\nmain.main()\n\t/kfp/main.go:63 +0x1f\n\n"
    + 'time="2026-11-30T03:30:53.135Z" level=info msg="sub-process exited" argo=true error="<nil>"\n'
    + "Error: exit status 1\n"
)
OWN = "[KFP Executor 2026-11-30 03:30:52,543 INFO]: search: reading 480 films"
TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "/opt/osteon/osteon/records/runs.py", line 73, in run_step',
    "osteon.errors.OsteonError: search: --dataset dataset does not exist; run the step that makes it first",
]


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        (BEFORE + OWN + "\n" + "\n".join(TRACEBACK) + "\n" + INFO + AFTER, [OWN, *TRACEBACK]),
        (BEFORE + "\n".join(TRACEBACK) + "\n", TRACEBACK),
        ("\n".join(TRACEBACK + [f"later {i}" for i in range(40)]), [TRACEBACK[-1], *(f"later {i}" for i in range(19))]),
        # The launcher's own error: nothing of the step ran.
        (
            'E1130 03:30:53.1      15 main.go:63] failed to download input artifact "dataset": NoSuchKey\n' + AFTER,
            ['E1130 03:30:53.1      15 main.go:63] failed to download input artifact "dataset": NoSuchKey'],
        ),
        ("one\ntwo\n", ["one", "two"]),
        ("{\n  no end\nTraceback (most recent call last):\nValueError\n", [*TRACEBACK[:1], "ValueError"]),
    ],
)
def test_the_error_is_shown_and_not_what_the_launcher_writes(log: str, shown: list[str]) -> None:
    assert error_in(log) == shown


def test_of_a_log_without_a_line_of_the_step_the_end_is_shown() -> None:
    assert error_in(reply("failed-run-0023"))[-1] == reply("failed-run-0023").splitlines()[-1]
    assert error_in(BEFORE) == BEFORE.splitlines()[-20:]


def test_a_failed_run_shows_the_error(server: Kfp, osteon: Osteon) -> None:
    server.plays = [frame("FAILED", Step("search", "FAILED", 42, 165))]
    server.logs = {log_id("search"): BEFORE + "\n".join(TRACEBACK) + "\n" + AFTER}
    done = osteon("submit", "--wait")
    assert done.lines[-5:-1] == ["search failed after 2 min 3 s; the end of its log:", *(f"    {x}" for x in TRACEBACK)]


# ---------------------------------------------------------------- pods

MEMORY = "it was killed, for it took more memory than it may; raise it under resources in params.yaml"
NO_ROOM = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"creationTimestamp": at(40)}, "status": {"startTime": at(42), **status}}


def container(**state: Any) -> dict[str, Any]:
    return pod(containerStatuses=[{"name": "wait", "state": {"running": {}}}, {"name": "main", "state": state}])


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (
            container(terminated={"reason": "OOMKilled", "exitCode": 137, "finishedAt": at(165)}),
            f"{MEMORY} (OOMKilled: exit code 137), at 03:02:45",
        ),
        (
            container(waiting={"reason": "ImagePullBackOff", "message": "Back-off pulling image"}),
            "its image cannot be pulled (ImagePullBackOff: Back-off pulling image), since 03:00:42",
        ),
        (
            pod(initContainerStatuses=[{"name": "kfp-launcher", "state": {"waiting": {"reason": "ErrImagePull"}}}]),
            "its image cannot be pulled (ErrImagePull), since 03:00:42",
        ),
        (
            pod(
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": NO_ROOM,
                        "lastTransitionTime": at(45),
                    }
                ]
            ),
            f"no node can have its pod (Unschedulable: {NO_ROOM}), since 03:00:45",
        ),
        (
            pod(reason="Evicted", message="The node was low on resource: memory."),
            "its node had no room left, and its pod was evicted (Evicted: The node was low on resource: memory.)",
        ),
        (container(waiting={"reason": "ContainerCreating"}), ""),
        (container(terminated={"reason": "Error", "exitCode": 1}), ""),
        ({}, ""),
    ],
)
def test_what_kubernetes_says_of_a_pod_is_said_in_words(
    server: Kfp, osteon: Osteon, described: dict[str, Any], said: str
) -> None:
    server.serves_pages = True
    server.pods = {pod_name("train"): described}
    server.add_run("r1", **frame("RUNNING", Step("train", "PENDING", 42)))
    lines = osteon("status", "r1").lines
    assert lines[5].startswith("train  03:00:42    waiting for its pod, ")
    assert lines[6:] == (["", f"train: {said}"] if said else [])
    # One that has failed.
    server.plays = [frame("FAILED", Step("train", "FAILED", 42, 165))]
    lines = osteon("submit", "--wait").lines
    assert (f"train: {said}" in lines) == bool(said)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("OOMKilled (exit code 137)", f"{MEMORY} (OOMKilled: (exit code 137))"),
        (
            "ImagePullBackOff: Back-off pulling image",
            "its image cannot be pulled (ImagePullBackOff: Back-off pulling image)",
        ),
        (f"Unschedulable: {NO_ROOM}", f"no node can have its pod (Unschedulable: {NO_ROOM})"),
        ("pod deleted", "Argo says: pod deleted"),
        ("Error (exit code 1)", ""),
        ("main: Error (exit code 1)", ""),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_argo_says_of_a_node_is_said_in_words(
    server: Kfp, osteon: Osteon, message: str, said: str, packed: bool
) -> None:
    server.messages = {node_id("train(0).executor(0)", at_handler=True): message}
    if packed:
        server.messages["osteon-training-x7k2p-1"] = "Unschedulable"
    server.plays = [frame("RUNNING", Step("train", "PENDING", 42)), frame("FAILED", Step("train", "FAILED", 42, 165))]
    done = osteon("submit", "--wait")
    waiting = [line[10:].split(maxsplit=1) for line in done.lines[3:] if line[10:].startswith("train ")]
    assert waiting[:-1] == [["train", "waiting for its pod"], *([["train", said]] if said else [])]
    assert (f"train: {said}" in done.lines) == bool(said)


def test_who_may_not_see_pods_sees_the_run(server: Kfp, osteon: Osteon) -> None:
    server.answers[r"GET /k8s/pod"] = Answer(403, "Access denied to namespace", "text/plain")
    server.add_run("r1", **frame("RUNNING", Step("train", "PENDING", 42)))
    assert osteon("status", "r1").code == 0


def test_why_a_pod_waits_is_asked_once_a_minute(server: Kfp, osteon: Osteon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is the whole workflow."""
    seconds = iter([0.0, 5.0, 59.0, 60.0, 65.0, 70.0])
    clock = SimpleNamespace(sleep=lambda _: None, monotonic=seconds.__next__)
    monkeypatch.setattr(run_status, "time", clock)
    waits = frame("RUNNING", Step("train", "PENDING", 42))
    server.plays = [*[waits] * 5, frame("SUCCEEDED", Step("train", "SUCCEEDED", 42, 165))]
    osteon("submit", "--wait")
    assert len([request for request in server.requests if request.path.startswith("/apis/v1beta1/")]) == 2


@pytest.mark.parametrize(
    "end",
    ["F1130 03:30:53.4      15 main.go:63] failed to execute component: signal: killed\n", "Killed\n"],
)
def test_a_log_that_ends_with_a_kill(server: Kfp, osteon: Osteon, end: str) -> None:
    server.plays = [frame("FAILED", Step("train", "FAILED", 42, 165))]
    server.logs = {log_id("train"): "epoch 1/3\n" + end}
    assert f"train: {MEMORY} (OOMKilled: signal: killed); the end of its log:" in osteon("submit", "--wait").lines
