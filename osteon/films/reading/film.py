"""A decoded film: its grey levels, its hash, and how it is fitted into a square."""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# OpenCV's own threads and ours would fight for the same cores.
cv2.setNumThreads(1)

Grey = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]


@dataclass(frozen=True)
class Film:
    """A decoded film.

    pixels: height × width, bone bright. low, high: the values that become black and white. bits: stored depth.
    chroma: colour left after removing an even tint, in grey levels of 256; None where it was not measured.
    """

    pixels: Grey
    low: float
    high: float
    bits: int
    chroma: float | None = None


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
