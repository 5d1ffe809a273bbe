"""Development films → out-of-fold scores of every model, and which ranks better."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import ClassicalParams, CrossValidationParams, TrainingParams

TABLE, PICTURE = "comparison.csv", "comparison.png"


class CrossValidationSummary(Summary):
    """How well the models rank held-out films; AUROC of all folds together."""

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
    from components.cross_validation.run import Sources, run_cross_validate

    sources = Sources(dataset, augmented, features, best)
    return run_cross_validate(sources, folds, report, params, training, classical)
