"""Films for the tests: files of every kind, and small sets in every layout."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from components.phantoms.exposure import expose
from components.phantoms.patients import studies
from osteon.films.copies.alignment import FilmStack
from osteon.films.copies.specks import without_specks
from osteon.films.manifest import as_manifest
from osteon.films.reading.film import Film, letterbox
from osteon.params import ClassicalName, ClassicalParams, SearchSpace, TrainingParams
from osteon.statistics.calibration import Calibration
from osteon.statistics.operating_points import OperatingPoint, OperatingPoints

if TYPE_CHECKING:
    from osteon.models.package.package import PackageInfo


def ramp(height: int = 80, width: int = 100, top: int = 255) -> NDArray[Any]:
    """Grey that rises from left to right, 0 … top."""
    row = np.linspace(0, top, width).round()
    return np.tile(row, (height, 1)).astype(np.uint8 if top < 256 else np.uint16)


@cache
def phantom_films(count: int, seed: int = 5, size: int = 384) -> list[NDArray[np.uint8]]:
    """The two films, height × width, of each of so many studies."""
    return [
        expose(study.limb, degrees, size, study.fracture, study.findings, np.random.default_rng(number))[0]
        for study in studies(count, 0.3, 0.0, seed)
        for degrees, number in zip(study.degrees, study.seeds, strict=True)
    ]


def squared(film: NDArray[np.uint8], side: int = 256) -> NDArray[np.uint8]:
    """A film fitted into a square as the step prepare does it for the search for copies."""
    return letterbox(without_specks(Film(film, 0, 255, 8)), side)


def stack_of(films: list[NDArray[np.uint8]], side: int = 256) -> FilmStack:
    squares = np.stack([squared(film, side) for film in films])
    return FilmStack(squares, [(film.shape[1], film.shape[0]) for film in films])


def encoded(picture: Image.Image | NDArray[Any], kind: str, **options: Any) -> bytes:
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def dicom(pixels: NDArray[Any] | None, photometric: str = "MONOCHROME2", bits: int = 12, **tags: Any) -> Dataset:
    """A digital radiograph in memory; None for one without pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    if pixels is not None:
        dataset.Rows, dataset.Columns = (
            pixels.shape[-2:] if pixels.ndim != 3 or pixels.shape[-1] != 3 else pixels.shape[:2]
        )
        dataset.SamplesPerPixel = 3 if photometric == "RGB" else 1
        if photometric == "RGB":
            dataset.PlanarConfiguration = 0
        dataset.PhotometricInterpretation = photometric
        dataset.BitsAllocated = 8 if pixels.dtype == np.uint8 else 16
        dataset.BitsStored = min(bits, dataset.BitsAllocated)
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(pixels.dtype == np.int16)
        dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def dicom_bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def manifest_of(rows: list[dict[str, object]]) -> pd.DataFrame:
    """A manifest of films of 100 × 80 pixels, with what the rows do not say filled in."""
    filled = []
    for number, row in enumerate(rows):
        usual: dict[str, object] = {
            "film_id": f"f{number}",
            "path": f"f{number}.png",
            "sha256": f"{number:064x}",
            "label": 0,
            "finding": "fractured",
            "width": 100,
            "height": 80,
        }
        filled.append(usual | row)
    return as_manifest(pd.DataFrame(filled))


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def points_at(rule_out: float, rule_in: float) -> OperatingPoints:
    """Operating points at two thresholds, of which nothing is guaranteed."""
    about = {"target": 0.95, "confidence": 0.9, "guaranteed": False, "kept": 1.0, "groups": 40, "needed": 45}
    return OperatingPoints(
        rule_out=OperatingPoint(threshold=rule_out, **about), rule_in=OperatingPoint(threshold=rule_in, **about)
    )


def package_info(**changes: Any) -> "PackageInfo":
    """What a packaged model of one network for films of 64 pixels says of itself."""
    from osteon.models.package.package import PackageInfo

    usual: dict[str, Any] = {
        "finding": "fractured",
        "model": "network",
        "network": "compact",
        "networks": 1,
        "classical": [],
        "types": [],
        "map_learnt": False,
        "image_size": 64,
        "feature_size": 64,
        "prevalence": 0.4,
        "calibration": Calibration(),
        "points": points_at(0.3, 0.7),
        "threshold": 0.5,
        "films": 80,
        "copies": 0,
        "epochs": [3],
        "out_of_fold_auroc": 0.5,
        "fingerprint": "none",
        "precision": "float32",
        "backend": "tensorflow",
        "versions": {},
        "regions": ["hand", "wrist"],
        "limits": {"min_side": 1, "max_megapixels": 80, "max_aspect": 6, "min_contrast": 0, "max_chroma": 255},
        "max_ood_distance": None,
        "parity": {"films": 80, "largest": 1e-6, "changed": 0},
        "files": {},
    }
    return PackageInfo(**{**usual, **changes})


def packaged(
    folder: Path, seed: int = 5, networks: int = 1, classical: Sequence[ClassicalName] = (), **info: Any
) -> Path:
    """A packaged model for films of 64 pixels that has learned nothing; what it says comes from the seed.

    With seed 5 its probabilities are neither 0 nor 1 and something on every film speaks for a fracture.
    """
    from osteon.models.networks.backend import load_keras

    keras = load_keras()
    from osteon.models.classical.classifiers import fit_classical, save_classical
    from osteon.models.classical.film_features import features_of
    from osteon.models.package.package import INFO, classical_file, hashes_of

    folder.mkdir(parents=True)
    for name, data in _network_files(seed, networks).items():
        (folder / name).write_bytes(data)
    noise = np.random.default_rng(seed).integers(0, 256, (40, 64, 64), np.uint8)
    number = np.arange(len(noise))
    for name in classical:
        estimator = fit_classical(name, features_of(noise, 64), number % 2, number, ClassicalParams(components=8))
        save_classical(folder / classical_file(name), estimator)
    about: dict[str, Any] = {
        "model": "soft_vote" if networks and classical else classical[0] if classical else "network",
        "networks": networks,
        "classical": list(classical),
        "epochs": [3] * networks,
        "backend": keras.backend.backend(),
        "versions": {"keras": keras.__version__},
        "parity": {"films": 80, "largest": 1e-6, "changed": 0} if networks else None,
        "files": hashes_of(folder),
    }
    (folder / INFO).write_text(package_info(**{**about, **info}).model_dump_json(indent=2), encoding="utf-8")
    return folder


@cache
def _network_files(seed: int, networks: int) -> dict[str, bytes]:
    """Each network as trained and as exported, and how it sees 200 films of noise."""
    import keras

    from osteon.models.inference.onnx_network import export_network
    from osteon.models.inference.out_of_distribution import EMBEDDING, fit_embeddings, save_embeddings, with_embedding
    from osteon.models.inference.predict import predict_with_flip_tta
    from osteon.models.networks.architectures import build_network
    from osteon.models.networks.network_files import save_network
    from osteon.models.package.package import embeddings_file, network_file, onnx_file

    keras.utils.set_random_seed(seed)
    noise = np.random.default_rng(seed).integers(0, 256, (200, 64, 64), np.uint8)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in range(networks):
            network = build_network(64, TrainingParams(width=8))
            save_network(folder / network_file(number), network)
            export_network(folder / network_file(number), folder / onnx_file(number))
            seen = predict_with_flip_tta(with_embedding(network), noise, [EMBEDDING])[EMBEDDING]
            save_embeddings(folder / embeddings_file(number), fit_embeddings(seen))
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def failing_graph(data: bytes) -> bytes:
    """A network that ONNX Runtime loads, and that fails whenever it is asked."""
    import onnx

    network = onnx.load_from_string(data)
    outputs = network.graph.output
    del network.graph.node[:], network.graph.initializer[:]
    far = onnx.helper.make_tensor("far", onnx.TensorProto.INT64, [1], [10**6])
    network.graph.initializer.append(far)
    for output in outputs:
        result = f"{output.name} of nothing"
        network.graph.node.append(
            onnx.helper.make_node("Gather", [network.graph.input[0].name, "far"], [result], axis=1)
        )
        network.graph.node.append(onnx.helper.make_node("Cast", [result], [output.name], to=onnx.TensorProto.FLOAT))
        output.type.tensor_type.ClearField("shape")
    return bytes(network.SerializeToString())


def cross_validated(folder: Path, films: pd.DataFrame) -> Path:
    """What cross_validate leaves for evaluate to read, with scores drawn by lot for two models and their vote.

    films: of a prepared set.
    """
    from osteon.models.heldout.comparison import COMPARISON, compare
    from osteon.models.heldout.predictions import PREDICTIONS

    requested = films.loc[~films["test"], ["film_id", "group", "label", "fold"]].astype({"label": int, "fold": int})
    network, svm = np.random.default_rng(3).uniform(0.01, 0.99, (2, len(requested)))
    scores = {"network": network, "svm": svm, "soft_vote": (network + svm) / 2}
    predictions = pd.concat([requested.assign(model=name, score=score) for name, score in scores.items()])
    folder.mkdir(parents=True)
    predictions.to_parquet(folder / PREDICTIONS, index=False)
    comparison = compare(predictions, {"network": 60.0, "svm": 1.0}, 0.95)
    (folder / COMPARISON).write_text(comparison.model_dump_json(), encoding="utf-8")
    return folder


def search_space(**parts: Any) -> SearchSpace:
    """A space of these sections alone."""
    empty: dict[str, Any] = {name: {} for name in SearchSpace.model_fields}
    return SearchSpace.model_validate({**empty, **parts})
