"""A film's bytes → grey pixels, bone bright, in the depth they were stored with."""

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from osteon.errors import UnreadableFilmError
from osteon.films.reading.dicom_pixels import decode_dicom, is_dicom, photometric, read_dicom, reading_dicom
from osteon.films.reading.film import Film

PILLOW_FORMATS = ("JPEG", "PNG", "TIFF", "GIF", "BMP")
DEPTHS = (8, 10, 12, 14, 16)  # of greyscale detectors

# The limit is ours to check (max_megapixels), with a reason instead of a warning.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded."""

    width: int
    height: int
    mode: str


def read_header(data: bytes) -> Header:
    """Width, height and pixel format without decoding the pixels.

    Raises:
        UnreadableFilmError: the bytes are no film; the text is the reason.

    """
    if is_dicom(data):
        dataset = read_dicom(data)
        with reading_dicom("damaged DICOM"):
            mode = f"{photometric(dataset)};{int(dataset.BitsStored)}"
            return Header(int(dataset.Columns), int(dataset.Rows), mode)
    with _open_picture(data) as picture:
        return Header(picture.width, picture.height, picture.mode)


def decode(data: bytes, *, max_megapixels: float, colour: bool = False) -> Film:
    """Decode one film completely.

    JPEG, PNG (8 and 16 bit), TIFF, GIF and BMP through Pillow, EXIF orientation applied; DICOM through pydicom
    in the order modality LUT → VOI LUT or window → MONOCHROME1 inversion (PS3.4, N.2).

    Args:
        data: the file.
        max_megapixels: larger films are refused before they are decoded (a decompression bomb).
        colour: also measure the chroma.

    Raises:
        UnreadableFilmError: the bytes are no whole, single, grey film; the text is the reason.

    """
    if not data:
        raise UnreadableFilmError("empty file (0 bytes)")
    header = read_header(data)
    if header.width * header.height > max_megapixels * 1e6:
        raise UnreadableFilmError(
            f"{header.width} × {header.height} pixels is more than max_megapixels = {max_megapixels:g} allows"
        )
    return decode_dicom(data) if is_dicom(data) else _decode_picture(data, colour)


def _open_picture(data: bytes) -> Image.Image:
    if not data:
        raise UnreadableFilmError("empty file (0 bytes)")
    try:
        return Image.open(io.BytesIO(data), formats=PILLOW_FORMATS)
    except UnidentifiedImageError:
        raise UnreadableFilmError("no picture that can be read (JPEG, PNG, TIFF, GIF, BMP or DICOM)") from None
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise UnreadableFilmError(f"damaged header: {error}") from None


def _decode_picture(data: bytes, colour: bool) -> Film:
    with _open_picture(data) as picture:
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise UnreadableFilmError(f"holds {frames} pictures; a film is one: split it")
        try:
            if not colour and picture.format == "JPEG":
                picture.draft("L", None)  # libjpeg then decodes the grey channel alone, twice as fast
            picture.load()
        except (OSError, ValueError, SyntaxError, struct.error) as error:
            raise UnreadableFilmError(f"truncated or damaged: {error}") from None
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I;16") or upright.mode == "I":
            return _deep_film(np.asarray(upright))
        if upright.mode == "F":
            values = np.asarray(upright, dtype=np.float32)
            if not np.isfinite(values).all():
                raise UnreadableFilmError("holds values that are no numbers")
            return Film(values, float(values.min()), float(values.max()), 32, 0.0)
        chroma = _chroma(upright) if colour else None
        return Film(np.asarray(upright.convert("L")), 0.0, 255.0, 8, chroma)


def _deep_film(values: NDArray[Any]) -> Film:
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableFilmError("values beyond 16 bits")
    bits = next(depth for depth in DEPTHS if values.max() < 2**depth)
    return Film(values.astype(np.uint16), 0.0, float(2**bits - 1), bits, 0.0)


def _chroma(picture: Image.Image) -> float:
    """Colour that an even tint does not explain; about 0 for a grey, sepia or blue-tinted film.

    The larger standard deviation left in red and in blue after a straight line through green that does not fall
    is removed, grey levels of 256.
    """
    if picture.mode in ("1", "L", "LA", "La"):
        return 0.0
    small = picture.convert("RGB")
    small.thumbnail((256, 256), Image.Resampling.BOX)
    red, green, blue = np.asarray(small, dtype=np.float64).reshape(-1, 3).T
    spread = green - green.mean()
    variance = max(float(spread @ spread), 1e-9)
    left = [channel - channel.mean() - spread * max(spread @ channel, 0.0) / variance for channel in (red, blue)]
    return float(max(np.sqrt(np.mean(rest**2)) for rest in left))
