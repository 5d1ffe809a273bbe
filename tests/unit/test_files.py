import json
import os
import subprocess
from pathlib import Path

import pytest

from osteon.errors import OsteonError
from osteon.files import atomic_dir, atomic_file, check_hashable, dvc_hash, files_under, partial_path


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "out.txt"
    with pytest.raises(RuntimeError), atomic_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert not path.exists()
    with atomic_file(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert not partial.exists()


def test_a_failure_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("former")
    with pytest.raises(RuntimeError), atomic_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "former"


def test_a_folder_replaces_the_former_one_and_takes_nothing_of_an_interrupted_call(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "former").touch()
    left = partial_path(path)
    left.mkdir()
    (left / "left").touch()
    with atomic_dir(path) as partial:
        (partial / "new").touch()
        assert (path / "former").exists()
    assert [file.name for file in path.iterdir()] == ["new"]


def test_a_folder_can_continue_what_was_left(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(RuntimeError), atomic_dir(path, keep=True) as partial:
        (partial / "first").touch()
        raise RuntimeError
    assert not path.exists()
    with atomic_dir(path, keep=True) as partial:
        (partial / "second").touch()
    assert sorted(file.name for file in path.iterdir()) == ["first", "second"]


def test_a_file_and_a_folder_may_take_each_others_place(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic_file(path) as partial:
        partial.touch()
    with atomic_dir(path):
        pass
    assert path.is_dir()
    with atomic_file(path) as partial:
        partial.touch()
    assert path.is_file()


def test_hashes_are_those_of_dvc(tmp_path: Path) -> None:
    """The oracle is DVC itself."""
    folder = tmp_path / "films"
    for name, content in {
        "b.txt": b"\r\nb",
        "a/ü ö.bin": b"\0\1",
        "a/z": b"",
        "a.b": b"x",
        ".DS_Store": b"mac",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "one.csv").write_bytes(b"x,y\r\n1,2\r\n")
    (tmp_path / ".dvcignore").write_text(".DS_Store\n")
    subprocess.run(["dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "add", "-q", "films", "one.csv"], cwd=tmp_path, check=True)
    for name in ("films", "one.csv"):
        recorded = (tmp_path / f"{name}.dvc").read_text().split("md5: ")[1].split("\n")[0]
        assert dvc_hash(tmp_path / name) == recorded


def test_a_folders_hash_by_hand(tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "x").write_bytes(b"1")
    entries = [{"md5": hashlib.md5(b"1").hexdigest(), "relpath": "x"}]  # noqa: S324
    assert dvc_hash(tmp_path) == hashlib.md5(json.dumps(entries).encode()).hexdigest() + ".dir"  # noqa: S324


def test_files_are_found_sorted_and_without_what_tools_leave(tmp_path: Path) -> None:
    for name in ("b", "a/c", ".git/config", "a/__pycache__/x.pyc", "a/Thumbs.db", "a/.m.partial/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in files_under(tmp_path)] == ["a/c", "b"]


def test_what_dvc_cannot_hash_is_named(tmp_path: Path) -> None:
    """A name that is no UTF-8 and a link to nothing end `dvc repro` in the middle; at a pipe it waits for ever."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "gone").symlink_to("nowhere")
    check_hashable(tmp_path)
    (tmp_path / "a" / "gone.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OsteonError, match=r"DVC cannot read a/gone\.png, pipe: links to what is not there, pipes"):
        check_hashable(tmp_path)
    assert dvc_hash(tmp_path) == dvc_hash(tmp_path)  # neither waits nor fails
    (tmp_path / os.fsdecode(b"k\xfd.png")).touch()
    for look in (check_hashable, dvc_hash):
        with pytest.raises(OsteonError, match=r"1 file name is not UTF-8: k\\xfd\.png; rename"):
            look(tmp_path)
