"""Train the final model, calibrate it on out-of-fold scores, export it, and write the package."""

import hashlib
import logging
import shutil
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from components.training.step import TrainingSummary
from osteon.files import atomic_dir, remove_all_but, remove_traces
from osteon.films.manifest import text_to_boxes
from osteon.films.prepared.array import shown_sizes
from osteon.films.prepared.folds import Rows, development_rows, rows_in
from osteon.films.reading.limits import FilmLimits
from osteon.models.best_hyperparameters import read_best_hyperparameters
from osteon.models.classical.classifiers import fit_reduced, reduce_features, save_classical
from osteon.models.classical.film_features import FilmFeatures, open_features
from osteon.models.fitting.train_network import TrainingData, open_training_data, train_network
from osteon.models.heldout.predictions import (
    EMBEDDINGS,
    FOLD,
    NETWORK,
    FoldInfo,
    read_distances,
    read_folds,
    read_maps,
    read_predictions,
)
from osteon.models.inference.boxes import BoxRule, choose_rule
from osteon.models.inference.onnx_network import export_network
from osteon.models.inference.out_of_distribution import embeddings_of, save_embeddings, with_embedding
from osteon.models.networks.backend import load_keras
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
from osteon.params import (
    CertaintyParams,
    ClassicalName,
    ClassicalParams,
    PackageParams,
    TrainingParams,
    ValidationParams,
)
from osteon.records import runs
from osteon.records.logged_model import log_model
from osteon.statistics.calibration import Calibration, fit_calibration
from osteon.statistics.operating_points import OperatingPoints
from osteon.statistics.point_search import find_operating_points, youden_threshold

log = logging.getLogger(__name__)

HISTORY, CHECKPOINT = "history.csv", "checkpoint"


@dataclass(frozen=True)
class Sources:
    """What the step reads; as its arguments of these names."""

    dataset: Path
    augmented: Path
    features: Path
    best: Path
    folds: Path


@dataclass(frozen=True)
class Design:
    """What is trained, and on what. rows: of the development films. names: of the classical models in the package."""

    films: TrainingData
    described: FilmFeatures
    rows: Rows
    training: TrainingParams
    classical: ClassicalParams
    package: PackageParams
    folds: list[FoldInfo]
    names: list[ClassicalName]


@dataclass(frozen=True)
class Calibrated:
    """What out-of-fold scores of models like the packaged one give it."""

    calibration: Calibration
    points: OperatingPoints
    threshold: float
    auroc: float


def run_train(
    sources: Sources,
    model: Path,
    params: TrainingParams,
    classical: ClassicalParams,
    package: PackageParams,
    certainty: CertaintyParams,
    validation: ValidationParams,
) -> TrainingSummary:
    """Make the packaged model; arguments as of the step `train`."""
    keras = load_keras()
    design = _design(sources, params, classical, package)
    calibrated = _calibrate(read_predictions(sources.folds, package.model), certainty)
    limits = FilmLimits(**{name: getattr(validation, name) for name in FilmLimits.model_fields})
    backend = keras.backend.backend()
    made_from = (
        *(fold.fingerprint.digest for fold in design.folds),
        *(s.model_dump_json() for s in (design.training, design.classical, package, certainty, limits)),
        backend,
    )
    with atomic_dir(model, keep=True) as folder:
        checkpoint = folder / CHECKPOINT
        remove_all_but(folder, [CHECKPOINT])
        epochs = _place_networks(folder, checkpoint, sources.folds, design)
        _fit_classical(folder, design)
        design.films.prepared.films.iloc[design.rows][["film_id", "sha256", "md5"]].assign(role="train").to_csv(
            folder / FILMS, index=False, lineterminator="\n"
        )
        max_ood_distance = None
        if epochs:
            max_ood_distance = float(np.quantile(read_distances(sources.folds), certainty.in_distribution_quantile))
        info = _info(design, calibrated, epochs, limits, max_ood_distance).model_copy(
            update={
                "boxes": _box_rule(sources.folds, design) if epochs else None,
                "fingerprint": hashlib.sha256("\n".join(made_from).encode()).hexdigest(),
                "backend": backend,
                # TensorFlow is asked itself: in an image its package is called tensorflow-cpu.
                "versions": {name: version(name) for name in ("keras", "scikit-learn", "onnxruntime")}
                | {backend: import_module(backend).__version__},
                "files": hashes_of(folder),
            }
        )
        info = _write_info(folder, info, design)
        remove_traces(checkpoint)
    runs.log_at_end(partial(log_model, model))
    return TrainingSummary(
        films=info.films,
        copies=info.copies,
        epochs=max(epochs, default=0),
        out_of_fold_auroc=info.out_of_fold_auroc,
        threshold=info.threshold,
        rule_out=calibrated.points.rule_out.threshold,
        rule_in=calibrated.points.rule_in.threshold,
    )


def _design(sources: Sources, params: TrainingParams, classical: ClassicalParams, package: PackageParams) -> Design:
    """The best hyperparameters over those of params.yaml, in the precision of the folds."""
    best, folds = read_best_hyperparameters(sources.best), read_folds(sources.folds)
    films = open_training_data(sources.dataset, sources.augmented, params, best)
    return Design(
        films=films,
        described=open_features(sources.features),
        rows=development_rows(films.prepared.films),
        training=best.over_training(params).model_copy(update={"precision": folds[0].precision}),
        classical=best.over_classical(classical),
        package=package,
        folds=folds,
        names=[name for name in folds[0].models if package.model in (name, "soft_vote")],
    )


def _calibrate(predictions: pd.DataFrame, certainty: CertaintyParams) -> Calibrated:
    """Fit calibration, operating points and threshold.

    Args:
        predictions: out-of-fold scores, one row a film: group, label, fold, score.
        certainty: the targets.

    """
    labels, scores = predictions["label"].to_numpy(np.int64), predictions["score"].to_numpy(np.float64)
    calibration = fit_calibration(scores, labels, predictions["fold"].to_numpy(np.int64), certainty.calibration)
    probabilities = calibration.apply(scores)
    points = find_operating_points(
        labels,
        probabilities,
        pd.factorize(predictions["group"])[0].astype(np.int64),
        certainty.sensitivity,
        certainty.specificity,
        certainty.confidence,
    )
    threshold = youden_threshold(labels, probabilities)
    return Calibrated(calibration, points, threshold, float(roc_auc_score(labels, scores)))


def _box_rule(folds: Path, design: Design) -> BoxRule | None:
    """How maps become boxes, chosen on the maps of held-out films; None where no box has taught them.

    A fractured film without a box is left out: which of its boxes are false is not known.
    """
    prepared = design.films.prepared
    if not design.films.learns_map(design.training):
        return None
    numbers = [fold.fold for fold in design.folds]
    rows = np.concatenate([rows_in(prepared.films, number) for number in numbers])
    heldout = prepared.films.iloc[rows]
    known = (heldout["label"].eq(0) | heldout["boxes"].ne("[]")).to_numpy(bool)
    return choose_rule(
        read_maps(folds, numbers)[known],
        [text_to_boxes(text) for text in heldout["boxes"][known]],
        shown_sizes(heldout[known]),
        prepared.side,
    )


def _place_networks(folder: Path, checkpoint: Path, folds: Path, design: Design) -> list[int]:
    """Put the networks of the model into the package, as trained and exported; the epochs of each."""
    if design.package.model not in ("network", "soft_vote"):
        return []
    if design.package.final == "ensemble":
        epochs = _copy_folds_networks(folder, folds, design.folds)
    else:
        epochs = [_train_final_network(folder, checkpoint, design)]
    for number in range(len(epochs)):
        export_network(folder / network_file(number), folder / onnx_file(number))
    return epochs


def _copy_folds_networks(folder: Path, folds: Path, computed: list[FoldInfo]) -> list[int]:
    for number, fold in enumerate(computed):
        source = folds / FOLD.format(fold.fold)
        shutil.copyfile(source / NETWORK, folder / network_file(number))
        shutil.copyfile(source / EMBEDDINGS, folder / embeddings_file(number))
    return [fold.epochs for fold in computed]


def _train_final_network(folder: Path, checkpoint: Path, design: Design) -> int:
    """Train on all development films; the epochs.

    None of them is left to decide when to stop: training stops where the folds' networks did, on average.
    """
    films = design.films
    network, state = train_network(
        films,
        design.rows,
        design.training,
        checkpoint,
        epochs=round(float(np.mean([fold.epochs for fold in design.folds]))),
        on_epoch=lambda epoch, entry: runs.log_metrics(entry, step=epoch + 1),
    )
    state.write_history(folder / HISTORY)
    save_network(folder / network_file(0), network)
    embeddings = embeddings_of(with_embedding(network), films.prepared, design.rows, design.training.seed)
    save_embeddings(folder / embeddings_file(0), embeddings)
    return state.epochs


def _fit_classical(folder: Path, design: Design) -> None:
    """Fit the classical models of the package on all development films and their copies."""
    if not design.names:
        return
    features, labels, groups = design.films.described(design.described, design.rows, design.classical)
    reduced = reduce_features(features, design.classical)
    del features  # they may be large, and only the reduced ones are needed from here on
    for name in design.names:
        save_classical(folder / classical_file(name), fit_reduced(name, reduced, labels, groups, design.classical))


def _info(
    design: Design,
    calibrated: Calibrated,
    epochs: list[int],
    limits: FilmLimits,
    max_ood_distance: float | None,
) -> PackageInfo:
    """What the package says of itself, but for what it was made from and its files."""
    films, rows = design.films, design.rows
    depths = films.prepared.films["depth"].dropna()
    return PackageInfo(
        finding=films.prepared.finding,
        model=design.package.model,
        network=design.training.network,
        networks=len(epochs),
        classical=list(design.names),
        types=films.types if epochs else [],
        map_learnt=bool(epochs) and films.learns_map(design.training),
        image_size=films.prepared.side,
        feature_size=design.described.info.image_size,
        prevalence=float(films.labels(rows).mean()),
        calibration=calibrated.calibration,
        points=calibrated.points,
        threshold=calibrated.threshold,
        films=len(rows),
        copies=len(films.copies_of(rows)),
        epochs=epochs,
        out_of_fold_auroc=calibrated.auroc,
        fingerprint="",
        precision=design.training.precision,
        backend="",
        versions={},
        regions=sorted(films.prepared.films["region"].iloc[rows].dropna().unique()),
        limits=limits,
        max_ood_distance=max_ood_distance,
        parity=None,
        files={},
        depth=int(depths.max()) if len(depths) else None,
    )


def _write_info(folder: Path, info: PackageInfo, design: Design) -> PackageInfo:
    """Write what the package says of itself; measure how the exported networks differ from those that were trained."""
    (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if info.networks:
        parity = measure_parity(folder, design.films.prepared, design.rows, design.training.seed)
        info = info.model_copy(update={"parity": parity})
        (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if info.parity and not info.parity.kept:
        log.warning(
            "warning: the exported model predicts otherwise on %d of %d films (by %.2g at most); do not use it",
            info.parity.changed,
            info.parity.films,
            info.parity.largest,
        )
    return info
