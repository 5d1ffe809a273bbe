"""Batches, losses, fitting, checkpoints. One small training each; the whole step is tested end to end."""

import logging
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from components.films.prepared import PreparedFilms, open_prepared
from components.models.backend import load_keras
from components.params import AugmentationParams, TrainingParams
from tests.conftest import Pipeline

keras = load_keras()

from components.models.networks import build_network  # noqa: E402
from components.models.batches import FilmBatches, TrainingBatches, map_of  # noqa: E402
from components.models.checkpoint import TrainingState, read_state, save_checkpoint  # noqa: E402
from components.models.fit import choose_precision, compile_network, fit, map_loss  # noqa: E402
from components.training.step import _rows, train, youden_threshold  # noqa: E402

SMALL = TrainingParams(
    width=8, epochs=3, batch_size=8, learning_rate=3e-3, warmup_epochs=0.5, precision="float32", ema=0.9
)


@pytest.fixture
def prepared(pipeline: Pipeline) -> PreparedFilms:
    return open_prepared(pipeline.dataset)


def batches_of(
    prepared: PreparedFilms,
    augmentation: AugmentationParams | None = None,
    first_epoch: int = 0,
    params: TrainingParams = SMALL,
) -> TrainingBatches:
    rows = _rows(prepared, params, validation=False)
    return TrainingBatches([(prepared, rows)], params.batch_size, augmentation, params.seed, first_epoch)


# ---------------------------------------------------------------- batches


def test_batches_are_half_positive_and_a_round_shows_every_film(prepared: PreparedFilms) -> None:
    batches = batches_of(prepared)
    rows = _rows(prepared, SMALL, validation=False)
    seen: dict[int, int] = {}
    batches.on_epoch_begin()
    for number in range(2 * len(batches)):
        films, targets, _ = batches[number]
        assert targets["finding"].mean() == 0.5
        for film in films[..., 0]:
            (row,) = (row for row in rows if (prepared.pixels[row] == film).all())
            seen[row] = seen.get(row, 0) + 1
    assert set(seen) == set(rows)
    for label in (0, 1):
        counts = [count for row, count in seen.items() if prepared.films["label"][row] == label]
        assert max(counts) - min(counts) <= 1


def test_a_batch_depends_on_seed_epoch_and_number_only(prepared: PreparedFilms) -> None:
    straight, later = (
        batches_of(prepared, AugmentationParams()),
        batches_of(prepared, AugmentationParams(), first_epoch=2),
    )
    for _ in range(3):
        straight.on_epoch_begin()
    later.on_epoch_begin()
    _ = straight[0]
    np.testing.assert_array_equal(straight[4][0], later[4][0])
    before = later[4][0]
    later.on_epoch_begin()
    assert (later[4][0] != before).any()


def test_neither_test_nor_validation_films_are_trained_on(prepared: PreparedFilms) -> None:
    rows = _rows(prepared, SMALL, validation=False)
    films = prepared.films.iloc[rows]
    assert not films["test"].any()
    assert set(films["fold"]) == {1, 2}
    validation = prepared.films.iloc[_rows(prepared, SMALL, validation=True)]
    assert set(validation["fold"]) == {0}
    assert not set(films["group"]) & set(validation["group"])


def test_a_fractured_film_without_boxes_does_not_teach_the_map(prepared: PreparedFilms) -> None:
    known = prepared.films["label"].to_numpy(bool) & (np.arange(len(prepared.films)) % 2 == 0)
    some = PreparedFilms(prepared.pixels, prepared.films.assign(boxes=np.where(known, "[[1, 1, 9, 9]]", "[]")))
    _, targets, weights = batches_of(some)[0]
    shown = targets["map"].any(axis=(1, 2, 3))
    np.testing.assert_array_equal(weights["map"], (1 - targets["finding"][:, 0]) + shown)
    assert 0 < shown.sum() < targets["finding"].sum()
    _, _, weights = batches_of(prepared)[0]
    assert (weights["map"] == 1).all()


def test_a_set_without_boxes_does_not_teach_the_map_at_all(prepared: PreparedFilms) -> None:
    _, _, weights = batches_of(PreparedFilms(prepared.pixels, prepared.films.assign(boxes="[]")))[0]
    assert (weights["map"] == 0).all()
    assert (weights["finding"] == 1).all()


def test_the_map_has_the_cells_a_box_touches() -> None:
    cells = map_of([(0, 0, 16, 16), (33.5, 20, 20, 12)], 64)
    expected = np.zeros((4, 4))
    expected[0, 0] = 1
    expected[1, 2:4] = 1
    np.testing.assert_array_equal(cells, expected)
    assert map_of([], 64).sum() == 0


def test_films_to_measure_on_come_as_they_are_and_in_order(prepared: PreparedFilms) -> None:
    rows = np.array([5, 3, 8])
    batches = FilmBatches(prepared, rows, batch_size=2)
    assert len(batches) == 2
    films = np.concatenate([batches[number][0][..., 0] for number in range(2)])
    np.testing.assert_array_equal(films, prepared.pixels[rows])


# ---------------------------------------------------------------- losses and threshold


def test_the_map_loss_by_hand() -> None:
    """Two cells, logits 0 and 2, the first with a break: 10 · (20·ln 2 + ln(1 + e²)) / 2."""
    place = np.array([[[[1.0]], [[0.0]]]], np.float32)
    logits = np.array([[[[0.0]], [[2.0]]]], np.float32)
    expected = 10 * (20 * np.log(2) + np.log(1 + np.exp(2))) / 2
    assert float(map_loss(place, logits)[0]) == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(np.asarray(map_loss(place, logits * 1e4))).all()


def test_youden_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1], np.float32)
    scores = np.array([0.1, 0.2, 0.6, 0.5, 0.8, 0.9])
    # At ≥ 0.5: sensitivity 3/3, specificity 2/3, J = 0.667; at ≥ 0.8: 2/3 and 3/3, the same J, but later.
    assert youden_threshold(labels, scores) in (0.5, 0.8)
    assert youden_threshold(labels, np.array([0.1, 0.2, 0.3, 0.5, 0.8, 0.9])) == 0.5
    # A network that says the same of every film still has a threshold that a package can hold.
    assert youden_threshold(labels, np.full(6, 0.3)) == pytest.approx(0.3)
    # Scores that are worse than chance have a threshold too, one that a package can store.
    assert youden_threshold(labels, np.array([0.9, 0.8, 0.5, 0.3, 0.2, 0.1])) == 0.1


# ---------------------------------------------------------------- fitting


def run_fit(
    prepared: PreparedFilms,
    checkpoint: Path,
    params: TrainingParams = SMALL,
    *,
    state: TrainingState | None = None,
    stop_after: int | None = None,
) -> tuple[list[np.ndarray], TrainingState]:
    """Weights and history; stop_after raises at the end of that epoch, as a kill would."""

    class KilledError(Exception):
        pass

    def on_epoch(epoch: int, entry: dict[str, float]) -> None:
        if stop_after is not None and epoch + 1 == stop_after:
            raise KilledError

    state = state or TrainingState(fingerprint="f", precision="float32")
    validation = FilmBatches(prepared, _rows(prepared, params, validation=True))
    try:
        network, state = fit(
            lambda: build_network(64, params),
            batches_of(prepared, AugmentationParams(), params=params),
            validation,
            params,
            state,
            checkpoint,
            on_epoch,
        )
    except KilledError:
        return [], state
    return network.get_weights(), state


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(prepared: PreparedFilms, tmp_path: Path) -> None:
    whole, state = run_fit(prepared, tmp_path / "a")
    run_fit(prepared, tmp_path / "b", stop_after=1)
    left = read_state(tmp_path / "b", "f")
    assert left is not None
    assert left.epochs == 1
    continued, again = run_fit(prepared, tmp_path / "b", state=left)
    assert [one["val_auroc"] for one in again.history] == pytest.approx(
        [one["val_auroc"] for one in state.history], abs=1e-4
    )
    for a, b in zip(whole, continued, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3)


def test_a_finished_training_is_not_trained_on(prepared: PreparedFilms, tmp_path: Path) -> None:
    """Killed after its last epoch, before the model was packed."""
    whole, _ = run_fit(prepared, tmp_path / "a")
    left = read_state(tmp_path / "a", "f")
    assert left is not None
    again, state = run_fit(prepared, tmp_path / "a", state=left)
    assert state.epochs == SMALL.epochs
    for a, b in zip(whole, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_best_epochs_weights_are_kept_and_are_the_averaged_ones(prepared: PreparedFilms, tmp_path: Path) -> None:
    """The AUROC of the returned network on the validation fold is the history's best."""
    params = SMALL.model_copy(update={"epochs": 4, "learning_rate": 0.02})
    weights, state = run_fit(prepared, tmp_path / "a", params)
    network = build_network(64, params)
    network.set_weights(weights)
    rows = _rows(prepared, params, validation=True)
    logits = network.predict(prepared.pixels[rows][..., None], verbose=0)["finding"][:, 0]
    found = roc_auc_score(prepared.films["label"].to_numpy(int)[rows], logits)
    # Keras' AUC goes through 1,000 thresholds, scikit-learn's through all.
    assert found == pytest.approx(max(one["val_auroc"] for one in state.history), abs=0.02)


def test_early_stopping(prepared: PreparedFilms, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    params = SMALL.model_copy(update={"epochs": 30, "patience": 1})
    with caplog.at_level(logging.INFO, logger="components"):
        _, state = run_fit(prepared, tmp_path / "a", params)
    assert state.epochs < 30
    assert state.epochs_since_best() == 1
    assert "no better AUROC in 1 epochs: stopped" in caplog.text
    assert caplog.text.count("images/s") == state.epochs


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
    params = SMALL.model_copy(update={"epochs": 20})
    weights, state = run_fit(marked, tmp_path / "a", params)
    assert max(one["val_auroc"] for one in state.history) > 0.9
    network = build_network(64, params)
    network.set_weights(weights)
    rows = [row for row in _rows(marked, params, validation=True) if marked.films["label"][row]]
    maps = network.predict(pixels[rows][..., None], verbose=0)["map"][..., 0]
    hits = [map_of([eval(boxes[row])[0]], 64).ravel()[one.argmax()] for row, one in zip(rows, maps, strict=True)]  # noqa: S307
    assert np.mean(hits) > 0.7


def test_precision_is_probed_only_when_asked(prepared: PreparedFilms) -> None:
    def build() -> object:
        return build_network(64, SMALL)

    def never() -> object:
        raise AssertionError("built a network to probe")

    assert choose_precision(never, batches_of(prepared), SMALL) == "float32"
    asked = SMALL.model_copy(update={"precision": "auto"})
    assert choose_precision(build, batches_of(prepared), asked) in ("float32", "mixed_bfloat16")


def test_a_checkpoint_of_other_films_or_parameters_is_not_taken(tmp_path: Path) -> None:
    network = build_network(64, SMALL)
    compile_network(network, SMALL, 5)
    state = TrainingState(fingerprint="mine", precision="float32", history=[{"val_auroc": 0.5}])
    save_checkpoint(tmp_path / "c", network, network.get_weights(), state)
    assert read_state(tmp_path / "c", "mine") == state
    assert read_state(tmp_path / "c", "another") is None
    (tmp_path / "c" / "state.json").write_text("{")
    assert read_state(tmp_path / "c", "mine") is None
    assert read_state(tmp_path / "nowhere", "mine") is None


def test_a_kill_while_the_checkpoint_gets_its_name_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network(64, SMALL)
    compile_network(network, SMALL, 5)
    old, new = (TrainingState(fingerprint="f", precision="float32", history=[{"val_auroc": 0.5}] * n) for n in (1, 2))
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
    assert read_state(tmp_path / "c", "f") == new
    save_checkpoint(tmp_path / "c", network, network.get_weights(), new)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_the_step_starts_anew_when_parameters_changed(pipeline: Pipeline, tmp_path: Path) -> None:
    model = tmp_path / "model"
    partial = tmp_path / ".model.partial"
    first = SMALL.model_copy(update={"epochs": 1})
    train(pipeline.dataset, pipeline.augmented, model, first)
    assert sorted(path.name for path in model.iterdir()) == [
        "films.csv",
        "history.csv",
        "network.keras",
        "package.json",
    ]
    assert not partial.exists()
    # A left-over checkpoint of another training lies there.
    network = build_network(64, SMALL)
    compile_network(network, SMALL, 5)
    state = TrainingState(fingerprint="another", precision="float32", history=[{"val_auroc": 0.5}] * 50)
    partial.mkdir()
    save_checkpoint(partial / "checkpoint", network, network.get_weights(), state)
    summary = train(pipeline.dataset, pipeline.augmented, model, first)
    assert summary.epochs == 1


# ---------------------------------------------------------------- other backends and devices

SCRIPT = """
    import os, sys
    from pathlib import Path
    from components.params import AugmentationParams, TrainingParams
    {before}
    from components.training.step import train
    params = TrainingParams(width=8, epochs=2, batch_size=8, precision="float32")
    print(train(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), params).line())
    {after}
"""


def in_process(pipeline: Pipeline, model: Path, before: str = "", after: str = "", **environment: str) -> str:
    import os

    code = textwrap.dedent(SCRIPT).format(before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-c", code, str(pipeline.dataset), str(pipeline.augmented), str(model)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("backend", ["jax"])
def test_the_same_code_trains_on_another_backend(pipeline: Pipeline, tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    out = in_process(
        pipeline,
        tmp_path / "model",
        KERAS_BACKEND=backend,
        before="sys.modules['tensorflow'] = None",  # any import of it raises
    )
    assert "epochs 2" in out
    assert f'"backend": "{backend}"' in (tmp_path / "model" / "package.json").read_text()


def test_training_spreads_over_several_devices(pipeline: Pipeline, tmp_path: Path) -> None:
    """Two logical CPUs stand in for two GPUs: the same strategy, the same code path."""
    before = (
        "import tensorflow as tf; cpu = tf.config.list_physical_devices('CPU')[0]; "
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2); "
        "from components.models import devices, fit; scopes = []; "
        "fit.distribution = lambda: scopes.append(devices._mirrored(['CPU:0', 'CPU:1'])) or scopes[0]"
    )
    out = in_process(pipeline, tmp_path / "model", before=before, after="print(len(scopes))")
    assert out.splitlines()[-1] == "1"
    assert "epochs 2" in out


@pytest.mark.parametrize("make", [lambda: None])
def test_nothing_here_needs_a_gpu(make: Callable[[], None]) -> None:
    from components.models.devices import describe_devices, distribution

    with distribution():
        pass
    assert describe_devices().startswith("tensorflow on ")
