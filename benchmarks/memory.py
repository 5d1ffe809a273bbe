"""Peak memory of ingest, validate and prepare with 3,000 films and with 30,000.

Each step runs in a process of its own, whose highest resident memory (VmHWM) is read when it ends. The steps work in
threads, so that process is all there is. The pixel array is written as a stream and mapped nowhere, so no shared file
mapping is counted but libraries.

The films are clouds of grey of 96 pixels, each its own: what a step keeps of a film does not depend on its size.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.findings import Findings, Goal
from benchmarks.fresh_process import in_fresh_process, peak_memory

FILMS, QUICK_FILMS = (3_000, 30_000), (300, 1_000)
SIDE, MOST_GROWTH = 96, 1.1
STEPS = ("ingest", "validate", "prepare")


def measure(quick: bool) -> Findings:
    """Every step with both numbers of films."""
    few, many = QUICK_FILMS if quick else FILMS
    peaks: dict[tuple[str, int], float] = {}
    seconds: dict[tuple[str, int], float] = {}
    for films in (few, many):
        with TemporaryDirectory() as folder:
            in_fresh_process(make_films, Path(folder) / "films", films)
            for step in STEPS:
                peaks[step, films], seconds[step, films] = in_fresh_process(run_step, step, Path(folder))
    growth = {step: peaks[step, many] / peaks[step, few] for step in STEPS}
    return Findings(
        n=f"{few:,} and {many:,} films of {SIDE} × {SIDE} pixels",
        columns=["step", f"MiB, {few:,} films", f"MiB, {many:,} films", "growth", f"s, {few:,}", f"s, {many:,}"],
        rows=[
            [
                step,
                *(f"{peaks[step, films]:.0f}" for films in (few, many)),
                f"{growth[step] - 1:+.1%}",
                *(f"{seconds[step, films]:.1f}" for films in (few, many)),
            ]
            for step in STEPS
        ],
        goals=[
            Goal(f"{step}: peaks within {MOST_GROWTH - 1:.0%}: {growth[step] - 1:+.1%}", growth[step] <= MOST_GROWTH)
            for step in STEPS
        ],
        notes=["prepare's search for near copies holds something of every film; `volume` measures it up to 100,000."],
    )


def make_films(folder: Path, count: int) -> None:
    """Write films that share neither bytes nor pixels, two a patient, with Osteon's own manifest."""
    import cv2
    import numpy as np
    import pandas as pd

    (folder / "films").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        cloud = cv2.resize(rng.integers(0, 256, (8, 8), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(folder / "films" / f"{number:06}.jpg"), cloud)
    patients = [f"P{number // 2:06}" for number in range(count)]
    fractured = np.arange(count) // 2 % 5 < 2
    rows = pd.DataFrame(
        {
            "path": [f"films/{number:06}.jpg" for number in range(count)],
            "label": np.where(fractured, "fractured", "not fractured"),
            "region": np.array(["wrist", "elbow", "ankle", "hip"])[np.arange(count) // 2 % 4],
            "view": np.array(["frontal", "lateral"])[np.arange(count) % 2],
            "patient_pseudonym": patients,
            "study_pseudonym": [f"{patient}-1" for patient in patients],
            "boxes": np.where(fractured, "[[10.0, 20.0, 30.0, 40.0]]", ""),
        }
    )
    rows.to_csv(folder / "manifest.csv", index=False)


def run_step(step: str, folder: Path) -> tuple[float, float]:
    """Run one step in this process; its highest resident memory in MiB, and its seconds."""
    from components.ingestion.step import ingest
    from components.preparation.step import prepare
    from components.validation.step import validate
    from osteon.params import DataParams, PreparationParams, ValidationParams

    films, manifest, trusted = folder / "films", folder / "manifest.parquet", folder / "trusted.parquet"
    start = time.perf_counter()
    if step == "ingest":
        ingest(films, manifest, DataParams())
    elif step == "validate":
        validate(films, manifest, trusted, folder / "report", ValidationParams())
    else:
        prepare(
            films, trusted, folder / "prepared", folder / "leaks", folder / "sides", PreparationParams(image_size=SIDE)
        )
    return peak_memory(), time.perf_counter() - start
