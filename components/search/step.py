"""Search space → the best values found, measured on folds of the development films."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import ClassicalParams, SearchParams, TrainingParams

TRIALS, SEARCH, PLOTS = "trials.csv", "search.json", "plots"
STUDY, CHECKPOINTS = "study.db", "trials"  # while it runs


class SearchSummary(Summary):
    """What was tried, what pruning saved of it, and the AUROC of the best, mean over the folds."""

    trials: int
    pruned: int
    epochs: int
    epochs_saved: int
    auroc: dict[str, float]


def search(
    dataset: Annotated[Path, Input("prepared films")],
    augmented: Annotated[Path, Input("augmented copies and the limits of variation")],
    features: Annotated[Path, Input("features of films and copies")],
    best: Annotated[Path, Output("best.yaml, trials.csv and plots", "report")],
    params: SearchParams,
    training: TrainingParams,
    classical: ClassicalParams,
) -> SearchSummary:
    """Search for hyperparameters that rank held-out films better; the test films are not read."""
    from components.search.run import run_search

    return run_search(dataset, augmented, features, best, params, training, classical)
