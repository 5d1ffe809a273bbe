"""`osteon pipeline schedule` and `schedules` against a server that speaks Kubeflow Pipelines."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from osteon.params import Params, read_one_line
from pipelines.schedules import next_times, read_cron
from tests.pipelines.conftest import IMAGE, TRAINING, Osteon, compile_to, version_of
from tests.pipelines.kfp_server import Answer, Kfp, refusal


def test_schedule_makes_one_that_follows_the_newest_version(server: Kfp, osteon: Osteon) -> None:
    done = osteon("schedule", "--cron", "30 3 * * mon", "--param", "training.epochs=3", "--revision", "v1")
    assert (done.code, done.err) == (0, "")
    times = next_times("0 30 3 * * 1")
    assert done.lines == [
        "osteon-retraining: made",
        f"pipeline  osteon-retraining, version {version_of(TRAINING.with_name('retraining.yaml'))} or, once there is "
        "one, a newer",
        f"next      {', '.join(f'{time:%Y-%m-%d %H:%M}' for time in times)} UTC",
    ]
    assert all(time > datetime.now(UTC) and (time.weekday(), time.hour, time.minute) == (0, 3, 30) for time in times)
    assert times[1] - times[0] == timedelta(days=7)
    (sent,) = (request.body for request in server.sent("POST", "/recurringruns"))
    arguments = sent["runtime_config"].pop("parameters")
    assert sent == {
        "display_name": "osteon-retraining",
        "experiment_id": "e0",
        "mode": "ENABLE",
        "pipeline_version_reference": {"pipeline_id": "p0"},  # no version: the newest
        "runtime_config": {},
        "trigger": {"cron_schedule": {"cron": "0 30 3 * * MON"}},
        "max_concurrency": 1,
        "no_catchup": True,
    }
    assert set(arguments) == {"params", "policy", "repository", "revision", "mode"}
    assert Params.model_validate(read_one_line(arguments["params"], "params")).training.epochs == 3
    assert arguments["revision"] == "v1"
    assert [pipeline["display_name"] for pipeline in server.pipelines] == ["osteon-retraining"]


def test_said_again_it_replaces_those_of_its_name_and_no_other(server: Kfp, osteon: Osteon) -> None:
    for name in ("osteon-retraining", "nightly"):
        assert osteon("schedule", "--cron", "0 3 * * 1", "--name", name).code == 0
    earlier = [run["recurring_run_id"] for run in server.recurring]
    server.recurring += [{**server.recurring[0], "recurring_run_id": f"twin {i}"} for i in range(120)]
    server.requests.clear()
    done = osteon("schedule", "--cron", "0 4 * * *")
    assert (done.code, done.lines[0]) == (0, "osteon-retraining: replaced")
    assert [(run["display_name"], run["trigger"]["cron_schedule"]["cron"]) for run in server.recurring] == [
        ("nightly", "0 0 3 * * 1"),
        ("osteon-retraining", "0 0 4 * * *"),
    ]
    assert server.recurring[0]["recurring_run_id"] == earlier[1]
    done_in_order = [
        request.method for request in server.requests if "recurringruns" in request.path and request.method != "GET"
    ]
    assert done_in_order == ["POST", *["DELETE"] * 121]  # the new one first


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [
        ("POST /apis/v2beta1/recurringruns", refusal(400, "Invalid input error: no")),
        ("POST /apis/v2beta1/recurringruns", refusal(500, "no")),
        ("POST /apis/v2beta1/pipelines/upload_version", refusal(500, "no")),
        (r"GET /apis/v2beta1/recurringruns/[^/]+", refusal(500, "no")),
        (
            r"GET /apis/v2beta1/recurringruns/[^/]+",
            Answer(200, json.dumps({"recurring_run_id": "x", "mode": "DISABLE"})),
        ),
    ],
)
def test_where_none_can_be_made_the_earlier_one_stays(
    server: Kfp, osteon: Osteon, pattern: str, answer: Answer
) -> None:
    assert osteon("schedule", "--cron", "0 3 * * 1").code == 0
    (earlier,) = server.recurring
    compile_to(TRAINING.with_name("retraining.yaml"), "osteon-retraining", IMAGE.replace("a" * 64, "b" * 64))
    server.answers[pattern] = answer
    done = osteon("schedule", "--cron", "0 4 * * *")
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert earlier in server.recurring
    assert ("upload" in pattern) or "the earlier one is as it was" in done.err
    if answer.status == 200:
        assert server.recurring == [earlier]  # what was not as asked for is gone again


def test_an_earlier_one_that_cannot_be_deleted_is_said(server: Kfp, osteon: Osteon) -> None:
    assert osteon("schedule", "--cron", "0 3 * * 1").code == 0
    server.answers[r"DELETE /apis/v2beta1/recurringruns/.*"] = refusal(500, "no")
    done = osteon("schedule", "--cron", "0 4 * * *")
    assert done.code == 2
    assert done.err.startswith("error: schedule osteon-retraining is made, but an earlier one could not be deleted; ")
    assert len(server.recurring) == 2
    server.answers.clear()
    assert osteon("schedule", "--cron", "0 4 * * *").code == 0
    assert len(server.recurring) == 1


def test_one_that_somebody_else_deletes_at_the_same_time_is_deleted(server: Kfp, osteon: Osteon) -> None:
    assert osteon("schedule", "--cron", "0 3 * * 1").code == 0
    server.answers[r"DELETE /apis/v2beta1/recurringruns/.*"] = refusal(404, "not found")
    assert osteon("schedule", "--delete").code == 0


def test_a_file_that_is_not_the_newest_version_is_said(server: Kfp, osteon: Osteon) -> None:
    file = TRAINING.with_name("retraining.yaml")
    older = file.read_bytes()
    osteon("schedule", "--cron", "0 3 * * 1")
    compile_to(file, "osteon-retraining", IMAGE.replace("a" * 64, "b" * 64))
    newer = version_of(file)
    osteon("schedule", "--cron", "0 3 * * 1")
    file.write_bytes(older)
    done = osteon("schedule", "--cron", "0 3 * * 1")
    assert done.code == 0
    assert done.lines[1] == f"pipeline  osteon-retraining, version {newer} or, once there is one, a newer"
    assert done.err == f"warning: {file} is version {version_of(file)}, which is older and not run\n"


def test_pause_and_delete(server: Kfp, osteon: Osteon) -> None:
    osteon("schedule", "--cron", "0 3 * * 1")
    done = osteon("schedule", "--pause")
    assert (done.code, done.out) == (0, "osteon-retraining: paused; --cron starts it again\n")
    assert server.recurring[0]["mode"] == "DISABLE"
    assert osteon("schedules").lines[1].split() == ["osteon-retraining", "0", "3", "*", "*", "1", "paused", "–"]
    done = osteon("schedule", "--cron", "0 3 * * 1", "--pause")
    assert done.lines[0] == "osteon-retraining: replaced, paused"
    assert (len(done.lines), [run["mode"] for run in server.recurring]) == (2, ["DISABLE"])
    osteon("schedule", "--cron", "0 3 * * 1")
    assert [run["mode"] for run in server.recurring] == ["ENABLE"]
    done = osteon("schedule", "--delete")
    assert (done.code, done.out, server.recurring) == (0, "osteon-retraining: deleted\n", [])


@pytest.mark.parametrize(
    "words", [(), ("--cron", "0 3 * * 1", "--delete"), ("--pause", "--delete"), ("--name", "nightly")]
)
def test_schedule_needs_to_know_what_to_do(server: Kfp, osteon: Osteon, words: tuple[str, ...]) -> None:
    done = osteon("schedule", *words)
    assert done.code == 2
    assert "give --cron (and --pause, if you like), or --pause, or --delete" in done.err
    assert server.requests == []


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("0 3 * *", "give five fields: minute hour day month weekday, such as '0 3 * * 1'"),
        ("0 0 3 * * 1", "give five fields"),
        ("@daily", "give five fields"),
        ("0 25 * * *", "bad hour; see `man 5 crontab`"),
        ("x 3 * * *", "bad minute"),
        ("0 3 * * fri-sun", "bad day-of-week"),
        ("0 3 * * 7", "Sunday is 0 to Kubeflow, not 7"),
        ("0 3 * * 1-7", "Sunday is 0 to Kubeflow, not 7"),
        ("0 3 L * *", "Kubeflow knows no L, W, # in a schedule"),
        ("0 3 * * 5L", "Kubeflow knows no L, W, # in a schedule"),
        ("0 3 * * 1#2", "Kubeflow knows no L, W, # in a schedule"),
        ("0 3 30 2 *", "bad day-of-month"),
    ],
)
def test_a_wrong_cron_is_refused_before_anything_is_sent(server: Kfp, osteon: Osteon, cron: str, message: str) -> None:
    done = osteon("schedule", "--cron", cron)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert done.err.startswith(f"error: --cron '{cron}': {message}")
    assert server.requests == []


@pytest.mark.parametrize("cron", ["0 3 * * 1", "*/15 0-6 1,15 jan-jun *", "7 7 7 7 sun", "0 3 */7 * *", "17 3 * * 0"])
def test_a_cron_gets_seconds_for_kubeflow(cron: str) -> None:
    assert read_cron(cron) == f"0 {cron.upper()}"


def test_schedules_are_listed_whoever_made_them(server: Kfp, osteon: Osteon) -> None:
    assert osteon("schedules").out == "no schedule; `osteon pipeline schedule --cron …` makes one\n"
    osteon("schedule", "--cron", "0 3 * * 1")
    weekly = server.recurring[0]
    foreign = {"cron_schedule": {"cron": "0 30 2 ? * 2-6"}}
    server.recurring.append({**weekly, "display_name": "a clone", "trigger": foreign})
    hourly = {"periodic_schedule": {"interval_second": "3600"}}
    server.recurring.append({**weekly, "display_name": "hourly", "trigger": hourly})
    server.recurring.append({**weekly, "display_name": "odd", "trigger": {"cron_schedule": {"cron": "@daily"}}})
    done = osteon("schedules")
    assert (done.code, done.err) == (0, "")
    (first,) = next_times("0 0 3 * * 1", 1)
    assert done.lines[0].split() == ["schedule", "cron", "state", "next"]
    assert [" ".join(line.split()) for line in done.lines[1:]] == [
        f"a clone 30 2 ? * 2-6 active {next_times('30 2 * * 2-6', 1)[0]:%Y-%m-%d %H:%M} UTC",
        "hourly every 3600 s active ?",
        "odd @daily active ?",
        f"osteon-retraining 0 3 * * 1 active {first:%Y-%m-%d %H:%M} UTC",
    ]
