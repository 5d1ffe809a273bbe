"""The md5 of files that were read before, so that a chain of processes reads each file once.

A default run asks for the hash of data/prepared some sixteen times: each step names what it read, and search, every
fold and training know their films by it. The hashes are kept in .dvc/tmp/, where DVC keeps its own; a folder without
DVC has no cache.

A hash holds as long as the file's inode, size, time of change (mtime) and time of change of its entry (ctime) are the
same. So a changed file never gets the hash of its old content, even if its size and mtime are put back: nobody can put
back ctime. A file that was changed a moment ago is not remembered, for a second change might get the same timestamps.
Not noticed, as by DVC: a disk that loses bits, and a process that goes on writing through a memory map.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from osteon.sqlite_size import is_cut_short

FOLDER = Path(".dvc")
FILE = FOLDER / "tmp" / "osteon-hashes.db"
FINE_NS = 50_000_000  # a timestamp is at most so old when it is given, on file systems that count nanoseconds
MOST_FINE_WAIT_S = 0.06
LOCK_TIMEOUT_S = 10.0
_TABLE = "CREATE TABLE IF NOT EXISTS md5 (path BLOB PRIMARY KEY, state TEXT NOT NULL, md5 TEXT NOT NULL) WITHOUT ROWID"


def md5_of_files(files: list[Path], compute: Callable[[list[Path]], Iterable[str]]) -> list[str]:
    """The md5 of each file, from the cache or computed.

    Several processes may do so at once. Where the cache cannot be read or written, all are computed.

    Args:
        files: to hash.
        compute: gives the md5 of each of some files, in their order; it is called for those that are not known.

    """
    if not FOLDER.is_dir():
        return list(compute(files))
    paths = [_key(file) for file in files]
    states = [file_state(file) for file in files]
    known = _read(paths)
    unknown = [
        number
        for number, (path, state) in enumerate(zip(paths, states, strict=True))
        if state is None or known.get(path, ("", ""))[0] != state
    ]
    if unknown:
        _wait_for_clock([files[number] for number in unknown])
        began = time.time_ns()
        computed = dict(zip(unknown, compute([files[number] for number in unknown]), strict=True))
        _write(
            [
                (paths[number], state, md5)
                for number, md5 in computed.items()
                # As it was before, and unchanged for so long that a change from now on gives other timestamps.
                if (state := states[number]) is not None and file_state(files[number], began) == state
            ]
        )
    else:
        computed = {}
    return [computed[number] if number in computed else known[path][1] for number, path in enumerate(paths)]


def _key(file: Path) -> bytes:
    """Not the path itself, which may name a patient."""
    return hashlib.blake2b(os.fsencode(os.path.abspath(file)), digest_size=16).digest()  # noqa: PTH100 – keeps links


def file_state(file: Path, began: int | None = None) -> str | None:
    """What changes when the file does; None where it is not there, or too young at a time."""
    try:
        stat = file.stat()
    except OSError:
        return None
    if began is not None and began - max(stat.st_mtime_ns, stat.st_ctime_ns) < _granularity_ns(stat):
        return None
    return f"{stat.st_dev} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _granularity_ns(stat: os.stat_result) -> int:
    """How far apart two changes may be and have the same ctime; some file systems count only seconds."""
    return FINE_NS if stat.st_ctime_ns % 1_000_000 else 2_000_000_000


def _wait_for_clock(files: list[Path]) -> None:
    """Let what was written a moment ago, such as a step's output, become old enough to be remembered."""
    youngest = 0
    for file in files:
        try:
            youngest = max(youngest, file.stat().st_ctime_ns)
        except OSError:
            continue
    wait = youngest / 1e9 + MOST_FINE_WAIT_S - time.time()
    if 0 < wait <= MOST_FINE_WAIT_S:
        time.sleep(wait)


def _read(paths: list[bytes]) -> dict[bytes, tuple[str, str]]:
    """State and md5 of the files that are known."""
    if not FILE.is_file():
        return {}
    try:
        if is_cut_short(FILE):
            raise sqlite3.DatabaseError(f"{FILE} is cut short")
        with closing(_connect()) as cache:
            rows = (
                row
                for path in paths
                for row in cache.execute("SELECT path, state, md5 FROM md5 WHERE path = ?", (path,))
            )
            return {bytes(path): (str(state), str(md5)) for path, state, md5 in rows}
    except (sqlite3.OperationalError, OSError):  # another process holds it, or the disk does not let it be read
        return {}
    except sqlite3.DatabaseError:  # damaged: begun anew
        FILE.unlink(missing_ok=True)
        return {}


def _write(rows: list[tuple[bytes, str, str]]) -> None:
    try:
        FILE.parent.mkdir(exist_ok=True)
        with closing(_connect()) as cache, cache:
            cache.execute(_TABLE)
            cache.executemany("INSERT OR REPLACE INTO md5 VALUES (?, ?, ?)", rows)
    except (sqlite3.Error, OSError):  # the next process computes them again
        return


def _connect() -> sqlite3.Connection:
    return sqlite3.connect(FILE, timeout=LOCK_TIMEOUT_S)
