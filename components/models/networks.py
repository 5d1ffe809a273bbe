"""Networks by name. Keras operations only, so that TensorFlow, JAX and PyTorch run the same network.

Input: films, uint8, batch × side × side × 1. Outputs, both logits in float32:
'finding' (batch × 1), whether the finding is there; 'map' (batch × side/16 × side/16 × 1), where.
"""

from collections.abc import Callable
from typing import Any

from components.params import TrainingParams

MAP_STRIDE = 16


def build_network(side: int, params: TrainingParams) -> Any:
    """The network that params.network names, for films of side × side pixels; a keras.Model, not compiled."""
    return NETWORKS[params.network](side, params)


def _compact(side: int, params: TrainingParams) -> Any:
    """A small residual network that two cores can train: about 45 million multiplications at 192 pixels.

    The first two convolutions bring the side down to a quarter, so that all else is cheap (four convolutions at
    full resolution cost twelve times as much). Residual blocks activate before they convolve (He et al. 2016,
    arXiv 1603.05027). A break is small: the strongest place on the film decides beside the average.
    """
    from keras import Input, Model, initializers, layers, ops

    def normal(x: Any) -> Any:
        return layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))

    def convolved(x: Any, channels: int, kernel: int, stride: int = 1) -> Any:
        return layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(
            x
        )

    def block(x: Any, channels: int, stride: int) -> Any:
        active = normal(x)
        if stride == 1 and x.shape[-1] == channels:
            short = x
        else:
            short = convolved(layers.AveragePooling2D(stride)(active) if stride > 1 else active, channels, 1)
        changed = convolved(active, channels, 3, stride)
        return layers.Add()([short, convolved(normal(changed), channels, 3)])

    width = params.width
    films = Input((side, side, 1), dtype="uint8", name="films")
    # Every film on its own to mean 0 and deviation 1: exposure and window differ from film to film.
    x = layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, dtype="float32")(
        ops.cast(films, "float32")
    )
    x = convolved(normal(convolved(x, width // 2, 3, 2)), width, 3, 2)
    x = block(x, width, 1)
    x = block(x, 2 * width, 2)
    x = block(block(x, 4 * width, 2), 4 * width, 1)

    # A break is rare on a film: the map begins by saying 'nowhere'.
    place = layers.Conv2D(1, 1, dtype="float32", name="map", bias_initializer=initializers.Constant(-3.0))(normal(x))
    x = normal(block(x, 6 * width, 2))
    features = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    features = layers.Dropout(params.dropout, seed=params.seed)(features)
    features = layers.Concatenate(dtype="float32")([features, layers.GlobalMaxPooling2D(dtype="float32")(place)])
    finding = layers.Dense(1, dtype="float32", name="finding")(features)
    return Model(films, {"finding": finding, "map": place}, name="compact")


NETWORKS: dict[str, Callable[[int, TrainingParams], Any]] = {"compact": _compact}
