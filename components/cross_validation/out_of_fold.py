"""Every model's scores of held-out films, fold by fold, and how the models compare."""

from pathlib import Path

import pandas as pd

from components.cross_validation.side_by_side import (
    FoldWork,
    Sources,
    compute_in_turn,
    compute_side_by_side,
    processes,
)
from components.cross_validation.step import PICTURE, TABLE, CrossValidationSummary
from components.cross_validation.table import draw, table_of
from osteon.files import atomic_dir, remove_all_but
from osteon.films.prepared.folds import fold_numbers, rows_outside
from osteon.models.best_hyperparameters import read_best_hyperparameters
from osteon.models.classical.film_features import open_features
from osteon.models.fitting.train_network import open_training_data, with_precision
from osteon.models.heldout.comparison import COMPARISON, compare
from osteon.models.heldout.predictions import FOLD, PREDICTIONS
from osteon.models.networks.backend import load_keras
from osteon.models.networks.devices import gpus
from osteon.params import ClassicalParams, CrossValidationParams, TrainingParams


def cross_validate_models(
    sources: Sources,
    folds: Path,
    report: Path,
    params: CrossValidationParams,
    training: TrainingParams,
    classical: ClassicalParams,
) -> CrossValidationSummary:
    """Cross-validate every model; arguments as of the step `cross_validate`."""
    load_keras()
    features, best = open_features(sources.features), read_best_hyperparameters(sources.best)
    films = open_training_data(sources.dataset, sources.augmented, training, best)
    numbers = fold_numbers(films.prepared.films)
    with atomic_dir(folds, keep=True) as folder:
        remove_all_but(folder, [FOLD.format(fold) for fold in numbers])  # an interrupted call may have had other folds
        rows = rows_outside(films.prepared.films, numbers[0])
        work = FoldWork(
            sources=sources,
            folder=folder,
            training=with_precision(films, rows, best.over_training(training)),
            classical=best.over_classical(classical),
            models=params.models,
        )
        at_once = processes(params.at_once, len(numbers), gpu=gpus() > 0)
        computed = (
            compute_side_by_side(work, numbers, at_once)
            if at_once > 1
            else compute_in_turn(work, numbers, films, features)
        )
        predictions = pd.concat(
            [pd.read_parquet(folder / FOLD.format(fold) / PREDICTIONS) for fold in numbers], ignore_index=True
        )
        seconds = {name: sum(fold.seconds[name] for fold in computed) for name in computed[0].seconds}
        comparison = compare(predictions, seconds, params.confidence)
        predictions.to_parquet(folder / PREDICTIONS, index=False)
        (folder / COMPARISON).write_text(comparison.model_dump_json(indent=2) + "\n", encoding="utf-8")
    with atomic_dir(report) as folder:
        table_of(comparison).to_csv(folder / TABLE, index=False, float_format="%.6f", lineterminator="\n")
        draw(comparison, folder / PICTURE)
    return CrossValidationSummary(
        films=comparison.films,
        folds=comparison.folds,
        auroc={row.model: row.auroc.pooled.value or float("nan") for row in comparison.models},
    )
