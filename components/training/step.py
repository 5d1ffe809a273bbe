"""Development films → the packaged model."""

from functools import partial
from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import CertaintyParams, ClassicalParams, PackageParams, TrainingParams, ValidationParams

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
    package: PackageParams,
    certainty: CertaintyParams,
    validation: ValidationParams,
) -> TrainingSummary:
    """Train and package the model on all development films, calibrated out of fold; the test films are not read."""
    import hashlib
    import logging
    import shutil
    from importlib import import_module
    from importlib.metadata import version

    import numpy as np
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    from osteon.films.prepared.folds import development_rows
    from osteon.films.reading.limits import FilmLimits
    from osteon.models.best_hyperparameters import read_best_hyperparameters
    from osteon.models.heldout.predictions import (
        EMBEDDINGS,
        FOLD,
        NETWORK,
        read_distances,
        read_folds,
        read_predictions,
    )
    from osteon.models.networks.backend import load_keras
    from osteon.records import runs
    from osteon.records.logged_model import log_model
    from osteon.statistics.calibration import fit_calibration
    from osteon.statistics.operating_points import find_operating_points, youden_threshold

    keras = load_keras()
    from osteon.files import atomic_dir, remove_all_but, remove_traces
    from osteon.models.classical.classifiers import fit_reduced, reduce_features, save_classical
    from osteon.models.classical.film_features import open_features
    from osteon.models.fitting.train_network import open_training_data, train_network
    from osteon.models.inference.onnx_network import export_network
    from osteon.models.inference.out_of_distribution import embeddings_of, save_embeddings, with_embedding
    from osteon.models.networks.network_files import save_network
    from osteon.models.package.package import (
        FILMS,
        INFO,
        PackageInfo,
        classical_file,
        embeddings_file,
        hashes_of,
        measure_parity,
        network_file,
        onnx_file,
    )

    found, computed, asked = read_best_hyperparameters(best), read_folds(folds), read_predictions(folds, package.model)
    films, described = open_training_data(dataset, augmented, params, found), open_features(features)
    rows = development_rows(films.prepared.films)
    learning = found.over_training(params).model_copy(update={"precision": computed[0].precision})
    others = found.over_classical(classical)

    labels, scores = asked["label"].to_numpy(np.int64), asked["score"].to_numpy(np.float64)
    calibration = fit_calibration(scores, labels, asked["fold"].to_numpy(np.int64), certainty.calibration)
    calibrated = calibration.apply(scores)
    points = find_operating_points(
        labels,
        calibrated,
        pd.factorize(asked["group"])[0].astype(np.int64),
        certainty.sensitivity,
        certainty.specificity,
        certainty.confidence,
    )

    limits = FilmLimits(**{name: getattr(validation, name) for name in FilmLimits.model_fields})
    made_from = (
        *(one.fingerprint.digest for one in computed),
        *(section.model_dump_json() for section in (learning, others, package, certainty, limits)),
        keras.backend.backend(),
    )
    epochs: list[int] = []
    names = [name for name in computed[0].models if package.model in (name, "soft_vote")]
    with atomic_dir(model, keep=True) as folder:
        checkpoint = folder / CHECKPOINT
        remove_all_but(folder, [CHECKPOINT])
        if package.model not in ("network", "soft_vote"):
            pass
        elif package.final == "ensemble":
            epochs = [one.epochs for one in computed]
            for number, one in enumerate(computed):
                computed_there = folds / FOLD.format(one.fold)
                shutil.copyfile(computed_there / NETWORK, folder / network_file(number))
                shutil.copyfile(computed_there / EMBEDDINGS, folder / embeddings_file(number))
        else:
            # All films learn, so none is left to decide when to stop: it stops where the folds did.
            found_epochs = round(float(np.mean([one.epochs for one in computed])))
            network, state = train_network(
                films,
                rows,
                learning,
                checkpoint,
                epochs=found_epochs,
                on_epoch=lambda epoch, entry: runs.log_metrics(entry, step=epoch + 1),
            )
            epochs = [state.epochs]
            state.write_history(folder / HISTORY)
            save_network(folder / network_file(0), network)
            seen = embeddings_of(with_embedding(network), films.prepared, rows, learning.seed)
            save_embeddings(folder / embeddings_file(0), seen)
        for number in range(len(epochs)):
            export_network(folder / network_file(number), folder / onnx_file(number))
        if names:
            learnt_from, taught, groups = films.described(described, rows, others)
            reduced = reduce_features(learnt_from, others)
            del learnt_from
        for name in names:
            save_classical(folder / classical_file(name), fit_reduced(name, reduced, taught, groups, others))
        films.prepared.films.iloc[rows][["film_id", "sha256", "md5"]].assign(role="train").to_csv(
            folder / FILMS, index=False, lineterminator="\n"
        )
        backend = keras.backend.backend()
        info = PackageInfo(
            finding=films.prepared.finding,
            model=package.model,
            network=learning.network,
            networks=len(epochs),
            classical=list(names),
            types=films.types if epochs else [],
            map_learnt=bool(epochs)
            and learning.map_weight > 0
            and bool(films.prepared.films["boxes"].iloc[rows].ne("[]").any()),
            image_size=films.prepared.side,
            feature_size=described.info.image_size,
            prevalence=float(films.labels(rows).mean()),
            calibration=calibration,
            points=points,
            threshold=youden_threshold(labels, calibrated),
            films=len(rows),
            copies=len(films.copies_of(rows)),
            epochs=epochs,
            out_of_fold_auroc=float(roc_auc_score(labels, scores)),
            fingerprint=hashlib.sha256("\n".join(made_from).encode()).hexdigest(),
            precision=learning.precision,
            backend=backend,
            # TensorFlow is asked itself: in an image its package is called tensorflow-cpu.
            versions={name: version(name) for name in ("keras", "scikit-learn", "onnxruntime")}
            | {backend: import_module(backend).__version__},
            regions=sorted(films.prepared.films["region"].iloc[rows].dropna().unique()),
            limits=limits,
            max_ood_distance=float(np.quantile(read_distances(folds), certainty.in_distribution_quantile))
            if epochs
            else None,
            parity=None,
            files=hashes_of(folder),
        )
        (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if epochs:
            info = info.model_copy(update={"parity": measure_parity(folder, films.prepared, rows, learning.seed)})
            (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if info.parity and not info.parity.kept:
            logging.getLogger(__name__).warning(
                "warning: the exported model predicts otherwise on %d of %d films (by %.2g at most); do not use it",
                info.parity.changed,
                info.parity.films,
                info.parity.largest,
            )
        remove_traces(checkpoint)
    runs.log_at_end(partial(log_model, model))
    return TrainingSummary(
        films=info.films,
        copies=info.copies,
        epochs=max(epochs, default=0),
        out_of_fold_auroc=info.out_of_fold_auroc,
        threshold=info.threshold,
        rule_out=points.rule_out.threshold,
        rule_in=points.rule_in.threshold,
    )
