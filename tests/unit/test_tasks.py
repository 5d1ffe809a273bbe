"""Steps as tasks of a cluster: what a retry leaves, how a pipeline run begins and ends, and who is told."""

import hashlib
import http.server
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from components.tasks import step_tasks
from components.tasks.fold_task import lay_folds
from components.tasks.run_end import MESSAGE, judge, report_end
from osteon.contract import Input, Output, Step, Summary, describe
from osteon.errors import OsteonError
from osteon.params import FeatureParams, Params
from osteon.records import lineage, pipeline_run, runs
from osteon.redaction import redact_url
from tests.conftest import Pipeline
from tests.film_repository import FilmRepository, film_repository
from tests.postgres import postgres_server
from tests.stores import free_port
from tests.unit.conftest import use_store


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A store of the test's own, in a pipeline run."""
    monkeypatch.setenv("OSTEON_PASS", "run-1")
    return use_store(tmp_path, empty_store, monkeypatch)


def runs_of(client: MlflowClient) -> dict[str, list[Run]]:
    (experiment,) = client.search_experiments(filter_string="name = 'osteon'")
    result: dict[str, list[Run]] = {}
    for run in client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]):
        result.setdefault(str(run.info.run_name).split(" 20")[0], []).append(run)
    return result


class Copied(Summary):
    size: int


def failing_first(folder: Path) -> Any:
    """A step that fails until a file is there."""

    def copying(
        dataset: Annotated[Path, Input("a file")], copy: Annotated[Path, Output("the same")], params: FeatureParams
    ) -> Copied:
        if not (folder / "go").exists():
            raise RuntimeError("the node went away")
        copy.write_bytes(dataset.read_bytes())
        return Copied(size=len(dataset.read_bytes()))

    return describe(copying)


def test_a_step_that_is_tried_again_does_not_make_a_second_run(client: MlflowClient, tmp_path: Path) -> None:
    step, paths = failing_first(tmp_path), {"dataset": tmp_path / "in", "copy": tmp_path / "out"}
    paths["dataset"].write_bytes(b"films")
    with pytest.raises(RuntimeError):
        runs.run_step(step, paths, Params())
    (failed,) = runs_of(client)["copying"]
    assert failed.info.status == "FAILED"
    (tmp_path / "go").touch()
    runs.run_step(step, paths, Params())
    (run,) = runs_of(client)["copying"]
    assert run.info.run_id == failed.info.run_id
    assert (run.info.status, run.data.metrics["size"]) == ("FINISHED", 5)
    (parent,) = runs_of(client)["pipeline"]
    assert parent.data.tags[f"{lineage.STEP}.copying"] == run.info.run_id


def test_a_run_that_read_something_else_is_not_gone_on_with(client: MlflowClient, tmp_path: Path) -> None:
    step, paths = failing_first(tmp_path), {"dataset": tmp_path / "in", "copy": tmp_path / "out"}
    for content in (b"films", b"other films"):
        paths["dataset"].write_bytes(content)
        with pytest.raises(RuntimeError):
            runs.run_step(step, paths, Params())
    assert len(runs_of(client)["copying"]) == 2


def test_parts_of_one_step_have_runs_of_their_own(client: MlflowClient, tmp_path: Path) -> None:
    step, paths = failing_first(tmp_path), {"dataset": tmp_path / "in", "copy": tmp_path / "out"}
    paths["dataset"].write_bytes(b"films")
    for name in ("fold 0", "fold 1", "fold 0"):
        with pytest.raises(RuntimeError):
            runs.run_step(step, paths, Params(), name=name)
    assert {name: len(result) for name, result in runs_of(client).items()} == {"fold 0": 1, "fold 1": 1, "pipeline": 1}


def test_another_pipeline_run_has_runs_of_its_own(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, paths = failing_first(tmp_path), {"dataset": tmp_path / "in", "copy": tmp_path / "out"}
    paths["dataset"].write_bytes(b"films")
    for name in ("run-1", "run-2"):
        monkeypatch.setenv("OSTEON_PASS", name)
        with pytest.raises(RuntimeError):
            runs.run_step(step, paths, Params())
    assert {name: len(result) for name, result in runs_of(client).items()} == {"copying": 2, "pipeline": 2}


def test_image_and_commit_of_the_pipeline_are_tags(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTEON_IMAGE", "osteon@sha256:12")
    monkeypatch.setenv("OSTEON_PIPELINE_COMMIT", "abc")
    step, paths = failing_first(tmp_path), {"dataset": tmp_path / "in", "copy": tmp_path / "out"}
    (tmp_path / "go").touch()
    paths["dataset"].write_bytes(b"films")
    runs.run_step(step, paths, Params())
    for result in runs_of(client).values():
        tags = result[0].data.tags
        assert (tags[lineage.IMAGE], tags[lineage.PIPELINE]) == ("osteon@sha256:12", "abc")


def test_a_pipeline_run_begins_with_what_it_is_of_and_why(client: MlflowClient, tmp_path: Path) -> None:
    made = film_repository(tmp_path / "films", {"1.png": b"one"})
    params = Params().model_copy(update={"data": Params().data.model_copy(update={"root": "data/films"})})
    for _ in range(2):  # tried again
        found = step_tasks.find_films(str(made.folder), "main", params.model_dump_json(), "age: 91 days")
        assert (found.films, found.sides) == (f"{made.data} main {made.folder}", "")
        assert found.folds == f"{params.preparation.folds} {found.cross_validate}"
    (parent,) = runs_of(client)["pipeline"]
    tags = parent.data.tags
    assert (tags[lineage.REASON], tags[lineage.REVISION]) == ("age: 91 days", "main")
    assert tags[lineage.FILMS_COMMIT] == made.do("git", "rev-parse", "HEAD")
    assert parent.data.params["data.root"] == "data/films"


def keep_sides(made: FilmRepository, content: bytes) -> str:
    """Put a table of sides into the films' repository; its commit."""
    (made.folder / "data" / "sides.parquet").write_bytes(content)
    for words in (("add", "-q", "data/sides.parquet"), ("push", "-q")):
        made.do(sys.executable, "-m", "dvc", *words)
    return made.commit()


def test_prepare_begins_with_the_table_of_sides_that_the_run_began_with(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = film_repository(tmp_path / "films", {"1.png": b"one"})
    table: list[bytes | None] = []

    def see(step: Step, params: Params, paths: dict[str, str]) -> None:
        sides = Path(paths["sides"])
        table.append(sides.read_bytes() if sides.exists() else None)

    monkeypatch.setattr(step_tasks, "_run", see)
    params = '{"data": {"root": "data/films"}}'
    first = step_tasks.find_films(str(made.folder), "main", params, "first")
    keep_sides(made, b"kept")
    second = step_tasks.find_films(str(made.folder), "main", params, "second")
    # What KFP's cache compares: the films are the same, the table is another one.
    assert (first.films, first.sides, second.sides) == (
        second.films,
        "",
        hashlib.md5(b"kept", usedforsecurity=False).hexdigest(),
    )
    for number, found in enumerate((first, second)):
        paths = {"sides": str(tmp_path / str(number) / "sides")}
        step_tasks.run_on_films("prepare", params, found.films, found.sides, **paths)
    assert table == [None, b"kept"]
    keep_sides(made, b"another")
    with pytest.raises(OsteonError, match=r"data/sides\.parquet of .* at main is not the one that this run began with"):
        step_tasks.run_on_films("prepare", params, second.films, second.sides, sides=str(tmp_path / "3" / "sides"))
    assert not (tmp_path / "3" / "sides").exists()


def test_a_table_that_git_keeps_itself_is_one_too(client: MlflowClient, tmp_path: Path) -> None:
    made = film_repository(tmp_path / "films", {"1.png": b"one"})
    (made.folder / "data" / "sides.parquet").write_bytes(b"in git")
    made.do("git", "add", "-f", "data/sides.parquet")
    made.commit()
    found = step_tasks.find_films(str(made.folder), "main", '{"data": {"root": "data/films"}}', "")
    assert found.sides == hashlib.md5(b"in git", usedforsecurity=False).hexdigest()


@pytest.mark.slow
def test_a_table_of_sides_that_is_gone_is_no_first_draw(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = film_repository(tmp_path / "films", {"1.png": b"one"})
    commit = keep_sides(made, b"kept")

    def begin(name: str, where: FilmRepository = made, revision: str = "main") -> str:
        monkeypatch.setenv("OSTEON_PASS", name)
        return step_tasks.find_films(str(where.folder), revision, '{"data": {"root": "data/films"}}', "").sides

    assert begin("run-1")
    (made.folder / "data" / "sides.parquet.dvc").unlink()
    made.commit()
    with pytest.raises(OsteonError) as refused:
        begin("run-2")
    message = str(refused.value)
    assert f"at main has no data/sides.parquet, and an earlier pipeline run had it, at commit {commit}" in message
    assert 'osteon prepare --redraw --why "…"' in message
    # The command that it names, word for word.
    (command,) = re.findall(r"`(dvc get [^`]*)`", message)
    made.do(sys.executable, "-m", *command.split())
    assert (made.folder / "data" / "sides.parquet").read_bytes() == b"kept"
    # A revision or a repository that never had one.
    made.do("git", "branch", "older", f"{commit}~1")
    assert begin("run-3", revision="older") == ""
    assert begin("run-4", film_repository(tmp_path / "others", {"1.png": b"one"})) == ""
    keep_sides(made, b"kept")
    assert begin("run-5")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"training": {"epochs": 0}}', r"params: training\.epochs = 0: input should be greater than or equal to 1"),
        ('{"training": {"epochz": 3}}', r"params: training\.epochz: unknown key \(did you mean epochs\?\)"),
        ("training", "params: no JSON"),
        ("[]", "params: must hold keys and values"),
    ],
)
def test_a_parameter_that_is_not_allowed_is_named(text: str, said: str) -> None:
    with pytest.raises(OsteonError, match=said):
        step_tasks.read_params(text)


def test_a_policy_that_is_not_allowed_is_named(client: MlflowClient) -> None:
    with pytest.raises(OsteonError, match="policy: mode = 'maybe'"):
        step_tasks.promote("{}", "maybe", "")


# ---------------------------------------------------------------- the end


@contextmanager
def listening(status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook: its address, and what it was told."""
    message: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            message.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 – the library's name for it
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook?key=sesame", message
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


FINISHED, FAILED, OPEN, KILLED = "FINISHED", "FAILED", "RUNNING", "KILLED"
WHOLE = {"ingest": FINISHED, "fold 0": FINISHED, "fold 1": FINISHED, "evaluate": FINISHED, "promote": FINISHED}
UP_TO_EVALUATE = {name: status for name, status in WHOLE.items() if name != "promote"}


@pytest.mark.parametrize(
    ("steps", "last", "cached", "verdicts"),
    [
        # The verdict where Kubeflow says COMPLETE, FAILED, RUNNING; None: nobody is told.
        (None, "promote", False, (None, FAILED, None)),  # no reason to train; or ask_why or find_films failed
        (None, "evaluate", False, (None, FAILED, None)),
        (WHOLE, "promote", False, (FINISHED, FAILED, FINISHED)),
        ({"promote": FINISHED}, "promote", False, (FINISHED, FAILED, FINISHED)),  # all else from the cache
        (UP_TO_EVALUATE, "promote", False, (FINISHED, FAILED, KILLED)),  # promote's pod did not start
        (UP_TO_EVALUATE, "evaluate", False, (FINISHED, FAILED, FINISHED)),  # mode off
        ({}, "evaluate", True, (FINISHED, FAILED, FINISHED)),  # mode off, and all from the cache
        ({}, "evaluate", False, (FINISHED, FAILED, KILLED)),  # terminated before the first step
        ({}, "promote", False, (FINISHED, FAILED, KILLED)),
        ({"ingest": FINISHED}, "evaluate", False, (FINISHED, FAILED, KILLED)),
        ({**WHOLE, "fold 1": FAILED, "promote": OPEN}, "promote", False, (FAILED, FAILED, FAILED)),
        ({"ingest": FAILED}, "evaluate", True, (FAILED, FAILED, FAILED)),
        ({"ingest": FINISHED, "validate": OPEN}, "promote", False, (FINISHED, FAILED, KILLED)),
        ({"ingest": FINISHED, "validate": KILLED}, "promote", False, (FINISHED, FAILED, KILLED)),
        ({**WHOLE, "search, worker 1": OPEN}, "promote", False, (FINISHED, FAILED, KILLED)),
    ],
)
def test_how_a_pipeline_run_ended_by_kubeflow_and_by_the_steps_own_runs(
    steps: dict[str, str] | None, last: str, cached: bool, verdicts: tuple[str | None, ...]
) -> None:
    for state, status in zip(("COMPLETE", "FAILED", "RUNNING"), verdicts, strict=True):
        verdict = judge(state, steps, last, cached=cached)
        assert (verdict.status if verdict else None) == status, state
        assert verdict is None or bool(verdict.why) == (status != FINISHED)
    # kfp's local runner has another word.
    assert judge("SUCCEEDED", steps, last, cached=cached) == judge("COMPLETE", steps, last, cached=cached)


def step_ended(client: MlflowClient, name: str, status: str) -> Run:
    """A step's run of the present pipeline run, which has come so far."""
    (parent,) = runs_of(client)["pipeline"]
    tags = {"mlflow.parentRunId": parent.info.run_id, lineage.STEP: name}
    run = client.create_run(parent.info.experiment_id, run_name=name, tags=tags)
    if status != OPEN:
        client.set_terminated(run.info.run_id, status)
    return run


@pytest.mark.parametrize(
    ("state", "step", "status", "reported", "message"),
    [
        ("COMPLETE", ("promote", FINISHED), FINISHED, "SUCCEEDED", None),
        ("RUNNING", ("promote", FINISHED), FINISHED, "SUCCEEDED", None),
        ("RUNNING", ("train", OPEN), KILLED, "KILLED", "terminated, or its pod was killed: train"),
        ("FAILED", ("train", FAILED), FAILED, "FAILED", "failed: train"),
        ("FAILED", ("train", OPEN), FAILED, "FAILED", "its pod was killed: train"),
    ],
)
def test_the_pipeline_run_and_the_webhook_are_told_how_it_ended(
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    step: tuple[str, str],
    status: str,
    reported: str,
    message: str | None,
) -> None:
    pipeline_run.begin_pipeline_run(Params(), {lineage.REASON: "new films"})
    run = step_ended(client, *step)
    with listening() as (address, sent):
        monkeypatch.setenv("OSTEON_WEBHOOK", address)
        report_end(state, None, "enforce")
    (parent,) = runs_of(client)["pipeline"]
    assert parent.info.status == status
    assert parent.data.tags.get(MESSAGE) == message
    assert client.get_run(run.info.run_id).info.status == (KILLED if step[1] == OPEN else step[1])
    assert sent == [
        {
            "state": reported,
            "pass": "run-1",
            "reason": "new films",
            "run": parent.info.run_id,
            "message": message,
            "figures": {},
        }
    ]


def test_a_step_that_was_tried_again_counts_as_its_last_run(client: MlflowClient) -> None:
    pipeline_run.begin_pipeline_run(Params(), {})
    step_ended(client, "train", FAILED)
    report_end("FAILED", None, "enforce")
    assert runs_of(client)["pipeline"][0].data.tags[MESSAGE] == "failed: train"
    step_ended(client, "train", FINISHED)
    step_ended(client, "promote", FINISHED)
    report_end("RUNNING", None, "enforce")
    (parent,) = runs_of(client)["pipeline"]
    assert (parent.info.status, MESSAGE in parent.data.tags) == (FINISHED, False)


def test_trials_of_a_killed_search_are_killed_too(client: MlflowClient) -> None:
    pipeline_run.begin_pipeline_run(Params(), {})
    search = step_ended(client, "search", OPEN)
    trial = client.create_run(search.info.experiment_id, tags={"mlflow.parentRunId": search.info.run_id})
    report_end("RUNNING", None, "enforce")
    assert [client.get_run(run.info.run_id).info.status for run in (search, trial)] == [KILLED, KILLED]


@pytest.mark.parametrize(("other", "status"), [({}, FINISHED), ({lineage.FILMS_COMMIT: "b"}, KILLED)])
def test_a_run_without_promotion_all_of_which_was_cached(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, other: dict[str, str], status: str
) -> None:
    monkeypatch.setenv("OSTEON_IMAGE", "osteon@sha256:1")
    tags = {lineage.FILMS_COMMIT: "a"}
    pipeline_run.begin_pipeline_run(Params(), tags)
    step_ended(client, "evaluate", FINISHED)
    report_end("COMPLETE", None, "off")
    monkeypatch.setenv("OSTEON_PASS", "run-2")
    pipeline_run.begin_pipeline_run(Params(), tags | other)
    report_end("RUNNING", None, "off")
    assert [run.info.status for run in runs_of(client)["pipeline"]] == [FINISHED, status]


def test_a_schedules_tick_without_a_reason_tells_nobody_but_a_failed_one_does(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as (address, message):
        monkeypatch.setenv("OSTEON_WEBHOOK", address)
        report_end("RUNNING", None, "enforce")
        report_end("COMPLETE", None, "enforce")
        assert not message
        report_end("FAILED", "ask-why failed", "enforce")
    assert [(item["state"], item["message"]) for item in message] == [("FAILED", "ask-why failed")]


@pytest.mark.parametrize("kind", ["refuses", "is gone", "is none"])
def test_a_webhook_that_does_not_listen_fails_no_pipeline_run_and_its_key_is_not_said(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    output = {"refuses": "answered 403", "is gone": "does not answer", "is none": "no address of http"}
    with listening(403) as (address, _):
        other = {"is gone": f"http://127.0.0.1:{free_port()}/sesame", "is none": "file:///etc/sesame"}
        monkeypatch.setenv("OSTEON_WEBHOOK", other.get(kind, address))
        report_end("FAILED", None, "enforce")
    assert output[kind] in caplog.text
    assert "sesame" not in caplog.text


# ---------------------------------------------------------------- search and folds


def test_a_worker_without_a_database_has_nothing_to_do(client: MlflowClient, caplog: pytest.LogCaptureFixture) -> None:
    step_tasks.search(Params().model_dump_json(), worker=1, dataset="none", augmented="none", features="none")
    assert "nothing to share" in caplog.text


@pytest.mark.slow
def test_workers_share_the_study_of_their_pipeline_run(
    client: MlflowClient,
    pipeline: Pipeline,
    beside: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second finds all trials done by the first, and writes what was found."""
    from components.features.step import features

    features(pipeline.dataset, pipeline.augmented, tmp_path / "features", FeatureParams(image_size=64))
    with postgres_server(free_port()) as server:
        url = server.address
        monkeypatch.setenv("OSTEON_SEARCH_STORAGE", url)
        few = {"search": {"trials": 0, "classical_trials": 1}, "classical": {"components": 8}}
        paths = {"dataset": str(pipeline.dataset), "augmented": str(pipeline.augmented)}
        paths["features"] = str(tmp_path / "features")
        step_tasks.search(json.dumps(few), worker=1, **paths)
        names = {study.study_name for study in optuna.get_all_study_summaries(url)}
        assert "osteon run-1/svm" in names
        step_tasks.search(json.dumps(few), best=str(tmp_path / "best"), **paths)
        assert (tmp_path / "best" / "best.yaml").is_file()
        assert {study.n_trials for study in optuna.get_all_study_summaries(url)} == {1}
        assert len(runs_of(client)["search, worker 1"]) == len(runs_of(client)["search"]) == 1
        recorded = runs_of(client)["search"][0].data.params
        assert recorded["search.storage"] == redact_url(url)


def test_a_fold_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "fold").mkdir()
    with pytest.raises(OsteonError, match=r"fold: no whole fold there \(checksums.json is missing\); compute it again"):
        lay_folds(tmp_path / "folds", [tmp_path / "fold"])


def test_folds_that_choose_a_precision_for_themselves_are_refused(
    client: MlflowClient, pipeline: Pipeline, beside: dict[str, Path], tmp_path: Path
) -> None:
    paths = {"dataset": pipeline.dataset, "augmented": pipeline.augmented, "features": pipeline.dataset}
    given = {name: str(path) for name, path in {**paths, "best": beside["best"], "fold": tmp_path / "fold"}.items()}
    with pytest.raises(OsteonError, match=r"training\.precision: auto"):
        step_tasks.run_fold('0 --- {"training": {"precision": "auto"}}', **given)


# ---------------------------------------------------------------- artefacts that are gone


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_an_artefact_that_the_object_store_has_lost_is_named(client: MlflowClient, tmp_path: Path, left: str) -> None:
    """Kubeflow's launcher makes nothing of it, or a folder."""
    paths = {"augmented": str(tmp_path / "augmented"), "sheet": str(tmp_path / "sheet")}
    dataset = tmp_path / "dataset"
    if left == "an empty folder":
        dataset.mkdir()
    with pytest.raises(OsteonError, match=r"dataset: the object store has no such artefact.*submit --no-cache"):
        step_tasks.run_task("augment", "{}", dataset=str(dataset), **paths)
    with pytest.raises(OsteonError, match="fold 0: the object store has no such artefact"):
        step_tasks.collect_folds([str(dataset)], "{}", folds=str(tmp_path / "folds"))
