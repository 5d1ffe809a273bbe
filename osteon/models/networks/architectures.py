"""Networks by name. Keras operations only, so that TensorFlow, JAX and PyTorch run the same network.

Input: films, uint8, batch × side × side × 1; side a multiple of 32. Outputs, all logits in float32:
'finding' (batch × 1), whether the finding is there; 'map' (batch × side/16 × side/16 × 1), where; and with
params.task fracture_type 'type' (batch × types), which type a fracture is of.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from osteon.models.networks.applications import APPLICATIONS, application
from osteon.models.networks.efficientnet_lite import LITES, efficientnet_lite
from osteon.models.networks.quiet_keras import keras
from osteon.models.networks.resnet import BLOCKS, resnet
from osteon.params import TrainingParams

MAP_STRIDE = 16
# Layers that answer; all others see. 'hidden' is the dense layer of the network plain.
HEADS = ("finding", "map", "type", "hidden")


def build_network(side: int, params: TrainingParams, types: Sequence[str] = ()) -> Any:
    """The network that params.network names, for films of side × side pixels; a keras.Model, not compiled.

    Args:
        side: pixels, a multiple of 32.
        params: network, width, dropout, task and seed are read.
        types: names of the types, in the order of the output 'type'; read only where params.task is fracture_type.

    Raises:
        ValueError: params.task is fracture_type and there are no types.

    """
    if params.task == "fracture_type" and not types:
        raise ValueError("the task fracture_type needs the names of the types")
    return NETWORKS[params.network](side, params, len(types) if params.task == "fracture_type" else 0)


def _compact(side: int, params: TrainingParams, types: int) -> Any:
    """A small residual network that two cores can train: about 45 million multiplications at 192 pixels.

    The first two convolutions bring the side down to a quarter, so that all else is cheap (four convolutions at
    full resolution cost twelve times as much). Residual blocks activate before they convolve (He et al. 2016,
    arXiv 1603.05027). A break is small: the strongest place on the film decides beside the average.
    """

    def normal(x: Any) -> Any:
        return keras.layers.Activation("relu")(keras.layers.BatchNormalization(momentum=0.9)(x))

    def convolved(x: Any, channels: int, kernel: int, stride: int = 1) -> Any:
        return keras.layers.Conv2D(
            channels, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal"
        )(x)

    def block(x: Any, channels: int, stride: int) -> Any:
        active = normal(x)
        if stride == 1 and x.shape[-1] == channels:
            short = x
        else:
            short = convolved(keras.layers.AveragePooling2D(stride)(active) if stride > 1 else active, channels, 1)
        changed = convolved(active, channels, 3, stride)
        return keras.layers.Add()([short, convolved(normal(changed), channels, 3)])

    width = params.width
    films, x = _standardised_films(side)
    x = convolved(normal(convolved(x, width // 2, 3, 2)), width, 3, 2)
    x = block(x, width, 1)
    x = block(x, 2 * width, 2)
    x = block(block(x, 4 * width, 2), 4 * width, 1)
    place = _place(normal(x))
    x = normal(block(x, 6 * width, 2))
    return _answering("compact", films, place, _seen(x, place, params), types)


def _plain(side: int, params: TrainingParams, types: int) -> Any:
    """Four convolutions as the field's notebooks have them, to compare with.

    32, 64, 128 and 256 channels at full, half, … resolution, each with batch normalisation and pooling, then the
    average over places, a dense layer of 128 and dropout.
    """
    films, x = _standardised_films(side)
    for channels in (32, 64, 128, 256):
        x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
        x = keras.layers.Activation("relu")(keras.layers.BatchNormalization(momentum=0.9)(x))
        x = keras.layers.MaxPooling2D()(x)
    place = _place(x)
    features = keras.layers.Dense(128, activation="relu", name="hidden")(keras.layers.GlobalAveragePooling2D()(x))
    features = keras.layers.Dropout(params.dropout, seed=params.seed)(features)
    return _answering("plain", films, place, features, types)


def _application(side: int, params: TrainingParams, types: int, name: str) -> Any:
    """A network of keras.applications without its classifier, with a stem for grey films and the heads of compact.

    Its layers are ours, not a model within the model, so that they keep the names they have in Keras.
    """
    films, x = _standardised_films(side)
    body = application(name, side, x)
    return _with_heads(name, side, params, types, films, body)


def _ours(side: int, params: TrainingParams, types: int, name: str, features: Callable[[str, Any], Any]) -> Any:
    """A network that others designed, of our own layers, with a stem for grey films and the heads of compact."""
    films, x = _standardised_films(side)
    return _with_heads(name, side, params, types, films, keras.Model(films, features(name, x)))


def _with_heads(name: str, side: int, params: TrainingParams, types: int, films: Any, body: Any) -> Any:
    """The heads of compact on a body that others designed."""
    cells = side // MAP_STRIDE
    # What the network sees last before it goes to stride 32: the deepest view that still has the map's cells.
    last = [layer.output for layer in body.layers if layer.output.shape[1:3] == (cells, cells)][-1]
    place = _place(last)
    return _answering(name, films, place, _seen(body.output, place, params), types)


def _standardised_films(side: int) -> tuple[Any, Any]:
    """The input, and what the first convolution sees: float32, batch × side × side × 1."""
    films = keras.Input((side, side, 1), dtype="uint8", name="films")
    # Every film on its own to mean 0 and deviation 1: exposure and window differ from film to film.
    standardised = keras.layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, dtype="float32")
    return films, standardised(keras.ops.cast(films, "float32"))


def _place(x: Any) -> Any:
    """The map, from the features at stride 16."""
    # A break is rare on a film: the map begins by saying 'nowhere'.
    return keras.layers.Conv2D(1, 1, dtype="float32", name="map", bias_initializer=keras.initializers.Constant(-3.0))(x)


def _seen(x: Any, place: Any, params: TrainingParams) -> Any:
    """The features at stride 32, and the map, as one row of numbers a film."""
    features = keras.layers.Concatenate()(
        [keras.layers.GlobalAveragePooling2D()(x), keras.layers.GlobalMaxPooling2D()(x)]
    )
    features = keras.layers.Dropout(params.dropout, seed=params.seed)(features)
    return keras.layers.Concatenate(dtype="float32")(
        [features, keras.layers.GlobalMaxPooling2D(dtype="float32")(place)]
    )


def _answering(name: str, films: Any, place: Any, features: Any, types: int) -> Any:
    outputs = {"finding": keras.layers.Dense(1, dtype="float32", name="finding")(features), "map": place}
    if types:
        outputs["type"] = keras.layers.Dense(types, dtype="float32", name="type")(features)
    return keras.Model(films, outputs, name=name)


NETWORKS: dict[str, Callable[[int, TrainingParams, int], Any]] = {
    "compact": _compact,
    "plain": _plain,
    **{name: partial(_ours, name=name, features=efficientnet_lite) for name in LITES},
    **{name: partial(_ours, name=name, features=resnet) for name in BLOCKS},
    **{name: partial(_application, name=name) for name in APPLICATIONS},
}
