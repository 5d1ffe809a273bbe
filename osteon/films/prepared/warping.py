"""Varying a film: one affine map for all geometry, one look-up table for all intensity, then noise.

The same code makes the copies of the step augment and the variants a network sees while it trains.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.films.manifest import Box
from osteon.params import AugmentationParams

cv2.setNumThreads(1)

_GREYS = np.linspace(0, 1, 256)


@dataclass(frozen=True)
class Variation:
    """One way of varying a film.

    matrix: 2 × 3, from positions (x, y) on the film to positions on the variant. table: 256 grey levels.
    noise: standard deviation, grey levels. seed: of the noise.
    """

    matrix: NDArray[np.float64]
    table: NDArray[np.uint8]
    noise: float
    seed: int


def draw_variation(rng: np.random.Generator, params: AugmentationParams, side: int) -> Variation:
    """Draw one variation within the limits of the parameters, about the middle of a square of `side` pixels."""
    turn, lean, growth, right, down = rng.uniform(-1, 1, 5).tolist()
    angle, shear = math.radians(turn * params.rotation), math.radians(lean * params.shear)
    scale = 1 + growth * params.scale
    flip = -1.0 if params.mirror and rng.random() < 0.5 else 1.0
    # Scaled · turned · mirrored and sheared. Plain numbers: arrays of four cost most of a variation's time.
    cos, sin, tan = scale * math.cos(angle), scale * math.sin(angle), math.tan(shear)
    linear = ((cos * flip, cos * tan - sin), (sin * flip, sin * tan + cos))
    middle = (side - 1) / 2
    matrix = np.array(
        [
            (x, y, middle - (x + y) * middle + shift * params.shift * side)
            for (x, y), shift in zip(linear, (right, down), strict=True)
        ]
    )

    gamma, gain = rng.uniform(-1, 1, 2).tolist()
    grey = _GREYS ** (1 + gamma * params.gamma) * (1 + gain * params.gain)
    table = np.rint(grey.clip(0, 1) * 255).astype(np.uint8)
    return Variation(matrix, table, float(rng.uniform(0, params.noise)), int(rng.integers(2**31)))


def vary(film: NDArray[np.uint8], variation: Variation) -> NDArray[np.uint8]:
    """A film (height × width uint8) as the variation shows it; what comes from beyond its edge is black."""
    size = (film.shape[1], film.shape[0])
    moved = cv2.warpAffine(film, variation.matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    varied = cv2.LUT(moved, variation.table)
    if variation.noise > 0:
        grain = _grain(variation.seed, film.shape)
        varied = cv2.addWeighted(varied, 1.0, grain, variation.noise / GRAIN_SD, -128.0 * variation.noise / GRAIN_SD)
    return np.asarray(varied, dtype=np.uint8)


# Normal noise of standard deviation 32 about 128, drawn once: cutting a piece of it is 20 times as fast as drawing.
GRAIN_SD = 32.0
_GRAIN = np.clip(np.rint(np.random.default_rng(0).normal(128.0, GRAIN_SD, (1100, 1100))), 0, 255).astype(np.uint8)


def _grain(seed: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    top, left = seed % (1100 - shape[0] + 1), (seed // 1100) % (1100 - shape[1] + 1)
    return _GRAIN[top : top + shape[0], left : left + shape[1]]


def vary_boxes(boxes: Sequence[Box], variation: Variation, side: int) -> list[Box]:
    """Boxes on the variant: the upright box around each moved one, cut at the edge; one moved off is dropped."""
    moved: list[Box] = []
    for x, y, width, height in boxes:
        corners = np.array([[x, y, 1], [x + width, y, 1], [x, y + height, 1], [x + width, y + height, 1]], float)
        # A box counts from the edge of the first pixel, the matrix from its middle.
        places = (corners - [0.5, 0.5, 0.0]) @ variation.matrix.T + 0.5
        x0, y0 = np.clip(places.min(axis=0), 0, side)
        x1, y1 = np.clip(places.max(axis=0), 0, side)
        if x1 - x0 >= 1 and y1 - y0 >= 1:
            moved.append((float(x0), float(y0), float(x1 - x0), float(y1 - y0)))
    return moved
