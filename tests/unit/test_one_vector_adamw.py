"""One vector learns as many variables do: Keras' own AdamW is the oracle."""

from typing import Any

import numpy as np
import pytest

from osteon.models.networks.backend import load_keras
from osteon.params import TrainingParams

keras = load_keras()

from osteon.models.fitting.fit import compile_network  # noqa: E402
from osteon.models.fitting.layerwise_adamw import LayerwiseAdamW  # noqa: E402
from osteon.models.fitting.one_vector_adamw import OneVectorAdamW, adamw, averaged_weights  # noqa: E402
from osteon.models.networks.architectures import build_network  # noqa: E402

if keras.backend.backend() != "tensorflow":
    pytest.skip("elsewhere it is Keras' own", allow_module_level=True)
import tensorflow as tf  # noqa: E402


@pytest.fixture(autouse=True)
def in_float32() -> Any:
    """Whatever a training before this test has set, and none after it."""
    keras.mixed_precision.set_dtype_policy("float32")
    yield
    keras.mixed_precision.set_dtype_policy("float32")


def small_network() -> Any:
    """Weights of four shapes; one layer does not learn."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(3, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(2, 1, trainable=False),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1),
        ]
    )


def learnt(network: Any, optimiser: Any, steps: int) -> list[Any]:
    """The weights after so many steps, and their averages."""
    network.compile(optimiser, loss="mse")
    draw = np.random.default_rng(2)
    for _ in range(steps):
        network.train_on_batch(draw.normal(size=(5, 6, 6, 1)), draw.normal(size=(5, 1)))
    return [*network.get_weights(), *averaged_weights(network)]


@pytest.mark.parametrize("momentum", [0.9, None])
def test_weights_and_averages_are_those_of_keras(momentum: float | None) -> None:
    rate = keras.optimizers.schedules.CosineDecay(0.05, 12)
    theirs = keras.optimizers.AdamW(rate, weight_decay=0.2, use_ema=momentum is not None, ema_momentum=momentum or 0.99)
    ours = adamw(rate, 0.2, momentum)
    assert type(ours) is OneVectorAdamW
    begun = small_network().get_weights()
    expected, result = learnt(small_network(), theirs, 10), learnt(small_network(), ours, 10)
    assert len(expected) == 2 * len(begun)
    for a, b in zip(expected, result, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert int(ours.iterations) == 10
    # Else nothing would be compared: the first kernel has moved, and its average lags behind.
    assert np.abs(result[0] - begun[0]).max() > 0.05
    assert (np.abs(result[0] - result[len(begun)]).max() > 0.01) == (momentum is not None)


@pytest.mark.parametrize("kind", [OneVectorAdamW, LayerwiseAdamW])
def test_a_share_of_the_rate_by_hand(kind: type) -> None:
    """The first step goes by rate × sign of the gradient and rate × decay × weight; all of it times the share."""
    rate, decay, share = 0.01, 0.3, {0: 0.25, 1: 1.0}
    weights = [
        keras.Variable(np.array([1.0, -2.0]), dtype="float32"),
        keras.Variable(np.array([[4.0]]), dtype="float32"),
    ]
    optimiser = kind(rate, shares=list(share.values()), weight_decay=decay, epsilon=1e-12)
    optimiser.build(weights)
    optimiser.apply([tf.constant([0.5, -3.0]), tf.constant([[2.0]])], weights)
    np.testing.assert_allclose(weights[0], [1 - 0.0025 - 0.0025 * 0.3, -2 + 0.0025 + 0.0025 * 0.3 * 2], rtol=1e-6)
    np.testing.assert_allclose(weights[1], [[4 - 0.01 - 0.01 * 0.3 * 4]], rtol=1e-6)


@pytest.mark.parametrize("kind", [OneVectorAdamW, LayerwiseAdamW])
@pytest.mark.parametrize("momentum", [0.9, None])
def test_a_weight_with_a_share_is_trained_as_by_keras_at_that_rate(kind: type, momentum: float | None) -> None:
    """One training a share, all weights at that share of the rate; the gradients are the same ones in all of them."""
    draw = np.random.default_rng(4)
    first = [draw.normal(size=shape) for shape in ((3, 3), (3,), (2, 2, 1))]
    gradients = [[draw.normal(size=weight.shape) for weight in first] for _ in range(8)]
    shares = [0.1, 1.0, 0.5]
    options = {"weight_decay": 0.2, "use_ema": momentum is not None, "ema_momentum": momentum or 0.99}

    def trained(make: Any, highest: float) -> tuple[list[Any], Any]:
        weights = [keras.Variable(weight, dtype="float32") for weight in first]
        optimiser = make(keras.optimizers.schedules.CosineDecay(highest, 12))
        optimiser.build(weights)
        for gradient in gradients:
            optimiser.apply([tf.constant(part, tf.float32) for part in gradient], weights)
        averages = optimiser._model_variables_moving_average if momentum else []
        return [np.asarray(weight) for weight in weights], averages

    result, averages = trained(lambda rate: kind(rate, shares=shares, **options), 0.05)
    if momentum and kind is OneVectorAdamW:
        sizes = np.cumsum([weight.size for weight in first])[:-1]
        averages = [
            part.reshape(weight.shape) for part, weight in zip(np.split(averages[0], sizes), first, strict=True)
        ]
    for place, share in enumerate(shares):
        expected, of_keras = trained(lambda rate: keras.optimizers.AdamW(rate, **options), 0.05 * share)
        np.testing.assert_allclose(result[place], expected[place], rtol=1e-4, atol=1e-6)
        if momentum:
            np.testing.assert_allclose(averages[place], of_keras[place], rtol=1e-4, atol=1e-6)


def test_weights_that_were_put_into_the_network_are_learnt_from() -> None:
    """A validation swaps weights in and out between steps."""
    result = []
    for optimiser in (keras.optimizers.AdamW(0.05), adamw(0.05, 0.004, None)):
        network = small_network()
        learnt(network, optimiser, 2)
        network.set_weights([weight + 1 for weight in network.get_weights()])
        network.train_on_batch(np.ones((2, 6, 6, 1)), np.ones((2, 1)))
        result.append(network.get_weights())
    for a, b in zip(*result, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def operations(optimiser: Any) -> int:
    """How many TensorFlow does for a step of thirty weights."""
    variables = [keras.Variable(np.ones(3), dtype="float32") for _ in range(30)]
    optimiser.build(variables)
    step = tf.function(lambda grads: optimiser.apply(grads, variables))
    return len(step.get_concrete_function([tf.ones(3)] * 30).graph.get_operations())


def test_a_step_is_a_fraction_of_the_operations_of_keras_own() -> None:
    theirs, ours = operations(keras.optimizers.AdamW(0.01, use_ema=True)), operations(adamw(0.01, 0.004, 0.99))
    assert ours < theirs / 4


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_in_half_precision_averages_are_kept_too(layer_decay: float) -> None:
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    params = TrainingParams(width=8, ema=0.9, learning_rate=0.01, warmup_epochs=0, layer_decay=layer_decay)
    network = build_network(32, params)
    compile_network(network, params, 5)
    draw = np.random.default_rng(0)
    films = draw.integers(0, 256, (4, 32, 32, 1)).astype(np.uint8)
    targets = {"finding": np.array([[0.0], [1.0], [0.0], [1.0]], np.float32), "map": np.zeros((4, 2, 2, 1), np.float32)}
    weights = {"finding": np.ones(4, np.float32), "map": np.ones(4, np.float32)}
    for _ in range(8):
        network.train_on_batch(films, targets, weights)
    plain, averaged = network.get_weights(), averaged_weights(network)
    assert all(np.isfinite(weight).all() for weight in averaged)
    assert np.abs(plain[0] - averaged[0]).max() > 1e-4
