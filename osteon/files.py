"""Files written whole or not at all, and their hashes as DVC computes them."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from osteon.errors import OsteonError
from osteon.hash_cache import md5_of_files

IGNORED_NAMES = frozenset({".git", ".hg", ".dvc", ".dvcignore", ".osteon", "__pycache__", ".DS_Store", "Thumbs.db"})


def partial_path(path: Path) -> Path:
    """Where an output grows until it is whole: beside it, so that the last rename cannot be half done."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def atomic_dir(path: Path, *, keep: bool = False) -> Iterator[Path]:
    """Give a folder to fill that takes the name `path` only when the block ends without an error.

    keep: continue in what an interrupted call left, instead of starting empty.
    """
    partial = partial_path(path)
    if not keep:
        remove(partial)
    partial.mkdir(parents=True, exist_ok=True)
    with _full_disk_explained(path, "run again; it continues where it was" if keep else "run again"):
        yield partial
    # To delete a folder takes time: a kill in the middle must not leave half of the old one under its name.
    old = _old_path(path)
    remove(old)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    remove(old)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a file name to write that becomes `path` only when the block ends without an error."""
    partial = partial_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(partial)
    with _full_disk_explained(path, "run again"):
        yield partial
    if path.is_dir():
        remove(path)
    partial.replace(path)


@contextmanager
def _full_disk_explained(path: Path, then: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OsteonError(f"{path}: its disk is full; free some space, then {then}") from error


def check_space(folder: Path, needed: int) -> None:
    """Stop before a disk is full, where it is known how many bytes a step will write into a folder that exists.

    Raises:
        OsteonError: fewer are free.

    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OsteonError(
            f"{folder}: {_gigabytes(needed)} will be written here and its disk has {_gigabytes(free)} free; free "
            f"{_gigabytes(needed - free)}, and as much as is written once more where DVC's cache lies "
            "(docs/data.md, Many films)"
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"


def _old_path(path: Path) -> Path:
    return partial_path(path.with_name(f"{path.name}.old"))


def remove_traces(path: Path) -> None:
    """Delete an output and what interrupted calls of atomic_dir left beside it."""
    for trace in (path, partial_path(path), _old_path(path)):
        remove(trace)


def remove_all_but(folder: Path, names: Iterable[str]) -> None:
    """Delete what an interrupted call left in a folder, except what a new call can go on with."""
    kept = {entry for name in names for entry in (name, partial_path(Path(name)).name)}
    for path in folder.iterdir():
        if path.name not in kept:
            remove(path)


def remove(path: Path) -> None:
    """Delete a file or a folder with all in it; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def files_under(folder: Path) -> Iterator[Path]:
    """Every file below a folder in the order of its path; what .dvcignore names is no file, nor are git's."""
    _, folders, names = next(os.walk(folder), ("", [], []))
    below = set(folders)
    for name in sorted(folders + names):
        if name in IGNORED_NAMES or (name.startswith(".") and name.endswith(".partial")):
            continue
        if name not in below:
            yield folder / name
        elif not (folder / name).is_symlink():
            yield from files_under(folder / name)


def dvc_hash(path: Path) -> str:
    """The md5 that DVC writes into dvc.lock for a file or a folder (which ends in '.dir').

    A folder's is the md5 of the JSON list of its files' md5 and relative path, sorted by path
    (dvc_data.hashfile.tree). Written again here because asking DVC costs its import and its lock. A file that has not
    changed since an earlier process read it is not read again: hash_cache.
    """
    if path.is_file():
        return md5_of_files([path], _md5_at_once)[0]
    files = list(files_under(path))
    entries = [
        {"md5": md5, "relpath": file.relative_to(path).as_posix()}
        for md5, file in zip(md5_of_files(files, _md5_at_once), files, strict=True)
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5_at_once(files: list[Path]) -> list[str]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_file_md5, files))


def _file_md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
