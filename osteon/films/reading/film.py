"""A decoded film: its grey levels, its hash, and how it is fitted into a square."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.errors import UnreadableFilmError

# OpenCV's own threads and ours would fight for the same cores.
cv2.setNumThreads(1)

Grey = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]


@dataclass(frozen=True)
class Film:
    """A decoded film.

    pixels: height × width, bone bright. low, high: the values that become black and white. bits: stored depth.
    chroma: colour left after removing an even tint, in grey levels of 256; None where it was not measured.
    stretch: what the file's width and height were multiplied by, because its pixels are not square.
    """

    pixels: Grey
    low: float
    high: float
    bits: int
    chroma: float | None = None
    stretch: tuple[float, float] = (1.0, 1.0)


SQUARE = 0.01  # by which height and width of a pixel may differ, as a share: rounding of what a tag says
OBLONG = 8.0  # a pixel so many times higher than wide, or wider than high, is no pixel


def with_square_pixels(film: Film, ratio: float) -> Film:
    """A film whose pixels are as wide as high; the side on which they are too long gets more of them.

    Args:
        film: decoded.
        ratio: height of its pixels / their width.

    Raises:
        UnreadableFilmError: no pixel is like that.

    """
    if abs(ratio - 1) <= SQUARE:
        return film
    if not 1 / OBLONG <= ratio <= OBLONG:
        raise UnreadableFilmError(f"its tags say that a pixel is {ratio:.3g} times as high as wide")
    height, width = film.pixels.shape
    shown = (width, round(height * ratio)) if ratio > 1 else (round(width / ratio), height)
    pixels = cv2.resize(film.pixels, shown, interpolation=cv2.INTER_LINEAR)
    return replace(film, pixels=pixels, stretch=(shown[0] / width, shown[1] / height))


def sampled(values: NDArray[Any]) -> NDArray[Any]:
    """About 250,000 of a film's values, every nth of every nth row: they tell as much as all."""
    step = max(1, int(np.sqrt(values.size / 250_000)))
    return values[::step, ::step]


OUTLIERS = (0.01, 0.1, 0.5)  # percent of a film's pixels at either end that may be hot pixels or a marker
LEAST_WITHOUT = 0.25  # share of the whole span that the film without outliers has to have


def span_of(values: NDArray[Any]) -> tuple[float, float]:
    """The values that become black and white where nothing says so: the smallest and the largest.

    Hot pixels and a marker would leave next to nothing for the rest. Where the film without some outliers takes less
    than a quarter of that span, they do not count.
    """
    low, high = float(values.min()), float(values.max())
    few = values.ravel()[:: max(1, values.size // 250_000)]
    for share in OUTLIERS:
        first, last = (float(end) for end in np.percentile(few, [share, 100 - share]))
        if 0 < last - first < LEAST_WITHOUT * (high - low):
            return first, last
    return low, high


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
    """About 250,000 of a film's pixels as grey levels."""
    return to_8_bit(replace(film, pixels=sampled(film.pixels)))


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
    square[top : top + shown[1], left : left + shown[0]] = to_8_bit(replace(film, pixels=resized))
    return square
