"""`osteon pipeline submit --wait`, `status` and `logs` against a server that speaks Kubeflow Pipelines."""

from typing import Any

import pytest

from pipelines import run_status
from tests.pipelines.conftest import Osteon
from tests.pipelines.kfp_server import Answer, Kfp, at, frame, inside, nodes, refusal

POD = "osteon-training-x7k2p-system-container-impl-202"

# ---------------------------------------------------------------- follow


def test_wait_says_each_change_once_and_ends_with_the_run(server: Kfp, osteon: Osteon) -> None:
    ingest, prepare = nodes("ingest", "SUCCEEDED", 1, 5, 36), nodes("prepare", "CACHED", 2, 40, 41)
    server.plays = [
        {"state": "PENDING"},
        frame("RUNNING", nodes("ingest", "WAITING", 1, 1)),
        frame("RUNNING", nodes("ingest", "RUNNING", 1, 5)),
        frame("RUNNING", nodes("ingest", "RUNNING", 1, 5)),
        frame("RUNNING", ingest, nodes("prepare", "WAITING", 2, 40)),
        frame("RUNNING", ingest, prepare, nodes("train", "RUNNING", 3, 42)),
        frame("SUCCEEDED", ingest, prepare, nodes("train", "SUCCEEDED", 3, 42, 720, attempts=2)),
    ]
    done = osteon("submit", "--wait")
    assert (done.code, done.err) == (0, "")
    assert done.lines[3:] == [
        "03:00:05  ingest            running",
        "03:00:36  ingest            succeeded after 31 s",
        "03:00:41  prepare           from the cache",
        "03:00:42  train             running",
        "03:12:00  train             succeeded after 11 min 18 s",
        "succeeded after 12 min 3 s",
    ]


@pytest.mark.parametrize("pages", [False, True], ids=["the API's server", "the server of the pages"])
def test_a_run_that_fails_ends_with_the_step_and_the_end_of_its_log(server: Kfp, osteon: Osteon, pages: bool) -> None:
    server.serves_pages = pages
    server.plays = [
        frame("RUNNING", nodes("ingest", "SUCCEEDED", 1, 5, 36), nodes("train", "RUNNING", 2, 42)),
        frame(
            "FAILED",
            nodes("ingest", "SUCCEEDED", 1, 5, 36),
            nodes("train", "FAILED", 2, 42, 165),
            nodes("evaluate", "SKIPPED", 3, 166),
        ),
    ]
    server.logs = {POD: "".join(f"line {i}\n" for i in range(50)) + "error: no film is left\n"}
    done = osteon("submit", "--wait")
    run_id = server.runs[0]["run_id"]
    assert (done.code, done.err) == (4, "")
    assert [line for line in done.lines[4:] if not line.startswith("    ")] == [
        "03:00:42  train             running",
        "03:02:45  train             failed after 2 min 3 s",
        "03:02:46  evaluate          skipped",
        "failed after 12 min 3 s",
        "train failed after 2 min 3 s; the end of its log:",
        f"all of it: `osteon pipeline logs {run_id} train`",
    ]
    log = [line for line in done.lines if line.startswith("    ")]
    assert (len(log), log[0], log[-1]) == (20, "    line 31", "    error: no film is left")
    if pages:
        (request,) = (request for request in server.requests if request.path == "/k8s/pod/logs")
        assert request.query == {"podname": POD, "runid": run_id, "podnamespace": "kubeflow"}
    everything = osteon("logs", run_id)
    assert (everything.code, everything.out) == (0, server.logs[POD])


def test_a_failed_run_whose_log_the_cluster_has_not_kept(server: Kfp, osteon: Osteon) -> None:
    server.plays = [frame("FAILED", nodes("train", "FAILED", 2, 42, 165))]
    done = osteon("submit", "--wait", "--namespace", "films")
    command = f"`kubectl logs -n films {POD} -c main`"
    assert done.code == 4
    assert done.lines[-2:] == [
        "train failed after 2 min 3 s",
        f"the cluster does not keep its log; while the pod is there: {command}",
    ]
    for words in (("train",), ()):
        done = osteon("logs", server.runs[0]["run_id"], *words, "--namespace", "films")
        assert (done.code, done.out) == (2, "")
        assert done.err == (f"error: train: the cluster does not keep its log; while the pod is there: {command}\n")


def test_a_step_that_could_not_be_prepared(server: Kfp, osteon: Osteon) -> None:
    server.plays = [frame("FAILED", nodes("train", "DRIVER", 2, 42, 44), nodes("evaluate", "SKIPPED", 3))]
    server.logs = {"osteon-training-x7k2p-system-container-driver-200": "driver: no such artefact\n"}
    done = osteon("submit", "--wait")
    assert done.code == 4
    assert "03:00:44  train             failed after 2 s" in done.lines
    assert done.lines[-3:-1] == ["train failed after 2 s; the end of its log:", "    driver: no such artefact"]


def test_a_run_that_could_not_begin_or_was_cancelled(server: Kfp, osteon: Osteon) -> None:
    server.plays = [{"state": "FAILED", "finished_at": at(2), "error": {"message": "quota\nexceeded"}}]
    done = osteon("submit", "--wait")
    page = f"{server.address}/#/runs/details/{server.runs[0]['run_id']}"
    assert (done.code, done.lines[-2:]) == (4, ["failed after 2 s", f"failed: quota exceeded; see {page}"])
    server.plays = [frame("CANCELED", nodes("train", "RUNNING", 2, 42))]
    done = osteon("submit", "--wait")
    assert (done.code, done.lines[-2]) == (4, "canceled")


def test_a_cluster_that_is_away_for_a_while_is_asked_again(server: Kfp, osteon: Osteon) -> None:
    server.plays = [frame("RUNNING", nodes("train", "RUNNING", 2, 42)), frame("SUCCEEDED")]
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
        nodes("train", "FAILED", 3, 42, 720, attempts=3),
        nodes("ingest", "SUCCEEDED", 1, 5, 36),
        nodes("prepare", "CACHED", 2, 40, 41),
        nodes("evaluate", "SKIPPED", 4, 721),
    ]
    server.add_run("r1", **frame("FAILED", *steps))
    done = osteon("status", "r1")
    assert done.code == 0
    assert done.lines == [
        "run    r1  osteon-training r1",
        f"page   {server.address}/#/runs/details/r1",
        "state  failed after 12 min 3 s",
        "",
        "step      begun, UTC  state",
        "ingest    03:00:05    succeeded after 31 s",
        "prepare   03:00:40    from the cache",
        "train     03:00:42    failed after 11 min 18 s",
        "evaluate  03:12:01    skipped",
    ]


def test_steps_side_by_side_under_one_name_are_told_each(server: Kfp, osteon: Osteon) -> None:
    folds = [nodes("fold", "SUCCEEDED", 1, 5, 36), nodes("fold", "RUNNING", 2, 5), nodes("fold", "WAITING", 3, 6)]
    server.add_run("r1", **frame("RUNNING", *folds))
    states = [line.split()[2] for line in osteon("status", "r1").lines[5:]]
    assert states == ["succeeded", "running,", "waiting"]


def test_conditions_loops_and_pipelines_in_pipelines_are_no_steps(server: Kfp, osteon: Osteon) -> None:
    fold = [nodes("fold", state, number, 5, 36) for number, state in ((1, "SUCCEEDED"), (2, "FAILED"))]
    items = [inside("iteration-item", "RUNNING", 11 + i, steps) for i, steps in enumerate(fold)]
    steps = [
        inside("for-loop-2", "RUNNING", 8, *items),
        inside("osteon-training-steps", "FAILED", 3, nodes("train", "FAILED", 4, 42, 165)),
        nodes("iteration", "SUCCEEDED", 5)[:1],  # of a loop, whose graph has another name
        nodes("condition-3", "SKIPPED", 6),
        nodes("condition-4", "DRIVER", 7, 170, 171),
    ]
    server.add_run("r1", **frame("FAILED", *steps))
    assert [line.split()[0] for line in osteon("status", "r1").lines[5:]] == ["fold", "fold", "train", "condition-4"]
    server.logs = {f"osteon-training-x7k2p-system-container-impl-{number}": str(number) for number in (202, 402)}
    server.logs["osteon-training-x7k2p-system-container-driver-700"] = "no such argument"
    assert osteon("logs", "r1").lines[1::2] == ["202", "402", "no such argument"]


def test_a_server_that_tells_no_nodes_but_steps(server: Kfp, osteon: Osteon) -> None:
    details = [
        {"display_name": "ingest", "task_id": "t", "state": "SUCCEEDED", "start_time": at(5), "end_time": at(36)}
    ]
    server.add_run("r1", run_details={"task_details": details})
    assert osteon("status", "r1").lines[-1] == "ingest  03:00:05    succeeded after 31 s"
    done = osteon("logs", "r1")
    assert done.out == ""


def test_a_server_that_does_not_tell_the_nodes_own_names(server: Kfp, osteon: Osteon) -> None:
    """As those before 2.17; the child's name is what their log is asked by."""
    run = server.add_run("r1", **frame("FAILED", nodes("train", "FAILED", 2, 42, 165)))
    for node in run["run_details"]["task_details"]:
        del node["pod_name"]
    server.logs = {"osteon-training-x7k2p-202": "error: no film is left\n"}
    assert osteon("logs", "r1", "train").out == "error: no film is left\n"


def test_logs_of_all_steps_of_a_good_run_each_with_its_pod(server: Kfp, osteon: Osteon) -> None:
    steps = [nodes("ingest", "SUCCEEDED", 1), nodes("prepare", "CACHED", 2), nodes("train", "SUCCEEDED", 3, attempts=2)]
    server.add_run("r1", **frame("SUCCEEDED", *steps))
    pods = [f"osteon-training-x7k2p-system-container-impl-{number}" for number in (102, 303, 304)]
    server.logs = dict(zip(pods, ("ingest: films 3\n", "killed", "12"), strict=True))
    done = osteon("logs", "r1")
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        f"── ingest ({pods[0]})",
        "ingest: films 3",
        f"── train ({pods[1]})",
        "killed",
        f"── train ({pods[2]})",
        "12",
    ]
    assert osteon("logs", "r1", "ingest").out == "ingest: films 3\n"
    assert osteon("logs", "r1", "prepare").out == "prepare wrote nothing: its result came from the cache\n"


def test_the_page_is_where_the_pages_are(server: Kfp, osteon: Osteon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kubeflow.example/pipeline")
    server.add_run("r1")
    assert osteon("status", "r1").lines[1] == "page   https://kubeflow.example/pipeline/#/runs/details/r1"
    # As a browser shows it.
    assert osteon("status", "r1", "--host", f"{server.address}/#/runs").code == 0
