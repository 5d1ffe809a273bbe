"""Grad-CAM: which places of a film speak for the finding, of any network (Selvaraju et al. 2017, ICCV).

For networks without a map of their own that boxes have taught. Keras has no gradients, so each backend has its line.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.models.inference.predict import films_at_once


def grad_cam(network: Any, squares: NDArray[np.uint8], block: int = 0) -> NDArray[np.float64]:
    """Places of the last layer that has any, weighted by how much each channel moves the logit 'finding'.

    The network is cut at that layer; what reaches the logit by another way (a map's maximum) is not in the picture.

    Args:
        network: a functional keras.Model with an output 'finding', batch × 1.
        squares: films × side × side, uint8.
        block: films at a time; 0: as many as a prediction takes.

    Returns:
        films × h × w, the greatest of each film 1; 0 everywhere where nothing speaks for the finding.

    """
    from osteon.models.networks.quiet_keras import keras

    places = _last_places(network)
    trunk = keras.Model(network.inputs, places)
    head = keras.Model([places, *network.inputs], network.output["finding"])
    maps = []
    block = block or films_at_once(squares.shape[1])
    for start in range(0, len(squares), block):
        films = np.ascontiguousarray(squares[start : start + block])[..., None]
        features = np.asarray(trunk.predict_on_batch(films), np.float32)
        slopes = _slopes(head, features, films)
        # ReLU of the channels' sum, each times the mean of its slope over all places.
        heat = np.maximum((features * slopes.mean(axis=(1, 2), keepdims=True)).sum(axis=-1, dtype=np.float64), 0.0)
        greatest = heat.max(axis=(1, 2), keepdims=True)
        maps.append(np.divide(heat, greatest, out=heat, where=greatest > 0))
    return np.concatenate(maps)


def _last_places(network: Any) -> Any:
    """Output of the last of the layers whose output is the smallest, and not a single place."""
    outputs = [layer.output for layer in network.layers]
    spatial = [
        output
        for output in outputs
        if not isinstance(output, (list, dict)) and len(output.shape) == 4 and output.shape[1] > 1
    ]
    smallest = min(output.shape[1] for output in spatial)
    return [output for output in spatial if output.shape[1] == smallest][-1]


def _slopes(head: Any, features: NDArray[np.float32], films: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Gradient of each film's logit by its features."""
    from osteon.models.networks.quiet_keras import keras

    rest = keras.ops.convert_to_tensor(films)
    if keras.backend.backend() == "jax":
        import jax

        known = [variable.value for variable in head.trainable_variables]
        fixed = [variable.value for variable in head.non_trainable_variables]

        def logits(places: Any) -> Any:
            return head.stateless_call(known, fixed, [places, rest], training=False)[0].sum()

        return np.asarray(jax.grad(logits)(features), np.float32)
    import tensorflow as tf

    places = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(places)
        logit = head([places, rest], training=False)
    return np.asarray(tape.gradient(logit, places), np.float32)
