"""Many films: speed and peak memory of every step with 1,000, 10,000 and 100,000 films of 224 pixels.

The films are phantoms, each drawn for itself: repeats of a few with noise would be near copies of each other, and
`prepare` rightly spends its time on finding that. Fewer films are the first of the many. A network is the smallest
(width 8) and learns for one epoch, of two folds in cross_validate, one after the other (side by side each needs as
much), and of all films in train; all other parameters are the defaults, at 224 pixels, classical models (which learn
from classical.max_films) included. Nothing is searched: a trial does what a fold does.

It takes hours. What was measured is kept beside the films, in build/volume, until the end: a benchmark that was stopped
begins again with the step it was in. Delete measured_… there if the code has changed since.

Each step runs in a process of its own and works in threads. Its memory is the highest that ever was resident at once
(VmHWM), libraries, mapped files and TensorFlow included. Its seconds are all of them, imports and compiling included.
Images are what it handles: all films; augment: the copies; features: both; cross_validate: films and copies that each
fold's network is shown, and the films that it is asked about; train: the films and copies of the epoch; evaluate: the
test films.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.findings import Findings, Goal
from benchmarks.fresh_process import in_fresh_process, peak_memory
from osteon.files import atomic_dir, atomic_file, remove

FILMS, QUICK_FILMS = (1_000, 10_000, 100_000), (200, 400, 800)
SIDE = 224
BUILD = Path(__file__).parents[1] / "build" / "volume"  # keeps the films: to draw them takes half an hour
MOST_MEMORY = 2048  # MiB
STEPS = ("ingest", "validate", "prepare", "augment", "features", "cross_validate", "train", "evaluate")


class Measured(NamedTuple):
    """One step: images it handled, seconds it took, MiB it had at most."""

    images: int
    seconds: float
    memory: float


def measure(quick: bool) -> Findings:
    """Every step with each number of films."""
    counts = QUICK_FILMS if quick else FILMS
    BUILD.mkdir(parents=True, exist_ok=True)
    phantoms = BUILD / f"{counts[-1]}_phantoms_of_{SIDE}_pixels"
    if not phantoms.is_dir():
        in_fresh_process(draw_phantoms, phantoms, counts[-1])
    kept = BUILD / f"measured_to_{counts[-1]}"
    groups = patients = 0
    for count in counts:
        folder = kept / str(count)
        for step in STEPS:
            if (folder / f"{step}.json").exists():
                continue
            if not (folder / "films").is_dir():
                in_fresh_process(take_first, phantoms, folder / "films", count)
            for begun in folder.glob(".*.partial"):
                remove(begun)  # or the step would go on there, and seem fast
            measured = in_fresh_process(run_step, step, folder)
            with atomic_file(folder / f"{step}.json") as file:
                file.write_text(json.dumps(measured))
        groups, patients = in_fresh_process(count_groups, folder / "prepared")
    made = {
        (step, count): Measured(*json.loads((kept / str(count) / f"{step}.json").read_text()))
        for step in STEPS
        for count in counts
    }
    size = sum(path.stat().st_size for path in (kept / str(counts[-1]) / "films").rglob("*.png"))
    shutil.rmtree(kept)
    peaks = {step: max(made[step, count].memory for count in counts) for step in STEPS}
    minutes = sum(made[step, counts[-1]].seconds for step in STEPS) / 60
    numbers = ", ".join(f"{count:,}" for count in counts)
    return Findings(
        n=f"{numbers} films of {SIDE} pixels, {size / counts[-1] / 1e3:.0f} kB each",
        columns=[
            "step",
            *(f"images/s, {count:,}" for count in counts),
            "power of growth",
            *(f"MiB, {count:,}" for count in counts),
        ],
        rows=[
            [
                step,
                *(f"{made[step, count].images / made[step, count].seconds:,.0f}" for count in counts),
                f"{power_of_growth(counts, [made[step, count].seconds for count in counts]):.2f}",
                *(f"{made[step, count].memory:,.0f}" for count in counts),
            ]
            for step in STEPS
        ],
        goals=[
            Goal(f"{step}: at most {MOST_MEMORY:,} MiB: {peaks[step]:,.0f}", peaks[step] <= MOST_MEMORY)
            for step in STEPS
        ],
        notes=[
            f"{counts[-1]:,} films took {minutes:.0f} minutes in all steps.",
            f"They lie in {groups:,} groups of {patients:,} patients.",
            "Power of growth: seconds grow as films to that power, 1 is twice the seconds for twice the films. Below "
            "1, what a step costs however few films there are (imports, compiling) still shows.",
        ],
    )


def power_of_growth(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log films, by least squares."""
    x, y = [math.log(count) for count in counts], [math.log(second) for second in seconds]
    middle = sum(x) / len(x)
    return sum((a - middle) * b for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def draw_phantoms(folder: Path, count: int) -> None:
    """All films."""
    from components.phantoms.step import phantoms
    from osteon.params import PhantomParams

    phantoms(folder, folder.with_suffix(".png"), PhantomParams(films=count, size=SIDE))


def take_first(phantoms: Path, folder: Path, count: int) -> None:
    """A folder with the first films and their manifest."""
    import pandas as pd

    rows = pd.read_csv(phantoms / "manifest.csv", nrows=count)
    with atomic_dir(folder) as taken:
        for parent in {(taken / path).parent for path in rows["path"]}:
            parent.mkdir(parents=True)
        for path in rows["path"]:
            os.link(phantoms / path, taken / path)
        rows.to_csv(taken / "manifest.csv", index=False)


def run_step(step: str, folder: Path) -> Measured:
    """Run one step in this process."""
    from components.augmentation.step import augment
    from components.cross_validation.step import cross_validate
    from components.evaluation.step import evaluate
    from components.features.step import features
    from components.ingestion.step import ingest
    from components.preparation.step import prepare
    from components.training.step import train
    from components.validation.step import validate
    from osteon.models.best_hyperparameters import BestHyperparameters, write_best_hyperparameters
    from osteon.models.heldout.predictions import read_folds
    from osteon.params import (
        AugmentationParams,
        CertaintyParams,
        ClassicalParams,
        CrossValidationParams,
        DataParams,
        EvaluationParams,
        FeatureParams,
        PackageParams,
        PreparationParams,
        TrainingParams,
        ValidationParams,
    )

    films, manifest, trusted = folder / "films", folder / "manifest.parquet", folder / "trusted.parquet"
    prepared, augmented, described = folder / "prepared", folder / "augmented", folder / "features"
    validation, leaks, best, folds, model = (folder / name for name in ("report", "leaks", "best", "folds", "model"))
    training = TrainingParams(width=8, epochs=1, patience=0)
    start = time.perf_counter()
    match step:
        case "ingest":
            images = ingest(films, manifest, DataParams()).films
        case "validate":
            images = validate(films, manifest, trusted, validation, ValidationParams()).films
        case "prepare":
            out = prepared, leaks, folder / "sides"
            images = prepare(films, trusted, *out, PreparationParams(image_size=SIDE, folds=2)).films
        case "augment":
            images = augment(
                prepared, augmented, folder / "copies.png", AugmentationParams(copies=1, copies_rarer=1)
            ).copies
        case "features":
            measured = features(prepared, augmented, described, FeatureParams())
            images = measured.films + measured.copies
        case "cross_validate":
            best.mkdir(exist_ok=True)
            write_best_hyperparameters(best, BestHyperparameters())
            comparison = folder / "comparison"
            given = (CrossValidationParams(at_once=1), training, ClassicalParams())
            predicted = cross_validate(prepared, augmented, described, best, folds, comparison, *given).films
            images = predicted + sum(fold.films + fold.copies for fold in read_folds(folds))
        case "train":
            params = (training, ClassicalParams(), PackageParams(), CertaintyParams(), ValidationParams())
            done = train(prepared, augmented, described, best, folds, model, *params)
            images = done.films + done.copies
        case _:
            report = folder / "evaluation"
            images = evaluate(model, prepared, best, folds, validation, leaks, report, EvaluationParams()).films
    return Measured(images, time.perf_counter() - start, peak_memory())


def count_groups(prepared: Path) -> tuple[int, int]:
    """Groups that were split, and patients."""
    import pandas as pd

    films = pd.read_parquet(prepared / "films.parquet", columns=["group", "patient_id"])
    return int(films["group"].nunique()), int(films["patient_id"].nunique())
