"""A network with the answers of a real one and next to nothing in between, for tests of what goes on around it.

TensorFlow compiles a training step for every network that learns; that of the network compact takes seconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from osteon.models.networks.architectures import NETWORKS
from osteon.params import TrainingParams


def tiny_network(side: int, params: TrainingParams, types: int = 0) -> Any:
    """One convolution for the map and one for the finding; `width` counts, as it does in compact."""
    from keras import Model, initializers, layers, ops

    films = layers.Input((side, side, 1), dtype="uint8", name="films")
    standardised = layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, dtype="float32")
    x = standardised(ops.cast(films, "float32"))
    x = layers.Conv2D(params.width, 8, 8, use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Add()([layers.Conv2D(params.width, 2, 2)(x), layers.AveragePooling2D(2)(x)])
    place = layers.Conv2D(1, 1, dtype="float32", name="map", bias_initializer=initializers.Constant(-3.0))(x)
    features = layers.Dropout(params.dropout, seed=params.seed)(layers.GlobalMaxPooling2D()(x))
    features = layers.Concatenate(dtype="float32")([features, layers.GlobalMaxPooling2D(dtype="float32")(place)])
    outputs = {"finding": layers.Dense(1, dtype="float32", name="finding")(features), "map": place}
    if types:
        outputs["type"] = layers.Dense(types, dtype="float32", name="type")(features)
    return Model(films, outputs, name="compact")


@contextmanager
def tiny_networks() -> Iterator[None]:
    """The network compact is a tiny one, in this process; in others it is what it always is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "compact", tiny_network)
        yield
