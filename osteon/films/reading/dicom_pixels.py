"""A DICOM file → grey pixels by pydicom: modality LUT, VOI LUT or window, MONOCHROME1 inversion (PS3.4, N.2)."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config, dcmread
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.uid import UID

from osteon.errors import UnreadableFilmError
from osteon.films.reading.film import Film


def is_dicom(data: bytes) -> bool:
    """Whether a file begins as DICOM part 10 says."""
    return data[128:132] == b"DICM"


def read_dicom(data: bytes) -> Dataset:
    """The tags of a file, which say that it has pixels.

    Raises:
        UnreadableFilmError: damaged, or without pixels.

    """
    with reading_dicom("damaged DICOM"):
        dataset = dcmread(io.BytesIO(data))
        for needed in ("Rows", "Columns", "PhotometricInterpretation", "BitsStored"):
            if needed not in dataset:
                raise UnreadableFilmError("DICOM without pixels")
        return dataset


@contextmanager
def reading_dicom(reason: str) -> Iterator[None]:
    """Give `reason` for whatever pydicom raises, as it may at every access to a tag.

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


def photometric(dataset: Dataset) -> str:
    """The tag's text where it is one of the standard's words; what else stands there is not repeated."""
    text = str(dataset.PhotometricInterpretation)
    return text if text in set(PhotometricInterpretation) else "unknown"


def decode_dicom(data: bytes) -> Film:
    """Decode a file of one grey film.

    Raises:
        UnreadableFilmError: damaged, of several films, in colour, or in a syntax that cannot be decoded here.

    """
    dataset = read_dicom(data)
    with reading_dicom("damaged DICOM"):
        interpretation, samples = photometric(dataset), int(dataset.get("SamplesPerPixel") or 1)
        frames = int(dataset.get("NumberOfFrames") or 1)
        syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
    if samples != 1 or not interpretation.startswith("MONOCHROME"):
        raise UnreadableFilmError(f"colour DICOM ({interpretation}); a radiograph is grey")
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
    if photometric(dataset) == "MONOCHROME1":
        values = np.float32(low + high) - values
    values[padding] = low
    return Film(values, low, high, int(dataset.BitsStored), 0.0)


def _can_decode(syntax: Any) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False
