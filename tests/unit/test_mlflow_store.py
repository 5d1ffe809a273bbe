"""How long MLflow's server is waited for, and what is said when it is not there."""

import os
import time
from pathlib import Path

import pytest

from components import mlflow_store
from components.errors import OsteonError
from tests.stores import free_port


def test_a_server_that_is_not_there_is_told_soon_and_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow itself would try for four minutes."""
    monkeypatch.chdir(tmp_path)
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:sesame@127.0.0.1:{port}")
    start = time.monotonic()
    with pytest.raises(OsteonError) as caught:
        mlflow_store.connect()
    assert time.monotonic() - start < 30
    text = str(caught.value)
    assert f"the MLflow server http://127.0.0.1:{port} does not answer" in text
    assert "check MLFLOW_TRACKING_URI" in text
    assert "sesame" not in text
    assert len(text.splitlines()) == 1
    assert caught.value.__cause__ is None
    # Once a server has answered, MLflow is as patient as it is by itself.
    assert not {"MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"} & set(os.environ)


def test_how_long_to_ask_a_server_is_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    start = time.monotonic()
    with pytest.raises(OsteonError):
        mlflow_store.connect()
    assert time.monotonic() - start < 3  # two retries would wait four seconds
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"


def test_how_often_a_server_is_asked_again_is_what_the_innermost_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question of a decision is asked less often than what follows; what the user says, always."""
    retries, timeout = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
    monkeypatch.setenv(timeout, "7")
    with mlflow_store.asking(4):
        with mlflow_store.asking(2, seconds=60):
            assert (os.environ[retries], os.environ[timeout]) == ("2", "7")
        assert (os.environ[retries], os.environ[timeout]) == ("4", "7")
    assert retries not in os.environ
    assert os.environ[timeout] == "7"
