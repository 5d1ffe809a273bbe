"""The first words with MLflow: how long its server is waited for, what is said when it is not there, the experiment."""

import os
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Experiment

from osteon.errors import OsteonError
from osteon.records import store
from osteon.records.retries import Retries
from tests.stores import free_port
from tests.unit.conftest import use_store


@contextmanager
def hanging_up() -> Iterator[tuple[int, list[object]]]:
    """A port at which every call is ended without a word, and those who called."""
    calls: list[object] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            calls.append(self.client_address)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.server_address[1], calls
        finally:
            server.shutdown()


def test_a_server_that_is_not_there_is_told_soon_and_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow itself would try for four minutes."""
    monkeypatch.chdir(tmp_path)
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:sesame@127.0.0.1:{port}")
    start = time.monotonic()
    with pytest.raises(OsteonError) as caught:
        store.connect()
    assert time.monotonic() - start < 30
    text = str(caught.value)
    assert f"the MLflow server http://127.0.0.1:{port} does not answer" in text
    assert "check MLFLOW_TRACKING_URI" in text
    assert "sesame" not in text
    assert len(text.splitlines()) == 1
    assert caught.value.__cause__ is None
    # Once a server has answered, MLflow is as patient as it is by itself.
    assert not {"MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"} & set(os.environ)


@pytest.mark.parametrize("again", [0, 1])
def test_how_often_to_ask_a_server_is_the_users_choice(again: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(again))
    with hanging_up() as (port, calls):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        with pytest.raises(OsteonError):
            store.connect()
        assert len(calls) == 1 + again
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == str(again)


def test_how_often_a_server_is_asked_again_is_what_the_innermost_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question of a decision is asked less often than what follows; what the user says, always."""
    retries, timeout = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
    monkeypatch.setenv(timeout, "7")
    with store.http_limits(Retries.SHORT):
        with store.http_limits(Retries.CONNECTING, timeout_s=60):
            assert (os.environ[retries], os.environ[timeout]) == ("2", "7")
        assert (os.environ[retries], os.environ[timeout]) == ("4", "7")
    assert retries not in os.environ
    assert os.environ[timeout] == "7"


def test_an_experiment_that_another_process_makes_in_the_meantime_is_this_ones_too(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both saw that there is none."""
    client = use_store(tmp_path, empty_store, monkeypatch)
    _, made = store.connect()
    with monkeypatch.context() as patch:
        whole, requested = MlflowClient.get_experiment_by_name, []

        def too_early(self: MlflowClient, name: str) -> Experiment | None:
            requested.append(name)
            return whole(self, name) if len(requested) > 1 else None

        patch.setattr(MlflowClient, "get_experiment_by_name", too_early)
        assert store.connect()[1] == made
    assert len(client.search_experiments(filter_string="name = 'osteon'")) == 1
