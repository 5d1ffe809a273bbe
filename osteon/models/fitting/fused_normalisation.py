"""Batch normalisation while a network is trained: as one operation of TensorFlow, or by averages that do not change.

Keras writes it with some twenty elementwise operations, forth and back; on two cores these took as long as the
convolutions between them. JAX's compiler fuses them by itself.
"""

from typing import Any

from osteon.models.networks.quiet_keras import keras


def training_copy(network: Any, *, frozen_statistics: bool = False) -> Any:
    """The network to train: a copy, weights too, or the network itself where its own layers do.

    Weights have the same order in both, so that the network can take the copy's. The network is what is kept, of Keras'
    own layers: a file of it needs nothing of ours to be read.

    Args:
        network: of build_network.
        frozen_statistics: normalise by the averages that the network has and leave them as they are; scale and offset
            are trained. Else by the batch's, under TensorFlow in one operation.

    """
    if frozen_statistics:
        normalisation: Any = _FrozenStatistics
    elif keras.backend.backend() == "tensorflow":
        normalisation = _FusedBatchNormalization
    else:
        return network

    def copied(layer: Any) -> Any:
        kind = normalisation if type(layer) is keras.layers.BatchNormalization else layer.__class__
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return copy


class _FrozenStatistics(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Goes by its averages in training, too."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ARG002
        """Normalise channels by their moving averages."""
        return super().call(inputs, training=False, mask=mask)


class _FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Of channels that come last, as in all our networks."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise channels by the batch's moments in training, by the moving ones elsewhere."""
        if not (training and self.trainable) or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        inputs = keras.ops.cast(inputs, "float32")
        channels = inputs.shape[-1]
        normalised, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.ones(channels) if self.gamma is None else tf.convert_to_tensor(self.gamma),
            offset=tf.zeros(channels) if self.beta is None else tf.convert_to_tensor(self.beta),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
        )
        count = tf.cast(tf.size(inputs) // channels, "float32")
        variance *= (count - 1) / count  # TensorFlow's is of a sample, Keras' of the batch
        for moving, seen in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + seen * (1 - self.momentum))
        return keras.ops.cast(normalised, self.compute_dtype)
