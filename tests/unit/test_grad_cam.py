"""Grad-CAM against its formula, on small networks and under both backends."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from osteon.models.networks.backend import load_keras

keras = load_keras()

from osteon.models.inference.grad_cam import grad_cam  # noqa: E402
from osteon.models.networks.architectures import build_network  # noqa: E402
from osteon.params import TrainingParams  # noqa: E402

SQUARES = np.random.default_rng(0).integers(0, 256, (5, 32, 32), np.uint8)


def pooled(weights: NDArray[np.float32]) -> "keras.Model":
    """A convolution whose channels' means are weighed: Grad-CAM is then the weighted sum of its places."""
    films = keras.Input((32, 32, 1), dtype="uint8")
    x = keras.layers.Conv2D(3, 5, strides=4, padding="same", name="places")(keras.ops.cast(films, "float32") / 255)
    x = keras.layers.GlobalAveragePooling2D()(x)
    finding = keras.layers.Dense(1, name="finding")
    network = keras.Model(films, {"finding": finding(x)})
    finding.set_weights([weights[:, None], np.zeros(1, np.float32)])
    return network


def test_of_pooled_channels_it_is_their_weighted_sum() -> None:
    """Zhou et al. 2016: for a head of mean and weights Grad-CAM is the class activation map."""
    keras.utils.set_random_seed(1)
    weights = np.array([1.0, -2.0, 0.5], np.float32)
    network = pooled(weights)
    places = keras.Model(network.inputs, network.get_layer("places").output).predict(SQUARES[..., None], verbose=0)
    expected = np.maximum((places * weights).sum(axis=-1), 0)
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(grad_cam(network, SQUARES, block=2), expected, atol=1e-5)


def test_where_nothing_speaks_for_the_finding_it_is_0_everywhere() -> None:
    network = pooled(np.zeros(3, np.float32))
    np.testing.assert_array_equal(grad_cam(network, SQUARES), np.zeros((5, 8, 8)))


def test_of_a_network_with_a_map_it_looks_at_the_last_layer_with_places() -> None:
    """The map's maximum goes past that layer to the logit."""
    keras.utils.set_random_seed(0)
    squares = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    result = grad_cam(build_network(64, TrainingParams(width=8)), squares)
    assert result.shape == (3, 2, 2)
    assert result.min() >= 0
    assert set(result.max(axis=(1, 2)).tolist()) <= {0.0, 1.0}


@pytest.mark.slow
def test_jax_finds_the_same(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    keras.utils.set_random_seed(3)
    network = build_network(64, TrainingParams(width=8))
    squares = np.random.default_rng(1).integers(0, 256, (4, 64, 64), np.uint8)
    network.save(tmp_path / "n.keras")
    np.save(tmp_path / "s.npy", squares)
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "import keras, numpy as np\n"
        "from osteon.models.inference.grad_cam import grad_cam\n"
        "assert keras.backend.backend() == 'jax'\n"
        "network = keras.saving.load_model('n.keras', compile=False)\n"
        "np.save('found.npy', grad_cam(network, np.load('s.npy')))\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), grad_cam(network, squares), atol=1e-4)
