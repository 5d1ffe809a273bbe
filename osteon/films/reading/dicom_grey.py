"""A DICOM data set → a film: modality LUT, VOI LUT or window, polarity, padding, square pixels (PS3.4, N.2).

Tags lie: a VOI LUT calls its 12-bit values 16-bit, a window is meant for other values. So a LUT or window is used only
where the pixels show that it shows the film; else the film spans its own values.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from osteon.errors import UnreadableFilmError
from osteon.films.reading.chroma import chroma_of
from osteon.films.reading.dicom_pixels import numbers, photometric, read_dicom, reading_dicom, stored_values
from osteon.films.reading.dicom_values import texts
from osteon.films.reading.film import Film, sampled, span_of, with_square_pixels

GREY = 6.0  # chroma that the saving of a grey film in colour may leave, grey levels of 256
# A LUT or window shows a film where …
LEAST_BETWEEN = 0.1  # … this share of its pixels is neither black nor white,
MOST_WHITE = 0.6  # … not more of it is white,
LEAST_OF_RANGE = 1 / 8  # … and percentiles 1 and 99 lie so far apart on the way from black to white.
STEPS = 64  # stored values between percentiles 1 and 99; with fewer a film is blank, and nothing is amiss
# Spacing of rows and columns, mm; the first that a film has says how its pixels are shaped.
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")


def decode_dicom(data: bytes) -> Film:
    """Decode a file of one grey film.

    Raises:
        UnreadableFilmError: damaged, of several films, in colour, or in a syntax that cannot be decoded here.

    """
    dataset = read_dicom(data)
    with reading_dicom("damaged DICOM"):
        interpretation, samples = photometric(dataset), int(dataset.SamplesPerPixel)
        ratio = pixel_ratio(dataset)
    if interpretation == "unknown":
        raise UnreadableFilmError("DICOM of an unknown PhotometricInterpretation; a radiograph is grey")
    if samples == 1 and interpretation.startswith("MONOCHROME"):
        stored = stored_values(dataset)
        with reading_dicom("damaged DICOM: its window or look-up tables make no sense"):
            film = _grey(stored, dataset)
    else:
        stored = stored_values(dataset)
        with reading_dicom("damaged DICOM: its colours make no sense"):
            film = _grey_of_colours(stored, dataset, interpretation)
    return with_square_pixels(film, ratio)


def pixel_ratio(dataset: Dataset) -> float:
    """Height of a pixel / its width; 1 where no tag says it."""
    for keyword in SPACINGS:
        try:
            spacing = [float(text.replace(",", ".")) for text in texts(dataset, keyword)]
        except ValueError:  # a spacing that makes no sense says nothing of the pixels
            continue
        if len(spacing) == 2 and min(spacing) > 0 and np.isfinite(spacing).all():
            return spacing[0] / spacing[1]
    return 1.0


def _grey(stored: NDArray[Any], dataset: Dataset) -> Film:
    """Stored values through modality LUT, VOI LUT or window, and polarity."""
    padding = _padding(stored, dataset)
    values = _modality(stored, dataset)
    turned = photometric(dataset) == "MONOCHROME1" or _lut_shape(dataset) == "INVERSE"
    seen = sampled(values)[~sampled(padding)]
    if not seen.size:
        raise UnreadableFilmError("DICOM that is padding alone")
    views = list(_views(values, dataset))
    blank = _steps(sampled(stored)[~sampled(padding)]) < STEPS
    for view, low, high in views:
        if blank or _shows(sampled(view)[~sampled(padding)], low, high, turned):
            break
    else:
        # Nothing says what is black and white; viewers span what is there.
        view, (low, high) = values, span_of(values[~padding])
    grey = np.clip(view, np.float32(low), np.float32(high))
    if turned:
        grey = np.float32(low + high) - grey
    grey[padding] = low
    return Film(grey, low, high, int(dataset.BitsStored), 0.0)


def _padding(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_]:
    """Where the film has no pixels: PixelPaddingValue, or from it to PixelPaddingRangeLimit."""
    ends = [
        int(numbers(dataset, keyword)[0])
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
        if numbers(dataset, keyword)
    ]
    if "PixelPaddingValue" not in dataset or not ends:
        return np.zeros(stored.shape, bool)
    # The tag may hold the bits of a negative number as a positive one, or the other way round.
    bits = 1 << int(dataset.BitsAllocated)
    if dataset.PixelRepresentation:
        ends = [end - bits if end >= bits // 2 else end for end in ends]
    else:
        ends = [end + bits if end < 0 else end for end in ends]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _modality(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.float32]:
    """Stored values → what the machine measured, by a LUT or a straight line; a slope of 0 is none."""
    if dataset.get("ModalityLUTSequence"):
        mapped, _ = _looked_up(stored, dataset.ModalityLUTSequence[0], dataset)
        return mapped
    slope = next(iter(numbers(dataset, "RescaleSlope")), 1.0) or 1.0
    intercept = next(iter(numbers(dataset, "RescaleIntercept")), 0.0)
    if not np.isfinite([slope, intercept]).all():
        raise ValueError("no number")
    values = stored.astype(np.float32)
    return values if (slope, intercept) == (1.0, 0.0) else values * np.float32(slope) + np.float32(intercept)


def _views(values: NDArray[np.float32], dataset: Dataset) -> Iterator[tuple[NDArray[np.float32], float, float]]:
    """What the tags offer to show the film with, the best first: values, and which are black and white.

    PS3.3, C.11.2: LUTs, then windows. A window without a width is none.
    """
    for item in dataset.get("VOILUTSequence") or ():
        mapped, top = _looked_up(values, item, dataset)
        yield mapped, 0.0, top
        yield mapped, *span_of(mapped)  # a LUT whose values reach only a part of what it may hold
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    for centre, width in zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False):
        if not np.isfinite([centre, width]).all() or width <= 0 or abs(centre) + width > 1e9:
            continue
        if function == "SIGMOID":  # C.11.2.1.3.1
            with np.errstate(over="ignore"):
                curve = 1 / (1 + np.exp(np.float32(-4 / width) * (values - np.float32(centre))))
            yield curve.astype(np.float32), 0.0, 1.0
        elif function == "LINEAR_EXACT":  # C.11.2.1.3.2
            yield values, centre - width / 2, centre + width / 2
        elif width > 1:  # C.11.2.1.2.1
            yield values, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2


def _shows(seen: NDArray[np.float32], low: float, high: float, turned: bool) -> bool:
    """Whether a film can be seen that is black at `low` and white at `high`, or the other way round."""
    if not low < high:
        return False
    black, white = (seen <= low).mean(), (seen >= high).mean()
    if turned:
        black, white = white, black
    ends = np.clip(np.percentile(seen, [1, 99]), low, high)
    return bool(
        black + white <= 1 - LEAST_BETWEEN
        and white <= MOST_WHITE
        and ends[1] - ends[0] >= LEAST_OF_RANGE * (high - low)
    )


def _steps(seen: NDArray[Any]) -> float:
    first, last = np.percentile(seen, [1, 99])
    return float(last - first)


def _looked_up(values: NDArray[Any], item: Dataset, dataset: Dataset) -> tuple[NDArray[np.float32], float]:
    """Values through a look-up table (PS3.3, C.11.1.1), and what is white in it.

    The descriptor says how many bits the entries have. Tables that say 16 and hold 12 are common: where the largest
    entry is above, or below half of it, the entries decide.
    """
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count & 0xFFFF or 1 << 16  # never signed, though a file without types may be read so
    if first >= 1 << 15 and values.min() < 0:
        first -= 1 << 16
    elif first < 0 and values.min() >= 0 and values.max() >= 1 << 15:
        first += 1 << 16
    entries = _entries(item, count, bool(dataset.file_meta.TransferSyntaxUID.is_little_endian))
    white, largest = (1 << bits) - 1, int(entries.max())
    if largest > white or 0 < 2 * largest < white:
        white = (1 << largest.bit_length()) - 1
    places = np.clip(np.rint(values) - first, 0, count - 1).astype(np.intp)
    return entries.astype(np.float32)[places], float(white)


def _entries(item: Dataset, count: int, little: bool) -> NDArray[np.uint16]:
    """The entries of a table, of 8 or 16 bits, as bytes or as numbers.

    Raises:
        ValueError: fewer than it says.

    """
    data = item.LUTData
    if not isinstance(data, bytes):
        data = (np.atleast_1d(np.asarray(data, np.int64)) & 0xFFFF).astype("<u2" if little else ">u2").tobytes()
    if len(data) >= 2 * count:
        return np.frombuffer(data, "<u2" if little else ">u2", count).astype(np.uint16)
    if len(data) >= count:
        words = np.frombuffer(data, "u1", count if little else count + count % 2)
        return (words if little else words.reshape(-1, 2)[:, ::-1].ravel()[:count]).astype(np.uint16)
    raise ValueError("a look-up table is shorter than it says")


def _lut_shape(dataset: Dataset) -> str:
    return str(dataset.get("PresentationLUTShape") or "").strip().upper()


def _grey_of_colours(stored: NDArray[Any], dataset: Dataset, interpretation: str) -> Film:
    """A grey film that is stored in colours, as screenshots and secondary captures are.

    Raises:
        UnreadableFilmError: it has colours.

    """
    bits = int(dataset.BitsStored)
    if interpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        bits = 8 * stored.dtype.itemsize
    if stored.ndim != 3:
        raise UnreadableFilmError(f"colour DICOM ({interpretation}); a radiograph is grey")
    if bits > 8:
        stored = (stored >> (bits - 8)).clip(0, 255)
    picture = Image.fromarray(np.ascontiguousarray(stored.astype(np.uint8)), "RGB")
    chroma = chroma_of(picture)
    if chroma > GREY:
        raise UnreadableFilmError(f"colour DICOM ({interpretation}); a radiograph is grey")
    return Film(np.asarray(picture.convert("L")), 0.0, 255.0, 8, chroma)
