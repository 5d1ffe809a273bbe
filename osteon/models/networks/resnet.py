"""ResNet-18 and ResNet-34 (He et al. 2015, arXiv 1512.03385), without their classifier."""

from typing import Any

from osteon.models.networks.quiet_keras import keras

# Blocks of each stage; each has twice the channels of the one before, and all but the first half its resolution.
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
CHANNELS = 64


def resnet(name: str, x: Any) -> Any:
    """The features at stride 32, 512 channels.

    Args:
        name: in BLOCKS.
        x: its input, float32, batch × side × side × channels, any number of channels; side a multiple of 32.

    """

    def normal(x: Any, name: str) -> Any:
        # Keras' momentum of 0.99 is for hundreds of thousands of steps; a training here has a few thousand.
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)

    def active(x: Any, name: str) -> Any:
        return keras.layers.Activation("relu", name=f"{name}_relu")(x)

    def convolved(x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
        convolution = keras.layers.Conv2D(
            channels, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
        )
        return normal(convolution(x), name)

    x = active(convolved(x, CHANNELS, 7, 2, "stem"), "stem")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for stage, blocks in enumerate(BLOCKS[name]):
        channels = CHANNELS * 2**stage
        for block in range(blocks):
            label, stride = f"stage{stage + 1}_block{block + 1}", 1 if block or not stage else 2
            changed = active(convolved(x, channels, 3, stride, f"{label}_conv1"), f"{label}_conv1")
            changed = convolved(changed, channels, 3, 1, f"{label}_conv2")
            same_shape = stride == 1 and x.shape[-1] == channels
            short = x if same_shape else convolved(x, channels, 1, stride, f"{label}_short")
            x = active(keras.layers.Add(name=f"{label}_add")([changed, short]), label)
    return x
