"""Decode damaged files of every format: each is read, or refused with a reason, in time and memory.

A film in every format (film_files.py), the DICOM files that pydicom ships and, where OSTEON_REAL_DATA names a folder,
some real films, each mutated in one of many ways: bytes changed, cut out, put in, doubled, swapped with another
file's, the end cut off. Several processes; one that dies is noticed and said.
"""

import multiprocessing
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.film_files import dicom_files, has_pixels, phantom, picture_files, pydicom_files
from benchmarks.findings import Findings, Goal
from osteon.errors import UnreadableFilmError
from osteon.films.reading.decoding import decode, untagged_white
from osteon.films.reading.dicom_tags import read_tags
from osteon.films.reading.film import letterbox

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

FILES, QUICK_FILES = 120_000, 2_000
SIDE, LARGEST = (
    96,
    120_000,
)  # of the film in pixels, of a file in bytes: small files are hit more often where it matters
SECONDS, MEGABYTES, MEGAPIXELS = 2.0, 1024, 80
STUCK = 60.0  # seconds after which a process that does not go on is ended
INTERESTING = np.array([0, 1, 0x7F, 0x80, 0xFF, 0x20, 0x2C, 0x5C, ord("9"), ord("Q")], np.uint8)
HEAD = 700  # bytes in which most of what a file says of itself stands


@dataclass
class Outcomes:
    """What became of the files of one format. failures: name of an exception → files, and 'died', 'stuck'."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)


@cache
def seeds() -> list[tuple[str, bytes]]:
    """Format and file of everything that is mutated."""
    film = phantom(SIDE)
    found = [*picture_files(film).items(), *dicom_files(film).items()]
    found += [("DICOM of pydicom", data) for data in pydicom_files(LARGEST).values() if has_pixels(data)]
    if real := os.environ.get("OSTEON_REAL_DATA"):
        paths = sorted((Path(real) / "fracatlas" / "images").rglob("*.jpg"))[::300]
        found += [("JPEG of FracAtlas", data) for path in paths if len(data := path.read_bytes()) <= LARGEST]
    return found


def mutated(number: int) -> tuple[str, bytes]:
    """The format and the bytes of a damaged file; the same for the same number."""
    rng = np.random.default_rng(number)
    files = seeds()
    kind, data = files[number % len(files)]
    values = np.frombuffer(data, np.uint8).copy()
    for _ in range(rng.integers(1, 4)):
        values = _damaged(values, rng)
    return kind, values.tobytes()


def _damaged(values: Any, rng: np.random.Generator) -> Any:
    end = min(len(values), HEAD) if rng.random() < 0.6 else len(values)
    place = int(rng.integers(0, max(end, 1)))
    length = int(rng.integers(1, 40))
    match rng.integers(0, 9):
        case 0 | 1:
            places = rng.integers(0, max(end, 1), rng.integers(1, 9))
            values[places % max(len(values), 1)] = rng.integers(0, 256, len(places))
        case 2 | 3:
            places = rng.integers(0, max(end, 1), rng.integers(1, 5))
            values[places % max(len(values), 1)] = rng.choice(INTERESTING, len(places))
        case 4:
            values[place : place + length] = 0xFF if rng.random() < 0.5 else 0
        case 5:
            return np.delete(values, np.s_[place : place + length])
        case 6:
            return np.insert(values, place, values[place : place + length])
        case 7:
            other = np.frombuffer(seeds()[int(rng.integers(0, len(seeds())))][1], np.uint8)
            part = other[place : place + length]
            values[place : place + len(part)] = part[: len(values[place : place + len(part)])]
        case _:
            return values[: int(rng.integers(0, len(values) + 1))]
    return values


def look(data: bytes) -> bool:
    """Whether a file is read; all that Osteon does with a film's bytes.

    Raises:
        Exception: another one than UnreadableFilmError, which is what must not happen.

    """
    read_tags(data)
    untagged_white(data)
    try:
        letterbox(decode(data, max_megapixels=MEGAPIXELS, colour=True), 64)
    except UnreadableFilmError:
        return False
    return True


def _work(first: int, last: int, step: int, place: Any, results: "Queue[Any]") -> None:
    """Look at every step-th file; what it says itself goes nowhere: libraries print what they think of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, last, step):
        place.value = number
        kind, data = mutated(number)
        start = time.process_time()
        try:
            what = "read" if look(data) else "refused"
        except BaseException as error:
            what = type(error).__name__
        results.put((kind, what, time.process_time() - start, number))
    results.put((None, "", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used) / 1024, last))


def run(files: int, processes: int) -> tuple[dict[str, Outcomes], float, list[str]]:
    """Look at so many files; outcomes by format, the largest growth of a process in MB, and what failed."""
    context = multiprocessing.get_context("fork")
    seeds()
    outcomes: dict[str, Outcomes] = {}
    failed: list[str] = []
    grown = 0.0
    results = context.Queue()
    running: dict[int, tuple[Any, Any, float, int]] = {}

    def begin(first: int, lane: int) -> None:
        place = context.Value("q", first)
        process = context.Process(target=_work, args=(first, files, processes, place, results))
        process.start()
        running[lane] = (process, place, time.monotonic(), first)

    for lane in range(processes):
        begin(lane, lane)
    while running:
        for kind, what, cost, number in _arrived(results):
            if kind is None:
                grown = max(grown, cost)
                continue
            outcome = outcomes.setdefault(kind, Outcomes())
            outcome.slowest = max(outcome.slowest, cost)
            if what in ("read", "refused"):
                setattr(outcome, what, getattr(outcome, what) + 1)
            else:
                outcome.failures[what] += 1
            if what not in ("read", "refused") or cost > SECONDS:
                failed.append(f"file {number} ({kind}): {what} after {cost:.1f} s")
        for lane, (process, place, since, last) in list(running.items()):
            if place.value != last:
                running[lane] = (process, place, time.monotonic(), place.value)
            stuck = process.is_alive() and time.monotonic() - since > STUCK
            if stuck:
                process.kill()
                process.join()
            if process.is_alive():
                continue
            del running[lane]
            if process.exitcode:
                what, kind = "stuck" if stuck else "died", mutated(place.value)[0]
                outcomes.setdefault(kind, Outcomes()).failures[what] += 1
                failed.append(f"file {place.value} ({kind}): {what}")
                if place.value + processes < files:
                    begin(place.value + processes, lane)
    return outcomes, grown, failed


def _arrived(results: "Queue[Any]") -> Iterator[Any]:
    """What has come; waits half a second for the first."""
    try:
        yield results.get(timeout=0.5)
        while True:
            yield results.get_nowait()
    except Empty:
        return


def measure(quick: bool) -> Findings:
    """Mutate, decode, count."""
    files = QUICK_FILES if quick else int(os.environ.get("OSTEON_FUZZ_FILES", FILES))
    outcomes, grown, failed = run(files, max(2, os.cpu_count() or 2))
    rows = [
        [
            kind,
            f"{outcome.read + outcome.refused + outcome.failures.total():,}",
            f"{outcome.read:,}",
            f"{outcome.refused:,}",
            ", ".join(f"{count} × {name}" for name, count in outcome.failures.items()) or "0",
            f"{outcome.slowest:.2f}",
        ]
        for kind, outcome in sorted(outcomes.items())
    ]
    slowest = max(outcome.slowest for outcome in outcomes.values())
    return Findings(
        n=f"{files:,} damaged files of {len(seeds())} whole ones",
        columns=["format", "files", "read", "refused with a reason", "anything else", "slowest, s of a core"],
        rows=rows,
        goals=[
            Goal(f"read or refused with a reason, never anything else: {len(failed)} of {files:,} not", not failed),
            Goal(f"≤ {SECONDS:g} s each: {slowest:.2f}", slowest <= SECONDS),
            Goal(f"≤ {MEGABYTES:,} MB: a process grew by {grown:,.0f}", grown <= MEGABYTES),
        ],
        notes=failed[:10],
    )
