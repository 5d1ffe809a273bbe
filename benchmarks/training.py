"""Training: a network learnt Osteon's way against the way notebooks do it, on the same films, machine and occasion.

Both see the same prepared films (the embedded ones, params.yaml's size), learn from the same folds, choose their best
epoch by the AUROC on the same fold and are scored once on the same test films. Osteon's way is what search,
cross_validate and train have in common (osteon/models/fitting/train_network.py), with the parameters of params.yaml;
what it costs to do that for several folds is in the benchmark pipeline.

The notebook's way: the films as PNG in a folder for each class, ImageDataGenerator.flow_from_directory with rescale,
shear, zoom and mirror, and four full-resolution 3×3 convolutions (stride 1, 32 to 256 channels), each with batch norm
and max pooling, then global average pooling, dense 128, dropout 0.5, sigmoid; Adam, binary cross-entropy, batches of
32. It is given what helps it: grey films instead of three equal channels, at least Osteon's wall time, and the weights
of its best epoch wherever that was.

Images/s: films shown in an epoch over its seconds of training, validation excluded; the median over the epochs,
the first (tracing) left out.
"""

import io
import time
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.findings import Findings, Goal
from benchmarks.fresh_process import in_fresh_process

PARAMS = Path(__file__).parents[1] / "params.yaml"
TIMES_AS_FAST, CONFIDENCE = 4.0, 0.95
FOLD = 0  # chooses the epoch
CLASSES = ["not_fractured", "fractured"]  # their numbers are 0 and 1


class Trained(NamedTuple):
    """How one of the two did: speed, seconds of everything from the first import to the last epoch, test scores."""

    images_per_second: float
    seconds: float
    epochs: int
    best_epoch: int
    labels: Any
    scores: Any


def measure(quick: bool) -> Findings:
    """Prepare once, train both, compare."""
    from osteon.statistics.auroc import delong
    from osteon.statistics.estimate import shown

    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        films = in_fresh_process(prepare_films, folder, quick)
        ours = in_fresh_process(train_osteon, folder, quick)
        theirs = in_fresh_process(train_notebook, folder, ours.seconds)
    rows: list[list[str]] = []
    aurocs: list[float] = []
    for name, trained in (("Osteon", ours), ("notebook", theirs)):
        auroc = delong(trained.labels, trained.scores, CONFIDENCE)
        if auroc.value is None:
            raise ValueError("the test films are of one class: draw more")
        aurocs.append(auroc.value)
        rows.append(
            [
                name,
                f"{trained.images_per_second:.0f}",
                shown(auroc),
                f"{trained.epochs} ({trained.best_epoch})",
                f"{trained.seconds:.0f}",
            ]
        )
    ratio = ours.images_per_second / theirs.images_per_second
    return Findings(
        n=films,
        columns=["", "images/s", "test AUROC [95 %]", "epochs (best)", "seconds"],
        rows=rows,
        goals=[
            Goal(f"≥ {TIMES_AS_FAST:g} × as many images/s: {ratio:.1f} ×", ratio >= TIMES_AS_FAST),
            Goal(f"at equal or better test AUROC: {aurocs[0]:.3f} and {aurocs[1]:.3f}", aurocs[0] >= aurocs[1]),
        ],
    )


def prepare_films(folder: Path, quick: bool) -> str:
    """The steps before train, and the prepared films as PNG folders; what there is, in words."""
    from components.augmentation.step import augment
    from components.ingestion.step import ingest
    from components.phantoms.step import phantoms
    from components.preparation.step import prepare
    from components.validation.step import validate
    from osteon.films.prepared.array import open_prepared
    from osteon.params import load_params

    params = load_params(PARAMS)
    made = params.phantoms.model_copy(update={"films": 120} if quick else {})
    source, manifest, trusted = folder / "phantoms", folder / "manifest.parquet", folder / "trusted.parquet"
    phantoms(source, folder / "phantoms.png", made)
    ingest(source, manifest, params.data)
    validate(source, manifest, trusted, folder / "report", params.validation)
    prepare(source, trusted, folder / "prepared", folder / "leaks", folder / "sides", params.preparation)
    augment(folder / "prepared", folder / "augmented", folder / "augmented.png", params.augmentation)
    prepared = open_prepared(folder / "prepared")
    learnt, validated, tested = (
        write_png_folder(folder / "png" / part, prepared, chosen) for part, chosen in rows_of(prepared).items()
    )
    return (
        f"{learnt} embedded films of {prepared.side} × {prepared.side} pixels to learn from, {validated} to validate, "
        f"{tested} to test"
    )


def rows_of(prepared: Any) -> dict[str, Any]:
    """Row numbers of the films to learn from, to choose the epoch by and to test on."""
    import numpy as np

    from osteon.films.prepared.folds import rows_in, rows_outside

    films = prepared.films
    test = np.flatnonzero(films["test"].to_numpy(bool))
    return {"train": rows_outside(films, FOLD), "validation": rows_in(films, FOLD), "test": test}


def write_png_folder(folder: Path, prepared: Any, rows: Any) -> int:
    """Films as PNG, a folder for each class; how many."""
    import cv2

    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for row in rows:
        name = CLASSES[int(prepared.films["label"].iloc[row])]
        cv2.imwrite(str(folder / name / f"{row:05}.png"), prepared.pixels[row])
    return len(rows)


def train_osteon(folder: Path, quick: bool) -> Trained:
    """One network with the default parameters."""
    import statistics

    start = time.perf_counter()
    from osteon.models.networks.backend import load_keras

    load_keras()
    from osteon.models.best_hyperparameters import BestHyperparameters
    from osteon.models.fitting.train_network import open_training_data, train_network, with_precision
    from osteon.models.inference.predict import logits_with_flip_tta
    from osteon.params import load_params

    params = load_params(PARAMS).training
    if quick:
        params = params.model_copy(update={"epochs": 4})
    films = open_training_data(folder / "prepared", folder / "augmented", params, BestHyperparameters())
    rows = rows_of(films.prepared)
    params = with_precision(films, rows["train"], params)
    network, state = train_network(films, rows["train"], params, folder / "checkpoint", rows["validation"])
    seconds = time.perf_counter() - start
    return Trained(
        images_per_second=statistics.median(entry["films_per_second"] for entry in state.history[1:]),
        seconds=seconds,
        epochs=state.epochs,
        best_epoch=state.kept_epoch() + 1,
        labels=films.labels(rows["test"]),
        scores=logits_with_flip_tta(network, films.prepared.pixels[rows["test"]]),
    )


def train_notebook(folder: Path, least_seconds: float) -> Trained:
    """The notebook's way on the PNG folders, for at least so many seconds."""
    import statistics

    from osteon.models.networks.backend import load_keras
    from osteon.params import load_params

    keras = load_keras()
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    params = load_params(PARAMS)
    side = params.preparation.image_size
    keras.utils.set_random_seed(params.training.seed)

    def flow(part: str, shuffle: bool, **variation: Any) -> Any:
        with redirect_stdout(io.StringIO()):  # it says how many it found
            return ImageDataGenerator(rescale=1 / 255, **variation).flow_from_directory(
                folder / "png" / part,
                target_size=(side, side),
                color_mode="grayscale",
                classes=CLASSES,
                class_mode="binary",
                batch_size=32,
                shuffle=shuffle,
                seed=params.training.seed,
            )

    class Clock(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        """Times the training part of each epoch, and stops when time is up."""

        speeds: list[float]

        def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
            self.start, self.speeds = time.perf_counter(), []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.begun = time.perf_counter()

        def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
            self.speeds.append(learning.samples / (time.perf_counter() - self.begun))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.seconds = time.perf_counter() - self.start
            self.model.stop_training = self.seconds >= least_seconds and len(self.speeds) > 1

    learning = flow("train", True, shear_range=0.2, zoom_range=0.2, horizontal_flip=True)
    network = notebook_network(keras, side)
    network.compile("adam", loss="binary_crossentropy", metrics=[keras.metrics.AUC(num_thresholds=1000, name="auroc")])
    clock = Clock()
    # Stops nothing, for Clock decides that; keeps the best epoch's weights.
    best = keras.callbacks.EarlyStopping("val_auroc", mode="max", patience=100_000, restore_best_weights=True)
    network.fit(learning, validation_data=flow("validation", False), epochs=100_000, callbacks=[clock, best], verbose=0)
    test = flow("test", False)
    return Trained(
        images_per_second=statistics.median(clock.speeds[1:]),
        seconds=clock.seconds,
        epochs=len(clock.speeds),
        best_epoch=best.best_epoch + 1,
        labels=test.classes,
        scores=network.predict(test, verbose=0)[:, 0],
    )


def notebook_network(keras: Any, side: int) -> Any:
    """Four full-resolution convolutions, as the field's notebooks have them."""
    layers = keras.layers
    blocks = [
        layer
        for channels in (32, 64, 128, 256)
        for layer in (
            layers.Conv2D(channels, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
        )
    ]
    return keras.Sequential(
        [
            keras.Input((side, side, 1)),
            *blocks,
            layers.GlobalAveragePooling2D(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
