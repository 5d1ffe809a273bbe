"""A network trained on some of the development films: what search, cross_validate and train have in common."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.errors import OsteonError
from osteon.files import dvc_hash, remove_traces
from osteon.films.prepared.array import PreparedFilms, open_prepared
from osteon.films.prepared.folds import Rows, copies_of, development_rows
from osteon.fingerprint import Fingerprint, fingerprint
from osteon.models.best_hyperparameters import BestHyperparameters
from osteon.models.classical.film_features import FilmFeatures
from osteon.models.fitting.batches import FilmBatches, TrainingBatches, types_to_learn
from osteon.models.fitting.checkpoint import TrainingState, read_state
from osteon.models.fitting.fit import choose_precision, fit
from osteon.models.networks.architectures import build_network
from osteon.models.networks.devices import describe_devices
from osteon.models.networks.quiet_keras import keras
from osteon.params import AugmentationParams, ClassicalParams, TrainingParams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """The films, their augmented copies, and how they may be varied while they are shown."""

    prepared: PreparedFilms
    copies: PreparedFilms
    limits: AugmentationParams
    types: list[str]  # of fractures, that the network is trained to distinguish
    fingerprint: str  # of both folders

    def build(self, params: TrainingParams) -> Any:
        """The network for these films, untrained."""
        return build_network(self.prepared.side, params, self.types)

    def batches(self, rows: Rows, params: TrainingParams) -> TrainingBatches:
        """Batches of some of the films and of their copies."""
        return TrainingBatches(
            [(self.prepared, rows), (self.copies, self.copies_of(rows))],
            params.batch_size,
            self.limits if self.limits.online else None,
            params.seed,
            types=self.types,
        )

    def copies_of(self, rows: Rows) -> Rows:
        """Rows of the copies of some of the films."""
        return copies_of(self.prepared.films, rows, self.copies.films)

    def learns_map(self, params: TrainingParams) -> bool:
        """Whether boxes teach a network of these parameters where the finding is."""
        learnt = self.prepared.films["boxes"].iloc[development_rows(self.prepared.films)]
        return params.map_weight > 0 and bool(learnt.ne("[]").any())

    def labels(self, rows: Rows) -> NDArray[np.int64]:
        """0 or 1 of some of the films."""
        return self.prepared.films["label"].to_numpy(np.int64)[rows]

    def described(
        self, features: FilmFeatures, rows: Rows, params: ClassicalParams
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], Any]:
        """Features, labels and groups of some of the films and of their copies, to fit a classical model on.

        Of more than params.max_films some are drawn, before any is read: all would not fit into memory.
        """
        copies = self.copies_of(rows)
        tables = [self.prepared.films.iloc[rows], self.copies.films.iloc[copies]]
        labels = np.concatenate([table["label"].to_numpy(np.int64) for table in tables])
        groups = np.concatenate([table["group"].to_numpy(object) for table in tables])
        taken = np.arange(len(labels))
        if len(taken) > params.max_films:
            taken = np.sort(np.random.default_rng(params.seed).choice(taken, params.max_films, replace=False))
        of_films, of_copies = taken[taken < len(rows)], taken[taken >= len(rows)] - len(rows)
        taken_features = np.concatenate([features.films[rows[of_films]], features.copies[copies[of_copies]]])
        return taken_features, labels[taken], groups[taken]


def open_training_data(
    dataset: Path, augmented: Path, params: TrainingParams, best: BestHyperparameters
) -> TrainingData:
    """Open what prepare and augment wrote.

    Args:
        dataset: prepared films.
        augmented: their copies, and the limits of variation.
        params: task is read.
        best: what the search found for the limits.

    Raises:
        OsteonError: missing, or of different sizes, or without types where the task needs them.

    """
    prepared, copies = open_prepared(dataset), open_prepared(augmented)
    if prepared.side != copies.side:
        raise OsteonError(f"{dataset} has films of {prepared.side} pixels, {augmented} of {copies.side}; run augment")
    try:
        limits = AugmentationParams.model_validate_json((augmented / "augmentation.json").read_bytes())
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise OsteonError(f"{augmented}: no limits of variation ({reason}); run the step augment again") from None
    learnt = prepared.films.iloc[development_rows(prepared.films)]
    log.info(
        "%s · %d films and %d copies of %d×%d pixels",
        describe_devices(),
        len(learnt),
        len(copies.films),
        prepared.side,
        prepared.side,
    )
    return TrainingData(
        prepared,
        copies,
        best.over_augmentation(limits),
        types_to_learn(learnt) if params.task == "fracture_type" else [],
        f"{dvc_hash(dataset)} {dvc_hash(augmented)}",
    )


def with_precision(films: TrainingData, rows: Rows, params: TrainingParams) -> TrainingParams:
    """The parameters with 'auto' replaced by the faster precision on this machine."""
    if params.precision != "auto":
        return params
    chosen = choose_precision(lambda: films.build(params), films.batches(rows, params), params)
    return params.model_copy(update={"precision": chosen})


def train_network(
    films: TrainingData,
    rows: Rows,
    params: TrainingParams,
    checkpoint: Path,
    validation_rows: Rows | None = None,
    epochs: int | None = None,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, entry: None,  # noqa: ARG005
) -> tuple[Any, TrainingState]:
    """Train a network on some of the films, or continue where an interrupted call left it.

    Args:
        films: all.
        rows: of the training films; their copies too.
        params: how; precision is chosen already.
        checkpoint: folder to write each epoch; the caller's to delete when it has put the network away.
        validation_rows: rows to measure each epoch on. With params.patience they decide when to stop and which epoch is
            kept; with a patience of 0 the last is kept whatever they say.
        epochs: stop after so many; None: params.epochs.
        on_epoch: called with each epoch's number (from 0) and figures, those of an interrupted call first; what it
            raises ends the training.

    Returns:
        The network and its history.

    """
    batches = films.batches(rows, params)
    validation = (
        FilmBatches(films.prepared, validation_rows, types=films.types) if validation_rows is not None else None
    )
    made_from = _fingerprint(films, rows, validation_rows, params, epochs)
    state = read_state(checkpoint, made_from)
    if state is None:
        remove_traces(checkpoint)  # of other films or parameters
        stopping = validation_rows is not None and params.patience > 0
        state = TrainingState(fingerprint=made_from, precision=params.precision, stopping=stopping)
    for epoch, entry in enumerate(state.history):  # of an interrupted call; this one's listener has not heard of them
        on_epoch(epoch, entry)
    return fit(lambda: films.build(params), batches, validation, params, state, checkpoint, epochs, on_epoch)


def _fingerprint(
    films: TrainingData, rows: Rows, validation_rows: Rows | None, params: TrainingParams, epochs: int | None
) -> Fingerprint:
    """What a checkpoint must have been made from to be continued."""
    return fingerprint(
        __name__,
        data={
            "films": films.fingerprint,
            "training rows": hashlib.sha256(rows.tobytes()).hexdigest(),
            "validation rows": "" if validation_rows is None else hashlib.sha256(validation_rows.tobytes()).hexdigest(),
            "weights": weights_hash(params),
        },
        parameters={"augmentation": films.limits, "training": params, "types": films.types, "epochs": epochs},
        backend=keras.backend.backend(),
    )


def weights_hash(params: TrainingParams) -> str:
    """Hash of the file with the weights to start from; empty where there is none, and for ImageNet's, which stay."""
    return dvc_hash(Path(params.weights)) if Path(params.weights).is_file() else ""
