"""A file that DVC knows and that is gone: which command brings it back."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dvc.repo import Repo

from components.preparation.sides import refuse_lost_sides
from components.reproduction.original import bring_sides
from osteon.errors import OsteonError
from osteon.remotes.lost_outputs import command_for_lost
from tests.unit.conftest import use_store

CONTENT = b"a table"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
LOCK = f"""schema: '2.0'
stages:
  validate:
    cmd: osteon validate
    deps:
    - path: data/sides.parquet
      md5: {"0" * 32}
  prepare:
    cmd: osteon prepare
    outs:
    - path: data/prepared
      md5: {"1" * 32}.dir
    - path: data/sides.parquet
      hash: md5
      md5: {MD5}
"""
SIDES = Path("data/sides.parquet")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Repo.init(str(tmp_path), no_scm=True).close()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lock(project: Path) -> None:
    (project / "dvc.lock").write_text(LOCK, encoding="utf-8")


def dvc_file(project: Path) -> None:
    (project / "data" / "sides.parquet.dvc").write_text(f"outs:\n- md5: {MD5}\n  path: sides.parquet\n")


def put(store: Path) -> None:
    place = store / "files" / "md5" / MD5[:2] / MD5[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)


def remote(project: Path, address: str) -> None:
    (project / ".dvc" / "config").write_text(
        f"[core]\n    remote = r\n    no_scm = true\n['remote \"r\"']\n    url = {address}\n"
    )


@pytest.mark.parametrize("known", [lock, dvc_file])
def test_what_the_cache_has_is_checked_out_and_what_the_remote_has_is_pulled(
    project: Path, known: Callable[[Path], None]
) -> None:
    assert command_for_lost(SIDES) is None  # DVC does not know it: the first draw
    known(project)
    assert command_for_lost(SIDES) is None  # a fresh clone without a remote
    remote(project, str(project / "remote"))
    assert command_for_lost(SIDES) is None
    put(project / "remote")
    assert command_for_lost(SIDES) == "dvc pull data/sides.parquet"
    put(project / ".dvc" / "cache")
    assert command_for_lost(SIDES) == "dvc checkout data/sides.parquet"
    assert command_for_lost(project / SIDES) == f"dvc checkout {project / SIDES}"
    assert command_for_lost(Path("data/other.parquet")) is None
    with pytest.raises(OsteonError) as refused:
        refuse_lost_sides(SIDES)
    assert str(refused.value) == (
        "data/sides.parquet: the table of sides is gone, and an earlier run had it. Without it test films may become "
        "training films. `dvc checkout data/sides.parquet` brings it back. To draw all sides anew: "
        '`osteon prepare --redraw --why "…"`'
    )


@pytest.mark.parametrize("content", ["<<<<<<< HEAD\n", "[]", "stages: {prepare: {outs: [data/sides.parquet]}}"])
def test_a_lock_that_cannot_be_read_is_no_first_draw(project: Path, content: str) -> None:
    (project / "dvc.lock").write_text(content)
    with pytest.raises(OsteonError, match=r"is not known: .*dvc\.lock: cannot be read .*--redraw --why"):
        refuse_lost_sides(SIDES)


def test_a_remote_that_does_not_answer_is_no_first_draw(project: Path) -> None:
    lock(project)
    remote(project, "http://anna:sesame@127.0.0.1:9/films")
    with pytest.raises(OsteonError, match="is not known: DVC's remote does not answer") as refused:
        refuse_lost_sides(SIDES)
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("in_store", [True, False])
def test_a_version_is_made_again_with_its_table_or_else_by_the_rule(
    project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, in_store: bool
) -> None:
    client = use_store(project, empty_store, monkeypatch)
    run_id = client.create_run(client.create_experiment("x", str(project / "kept"))).info.run_id
    (project / "sides.parquet").write_bytes(CONTENT)
    if in_store:
        client.log_artifact(run_id, str(project / "sides.parquet"), "sides")
    lock(project)
    put(project / ".dvc" / "cache")
    original: Any = SimpleNamespace(made=SimpleNamespace(walk=lambda: [SimpleNamespace(step="prepare", run_id=run_id)]))
    bring_sides(original, project)
    assert SIDES.exists() == in_store
    if not in_store:
        refuse_lost_sides(SIDES)  # it does not
