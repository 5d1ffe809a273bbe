"""Fitting a network: AdamW with warm-up and cosine, averaged weights, early stopping on films set aside, resumable."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from osteon.models.fitting.batches import FilmBatches, TrainingBatches
from osteon.models.fitting.checkpoint import TrainingState, Weights, restore_checkpoint, save_checkpoint
from osteon.models.fitting.fused_normalisation import training_copy
from osteon.models.fitting.one_vector_adamw import adamw, averaged_weights
from osteon.models.networks.devices import distribution
from osteon.models.networks.quiet_keras import keras
from osteon.models.networks.stages import freeze_body, freeze_stages, rate_shares
from osteon.models.networks.starting_weights import load_starting_weights
from osteon.params import TrainingParams

log = logging.getLogger(__name__)

# A cell with a break weighs as much as twenty without: three to five cells in a hundred of a fractured film have one.
CELL_WEIGHT = 20.0
MAP_SCALE = 10.0


def map_loss(place: Any, logits: Any) -> Any:
    """Weighted cross-entropy of the map's cells, one value a film.

    Args:
        place: batch × h × w × 1, 1 where a box is.
        logits: the same shape.

    """
    # log(1 + e^z) − z·t, written so that large z do not overflow.
    entropy = keras.ops.log1p(keras.ops.exp(-keras.ops.abs(logits))) + keras.ops.relu(logits) - logits * place
    return MAP_SCALE * keras.ops.mean(entropy * (1.0 + (CELL_WEIGHT - 1.0) * place), axis=(1, 2, 3))


class WarmUpAndCosine(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """The rate at a step: from 1/20 up in a line, then by half a cosine down to 1/100.

    Keras' CosineDecay does the same with a branch. The weight decay of every variable asks for the rate, and a branch
    for each of them took more than a second to compile, for every network of every fold and trial.
    """

    def __init__(self, highest: float, rising: int, falling: int) -> None:
        """Rise for so many steps (0: begin at the highest), then fall for so many."""
        self.highest, self.rising, self.falling = highest, rising, falling

    def __call__(self, step: Any) -> Any:
        """The rate, for the number of steps done."""
        step = keras.ops.cast(step, "float32")
        fallen = keras.ops.clip((step - self.rising) / self.falling, 0.0, 1.0)
        fall = 0.01 + 0.99 * (1 + keras.ops.cos(math.pi * fallen)) / 2
        return self.highest * (keras.ops.minimum(fall, 0.05 + 0.95 * step / self.rising) if self.rising else fall)

    def get_config(self) -> dict[str, Any]:
        """What it is made from."""
        return {"highest": self.highest, "rising": self.rising, "falling": self.falling}


def compile_network(network: Any, params: TrainingParams, steps_per_epoch: int) -> None:
    """Give a network its losses and optimiser, and freeze the stages that are not trained.

    A network that starts from weights is trained at a share of the rate.
    """
    freeze_stages(network, params.frozen_stages)
    rising = round(params.warmup_epochs * steps_per_epoch)
    falling = max(params.epochs * steps_per_epoch - rising, 1)
    highest = params.learning_rate * (params.fine_tuning if params.weights else 1)
    shares = rate_shares(network, params.layer_decay) if params.layer_decay < 1 else []
    _compile(network, params, WarmUpAndCosine(highest, rising, falling), average=params.ema > 0, shares=shares)


def _compile(network: Any, params: TrainingParams, rate: Any, *, average: bool, shares: Sequence[float] = ()) -> None:
    # Focal (Lin et al. 2017, arXiv 1708.02002): a film's cross-entropy times (1 − p of what it is) to the exponent.
    kind = keras.losses.BinaryFocalCrossentropy if params.focal else keras.losses.BinaryCrossentropy
    exponent = {"gamma": params.focal} if params.focal else {}
    losses = {
        "finding": kind(from_logits=True, label_smoothing=params.label_smoothing, **exponent),
        "map": map_loss,
        "type": keras.losses.CategoricalCrossentropy(from_logits=True),
    }
    loss_weights = {"finding": 1.0, "map": params.map_weight, "type": params.type_weight}
    network.compile(
        adamw(rate, params.weight_decay, params.ema if average else None, shares),
        loss={name: losses[name] for name in network.output},
        loss_weights={name: loss_weights[name] for name in network.output},
        weighted_metrics={"finding": [keras.metrics.AUC(num_thresholds=1000, from_logits=True, name="auroc")]},
        jit_compile=keras.backend.backend() == "jax",  # XLA made every step slower on a CPU under TensorFlow
    )


def _make_variables(network: Any, training: TrainingBatches) -> None:
    """Make the variables of optimiser, losses and metrics. TensorFlow compiles a step twice that makes them itself.

    They depend on the shapes alone: answers of zeros save compiling a step that measures.
    """
    network.optimizer.build(network.trainable_variables)
    films, targets, weights = training[0]
    answers = {name: keras.ops.zeros((len(films), *output.shape[1:])) for name, output in network.output.items()}
    network.compute_loss(films, targets, answers, weights)
    network.compute_metrics(films, targets, answers, weights)
    network.reset_metrics()


def _start_from_weights(network: Any, training: TrainingBatches, params: TrainingParams) -> None:
    """Load the file's weights, then train the heads alone, so that their first errors do not spoil the body."""
    load_starting_weights(network, params.weights)
    if params.head_epochs:
        freeze_body(network)
        _compile(network, params, params.learning_rate, average=False)
        network.fit(training, epochs=params.head_epochs, shuffle=False, verbose=0)
        training.epoch = -1


class _EpochEnd(keras.callbacks.Callback):  # type: ignore[misc]
    """Asks the averaged weights, keeps those worth keeping, writes the checkpoint, says a line, stops early."""

    def __init__(
        self,
        checkpoint: Path,
        state: TrainingState,
        kept: Weights,
        params: TrainingParams,
        films: int,
        on_epoch: Callable[[int, dict[str, float]], None],
    ) -> None:
        super().__init__()
        self.checkpoint, self.state, self.kept = checkpoint, state, kept
        self.training, self.films, self.on_epoch_done = params, films, on_epoch
        self.started = self.trained = 0.0
        self.plain: Weights = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self.started, self.trained = time.perf_counter(), 0.0

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self.trained = time.perf_counter()
        self.plain = self.model.get_weights()
        self.model.set_weights(averaged_weights(self.model))

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        auroc = float((logs or {})["finding_auroc"])
        if not self.state.stopping or all(auroc > epoch["watched_auroc"] for epoch in self.state.history):
            self.kept = self.model.get_weights()
        self.model.set_weights(self.plain)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        validated = "val_finding_auroc" in logs
        entry = {
            "loss": float(logs["loss"]),
            "finding_loss": float(logs["finding_loss"]),
            "map_loss": float(logs["map_loss"]),
            "auroc": float(logs["finding_auroc"]),
            "films_per_second": self.films / ((self.trained or time.perf_counter()) - self.started),
        }
        if validated:
            entry["watched_auroc"] = float(logs["val_finding_auroc"])
        else:
            self.kept = averaged_weights(self.model)
        self.state.history.append(entry)
        save_checkpoint(self.checkpoint, self.model, self.kept, self.state)
        log.info(
            "epoch %*d of %d · loss %.3f · AUROC %.3f%s · %.0f images/s",
            len(str(self.params["epochs"])),
            epoch + 1,
            self.params["epochs"],
            entry["loss"],
            entry["auroc"],
            f", on validation films {entry['watched_auroc']:.3f}" if validated else "",
            entry["films_per_second"],
        )
        self.on_epoch_done(epoch, entry)
        if self.state.stopping and self.state.epochs_since_best() >= self.training.patience:
            log.info("stopped: no better AUROC in %d epochs", self.training.patience)
            self.model.stop_training = True


def fit(
    build: Callable[[], Any],
    training: TrainingBatches,
    validation: FilmBatches | None,
    params: TrainingParams,
    state: TrainingState,
    checkpoint: Path,
    epochs: int | None = None,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, entry: None,  # noqa: ARG005
) -> tuple[Any, TrainingState]:
    """Train a network, or continue where an interrupted call left it.

    Args:
        build: makes the network, untrained.
        training: batches of training films.
        validation: batches to measure each epoch on, if any; with state.stopping they decide when to stop and which
            epoch is kept.
        params: how.
        state: of a new training, or what `checkpoint` says of an interrupted one.
        checkpoint: folder that is written each epoch.
        epochs: stop after so many, on the way that the learning rate takes in params.epochs; None: all.
        on_epoch: called with each epoch's figures; what it raises ends the training.

    Returns:
        The network with the weights that are kept, and the history.

    """
    keras.utils.set_random_seed(params.seed)
    keras.mixed_precision.set_dtype_policy(state.precision)
    last = min(epochs or params.epochs, params.epochs)
    with distribution():
        network = training_copy(build(), frozen_statistics=params.frozen_statistics)
        if params.weights and not state.epochs:
            _start_from_weights(network, training, params)
        compile_network(network, params, len(training))
        _make_variables(network, training)
        kept: Weights = restore_checkpoint(checkpoint, network) if state.epochs else network.get_weights()
    if state.epochs:
        training.epoch = state.epochs - 1
        log.info("continuing after epoch %d", state.epochs)
    stopped = state.epochs and state.stopping and state.epochs_since_best() >= params.patience
    if state.epochs < last and not stopped:
        end = _EpochEnd(checkpoint, state, kept, params, len(training) * params.batch_size, on_epoch)
        network.fit(
            training,
            validation_data=validation,
            initial_epoch=state.epochs,
            epochs=last,
            callbacks=[end],
            shuffle=False,  # the batches are in random order already, one that does not depend on the past
            verbose=0,
        )
        kept = end.kept
    trained = build()  # on one device, whatever it was trained on
    trained.set_weights(kept)
    return trained, state


def choose_precision(build: Callable[[], Any], batches: TrainingBatches, params: TrainingParams) -> str:
    """Time a few steps in float32 and in mixed_bfloat16; float32 unless the other takes at most three quarters.

    Which is faster depends on the processor: one with AVX-512-BF16 or a GPU gains, others lose. A clear margin is
    asked for so that two runs on one machine choose the same and end with the same weights.
    """
    if params.precision != "auto":
        return params.precision
    seconds = {}
    probe = [batches[number] for number in range(min(4, len(batches)))]
    for precision in ("float32", "mixed_bfloat16"):
        keras.mixed_precision.set_dtype_policy(precision)
        network = training_copy(build(), frozen_statistics=params.frozen_statistics)
        compile_network(network, params, len(batches))
        _make_variables(network, batches)
        network.train_on_batch(*probe[0])
        times = []
        for number in range(12):
            start = time.perf_counter()
            network.train_on_batch(*probe[number % len(probe)])
            times.append(time.perf_counter() - start)
        seconds[precision] = min(times)  # of the machine; what takes longer was disturbed by something else
    chosen = "mixed_bfloat16" if seconds["mixed_bfloat16"] < 0.75 * seconds["float32"] else "float32"
    log.info(
        "precision %s (a step: float32 %.0f ms, mixed_bfloat16 %.0f ms)",
        chosen,
        1e3 * seconds["float32"],
        1e3 * seconds["mixed_bfloat16"],
    )
    return chosen
