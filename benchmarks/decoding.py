"""Decode and standardise: films a second, with one thread and with two.

FracAtlas' small films, those of at most 500 pixels (most are 373 × 454, JPEG), that the step validate trusts. Files
are in the page cache (a first pass is not counted): what is measured is the work, not the disk. Where OSTEON_REAL_DATA
names no folder, phantoms of that size written as JPEG stand in.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.findings import Findings, Goal
from components.ingestion.step import ingest
from components.phantoms.step import phantoms
from components.validation.step import validate
from osteon.films.manifest import read_manifest
from osteon.films.reading.decoding import decode
from osteon.films.reading.film import letterbox
from osteon.params import DataParams, PhantomParams, PreparationParams, ValidationParams
from osteon.threads import over_cores

if TYPE_CHECKING:
    import pandas as pd

FEWEST, SMALL, PASSES = 800, 500, 5
STAND_INS, SHORT, LONG = 400, 373, 454


def measure(quick: bool) -> Findings:
    """Several passes over the same films, by one and two threads."""
    params = PreparationParams()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, layout, note = films_of(folder)
        films = small_films(source, layout, folder)
        if quick:
            films = films.head(300)
        paths = [source / path for path in films["path"]]

        def standardise(part: Sequence[Path]) -> list[NDArray[np.uint8]]:
            return [letterbox(decode(path.read_bytes(), max_megapixels=math.inf), params.image_size) for path in part]

        def threads(cores: int) -> Callable[[], object]:
            return lambda: sum(1 for _ in over_cores(standardise, paths, cores))

        works = {"1 thread": threads(1), "2 threads": threads(2)}
        speeds = {name: films_per_second(work, len(films), 2 if quick else PASSES) for name, work in works.items()}
    rows = [
        [name, f"{statistics.median(speed):,.0f}", f"{min(speed):,.0f} – {max(speed):,.0f}"]
        for name, speed in speeds.items()
    ]
    fast = statistics.median(speeds["2 threads"])
    return Findings(
        n=f"{len(films):,} {note}, to {params.image_size} × {params.image_size} pixels, "
        f"{2 if quick else PASSES} passes",
        columns=["decode and standardise", "films/s, median", "range"],
        rows=rows,
        goals=[Goal(f"≥ {FEWEST} small films/s on two cores: {fast:,.0f}", fast >= FEWEST)],
        notes=["prepare also looks for near copies, which takes most of its time: near_copies, volume."],
    )


def films_of(folder: Path) -> tuple[Path, str, str]:
    """Folder, layout and name of the films to measure on."""
    if real := os.environ.get("OSTEON_REAL_DATA"):
        return Path(real).resolve() / "fracatlas", "fracatlas", f"FracAtlas films of at most {SMALL} pixels"
    source = folder / "phantoms"
    phantoms(source, folder / "sheet.png", PhantomParams(films=STAND_INS, size=LONG))
    manifest = source / "manifest.csv"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(".png", ".jpg"), encoding="utf-8")
    for path in source.rglob("*.png"):
        picture = Image.open(path).convert("RGB").resize((SHORT, LONG))
        picture.save(path.with_suffix(".jpg"), quality=85)
        path.unlink()
    return source, "manifest", f"phantoms as JPEG of {SHORT} × {LONG} pixels (OSTEON_REAL_DATA is not set)"


def small_films(source: Path, layout: str, folder: Path) -> "pd.DataFrame":
    """The trusted films of at most SMALL pixels."""
    manifest, trusted = folder / "manifest.parquet", folder / "trusted.parquet"
    ingest(source, manifest, DataParams(layout=layout))
    # Resized stand-ins no longer fit their boxes; whether boxes fit is not what is measured.
    validate(source, manifest, trusted, folder / "report", ValidationParams(max_quarantined=1.0))
    films = read_manifest(trusted)
    return films[films[["width", "height"]].max(axis=1) <= SMALL].reset_index(drop=True)


def films_per_second(work: Callable[[], object], films: int, passes: int) -> list[float]:
    """Speed of each pass; one before them does not count."""
    work()
    speeds = []
    for _ in range(passes):
        start = time.perf_counter()
        work()
        speeds.append(films / (time.perf_counter() - start))
    return speeds
