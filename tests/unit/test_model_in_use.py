"""Which model `osteon read` takes where none is named, and when the registry is asked again."""

import os
import sqlite3
from pathlib import Path

import pytest

from osteon.answers.model_in_use import KEPT, package_in_use
from osteon.errors import OsteonError, UnreachableError
from osteon.models.package.package import INFO
from osteon.records import registry as room
from tests.making import package_info

IN_USE = "models:/osteon-fracture/7"


class Registry:
    """Counts how often it is asked for the package of version 7, which is in use unless said otherwise."""

    def __init__(self) -> None:
        self.requests = 0
        self.aliases_there = {"champion": "7"}
        self.error: OsteonError | None = None

    def open_existing(self) -> "Registry":
        return self

    def aliases(self) -> dict[str, str]:
        return self.aliases_there

    def package_of(self, version: str, folder: Path) -> Path:
        assert version == "7"
        self.requests += 1
        if self.error:
            raise self.error
        (folder / INFO).write_text(package_info(epochs=[self.requests]).model_dump_json(), encoding="utf-8")
        return folder


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A folder with a store in a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    registry = Registry()
    monkeypatch.setattr(room, "Registry", registry)
    Path("mlflow/store").mkdir(parents=True)
    change_store(1)
    return registry


def change_store(value: int) -> None:
    with sqlite3.connect("mlflow/store/mlflow.db") as store:
        store.execute(f"pragma user_version = {value}")
    store.close()
    os.utime("mlflow/store/mlflow.db", ns=(value, value))  # two changes may fall into one tick of the clock


def in_use(tmp_path: Path) -> tuple[str, Path]:
    temporary = tmp_path / "temporary"
    temporary.mkdir(exist_ok=True)
    return package_in_use(temporary)


def test_a_registry_that_is_as_it_was_is_not_asked_again(registry: Registry, tmp_path: Path) -> None:
    assert in_use(tmp_path) == (IN_USE, tmp_path / "temporary")
    assert in_use(tmp_path) == (IN_USE, KEPT / "package")
    assert registry.requests == 1
    change_store(2)
    assert in_use(tmp_path) == (IN_USE, tmp_path / "temporary")
    assert in_use(tmp_path) == (IN_USE, KEPT / "package")
    assert registry.requests == 2
    assert '"epochs":[2]' in (KEPT / "package" / INFO).read_text()


@pytest.mark.parametrize("damage", [INFO, "state.json"])
def test_what_was_kept_and_is_damaged_is_not_taken(registry: Registry, tmp_path: Path, damage: str) -> None:
    in_use(tmp_path)
    path = KEPT / "package" / INFO if damage == INFO else KEPT / damage
    path.write_bytes(path.read_bytes()[:-3])
    in_use(tmp_path)
    assert registry.requests == 2


def test_where_no_model_is_in_use_the_one_made_here_answers(registry: Registry, tmp_path: Path) -> None:
    registry.aliases_there = {"previous": "6"}
    with pytest.raises(OsteonError, match=r"^no model is in use\. There is no artifacts/model either: `make run`"):
        in_use(tmp_path)
    Path("artifacts/model").mkdir(parents=True)
    assert in_use(tmp_path) == ("artifacts/model", Path("artifacts/model"))
    assert not KEPT.exists()


def test_where_the_files_of_the_model_in_use_are_gone_no_other_model_answers(
    registry: Registry, tmp_path: Path
) -> None:
    registry.error = OsteonError("osteon-fracture/7: its files are missing")
    Path("artifacts/model").mkdir(parents=True)
    with pytest.raises(OsteonError, match="its files are missing"):
        in_use(tmp_path)


def test_a_folder_without_a_registry_gets_none(registry: Registry, tmp_path: Path) -> None:
    Path("mlflow/store/mlflow.db").unlink()
    Path("artifacts/model").mkdir(parents=True)
    assert in_use(tmp_path) == ("artifacts/model", Path("artifacts/model"))
    assert registry.requests == 0
    assert list(Path("mlflow/store").iterdir()) == []


def test_a_server_is_asked_each_time_and_nothing_stands_in_for_it(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    Path("artifacts/model").mkdir(parents=True)
    for _ in range(2):
        assert in_use(tmp_path) == (IN_USE, tmp_path / "temporary")
    assert registry.requests == 2
    registry.error = UnreachableError("the MLflow server does not answer")
    with pytest.raises(UnreachableError):
        in_use(tmp_path)
