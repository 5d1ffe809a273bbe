"""Hashes that are handed on: the right ones whatever happens to a file or to the cache, and no file read twice."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osteon import files as files_module
from osteon.files import dvc_hash
from osteon.hash_cache import FILE, FOLDER
from tests.command import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with DVC, as the current one, and three files in films/."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / "films" / "below").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "below/c")):
        (tmp_path / "films" / name).write_bytes(bytes([number]) * 100)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the files whose content was read."""
    names: list[str] = []
    whole = files_module._file_md5

    def counted(path: Path) -> str:
        names.append(path.name)
        return whole(path)

    monkeypatch.setattr(files_module, "_file_md5", counted)
    return names


def uncached(path: Path) -> str:
    """The hash as a folder without DVC computes it."""
    code = f"from pathlib import Path; from osteon.files import dvc_hash; print(dvc_hash(Path({str(path)!r})))"
    return run(code, cwd=path.parents[-1]).stdout.strip()


def run(code: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_file_is_read_once(project: Path, read: list[str]) -> None:
    first = dvc_hash(Path("films"))
    assert sorted(read) == ["a", "b", "c"]
    assert dvc_hash(Path("films")) == dvc_hash(project / "films") == first == uncached(project / "films")
    assert dvc_hash(Path("films/a")) == dvc_hash(project / "films" / "a")
    assert sorted(read) == ["a", "b", "c"]


def test_another_process_reads_it_no_more(project: Path) -> None:
    first = dvc_hash(Path("films"))
    code = (
        "from pathlib import Path; from osteon import files\n"
        "files._file_md5 = None\n"
        "print(files.dvc_hash(Path('films')))"
    )
    done = run(code)
    assert done.stdout.strip() == first, done.stderr


def test_a_byte_changed_with_size_and_mtime_put_back_is_noticed(project: Path, read: list[str]) -> None:
    path, first = Path("films/a"), dvc_hash(Path("films"))
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"x")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert dvc_hash(Path("films")) == uncached(project / "films") != first
    assert sorted(read) == ["a", "a", "b", "c"]


def test_a_file_that_takes_the_place_of_another_is_noticed(project: Path) -> None:
    path, first = Path("films/a"), dvc_hash(Path("films"))
    before = path.stat()
    Path("other").write_bytes(b"x" * before.st_size)
    os.utime("other", ns=(before.st_atime_ns, before.st_mtime_ns))
    Path("other").replace(path)
    assert dvc_hash(Path("films")) == uncached(project / "films") != first


def test_a_file_that_comes_goes_or_changes_its_name_is_noticed(project: Path) -> None:
    hashes = {dvc_hash(Path("films"))}
    Path("films/d").write_bytes(b"d")
    hashes.add(dvc_hash(Path("films")))
    Path("films/d").rename("films/e")
    hashes.add(dvc_hash(Path("films")))
    Path("films/a").unlink()
    hashes.add(dvc_hash(Path("films")))
    assert len(hashes) == 4
    assert dvc_hash(Path("films")) == uncached(project / "films")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("ab"), st.binary(min_size=3, max_size=3)), max_size=6))
def test_whatever_is_written_at_once_after_a_hash_the_next_hash_is_right(
    project: Path, writes: list[tuple[str, bytes]]
) -> None:
    shutil.rmtree(FILE.parent, ignore_errors=True)
    content = {}
    for name, data in writes:
        (project / "films" / name).write_bytes(data)
        content[name] = dvc_hash(Path("films") / name)
        assert content[name] == files_module._file_md5(project / "films" / name)


def test_a_file_that_changes_while_it_is_read_is_not_remembered(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = files_module._file_md5

    def slow(path: Path) -> str:
        md5 = whole(path)
        path.write_bytes(b"changed meanwhile")
        return md5

    with monkeypatch.context() as patch:
        patch.setattr(files_module, "_file_md5", slow)
        dvc_hash(Path("films/a"))
    assert dvc_hash(Path("films/a")) == whole(Path("films/a"))


@pytest.mark.parametrize("damage", [b"no database", b"", b"SQLite format 3\0 and no more"])
def test_a_damaged_cache_is_begun_anew(project: Path, read: list[str], damage: bytes) -> None:
    first = dvc_hash(Path("films"))
    FILE.write_bytes(damage)
    assert dvc_hash(Path("films")) == first
    assert dvc_hash(Path("films")) == first
    assert len(read) == 6


def test_a_cache_that_another_process_holds_or_that_cannot_be_written_is_done_without(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dvc_hash(Path("films"))
    monkeypatch.setattr("osteon.hash_cache.LOCK_TIMEOUT_S", 0.05)
    holder = sqlite3.connect(FILE)
    holder.execute("BEGIN EXCLUSIVE")
    assert dvc_hash(Path("films")) == first
    holder.close()
    assert dvc_hash(Path("films")) == first
    shutil.rmtree(FILE.parent)
    FILE.parent.write_text("a file in its folder's place")
    assert dvc_hash(Path("films")) == first


def test_without_dvc_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a").write_bytes(b"a")
    monkeypatch.chdir(tmp_path)
    dvc_hash(Path("films"))
    assert [path.name for path in tmp_path.iterdir()] == ["films"]


def test_the_cache_names_no_path(project: Path) -> None:
    Path("films/MRN-4711 Doe").write_bytes(b"x")
    time.sleep(0.1)
    dvc_hash(Path("films"))
    assert b"4711" not in FILE.read_bytes()


def test_processes_that_hash_and_write_at_once_get_the_right_hashes(project: Path) -> None:
    for number in range(200):
        (project / "films" / f"{number}.png").write_bytes(os.urandom(1000))
    code = (
        "from pathlib import Path; from osteon.files import dvc_hash\n"
        "print({dvc_hash(Path('films')) for _ in range(5)})"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    printed = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert printed == {f"{{'{uncached(project / 'films')}'}}"}
    with sqlite3.connect(FILE) as cache:
        assert cache.execute("PRAGMA integrity_check").fetchone() == ("ok",)
