"""The hashes that a chain of steps asks for at 10,000 films: each read anew as before, and handed on as now.

Prepared films (10,000 × 128 × 128 in pixels.npy, and films.parquet) are asked for sixteen times in a default run, the
source folder (10,000 small files) twice. Each time in a process of its own, as steps are; the time is that of the hash,
without the process's start. Folder and files are in the page cache both times: a disk makes the difference larger.
"""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.findings import Findings, Goal
from benchmarks.fresh_process import in_fresh_process
from benchmarks.volume import BUILD
from osteon.files import dvc_hash

FILMS, QUICK_FILMS = 10_000, 500
SIDE, FILE_BYTES = 128, 20_000
PREPARED_TIMES, SOURCE_TIMES = 16, 2
LEAST_SAVED = 0.8  # of the seconds


def measure(quick: bool) -> Findings:
    """The same chain of hashes without a cache and with one."""
    films = QUICK_FILMS if quick else FILMS
    folder = BUILD / f"{films}_films_to_hash"
    if folder.is_dir():
        shutil.rmtree(folder)
    draw(folder, films)
    before = seconds_of_chain(folder)
    (folder / ".dvc").mkdir()
    now = seconds_of_chain(folder)
    shutil.rmtree(folder)
    rows = []
    for name, seconds in now.items():
        figures = (sum(before[name]), sum(seconds), seconds[0], seconds[-1])
        rows.append([name, str(len(seconds)), *(f"{figure:.2f}" for figure in figures)])
    total_before, total_now = (sum(map(sum, chain.values())) for chain in (before, now))
    rows.append(["together", "", f"{total_before:.2f}", f"{total_now:.2f}", "", ""])
    saved = 1 - total_now / total_before
    return Findings(
        n=f"{films:,} films of {SIDE} pixels prepared, and as many files of {FILE_BYTES // 1000} kB",
        columns=["folder", "times", "seconds before", "seconds now", "now, first", "now, last"],
        rows=rows,
        goals=[Goal(f"at least {LEAST_SAVED:.0%} of the seconds saved: {saved:.0%}", saved >= LEAST_SAVED)],
    )


def draw(folder: Path, films: int) -> None:
    """Prepared films and source files of random bytes."""
    rng = np.random.default_rng(0)
    (folder / "prepared").mkdir(parents=True)
    (folder / "source").mkdir()
    np.save(folder / "prepared" / "pixels.npy", rng.integers(0, 256, (films, SIDE, SIDE), np.uint8))
    pd.DataFrame({"film_id": [f"{number:06}.png" for number in range(films)]}).to_parquet(
        folder / "prepared" / "films.parquet"
    )
    for number in range(films):
        (folder / "source" / f"{number:06}.png").write_bytes(rng.bytes(FILE_BYTES))


def seconds_of_chain(folder: Path) -> dict[str, list[float]]:
    """Seconds of each hash that the processes of a default run ask for, by folder."""
    return {
        name: [in_fresh_process(seconds_of_hash, folder, name) for _ in range(times)]
        for name, times in (("source", SOURCE_TIMES), ("prepared", PREPARED_TIMES))
    }


def seconds_of_hash(folder: Path, name: str) -> float:
    """Seconds of one hash in this process."""
    os.chdir(folder)
    began = time.perf_counter()
    dvc_hash(Path(name))
    return time.perf_counter() - began
