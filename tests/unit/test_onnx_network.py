"""Networks as ONNX say what they say in Keras; each kind of network, of each precision."""

from pathlib import Path

import numpy as np
import pytest

from osteon.models.networks.backend import load_keras
from osteon.params import TrainingParams
from tests.command import python

keras = load_keras()

from osteon.models.inference.onnx_network import OnnxNetwork, export_network, in_float32  # noqa: E402
from osteon.models.inference.out_of_distribution import EMBEDDING, with_embedding  # noqa: E402
from osteon.models.inference.predict import predict_with_flip_tta  # noqa: E402
from osteon.models.networks.architectures import NETWORKS, build_network  # noqa: E402
from osteon.models.networks.network_files import save_network  # noqa: E402

SIDE = 64
TYPES = ["oblique", "transverse"]


def films(count: int = 3) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE), np.uint8)


def exported(network: object, folder: Path) -> OnnxNetwork:
    save_network(folder / "network.keras", network)
    export_network(folder / "network.keras", folder / "network.onnx")
    return OnnxNetwork(folder / "network.onnx", threads=1)


@pytest.mark.parametrize(
    "name", [name for name in NETWORKS if name not in {"efficientnet_lite1", "efficientnet_lite2"}]
)
def test_every_network_says_the_same_as_onnx(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    params = TrainingParams(network=name, width=8, task="fracture_type")
    network = build_network(SIDE, params, TYPES)
    # As after a training: batches have left their means, and no bias is zero.
    for variable in network.weights:
        if len(variable.shape) == 1:
            values = np.asarray(variable)
            variable.assign(values + np.random.default_rng(values.size).uniform(0.01, 0.1, values.shape))
    outputs = ["finding", "map", "type", EMBEDDING]
    expected = predict_with_flip_tta(with_embedding(network), films(), outputs)
    result = predict_with_flip_tta(exported(network, tmp_path), films(), outputs)
    for output in outputs:
        size = np.abs(expected[output]).max()
        assert size > 0.01
        np.testing.assert_allclose(result[output], expected[output], atol=1e-4 * max(size, 1), err_msg=output)


def test_a_network_trained_in_bfloat16_answers_in_float32(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = build_network(SIDE, TrainingParams(width=8))
    finally:
        keras.config.set_dtype_policy("float32")
    exact = in_float32(network)
    assert {layer.compute_dtype for layer in exact.layers} == {"float32"}
    expected = predict_with_flip_tta(exact, films(), ["finding"])["finding"]
    result = predict_with_flip_tta(exported(network, tmp_path), films(), ["finding"])["finding"]
    np.testing.assert_allclose(result, expected, atol=1e-5)
    # It was not so before, or the test would show nothing.
    assert np.abs(predict_with_flip_tta(network, films(), ["finding"])["finding"] - expected).max() > 1e-4


def test_a_second_export_is_the_same_file(tmp_path: Path) -> None:
    network = build_network(SIDE, TrainingParams(width=8))
    exported(network, tmp_path)
    first = (tmp_path / "network.onnx").read_bytes()
    exported(network, tmp_path)
    assert (tmp_path / "network.onnx").read_bytes() == first


ASK = """
import sys
from pathlib import Path
import numpy as np
from osteon.models.package.package import OnnxNetwork, logits_with_flip_tta
print(logits_with_flip_tta(OnnxNetwork(Path(sys.argv[1])), np.ones((2, 64, 64), np.uint8)).shape)
print(sorted({"keras", "tensorflow", "mlflow", "sklearn"} & set(sys.modules)))
"""


def test_to_answer_neither_keras_nor_tensorflow_is_imported(tmp_path: Path) -> None:
    exported(build_network(SIDE, TrainingParams(width=8)), tmp_path)
    done = python(tmp_path, "-c", ASK, str(tmp_path / "network.onnx"))
    assert done.stdout.splitlines() == ["(2,)", "[]"]


def test_the_embedding_is_every_channels_mean_and_log_deviation_where_branches_join(tmp_path: Path) -> None:
    """The network compact has blocks at a quarter of the side, an eighth, a sixteenth (two) and a thirty-second."""
    network = build_network(SIDE, TrainingParams(width=8))
    adds = {layer.output.shape[1]: layer.output for layer in network.layers if layer.__class__.__name__ == "Add"}
    assert list(adds) == [16, 8, 4, 2]
    places = keras.Model(network.inputs, list(adds.values())).predict_on_batch(films()[..., None])
    expected = [
        np.concatenate([item.mean(axis=(1, 2)), np.log(item.std(axis=(1, 2)) + 0.03)], axis=1) for item in places
    ]
    result = with_embedding(network).predict_on_batch(films()[..., None])[EMBEDDING]
    assert result.shape == (3, 2 * (4 + 8 + 16 + 32 + 48))  # at half of the side there are no branches: 4 channels
    np.testing.assert_allclose(result[:, 8:], np.concatenate(expected, axis=1), atol=1e-4)
