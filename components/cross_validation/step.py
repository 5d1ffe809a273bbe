"""Development films → out-of-fold scores of every model, and which is better."""

from pathlib import Path
from typing import Annotated

from components.contract import Input, Output, Summary
from components.params import ClassicalParams, CrossValidationParams, TrainingParams


class CrossValidationSummary(Summary):
    """How well films are told apart that a model has not learnt from."""

    films: int
    folds: int
    auroc: dict[str, float]
    best: str


def cross_validate(
    dataset: Annotated[Path, Input("prepared films")],
    augmented: Annotated[Path, Input("augmented copies and the limits of variation")],
    features: Annotated[Path, Input("features of films and copies")],
    best: Annotated[Path, Input("what the search found")],
    folds: Annotated[Path, Output("predictions.parquet, comparison and the folds' networks", "report")],
    params: CrossValidationParams,
    training: TrainingParams,
    classical: ClassicalParams,
) -> CrossValidationSummary:
    """Ask every model about each fold after it has learnt from the others; the test films are not read."""
    import dataclasses

    from components import tracking
    from components.cross_validation.collect import collect
    from components.films.folds import fold_numbers, rows_outside
    from components.models.backend import load_keras
    from components.models.searched import read_best

    load_keras()
    from components.cross_validation.fold import compute_fold
    from components.models.film_features import open_features
    from components.models.learn import open_learning_films, with_precision
    from components.outputs import whole_folder

    films, described, found = open_learning_films(dataset, augmented), open_features(features), read_best(best)
    films = dataclasses.replace(films, limits=found.over_augmentation(films.limits))
    numbers = fold_numbers(films.prepared.films)
    chosen = found.over_classical(classical)
    with whole_folder(folds, keep=True) as folder:
        learning = with_precision(
            films, rows_outside(films.prepared.films, numbers[0]), found.over_training(training)
        )
        for fold in numbers:
            with tracking.nested_run(f"fold {fold}"):
                info = compute_fold(
                    films, described, fold, folder / f"fold-{fold}", learning, chosen, params.models
                )
                tracking.log_metrics({f"seconds.{name}": value for name, value in info.seconds.items()})
        table = collect([folder / f"fold-{fold}" for fold in numbers], folder, params.confidence)
    return CrossValidationSummary(
        films=int(table.films),
        folds=len(numbers),
        auroc={one.model: one.auroc.value for one in table.models},
        best=table.best,
    )
