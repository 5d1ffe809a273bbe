"""A file that DVC knows and that is gone: which command brings it back."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.repo import Repo

from components.preparation.sides import refuse_lost_sides
from osteon.errors import OsteonError
from osteon.remotes.lost_outputs import command_for_lost

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
