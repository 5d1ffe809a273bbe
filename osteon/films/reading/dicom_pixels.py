"""A DICOM file → its data set and the values that are stored in it, by pydicom."""

import io
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.multival import MultiValue
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from osteon.errors import UnreadableFilmError
from osteon.films.reading import jpeg_extended

jpeg_extended.register()

FIRST_GROUPS = (2, 8)  # with which a file without preamble begins: its meta header, or the data set itself
TAGS_TO_SEE = 2  # of which a file without preamble is known
# Markers of a JPEG stream behind which its size stands (ITU-T T.81, table B.1; T.87 for JPEG-LS).
FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
SCAN_MARKER = 0xDA
MOST_TILES = 4096  # of JPEG 2000
# The decoder that does not end the process over damaged files, where there are several.
PLUGINS = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
}
SMOOTHER = 0.95  # no overlay makes neighbours more alike; a value without its upper bits differs from its neighbours


def is_dicom(data: bytes) -> bool:
    """Whether a file is DICOM: by its mark at byte 128 or, where the preamble is missing, by its first tags.

    The first few hundred bytes are enough.
    """
    return data[128:132] == b"DICM" or _begins_with_tags(data, "<") or _begins_with_tags(data, ">")


def _begins_with_tags(data: bytes, order: str) -> bool:
    """Whether a file begins with tags of the groups 2 or 8 that rise, as a data set does."""
    place, last = 0, 0
    for _ in range(TAGS_TO_SEE):
        if len(data) < place + 12:
            return False
        group, element = struct.unpack_from(f"{order}HH", data, place)
        kind = data[place + 4 : place + 6].decode("latin-1")
        if kind in EXPLICIT_VR_LENGTH_32:
            (length,), start = struct.unpack_from(f"{order}I", data, place + 8), place + 12
        elif kind in EXPLICIT_VR_LENGTH_16:
            (length,), start = struct.unpack_from(f"{order}H", data, place + 6), place + 8
        else:
            (length,), start = struct.unpack_from(f"{order}I", data, place + 4), place + 8
        tag = group << 16 | element
        if group not in FIRST_GROUPS or (place and tag <= last):
            return False
        place, last = start + length, tag
    return True


def read_dicom(data: bytes) -> Dataset:
    """The tags of a file, which say that it has pixels; with its transfer syntax, where the file does not say it.

    Raises:
        UnreadableFilmError: damaged, or without pixels.

    """
    with reading_dicom("damaged DICOM"):
        dataset = dcmread(io.BytesIO(data), force=True)
        for needed in ("Rows", "Columns", "BitsAllocated"):
            if not dataset.get(needed):
                raise UnreadableFilmError("DICOM without pixels")
        if not photometric(dataset):
            raise UnreadableFilmError("DICOM that does not say what is bright (no PhotometricInterpretation)")
        _complete(dataset)
        return dataset


def _complete(dataset: Dataset) -> None:
    """Add what may be missing and has one meaning: the syntax that pydicom read the file with, and usual values."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    usual = {"SamplesPerPixel": 1, "PixelRepresentation": 0, "BitsStored": int(dataset.BitsAllocated)}
    for keyword, value in usual.items():
        if dataset.get(keyword) in (None, ""):
            setattr(dataset, keyword, value)
    dataset.PhotometricInterpretation = photometric(dataset)


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
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of a decoder in Rust, which is no Exception
            raise
        raise UnreadableFilmError(reason) from None


@cache
def quieten_pydicom() -> None:
    """Silence warnings about odd values: they quote them, a patient's name among them."""
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")


def photometric(dataset: Dataset) -> str:
    """The tag's text where it is one of the standard's words, in any case; what else stands there is not repeated."""
    text = str(dataset.get("PhotometricInterpretation") or "").strip(" \0").upper()
    return text if text in {"", *PhotometricInterpretation} else "unknown"


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """A tag's numbers; none where it is missing or empty.

    Raises:
        ValueError: it holds something else.

    """
    value = dataset.get(keyword)
    values = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    return [float(str(number).replace(",", ".")) for number in values if number is not None and str(number).strip()]


def stored_values(dataset: Dataset) -> NDArray[Any]:
    """The values that are stored for each pixel, height × width or height × width × 3, of any integer type.

    Raises:
        UnreadableFilmError: of several films, without pixels, truncated, damaged, or in a syntax that cannot be
            decoded here.

    """
    with reading_dicom("damaged DICOM"):
        frames = int(dataset.get("NumberOfFrames") or 1)
        syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
        if frames != 1:
            raise UnreadableFilmError(f"multi-frame DICOM ({frames} frames); a film is one: split it")
        if "PixelData" not in dataset:
            raise UnreadableFilmError("DICOM without pixels")
        _check_length(dataset, syntax)
    try:
        with reading_dicom("truncated or damaged DICOM pixels"):
            if syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
                _check_stream(get_frame(dataset.PixelData, 0, number_of_frames=1), dataset)
            elif syntax in JPEG2000TransferSyntaxes:
                _check_codestream(get_frame(dataset.PixelData, 0, number_of_frames=1), dataset)
            deep = syntax == JPEGExtended12Bit and int(dataset.BitsStored) > 8
            plugin = jpeg_extended.PLUGIN if deep else PLUGINS.get(syntax, "")
            stored = pixel_array(dataset, decoding_plugin=plugin, correct_unused_bits=False)
    except MemoryError:
        raise UnreadableFilmError("damaged DICOM pixels: they ask for more memory than there is") from None
    except UnreadableFilmError:
        if syntax.is_private or not _can_decode(syntax):
            named = syntax.name if syntax.is_valid or syntax.name != syntax else "unknown"
            raise UnreadableFilmError(f"DICOM transfer syntax that cannot be decoded here: {named}") from None
        raise
    if stored.ndim == 2:
        with reading_dicom("damaged DICOM"):
            return _meant(stored, dataset)
    if stored.ndim == 3 and stored.shape[2] == 3:
        return stored
    raise UnreadableFilmError(f"DICOM pixels of {stored.ndim} dimensions; a film has 2")


def _check_length(dataset: Dataset, syntax: UID) -> None:
    """Refuse uncompressed pixels that are fewer than the tags say."""
    if syntax.is_encapsulated:
        return
    samples = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else int(dataset.SamplesPerPixel)
    needed = int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated) // 8
    if (present := len(dataset.PixelData)) < needed:
        raise UnreadableFilmError(f"truncated DICOM pixels: {present:,} bytes of {needed:,}")


def _check_stream(stream: bytes, dataset: Dataset) -> None:
    """Refuse a JPEG whose own size is another than the tags say: GDCM ends the process over some.

    Raises:
        UnreadableFilmError: it is, or has no size at all.

    """
    place, framed = 2, False
    while place + 10 <= len(stream):
        if stream[place] != 0xFF:
            if framed:  # GDCM ends the process over bytes between a frame's segments
                break
            place += 1
            continue
        marker = stream[place + 1]
        if marker == SCAN_MARKER and framed:
            return
        if marker in FRAME_MARKERS:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", stream, place + 4)
            fits = (rows, columns, samples) == (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)
            if framed or not fits or bits > dataset.BitsAllocated:
                break
            framed = True
        alone = marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD8
        place += (1 if marker == 0xFF else 2) if alone else 2 + struct.unpack_from(">H", stream, place + 2)[0]
    raise UnreadableFilmError("damaged DICOM pixels: their JPEG stream is not of the size that the tags say")


def _check_codestream(stream: bytes, dataset: Dataset) -> None:
    """Refuse a JPEG 2000 whose own size (its SIZ marker; ITU-T T.800, A.5.1) is another than the tags say.

    OpenJPEG works for minutes on a damaged one.

    Raises:
        UnreadableFilmError: it is, or it has more tiles than a film has.

    """
    place = stream.find(b"\xff\x4f\xff\x51")
    right, bottom, left, top, across, down = struct.unpack_from(">6I", stream, place + 8)
    fits = place >= 0 and (bottom - top, right - left) == (dataset.Rows, dataset.Columns)
    if not fits or 0 in (across, down) or -(-right // across) * -(-bottom // down) > MOST_TILES:
        raise UnreadableFilmError("damaged DICOM pixels: their JPEG 2000 stream is not of the size that the tags say")


def _meant(words: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Values out of the words that hold them; the other bits of a word may hold an overlay, or nothing sensible.

    BitsStored and HighBit say where in a word the value is. They may lie: HighBit of values that lie at the bottom,
    or BitsStored of values that need more. Read wrongly, a film turns into noise, so the smoother reading is right.
    """
    bits, width = int(dataset.BitsStored), 8 * words.dtype.itemsize
    high = numbers(dataset, "HighBit")
    shift = int(high[0]) + 1 - bits if high else 0
    signed = bool(dataset.PixelRepresentation)
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not 0 < bits < width or (words.min() >= lowest and words.max() <= highest):
        return words
    at_the_bottom = _cut_out(words, bits, 0, signed)
    if 0 < shift <= width - bits:
        placed = _cut_out(words, bits, shift, signed)
        if _roughness(placed) * at_the_bottom.std() <= _roughness(at_the_bottom) * placed.std():
            return placed
    return words if _roughness(words) < SMOOTHER * _roughness(at_the_bottom) else at_the_bottom


def _cut_out(words: NDArray[Any], bits: int, shift: int, signed: bool) -> NDArray[Any]:
    """`bits` bits of each word from bit `shift` on, with their sign."""
    width = 8 * words.dtype.itemsize
    kind = np.dtype(f"{'i' if signed else 'u'}{words.dtype.itemsize}")
    return np.asarray((words.astype(kind) << (width - bits - shift)) >> (width - bits))


def _roughness(values: NDArray[Any]) -> float:
    """Mean difference of neighbours in a row."""
    return float(np.abs(np.diff(values.astype(np.float32), axis=1)).mean()) if values.shape[1] > 1 else 0.0


def _can_decode(syntax: Any) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False
