"""Batch normalisation as one operation of TensorFlow, while a network is trained.

Keras writes it with some twenty elementwise operations, forth and back; on two cores these took as long as the
convolutions between them. JAX's compiler fuses them by itself.
"""

from typing import Any

from osteon.models.networks.quiet_keras import keras


def with_fused_normalisation(network: Any) -> Any:
    """The network to train: under TensorFlow a copy, weights too, that normalises in one operation.

    Weights have the same order in both, so that the network can take the copy's. The network is what is kept, of Keras'
    own layers: a file of it needs nothing of ours to be read.
    """
    if keras.backend.backend() != "tensorflow":
        return network
    copy = keras.models.clone_model(network, clone_function=_fused)
    copy.set_weights(network.get_weights())
    return copy


def _fused(layer: Any) -> Any:
    if type(layer) is not keras.layers.BatchNormalization:
        return layer.__class__.from_config(layer.get_config())
    return _FusedBatchNormalization.from_config(layer.get_config())


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
