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
CHECKSUMS = "checksums.json"
SYNCS_AT_ONCE = 8


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
    with full_disk_explained(path, "run again; it continues where it was" if keep else "run again"):
        yield partial
        sync(partial)
    replace_dir(partial, path)
    remove(old_path(path))


def replace_dir(partial: Path, path: Path) -> None:
    """Give a folder that is whole its name; what had the name before is old_path(path) from then on."""
    # To delete a folder takes time: a kill in the middle must not leave half of the old one under its name.
    old = old_path(path)
    remove(old)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    _sync_one(path.parent)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a file name to write that becomes `path` only when the block ends without an error."""
    partial = partial_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(partial)
    with full_disk_explained(path, "run again"):
        yield partial
        sync(partial)
    if path.is_dir():
        remove(path)
    partial.replace(path)
    _sync_one(path.parent)


def sync(path: Path) -> None:
    """Return when a file, or a folder with all in it, is on the disk.

    A file that is renamed before may be empty under its new name after a power cut.
    """
    if not path.is_dir():
        _sync_one(path)
        return
    inside = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    # Several at once: a file system's journal takes them together.
    with ThreadPoolExecutor(SYNCS_AT_ONCE) as pool:
        list(pool.map(_sync_one, (file for file in inside if not file.is_symlink())))
    for folder, _, _ in os.walk(path, topdown=False):
        _sync_one(Path(folder))


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot: nothing is to be done
            raise
    finally:
        os.close(descriptor)


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of a folder into it, so that a later start sees whether all of it is there."""
    sums = {path.relative_to(folder).as_posix(): _sha256(path) for path in _checked_files(folder)}
    # The last character is the closing brace, so that no shorter text is JSON.
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=2, sort_keys=True), encoding="utf-8")


def damage_of(folder: Path) -> str | None:
    """What is wrong with a folder that write_checksums was called for, in words; None where it is whole."""
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        for name, sha256 in sums.items():
            if _sha256(folder / name) != sha256:
                return f"{name} is not as it was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).relative_to(folder).as_posix()} is missing"
    except (OSError, ValueError, AttributeError):
        return f"{CHECKSUMS} cannot be read"
    return None


def _checked_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def full_disk_explained(path: Path, then: str) -> Iterator[None]:
    """Say, where the disk becomes full, which one and what to do then."""
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


def old_path(path: Path) -> Path:
    """Where a folder is that another one takes the place of."""
    return partial_path(path.with_name(f"{path.name}.old"))


def remove_traces(path: Path) -> None:
    """Delete an output and what interrupted calls of atomic_dir left beside it."""
    for trace in (path, partial_path(path), old_path(path)):
        remove(trace)


def remove_all_but(folder: Path, names: Iterable[str]) -> None:
    """Delete what an interrupted call left in a folder, except what a new call can go on with."""
    kept = {entry for name in names for entry in (name, partial_path(Path(name)).name, old_path(Path(name)).name)}
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
    """Every file below a folder in the order of its path, as DVC sees it.

    What .dvcignore names is no file, nor are git's; links to folders are not followed. Links to nothing and pipes, at
    which DVC stops or hangs, are left out.
    """
    _, folders, names = next(os.walk(folder), ("", [], []))
    below = set(folders)
    for name in sorted(folders + names):
        if is_ignored(name):
            continue
        if name not in below:
            if (folder / name).is_file():
                yield folder / name
        elif not (folder / name).is_symlink():
            yield from files_under(folder / name)


def read_file(path: Path) -> bytes:
    """The content of a file.

    Raises:
        OSError: it cannot be read, or is a pipe, at which one would wait without an end.

    """
    if path.is_fifo():
        raise OSError(errno.EINVAL, "is a pipe", str(path))
    return path.read_bytes()


def is_ignored(name: str) -> bool:
    """Whether DVC and Osteon look past a file or folder of this name."""
    return name in IGNORED_NAMES or (name.startswith(".") and name.endswith(".partial"))


def check_names(folder: Path, paths: Iterable[str]) -> None:
    """Stop where the path of a file, below a folder, is no UTF-8: neither DVC nor a manifest could name it.

    Raises:
        OsteonError: it names some of the files, their odd bytes escaped, and what mends them.

    """
    odd = [path for path in paths if not _is_utf8(path)]
    if odd:
        some = ", ".join(_escaped(path) for path in odd[:5]) + (", …" if len(odd) > 5 else "")
        raise OsteonError(
            f"{_escaped(str(folder))}: {len(odd):,} file name{'s are' if len(odd) > 1 else ' is'} not UTF-8: {some}; "
            "rename them, such as with `convmv -r --notest -f CODE -t utf8 FOLDER`, CODE being what they were written "
            "in (cp1252 in Western Europe, cp1254 in Turkey, cp1250 in Poland)"
        )


def check_hashable(folder: Path) -> None:
    """Stop where DVC would fail at a file below a folder, or wait for it without an end.

    Raises:
        OsteonError: a name is no UTF-8, a link leads to nothing, or a file is a pipe, socket or device.

    """
    names, odd = [], []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_ignored(name)]
        for name in files:
            path = Path(place, name)
            names.append(path.relative_to(folder).as_posix())
            if not is_ignored(name) and not path.is_file():
                odd.append(names[-1])
    check_names(folder, names)
    if odd:
        some = ", ".join(sorted(odd)[:5]) + (", …" if len(odd) > 5 else "")
        raise OsteonError(
            f"{folder}: DVC cannot read {some}: links to what is not there, pipes or sockets; fetch what the links "
            "lead to, or delete them"
        )


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def dvc_hash(path: Path) -> str:
    """The md5 that DVC writes into dvc.lock for a file or a folder (which ends in '.dir').

    A folder's is the md5 of the JSON list of its files' md5 and relative path, sorted by path
    (dvc_data.hashfile.tree). Written again here because asking DVC costs its import and its lock. A file that has not
    changed since an earlier process read it is not read again: hash_cache.
    """
    if path.is_file():
        return md5_of_files([path], _md5_at_once)[0]
    files = list(files_under(path))
    check_names(path, (file.relative_to(path).as_posix() for file in files))
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
