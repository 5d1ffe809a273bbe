"""A film's bytes → grey pixels, bone bright, in the depth they were stored with; to 8 bits only at the end."""

import hashlib
import io
import logging
import struct
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydicom import Dataset, config, dcmread
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.uid import UID

from osteon.errors import UnreadableFilmError
from osteon.files import files_under

Grey = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
T = TypeVar("T")
R = TypeVar("R")

PILLOW_FORMATS = ("JPEG", "PNG", "TIFF", "GIF", "BMP")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".gif", ".bmp", ".dcm", ".dicom"})
DEPTHS = (8, 10, 12, 14, 16)  # of greyscale detectors

# OpenCV's own threads and ours would fight for the same cores.
cv2.setNumThreads(1)
# The limit is ours to check (max_megapixels), with a reason instead of a warning.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Film:
    """A decoded film.

    pixels: height × width, bone bright. low, high: the values that become black and white. bits: stored depth.
    chroma: colour left after removing an even tint, in grey levels of 256; None where nobody asked for it.
    """

    pixels: Grey
    low: float
    high: float
    bits: int
    chroma: float | None = None


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded."""

    width: int
    height: int
    mode: str


def is_dicom(data: bytes) -> bool:
    """Whether a file begins as DICOM part 10 says."""
    return data[128:132] == b"DICM"


def read_header(data: bytes) -> Header:
    """Width, height and pixel format without decoding the pixels.

    Raises:
        UnreadableFilmError: the bytes are no film; the text is the reason.

    """
    if is_dicom(data):
        dataset = _read_dicom(data)
        with reading_dicom("damaged DICOM"):
            mode = f"{_photometric(dataset)};{int(dataset.BitsStored)}"
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
    return _decode_dicom(data) if is_dicom(data) else _decode_picture(data, colour)


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


def _read_dicom(data: bytes) -> Dataset:
    with reading_dicom("damaged DICOM"):
        dataset = dcmread(io.BytesIO(data))
        for needed in ("Rows", "Columns", "PhotometricInterpretation", "BitsStored"):
            if needed not in dataset:
                raise UnreadableFilmError("DICOM without pixels")
        return dataset


@contextmanager
def reading_dicom(reason: str) -> Iterator[None]:
    """Give `reason` for whatever pydicom raises, as it may at every look at a tag.

    Its own text may quote values of the file, a patient's name among them, and what it raises is not documented.
    """
    quieten_pydicom()
    try:
        yield
    except (UnreadableFilmError, MemoryError):
        raise
    except Exception:
        raise UnreadableFilmError(reason) from None


@cache
def quieten_pydicom() -> None:
    """Silence warnings about odd values: they quote them, a patient's name among them."""
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")


def _photometric(dataset: Dataset) -> str:
    """The tag's text where it is one of the standard's words; what else stands there is not repeated."""
    text = str(dataset.PhotometricInterpretation)
    return text if text in set(PhotometricInterpretation) else "unknown"


def _decode_dicom(data: bytes) -> Film:
    dataset = _read_dicom(data)
    with reading_dicom("damaged DICOM"):
        photometric, samples = _photometric(dataset), int(dataset.get("SamplesPerPixel") or 1)
        frames = int(dataset.get("NumberOfFrames") or 1)
        syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
    if samples != 1 or not photometric.startswith("MONOCHROME"):
        raise UnreadableFilmError(f"colour DICOM ({photometric}); a radiograph is grey")
    if frames != 1:
        raise UnreadableFilmError(f"multi-frame DICOM ({frames} frames); a film is one: split it")
    if "PixelData" not in dataset:
        raise UnreadableFilmError("DICOM without pixels")
    try:
        with reading_dicom("truncated or damaged DICOM pixels"):
            stored = dataset.pixel_array
    except UnreadableFilmError:
        if syntax.is_private or not _can_decode(syntax):
            named = syntax.name if syntax.is_valid or syntax.name != syntax else "unknown"
            raise UnreadableFilmError(f"DICOM transfer syntax that cannot be decoded here: {named}") from None
        raise
    if stored.ndim != 2:
        raise UnreadableFilmError(f"DICOM pixels of {stored.ndim} dimensions; a film has 2")

    with reading_dicom("damaged DICOM: its window or look-up tables make no sense"):
        return _grey_of_dicom(stored, dataset)


def _grey_of_dicom(stored: NDArray[Any], dataset: Dataset) -> Film:
    """Stored values through modality LUT, VOI LUT or window, and MONOCHROME1's inversion."""
    values = apply_modality_lut(stored, dataset)
    padding = stored == dataset.PixelPaddingValue if "PixelPaddingValue" in dataset else np.zeros(stored.shape, bool)
    if dataset.get("VOILUTSequence"):
        values = apply_voi_lut(values, dataset)
        low, high = 0.0, float(2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        values = apply_windowing(values, dataset)
        # A window's ends are where the darkest and the brightest possible values go.
        low, high = (float(end) for end in apply_windowing(np.array([-1e9, 1e9]), dataset))
    else:
        # With neither, the standard leaves it to the viewer; viewers span what is there.
        shown = values[~padding]
        low, high = (float(shown.min()), float(shown.max())) if shown.size else (0.0, 1.0)
    values = values.astype(np.float32)
    if _photometric(dataset) == "MONOCHROME1":
        values = np.float32(low + high) - values
    values[padding] = low
    return Film(values, low, high, int(dataset.BitsStored), 0.0)


def _can_decode(syntax: Any) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def pixel_hash(film: Film) -> str:
    """SHA-256 of a film's decoded pixels, their type and shape; the same for copies in another file or format."""
    digest = hashlib.sha256(f"{film.pixels.dtype} {film.pixels.shape}".encode())
    digest.update(np.ascontiguousarray(film.pixels).data)
    return digest.hexdigest()


def to_8_bit(film: Film) -> NDArray[np.uint8]:
    """Grey levels 0 … 255, height × width."""
    if film.pixels.dtype == np.uint8:
        return np.asarray(film.pixels, dtype=np.uint8)
    span = max(film.high - film.low, 1e-9)
    scaled = (film.pixels.astype(np.float32) - np.float32(film.low)) * np.float32(255 / span)
    rounded: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return rounded


def grey_sample(film: Film) -> NDArray[np.uint8]:
    """About 250,000 of a film's pixels, every nth of every nth row, as grey levels: they tell as much as all."""
    step = max(1, int(np.sqrt(film.pixels.size / 250_000)))
    return to_8_bit(Film(film.pixels[::step, ::step], film.low, film.high, film.bits))


@dataclass(frozen=True)
class Fit:
    """How a film was fitted into a square: position on the square = position on the film × factor + (left, top)."""

    factor: float
    left: float
    top: float


def fit_into_square(width: int, height: int, side: int) -> Fit:
    """Largest fit that keeps the aspect ratio, centred."""
    factor = side / max(width, height)
    shown_width, shown_height = max(1, round(width * factor)), max(1, round(height * factor))
    return Fit(factor, (side - shown_width) // 2, (side - shown_height) // 2)


def letterbox(film: Film, side: int) -> NDArray[np.uint8]:
    """Fit a film into a black square, aspect ratio kept, resized in full depth and rounded to 8 bits last."""
    height, width = film.pixels.shape
    fit = fit_into_square(width, height, side)
    shown = (max(1, round(width * fit.factor)), max(1, round(height * fit.factor)))
    how = cv2.INTER_AREA if fit.factor < 1 else cv2.INTER_LINEAR
    resized = film.pixels if shown == (width, height) else cv2.resize(film.pixels, shown, interpolation=how)
    square = np.zeros((side, side), np.uint8)
    left, top = int(fit.left), int(fit.top)
    square[top : top + shown[1], left : left + shown[0]] = to_8_bit(Film(resized, film.low, film.high, film.bits))
    return square


def over_cores(
    work: Callable[[Sequence[T]], list[R]], items: Sequence[T], cores: int, *, block: int = 16
) -> Iterator[R]:
    """Apply `work` to blocks of items in threads, results in order, only a few blocks in memory at a time.

    Decoding and resizing happen in C with Python's lock released, so threads use every core. No new block is begun
    while two for each thread wait to be taken: joblib's generator would go on, and hold all there is in memory where
    the caller is the slower one.
    """
    threads = cores or cpu_count()
    waiting: deque[Future[list[R]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), block):
            waiting.append(pool.submit(work, items[start : start + block]))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def film_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that has a film's extension, in order, as a path relative to the folder."""
    return (path.relative_to(folder) for path in files_under(folder) if path.suffix.lower() in EXTENSIONS)
