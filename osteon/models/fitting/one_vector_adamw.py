"""AdamW on all weights as one vector, while a network is trained on one device under TensorFlow.

Keras writes it out for every variable: some fifty operations for each of them, which took three quarters of the time
that a network needs before its first step, and an eighth of every step. JAX's compiler fuses them by itself.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.models.fitting.layerwise_adamw import LayerwiseAdamW
from osteon.models.networks.devices import gpus
from osteon.models.networks.quiet_keras import keras


def adamw(rate: Any, weight_decay: float, momentum: float | None, shares: Sequence[float] = ()) -> Any:
    """AdamW, in the form that is fastest here.

    Args:
        rate: a number or a schedule.
        weight_decay: of every weight, times the rate.
        momentum: of the weights' moving averages; None: none are kept.
        shares: of the rate, one for each weight that is trained; none: all at the full rate.

    """
    one_vector = keras.backend.backend() == "tensorflow" and gpus() < 2  # several GPUs share single variables
    kind = OneVectorAdamW if one_vector else LayerwiseAdamW
    return kind(
        rate, shares=shares, weight_decay=weight_decay, use_ema=momentum is not None, ema_momentum=momentum or 0.99
    )


def averaged_weights(network: Any) -> list[NDArray[Any]]:
    """The weights with the moving averages of those that are trained, where the optimiser of adamw keeps averages."""
    optimizer = getattr(network.optimizer, "inner_optimizer", network.optimizer)  # half precision scales the loss
    averages = {}
    if optimizer.use_ema:
        # Keras' own SwapEMAWeights takes them from the same place; there is no public one.
        moving = optimizer._model_variables_moving_average
        if isinstance(optimizer, OneVectorAdamW):
            moving = optimizer.parts_of(moving[0])
        averages = {id(weight): average for weight, average in zip(network.trainable_variables, moving, strict=True)}
    return [np.asarray(averages.get(id(weight), weight)) for weight in network.weights]


class OneVectorAdamW(LayerwiseAdamW):
    """Of one variable that holds all weights one after the other.

    A step goes number by number, so joined or apart the numbers are the same.
    """

    def build(self, variables: Sequence[Any]) -> None:
        """Make the variables for a network's weights."""
        self.shapes = tuple(tuple(variable.shape) for variable in variables)
        self.sizes = tuple(math.prod(shape) for shape in self.shapes)
        # Not tracked, for it says nothing that the weights do not say.
        self.vector = keras.Variable("zeros", (sum(self.sizes),), trainable=False, name="weights")
        if self.shares:
            self.vector_of_shares = keras.Variable(
                np.repeat(np.asarray(self.shares, np.float32), self.sizes),
                dtype="float32",
                trainable=False,
                name="shares",
            )
        super().build([self.vector])

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any]) -> None:
        """Take one step."""
        if not self.built:
            self.build(trainable_variables)
        self.vector.assign(_joined(trainable_variables))
        super().apply([_joined(grads)], [self.vector])
        for variable, part in zip(trainable_variables, self.parts_of(self.vector), strict=True):
            variable.assign(part)

    def share_of(self, variable: Any) -> Any:  # noqa: ARG002
        """The share of each number of the vector."""
        return keras.ops.convert_to_tensor(self.vector_of_shares)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Leave the weights as they are at the end of a training: what is kept was read before."""

    def parts_of(self, vector: Any) -> list[Any]:
        """What a vector holds for each weight, in its shape."""
        parts = keras.ops.split(vector, np.cumsum(self.sizes)[:-1].tolist())
        return [keras.ops.reshape(part, shape) for part, shape in zip(parts, self.shapes, strict=True)]


def _joined(values: Sequence[Any]) -> Any:
    return keras.ops.concatenate([keras.ops.reshape(value, (-1,)) for value in values])
