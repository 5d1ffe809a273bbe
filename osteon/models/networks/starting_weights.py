"""Weights to start from: a file's or ImageNet's into a network.

How a training with weights goes:

    network = build_network(side, params, types)
    load_starting_weights(network, params.weights)
    freeze_body(network)   # the heads alone; what batch normalisation knows of its channels stays, too
    … compile, params.head_epochs epochs
    freeze_stages(network, params.frozen_stages)
    … compile anew, with params.learning_rate × params.fine_tuning, the other epochs

A compiled network does not notice that a layer's trainable was changed: compile after each change.
"""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from osteon.errors import OsteonError
from osteon.models.networks.applications import (
    APPLICATIONS,
    application_as_published,
    application_from_imagenet,
)
from osteon.models.networks.architectures import HEADS
from osteon.models.networks.efficientnet_lite import LITE_DEVIATION, LITES, imagenet_weights, layer_arrays
from osteon.models.networks.quiet_keras import keras
from osteon.params import IMAGENET

log = logging.getLogger(__name__)

SUFFIXES = (".weights.h5", ".h5", ".hdf5", ".keras")
# What Keras, h5py and zipfile raise where a file is damaged or another network's.
_UNREADABLE = (ValueError, OSError, KeyError, TypeError, AttributeError, NotImplementedError, RuntimeError, BadZipFile)


@dataclass(frozen=True)
class LoadedWeights:
    """Names of layers with weights.

    loaded: of the network, that have the file's now. not_loaded: of the network, that start from nothing. unused: of
    the file, for which the network has no place (a .weights.h5 does not tell what else is in it).
    """

    loaded: tuple[str, ...]
    not_loaded: tuple[str, ...]
    unused: tuple[str, ...]


def body_layers(network: Any) -> list[Any]:
    """The layers with weights that see, in their order."""
    return [layer for layer in network.layers if layer.weights and layer.name not in HEADS]


def head_layers(network: Any) -> list[Any]:
    """The layers with weights that answer."""
    return [layer for layer in network.layers if layer.weights and layer.name in HEADS]


def load_starting_weights(network: Any, weights: str) -> LoadedWeights:
    """Put what training.weights names into a network: IMAGENET's weights, or those of a file; see load_weights.

    Raises:
        OsteonError: there are none for this network, or they cannot be read or fetched. The network is as it was.

    """
    return load_imagenet(network) if weights == IMAGENET else load_weights(network, Path(weights))


def load_imagenet(network: Any) -> LoadedWeights:
    """Put ImageNet's weights into the body; the heads start without.

    Those of EfficientNet-Lite come from an installed package. Keras fetches those of keras.applications once, checks
    their hash, shows progress and keeps them in ~/.keras.

    Raises:
        OsteonError: the network has none (compact, plain, resnet18, resnet34), the package is not installed, or they
            cannot be fetched.

    """
    if network.name in LITES:
        tensors = imagenet_weights(network.name)
        values = [(layer, layer_arrays(tensors, layer)) for layer in body_layers(network)]
        stem, arrays = values[0]
        values[0] = (stem, [for_grey_films(arrays[0], LITE_DEVIATION)])
        return _put(network, values, "ImageNet", ("classifier",))
    if network.name not in APPLICATIONS:
        names = ", ".join([*LITES, *APPLICATIONS])
        raise OsteonError(
            f"training.weights: imagenet: there are no such weights for the network {network.name}; "
            f"set training.network to one that has them ({names}), or leave training.weights empty"
        )
    return _put(network, _values_for(network, application_from_imagenet(network.name)), "ImageNet", ())


def load_weights(network: Any, path: Path) -> LoadedWeights:
    """Put a file's weights into a network, all of its body or nothing; heads where they fit.

    Args:
        network: of build_network.
        path: .keras, a network of this project of the same name, heads and side may differ; .weights.h5, weights of one
            with the same heads, or with all of them but 'type'; .h5 or .weights.h5, those of the network of the same
            name in keras.applications, such as ImageNet's, with or without classifier.

    Returns:
        What was loaded and what was not; it is also logged.

    Raises:
        OsteonError: there is no such file, or it holds no weights for this network. The network is as it was.

    """
    if not path.is_file():
        raise OsteonError(
            f"training.weights: {path}: no such file; name one, or leave it empty to start without weights"
        )
    if not path.name.endswith(SUFFIXES):
        raise OsteonError(f"training.weights: {path}: neither of {', '.join(SUFFIXES)}")
    try:
        stored = _stored_network(network, path)
        values = _values_for(network, stored)
    except _UNREADABLE as error:
        reason = " ".join((str(error) or type(error).__name__).split())
        raise OsteonError(
            f"training.weights: {path}: no weights for the network {network.name} ({reason[:300]}); "
            "name a file of this network, or change training.network or training.width"
        ) from None
    got = {layer.name for layer, _ in values}
    unused = [layer.name for layer in body_layers(stored)[len(body_layers(network)) :]]
    unused += [layer.name for layer in head_layers(stored) if layer.name not in got]
    return _put(network, values, path.name, tuple(unused))


def _put(
    network: Any, values: list[tuple[Any, list[NDArray[Any]]]], source: str, unused: tuple[str, ...]
) -> LoadedWeights:
    """Set the layers' weights, and log what was set and what was not."""
    for layer, arrays in values:
        layer.set_weights(arrays)
    got = {layer.name for layer, _ in values}
    loaded = LoadedWeights(
        loaded=tuple(layer.name for layer, _ in values),
        not_loaded=tuple(layer.name for layer in head_layers(network) if layer.name not in got),
        unused=unused,
    )
    log.info(
        "weights of %d layers from %s%s%s",
        len(loaded.loaded),
        source,
        f" · not in it, without starting weights: {', '.join(loaded.not_loaded)}" if loaded.not_loaded else "",
        f" · not needed: {', '.join(loaded.unused)}" if loaded.unused else "",
    )
    return loaded


def _stored_network(network: Any, path: Path) -> Any:
    """A network that holds the file's weights. Keras reads the file; it matches layers by their order.

    Raises:
        ValueError, OSError, …: none of those that the file may be for takes its weights; the reason is the first's,
            or that of the file itself.

    """
    if path.suffix == ".keras":
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    reason: Exception | None = None
    for candidate in _candidates(network):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                candidate.load_weights(path)
        except OSError:  # no HDF5 at all
            raise
        except _UNREADABLE as error:
            reason = reason or error
        else:
            return candidate
    raise reason or ValueError("no such network")


def _candidates(network: Any) -> Iterator[Any]:
    """What the file may be of, the likelier first; made one by one, for the large ones take seconds."""
    if network.name in APPLICATIONS:
        yield application_as_published(network.name, classifier=False)
    own = keras.models.clone_model(network)
    yield own
    if "type" in own.output:
        yield keras.Model(own.inputs, {name: own.output[name] for name in ("finding", "map")}, name=network.name)
    if network.name in APPLICATIONS:
        yield application_as_published(network.name, classifier=True)


def _values_for(network: Any, stored: Any) -> list[tuple[Any, list[NDArray[Any]]]]:
    """Layers of the network with the arrays that they get."""
    mine, theirs = body_layers(network), body_layers(stored)
    if len(theirs) < len(mine):
        raise ValueError(f"it has {len(theirs)} layers with weights, {len(mine)} are needed")
    values = []
    for layer, other in zip(mine, theirs, strict=False):  # a classifier may follow
        arrays = other.get_weights()
        if layer is mine[0] and network.name in APPLICATIONS:
            arrays[0] = for_grey_films(arrays[0], APPLICATIONS[network.name].deviation)
        _check_shapes(layer, arrays)
        values.append((layer, arrays))
    answers = {layer.name: layer.get_weights() for layer in head_layers(stored)}
    for layer in head_layers(network):
        arrays = answers.get(layer.name, [])
        if _shapes(arrays) == _shapes(layer.get_weights()):
            values.append((layer, arrays))
    return values


def for_grey_films(kernel: NDArray[Any], deviation: float) -> NDArray[Any]:
    """The first convolution's kernel for one channel, from one for three.

    A convolution is linear: of a film copied to three channels it makes what the sum of the kernel over its input
    channels makes of the film. Our films have mean 0 and deviation 1, each on its own. Those weights saw pictures whose
    channels had, over all of ImageNet, the mean 0 (MobileNetV3: −0.1) and the given deviation; the factor brings our
    films into these units. It is taken for granted that a film's own mean and deviation stand for ImageNet's, and that
    the channels' deviations, which differ by 1 in 100, are one.

    Args:
        kernel: height × width × 1 or 3 × channels; one for a single channel is ours and stays as it is.
        deviation: of the pixels that the weights saw.

    """
    if kernel.shape[2] == 1:
        return kernel
    return np.asarray(kernel.sum(axis=2, keepdims=True) * deviation, dtype=kernel.dtype)


def _check_shapes(layer: Any, arrays: list[NDArray[Any]]) -> None:
    if _shapes(arrays) != _shapes(layer.get_weights()):
        raise ValueError(f"layer {layer.name} needs {_shapes(layer.get_weights())}, it has {_shapes(arrays)}")


def _shapes(arrays: list[NDArray[Any]]) -> list[tuple[int, ...]]:
    return [array.shape for array in arrays]
