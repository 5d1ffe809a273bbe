"""`osteon pipeline submit --wait`, `status` and `logs` against a server that speaks Kubeflow Pipelines."""

import json
from typing import Any

import pytest

from pipelines import run_status
from tests.pipelines.conftest import Osteon
from tests.pipelines.kfp_server import Answer, Kfp, refusal
from tests.pipelines.workflow_nodes import (
    WORKFLOW,
    Group,
    Step,
    at,
    frame,
    iteration,
    listed_tasks,
    log_id,
    node_id,
    pod_name,
)

REPORT_NODE = f"{WORKFLOW}(0).root(0).exit-handler-1.onExit(0).report-end(0).executor(0)"
REPORT_POD = node_id(REPORT_NODE).replace(f"{WORKFLOW}-", f"{WORKFLOW}-retry-system-container-impl-")

# ---------------------------------------------------------------- follow


def test_wait_says_each_change_once_and_ends_with_the_run(server: Kfp, osteon: Osteon) -> None:
    ingest, prepare = Step("ingest", "SUCCEEDED", 5, 36), Step("prepare", "CACHED", 40, 41)
    server.plays = [
        {"state": "PENDING"},
        frame("RUNNING", Step("ingest", "WAITING", 1)),
        frame("RUNNING", Step("ingest", "PENDING", 5)),
        frame("RUNNING", Step("ingest", "RUNNING", 5)),
        frame("RUNNING", Step("ingest", "RUNNING", 5)),
        frame("RUNNING", ingest, Step("prepare", "WAITING", 40)),
        frame("RUNNING", ingest, prepare, Step("train", "RUNNING", 42)),
        frame("SUCCEEDED", ingest, prepare, Step("train", "SUCCEEDED", 42, 720, attempts=2)),
    ]
    done = osteon("submit", "--wait")
    assert (done.code, done.err) == (0, "")
    assert done.lines[3:] == [
        "03:00:05  ingest                 waiting for its pod",
        "03:00:05  ingest                 running",
        "03:00:36  ingest                 succeeded after 31 s",
        "03:00:40  prepare                from the cache",
        "03:00:42  train                  running",
        "03:12:00  train                  succeeded after 11 min 18 s",
        "03:12:21  report-end             succeeded after 11 s",
        "succeeded after 12 min 3 s",
    ]


@pytest.mark.parametrize("pages", [False, True], ids=["the API's server", "the server of the pages"])
def test_a_run_that_fails_ends_with_the_step_and_the_end_of_its_log(server: Kfp, osteon: Osteon, pages: bool) -> None:
    server.serves_pages = pages
    server.plays = [
        frame("RUNNING", Step("ingest", "SUCCEEDED", 5, 36), Step("train", "RUNNING", 42)),
        frame(
            "FAILED",
            Step("ingest", "SUCCEEDED", 5, 36),
            Step("train", "FAILED", 42, 165),
            Step("evaluate", "OMITTED", 165),
        ),
    ]
    log = "".join(f"line {i}\n" for i in range(50)) + "error: no film is left\n"
    server.logs = {pod_name("train") if pages else log_id("train"): log}
    done = osteon("submit", "--wait")
    run_id = server.runs[0]["run_id"]
    assert (done.code, done.err) == (4, "")
    assert [line for line in done.lines[4:] if not line.startswith("    ")] == [
        "03:00:42  train                  running",
        "03:02:45  train                  failed after 2 min 3 s",
        "03:02:45  evaluate               not run",
        "03:03:06  report-end             succeeded after 11 s",
        "failed after 12 min 3 s",
        "train failed after 2 min 3 s; the end of its log:",
        f"all of it: `osteon pipeline logs {run_id} train`",
    ]
    tail = [line for line in done.lines if line.startswith("    ")]
    assert (len(tail), tail[0], tail[-1]) == (20, "    line 31", "    error: no film is left")
    if pages:
        request = next(request for request in server.requests if request.path == "/k8s/pod/logs")
        assert request.query == {"podname": pod_name("train"), "runid": run_id, "podnamespace": "kubeflow"}
    everything = osteon("logs", run_id)
    assert (everything.code, everything.out) == (0, log)


def test_a_failed_run_whose_log_the_cluster_has_not_kept(server: Kfp, osteon: Osteon) -> None:
    """The server says so with status 200; that is no log."""
    server.plays = [frame("FAILED", Step("train", "FAILED", 42, 165))]
    done = osteon("submit", "--wait", "--namespace", "films")
    run_id = server.runs[0]["run_id"]
    number = pod_name("train").rpartition("-")[2]
    pods = f"$(kubectl get pods -n films -o name -l pipeline/runid={run_id} | grep {number})"
    message = (
        "the cluster does not keep its log (NoSuchKey: The specified key does not exist); while the pod is there: "
        f"`kubectl logs -n films -c main {pods}`"
    )
    assert done.code == 4
    assert done.lines[-2:] == ["train failed after 2 min 3 s", message]
    for words in (("train",), ()):
        done = osteon("logs", run_id, *words, "--namespace", "films")
        assert (done.code, done.out) == (2, "")
        assert done.err == f"error: train: {message}\n"


@pytest.mark.parametrize(
    "place",
    [
        pod_name("train"),
        pod_name("train", retried=False),
        node_id("train(0).executor(0)", at_handler=True),
        node_id("train(0).executor", at_handler=True),
        log_id("train"),
        node_id("train", at_handler=True),
    ],
)
def test_a_log_is_found_under_whatever_name_the_server_has_it(server: Kfp, osteon: Osteon, place: str) -> None:
    server.add_run("r1", **frame("FAILED", Step("train", "FAILED", 42, 165)))
    server.logs = {place: "error: no film is left\n"}
    assert osteon("logs", "r1", "train").out == "error: no film is left\n"


def test_of_several_attempts_the_last_has_the_log_that_is_kept_for_the_step(server: Kfp, osteon: Osteon) -> None:
    server.add_run("r1", **frame("FAILED", Step("train", "FAILED", 42, 165, attempts=3)))
    server.logs = {log_id("train"): "error: no film is left\n"}
    done = osteon("logs", "r1", "train")
    assert (done.code, done.lines) == (2, [f"── train ({pod_name('train', 2)})", "error: no film is left"])
    assert done.err.startswith("error: train: the cluster does not keep its log")


def test_between_two_attempts_a_step_is_running(server: Kfp, osteon: Osteon) -> None:
    run = server.add_run("r1", **frame("RUNNING", Step("train", "RUNNING", 42, attempts=2)))
    details = run["run_details"]
    details["task_details"] = [task for task in details["task_details"] if task["display_name"] != "executor(1)"]
    assert osteon("status", "r1").lines[5].startswith("train  03:00:42    running, ")


def test_a_log_that_argo_has_kept_as_an_artefact(server: Kfp, osteon: Osteon) -> None:
    server.add_run("r1", **frame("FAILED", Step("train", "FAILED", 42, 165)))
    server.archived = {node_id("train(0).executor(0)", at_handler=True): "error: kein Röntgenbild\n"}
    done = osteon("logs", "r1", "train")
    assert (done.code, done.out) == (0, "error: kein Röntgenbild\n")


def test_a_log_that_breaks_off_is_printed_and_said_to(server: Kfp, osteon: Osteon) -> None:
    server.add_run("r1", **frame("FAILED", Step("train", "FAILED", 42, 165)))
    fault = json.dumps({"error_message": "Failed to read logs: connection reset", "error_details": ""})
    server.logs = {log_id("train"): f'{{"error_message": "of its own"}}\nepoch 1/3\n{fault}'}
    done = osteon("logs", "r1", "train")
    assert (done.code, done.out) == (2, '{"error_message": "of its own"}\nepoch 1/3\n')
    assert "(Failed to read logs: connection reset)" in done.err


def test_a_step_whose_log_speaks_of_an_error_message(server: Kfp, osteon: Osteon) -> None:
    server.add_run("r1", **frame("SUCCEEDED", Step("train", "SUCCEEDED", 42, 165)))
    for text in ('wrote {"error_message": "none"} to the report\n3\n', '{"error_message": "none", "films": 3}\n'):
        server.logs = {log_id("train"): text}
        done = osteon("logs", "r1", "train")
        assert (done.code, done.out) == (0, text)


def test_a_step_that_could_not_be_prepared(server: Kfp, osteon: Osteon) -> None:
    server.plays = [frame("FAILED", Step("train", "DRIVER", 42, 44), Step("evaluate", "OMITTED", 44))]
    server.logs = {node_id("train-driver(0)", at_handler=True): "driver: no such artefact\n"}
    done = osteon("submit", "--wait")
    assert done.code == 4
    assert "03:00:44  train                  failed after 2 s" in done.lines
    assert done.lines[-3:-1] == ["train failed after 2 s; the end of its log:", "    driver: no such artefact"]


def test_a_run_that_could_not_begin(server: Kfp, osteon: Osteon) -> None:
    server.plays = [{"state": "FAILED", "finished_at": at(2), "error": {"message": "quota\nexceeded"}}]
    done = osteon("submit", "--wait")
    page = f"{server.address}/#/runs/details/{server.runs[0]['run_id']}"
    assert (done.code, done.lines[-2:]) == (4, ["failed after 2 s", f"failed: quota exceeded; see {page}"])


def test_a_cluster_that_is_away_for_a_while_is_asked_again(server: Kfp, osteon: Osteon) -> None:
    server.plays = [frame("RUNNING", Step("train", "RUNNING", 42)), frame("SUCCEEDED")]
    server.answers[r"GET /apis/v2beta1/runs/[^/]+"] = Answer(503, "", "text/plain", times=3)
    done = osteon("submit", "--wait")
    assert done.code == 0
    (away,) = (line for line in done.lines if "503" in line)
    assert away.endswith("is not ready (503); try again in a while; retrying")


def test_who_is_not_let_in_any_more_learns_that_the_run_goes_on(server: Kfp, osteon: Osteon) -> None:
    server.answers[r"GET /apis/v2beta1/runs/[^/]+"] = refusal(401, "expired")
    done = osteon("submit", "--wait")
    assert done.code == 2
    run_id = server.runs[0]["run_id"]
    assert done.err.endswith(f"; the run continues: `osteon pipeline status {run_id}`\n")


def test_whoever_stops_waiting_learns_that_the_run_goes_on(
    server: Kfp, osteon: Osteon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_status, "get_run", stop)
    done = osteon("submit", "--wait")
    run_id = server.runs[0]["run_id"]
    assert (done.code, done.err) == (130, f"the run continues: `osteon pipeline status {run_id}`\n")


# ---------------------------------------------------------------- status and logs


def test_status_lists_the_last_ten_runs_of_the_experiment(server: Kfp, osteon: Osteon) -> None:
    server.experiments += [
        {"experiment_id": f"e{i}", "display_name": name, "created_at": at(i)} for i, name in enumerate(("osteon", "x"))
    ]
    assert osteon("status").out == "no run yet; `osteon pipeline submit` starts one\n"
    for i in range(12):
        server.add_run(f"r{i}", finished_at=at(i + 61))
    server.add_run("other", experiment_id="e1")
    server.runs[11].update(state="RUNNING", finished_at="1970-01-01T00:00:00Z")
    server.runs[10].update(state="PENDING", finished_at="1970-01-01T00:00:00Z")
    done = osteon("status")
    assert done.code == 0
    assert done.lines[0] == "run  begun, UTC        name                 state"
    assert [line.split()[0] for line in done.lines[1:]] == [f"r{i}" for i in range(11, 1, -1)]
    assert done.lines[1].startswith("r11  2026-11-22 03:00  osteon-training r11  running, ")
    assert done.lines[2] == "r10  2026-11-22 03:00  osteon-training r10  waiting"
    assert done.lines[3] == "r9   2026-11-22 03:00  osteon-training r9   succeeded after 1 min 1 s"


def test_status_of_a_run_has_a_line_for_each_step(server: Kfp, osteon: Osteon) -> None:
    steps = [
        Step("ingest", "SUCCEEDED", 5, 36),
        Step("prepare", "CACHED", 40, 41),
        Step("train", "FAILED", 42, 720, attempts=3),
        Step("evaluate", "OMITTED", 720),
        Group("condition-3", "OMITTED", begin=720),
    ]
    server.add_run("r1", **frame("FAILED", *steps))
    done = osteon("status", "r1")
    assert done.code == 0
    assert done.lines == [
        "run    r1  osteon-training r1",
        f"page   {server.address}/#/runs/details/r1",
        "state  failed after 12 min 3 s",
        "",
        "step        begun, UTC  state",
        "ingest      03:00:05    succeeded after 31 s",
        "prepare     03:00:40    from the cache",
        "train       03:00:42    failed after 11 min 18 s",
        "evaluate                not run",
        "report-end  03:12:10    succeeded after 11 s",
    ]


def test_folds_have_their_numbers(server: Kfp, osteon: Osteon) -> None:
    folds = [Step("cross-validate-fold", state, 5, end) for state, end in (("SUCCEEDED", 36), ("RUNNING", 0))]
    waiting = Step("cross-validate-fold", "WAITING", 6)
    server.add_run("r1", **frame("RUNNING", Group("for-loop-2", "RUNNING", (*folds, waiting))))
    states = [line.split()[:4] for line in osteon("status", "r1").lines[5:]]
    assert [(name, number, state) for name, number, _, state in states] == [
        ("cross-validate-fold", "0", "succeeded"),
        ("cross-validate-fold", "1", "running,"),
        ("cross-validate-fold", "2", "waiting"),
    ]
    for number in range(2):
        server.logs[log_id("cross-validate-fold", iteration(number))] = f"fold {number}: films 3\n"
    assert osteon("logs", "r1", "cross_validate_fold").lines[1::2] == ["fold 0: films 3", "fold 1: films 3"]
    assert osteon("logs", "r1", "cross-validate-fold 1").out == "fold 1: films 3\n"


def test_conditions_loops_and_pipelines_in_pipelines_are_no_steps(server: Kfp, osteon: Osteon) -> None:
    folds = tuple(Step("fold", state, 5, 36) for state in ("SUCCEEDED", "FAILED"))
    steps = [
        Group("for-loop-2", "FAILED", folds, 5, 36),
        Group("osteon-training-steps", "FAILED", (Step("train", "FAILED", 42, 165),), 42, 165, after=()),
        Group("condition-3", "SKIPPED", begin=166, after=()),
        Group("condition-4", "DRIVER", begin=170, end=171, after=()),
    ]
    server.add_run("r1", **frame("FAILED", *steps))
    assert [line.split("  ")[0] for line in osteon("status", "r1").lines[5:]] == [
        "fold 0",
        "fold 1",
        "train",
        "condition-4",
        "report-end",
    ]
    server.logs = {
        log_id("fold", iteration(1)): "fold",
        log_id("train", ".osteon-training-steps(0)"): "train",
        node_id("condition-4-driver(0)", at_handler=True): "no such argument",
    }
    assert osteon("logs", "r1").lines[1::2] == ["fold", "train", "no such argument"]


@pytest.mark.parametrize("tasks", [[], [{"display_name": "osteon-training-x7k2p", "task_id": "t"}]])
def test_a_run_without_a_step_yet(server: Kfp, osteon: Osteon, tasks: list[dict[str, str]]) -> None:
    server.add_run("r1", state="RUNNING", run_details={"task_details": tasks})
    assert osteon("status", "r1").lines[-1] == "no step yet"
    done = osteon("logs", "r1")
    assert (done.code, done.err) == (2, "error: run r1: no step yet\n")


def test_a_server_whose_argo_tries_nothing_again(server: Kfp, osteon: Osteon) -> None:
    steps = (Step("ingest", "CACHED", 5), Step("train", "FAILED", 42, 165))
    tasks = listed_tasks("FAILED", steps, tried_again=False)
    assert not any(task.get("display_name", "").endswith(")") for task in tasks)
    server.add_run("r1", state="FAILED", run_details={"task_details": tasks})
    assert [line.split()[::2][:2] for line in osteon("status", "r1").lines[5:]] == [
        ["ingest", "from"],
        ["train", "failed"],
        ["report-end", "succeeded"],
    ]
    pod = node_id("osteon-training-x7k2p.root.exit-handler-1.train.executor").replace("p-", "p-system-container-impl-")
    server.logs = {pod: "error: no film is left\n"}
    assert osteon("logs", "r1", "train").out == "error: no film is left\n"


def test_logs_of_all_steps_of_a_good_run_each_with_its_pod(server: Kfp, osteon: Osteon) -> None:
    steps = [Step("ingest", "SUCCEEDED", 1, 2), Step("prepare", "CACHED", 2), Step("train", "SUCCEEDED", 3, 9, 2)]
    server.add_run("r1", **frame("SUCCEEDED", *steps))
    pods = [pod_name("ingest"), pod_name("train"), pod_name("train", 1)]
    server.logs = dict(zip(pods, ("ingest: films 3\n", "killed", "12"), strict=True))
    server.logs[REPORT_POD] = "finished: run 1\n"
    done = osteon("logs", "r1")
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        f"── ingest ({pods[0]})",
        "ingest: films 3",
        f"── train ({pods[1]})",
        "killed",
        f"── train ({pods[2]})",
        "12",
        f"── report-end ({REPORT_POD})",
        "finished: run 1",
    ]
    assert osteon("logs", "r1", "ingest").out == "ingest: films 3\n"
    assert osteon("logs", "r1", "prepare").out == "prepare wrote nothing: its result came from the cache\n"


def test_a_pipeline_in_a_pipeline_is_no_step_before_it_has_some(server: Kfp, osteon: Osteon) -> None:
    inner = Group("osteon-training-steps", "RUNNING", begin=20)
    server.add_run(
        "r1", **frame("RUNNING", Step("ask-why", "SUCCEEDED", 5, 16), Group("condition-2", "RUNNING", (inner,)))
    )
    assert [line.split()[0] for line in osteon("status", "r1").lines[5:]] == ["ask-why"]


def test_a_run_that_was_terminated_and_tried_again_has_failed(server: Kfp, osteon: Osteon) -> None:
    """Whoever retries a run has it go on."""
    history = [{"update_time": at(i), "state": state} for i, state in enumerate(("RUNNING", "CANCELING", "FAILED"))]
    run = frame("FAILED", Step("ingest", "FAILED", 0, 0, after=()), Step("train", "FAILED", 42, 165, after=()))
    server.add_run("r1", **run, state_history=history)
    server.add_run("r2", **run, state_history=[*history, {"update_time": at(40), "state": "RUNNING"}])
    # What had failed before has failed.
    assert osteon("status", "r1").lines[5] == "ingest      03:00:00    failed after 0 s"
    assert osteon("status", "r1").lines[2:7:4] == [
        "state  terminated, failed after 12 min 3 s",
        "train       03:00:42    canceled",
    ]
    assert osteon("status", "r2").lines[2] == "state  failed after 12 min 3 s"
    assert osteon("status", "r2").lines[6] == "train       03:00:42    failed after 2 min 3 s"


def test_the_page_is_where_the_pages_are(server: Kfp, osteon: Osteon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kubeflow.example/pipeline")
    server.add_run("r1")
    assert osteon("status", "r1").lines[1] == "page   https://kubeflow.example/pipeline/#/runs/details/r1"
    # As a browser shows it.
    assert osteon("status", "r1", "--host", f"{server.address}/#/runs").code == 0
