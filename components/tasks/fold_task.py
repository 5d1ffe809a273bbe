"""One fold as a step of its own, for a cluster that computes folds side by side, and their collection."""

import shutil
from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Step, Summary, describe
from osteon.errors import OsteonError
from osteon.params import ClassicalParams, CrossValidationParams, TrainingParams


class FoldSummary(Summary):
    """What one fold was computed from."""

    films: int
    copies: int
    epochs: int


def one_fold(number: int) -> Step:
    """The step that computes one fold: what cross_validate does for each."""

    def cross_validate_fold(
        dataset: Annotated[Path, Input("prepared films")],
        augmented: Annotated[Path, Input("augmented copies and the limits of variation")],
        features: Annotated[Path, Input("features of films and copies")],
        best: Annotated[Path, Input("what the search found")],
        fold: Annotated[Path, Output("the fold's folder, for cross_validate to go on with")],
        params: CrossValidationParams,
        training: TrainingParams,
        classical: ClassicalParams,
    ) -> FoldSummary:
        """Train every model on all folds but one, and predict that one."""
        from osteon.models.best_hyperparameters import read_best_hyperparameters
        from osteon.models.networks.backend import load_keras
        from osteon.records import runs

        load_keras()
        from osteon.models.classical.film_features import open_features
        from osteon.models.fitting.train_network import open_training_data
        from osteon.models.heldout.fold import compute_fold

        best_values = read_best_hyperparameters(best)
        learning = best_values.over_training(training)
        if learning.precision == "auto":
            raise OsteonError(
                "training.precision: auto would be chosen by each fold separately; name a precision where "
                "each fold is a task"
            )
        info = compute_fold(
            open_training_data(dataset, augmented, training, best_values),
            open_features(features),
            number,
            fold,
            learning,
            best_values.over_classical(classical),
            params.models,
            on_epoch=lambda epoch, entry: runs.log_metrics(entry, step=epoch + 1),
        )
        return FoldSummary(films=info.films, copies=info.copies, epochs=info.epochs)

    return describe(cross_validate_fold)


def lay_folds(folds: Path, computed: list[Path]) -> None:
    """Lay folds that one_fold has computed where cross_validate goes on with them.

    Raises:
        OsteonError: one is damaged.

    """
    from osteon.files import damage_of, partial_path, remove
    from osteon.models.heldout.predictions import FOLD, INFO, FoldInfo

    partial = partial_path(folds)
    remove(partial)
    for path in computed:
        if damage := damage_of(path):
            raise OsteonError(f"{path}: no whole fold there ({damage}); compute it again")
        try:
            info = FoldInfo.model_validate_json((path / INFO).read_bytes())
        except (OSError, ValueError) as error:
            raise OsteonError(f"{path}: no fold there ({str(error).splitlines()[0]}); compute it again") from None
        shutil.copytree(path, partial / FOLD.format(info.fold))
