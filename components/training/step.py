"""Development films → the packaged model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from components.contract import Input, Output, Summary
from components.params import CertaintyParams, ClassicalParams, TrainingParams

if TYPE_CHECKING:
    from components.films.folds import Rows
    from components.films.prepared import PreparedFilms

HISTORY, CHECKPOINT = "history.csv", "checkpoint"


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
    certainty: CertaintyParams,
) -> TrainingSummary:
    """Make the model from all development films; out-of-fold scores calibrate it. The test films are not read."""
    import dataclasses
    import shutil

    import numpy as np
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    from components import tracking
    from components.films.folds import development_rows
    from components.models.backend import load_keras
    from components.models.calibration import fit_calibration
    from components.models.operating_points import operating_points, youden_threshold
    from components.models.searched import read_best

    load_keras()
    from components.models.classical import fit_classical, save_classical
    from components.models.film_features import open_features
    from components.models.folds import FOLD, NETWORK, read_folds, read_predictions
    from components.models.learn import learn, open_learning_films
    from components.models.package import FILMS, classical_file, describe_package, members_of, network_file
    from components.models.package import save_network, write_info
    from components.outputs import remove_traces, whole_folder

    films, found = open_learning_films(dataset, augmented), read_best(best)
    films = dataclasses.replace(films, limits=found.over_augmentation(films.limits))
    computed, asked = read_folds(folds), read_predictions(folds, params.model)
    labels, fold = asked["label"].to_numpy(np.int64), asked["fold"].to_numpy(np.int64)
    scores = asked["score"].to_numpy(np.float64)
    calibration = fit_calibration(scores, labels, fold, certainty.calibration)
    calibrated = calibration.apply(scores)
    groups = pd.factorize(asked["group"])[0].astype(np.int64)
    points = operating_points(labels, calibrated, groups, certainty)

    rows = development_rows(films.prepared.films)
    with_network, names = members_of(params.model, computed[0].models)
    epochs: list[int] = []
    with whole_folder(model, keep=True) as folder:
        checkpoint = folder / CHECKPOINT
        if with_network and params.final == "ensemble":
            epochs = [one.epochs for one in computed]
            for number, one in enumerate(computed):
                shutil.copyfile(folds / FOLD.format(one.fold) / NETWORK, folder / network_file(number))
        elif with_network:
            # All films learn, so none is left to decide when to stop: it stops where the folds did.
            epochs = [round(float(np.mean([one.epochs for one in computed])))]
            learning = found.over_training(params).model_copy(update={"precision": computed[0].precision})
            network, state = learn(
                films,
                rows,
                learning,
                checkpoint,
                epochs=epochs[0],
                on_epoch=lambda epoch, entry: tracking.log_metrics(entry, step=epoch + 1),
            )
            state.write_history(folder / HISTORY)
            save_network(folder / network_file(0), network)
        described = open_features(features)
        learnt_prevalence = ...
        for name in names:
            learnt, of_learnt, in_groups = films.described(described, rows)
            estimator = fit_classical(name, learnt, of_learnt, in_groups, found.over_classical(classical))
            save_classical(folder / classical_file(name), estimator)
        films.prepared.films.iloc[rows][["film_id", "sha256", "md5"]].assign(role="train").to_csv(
            folder / FILMS, index=False, lineterminator="\n"
        )
