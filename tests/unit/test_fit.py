"""Loss, fitting, checkpoints: one small training each."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from osteon.films.prepared.array import PreparedFilms, open_prepared
from osteon.films.prepared.folds import rows_in, rows_outside
from osteon.fingerprint import Fingerprint
from osteon.models.networks.backend import load_keras
from osteon.params import AugmentationParams, TrainingParams
from tests.conftest import Pipeline
from tests.tiny_network import tiny_network

keras = load_keras()

from osteon.models.fitting.batches import FilmBatches, TrainingBatches, map_of  # noqa: E402
from osteon.models.fitting.checkpoint import TrainingState, read_state, save_checkpoint  # noqa: E402
from osteon.models.fitting.fit import WarmUpAndCosine, choose_precision, compile_network, fit, map_loss  # noqa: E402
from osteon.models.networks.architectures import build_network  # noqa: E402
from osteon.models.networks.starting_weights import body_layers, head_layers  # noqa: E402

SMALL = TrainingParams(
    width=8, epochs=3, patience=25, batch_size=8, learning_rate=3e-3, warmup_epochs=0.5, precision="float32", ema=0.9
)


def films_named(name: str) -> Fingerprint:
    return Fingerprint(data={"films": name})


# One worker makes the whole training for the tests that look at it.
beside_the_whole = pytest.mark.xdist_group("whole training")


@pytest.fixture
def prepared(pipeline: Pipeline) -> PreparedFilms:
    return open_prepared(pipeline.dataset)


def batches_of(
    prepared: PreparedFilms,
    augmentation: AugmentationParams | None = None,
    first_epoch: int = 0,
    params: TrainingParams = SMALL,
) -> TrainingBatches:
    rows = rows_outside(prepared.films, 0)
    return TrainingBatches([(prepared, rows)], params.batch_size, augmentation, params.seed, first_epoch)


# ---------------------------------------------------------------- losses and threshold


def test_the_map_loss_by_hand() -> None:
    """Two cells, logits 0 and 2, the first with a break: 10 · (20·ln 2 + ln(1 + e²)) / 2."""
    place = np.array([[[[1.0]], [[0.0]]]], np.float32)
    logits = np.array([[[[0.0]], [[2.0]]]], np.float32)
    expected = 10 * (20 * np.log(2) + np.log(1 + np.exp(2))) / 2
    assert float(map_loss(place, logits)[0]) == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(np.asarray(map_loss(place, logits * 1e4))).all()


@pytest.mark.parametrize("focal", [0.0, 2.0])
def test_the_loss_of_the_finding_by_hand(focal: float) -> None:
    """Cross-entropy of a fractured and an unfractured film, each times (1 − p of what it is) to the exponent."""
    params = SMALL.model_copy(update={"focal": focal, "label_smoothing": 0.0, "map_weight": 0.0, "dropout": 0.0})
    network = tiny_network(64, params)
    compile_network(network, params, 10)
    films = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1)).astype(np.uint8)
    targets = {"finding": np.array([[1.0], [0.0]], np.float32), "map": np.zeros((2, 4, 4, 1), np.float32)}
    result = network.test_on_batch(films, targets, return_dict=True)
    logits = np.asarray(network.predict_on_batch(films)["finding"], np.float64)[:, 0]
    right = 1 / (1 + np.exp(np.array([-1, 1]) * logits))  # the probability of what the film is
    assert np.abs(right - 0.5).max() > 0.05
    assert float(result["loss"]) == pytest.approx(np.mean((1 - right) ** focal * -np.log(right)), rel=1e-4)


# ---------------------------------------------------------------- fitting


def run_fit(
    prepared: PreparedFilms,
    checkpoint: Path,
    params: TrainingParams = SMALL,
    *,
    state: TrainingState | None = None,
    killed_after: int | None = None,
    validated: bool = True,
    epochs: int | None = None,
    build: Callable[[int, TrainingParams], Any] = tiny_network,
) -> tuple[list[np.ndarray], TrainingState]:
    """Weights and history; killed_after raises at the end of that epoch, as a kill would."""

    class KilledError(Exception):
        pass

    def on_epoch(epoch: int, entry: dict[str, float]) -> None:
        if epoch + 1 == killed_after:
            raise KilledError

    state = state or TrainingState(fingerprint=films_named("f"), precision="float32", stopping=validated)
    requested = FilmBatches(prepared, rows_in(prepared.films, 0)) if validated else None
    try:
        network, state = fit(
            lambda: build(64, params),
            batches_of(prepared, AugmentationParams(), params=params),
            requested,
            params,
            state,
            checkpoint,
            epochs,
            on_epoch,
        )
    except KilledError:
        return [], state
    return network.get_weights(), state


@dataclass(frozen=True)
class Whole:
    """A training that nobody stopped."""

    weights: list[np.ndarray]
    state: TrainingState
    checkpoint: Path


@pytest.fixture(scope="module")
def whole(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    checkpoint = tmp_path_factory.mktemp("whole") / "checkpoint"
    return Whole(*run_fit(open_prepared(pipeline.dataset), checkpoint), checkpoint)


@beside_the_whole
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    prepared: PreparedFilms, whole: Whole, tmp_path: Path
) -> None:
    run_fit(prepared, tmp_path / "b", killed_after=1)
    left = read_state(tmp_path / "b", films_named("f"))
    assert left is not None
    assert left.epochs == 1
    continued, again = run_fit(prepared, tmp_path / "b", state=left)
    assert [item["watched_auroc"] for item in again.history] == pytest.approx(
        [item["watched_auroc"] for item in whole.state.history], abs=1e-4
    )
    for a, b in zip(whole.weights, continued, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3)


@beside_the_whole
def test_a_finished_training_is_not_trained_on(prepared: PreparedFilms, whole: Whole, tmp_path: Path) -> None:
    """Killed after its last epoch, before the model was packed."""
    shutil.copytree(whole.checkpoint, tmp_path / "a")
    left = read_state(tmp_path / "a", films_named("f"))
    assert left is not None
    again, state = run_fit(prepared, tmp_path / "a", state=left)
    assert state.epochs == SMALL.epochs
    for a, b in zip(whole.weights, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_best_epochs_weights_are_kept_and_are_the_averaged_ones(prepared: PreparedFilms, tmp_path: Path) -> None:
    """The AUROC of the returned network on the validation fold is the history's best."""
    params = SMALL.model_copy(update={"epochs": 4, "learning_rate": 0.02})
    weights, state = run_fit(prepared, tmp_path / "a", params)
    network = tiny_network(64, params)
    network.set_weights(weights)
    rows = rows_in(prepared.films, 0)
    logits = network.predict(prepared.pixels[rows][..., None], verbose=0)["finding"][:, 0]
    result = roc_auc_score(prepared.films["label"].to_numpy(int)[rows], logits)
    # Keras' AUC goes through 1,000 thresholds, scikit-learn's through all.
    assert result == pytest.approx(max(item["watched_auroc"] for item in state.history), abs=0.02)


def test_without_films_to_watch_the_last_epochs_averaged_weights_are_kept(
    prepared: PreparedFilms, tmp_path: Path
) -> None:
    """The same steps with a validated set give the averages that Keras' own callback swaps in."""
    params = SMALL.model_copy(update={"epochs": 2})
    alone, state = run_fit(prepared, tmp_path / "a", params, validated=False)
    assert "watched_auroc" not in state.history[0]
    assert state.kept_epoch() == 1
    seen = TrainingState(fingerprint=films_named("f"), precision="float32", stopping=False)
    beside, _ = run_fit(prepared, tmp_path / "b", params, state=seen)
    for a, b in zip(alone, beside, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3)


@beside_the_whole
def test_a_training_that_ends_early_goes_the_way_of_the_whole_one(
    prepared: PreparedFilms, whole: Whole, tmp_path: Path
) -> None:
    """Two epochs of three are the first two of three: the rate falls over params.epochs, not over those done."""
    _, part = run_fit(prepared, tmp_path / "b", epochs=2)
    assert part.epochs == 2
    for a, b in zip(whole.state.history[:2], part.history, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


@pytest.mark.slow
def test_weights_to_start_from_are_not_learnt_away_while_the_heads_learn(
    prepared: PreparedFilms, tmp_path: Path
) -> None:
    """With a rate of (nearly) nothing for the whole network, the body ends as it was in the file."""
    teacher = build_network(64, SMALL.model_copy(update={"seed": 5}))
    teacher.save(tmp_path / "teacher.keras")
    params = SMALL.model_copy(
        update={"weights": str(tmp_path / "teacher.keras"), "head_epochs": 2, "fine_tuning": 1e-9, "epochs": 1}
    )
    params = params.model_copy(update={"weight_decay": 0.0})
    weights, _ = run_fit(prepared, tmp_path / "a", params, validated=False, build=build_network)
    network = build_network(64, params)
    network.set_weights(weights)
    for layer, was in zip(body_layers(network), body_layers(teacher), strict=True):
        if "batch_normalization" not in layer.name:  # its running statistics follow the films
            for a, b in zip(layer.get_weights(), was.get_weights(), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-6)
    moved = [
        np.abs(a - b).max()
        for layer, was in zip(head_layers(network), head_layers(teacher), strict=True)
        for a, b in zip(layer.get_weights(), was.get_weights(), strict=True)
    ]
    assert max(moved) > 1e-3


def test_what_is_frozen_is_in_the_end_what_the_file_had(prepared: PreparedFilms, tmp_path: Path) -> None:
    """The first stage, or the averages of batch normalisation, in a training that was killed and went on."""
    keras.utils.set_random_seed(6)
    teacher = tiny_network(64, SMALL)
    teacher.save(tmp_path / "teacher.keras")
    before = teacher.get_weights()
    paths = [weight.path.split("/")[-1] for weight in teacher.weights]
    assert paths[:6] == ["kernel", "gamma", "beta", "moving_mean", "moving_variance", "kernel"]
    for name, frozen, same in (
        ("stage", {"frozen_stages": 1}, [0, 1, 2, 3, 4]),
        ("averages", {"frozen_statistics": True}, [3, 4]),
    ):
        given = {"weights": str(tmp_path / "teacher.keras"), "head_epochs": 1, "fine_tuning": 1.0, **frozen}
        params = SMALL.model_copy(update=given)
        run_fit(prepared, tmp_path / name, params, killed_after=1)
        left = read_state(tmp_path / name, films_named("f"))
        assert left is not None
        after, state = run_fit(prepared, tmp_path / name, params, state=left)
        assert state.epochs == 3
        assert [place for place in range(len(before)) if (after[place] == before[place]).all()] == same


def test_early_stopping(prepared: PreparedFilms, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    params = SMALL.model_copy(update={"epochs": 30, "patience": 1})
    with caplog.at_level(logging.INFO):
        _, state = run_fit(prepared, tmp_path / "a", params)
    assert state.epochs < 30
    assert state.epochs_since_best() == 1
    assert "stopped: no better AUROC in 1 epochs" in caplog.text
    assert caplog.text.count("images/s") == state.epochs


@pytest.mark.slow
def test_a_network_learns_what_is_easy_to_see(prepared: PreparedFilms, tmp_path: Path) -> None:
    """A dark square on every positive film: AUROC near 1 in a few epochs, and the map says where."""
    pixels = np.array(prepared.pixels)
    rng = np.random.default_rng(0)
    boxes = []
    for film, label in zip(pixels, prepared.films["label"], strict=True):
        x, y = rng.integers(20, 40, 2)
        if label:
            film[y : y + 8, x : x + 8] = 0
        boxes.append(f"[[{x}, {y}, 8, 8]]" if label else "[]")
    marked = PreparedFilms(pixels, prepared.films.assign(boxes=boxes))
    params = SMALL.model_copy(update={"epochs": 26})
    weights, state = run_fit(marked, tmp_path / "a", params, build=build_network)
    assert max(item["watched_auroc"] for item in state.history) > 0.9
    network = build_network(64, params)
    network.set_weights(weights)
    rows = [row for row in rows_in(marked.films, 0) if marked.films["label"][row]]
    maps = network.predict(pixels[rows][..., None], verbose=0)["map"][..., 0]
    hits = [map_of([eval(boxes[row])[0]], 64).ravel()[item.argmax()] for row, item in zip(rows, maps, strict=True)]  # noqa: S307
    assert np.mean(hits) > 0.7


def test_precision_is_probed_only_when_asked(prepared: PreparedFilms) -> None:
    def build() -> object:
        return tiny_network(64, SMALL)

    def never() -> object:
        raise AssertionError("built a network to probe")

    assert choose_precision(never, batches_of(prepared), SMALL) == "float32"
    requested = SMALL.model_copy(update={"precision": "auto"})
    assert choose_precision(build, batches_of(prepared), requested) in ("float32", "mixed_bfloat16")


def test_a_checkpoint_of_other_films_or_parameters_is_not_taken(tmp_path: Path) -> None:
    network = tiny_network(64, SMALL)
    compile_network(network, SMALL, 5)
    state = TrainingState(fingerprint=films_named("mine"), precision="float32", history=[{"watched_auroc": 0.5}])
    save_checkpoint(tmp_path / "c", network, network.get_weights(), state)
    assert read_state(tmp_path / "c", films_named("mine")) == state
    assert read_state(tmp_path / "c", films_named("another")) is None
    (tmp_path / "c" / "state.json").write_text("{")
    assert read_state(tmp_path / "c", films_named("mine")) is None
    assert read_state(tmp_path / "nowhere", films_named("mine")) is None


def test_a_kill_while_the_checkpoint_gets_its_name_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_network(64, SMALL)
    compile_network(network, SMALL, 5)
    old, new = (
        TrainingState(fingerprint=films_named("f"), precision="float32", history=[{"watched_auroc": 0.5}] * n)
        for n in (1, 2)
    )
    save_checkpoint(tmp_path / "c", network, network.get_weights(), old)
    rename = Path.rename

    def killed_at_the_second(self: Path, target: Path) -> Path:
        if self.name == ".c.partial":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", killed_at_the_second)
        save_checkpoint(tmp_path / "c", network, network.get_weights(), new)
    assert not (tmp_path / "c").exists()
    assert read_state(tmp_path / "c", films_named("f")) == new
    save_checkpoint(tmp_path / "c", network, network.get_weights(), new)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".c.old.partial", "c"]


@pytest.mark.parametrize("rising", [0, 20])
def test_the_rate_is_that_of_keras_own_schedule(rising: int) -> None:
    ours = WarmUpAndCosine(0.01, rising, 80)
    theirs = (
        keras.optimizers.schedules.CosineDecay(0.0005, 80, alpha=0.01, warmup_target=0.01, warmup_steps=rising)
        if rising
        else keras.optimizers.schedules.CosineDecay(0.01, 80, alpha=0.01)
    )
    steps = range(120)
    np.testing.assert_allclose(
        [float(ours(step)) for step in steps], [float(theirs(step)) for step in steps], rtol=1e-4
    )
