"""Films for the tests: files of every kind, and small sets in every layout."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from components.films.decoding import Film, letterbox
from components.films.manifest import as_manifest
from components.films.near_copies import FilmStack
from components.phantoms.exposure import expose
from components.phantoms.patients import studies


def ramp(height: int = 80, width: int = 100, top: int = 255) -> NDArray[Any]:
    """Grey that rises from left to right, 0 … top."""
    row = np.linspace(0, top, width).round()
    return np.tile(row, (height, 1)).astype(np.uint8 if top < 256 else np.uint16)


@cache
def phantom_films(count: int, seed: int = 5, size: int = 384) -> list[NDArray[np.uint8]]:
    """The two films, height × width, of each of so many studies."""
    return [
        expose(study.limb, degrees, size, study.fracture, study.findings, np.random.default_rng(number))[0]
        for study in studies(count, 0.3, seed)
        for degrees, number in zip(study.degrees, study.seeds, strict=True)
    ]


def squared(film: NDArray[np.uint8], side: int = 256) -> NDArray[np.uint8]:
    """A film fitted into a square as the step prepare does it."""
    return letterbox(Film(film, 0, 255, 8), side)


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


def packaged(folder: Path, seed: int = 0, **info: Any) -> Path:
    """A packaged model for films of 64 pixels that has learned nothing; its weights come from the seed."""
    from components.models.backend import load_keras

    keras = load_keras()
    from components.models.networks import build_network
    from components.models.package import PackageInfo, save_package
    from components.params import TrainingParams

    keras.utils.set_random_seed(seed)
    usual: dict[str, Any] = {
        "finding": "fractured",
        "network": "compact",
        "image_size": 64,
        "threshold": 0.5,
        "prevalence": 0.4,
        "films": 80,
        "copies": 0,
        "epochs": 3,
        "best_epoch": 2,
        "validation_fold": 0,
        "validation_auroc": 0.5,
        "fingerprint": "none",
        "precision": "float32",
        "backend": keras.backend.backend(),
        "versions": {"keras": keras.__version__},
    }
    folder.mkdir(parents=True)
    save_package(folder, build_network(64, TrainingParams(width=8)), PackageInfo(**{**usual, **info}))
    return folder
