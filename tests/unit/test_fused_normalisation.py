"""The copy that learns does what Keras' own layers do, to the rounding; these are the oracle."""

from typing import Any

import numpy as np
import pytest

from osteon.models.networks.backend import load_keras
from osteon.params import TrainingParams

keras = load_keras()

from osteon.models.fitting.fused_normalisation import _FusedBatchNormalization, training_copy  # noqa: E402
from osteon.models.networks.architectures import NETWORKS, build_network  # noqa: E402

if keras.backend.backend() != "tensorflow":
    pytest.skip("only TensorFlow has this operation", allow_module_level=True)
import tensorflow as tf  # noqa: E402

# One worker has all tests of a network: building it takes longer than they do.
every_network = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xdist_group(f"network {name}"))
        for name in NETWORKS
        if name not in {"efficientnet_lite1", "efficientnet_lite2", "resnet34"}
    ],
)


@pytest.fixture(autouse=True)
def in_float32() -> None:
    """Whatever a training before this test has set."""
    keras.mixed_precision.set_dtype_policy("float32")


def built(name: str) -> Any:
    """A network for films of 32 pixels, its averages no longer those it begins with."""
    keras.utils.set_random_seed(1)
    network = build_network(32, TrainingParams(network=name, width=8, dropout=0.0))
    draw = np.random.default_rng(3)
    for weight in network.weights:
        if "moving_variance" in weight.path:
            weight.assign(draw.uniform(0.5, 2.0, weight.shape))
        elif "moving_mean" in weight.path or "beta" in weight.path:
            weight.assign(draw.normal(0, 0.3, weight.shape))
    return network


def films_of(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 1)).astype(np.uint8)


def normalising(network: Any) -> list[Any]:
    return [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]


def operations(network: Any) -> list[Any]:
    """What TensorFlow does where the network learns, forth."""
    (films,) = network.inputs
    traced = tf.function(lambda films: network(films, training=True)).get_concrete_function(
        tf.TensorSpec((4, *films.shape[1:]), films.dtype)
    )
    result: list[Any] = traced.graph.get_operations()
    return result


@every_network
def test_the_copy_has_the_same_weights_in_the_same_places(name: str) -> None:
    network = built(name)
    copy = training_copy(network)
    assert copy is not network
    assert copy.name == name
    assert [layer.name for layer in copy.layers] == [layer.name for layer in network.layers]
    assert [weight.path for weight in copy.weights] == [weight.path for weight in network.weights]
    assert [layer.momentum for layer in normalising(copy)] == [layer.momentum for layer in normalising(network)]
    assert {type(layer) for layer in normalising(copy)} <= {_FusedBatchNormalization}
    for a, b in zip(network.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_normalisation_of_the_copy_is_the_one_operation() -> None:
    copy = training_copy(built("compact"))
    fused = [node for node in operations(copy) if node.type == "FusedBatchNormV3"]
    assert len(fused) == len(normalising(copy)) == 13


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_a_step_by_keras_own_layer(scale: bool, center: bool) -> None:
    """Answers, gradients and moving averages of one layer; few values, so that n / (n − 1) would be seen."""
    keras.utils.set_random_seed(1)
    films = keras.Input((3, 2, 5))
    own = keras.Model(
        films, keras.layers.BatchNormalization(momentum=0.7, epsilon=0.01, scale=scale, center=center)(films)
    )
    draw = np.random.default_rng(2)
    own.set_weights([draw.uniform(0.5, 2, weight.shape) for weight in own.weights])
    copy = training_copy(own)
    seen = tf.constant(draw.normal(1, 2, (4, 3, 2, 5)), tf.float32)
    pull = tf.constant(draw.normal(0, 1, (4, 3, 2, 5)), tf.float32)
    result = []
    for network in (own, copy):
        with tf.GradientTape() as tape:
            tape.watch(seen)
            answer = network(seen, training=True)
            loss = tf.reduce_sum(answer * pull)
        learnt = [variable.value for variable in network.trainable_variables]
        gradients = tape.gradient(loss, [seen, *learnt])
        result.append([answer, *gradients, *network.get_weights()])
    for a, b in zip(*result, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_many_steps_of_a_network_end_alike() -> None:
    """The loss of twenty steps, and the averages after them."""
    own = built("compact")
    copy = training_copy(own)
    draw = np.random.default_rng(5)
    losses: list[list[float]] = []
    batches = [
        (films_of(8, seed), {"finding": draw.integers(0, 2, (8, 1)), "map": draw.integers(0, 2, (8, 2, 2, 1))})
        for seed in range(20)
    ]
    for network in (own, copy):
        network.compile(keras.optimizers.SGD(0.001), loss=keras.losses.BinaryCrossentropy(from_logits=True))
        losses.append([float(network.train_on_batch(*batch, return_dict=True)["loss"]) for batch in batches])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    for layer, same in zip(normalising(own), normalising(copy), strict=True):
        np.testing.assert_allclose(layer.moving_mean, same.moving_mean, rtol=0.02, atol=0.02)
        np.testing.assert_allclose(layer.moving_variance, same.moving_variance, rtol=0.02, atol=0.02)


def test_where_it_does_not_learn_it_goes_by_its_averages_and_leaves_them() -> None:
    network = built("compact")
    copy = training_copy(network)
    for layer in normalising(copy):
        layer.trainable = False
    before = copy.get_weights()
    for training in (False, True):
        answers, own = copy(films_of(4), training=training), network(films_of(4), training=False)
        for name in own:
            np.testing.assert_allclose(answers[name], own[name], rtol=1e-4, atol=1e-5)
    for a, b in zip(before, copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_in_half_the_precision_it_normalises_in_single() -> None:
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        films = keras.Input((2, 2, 1))
        network = training_copy(keras.Model(films, keras.layers.BatchNormalization(epsilon=1e-6)(films)))
        (node,) = [item for item in operations(network) if item.type == "FusedBatchNormV3"]
        assert node.get_attr("T") == tf.float32
        seen = tf.constant(np.tile([[0.5, 1.0], [1.5, 2.0]], (3, 1, 1))[..., None], tf.float32)
        answer = network(seen, training=True)
        assert answer.dtype == "bfloat16"
        (layer,) = normalising(network)
        assert float(layer.moving_mean[0]) == pytest.approx(0.01 * 1.25, rel=1e-6)
        assert float(layer.moving_variance[0]) == pytest.approx(0.99 + 0.01 * 0.3125, rel=1e-6)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
