"""Development films → the packaged model."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import CertaintyParams, ClassicalParams, PackageParams, TrainingParams, ValidationParams


class TrainingSummary(Summary):
    """What was packaged, and what may be expected of it."""

    films: int
    copies: int
    epochs: int
    out_of_fold_auroc: float
    threshold: float
    rule_out: float
    rule_in: float


def train(
    dataset: Annotated[Path, Input("prepared films")],
    augmented: Annotated[Path, Input("augmented copies and the limits of variation")],
    features: Annotated[Path, Input("features of films and copies")],
    best: Annotated[Path, Input("what the search found")],
    folds: Annotated[Path, Input("out-of-fold scores and the folds' networks")],
    model: Annotated[Path, Output("the packaged model", "model")],
    params: TrainingParams,
    classical: ClassicalParams,
    package: PackageParams,
    certainty: CertaintyParams,
    validation: ValidationParams,
) -> TrainingSummary:
    """Train and package the model on all development films, calibrated out of fold; the test films are not read."""
    from components.training.run import Sources, run_train

    sources = Sources(dataset, augmented, features, best, folds)
    return run_train(sources, model, params, classical, package, certainty, validation)
