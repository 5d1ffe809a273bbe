"""Attributes of a film other than bone: its file, exposure, border, marker corner and scanner.

Texts that could name a place or a machine become numbers; nothing about the patient is read.
"""

import hashlib
import hmac
import io
import secrets
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base
from PIL.JpegImagePlugin import get_sampling
from pydicom import dcmread

from osteon.films.reading.dicom_pixels import is_dicom, reading_dicom
from osteon.films.reading.pictures import exif_of, open_picture, reading_picture


class Attributes(NamedTuple):
    """One film's; null is 'the file does not say' or 'it has none'."""

    file_bytes: int | None = None
    encoding: str | None = None  # JPEG, PNG, …; of DICOM the transfer syntax
    jpeg_quality: int | None = None  # 1 … 100
    chroma_sampling: str | None = None
    dpi: float | None = None
    orientation: float | None = None  # EXIF
    exposure: float | None = None  # mean grey level of 256
    black: float | None = None  # share of pixels
    white: float | None = None
    border: float | None = None  # share of the film
    rim: float | None = None  # mean grey level of the outermost rows and columns
    marker_corner: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    software: str | None = None
    station: str | None = None  # its number
    detector: str | None = None  # its number
    hospital: str | None = None  # its number
    kvp: float | None = None  # kV
    current: float | None = None  # mAs
    exposure_time: float | None = None  # ms


ATTRIBUTE_TYPES = {
    "file_bytes": "Int64",
    "encoding": "string",
    "jpeg_quality": "Int16",
    "chroma_sampling": "string",
    "dpi": "Float32",
    "orientation": "Float32",
    "exposure": "Float32",
    "black": "Float32",
    "white": "Float32",
    "border": "Float32",
    "rim": "Float32",
    "marker_corner": "string",
    "manufacturer": "string",
    "model": "string",
    "software": "string",
    "station": "string",
    "detector": "string",
    "hospital": "string",
    "kvp": "Float32",
    "current": "Float32",
    "exposure_time": "Float32",
}


def attributes_of(data: bytes, grey: NDArray[np.uint8]) -> Attributes:
    """The attributes of a film that decodes.

    Args:
        data: the file.
        grey: its pixels as grey levels 0 … 255; every nth row and column are enough.

    Raises:
        UnreadableFilmError: it decodes, but its other tags are damaged.

    """
    height, width = grey.shape
    top, bottom, left, right = frame_of(grey)
    rim = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    attributes = Attributes(
        file_bytes=len(data),
        exposure=float(grey.mean()),
        black=float((grey <= BLACK).mean()),
        white=float((grey >= WHITE).mean()),
        border=1 - (height - top - bottom) * (width - left - right) / (height * width),
        rim=float(rim.mean()),
        marker_corner=marker_corner(grey),
    )
    return attributes._replace(**(_of_dicom(data) if is_dicom(data) else _of_picture(data)))


# JPEG leaves black and white a little beside 0 and 255.
BLACK, WHITE = 5, 250
FLAT = 3.0  # standard deviation of a row or column that shows nothing, grey levels


def frame_of(grey: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """How many rows and columns on each edge show nothing: top, bottom, left, right; zeros for a film of nothing."""

    def ends(spread: NDArray[np.floating]) -> tuple[int, int]:
        shown = np.flatnonzero(spread > FLAT)
        return (int(shown[0]), int(len(spread) - 1 - shown[-1])) if len(shown) else (0, 0)

    return *ends(grey.std(axis=1)), *ends(grey.std(axis=0))


CORNER = 4  # a corner is a quarter of each side
RISE = 60  # grey levels
LEAST_OF_CORNER, MOST_OF_CORNER = 0.002, 0.15


def marker_corner(grey: NDArray[np.uint8]) -> str | None:
    """The corner in which something small and bright stands free on darker ground; of several the largest.

    Bright: nearer to the corner's percentile 99.5 than to its median, which lie at least 60 grey levels apart. Small:
    0.2 to 15 % of the corner. Free: it reaches no side of the corner; bone and a cassette's edge run through.
    """
    height, width = (max(1, side // CORNER) for side in grey.shape)
    largest: tuple[float, str] | None = None
    for name, corner in {
        "top left": grey[:height, :width],
        "top right": grey[:height, -width:],
        "bottom left": grey[-height:, :width],
        "bottom right": grey[-height:, -width:],
    }.items():
        places = [corner.size // 2, int(0.995 * corner.size)]
        ground, bright = (float(level) for level in np.partition(corner, places, axis=None)[places])
        if bright - ground < RISE:
            continue
        spots = (corner > (ground + bright) / 2).astype(np.uint8)
        _, _, blobs, _ = cv2.connectedComponentsWithStats(spots)
        for left, top, wide, high, area in blobs[1:]:  # the first is the ground
            share = area / corner.size
            free = left > 0 and top > 0 and left + wide < width and top + high < height
            if free and LEAST_OF_CORNER <= share <= MOST_OF_CORNER and (largest is None or share > largest[0]):
                largest = share, name
    return largest[1] if largest else None


def _of_picture(data: bytes) -> dict[str, Any]:
    with open_picture(data) as picture, reading_picture("damaged header"):  # the header alone
        exif = exif_of(picture)
        progressive = ", progressive" if "progressive" in picture.info else ""
        dpi = picture.info.get("dpi")
        attributes: dict[str, Any] = {
            "encoding": f"{picture.format}{progressive}",
            "dpi": float(dpi[0]) if dpi else None,
            "orientation": _number(exif.get(Base.Orientation)),
            "manufacturer": _text(exif.get(Base.Make)),
            "model": _text(exif.get(Base.Model)),
            "software": _text(exif.get(Base.Software)),
        }
        if picture.format == "JPEG":
            tables: dict[int, list[int]] = picture.quantization  # type: ignore[attr-defined]
            attributes["jpeg_quality"] = jpeg_quality(tables[min(tables)]) if tables else None
            attributes["chroma_sampling"] = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}.get(get_sampling(picture))
    return attributes


def jpeg_quality(table: list[int]) -> int:
    """The quality, 1 … 100, whose luminance table is nearest (sum of absolute differences).

    The tables are those of annex K of the JPEG standard (ITU-T T.81), scaled as the Independent JPEG Group's library
    does (jcparam.c, jpeg_quality_scaling), and exact for files it has written; other writers' are estimated.
    """
    return int(np.abs(_tables() - np.array(table[:64])).sum(axis=1).argmin()) + 1


@cache
def _tables() -> NDArray[np.int64]:
    """The luminance table of each quality, 100 × 64: as the library itself writes it."""
    tables = []
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as picture:
            tables.append(picture.quantization[0])  # type: ignore[attr-defined]
    return np.array(tables, np.int64)


# DICOM keyword → attribute.
CATEGORIES = {"Manufacturer": "manufacturer", "ManufacturerModelName": "model", "SoftwareVersions": "software"}
NUMBERS = {"KVP": "kvp", "Exposure": "current", "ExposureTime": "exposure_time"}
HASHED = {"StationName": "station", "DetectorID": "detector", "InstitutionName": "hospital"}


def _of_dicom(data: bytes) -> dict[str, Any]:
    keywords = list((CATEGORIES | NUMBERS | HASHED).keys())
    with reading_dicom("damaged DICOM: the tags of its scanner make no sense"):
        dataset = dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=keywords, force=True)
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        return {
            "encoding": f"DICOM, {syntax.name}" if syntax else "DICOM",
            **{name: _text(dataset.get(keyword)) for keyword, name in CATEGORIES.items()},
            **{name: _number(dataset.get(keyword)) for keyword, name in NUMBERS.items()},
            **{name: _hashed(_text(dataset.get(keyword))) for keyword, name in HASHED.items()},
        }


def _text(value: object) -> str | None:
    """A tag's text on one line, at most 60 letters; null where it is empty."""
    return " ".join(str(value).replace("\0", " ").split())[:60] or None if value is not None else None


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _hashed(text: str | None) -> str | None:
    return f"#{hmac.new(_KEY, text.encode(), hashlib.sha256).hexdigest()[:8]}" if text else None


_KEY = secrets.token_bytes(32)  # of this process: nobody can try a list of hospitals


def numbered(films: pd.DataFrame) -> pd.DataFrame:
    """Films with '#1', '#2', … in the order of their coming in place of this process's hashes: the same every time."""
    for name in HASHED.values():
        codes = pd.Series(pd.factorize(films[name])[0], films.index)
        films[name] = ("#" + (codes + 1).astype("string")).mask(codes < 0)
    return films
