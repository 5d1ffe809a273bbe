"""Two films at a glance: whether it is worth while to align them.

A glance is a film at SIDE_OF_GLANCE pixels without its coarse shapes. Laid over another by the map that features agree
on, most pairs of different films show at once that they are no copies, in a small part of the time of an alignment.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Glance = NDArray[np.int8]

SIDE_OF_GLANCE = 64  # pixels
COARSEST = 2.0  # standard deviation, pixels of a glance; in what is coarser bones of one kind are alike
WINDOW = 7  # pixels of a glance that are compared around each of its pixels
MIN_CORRELATION = 0.7  # of two windows that count as alike
MIN_VARIANCE, MAX_WEIGHT = 1.0, 8.0  # squared grey levels, grey levels; as in alignment.likeness
MIN_SEEN = 0.9  # share of a window that both films must show
UNSEEN = -128  # beside the film, and where it is as white as can be


def make_glance(square: Pixels, frame: tuple[float, float, float, float]) -> Glance:
    """A film at a glance.

    Args:
        square: the film, side × side.
        frame: left, top, right, bottom of the film in it.

    """
    factor, size = SIDE_OF_GLANCE / len(square), (SIDE_OF_GLANCE, SIDE_OF_GLANCE)
    grey = cv2.resize(square, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    fine = np.clip(np.rint(grey - cv2.GaussianBlur(grey, (0, 0), COARSEST)), -127, 127)
    glance: Glance = fine.astype(np.int8)
    left, top, right, bottom = (round(edge * factor) for edge in frame)
    seen = np.zeros(size, np.bool_)
    seen[top : bottom + 1, left : right + 1] = True
    glance[~seen | (grey == 255)] = UNSEEN
    return glance


def glance_likeness(moving: Glance, fixed: Glance, matrix: NDArray[np.float64]) -> float:
    """Share of the windows that correlate, weighted by the fine structure that both films have there.

    Args:
        moving: the film that is moved; mirrored and inverted already.
        fixed: the film it is laid over.
        matrix: 2 × 3, positions on the moving glance to positions on the fixed one.

    Returns:
        0 … 1; 1 where nothing can be compared: then a glance says nothing.

    """
    size = (SIDE_OF_GLANCE, SIDE_OF_GLANCE)
    left = cv2.warpAffine(np.where(moving == UNSEEN, 0, moving).astype(np.float32), matrix, size)
    right = np.where(fixed == UNSEEN, 0, fixed).astype(np.float32)
    seen = cv2.warpAffine((moving != UNSEEN).astype(np.float32), matrix, size) * (fixed != UNSEEN)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.boxFilter(values, -1, (WINDOW, WINDOW)))

    mean_left, mean_right = mean(left), mean(right)
    variance_left = np.maximum(mean(left * left) - mean_left**2, MIN_VARIANCE)
    variance_right = np.maximum(mean(right * right) - mean_right**2, MIN_VARIANCE)
    correlation = (mean(left * right) - mean_left * mean_right) / np.sqrt(variance_left * variance_right)
    weight = np.sqrt(np.minimum(variance_left, variance_right)).clip(max=MAX_WEIGHT) * (mean(seen) > MIN_SEEN)
    total = float(weight.sum())
    return float(weight[correlation > MIN_CORRELATION].sum()) / total if total else 1.0


def changed_glance(glance: Glance, *, mirrored: bool, inverted: bool) -> Glance:
    """The glance of the mirror image, left for right, of the negative, or of both."""
    made = np.ascontiguousarray(glance[:, ::-1]) if mirrored else glance
    return np.asarray(np.where(made == UNSEEN, made, -made), np.int8) if inverted else made
