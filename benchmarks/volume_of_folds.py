"""cross_validate of many films: peak memory and speed with 10,000 and 100,000 films of 224 pixels.

The step of `volume` that needs most memory, by itself, in half an hour. 10,000 films are phantoms, drawn each for
itself; the 100,000 are these ten times, each time but the first with other noise (± 3 grey levels) and with groups of
their own. Copies are not searched for, which takes `volume` most of its hours: groups are patients. A network is the
smallest (width 8) and learns for one epoch, of two folds one after the other; the classical models learn from
classical.max_films.

Memory, seconds and images are counted as `volume` does it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.findings import Findings, Goal
from benchmarks.fresh_process import in_fresh_process
from benchmarks.volume import BUILD, MOST_MEMORY, SIDE, Measured, draw_phantoms, run_step, take_first

FILMS, QUICK_FILMS = 10_000, 400
TIMES = 10
NOISE = 3  # grey levels


def measure(quick: bool) -> Findings:
    """The films as they are, and ten times as many."""
    films = QUICK_FILMS if quick else FILMS
    phantoms = BUILD / f"{films}_phantoms_of_{SIDE}_pixels"
    few, many = BUILD / f"{films}_in_folds", BUILD / f"{films * TIMES}_in_folds"
    if not phantoms.is_dir():
        BUILD.mkdir(parents=True, exist_ok=True)
        in_fresh_process(draw_phantoms, phantoms, films)
    for folder in (few, many):
        if folder.is_dir():
            shutil.rmtree(folder)
    in_fresh_process(take_first, phantoms, few / "films", films)
    for step in ("ingest", "validate", "prepare", "augment", "features"):
        in_fresh_process(run_without_copies, step, few)
    in_fresh_process(repeat, few, many, TIMES)
    measurements: list[Measured] = [in_fresh_process(run_step, "cross_validate", folder) for folder in (few, many)]
    _, many_films = measurements
    shutil.rmtree(few)
    shutil.rmtree(many)
    return Findings(
        n=f"{films:,} films of {SIDE} pixels, and the same {TIMES} times with noise",
        columns=["films", "images", "seconds", "images/s", "MiB"],
        rows=[
            [
                f"{count:,}",
                f"{measurement.images:,}",
                f"{measurement.seconds:,.0f}",
                f"{measurement.images / measurement.seconds:,.0f}",
                f"{measurement.memory:,.0f}",
            ]
            for count, measurement in zip((films, films * TIMES), measurements, strict=True)
        ],
        goals=[
            Goal(
                f"cross_validate of {films * TIMES:,} films: at most {MOST_MEMORY:,} MiB: {many_films.memory:,.0f}",
                many_films.memory <= MOST_MEMORY,
            )
        ],
    )


def run_without_copies(step: str, folder: Path) -> Measured:
    """Run one step in this process; prepare joins no films but those of a patient."""
    from osteon.films.copies import pairs

    setattr(pairs, "find_near_copies", lambda *_: [])  # noqa: B010 – mypy sees no name that is only imported there
    return run_step(step, folder)


def repeat(few: Path, many: Path, times: int) -> None:
    """What prepare, augment and features wrote, so many times."""
    import numpy as np
    import pandas as pd

    from osteon.films.prepared.array import FILMS as TABLE
    from osteon.films.prepared.array import PIXELS
    from osteon.models.classical.film_features import INFO

    def repeated(source: Path, target: Path, noise: int) -> None:
        rows = np.load(source, mmap_mode="r")
        shape = (len(rows) * times, *rows.shape[1:])
        written: Any = np.lib.format.open_memmap(target, "w+", rows.dtype, shape, version=(1, 0))
        random = np.random.default_rng(20)
        for start in range(0, shape[0], 1000):
            of = np.arange(start, min(start + 1000, shape[0]))
            block = rows[of % len(rows)]
            if noise and start >= len(rows):
                other = block.astype(np.int16) + random.integers(-noise, noise + 1, block.shape, np.int16)
                block = np.clip(other, 0, 255).astype(np.uint8)
            written[of] = block

    for name in ("prepared", "augmented"):
        shutil.copytree(few / name, many / name, ignore=shutil.ignore_patterns(PIXELS, TABLE))
        films = pd.read_parquet(few / name / TABLE)
        ids = ["film_id", "group", "patient_id", "study_id"]
        tables = [films.assign(**{column: films[column] + f" {time}" for column in ids}) for time in range(times)]
        pd.concat(tables, ignore_index=True).astype(films.dtypes.to_dict()).to_parquet(many / name / TABLE, index=False)
        repeated(few / name / PIXELS, many / name / PIXELS, NOISE)
    shutil.copytree(few / "features", many / "features", ignore=shutil.ignore_patterns("*.npy"))
    for path in (few / "features").glob("*.npy"):
        repeated(path, many / "features" / path.name, 0)
    info = json.loads((few / "features" / INFO).read_text(encoding="utf-8"))
    info |= {"films": info["films"] * times, "copies": info["copies"] * times}
    (many / "features" / INFO).write_text(json.dumps(info), encoding="utf-8")
