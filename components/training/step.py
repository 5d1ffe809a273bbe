"""Development films → the packaged model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from components.contract import Input, Output, Summary
from components.errors import OsteonError
from components.params import TrainingParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from components.films.prepared import PreparedFilms
    from components.models.package import PackageInfo
    from components.models.batches import FilmBatches
    from components.models.checkpoint import TrainingState

HISTORY = "history.csv"


class TrainingSummary(Summary):
    """How the training went."""

    films: int
    copies: int
    epochs: int
    best_epoch: int
    validation_auroc: float
    images_per_second: float


def train(
    dataset: Annotated[Path, Input("prepared films")],
    augmented: Annotated[Path, Input("augmented copies and the limits of variation")],
    model: Annotated[Path, Output("the packaged model", "model")],
    params: TrainingParams,
) -> TrainingSummary:
    """Train the network on the development films; one fold decides when to stop, the test films are not read."""
    import statistics

    from components import tracking
    from components.films.prepared import open_prepared
    from components.models.backend import load_keras

    load_keras()
    from components.models.networks import build_network
    from components.models.package import FILMS, save_package
    from components.outputs import remove_traces, whole_folder
    from components.params import AugmentationParams
    from components.models.batches import FilmBatches, TrainingBatches
    from components.models.checkpoint import TrainingState, read_state
    from components.models.devices import describe_devices
    from components.models.fit import choose_precision, fit, log

    prepared, copies = open_prepared(dataset), open_prepared(augmented)
    limits = AugmentationParams.model_validate_json((augmented / "augmentation.json").read_text(encoding="utf-8"))
    rows, copy_rows = _rows(prepared, params, validation=False), _rows(copies, params, validation=False)
    batches = TrainingBatches(
        [(prepared, rows), (copies, copy_rows)],
        params.batch_size,
        limits if limits.online else None,
        params.seed,
    )
    validation = FilmBatches(prepared, _rows(prepared, params, validation=True))
    log.info(
        "%s · %d films and %d copies of %d×%d pixels · %d films of fold %d to validate on",
        describe_devices(),
        len(rows),
        len(copy_rows),
        prepared.side,
        prepared.side,
        len(validation.rows),
        params.validation_fold,
    )

    def build() -> object:
        return build_network(prepared.side, params)

    fingerprint = _fingerprint(dataset, augmented, params)
    with whole_folder(model, keep=True) as folder:
        checkpoint = folder / "checkpoint"
        state = read_state(checkpoint, fingerprint)
        if state is None:
            remove_traces(checkpoint)  # of other films or parameters
            state = TrainingState(fingerprint=fingerprint, precision=choose_precision(build, batches, params))
        network, state = fit(
            build,
            batches,
            validation,
            params,
            state,
            checkpoint,
            on_epoch=lambda epoch, entry: tracking.log_metrics(entry, step=epoch + 1),
        )
        _write_history(state, folder / HISTORY)
        _write_films(prepared, rows, validation.rows, folder / FILMS)
        info = _describe(network, prepared, rows, copy_rows, validation, params, state)
        save_package(folder, network, info)
        remove_traces(checkpoint)
    return TrainingSummary(
        films=len(rows),
        copies=len(copy_rows),
        epochs=state.epochs,
        best_epoch=state.best_epoch() + 1,
        validation_auroc=info.validation_auroc,
        images_per_second=statistics.median(epoch["films_per_second"] for epoch in state.history),
    )


def _rows(prepared: "PreparedFilms", params: TrainingParams, *, validation: bool) -> "NDArray[np.int64]":
    """Rows of the validation fold, or of all other development folds. Never a test film."""
    import numpy as np

    films = prepared.films
    if films["test"].any() and (films["fold"].notna() & films["test"]).any():
        raise OsteonError("a test film has a fold; run the step prepare again")
    in_fold = (films["fold"] == params.validation_fold).fillna(False).to_numpy(bool)
    development = ~films["test"].to_numpy(bool)
    return np.flatnonzero(development & (in_fold if validation else ~in_fold))


def _fingerprint(dataset: Path, augmented: Path, params: TrainingParams) -> str:
    """What a checkpoint must have been made from to be continued."""
    import hashlib

    import keras

    from components.outputs import dvc_hash

    parts = (dvc_hash(dataset), dvc_hash(augmented), params.model_dump_json(), keras.backend.backend())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _write_history(state: "TrainingState", path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(state.history)
    frame.insert(0, "epoch", range(1, len(frame) + 1))
    # Speed differs from run to run; everything else here is the training's.
    frame.drop(columns="films_per_second").to_csv(path, index=False, lineterminator="\n")


def _write_films(
    prepared: "PreparedFilms", rows: "NDArray[np.int64]", validation: "NDArray[np.int64]", path: Path
) -> None:
    """Which films made the model: what to answer when a patient withdraws consent. Copies are copies of these."""
    import pandas as pd

    films = prepared.films[["film_id", "sha256", "md5"]]
    seen = [films.iloc[rows].assign(role="train"), films.iloc[validation].assign(role="validation")]
    pd.concat(seen).to_csv(path, index=False, lineterminator="\n")


def _describe(
    network: Any,
    prepared: "PreparedFilms",
    rows: "NDArray[np.int64]",
    copy_rows: "NDArray[np.int64]",
    validation: "FilmBatches",
    params: TrainingParams,
    state: "TrainingState",
) -> "PackageInfo":
    """What the package says of itself; its threshold is set on the validation fold."""
    from importlib.metadata import version

    import keras
    import numpy as np

    from components.models.package import PackageInfo, logits_of, probabilities_of

    prevalence = float(prepared.films["label"].to_numpy(float)[rows].mean())
    logits = np.concatenate([logits_of(network, squares) for squares in prepared.blocks(validation.rows)])
    scores = probabilities_of(logits, prevalence)
    backend = keras.backend.backend()
    return PackageInfo(
        finding=prepared.finding,
        network=params.network,
        image_size=prepared.side,
        threshold=youden_threshold(validation.labels, scores),
        prevalence=prevalence,
        films=len(rows),
        copies=len(copy_rows),
        epochs=state.epochs,
        best_epoch=state.best_epoch() + 1,
        validation_fold=params.validation_fold,
        validation_auroc=state.history[state.best_epoch()]["val_auroc"],
        fingerprint=state.fingerprint,
        precision=state.precision,
        backend=backend,
        versions={name: version(name) for name in ("keras", backend)},
    )


def youden_threshold(labels: "NDArray[np.float32]", scores: "NDArray[np.float64]") -> float:
    """The threshold with the largest sensitivity + specificity − 1 (Youden 1950, Cancer 3).

    Args:
        labels: 0 or 1, both present.
        scores: higher for 1.

    Returns:
        A score t such that 'score ≥ t' is the answer 1; one of the scores, even where none is better than chance.

    """
    import numpy as np
    from sklearn.metrics import roc_curve

    false, true, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    # scikit-learn's first threshold, infinity, is the answer 0 for every film; a package could not store it.
    return float(thresholds[1 + int(np.argmax((true - false)[1:]))])
