"""Development films → out-of-fold scores of every model, and which ranks better."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import ClassicalParams, CrossValidationParams, TrainingParams

TABLE, PICTURE = "comparison.csv", "comparison.png"


class CrossValidationSummary(Summary):
    """How well films are ranked that a model has not learnt from; AUROC of all folds together."""

    films: int
    folds: int
    auroc: dict[str, float]


def cross_validate(
    dataset: Annotated[Path, Input("prepared films")],
    augmented: Annotated[Path, Input("augmented copies and the limits of variation")],
    features: Annotated[Path, Input("features of films and copies")],
    best: Annotated[Path, Input("what the search found")],
    folds: Annotated[Path, Output("predictions.parquet, and a folder a fold with its network")],
    report: Annotated[Path, Output("the comparison as table and picture", "report")],
    params: CrossValidationParams,
    training: TrainingParams,
    classical: ClassicalParams,
) -> CrossValidationSummary:
    """Train every model on all folds but one and predict that one; the test films are not read."""
    import pandas as pd

    from components.cross_validation.side_by_side import (
        FoldWork,
        compute_in_turn,
        compute_side_by_side,
        prepare_processes,
        processes,
    )
    from osteon.films.prepared.folds import fold_numbers, rows_outside
    from osteon.models.best_hyperparameters import read_best_hyperparameters
    from osteon.models.heldout.comparison import COMPARISON, compare
    from osteon.models.networks.backend import load_keras

    # Of folds there are two at least; whether there is a GPU, Keras says when it is loaded.
    if processes(params.at_once, 2, gpu=False) > 1:
        prepare_processes()
    load_keras()
    from components.cross_validation.table import draw, table_of
    from osteon.files import atomic_dir, remove_all_but
    from osteon.models.classical.film_features import open_features
    from osteon.models.fitting.train_network import open_training_data, with_precision
    from osteon.models.heldout.predictions import FOLD, PREDICTIONS
    from osteon.models.networks.devices import gpus

    described, found = open_features(features), read_best_hyperparameters(best)
    films = open_training_data(dataset, augmented, training, found)
    numbers, others = fold_numbers(films.prepared.films), found.over_classical(classical)
    with atomic_dir(folds, keep=True) as folder:
        remove_all_but(folder, [FOLD.format(fold) for fold in numbers])  # an interrupted call may have had other folds
        rows = rows_outside(films.prepared.films, numbers[0])
        learning = with_precision(films, rows, found.over_training(training))
        at_once = processes(params.at_once, len(numbers), gpu=gpus() > 0)
        work = FoldWork(dataset, augmented, features, best, folder, learning, others, params.models)
        computed = (
            compute_side_by_side(work, numbers, at_once)
            if at_once > 1
            else compute_in_turn(work, numbers, films, described)
        )
        predictions = pd.concat(
            [pd.read_parquet(folder / FOLD.format(fold) / PREDICTIONS) for fold in numbers], ignore_index=True
        )
        seconds = {name: sum(one.seconds[name] for one in computed) for name in computed[0].seconds}
        comparison = compare(predictions, seconds, params.confidence)
        predictions.to_parquet(folder / PREDICTIONS, index=False)
        (folder / COMPARISON).write_text(comparison.model_dump_json(indent=2) + "\n", encoding="utf-8")
    with atomic_dir(report) as folder:
        table_of(comparison).to_csv(folder / TABLE, index=False, float_format="%.6f", lineterminator="\n")
        draw(comparison, folder / PICTURE)
    return CrossValidationSummary(
        films=comparison.films,
        folds=comparison.folds,
        auroc={one.model: one.auroc.pooled.value or float("nan") for one in comparison.models},
    )
