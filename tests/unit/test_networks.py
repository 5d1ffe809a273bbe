"""The networks by name, weights to start from, and the type as a second answer. Keras' own networks are the oracle."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from osteon.errors import OsteonError
from osteon.models.networks.backend import load_keras
from osteon.params import NetworkName, TrainingParams

keras = load_keras()

from osteon.models.fitting.fit import compile_network  # noqa: E402
from osteon.models.fitting.fused_normalisation import training_copy  # noqa: E402
from osteon.models.networks.applications import APPLICATIONS  # noqa: E402
from osteon.models.networks.architectures import NETWORKS, build_network  # noqa: E402
from osteon.models.networks.stages import freeze_body, freeze_stages, rate_shares, stages_of  # noqa: E402
from osteon.models.networks.starting_weights import (  # noqa: E402
    body_layers,
    for_grey_films,
    head_layers,
    load_weights,
)
from osteon.models.package.package import logits_with_flip_tta  # noqa: E402

TYPES = ["hairline", "oblique", "transverse"]
# As efficientnet_lite0 and resnet18, with more of the same blocks.
LARGER = {"efficientnet_lite1", "efficientnet_lite2", "resnet34"}
# One worker has all tests of a network: building it and what TensorFlow compiles for it takes longer than they do.
ONE_BY_ONE = {
    name: pytest.param(name, marks=pytest.mark.xdist_group(f"network {name}"))
    for name in NETWORKS
    if name not in LARGER
}
every_network = pytest.mark.parametrize("name", ONE_BY_ONE.values())
every_application = pytest.mark.parametrize("name", [ONE_BY_ONE[name] for name in APPLICATIONS])


def params_of(name: str, **values: Any) -> TrainingParams:
    return TrainingParams(network=name, width=8, **values)


@pytest.fixture(autouse=True)
def in_float32() -> None:
    """Whatever a training before this test has set."""
    keras.mixed_precision.set_dtype_policy("float32")


@cache
def built(name: str) -> Any:
    """A network for films of 64 pixels with all three answers; nobody changes its weights."""
    keras.utils.set_random_seed(1)
    return build_network(64, params_of(name, task="fracture_type"), TYPES)


def films_of(count: int, side: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """Noise with a brighter half, so that no film is its own mirror image."""
    films = np.random.default_rng(seed).integers(0, 160, (count, side, side, 1))
    films[:, :, : side // 2] += 60
    return films.astype(np.uint8)


def answers_of(network: Any, films: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    return {name: np.asarray(answer) for name, answer in network.predict_on_batch(films).items()}


@pytest.fixture
def bfloat16() -> Iterator[None]:
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy("float32")


# ---------------------------------------------------------------- networks


def test_every_name_that_params_allow_is_a_network() -> None:
    assert tuple(NETWORKS) == get_args(NetworkName)


@every_network
def test_a_networks_answers(name: str) -> None:
    answers = answers_of(built(name), films_of(2))
    assert {what: answer.shape for what, answer in answers.items()} == {
        "finding": (2, 1),
        "map": (2, 4, 4, 1),
        "type": (2, 3),
    }
    assert all(answer.dtype == np.float32 and np.isfinite(answer).all() for answer in answers.values())
    assert built(name).name == name


@every_network
def test_a_network_in_bfloat16_answers_in_float32(bfloat16: None, name: str) -> None:
    """At the least side, 32 pixels; without the task fracture_type there is no answer to it."""
    network = build_network(32, params_of(name))
    answers = network(films_of(2, 32))
    assert {what: tuple(answer.shape) for what, answer in answers.items()} == {"finding": (2, 1), "map": (2, 2, 2, 1)}
    assert {keras.backend.standardize_dtype(answer.dtype) for answer in answers.values()} == {"float32"}
    assert body_layers(network)[0].compute_dtype == "bfloat16"
    assert {layer.compute_dtype for layer in head_layers(network)} - {"bfloat16"} == {"float32"}


@pytest.mark.parametrize("side", [96, 224])
@every_network
def test_a_networks_answers_for_films_of_another_side(name: str, side: int) -> None:
    network = build_network(side, params_of(name))
    assert network.input_shape == (None, side, side, 1)
    assert network.output["map"].shape == (None, side // 16, side // 16, 1)


@pytest.mark.parametrize(
    ("name", "with_classifier", "classifier", "first"),
    [
        # Published parameters (keras.io/api/applications), those of the classifier, and one input channel of the stem.
        ("vgg", 138_357_544, 25_088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000, 3 * 3 * 64),
        ("resnet50", 25_636_712, 2048 * 1000 + 1000, 7 * 7 * 64),
        ("densenet121", 8_062_504, 1024 * 1000 + 1000, 7 * 7 * 64),
        ("efficientnetv2b0", 7_200_312, 1280 * 1000 + 1000, 3 * 3 * 32),
        ("mobilenetv3", 5_507_432, 960 * 1280 + 1280 + 1280 * 1000 + 1000, 3 * 3 * 16),
    ],
)
def test_the_parameters_are_those_published(name: str, with_classifier: int, classifier: int, first: int) -> None:
    result = sum(layer.count_params() for layer in body_layers(built(name)))
    assert result == with_classifier - classifier - 2 * first


@pytest.mark.parametrize(("name", "published"), [("resnet18", 11_689_512), ("resnet34", 21_797_672)])
def test_the_parameters_of_resnets_are_those_published(name: str, published: int) -> None:
    """Of torchvision's; less the classifier and the stem's two further colours."""
    network = build_network(32, params_of(name))
    trained = sum(int(np.prod(weight.shape)) for layer in body_layers(network) for weight in layer.trainable_weights)
    assert trained == published - (512 * 1000 + 1000) - 2 * 7 * 7 * 64
    assert network.get_layer("map").input.shape == (None, 2, 2, 256)


def test_the_parameters_of_plain_by_hand() -> None:
    convolutions = 9 * (1 * 32 + 32 * 64 + 64 * 128 + 128 * 256)
    normalisation = 4 * (32 + 64 + 128 + 256)
    heads = (256 + 1) + (256 * 128 + 128) + (128 + 1) + (128 * 3 + 3)  # map, hidden, finding, type
    assert built("plain").count_params() == convolutions + normalisation + heads


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("vgg", "block5_conv3"),
        ("resnet18", "stage3_block2_relu"),
        ("resnet50", "conv4_block6_out"),
        ("densenet121", "pool4_conv"),
        ("efficientnetv2b0", "block6a_expand_activation"),
    ],
)
def test_the_map_is_read_from_the_last_view_at_stride_16(name: str, last: str) -> None:
    assert built(name).get_layer("map").input is built(name).get_layer(last).output


def test_the_map_of_mobilenetv3_too() -> None:
    """Its activations have no names; the last before stride 32 follows expanded_conv_12_expand_bn."""
    before = built("mobilenetv3").get_layer("map").input._keras_history.operation.input
    assert before is built("mobilenetv3").get_layer("expanded_conv_12_expand_bn").output


@every_network
def test_a_saved_network_answers_the_same(tmp_path: Path, name: str) -> None:
    built(name).save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False, safe_mode=True)
    before, after = answers_of(built(name), films_of(2)), answers_of(again, films_of(2))
    for what in before:
        np.testing.assert_allclose(after[what], before[what], rtol=1e-5, atol=1e-6)


@every_network
def test_a_film_and_its_mirror_image_get_the_same_answer(name: str) -> None:
    squares = films_of(2)[..., 0]
    plain, mirrored = (logits_with_flip_tta(built(name), seen) for seen in (squares, squares[:, :, ::-1]))
    np.testing.assert_allclose(mirrored, plain, rtol=1e-4, atol=1e-5)


@every_network
def test_exposure_changes_nothing(name: str) -> None:
    """Gain and offset of a film are taken out before the first convolution."""
    film = np.random.default_rng(0).integers(0, 100, (1, 64, 64, 1)).astype(np.uint8)
    first, second = (answers_of(built(name), item)["finding"] for item in (film, film * 2 + 20))
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3)


@every_network
def test_a_few_steps_lower_the_loss(name: str) -> None:
    """Eight films, half of them with a dark square; every answer's loss goes down."""
    films = films_of(8)
    place = np.zeros((8, 4, 4, 1), np.float32)
    for film in range(0, 8, 2):
        films[film, 16:32, 32:48] = 0
        place[film, 1, 2] = 1
    fractured = (np.arange(8) % 2 == 0).astype(np.float32)
    types = np.eye(3, dtype=np.float32)[np.arange(8) // 2 % 3] * fractured[:, None]
    targets = {"finding": fractured[:, None], "map": place, "type": types}
    weights = {"finding": np.ones(8, np.float32), "map": np.ones(8, np.float32), "type": fractured}
    keras.utils.set_random_seed(3)
    params = params_of(name, task="fracture_type", learning_rate=1e-3, warmup_epochs=0, ema=0, dropout=0.0)
    network = training_copy(build_network(64, params, TYPES))  # as fit does
    compile_network(network, params, 100)
    network.run_eagerly = name in APPLICATIONS  # to compile a large one takes longer than many steps
    losses = []
    for _ in range(6 if name in APPLICATIONS else 15):
        network.reset_metrics()
        losses.append(network.train_on_batch(films, targets, weights, return_dict=True))
    for what in ("loss", "finding_loss", "map_loss", "type_loss"):
        assert float(losses[-1][what]) < 0.8 * float(losses[0][what]), what


BY_JAX = """
import sys
from pathlib import Path
sys.modules["tensorflow"] = None  # any import of it raises
import numpy as np
from osteon.models.networks.backend import load_keras
keras = load_keras()
folder = Path(sys.argv[1])
films = np.load(folder / "films.npy")
for file in sorted(folder.glob("*.keras")):
    answers = keras.saving.load_model(file, compile=False, safe_mode=True).predict_on_batch(films)
    np.savez(folder / f"{file.stem}.npz", **{name: np.asarray(answer) for name, answer in answers.items()})
"""


@pytest.mark.slow
def test_jax_answers_as_tensorflow_does(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    names = ("plain", "mobilenetv3")
    films = films_of(2)
    np.save(tmp_path / "films.npy", films)
    for name in names:
        built(name).save(tmp_path / f"{name}.keras")
    done = subprocess.run(
        [sys.executable, "-c", BY_JAX, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in names:
        with np.load(tmp_path / f"{name}.npz") as result:
            for what, answer in answers_of(built(name), films).items():
                np.testing.assert_allclose(result[what], answer, rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------- ImageNet's weights

# Deviation of the pixels that each network saw: of 0 … 255, of channels divided by theirs, of −1 … 1.
DEVIATIONS = {"vgg": 57.63, "resnet50": 57.63, "densenet121": 1, "efficientnetv2b0": 1, "mobilenetv3": 0.452}


def published(name: str, side: int = 64, **options: Any) -> Any:
    """Keras' network for colour pictures, every weight of it drawn anew (batch normalisation's averages too)."""
    usual: dict[str, Any] = {"include_top": False, "input_shape": (side, side, 3)}
    constructor = getattr(keras.applications, APPLICATIONS[name].constructor)
    network = constructor(weights=None, **{**APPLICATIONS[name].options, **usual, **options})
    rng = np.random.default_rng(4)
    for variable in network.weights:
        value = np.asarray(variable)
        variable.assign(value * rng.uniform(0.8, 1.2, value.shape) + 0.01 * rng.standard_normal(value.shape))
    return network


def assert_same_features(network: Any, oracle: Any) -> None:
    """What ours sees on grey films is what the oracle sees on their standardised copy in three channels."""
    films = films_of(2)
    pooled = [layer for layer in network.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)][-1]
    (standardised,) = (layer for layer in network.layers if isinstance(layer, keras.layers.LayerNormalization))
    seen, features = keras.Model(network.inputs, [standardised.output, pooled.input]).predict_on_batch(films)
    np.testing.assert_allclose([seen.mean(), seen.std()], [0, 1], atol=1e-3)
    expected = np.asarray(oracle.predict_on_batch(np.repeat(seen, 3, axis=-1) * DEVIATIONS[network.name]))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(features / scale, expected / scale, atol=2e-3)
    assert expected.std() / scale > 0.01, "the features say nothing, neither does the comparison"


@every_application
def test_imagenet_weights_see_the_same_as_in_keras(tmp_path: Path, name: str) -> None:
    oracle = published(name)
    oracle.save_weights(tmp_path / "imagenet.weights.h5")
    network = build_network(64, params_of(name))
    loaded = load_weights(network, tmp_path / "imagenet.weights.h5")
    assert_same_features(network, oracle)
    assert set(loaded.loaded) == {layer.name for layer in body_layers(network)}
    assert set(loaded.not_loaded) == {"finding", "map"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["weights.h5", "h5", "keras", "as of old"])
def test_imagenet_weights_in_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    oracle = published("mobilenetv3")
    path = tmp_path / f"imagenet.{kind}"
    if kind == "weights.h5":
        oracle.save_weights(path)
    elif kind == "as of old":  # the form of the files at storage.googleapis.com/tensorflow/keras-applications
        from keras.src.legacy.saving import legacy_h5_format

        path = tmp_path / "weights_mobilenet_v3_no_top.h5"
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, oracle)
    else:
        oracle.save(path)
    network = build_network(64, params_of("mobilenetv3"))
    load_weights(network, path)
    assert_same_features(network, oracle)


@pytest.mark.slow
def test_imagenet_weights_with_their_classifier(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = published("densenet121", 224, include_top=True)
    whole.save(tmp_path / "imagenet.h5")
    network = build_network(64, params_of("densenet121"))
    with caplog.at_level(logging.INFO):
        loaded = load_weights(network, tmp_path / "imagenet.h5")
    assert loaded.unused == ("predictions",)
    (line,) = (record for record in caplog.records if record.name == "osteon.models.networks.starting_weights")
    assert line.getMessage() == (
        f"weights of {len(loaded.loaded)} layers from imagenet.h5 · not in it, without starting weights: map, finding"
        " · not needed: predictions"
    )
    oracle = published("densenet121")
    oracle.set_weights(whole.get_weights()[:-2])
    assert_same_features(network, oracle)


@every_application
def test_the_deviation_is_that_of_keras_own_preprocessing(name: str) -> None:
    """A grey film with ImageNet's mean and deviation, prepared by Keras, is the standardised film times ours."""
    standard = np.random.default_rng(0).standard_normal((1, 32, 32, 1))
    standard = (standard - standard.mean()) / standard.std()
    colour = np.repeat(255 * (0.449 + 0.226 * standard), 3, axis=-1).astype(np.float32)
    if "include_preprocessing" in APPLICATIONS[name].options:  # in the network, before its first convolution
        network = published(name, 32, include_preprocessing=True)
        stem = next(layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D))
        seen = np.asarray(keras.Model(network.inputs, stem.input).predict_on_batch(colour))
    else:
        module = {"vgg": "vgg16", "resnet50": "resnet50", "densenet121": "densenet"}[name]
        seen = getattr(keras.applications, module).preprocess_input(colour.copy())
    ours = APPLICATIONS[name].deviation * standard
    grey = seen.mean(axis=-1, keepdims=True)
    assert np.abs(grey - grey.mean() - ours).max() < 0.02 * np.abs(ours).max()
    assert np.abs(grey.mean()) < 0.25 * APPLICATIONS[name].deviation  # MobileNetV3: 2 · 0.449 − 1


def test_a_stem_for_grey_films_by_hand() -> None:
    kernel = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)
    np.testing.assert_array_equal(for_grey_films(kernel, 2.0), [[[[12, 18]], [[48, 54]]]])
    np.testing.assert_array_equal(for_grey_films(kernel[:, :, :1], 2.0), kernel[:, :, :1])


# ---------------------------------------------------------------- own weights


@pytest.mark.parametrize("name", ["compact", "plain", "mobilenetv3", "resnet18"])
@pytest.mark.parametrize("kind", ["keras", "weights.h5"])
def test_own_weights_come_back(tmp_path: Path, name: str, kind: str) -> None:
    """A one-channel stem of ours is not scaled; a film of another side is no other network."""
    path = tmp_path / f"own.{kind}"
    built(name).save(path) if kind == "keras" else built(name).save_weights(path)
    keras.utils.set_random_seed(9)
    network = build_network(96, params_of(name, task="fracture_type"), TYPES)
    loaded = load_weights(network, path)
    assert (loaded.not_loaded, loaded.unused) == ((), ())
    for ours, stored in zip(network.get_weights(), built(name).get_weights(), strict=True):
        np.testing.assert_array_equal(ours, stored)


@pytest.mark.parametrize("kind", ["keras", "weights.h5"])
@pytest.mark.parametrize("before", [["oblique", "spiral"], []])
def test_own_weights_for_other_types_leave_the_type_to_be_learnt(tmp_path: Path, kind: str, before: list[str]) -> None:
    keras.utils.set_random_seed(8)
    old = build_network(64, params_of("compact", task="fracture_type" if before else "fracture"), before)
    path = tmp_path / f"own.{kind}"
    old.save(path) if kind == "keras" else old.save_weights(path)
    network = build_network(64, params_of("compact", task="fracture_type"), TYPES)
    loaded = load_weights(network, path)
    assert loaded.not_loaded == ("type",)
    # A .weights.h5 does not tell what else is in it.
    assert loaded.unused == (("type",) if before and kind == "keras" else ())
    films = films_of(2)
    for what in ("finding", "map"):
        np.testing.assert_allclose(answers_of(network, films)[what], answers_of(old, films)[what], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras", "weights.h5"])
def test_weights_of_another_network_are_refused_and_nothing_is_changed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"other.{kind}"
    for other in (
        build_network(64, TrainingParams(width=16)),
        built("plain"),
        built("mobilenetv3"),
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]),
    ):
        other.save(path) if kind == "keras" else other.save_weights(path)
        network = build_network(64, params_of("compact"))
        before = network.get_weights()
        with pytest.raises(OsteonError, match=r"training.weights: .*no weights for the network compact \(") as refused:
            load_weights(network, path)
        assert "\n" not in str(refused.value)
        assert str(path) in str(refused.value)
        for ours, kept in zip(network.get_weights(), before, strict=True):
            np.testing.assert_array_equal(ours, kept)


def test_the_reason_names_the_layer_and_both_shapes(tmp_path: Path) -> None:
    build_network(64, TrainingParams(width=16)).save(tmp_path / "wide.keras")
    network = build_network(64, params_of("compact"))
    first = body_layers(network)[0].name
    with pytest.raises(OsteonError, match=rf"layer {first} needs \[\(3, 3, 1, 4\)\], it has \[\(3, 3, 1, 8\)\]"):
        load_weights(network, tmp_path / "wide.keras")


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    network = build_network(64, params_of("compact"))
    with pytest.raises(OsteonError, match=r"training.weights: .*gone.keras: no such file"):
        load_weights(network, tmp_path / "gone.keras")
    (tmp_path / "weights.pt").write_bytes(b"torch")
    with pytest.raises(OsteonError, match=r"weights.pt: neither of \.weights\.h5"):
        load_weights(network, tmp_path / "weights.pt")
    built("compact").save(tmp_path / "half.keras")
    built("compact").save_weights(tmp_path / "half.weights.h5")
    for path in (tmp_path / "half.keras", tmp_path / "half.weights.h5"):
        path.write_bytes(path.read_bytes()[:20_000])
    for name in ("noise.keras", "noise.h5", "noise.weights.h5"):
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(5000))
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    for name in ("half.keras", "half.weights.h5", "noise.keras", "noise.h5", "noise.weights.h5", "empty.h5"):
        with pytest.raises(OsteonError, match=f"{name}: no weights for the network compact"):
            load_weights(network, tmp_path / name)


# ---------------------------------------------------------------- what learns


@every_network
def test_the_stages_of_a_network(name: str) -> None:
    """Each at half the resolution of the one before; what a layer sees comes from its own stage or an earlier one."""
    network, stages = built(name), stages_of(built(name))
    assert list(stages) == [layer.name for layer in body_layers(network)]
    assert set(stages.values()) == set(range(1, 5 if name == "plain" else 6))
    first_side = {"plain": 64, "vgg": 64}.get(name, 32)
    for layer in body_layers(network):
        squeezed = "squeeze_excite" in layer.name or "_se_" in layer.name
        assert squeezed or layer.output.shape[1] == first_side // 2 ** (stages[layer.name] - 1), layer.name
    highest: dict[int, int] = {}
    for operation in network.operations:
        inputs = [] if isinstance(operation, keras.layers.InputLayer) else keras.tree.flatten(operation.input)
        before = max((highest[id(tensor)] for tensor in inputs), default=0)
        assert before <= stages.get(operation.name, 9), operation.name
        highest[id(operation.output)] = max(before, stages.get(operation.name, 0))


def test_stages_of_the_smallest_films() -> None:
    """The last features have one place then, as squeeze-and-excite has everywhere."""
    larger = {
        layer.name: stage
        for layer, stage in zip(
            body_layers(built("mobilenetv3")), stages_of(built("mobilenetv3")).values(), strict=True
        )
    }
    smaller = build_network(32, params_of("mobilenetv3"))
    assert list(stages_of(smaller).values()) == list(larger.values())


def changed_by_a_step(network: Any, params: TrainingParams) -> set[str]:
    """Names of the layers that a step changes: compiled as they are to be trained."""
    finding = np.array([[1], [0], [1], [0]], np.float32)
    place = np.zeros((4, 2, 2, 1))
    layers = [*body_layers(network), *head_layers(network)]
    before = {layer.name: layer.get_weights() for layer in layers}
    network.train_on_batch(films_of(4, 32), {"finding": finding, "map": place, "type": np.eye(3)[[0, 0, 1, 1]]})
    return {
        layer.name
        for layer in layers
        if any((a != b).any() for a, b in zip(before[layer.name], layer.get_weights(), strict=True))
    }


HEADS_OF_PLAIN = {"finding", "map", "type", "hidden"}


def test_first_the_heads_learn_alone() -> None:
    """With the body at rest its batch normalisation is, too: a few films do not move what ImageNet had taught it."""
    params = params_of("plain", task="fracture_type", warmup_epochs=0, ema=0)
    network = build_network(32, params, TYPES)
    freeze_body(network)
    network.compile("sgd", loss={"finding": "mse", "map": "mse", "type": "mse"})
    assert changed_by_a_step(network, params) == HEADS_OF_PLAIN


@pytest.mark.parametrize("frozen", [0, 1, 3, 5])
def test_frozen_stages_do_not_change(frozen: int) -> None:
    """Neither kernels nor scales nor averages; all others do, after a training of the heads alone, too."""
    params = params_of("plain", task="fracture_type", warmup_epochs=0, ema=0, weights="imagenet", frozen_stages=frozen)
    keras.utils.set_random_seed(2)
    network = training_copy(build_network(32, params, TYPES))
    freeze_body(network)
    compile_network(network, params, 10)
    behind = {name for name, stage in stages_of(network).items() if stage > frozen}
    assert len(behind) == 2 * max(4 - frozen, 0)
    assert changed_by_a_step(network, params) == behind | HEADS_OF_PLAIN


@pytest.mark.parametrize("frozen_statistics", [False, True])
def test_frozen_statistics_stay_while_scales_are_trained(frozen_statistics: bool) -> None:
    params = params_of("plain", task="fracture_type", warmup_epochs=0, ema=0)
    keras.utils.set_random_seed(2)
    network = training_copy(build_network(32, params, TYPES), frozen_statistics=frozen_statistics)
    compile_network(network, params, 10)
    before = [np.asarray(weight) for weight in network.weights]
    assert len(changed_by_a_step(network, params)) == 12
    for weight, old in zip(network.weights, before, strict=True):
        assert (np.asarray(weight) == old).all() == (frozen_statistics and "moving" in weight.path), weight.path


def backward_convolutions(frozen: int) -> int:
    """How many operations TensorFlow does for the gradients of plain's convolutions: those that a gradient needs."""
    params = params_of("plain", weights="imagenet", frozen_stages=frozen)
    network = training_copy(build_network(32, params))
    compile_network(network, params, 10)
    tensorflow = pytest.importorskip("tensorflow")

    def gradients(films: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            answers = network(films, training=True)
            loss = tensorflow.reduce_sum(answers["finding"]) + tensorflow.reduce_sum(answers["map"])
        return tape.gradient(loss, [variable.value for variable in network.trainable_variables])

    graph = tensorflow.function(gradients).get_concrete_function(films_of(2, 32)).graph
    needed = [tensor.op.name for tensor in graph.outputs]
    done = tensorflow.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), needed)
    return sum("Conv2DBackprop" in node.op for node in done.node)


def test_no_gradient_is_computed_for_what_is_frozen() -> None:
    """Five convolutions with a gradient for the kernel, all but the first with one for what it sees."""
    assert [backward_convolutions(frozen) for frozen in (0, 2, 4)] == [9, 5, 1]


def test_shares_of_the_rate() -> None:
    """Of plain's four stages and three heads, with half the rate a stage."""
    network = build_network(32, params_of("plain"))
    shares = dict(
        zip((variable.path for variable in network.trainable_variables), rate_shares(network, 0.5), strict=True)
    )
    by_layer: dict[str, set[float]] = {}
    for path, share in shares.items():
        by_layer.setdefault(path.split("/")[0], set()).add(share)
    stages = stages_of(network)
    assert by_layer == {
        **{name: {0.5 ** (5 - stage)} for name, stage in stages.items()},
        **{name: {1.0} for name in HEADS_OF_PLAIN - {"type"}},
    }
    assert sorted({share for shares in by_layer.values() for share in shares}) == [0.0625, 0.125, 0.25, 0.5, 1.0]
    freeze_stages(network, 3)
    assert sorted(set(rate_shares(network, 0.5))) == [0.5, 1.0]


# ---------------------------------------------------------------- types


def test_the_loss_of_the_type_counts_the_films_that_have_one() -> None:
    """Four films of which two have a type: cross-entropy of these two, over four, times type_weight."""
    params = params_of("compact", task="fracture_type", type_weight=0.3, map_weight=0.0)
    network = build_network(64, params, TYPES)
    compile_network(network, params, 10)
    films, types = films_of(4), np.zeros((4, 3), np.float32)
    types[0, 1] = types[2, 2] = 1
    targets = {"finding": np.array([[1], [0], [1], [0]], np.float32), "map": np.zeros((4, 4, 4, 1)), "type": types}
    weights = {"finding": np.zeros(4), "map": np.zeros(4), "type": types.sum(axis=1)}
    result = network.test_on_batch(films, targets, weights, return_dict=True)
    logits = answers_of(network, films)["type"].astype(np.float64)
    entropy = np.log(np.exp(logits).sum(axis=1)) - (logits * types).sum(axis=1)
    assert float(result["loss"]) == pytest.approx(0.3 * (entropy[0] + entropy[2]) / 4, rel=1e-4)


def test_a_network_for_types_is_told_which() -> None:
    with pytest.raises(ValueError, match="names of the types"):
        build_network(64, params_of("compact", task="fracture_type"))
