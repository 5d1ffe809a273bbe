"""What the packaged model makes of its networks' outputs, by hand: networks whose outputs are plain arithmetic.

tests/unit/test_package.py asks the same of networks of Keras and of what they are exported to.
"""

import dataclasses
import io
import json
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from osteon.errors import OsteonError, UnreadableFilmError
from osteon.films.prepared.array import PreparedFilms
from osteon.films.reading.decoding import decode
from osteon.films.reading.film import letterbox
from osteon.films.reading.limits import FilmLimits
from osteon.models.classical.classifiers import save_classical
from osteon.models.classical.film_features import FEATURES, features_of
from osteon.models.inference.boxes import BoxRule
from osteon.models.inference.out_of_distribution import Embeddings, save_embeddings
from osteon.models.package import package as room
from osteon.models.package.package import (
    INFO,
    Package,
    check_files,
    classical_file,
    embeddings_file,
    example_film,
    hashes_of,
    load_networks,
    measure_parity,
    network_file,
    onnx_file,
    open_package,
    read_info,
    requirements,
)
from osteon.statistics.calibration import Calibration
from tests.making import dicom, dicom_bytes, encoded, package_info, points_at, ramp

WEIGHTS = np.random.default_rng(0).normal(size=16)
OF_TYPES = np.random.default_rng(1).normal(size=(16, 3))


class CellNetwork:
    """A film is 4 × 4 cells, each as bright as its mean; the outputs are weighted sums of them."""

    def __init__(self, bias: float = 0.0, outputs: Sequence[str] = ("finding", "map", "embedding", "type")) -> None:
        self.bias, self.outputs = bias, outputs

    def predict_on_batch(self, films: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
        assert films.dtype == np.uint8  # ONNX Runtime takes nothing else
        cells = films.reshape(-1, 4, 16, 4, 16).mean(axis=(2, 4))
        flat = cells.reshape(-1, 16)
        outputs = {
            "finding": (flat @ WEIGHTS / 100 + self.bias)[:, None],
            "map": (cells[..., None] - 128) / 32 + self.bias,
            "embedding": flat,
            "type": flat @ OF_TYPES / 100 + self.bias * np.arange(3),
        }
        return {name: outputs[name] for name in self.outputs}


def cells_of(squares: NDArray[np.uint8]) -> NDArray[np.float64]:
    """films × 4 × 4."""
    return squares.reshape(-1, 4, 16, 4, 16).mean(axis=(2, 4))


def mirrored_too(squares: NDArray[np.uint8]) -> NDArray[np.float64]:
    """films × 16: the mean of the film's cells and its mirror image's."""
    cells = cells_of(squares)
    return ((cells + cells[:, :, ::-1]) / 2).reshape(-1, 16)


def finding_of(squares: NDArray[np.uint8], bias: float = 0.0) -> NDArray[np.float64]:
    """Logits."""
    return mirrored_too(squares) @ WEIGHTS / 100 + bias


def squares_of(count: int, seed: int = 3) -> NDArray[np.uint8]:
    cells = np.random.default_rng(seed).integers(0, 256, (count, 4, 4))
    return np.kron(cells, np.ones((16, 16))).astype(np.uint8)


def embeddings_at(middle: float, scale: float) -> Embeddings:
    """Distances by hand: the root of the mean square of (cell − middle) / scale."""
    return Embeddings(np.full(16, middle), np.full(16, scale), np.eye(16)[:, :1], np.ones(1), 1.0)


def distance_of(squares: NDArray[np.uint8], middle: float, scale: float) -> NDArray[np.float64]:
    return np.sqrt((((mirrored_too(squares) - middle) / scale) ** 2).mean(axis=1))


TWO = Package(
    package_info(networks=2, prevalence=0.2, map_learnt=True),
    [CellNetwork(0.5), CellNetwork(-0.2)],
    [embeddings_at(100, 50), embeddings_at(140, 20)],
)
ODDS = np.log(0.2 / 0.8)


def with_info(package: Package, **changes: Any) -> Package:
    return dataclasses.replace(package, info=package.info.model_copy(update=changes))


class Darkness:
    """A classical model that goes by one feature."""

    def __init__(self, column: int) -> None:
        self.column = column

    def predict_proba(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        positive = expit(3 * features[:, self.column].astype(np.float64) - 1)
        return np.column_stack([1 - positive, positive])


# ---------------------------------------------------------------- scores, maps, types, distances


def test_scores_are_of_the_mean_logit_among_so_many_positive_films() -> None:
    squares = squares_of(5)
    expected = expit(finding_of(squares, (0.5 - 0.2) / 2) + ODDS)
    np.testing.assert_allclose(TWO.scores(squares), expected, atol=1e-12)
    np.testing.assert_allclose(TWO.probabilities(squares), expected, atol=1e-12)
    warm = with_info(TWO, calibration=Calibration(method="temperature", temperature=2.0))
    np.testing.assert_allclose(warm.scores(squares), expected, atol=1e-12)
    np.testing.assert_allclose(warm.probabilities(squares), expit((finding_of(squares, 0.15) + ODDS) / 2), atol=1e-9)


def test_classical_models_are_asked_at_their_size_and_the_vote_is_the_mean() -> None:
    squares = squares_of(4)
    features = features_of(squares, 32)
    by_model = {
        name: expit(3 * features[:, column].astype(np.float64) - 1 + ODDS) for name, column in (("a", -9), ("b", -1))
    }
    assert min(np.ptp(scores) for scores in by_model.values()) > 0.001  # or the test would show nothing
    several = dataclasses.replace(
        with_info(TWO, model="soft_vote", feature_size=32), estimators={"a": Darkness(-9), "b": Darkness(-1)}
    )
    network = expit(finding_of(squares, 0.15) + ODDS)
    np.testing.assert_allclose(several.scores(squares), (network + by_model["a"] + by_model["b"]) / 3, atol=1e-6)
    np.testing.assert_allclose(with_info(several, model="b").scores(squares), by_model["b"], atol=1e-6)
    alone = dataclasses.replace(several, networks=[])
    np.testing.assert_allclose(alone.scores(squares), (by_model["a"] + by_model["b"]) / 2, atol=1e-6)


def test_maps_and_types_are_the_networks_mean() -> None:
    squares = squares_of(3)
    cells = (cells_of(squares) - 128) / 32
    maps = TWO.maps(squares)
    np.testing.assert_allclose(maps, (expit(cells + 0.5) + expit(cells - 0.2)) / 2, atol=1e-12)
    types = TWO.type_probabilities(squares)
    logits = [mirrored_too(squares) @ OF_TYPES / 100 + bias * np.arange(3) for bias in (0.5, -0.2)]
    np.testing.assert_allclose(types, (softmax(logits[0], axis=1) + softmax(logits[1], axis=1)) / 2, atol=1e-12)
    np.testing.assert_allclose(types.sum(axis=1), 1)


def test_maps_of_certain_cells_are_0_and_1_without_a_warning() -> None:
    far = Package(TWO.info, [CellNetwork(5000.0)])
    with np.errstate(all="raise", under="ignore"):
        assert far.maps(squares_of(2)).tolist() == np.ones((2, 4, 4)).tolist()
        assert Package(TWO.info, [CellNetwork(-5000.0)]).maps(squares_of(2)).tolist() == np.zeros((2, 4, 4)).tolist()


def test_distances_are_the_networks_mean() -> None:
    squares = squares_of(3)
    expected = (distance_of(squares, 100, 50) + distance_of(squares, 140, 20)) / 2
    np.testing.assert_allclose(TWO.distances(squares), expected, atol=1e-12)
    with pytest.raises(ValueError, match="longer"):
        dataclasses.replace(TWO, embeddings=TWO.embeddings[:1]).distances(squares)
    with pytest.raises(ValueError) as caught:
        dataclasses.replace(TWO, networks=[]).distances(squares)
    assert str(caught.value) == "a model without a network has no out-of-distribution score"


def test_networks_are_asked_for_what_is_needed_and_nothing_else() -> None:
    squares, files = squares_of(2), [encoded(square, "PNG") for square in squares_of(2)]
    plain = dataclasses.replace(TWO, networks=[CellNetwork(0.0, ["finding", "embedding"])] * 2)
    assert len(plain.predict(files)) == 2
    for outputs, method in (("finding", "scores"), ("map", "maps"), ("type", "type_probabilities")):
        alone = dataclasses.replace(TWO, networks=[CellNetwork(0.0, [outputs])] * 2)
        assert len(getattr(alone, method)(squares)) == 2


# ---------------------------------------------------------------- answers for files


def test_files_are_answered_in_their_order() -> None:
    squares = squares_of(4)
    probability = expit(finding_of(squares, 0.15) + ODDS)
    second, third = np.sort(probability)[1:3]
    package = with_info(TWO, points=points_at(float(second), float(third)), finding="abnormal")
    result = package.predict([encoded(square, "PNG") for square in squares])
    assert list(result.columns) == ["probability", "answer", "warnings"]
    np.testing.assert_allclose(result["probability"], probability, atol=1e-12)
    ranks = np.argsort(np.argsort(probability))
    texts = ["not abnormal", "uncertain", "abnormal", "abnormal"]
    assert result["answer"].tolist() == [texts[rank] for rank in ranks]
    few = [len(np.unique(square)) for square in squares]
    assert result["warnings"].tolist() == [[f"low quality: {count} grey levels"] for count in few]


def test_probabilities_for_files_are_calibrated() -> None:
    warm = with_info(TWO, calibration=Calibration(method="temperature", temperature=2.0))
    squares = squares_of(3)
    result = warm.predict([encoded(square, "PNG") for square in squares])["probability"]
    np.testing.assert_allclose(result, warm.probabilities(squares), atol=1e-12)


def test_pictures_of_16_bits_are_read_with_the_training_films_depth() -> None:
    data = encoded(ramp(64, 64, 2000), "PNG")
    probabilities = []
    for depth in (12, 14):
        square = letterbox(decode(data, max_megapixels=1, depth=depth), 64)[None]
        result = with_info(TWO, depth=depth).predict([data])["probability"]
        np.testing.assert_allclose(result, TWO.probabilities(square), atol=1e-12)
        probabilities.append(result[0])
    assert abs(probabilities[0] - probabilities[1]) > 0.01  # or the test would show nothing


def reason_for(data: bytes, limits: FilmLimits) -> str:
    with pytest.raises(UnreadableFilmError) as caught:
        limits.check(decode(data, max_megapixels=limits.max_megapixels, colour=True))
    return str(caught.value)


def test_what_is_no_film_is_refused_with_its_reason_and_the_others_are_answered() -> None:
    limits = FilmLimits(min_side=20, max_megapixels=0.01, max_aspect=6, min_contrast=1, max_chroma=12)
    films = [encoded(square, "PNG") for square in squares_of(3)]
    refused = [
        b"hello",
        encoded(ramp(19, 40), "PNG"),
        encoded(ramp(101, 100), "PNG"),
        encoded(np.dstack([ramp(), 255 - ramp(), ramp()]), "PNG"),
    ]
    files = [refused[0], films[0], refused[1], refused[2], films[1], films[2], refused[3]]
    reasons = [reason_for(data, limits) for data in refused]
    assert [reason.split()[0] for reason in reasons] == ["no", "its", "100", "not"]
    answered = np.array([1, 4, 5])

    for maps in (True, False):
        result = with_info(TWO, limits=limits).predict(files, maps=maps)
        expected = np.full(7, np.nan)
        expected[answered] = expit(finding_of(squares_of(3), 0.15) + ODDS)
        np.testing.assert_allclose(result["probability"], expected, atol=1e-12)
        assert [number for number, answer in enumerate(result["answer"]) if answer != "refused"] == answered.tolist()
        assert [result["warnings"][row] for row in (0, 2, 3, 6)] == [[reason] for reason in reasons]
        assert all(text.startswith("low quality") for row in answered for text in result["warnings"][row])
    assert "map" not in result
    shown = with_info(TWO, limits=limits).predict(files, maps=True)["map"]
    for row, expected_map in zip(answered, TWO.maps(squares_of(3)), strict=True):
        np.testing.assert_allclose(shown[row], expected_map, atol=1e-12)
    assert [shown[row] for row in (0, 2, 3, 6)] == [None] * 4


def test_a_map_only_where_one_was_learnt_and_is_asked_for() -> None:
    files = [encoded(square, "PNG") for square in squares_of(2)]
    assert with_info(TWO, map_learnt=False).predict(files, maps=True)["map"].tolist() == [None, None]
    assert list(TWO.predict(files).columns) == ["probability", "answer", "warnings"]
    assert list(TWO.predict(files, maps=True).columns) == ["probability", "answer", "warnings", "map"]


RULE = BoxRule(depth=1.0, threshold=0.4, films=9, lesions=3, average_precision=0.5)


def test_boxes_are_those_of_the_map_in_pixels_of_the_film() -> None:
    """A bright cell of a film of 200 × 100 in a square of 64: a factor of 0.32, 16 black rows above."""
    film = np.zeros((100, 200), np.uint8)
    film[0:50, 50:100] = 255  # the cell in row 1 and column 1 of 4 × 4
    film[50:100, 150:200] = 140  # in row 2 and column 3, at the map's edge
    boxed = with_info(Package(TWO.info, [CellNetwork(0.0)], [TWO.embeddings[0]]), networks=1, boxes=RULE)
    result = boxed.predict([encoded(film, "PNG"), b"hello"], boxes=True)
    assert list(result.columns) == ["probability", "answer", "warnings", "boxes"]
    # Cells are interpolated from −4: of 8 pixels and, at the edge, 12 × 8 of the square.
    higher, lower = expit(-4 + (127 / 32 + 4) * 49 / 64), expit(-4 + (12 / 32 + 4) * 7 / 8)
    assert result["boxes"][0] == [[62.5, 12.5, 25, 25, round(higher, 4)], [162.5, 62.5, 37.5, 25, round(lower, 4)]]
    assert result["boxes"][1] is None
    # In the square, all of them, as the evaluation counts them.
    ((boxes, scores),) = boxed.boxes(letterbox(decode(encoded(film, "PNG"), max_megapixels=1), 64)[None], [(200, 100)])
    np.testing.assert_allclose(boxes[:2], [[20, 20, 8, 8], [52, 36, 12, 8]])
    np.testing.assert_allclose(scores[:2], [higher, lower])


def test_boxes_of_pixels_that_are_not_square_are_in_pixels_of_the_file() -> None:
    dataset = dicom(ramp(64, 128) // 20 + np.pad(np.full((32, 32), 200, np.uint8), ((32, 0), (96, 0))))
    dataset.PixelAspectRatio = ["2", "1"]
    boxed = with_info(TWO, boxes=RULE)
    film = decode(dicom_bytes(dataset), max_megapixels=1)
    assert film.pixels.shape == (128, 128)
    (first, *_) = boxed.predict([dicom_bytes(dataset)], boxes=True)["boxes"][0]
    # In the square 12 × 28 from (52, 36) on, at its right and lower edge; the file has half as many rows as are shown.
    assert first[:4] == [104, 36, 24, 28]


def test_boxes_below_the_threshold_are_not_shown_and_none_is_an_empty_list() -> None:
    files = [encoded(square, "PNG") for square in squares_of(3)]
    everything = with_info(TWO, boxes=RULE.model_copy(update={"threshold": 0.0})).predict(files, boxes=True)["boxes"]
    scores = sorted(box[4] for boxes in everything for box in boxes)
    limit = sum(scores[len(scores) // 2 - 1 :][:2]) / 2  # between two, for those above are rounded
    fewer = with_info(TWO, boxes=RULE.model_copy(update={"threshold": limit})).predict(files, boxes=True)["boxes"]
    assert fewer.tolist() == [[box for box in boxes if box[4] >= limit] for boxes in everything]
    assert with_info(TWO, boxes=RULE.model_copy(update={"threshold": 1.1})).predict(files, boxes=True)[
        "boxes"
    ].tolist() == [[], [], []]


def test_a_model_without_a_rule_has_no_boxes() -> None:
    files = [encoded(square, "PNG") for square in squares_of(2)]
    assert TWO.predict(files, boxes=True)["boxes"].tolist() == [None, None]
    with pytest.raises(ValueError) as caught:
        TWO.boxes(squares_of(2), [(64, 64)] * 2)
    assert str(caught.value) == "a model without a map that boxes have taught has no boxes"
    both = with_info(TWO, boxes=RULE).predict(files, maps=True, boxes=True)
    assert list(both.columns) == ["probability", "answer", "warnings", "map", "boxes"]
    # A film that is unlike the training films keeps no box.
    far = with_info(TWO, boxes=RULE, max_ood_distance=0.0).predict(files, maps=True, boxes=True)
    assert (far["map"].tolist(), far["boxes"].tolist()) == ([None, None], [None, None])


def test_no_file_no_answer() -> None:
    for maps in (True, False):
        result = with_info(TWO, max_ood_distance=1.0).predict([], maps=maps)
        assert len(result) == 0
        assert list(result.columns) == ["probability", "answer", "warnings", *(["map"] if maps else [])]


def test_films_farther_than_the_training_films_are_refused_and_keep_no_figure() -> None:
    squares = squares_of(4)
    files = [b"hello", *(encoded(square, "PNG") for square in squares)]
    distances = TWO.distances(squares)
    limit = float(np.sort(distances)[1])
    near = distances <= limit
    assert near.sum() == 2
    result = with_info(TWO, max_ood_distance=limit).predict(files, maps=True)
    plain = TWO.predict(files, maps=True)
    for row in range(1, 5):
        if near[row - 1]:
            assert result["probability"][row] == plain["probability"][row]
            assert result["answer"][row] == plain["answer"][row]
            assert result["warnings"][row] == plain["warnings"][row]
            np.testing.assert_array_equal(result["map"][row], plain["map"][row])
        else:
            assert np.isnan(result["probability"][row])
            assert (result["answer"][row], result["map"][row]) == ("refused", None)
            assert result["warnings"][row] == [
                f"unlike the training films: {distances[row - 1]:.2f} from them, {limit:.2f} at most"
            ]
    assert result["warnings"][0] == plain["warnings"][0]


def test_a_film_whose_distance_is_nan_is_refused() -> None:
    broken = dataclasses.replace(
        with_info(TWO, max_ood_distance=1e9), embeddings=[TWO.embeddings[0], embeddings_at(np.nan, 1)]
    )
    assert broken.predict([encoded(squares_of(1)[0], "PNG")])["answer"].tolist() == ["refused"]


def test_a_model_without_networks_refuses_no_film_as_unlike() -> None:
    alone = Package(
        package_info(model="a", networks=0, max_ood_distance=0.0, map_learnt=True), estimators={"a": Darkness(-1)}
    )
    squares = squares_of(2)
    result = alone.predict([encoded(square, "PNG") for square in squares])
    np.testing.assert_allclose(result["probability"], alone.scores(squares), atol=1e-12)
    assert "refused" not in result["answer"].tolist()


def with_greys(count: int) -> bytes:
    return encoded((np.arange(64 * 64) % count).astype(np.uint8).reshape(64, 64), "PNG")


def test_doubts() -> None:
    seen, unseen = (dicom(ramp().astype(np.uint16) * 16, BodyPartExamined=part) for part in ("HAND", "KNEE"))
    files = {
        "small, wide": (encoded(ramp(40, 63), "PNG"), ["low quality: 63 × 40 pixels, magnified to 64"]),
        "small, high": (encoded(ramp(63, 40), "PNG"), ["low quality: 40 × 63 pixels, magnified to 64"]),
        "as wide": (encoded(ramp(20, 64), "PNG"), []),
        "31 greys": (with_greys(31), ["low quality: 31 grey levels"]),
        "32 greys": (with_greys(32), []),
        "both": (
            encoded(np.full((1, 1), 7, np.uint8), "PNG"),
            ["low quality: 1 × 1 pixels, magnified to 64", "low quality: 1 grey levels"],
        ),
        "seen": (dicom_bytes(seen), []),
        "unseen": (dicom_bytes(unseen), ["a region never seen: knee; it was trained on hand, wrist"]),
    }
    data = [data for data, _ in files.values()]
    assert TWO.predict(data)["warnings"].tolist() == [warnings for _, warnings in files.values()]
    unknown = with_info(TWO, regions=[]).predict(data)["warnings"].tolist()
    assert unknown == [*(warnings for _, warnings in list(files.values())[:-1]), []]


# ---------------------------------------------------------------- files


def graph_of(network: CellNetwork) -> bytes:
    """The same network as ONNX."""
    constants = {
        "cells_shape": np.array([-1, 4, 16, 4, 16]),
        "map_shape": np.array([-1, 4, 4, 1]),
        "flat_shape": np.array([-1, 16]),
        "inside": np.array([2, 4]),
        "weights": (WEIGHTS[:, None] / 100).astype(np.float32),
        "grey": np.float32(128),
        "scale": np.float32(32),
        "bias": np.float32(network.bias),
    }
    nodes = [
        helper.make_node("Cast", ["films"], ["bright"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["bright", "cells_shape"], ["parts"]),
        helper.make_node("ReduceMean", ["parts", "inside"], ["cells"], keepdims=0),
        helper.make_node("Reshape", ["cells", "flat_shape"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "weights"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["finding"]),
        helper.make_node("Reshape", ["cells", "map_shape"], ["shaped"]),
        helper.make_node("Sub", ["shaped", "grey"], ["less"]),
        helper.make_node("Div", ["less", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["map"]),
    ]
    shapes = {"finding": ["n", 1], "map": ["n", 4, 4, 1], "embedding": ["n", 16]}
    graph = helper.make_graph(
        nodes,
        "cells",
        [helper.make_tensor_value_info("films", TensorProto.UINT8, ["n", 64, 64, 1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


BIASES = (0.5, -0.2)


@cache
def whole_package() -> dict[str, bytes]:
    """The files of a package of two networks and a classical model. What Keras would load is a number as text."""
    rng = np.random.default_rng(0)
    classical = Pipeline([("scale", StandardScaler()), ("regression", LogisticRegression())])
    classical.fit(rng.random((20, FEATURES), np.float32), np.arange(20) % 2)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, (bias, embeddings) in enumerate(zip(BIASES, TWO.embeddings, strict=True)):
            (folder / onnx_file(number)).write_bytes(graph_of(CellNetwork(bias)))
            (folder / network_file(number)).write_text(str(bias))
            save_embeddings(folder / embeddings_file(number), embeddings)
        save_classical(folder / classical_file("svm"), classical)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in whole_package().items():
        (folder / name).write_bytes(data)
    write_info(folder)
    return folder


def write_info(folder: Path, **changes: Any) -> None:
    usual = {"networks": 2, "classical": ["svm"], "model": "soft_vote", "prevalence": 0.2, "files": hashes_of(folder)}
    (folder / INFO).write_text(package_info(**{**usual, **changes}).model_dump_json())


def test_names_of_files() -> None:
    assert [network_file(3), onnx_file(3), embeddings_file(3), classical_file("svm")] == [
        "network-3.keras",
        "network-3.onnx",
        "embeddings-3.npz",
        "svm.skops",
    ]


def test_a_package_is_opened_with_all_its_models(folder: Path) -> None:
    package, squares = open_package(folder), squares_of(3)
    assert package.info == read_info(folder)
    assert list(package.estimators) == ["svm"]
    for network, bias in zip(package.networks, BIASES, strict=True):
        result = network.predict_on_batch(squares[..., None])
        expected = CellNetwork(bias).predict_on_batch(squares[..., None])
        for name in ("finding", "map", "embedding"):
            np.testing.assert_allclose(result[name], expected[name], atol=1e-4)
    np.testing.assert_allclose(package.distances(squares), TWO.distances(squares), atol=1e-5)
    network = expit(finding_of(squares, 0.15) + ODDS)
    classical = package.estimators["svm"].predict_proba(features_of(squares, 64))[:, 1]
    classical = expit(np.log(classical / (1 - classical)) + ODDS)
    np.testing.assert_allclose(package.scores(squares), (network + classical) / 2, atol=1e-5)


def test_threads_are_the_networks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, int]] = []
    monkeypatch.setattr(room, "OnnxNetwork", lambda path, threads: opened.append((path.name, threads)))
    open_package(folder)
    open_package(folder, 3)
    assert opened == [("network-0.onnx", 0), ("network-1.onnx", 0), ("network-0.onnx", 3), ("network-1.onnx", 3)]


def test_every_file_has_its_hash_but_the_one_that_says_so(tmp_path: Path) -> None:
    for name in ("b.npz", "a.onnx", INFO):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    hashes = hashes_of(tmp_path)
    assert hashes == {name: sha256(name.encode()).hexdigest() for name in ("a.onnx", "b.npz")}
    assert list(hashes) == ["a.onnx", "b.npz"]


def test_the_first_file_that_is_missing_or_altered_is_named(folder: Path) -> None:
    info = read_info(folder)
    check_files(folder, info)
    for name in ("svm.skops", "network-1.onnx"):
        (folder / name).write_text("another")
    with pytest.raises(OsteonError) as caught:
        open_package(folder)
    assert str(caught.value) == f"{folder}: damaged model (network-1.onnx was altered); run the step train again"
    for name in ("network-1.keras", "embeddings-1.npz"):
        (folder / name).unlink()
    with pytest.raises(OsteonError) as caught:
        check_files(folder, info)
    assert str(caught.value) == f"{folder}: no packaged model (embeddings-1.npz is missing); run the step train"


def test_a_description_that_is_missing_or_damaged(folder: Path) -> None:
    described = json.loads((folder / INFO).read_text())
    described["points"]["rule_in"]["threshold"] = "x"
    (folder / INFO).write_text(json.dumps(described))
    with pytest.raises(OsteonError) as caught:
        read_info(folder)
    assert str(caught.value) == (
        f"{folder}: damaged model (package.json points rule_in threshold: Input should be a valid number, unable to "
        "parse string as a number); run the step train again"
    )
    assert caught.value.__cause__ is None
    (folder / INFO).unlink()
    with pytest.raises(OsteonError) as caught:
        read_info(folder)
    assert str(caught.value) == f"{folder}: no packaged model (package.json is missing); run the step train"


def without_keras(monkeypatch: pytest.MonkeyPatch, shift: float) -> None:
    """A network 'as it was trained' is CellNetwork again, a little off."""
    monkeypatch.setattr(room, "load_network", lambda path: float(path.read_text()))
    monkeypatch.setattr(room, "in_float32", lambda bias: CellNetwork(bias + shift))


def test_the_networks_as_they_were_trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_keras(monkeypatch, 0.0)
    assert [network.bias for network in load_networks(folder)] == list(BIASES)


def test_parity_is_the_largest_difference_and_the_answers_that_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares = squares_of(8)
    logits = finding_of(squares, 0.15) + ODDS
    exported, trained = expit(logits), expit(logits + 0.3)
    between = float((exported[3] + trained[3]) / 2)
    write_info(folder, model="network", classical=[], points=points_at(between, between))
    without_keras(monkeypatch, 0.3)
    rows = np.array([6, 0, 3, 5])
    changed = ((exported >= between) != (trained >= between))[rows].sum()
    assert 0 < changed < 4
    prepared = PreparedFilms(squares, pd.DataFrame())

    result = measure_parity(folder, prepared, rows, 0)
    assert (result.films, result.changed) == (4, changed)
    assert result.largest == pytest.approx((trained - exported)[rows].max(), abs=1e-6)

    without_keras(monkeypatch, 0.0)
    result = measure_parity(folder, prepared, rows, 0)
    assert (result.films, result.changed, result.kept) == (4, 0, True)


def test_of_many_films_some_are_drawn_for_parity(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Noting:
        def __init__(self) -> None:
            self.read: list[list[int]] = []

        shape = (40, 64, 64)

        def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            self.read.append(rows.tolist())
            return squares_of(len(rows))

    without_keras(monkeypatch, 0.0)
    monkeypatch.setattr(room, "PARITY_FILMS", 6)
    pixels, rows = Noting(), np.arange(100, 120)
    prepared: Any = PreparedFilms(pixels, pd.DataFrame())  # type: ignore[arg-type]
    films = [measure_parity(folder, prepared, rows[:count], seed).films for count, seed in ((20, 1), (20, 2), (6, 1))]
    assert films == [6, 6, 6]
    drawn = [sorted(np.random.default_rng(seed).choice(rows, 6, replace=False).tolist()) for seed in (1, 2)]
    assert drawn[0] != drawn[1]
    assert pixels.read == [*drawn, [100, 101, 102, 103, 104, 105]]


# ---------------------------------------------------------------- what comes with a model


def test_the_example_is_a_grey_bar_with_a_gap() -> None:
    picture = Image.open(io.BytesIO(example_film()))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (96, 96))
    drawn = np.full((96, 96), 30.0)
    drawn[:, 38:58] = 190
    drawn[46:49] = 40
    expected = gaussian_filter(drawn, 3, mode="mirror", truncate=4)
    np.testing.assert_allclose(np.asarray(picture, float), expected, atol=1.0)


def test_a_package_needs_what_it_imports_and_no_more() -> None:
    needed = [
        *("mlflow", "numpy", "onnxruntime", "opencv-python-headless", "pandas", "pillow", "pydantic", "pydicom"),
        *("pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm", "scipy"),
    ]
    assert requirements(package_info()) == [f"{name}=={version(name)}" for name in needed]
    needed += ["scikit-image", "scikit-learn", "skops"]
    assert requirements(package_info(classical=["svm"])) == [f"{name}=={version(name)}" for name in needed]
