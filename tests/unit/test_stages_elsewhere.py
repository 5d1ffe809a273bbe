"""What is frozen and what is slowed down is trained alike by Keras' optimiser, under JAX and on several devices."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osteon.models.networks.backend import load_keras
from osteon.params import TrainingParams

keras = load_keras()

from osteon.models.fitting.fit import compile_network  # noqa: E402
from osteon.models.fitting.fused_normalisation import training_copy  # noqa: E402
from osteon.models.fitting.one_vector_adamw import OneVectorAdamW, averaged_weights  # noqa: E402
from osteon.models.networks.architectures import build_network  # noqa: E402
from osteon.models.networks.stages import stages_of  # noqa: E402

if keras.backend.backend() != "tensorflow":
    pytest.skip("TensorFlow is what the others are compared with", allow_module_level=True)

PARAMS = TrainingParams(
    network="plain", dropout=0.0, weights="imagenet", fine_tuning=1.0, learning_rate=0.01, warmup_epochs=0, ema=0.9
)
STEPS = 4
TRAINED = """
import sys
from contextlib import nullcontext
from pathlib import Path
import numpy as np
{prelude}
from osteon.models.networks.backend import load_keras
keras = load_keras()
from osteon.models.fitting import one_vector_adamw
from osteon.models.fitting.fit import compile_network
from osteon.models.fitting.fused_normalisation import training_copy
from osteon.models.networks.architectures import build_network
from osteon.params import TrainingParams
one_vector_adamw.gpus = lambda: 2
folder = Path(sys.argv[1])
params = TrainingParams.model_validate_json((folder / "params.json").read_text())
given, begun = np.load(folder / "given.npz"), np.load(folder / "begun.npz")
with {scope}:
    network = training_copy(build_network(32, params), frozen_statistics=params.frozen_statistics)
    network.set_weights([begun[name] for name in begun.files])
    compile_network(network, params, 10)
assert type(network.optimizer).__name__ == "LayerwiseAdamW"
for _ in range(int(given["steps"])):
    network.train_on_batch(given["films"], {{"finding": given["finding"], "map": given["map"]}})
weights = network.get_weights() + one_vector_adamw.averaged_weights(network)
np.savez(folder / "trained.npz", *weights)
"""
JAX = {"prelude": 'sys.modules["tensorflow"] = None', "scope": "nullcontext()"}
TWO_DEVICES = {
    "prelude": "import tensorflow as tf; cpu = tf.config.list_physical_devices('CPU')[0]; "
    "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)",
    "scope": "tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1']).scope()",
}


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "where"), [("jax", JAX), ("tensorflow", TWO_DEVICES)])
@pytest.mark.parametrize("keys", [{"frozen_stages": 1, "layer_decay": 0.5}, {"frozen_statistics": True}])
def test_trained_elsewhere(tmp_path: Path, backend: str, where: dict[str, str], keys: dict[str, Any]) -> None:
    if backend == "jax":
        pytest.importorskip("jax")
    keras.utils.set_random_seed(3)
    params = PARAMS.model_copy(update=keys)
    network = training_copy(build_network(32, params), frozen_statistics=params.frozen_statistics)
    begun = network.get_weights()
    draw = np.random.default_rng(1)
    targets = {
        "finding": np.array([[1], [0], [1], [0]], np.float32),
        "map": draw.integers(0, 2, (4, 2, 2, 1)).astype(np.float32),
    }
    films = draw.integers(0, 256, (4, 32, 32, 1)).astype(np.uint8)
    np.savez(tmp_path / "given.npz", films=films, steps=STEPS, **targets)  # type: ignore[arg-type]
    np.savez(tmp_path / "begun.npz", *begun)
    (tmp_path / "params.json").write_text(params.model_dump_json(), encoding="utf-8")
    compile_network(network, params, 10)
    assert isinstance(network.optimizer, OneVectorAdamW)
    for _ in range(STEPS):
        network.train_on_batch(films, targets)
    expected = [*network.get_weights(), *averaged_weights(network)]
    done = subprocess.run(
        [sys.executable, "-c", TRAINED.format(**where), str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "trained.npz") as trained:
        result = [trained[name] for name in trained.files]
    stages = {weight.path: stages_of(network).get(weight.path.split("/")[0], 9) for weight in network.weights}
    for weight, first, a, b in zip(network.weights, begun, expected, result, strict=False):
        moved = np.abs(a - first).mean()
        still = stages[weight.path] <= params.frozen_stages or (params.frozen_statistics and "moving" in weight.path)
        assert (moved == 0) == still, weight.path
        assert np.abs(a - b).mean() <= 0.02 * moved, weight.path
    for a, b in zip(expected, result, strict=True):
        np.testing.assert_allclose(a, b, atol=0.02)
