"""Each way out of Osteon, with a password on it: log, MLflow, errors of the command line, page, model card, webhook."""

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from mlflow import MlflowClient

from components.retraining.find_reason import find_reason
from components.search.study import shared_database
from components.tasks import run_end
from components.tasks.run_end import MESSAGE, report_end
from osteon.contract import Input, Output, Summary, describe
from osteon.environment import dvc_remote
from osteon.errors import OsteonError, UnreachableError
from osteon.pages import page
from osteon.params import Params, SearchParams
from osteon.records import lineage, runs, store
from osteon.records.pipeline_run import begin_pipeline_run
from tests.command import ROOT, python
from tests.stores import free_port
from tests.unit.conftest import use_store

SECRET = "S3CRET"  # noqa: S105 – made up
LOGIN = f"karl:{SECRET}"


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A store of the test's own, in a pipeline run."""
    monkeypatch.setenv("OSTEON_PASS", "run-1")
    return use_store(tmp_path, empty_store, monkeypatch)


def everything(folder: Path) -> str:
    """All that the store holds: database and files."""
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


class Nothing(Summary):
    """Of a step that does nothing."""


def noting(
    dataset: Annotated[Path, Input("a file")], copy: Annotated[Path, Output("the same")], params: SearchParams
) -> Nothing:
    """A step that records addresses."""
    copy.write_bytes(dataset.read_bytes())
    runs.log_params({"address": f"s3://{LOGIN}@bucket", "deep": {"urls": [f"http://{LOGIN}@host"]}})
    runs.set_tag("note", f"see https://host/x?token={SECRET}")
    return Nothing()


def test_parameters_and_tags_of_mlflow(client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        f"[core]\n    remote = far\n['remote \"far\"']\n    url = https://{LOGIN}@host/films?key={SECRET}\n"
    )
    params = Params.model_validate({"search": {"storage": f"postgresql://{LOGIN}@db/studies?password={SECRET}"}})
    (tmp_path / "in").write_bytes(b"films")
    tags = {lineage.REASON: f"new films at https://{LOGIN}@host/x"}
    begin_pipeline_run(params, tags)
    runs.run_step(describe(noting), {"dataset": tmp_path / "in", "copy": tmp_path / "out"}, params)

    (experiment,) = client.search_experiments(filter_string="name = 'osteon'")
    run, parent = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    assert run.data.params["search.storage"] == parent.data.params["search.storage"] == "postgresql://db/studies"
    assert run.data.params["address"] == "s3://bucket"
    assert run.data.tags["note"] == "see https://host/x"
    assert run.data.tags[lineage.REMOTE] == dvc_remote() == "https://host/films"
    assert parent.data.tags[lineage.REASON] == "new films at https://host/x"
    assert SECRET not in everything(tmp_path / "mlflow")
    assert "karl" not in everything(tmp_path / "mlflow")


def test_how_a_pipeline_run_ended_and_what_the_webhook_is_told(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin_pipeline_run(Params(), {})
    message: list[Any] = []
    monkeypatch.setenv(run_end.WEBHOOK, f"http://{LOGIN}@hooks.example/{SECRET}?key={SECRET}")
    with monkeypatch.context() as patch:
        patch.setattr(run_end, "tell", lambda address, content: message.append(content))
        report_end("FAILED", f"no clone of https://{LOGIN}@git.example/films.git", "enforce")
    (content,) = message
    assert content["message"] == "no clone of https://git.example/films.git"
    (experiment,) = client.search_experiments(filter_string="name = 'osteon'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags[MESSAGE] == content["message"]

    # Nobody listens there: the log says so, and not where.
    monkeypatch.setenv(run_end.WEBHOOK, f"http://{LOGIN}@127.0.0.1:{free_port()}/{SECRET}?key={SECRET}")
    report_end("FAILED", None, "enforce")
    assert "nobody was told" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("url", [f"postgresql://{LOGIN}@localhost:1/db", f"nonsense://{LOGIN}@h/db?password={SECRET}"])
def test_a_database_that_cannot_be_reached(url: str) -> None:
    with pytest.raises(OsteonError) as error, shared_database(url):
        pass
    assert SECRET not in str(error.value)
    assert "karl" not in str(error.value)


def test_an_mlflow_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{LOGIN}@127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UnreachableError) as error:
        store.connect()
    assert SECRET not in str(error.value)
    assert "karl" not in str(error.value)


def test_the_repository_of_retraining(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://{LOGIN}@127.0.0.1:{free_port()}/films.git"
    with pytest.raises(UnreachableError) as error:
        find_reason(address, "main", "{}")
    assert "127.0.0.1" in str(error.value)
    assert SECRET not in str(error.value)
    assert "karl" not in str(error.value)


def test_a_log_line() -> None:
    code = (
        "import logging\nfrom osteon.progress import configure_logging\nconfigure_logging()\n"
        f"logging.getLogger('osteon.x').info('at %s', 'http://{LOGIN}@host')"
    )
    done = python(ROOT, "-c", code)
    assert done.stderr.strip() == "at http://host"


@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize("kind", ["OsteonError", "ValueError"])
def test_an_error_of_the_command_line(kind: str, debug: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom components.cli import look_commands, main\nfrom osteon.errors import OsteonError\n"
        f"def fail(*_): raise {kind}('no answer from postgresql://{LOGIN}@db/studies')\n"
        "look_commands.load_params = fail\n"
        f"sys.argv = {['osteon', *debug, 'params']}\nmain.main()"
    )
    done = python(ROOT, "-c", code)
    assert done.returncode in (1, 2)
    assert "no answer from postgresql://db/studies" in done.stderr
    assert SECRET not in done.stderr.replace(code.splitlines()[2], "")


def test_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paged").mkdir()
    (tmp_path / "paged" / "__init__.py").touch()
    (tmp_path / "paged" / "report.html.j2").write_text(
        "<p>{{ remote }} {{ deep }} {{ share }}</p>{% if none %}x{% endif %}"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    values = {"remote": f"s3://{LOGIN}@bucket?x={SECRET}", "deep": {"a": [f"http://{LOGIN}@host"]}, "share": 0.5}
    html = page.render_page("paged", none=None, **values)
    assert html == "<p>s3://bucket {&#39;a&#39;: [&#39;http://host&#39;]} 0.5</p>"


def test_what_osteon_params_prints(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(json.dumps({"search": {"storage": f"postgresql://{LOGIN}@db/studies"}}))
    done = python(tmp_path, "-m", "components.cli", "params")
    assert "search.storage: postgresql://db/studies" in done.stdout
    assert SECRET not in done.stdout
