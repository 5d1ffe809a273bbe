"""One fold: every model is trained on the other folds' films and predicts this one's. One unit of work."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.files import atomic_dir, damage_of, remove_traces, write_checksums
from osteon.films.prepared.folds import rows_in, rows_outside, set_aside
from osteon.fingerprint import Fingerprint, fingerprint
from osteon.models.classical.classifiers import fit_reduced, probabilities, reduce_features, soft_vote
from osteon.models.classical.film_features import FilmFeatures
from osteon.models.fitting.train_network import TrainingData, train_network, weights_hash
from osteon.models.heldout.predictions import DISTANCES, EMBEDDINGS, HISTORY, INFO, MAPS, NETWORK, PREDICTIONS, FoldInfo
from osteon.models.inference.out_of_distribution import EMBEDDING, embeddings_of, save_embeddings, with_embedding
from osteon.models.inference.predict import predict_with_flip_tta
from osteon.models.networks.network_files import save_network
from osteon.models.networks.quiet_keras import keras
from osteon.params import ClassicalName, ClassicalParams, TrainingParams
from osteon.statistics.calibration import probabilities_of

log = logging.getLogger(__name__)


def compute_fold(
    films: TrainingData,
    features: FilmFeatures,
    fold: int,
    folder: Path,
    training: TrainingParams,
    classical: ClassicalParams,
    models: list[ClassicalName],
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, entry: None,  # noqa: ARG005
) -> FoldInfo:
    """Compute one fold into a folder, or go on where an interrupted call left it; nothing where it is there already.

    Args:
        films: films and copies.
        features: of both.
        fold: number of the held-out fold; no model is trained on a film of it or on a copy of one.
        folder: gets the network, its history, the scores of every model and the films behind them.
        training: of the network; precision is chosen already.
        classical: of the other models.
        models: which of them.
        on_epoch: called with each epoch's number (from 0) and figures.

    """
    made_from = _fingerprint(films, features, fold, training, classical, models)
    if (done := _read(folder, made_from)) is not None:
        log.info("computed already")
        return done
    table = films.prepared.films
    heldout_rows, train_rows = rows_in(table, fold), rows_outside(table, fold)
    prevalence = float(films.labels(train_rows).mean())
    seconds: dict[str, float] = {}
    with atomic_dir(folder, keep=True) as partial:
        start = time.perf_counter()
        learning, stopping = train_rows, None
        if training.patience:
            learning, stopping = set_aside(table, train_rows, training.stopping_share, training.seed + fold)
        log.info("%d training films, %d held out", len(learning), len(heldout_rows))
        checkpoint = partial / "checkpoint"
        network, state = train_network(films, learning, training, checkpoint, stopping, on_epoch=on_epoch)
        seeing = with_embedding(network)
        embeddings = embeddings_of(seeing, films.prepared, learning, training.seed)
        logits, distances, maps = [], [], []
        for squares in films.prepared.blocks(heldout_rows):
            seen = predict_with_flip_tta(seeing, squares, ["finding", EMBEDDING, "map"])
            logits.append(seen["finding"])
            distances.append(embeddings.distances(seen[EMBEDDING]))
            maps.append(seen["map"].astype(np.float16))
        scores = {"network": probabilities_of(np.concatenate(logits), float(films.labels(learning).mean()))}
        save_network(partial / NETWORK, network)
        save_embeddings(partial / EMBEDDINGS, embeddings)
        np.save(partial / DISTANCES, np.concatenate(distances))
        if films.learns_map(training):
            np.save(partial / MAPS, np.concatenate(maps))
        seconds["network"] = time.perf_counter() - start
        del network, seeing
        keras.utils.clear_session()  # else it stays in memory beside the other models, and the next fold's beside it

        start = time.perf_counter()
        if models:
            learnt, labels, groups = films.described(features, train_rows, classical)
            reduced = reduce_features(learnt, classical)
            del learnt  # of 20,000 films and copies 180 MB
        for name in models:
            estimator = fit_reduced(name, reduced, labels, groups, classical)
            scores[name] = np.concatenate(
                [probabilities(estimator, described, prevalence) for described in features.blocks(heldout_rows)]
            )
            seconds[name] = time.perf_counter() - start  # the first one's with what all of them share
            start = time.perf_counter()
        if models:
            scores["soft_vote"] = soft_vote(scores)

        _scores_table(table, heldout_rows, fold, scores).to_parquet(partial / PREDICTIONS, index=False)
        state.write_history(partial / HISTORY)
        remove_traces(checkpoint)
        info = FoldInfo(
            fold=fold,
            fingerprint=made_from,
            models=models,
            films=len(learning),
            copies=len(films.copies_of(learning)),
            set_aside=0 if stopping is None else len(stopping),
            epochs=state.kept_epoch() + 1,
            precision=state.precision,
            seconds=seconds,
        )
        (partial / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        write_checksums(partial)
    return info


def _scores_table(films: "pd.DataFrame", rows: NDArray[np.int64], fold: int, scores: dict[str, Any]) -> "pd.DataFrame":
    """One row a film and model: film_id, group, label, fold, model, score."""
    heldout = films.iloc[rows][["film_id", "group", "label"]].assign(fold=fold)
    return pd.concat([heldout.assign(model=name, score=score) for name, score in scores.items()], ignore_index=True)


def _read(folder: Path, made_from: Fingerprint) -> FoldInfo | None:
    """A fold that was computed from the same, if there is one. What changed, or is damaged, is logged."""
    if not folder.exists():
        return None
    if damage := damage_of(folder):
        log.warning("%s is damaged (%s) and is computed anew", folder.name, damage)
        return None
    try:
        info = FoldInfo.model_validate_json((folder / INFO).read_bytes())
    except ValueError:  # of another version
        return None
    if info.fingerprint != made_from:
        log.info("fold %d begins anew: %s", info.fold, made_from.changes(info.fingerprint))
        return None
    return info


def _fingerprint(
    films: TrainingData,
    features: FilmFeatures,
    fold: int,
    training: TrainingParams,
    classical: ClassicalParams,
    models: list[ClassicalName],
) -> Fingerprint:
    """Of all that a fold is computed from."""
    return fingerprint(
        __name__,
        data={
            "films": films.fingerprint,
            "features": features.info.model_dump_json(),
            "weights": weights_hash(training),
        },
        parameters={
            "augmentation": films.limits,
            "types": films.types,
            "fold": fold,
            "training": training,
            "classical": classical,
            "models": models,
        },
        backend=keras.backend.backend(),
    )
