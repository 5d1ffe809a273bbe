"""Search: the same study of the network with pruning and without, on phantoms.

Both try the same number of values from the same seed, so they are the same for as long as they are drawn evenly. The
seconds are those of the whole step in a process of its own, TensorFlow's import and the pictures included; what is
saved is counted in epochs, for to build a network takes as long whether it is pruned or not.
"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.findings import Findings, Goal
from benchmarks.fresh_process import in_fresh_process

FILMS, TRIALS, EPOCHS = 240, 8, 18
QUICK_FILMS, QUICK_TRIALS, QUICK_EPOCHS = 120, 5, 9
SIDE, LEAST_SAVED, MOST_LOST = 96, 0.2, 0.02


class Measured(NamedTuple):
    """What search.json says of the network's study, and the step's seconds."""

    info: dict[str, Any]
    seconds: float


def measure(quick: bool) -> Findings:
    """Prepare once, search twice, compare."""
    films, trials, epochs = (QUICK_FILMS, QUICK_TRIALS, QUICK_EPOCHS) if quick else (FILMS, TRIALS, EPOCHS)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        learnt, heldout = in_fresh_process(prepare_films, folder, films)
        runs = {name: in_fresh_process(run, folder, name, trials, epochs) for name in ("with", "without")}
    pruned, whole = runs["with"], runs["without"]
    saved = 1 - pruned.info["done"] / whole.info["done"]
    lost = whole.info["auroc"] - pruned.info["auroc"]
    return Findings(
        n=f"{trials} trials of up to {epochs} epochs, {learnt} films of {SIDE} pixels to learn from, {heldout} to ask",
        columns=["pruning", "seconds", "epochs", "trials pruned", "best AUROC", "params.yaml's"],
        rows=[
            [
                name,
                f"{measured.seconds:.0f}",
                f"{measured.info['done']} of {measured.info['asked']}",
                str(measured.info["pruned"]),
                f"{measured.info['auroc']:.3f}",
                f"{measured.info['own_auroc']:.3f}",
            ]
            for name, measured in runs.items()
        ],
        goals=[
            Goal(f"≥ {LEAST_SAVED:.0%} of the epochs saved: {saved:.0%}", saved >= LEAST_SAVED),
            Goal(f"the best loses at most {MOST_LOST:g} of AUROC: {lost:+.3f}", lost <= MOST_LOST),
        ],
    )


def prepare_films(folder: Path, films: int) -> tuple[int, int]:
    """The steps before search; how many films a trial learns from, and how many it is asked about."""
    from components.augmentation.step import augment
    from components.features.step import features
    from components.ingestion.step import ingest
    from components.phantoms.step import phantoms
    from components.preparation.step import prepare
    from components.validation.step import validate
    from osteon.films.prepared.array import open_prepared
    from osteon.films.prepared.folds import rows_in, rows_outside
    from osteon.params import (
        AugmentationParams,
        DataParams,
        FeatureParams,
        PhantomParams,
        PreparationParams,
        ValidationParams,
    )

    source, manifest, trusted = folder / "phantoms", folder / "manifest.parquet", folder / "trusted.parquet"
    phantoms(source, folder / "phantoms.png", PhantomParams(films=films, size=128, fractured=0.5))
    ingest(source, manifest, DataParams())
    validate(source, manifest, trusted, folder / "report", ValidationParams())
    out = folder / "prepared", folder / "leaks", folder / "sides"
    prepare(source, trusted, *out, PreparationParams(image_size=SIDE, folds=3))
    augment(folder / "prepared", folder / "augmented", folder / "augmented.png", AugmentationParams())
    features(folder / "prepared", folder / "augmented", folder / "features", FeatureParams(image_size=SIDE))
    table = open_prepared(folder / "prepared").films
    return len(rows_outside(table, 0)), len(rows_in(table, 0))


def run(folder: Path, pruning: str, trials: int, epochs: int) -> Measured:
    """The step search, of the network alone."""
    from unittest.mock import patch

    import optuna

    from components.search import study
    from components.search.step import SEARCH, search
    from osteon.params import ClassicalParams, SearchParams, TrainingParams

    params = SearchParams(trials=trials, classical_trials=0, epochs=epochs)
    training = TrainingParams(width=8, precision="float32")
    chosen = study.pruner if pruning == "with" else lambda steps: optuna.pruners.NopPruner()  # noqa: ARG005
    best = folder / pruning
    start = time.perf_counter()
    with patch.object(study, "pruner", chosen):
        search(
            folder / "prepared", folder / "augmented", folder / "features", best, params, training, ClassicalParams()
        )
    (info,) = json.loads((best / SEARCH).read_text(encoding="utf-8"))
    return Measured(info, time.perf_counter() - start)
