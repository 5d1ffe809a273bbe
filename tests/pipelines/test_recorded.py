"""What a real server answered: the double of the tests says the same, and the commands read it aright."""

import json
import re
import urllib.error
import urllib.request
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from osteon.records import pipeline_run
from osteon.records.lineage import PARENT, PASS, PROCESS, STEP
from tests.pipelines.conftest import Done, Osteon
from tests.pipelines.kfp_server import Answer, Kfp
from tests.pipelines.recorded_replies import exchange, listed_run, reply
from tests.pipelines.workflow_nodes import Group, Step, listed_tasks, log_id

# What each step waits for, as its inputs have it.
AFTER: dict[str, tuple[str, ...]] = {
    "share-params": (),
    "share-folds": (),
    "find-films": (),
    "ingest": ("find-films", "share-params"),
    "validate": ("find-films", "share-params", "ingest"),
    "prepare": ("find-films", "share-params", "validate"),
    "augment": ("share-params", "prepare"),
    "features": ("share-params", "prepare", "augment"),
    "search": ("share-params", "prepare", "augment", "features"),
    "for-loop-2": ("share-folds", "prepare", "augment", "features", "search"),
    "cross-validate": ("share-params", "prepare", "augment", "features", "search", "for-loop-2"),
    "train": ("share-params", "prepare", "augment", "features", "search", "cross-validate"),
    "evaluate": ("share-params", "train", "prepare", "search", "cross-validate", "validate"),
    "condition-3": ("find-films", "evaluate", "prepare", "train", "validate"),
}


def story(others: str, inside: dict[str, tuple[Step, ...]], **states: str) -> tuple[Step | Group, ...]:
    """All steps of the training. others: the state of those that are not named; inside: the steps of groups."""
    steps: list[Step | Group] = []
    for name, after in AFTER.items():
        state = states.get(name.replace("-", "_"), others)
        if name in ("for-loop-2", "condition-3"):
            steps.append(Group(name, state, inside.get(name, ()), after=after))
        else:
            steps.append(Step(name, state, after=after))
    return tuple(steps)


CACHED_INPUTS_GONE = story(
    "OMITTED",
    {},
    **dict.fromkeys(("find_films", "share_params", "share_folds"), "SUCCEEDED"),
    **dict.fromkeys(("ingest", "validate", "prepare", "augment", "features"), "CACHED"),
    search="FAILED",
)
ALL_CACHED = story(
    "CACHED",
    {"for-loop-2": (Step("cross-validate-fold", "CACHED"),) * 2, "condition-3": (Step("promote", "SUCCEEDED"),)},
    find_films="SUCCEEDED",
    for_loop_2="SUCCEEDED",
    condition_3="SUCCEEDED",
)
NO_REASON = (Step("ask-why", "SUCCEEDED"), Group("condition-2", "SKIPPED"))


def shapes(tasks: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """What a list of tasks says but for times: name, state, children."""
    return Counter(
        (
            task.get("display_name"),
            task.get("state"),
            tuple(sorted(child["pod_name"] for child in task.get("child_tasks", ()))),
        )
        for task in tasks
    )


@pytest.mark.parametrize(
    ("run", "steps"),
    [
        (reply("failed-run-0022"), CACHED_INPUTS_GONE),
        (listed_run("a5a28ddc"), ALL_CACHED),
        (listed_run("7180828c"), NO_REASON),
    ],
    ids=["failed", "all cached", "no reason to train"],
)
def test_the_double_lists_the_nodes_that_the_server_listed(
    run: dict[str, Any], steps: tuple[Step | Group, ...]
) -> None:
    recorded = run["run_details"]["task_details"]
    workflow = next(task["child_tasks"][0]["pod_name"] for task in recorded if "child_tasks" in task).rpartition("-")[0]
    made = listed_tasks(run["state"], steps, workflow)
    assert shapes(made) == shapes(recorded)
    assert {frozenset(task) for task in made} == {frozenset(task) for task in recorded}  # the same keys


# ---------------------------------------------------------------- what the commands say of it

FAILED_LOG = "osteon-training-gq84q-518535335"  # the node under which the server gave the log of search


@pytest.fixture
def no_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is not there."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}")


def states(done: Done) -> dict[str, str]:
    """The table of `status`: what is said of each step."""
    rows = (re.split(r"  +", line) for line in done.lines[5:])
    return {row[0]: row[-1] for row in rows}


def serve(server: Kfp, run: dict[str, Any]) -> str:
    """Let the server have a run; its id."""
    server.runs.append(run)
    return str(run["run_id"])


def test_status_of_the_run_that_failed(server: Kfp, osteon: Osteon) -> None:
    done = osteon("status", serve(server, reply("failed-run-0022")))
    assert (done.code, done.err) == (0, "")
    assert done.lines[2:] == [
        "state  failed after 3 min 2 s",
        "",
        "step            begun, UTC  state",
        "find-films      03:29:28    succeeded after 21 s",
        "share-folds     03:29:28    succeeded after 11 s",
        "share-params    03:29:28    succeeded after 11 s",
        "ingest          03:29:59    from the cache",
        "validate        03:30:09    from the cache",
        "prepare         03:30:19    from the cache",
        "augment         03:30:29    from the cache",
        "features        03:30:39    from the cache",
        "search          03:30:49    failed after 50 s",
        "cross-validate              not run",
        "train                       not run",
        "evaluate                    not run",
        "report-end      03:31:49    succeeded after 11 s",
    ]


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        ("failed-run-0006", {}),
        ("failed-run-0007", {}),
        (
            "failed-run-0011",
            {"share-params": "succeeded after 11 s", "find-films": "running", "share-folds": "succeeded after 11 s"},
        ),
    ],
)
def test_status_of_a_run_that_begins(server: Kfp, osteon: Osteon, begin: str, said: dict[str, str]) -> None:
    done = osteon("status", serve(server, reply(begin)))
    if not said:
        assert done.lines[-1] == "no step yet"
    assert {name: state.split(",")[0] for name, state in states(done).items()} == said


def test_all_of_a_run_came_from_the_cache(server: Kfp, osteon: Osteon) -> None:
    said = states(osteon("status", serve(server, listed_run("a5a28ddc"))))
    assert said.pop("find-films") == "succeeded after 21 s"
    assert said.pop("promote") == "succeeded after 46 s"
    assert said.pop("report-end") == "succeeded after 40 s"
    assert (len(said), set(said.values())) == (13, {"from the cache"})


def test_a_schedules_tick_without_a_reason(server: Kfp, osteon: Osteon) -> None:
    said = states(osteon("status", serve(server, listed_run("7180828c"))))
    assert said == {"ask-why": "succeeded after 23 s", "report-end": "succeeded after 32 s"}


def test_a_run_that_was_terminated(server: Kfp, osteon: Osteon) -> None:
    """Its tasks say FAILED; the run CANCELING, and then FAILED."""
    run_id = serve(server, reply("commands-0085"))
    done = osteon("status", run_id)
    assert done.lines[2] == "state  canceling"
    said = states(done)
    assert {name for name, state in said.items() if state == "canceled"} == {
        "find-films",
        "share-folds",
        "share-params",
    }
    assert said["report-end"].startswith("waiting for its pod, ")
    run_id = serve(server, listed_run("5cdce3be"))
    done = osteon("status", run_id)
    assert done.lines[2] == "state  terminated, failed after 3 min 33 s"
    assert states(done)["search"] == "canceled"


def test_waiting_for_a_run_that_is_terminated(server: Kfp, osteon: Osteon) -> None:
    run = listed_run("5cdce3be")
    server.plays = [{key: run[key] for key in run if key != "run_id"}]
    done = osteon("submit", "--wait")
    assert (done.code, done.err) == (4, "")
    assert done.lines[-2:] == ["terminated, failed after 3 min 33 s", "somebody ended it at 02:59:57"]


def record_steps(mlflow: Any, run_id: str, *steps: tuple[str, str, int, int]) -> None:
    """The runs of a run's steps in MLflow: name, status, begin and end in seconds after half past three."""
    client, experiment = mlflow
    zero = int(datetime(2026, 11, 30, 3, 30, tzinfo=UTC).timestamp())
    parent = client.create_run(experiment, tags={PASS: run_id, STEP: PARENT}).info.run_id
    for name, status, begin, end in steps:
        tags = {"mlflow.parentRunId": parent, PROCESS: f"pod-of-{name.replace(' ', '-')}/1/1"}
        run = client.create_run(experiment, start_time=(zero + begin) * 1000, tags=tags, run_name=name)
        if status != "RUNNING":
            client.set_terminated(run.info.run_id, status, end_time=(zero + end) * 1000)


STOPPED = (
    "note: Kubeflow's list stops at 03:36:31, before the run's end, as it does where a workflow's status is larger"
)


def test_late_steps_that_the_server_does_not_list_are_as_mlflow_has_them(
    server: Kfp, osteon: Osteon, mlflow: Any
) -> None:
    run_id = serve(server, reply("succeeded-run-0056"))
    finished = "FINISHED"
    record_steps(
        mlflow,
        run_id,
        ("search", finished, 352, 363),
        ("fold 0", finished, 404, 420),
        ("fold 1", finished, 404, 421),
        ("cross_validate", finished, 445, 451),
        ("train", finished, 475, 491),
        ("evaluate", finished, 516, 524),
        ("promote", finished, 540, 560),
    )
    done = osteon("status", run_id)
    assert done.code == 0
    assert done.lines[-7:] == [
        "search                 03:35:49    succeeded after 21 s",
        "cross-validate-fold 0  03:36:44    succeeded after 16 s",
        "cross-validate-fold 1  03:36:44    succeeded after 17 s",
        "cross-validate         03:37:25    succeeded after 6 s",
        "train                  03:37:55    succeeded after 16 s",
        "evaluate               03:38:36    succeeded after 8 s",
        "promote                03:39:00    succeeded after 20 s",
    ]
    assert done.err == f"{STOPPED} than 1 MiB; later steps are as MLflow has them\n"
    # Its machine was its pod.
    server.logs = {"pod-of-train": "train: films 480\n"}
    logs = osteon("logs", run_id, "train")
    assert (logs.code, logs.out, logs.err) == (0, "train: films 480\n", done.err)
    # Or the archive has it.
    server.logs = {log_id("train", workflow="osteon-training-9w5k2"): "train: films 481\n"}
    assert osteon("logs", run_id, "train").out == "train: films 481\n"


def test_the_log_of_a_late_step_of_a_retraining(server: Kfp, osteon: Osteon, no_mlflow: None) -> None:
    """It lies in a pipeline in a condition, beside search."""
    run_id = serve(server, listed_run("440b4157"))
    inside = ".condition-2(0).osteon-training-steps(0)"
    server.logs = {log_id("train", inside, "osteon-retraining-dctlx"): "train: films 480\n"}
    assert osteon("logs", run_id, "train").out == "train: films 480\n"


def test_the_log_of_a_late_step_is_where_those_of_the_others_are(server: Kfp, osteon: Osteon, no_mlflow: None) -> None:
    run_id = serve(server, reply("succeeded-run-0056"))
    server.logs = {log_id("cross-validate", workflow="osteon-training-9w5k2"): "cross_validate: films 480\n"}
    for name in ("cross_validate", "cross-validate"):
        done = osteon("logs", run_id, name)
        assert (done.code, done.out) == (0, "cross_validate: films 480\n")
        assert done.err.startswith(STOPPED)
    done = osteon("logs", run_id, "train")
    assert (done.code, done.out) == (2, "")
    assert "has no step train; it has find-films" in done.err
    assert STOPPED.removeprefix("note: ") in done.err


def test_waiting_ends_with_the_late_steps(server: Kfp, osteon: Osteon, mlflow: Any) -> None:
    frames = [reply(f"succeeded-run-00{number}") for number in (46, 55, 56)]
    server.plays = [{key: run[key] for key in run if key != "run_id"} for run in frames]
    run_id = "5b0e0000-0000-4000-8000-000000000000"
    record_steps(mlflow, run_id, ("fold 0", "FINISHED", 404, 420), ("train", "FINISHED", 475, 491))
    done = osteon("submit", "--wait")
    assert done.code == 0
    assert done.lines[-3:] == [
        "03:37:00  cross-validate-fold 0  succeeded after 16 s",
        "03:38:11  train                  succeeded after 16 s",
        "succeeded after 7 min 10 s",
    ]
    assert done.err.startswith(STOPPED)


def test_late_steps_without_mlflow_are_not_known(server: Kfp, osteon: Osteon, no_mlflow: None) -> None:
    done = osteon("status", serve(server, reply("succeeded-run-0056")))
    assert done.code == 0
    assert states(done)["cross-validate-fold 0"] == "not known"
    assert done.err.startswith(STOPPED)
    assert done.err.endswith("nothing is known: set MLFLOW_TRACKING_URI to the MLflow server of the cluster\n")


def test_late_steps_where_mlflow_does_not_let_us_in(
    server: Kfp, osteon: Osteon, mlflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> None:
        raise MlflowException("Permission denied")

    monkeypatch.setattr(pipeline_run, "find_pipeline_run", refuse)
    done = osteon("status", serve(server, reply("succeeded-run-0056")))
    assert (done.code, states(done)["cross-validate-fold 0"]) == (0, "not known")
    assert done.err.endswith("nothing is known: MLflow refuses (Permission denied)\n")


def test_late_steps_of_which_mlflow_has_nothing(server: Kfp, osteon: Osteon, mlflow: Any) -> None:
    done = osteon("status", serve(server, reply("succeeded-run-0056")))
    assert done.err.endswith("of later steps nothing is known: MLflow has nothing of this run\n")


def test_the_step_that_failed_is_found_where_the_server_lists_none(server: Kfp, osteon: Osteon, mlflow: Any) -> None:
    """Of this run no task says FAILED; train waits for its driver."""
    run = listed_run("9b642516")
    server.plays = [{key: run[key] for key in run if key != "run_id"}]
    record_steps(mlflow, "5b0e0000-0000-4000-8000-000000000000", ("train", "FAILED", -1620, -1600))
    server.logs = {"pod-of-train": "Traceback (most recent call last):\nosteon.errors.OsteonError: no film is left\n"}
    done = osteon("submit", "--wait")
    assert done.code == 4
    assert done.lines[-4:] == [
        "train failed after 20 s; the end of its log:",
        "    Traceback (most recent call last):",
        "    osteon.errors.OsteonError: no film is left",
        "all of it: `osteon pipeline logs 5b0e0000-0000-4000-8000-000000000000 train`",
    ]


def test_the_log_of_the_failed_step_by_either_name(server: Kfp, osteon: Osteon) -> None:
    run_id = serve(server, reply("failed-run-0022"))
    log = reply("failed-run-0023")
    server.logs = {FAILED_LOG: log}
    for words in ((), ("search",)):
        done = osteon("logs", run_id, *words)
        assert (done.code, done.out, done.err) == (0, log.rstrip("\n") + "\n", "")
    # Of another step the server has none, as it says with status 200.
    for name in ("find-films", "find_films"):
        done = osteon("logs", run_id, name)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("error: find-films: the cluster does not keep its log (NoSuchKey: The specified key")
    for name in ("ingest", "cross_validate"):
        assert osteon("logs", run_id, name).code == 0
    for name in ("root-driver", "osteon-training-gq84q", "executor", "for-loop-2"):
        assert osteon("logs", run_id, name).err.startswith(
            f"error: run {run_id} has no step {name}; it has find-films,"
        )


@pytest.mark.parametrize("number", ["0059", "0086"])
def test_the_servers_word_that_there_is_no_log_is_not_printed(server: Kfp, osteon: Osteon, number: str) -> None:
    sent = exchange(f"commands-{number}")
    answer = Answer(sent["status"], json.dumps(sent["reply"]), sent["content_type"])
    server.answers[r"GET /apis/v1alpha1/.*"] = answer
    run_id = serve(server, reply("succeeded-run-0055" if number == "0059" else "commands-0085"))
    done = osteon("logs", run_id, "prepare" if number == "0059" else "find-films")
    assert (done.code, done.out) == (2, "")
    assert "(NoSuchKey: The specified key does not exist); while the pod is there: `kubectl logs" in done.err


@pytest.mark.parametrize("number", ["0060", "0087"])
def test_the_double_refuses_as_the_server_does(server: Kfp, osteon: Osteon, number: str) -> None:
    sent = exchange(f"commands-{number}")
    if sent["method"] == "POST":
        server.pipelines.append({"pipeline_id": "p0", "display_name": "osteon-training"})
    request = urllib.request.Request(  # noqa: S310 – http
        server.address + sent["path"],
        json.dumps(sent["sent"]).encode() if sent["sent"] else None,
        {"Content-Type": "application/json"},
        method=sent["method"],
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)  # noqa: S310 – http
    assert refused.value.code == sent["status"]
    made, recorded = json.loads(refused.value.read()), sent["reply"]
    assert (made.keys(), made["code"], made["details"]) == (recorded.keys(), recorded["code"], recorded["details"])


@pytest.mark.parametrize(
    "begin",
    [
        "failed-run-0001",
        "failed-run-0005",
        "commands-0081",
        "commands-0065",
        "commands-0064",
        "commands-0080",
        "commands-0084",
    ],
)
def test_the_double_answers_with_the_keys_of_the_servers_answer(server: Kfp, osteon: Osteon, begin: str) -> None:
    sent = exchange(begin)
    if begin == "commands-0064":  # the list of what was made
        made = exchange("commands-0065")
        ask(server, "POST", made["path"], made["sent"])
    if begin == "commands-0084":
        server.add_run(sent["path"].rpartition("/")[2].partition(":")[0])
    status, answer = ask(server, sent["method"], sent["path"], sent["sent"])
    assert (status, keys(answer)) == (sent["status"], keys(sent["reply"]))


def ask(server: Kfp, method: str, path: str, body: Any) -> tuple[int, Any]:
    content = json.dumps(body).encode() if body else None
    request = urllib.request.Request(  # noqa: S310 – http
        server.address + path, content, {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310 – http
        return response.status, json.loads(response.read())


def keys(content: Any) -> Any:
    """The keys of JSON, of a list those of its first item; the arguments of a run are its own."""
    if isinstance(content, list):
        return [keys(item) for item in content[:1]]
    return (
        {key: key == "parameters" or keys(value) for key, value in content.items()} if isinstance(content, dict) else 0
    )
