"""Stores and servers of MLflow, for the tests of what is recorded and registered."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.stores import SharedServer, SqliteFile, Store, mlflow_server, served, shared_server


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with MLflow's tables and nothing in them; making one takes a second."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def use_store(folder: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    shutil.copy(empty, folder / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    monkeypatch.chdir(folder)
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture
def mlflow_address(tmp_path: Path, empty_store: Path) -> Iterator[str]:
    """The address of an MLflow server."""
    shutil.copy(empty_store, tmp_path / "server.db")
    kept = {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path / 'server.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path / "kept"),
    }
    with served(mlflow_server(tmp_path, **kept)) as running:
        running.wait()
        yield running.address


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServer]:
    """An MLflow server with PostgreSQL and S3, once for all tests of a worker; skips where there is no PostgreSQL."""
    with shared_server(tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "server"])
def store(request: pytest.FixtureRequest, empty_store: Path) -> Store:
    """Each of the two places where MLflow may keep things; a test that asks for it runs with both."""
    if request.param == "sqlite":
        return SqliteFile(empty_store)
    running: SharedServer = request.getfixturevalue("shared_store")
    return running
