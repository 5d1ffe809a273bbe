"""The networks of keras.applications that can be trained here, and what their ImageNet weights expect to see."""

from typing import Any, NamedTuple

from osteon.models.networks.quiet_keras import keras


class Application(NamedTuple):
    """One of them.

    constructor: its name in keras.applications. deviation: of the pixels it saw on ImageNet, in its own units.
    options: of the constructor.
    """

    constructor: str
    deviation: float
    options: dict[str, Any]


# ImageNet's channels deviate by 0.229, 0.224 and 0.225 of white (mean 0.226). VGG and ResNet saw grey levels of 256
# less their mean, DenseNet and EfficientNetV2 these divided by their deviation, MobileNetV3 levels from −1 to 1.
_OF_WHITE = 0.226
APPLICATIONS = {
    "vgg": Application("VGG16", 255 * _OF_WHITE, {}),
    "resnet50": Application("ResNet50", 255 * _OF_WHITE, {}),
    "densenet121": Application("DenseNet121", 1.0, {}),
    "efficientnetv2b0": Application("EfficientNetV2B0", 1.0, {"include_preprocessing": False}),
    "mobilenetv3": Application("MobileNetV3Large", 2 * _OF_WHITE, {"include_preprocessing": False}),
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
        weights: 'imagenet': with these, which Keras fetches; None: without.

    """
    known = APPLICATIONS[name]
    constructor = getattr(keras.applications, known.constructor)
    return constructor(include_top=classifier, weights=weights, input_shape=(224, 224, 3), **known.options)
