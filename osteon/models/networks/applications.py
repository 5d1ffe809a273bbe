"""The networks of keras.applications that can be trained here, and what their ImageNet weights expect to see."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from osteon.errors import OsteonError
from osteon.models.networks.quiet_keras import keras

PUBLISHED = "https://storage.googleapis.com/tensorflow/keras-applications/"
# Seconds without a byte after which a connection counts as dead; without a limit it would be waited for for ever.
SILENCE = 60.0


class Application(NamedTuple):
    """One of them.

    constructor: its name in keras.applications. deviation: of the pixels it saw on ImageNet, in its own units.
    options: of the constructor. file: with its weights without classifier, below PUBLISHED.
    """

    constructor: str
    deviation: float
    options: dict[str, Any]
    file: str


# ImageNet's channels deviate by 0.229, 0.224 and 0.225 of white (mean 0.226). VGG and ResNet saw grey levels of 256
# less their mean, DenseNet and EfficientNetV2 these divided by their deviation, MobileNetV3 levels from −1 to 1.
_OF_WHITE = 0.226
APPLICATIONS = {
    "vgg": Application("VGG16", 255 * _OF_WHITE, {}, "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    "resnet50": Application(
        "ResNet50", 255 * _OF_WHITE, {}, "resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    ),
    "densenet121": Application(
        "DenseNet121", 1.0, {}, "densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"
    ),
    "efficientnetv2b0": Application(
        "EfficientNetV2B0", 1.0, {"include_preprocessing": False}, "efficientnet_v2/efficientnetv2-b0_notop.h5"
    ),
    "mobilenetv3": Application(
        "MobileNetV3Large",
        2 * _OF_WHITE,
        {"include_preprocessing": False},
        "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
    ),
}


def application(name: str, side: int, x: Any) -> Any:
    """A network without its classifier and without weights, on what may have gone before; a keras.Model.

    Args:
        name: in APPLICATIONS.
        side: pixels, at least 32.
        x: its input, float32, batch × side × side × channels, any number of channels.

    """
    known = APPLICATIONS[name]
    constructor = getattr(keras.applications, known.constructor)
    body = constructor(
        include_top=False, weights=None, input_tensor=x, input_shape=(side, side, x.shape[-1]), **known.options
    )
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Keras' 0.99 and 0.999 are for hundreds of thousands of steps; a training here has a few thousand.
            layer.momentum = 0.9
        if name == "vgg" and isinstance(layer, keras.layers.Conv2D):
            # Nothing normalises in between, and from Keras' start the signal fades over 13 layers so that nothing is
            # learnt. He et al. 2015 (arXiv 1502.01852) keep it as strong as it was.
            layer.kernel.assign(keras.initializers.HeNormal()(layer.kernel.shape))
    return body


def application_as_published(name: str, *, classifier: bool, weights: str | None = None) -> Any:
    """The network for colour pictures, with or without its classifier of 1,000 classes; to read its weights into.

    Args:
        name: in APPLICATIONS.
        classifier: whether its last layer is there, too.
        weights: 'imagenet': with these, which Keras fetches (see application_from_imagenet); None: without.

    """
    known = APPLICATIONS[name]
    constructor = getattr(keras.applications, known.constructor)
    return constructor(include_top=classifier, weights=weights, input_shape=(224, 224, 3), **known.options)


def application_from_imagenet(name: str) -> Any:
    """The network for colour pictures without classifier, with ImageNet's weights.

    Keras fetches them once, with a progress bar, checks their hash and keeps them. Folds side by side wait for the
    first of them.

    Raises:
        OsteonError: they cannot be fetched; it says which file to bring, and where to put it.

    """
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
    try:
        with _alone_in(folder), _impatient():
            return application_as_published(name, classifier=False, weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception where a file cannot be fetched
        reason = re.sub(r"^URL fetch failure on \S+: (None -- )?", "", " ".join(str(error).split()))
        raise OsteonError(
            f"training.weights: imagenet: Keras cannot fetch the weights of {name} "
            f"({reason[:300] or type(error).__name__}); connect and run again, or bring the file "
            f"{PUBLISHED}{APPLICATIONS[name].file} and put it into {folder}, or anywhere and name it: "
            "training.weights: PATH"
        ) from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No two processes fetch into the folder at once: Keras writes the file under its own name, byte by byte."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    with FileLock(folder / "osteon.lock") if writable else nullcontext():
        yield


@contextmanager
def _impatient() -> Iterator[None]:
    """A connection that says nothing any more is an error."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
