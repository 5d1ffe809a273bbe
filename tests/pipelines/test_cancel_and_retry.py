"""`osteon pipeline cancel`, `retry` and `submit --no-cache` against a server that speaks Kubeflow Pipelines."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.pipelines.conftest import TRAINING, Osteon
from tests.pipelines.kfp_server import Kfp, refusal
from tests.pipelines.recorded_replies import exchange
from tests.pipelines.workflow_nodes import Step, at, frame, log_id

RUN = "068addec-0496-459f-8924-fb7fcdc0d30d"


# ---------------------------------------------------------------- cancel


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "PAUSED"])
def test_cancel_sends_what_the_recorded_server_took(server: Kfp, osteon: Osteon, state: str) -> None:
    recorded = exchange("commands-0084")
    server.add_run(RUN, state=state)
    done = osteon("cancel", RUN)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"run {RUN}: is being canceled; `osteon pipeline status {RUN}` shows when it has ended\n"
    (sent,) = [request for request in server.requests if request.method == "POST"]
    assert (sent.method, sent.path, sent.body or "") == (recorded["method"], recorded["path"], recorded["sent"])
    # A second time there is nothing to send.
    assert osteon("cancel", RUN).lines == [f"run {RUN}: is being canceled"]
    assert len([request for request in server.requests if request.method == "POST"]) == 1
    assert osteon("status", RUN).lines[2].startswith("state  terminated, failed after ")


@pytest.mark.parametrize(
    ("state", "line"),
    [("SUCCEEDED", "succeeded after 12 min 3 s"), ("FAILED", "failed after 12 min 3 s"), ("SKIPPED", "skipped")],
)
def test_a_run_that_has_ended_is_not_canceled(server: Kfp, osteon: Osteon, state: str, line: str) -> None:
    server.add_run(RUN, state=state, finished_at=at(723))
    done = osteon("cancel", RUN)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: run {RUN}: nothing to cancel, it has ended ({line})\n"
    assert server.sent("POST", "/runs/.*") == []


# ---------------------------------------------------------------- retry


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_retry_lets_a_run_go_on(server: Kfp, osteon: Osteon, state: str) -> None:
    server.add_run(RUN, **frame(state, Step("ingest", "SUCCEEDED", 5, 36), Step("train", "FAILED", 40, 99)))
    done = osteon("retry", RUN)
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        f"run {RUN}: goes on with the steps that failed or did not run",
        f"page  {server.address}/#/runs/details/{RUN}",
    ]
    assert [request.path for request in server.requests if request.method == "POST"] == [
        f"/apis/v2beta1/runs/{RUN}:retry"
    ]
    assert osteon("status", RUN).lines[2].startswith("state  running, ")


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("SUCCEEDED", "succeeded after 12 min 3 s); it has ended well"),
        ("RUNNING", f"osteon pipeline cancel {RUN}` first"),
        ("CANCELING", f"osteon pipeline cancel {RUN}` first"),
    ],
)
def test_what_has_not_failed_is_not_retried(server: Kfp, osteon: Osteon, state: str, why: str) -> None:
    server.add_run(RUN, state=state, finished_at=at(723))
    done = osteon("retry", RUN)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: run {RUN}: nothing to retry (")
    assert done.err.rstrip("\n").endswith(why)
    assert server.sent("POST", "/runs/.*") == []


def test_retry_of_a_run_with_steps_from_the_cache_says_what_it_does_not_mend(server: Kfp, osteon: Osteon) -> None:
    server.add_run(RUN, **frame("FAILED", Step("ingest", "CACHED", 5, 6), Step("validate", "FAILED", 40, 99)))
    done = osteon("retry", RUN)
    assert done.code == 0
    assert done.err == (
        "note: its steps from the cache do not run; if the object store has lost what they wrote, "
        "`osteon pipeline submit --no-cache` computes all again\n"
    )


@pytest.mark.parametrize("command", ["cancel", "retry"])
def test_a_run_that_is_not_there_and_a_server_that_refuses(server: Kfp, osteon: Osteon, command: str) -> None:
    done = osteon(command, "none")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: no run none at {server.address}; `osteon pipeline status` lists the last\n"
    server.add_run(RUN, state={"cancel": "RUNNING", "retry": "FAILED"}[command])
    kind = {"cancel": "terminate", "retry": "retry"}[command]
    server.answers[f"POST /apis/v2beta1/runs/{RUN}:{kind}"] = refusal(500, "workflow cannot be found")
    done = osteon(command, RUN)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    word = {"cancel": "canceled", "retry": "retried"}[command]
    assert done.err.startswith(f"error: run {RUN} was not {word}: {server.address} failed (500: workflow cannot be fo")


# ---------------------------------------------------------------- artefacts that are gone


def test_without_the_cache_the_same_pipeline_is_sent_with_every_step_to_be_run(server: Kfp, osteon: Osteon) -> None:
    osteon("submit")
    done = osteon("submit", "--no-cache")
    assert (done.code, done.err) == (0, "")
    assert done.lines[-1] == "cache     off: every step runs"
    with_cache, without = (list(YAML(typ="safe").load_all(content)) for content in server.uploads)
    task = with_cache[0]["root"]["dag"]["tasks"]["step"]
    assert task["cachingOptions"] == {"enableCache": True}
    task["cachingOptions"] = {}
    assert without == with_cache
    assert [run["pipeline_version_reference"]["pipeline_version_id"] for run in server.runs] == ["v0", "v1"]
    # And the same again is no third version; nothing is left in the folder.
    assert osteon("submit", "--no-cache").code == osteon("submit").code == 0
    assert len(server.uploads) == 2
    assert sorted(path.name for path in TRAINING.parent.iterdir()) == ["retraining.yaml", "training.yaml"]


def test_the_compiled_pipelines_can_be_sent_without_the_cache(tmp_path: Path) -> None:
    from pipelines.compiled_file import CompiledFile, without_cache

    root = Path(__file__).parents[2] / "pipelines" / "compiled"
    for name in ("training.yaml", "retraining.yaml"):
        text = (root / name).read_text(encoding="utf-8").replace("0" * 64, "a" * 64)
        (tmp_path / "as compiled").mkdir(exist_ok=True)
        (tmp_path / "as compiled" / name).write_text(text, encoding="utf-8")
        compiled = CompiledFile(tmp_path / "as compiled" / name, "", (), frozenset(), frozenset())
        sent = without_cache(compiled, tmp_path)
        assert "enableCache" not in sent.path.read_text(encoding="utf-8")
        assert "cachingOptions: {}" in sent.path.read_text(encoding="utf-8")


def test_a_file_of_another_program_cannot_be_sent_without_the_cache(server: Kfp, osteon: Osteon) -> None:
    text = TRAINING.read_text(encoding="utf-8")
    text = text.replace("cachingOptions:\n          enableCache: true", "cachingOptions: {enableCache: true}")
    TRAINING.write_text(text, encoding="utf-8")
    done = osteon("submit", "--no-cache")
    assert (done.code, server.runs, server.uploads) == (2, [], [])
    assert done.err == f"error: {TRAINING}: --no-cache takes a file as `osteon pipeline compile` wrote it\n"


@pytest.mark.parametrize(
    ("log", "hint"),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: '/minio/x/dataset/films.parquet'", True),
        ("F1130 03:30:51.460720      15 main.go:1] failed to download: NoSuchKey: The specified key", True),
        ("osteon.errors.OsteonError: dataset: … `osteon pipeline submit --no-cache` computes all again", False),
        ("MemoryError", False),
        (None, True),
    ],
)
def test_a_failed_run_says_that_what_the_cache_named_may_be_gone(
    server: Kfp, osteon: Osteon, log: str | None, hint: bool
) -> None:
    steps = Step("features", "CACHED", 5, 6), Step("search", "FAILED", 40, 99)
    server.plays = [frame("FAILED", *steps)]
    if log:
        server.logs[log_id("search")] = f"{log}\n"
    done = osteon("submit", "--wait")
    assert done.code == 4
    line = (
        "steps before it came from the cache; if the object store has lost what they wrote, "
        "`osteon pipeline submit --no-cache` computes all again"
    )
    assert (line in done.lines) == hint
    # Where no step came from the cache, nothing of it can be gone.
    server.plays = [frame("FAILED", Step("features", "SUCCEEDED", 5, 36), Step("search", "FAILED", 40, 99))]
    assert line not in osteon("submit", "--wait").lines
