"""Where the model looked: which films to show, whether an explanation failed, and how often its peak lies in a box."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.films.manifest import Box
from osteon.films.reading.film import fit_into_square
from osteon.statistics.estimate import Estimate, Floats, Labels
from osteon.statistics.proportions import wilson_in_groups

KINDS = {
    "tp": "found",
    "fn": "missed",
    "fp": "false alarm",
    "tn": "cleared",
}
EACH = 3  # films of each kind that are shown
FLAT = 1e-6  # a map whose values differ by no more says nothing about where


@dataclass(frozen=True)
class Pointing:
    """The pointing game: the share of films whose map is highest in a true box.

    films: fractured ones with boxes. failed: of them, those without a usable map; they count as misses. tolerance:
    pixels of the square by which boxes were grown on all sides. peak, centre: share of hits of the map's peak and of
    the film's middle. chance: share of the films' area in the grown boxes; computed, so without an interval.
    """

    films: int
    failed: int
    tolerance: float
    peak: Estimate
    centre: Estimate
    chance: float | None


def most_certain(labels: Labels, scores: Floats, threshold: float, each: int = EACH) -> dict[str, list[int]]:
    """Row numbers of the most certain right and wrong answers, at most `each` of each of KINDS.

    Args:
        labels: 0 or 1.
        scores: probability of 1.
        threshold: a score at or above it is the answer 1.
        each: films of each kind.

    """
    predicted = scores >= threshold
    chosen = {}
    for kind, inside in {
        "tp": predicted & (labels == 1),
        "fn": ~predicted & (labels == 1),
        "fp": predicted & (labels == 0),
        "tn": ~predicted & (labels == 0),
    }.items():
        rows = np.flatnonzero(inside)
        order = np.argsort(-scores[rows] if kind in ("tp", "fp") else scores[rows], kind="stable")
        chosen[kind] = [int(row) for row in rows[order[:each]]]
    return chosen


def failure_of(heat: Floats) -> str | None:
    """Why a map (h × w) explains nothing; None where it does."""
    if not np.isfinite(heat).all():
        return "the map has values that are no numbers"
    if float(np.ptp(heat)) <= FLAT:
        return "the map is the same everywhere"
    return None


def peak_of(heat: Floats, side: int) -> tuple[float, float]:
    """The middle of a map's highest cell, as (x, y) in pixels of the square; the first of equals."""
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    return (column + 0.5) * side / heat.shape[1], (row + 0.5) * side / heat.shape[0]


def pointing_game(
    heats: Floats,
    boxes: Sequence[Sequence[Box]],
    sizes: Sequence[tuple[int, int]],
    groups: NDArray[np.int64],
    side: int,
    confidence: float,
) -> Pointing:
    """How often the peak lies in a box (Zhang et al. 2018, Int J Comput Vis 126), against the middle and chance.

    A map's cell is larger than many a break, so boxes are grown by half a cell, as the game's authors grow theirs by a
    margin: then the peak is a hit where its cell touches a box. The middle and chance play with the same boxes.

    Args:
        heats: films × h × w, the maps of fractured films with boxes.
        boxes: of each film at least one, in pixels of the square.
        sizes: width and height of each film before it was fitted into the square; where it lies there.
        groups: number of each film's group.
        side: of the square, pixels.
        confidence: of the intervals (Wilson's, groups kept together).

    """
    tolerance = side / heats.shape[2] / 2
    middle = (side / 2, side / 2)
    failed = [failure_of(heat) is not None for heat in heats]
    peak = [
        not no_map and _inside(peak_of(heat, side), marks, tolerance)
        for heat, marks, no_map in zip(heats, boxes, failed, strict=True)
    ]
    centre = [_inside(middle, marks, tolerance) for marks in boxes]
    shares = [_share(marks, size, side, tolerance) for marks, size in zip(boxes, sizes, strict=True)]
    return Pointing(
        films=len(heats),
        failed=sum(failed),
        tolerance=tolerance,
        peak=wilson_in_groups(np.array(peak, bool), groups, confidence),
        centre=wilson_in_groups(np.array(centre, bool), groups, confidence),
        chance=float(np.mean(shares)) if shares else None,
    )


def _inside(point: tuple[float, float], boxes: Sequence[Box], tolerance: float) -> bool:
    x, y = point
    return any(
        left - tolerance <= x <= left + width + tolerance and top - tolerance <= y <= top + height + tolerance
        for left, top, width, height in boxes
    )


def _share(boxes: Sequence[Box], size: tuple[int, int], side: int, tolerance: float) -> float:
    """The share of the film's own pixels, without the black around it, whose middle lies in a grown box."""
    middles = np.arange(side) + 0.5
    inside = np.zeros((side, side), bool)
    for left, top, width, height in boxes:
        columns = (middles >= left - tolerance) & (middles <= left + width + tolerance)
        rows = (middles >= top - tolerance) & (middles <= top + height + tolerance)
        inside |= rows[:, None] & columns[None, :]
    fit = fit_into_square(*size, side)
    x, y = int(fit.left), int(fit.top)
    shown_width, shown_height = (max(1, round(length * fit.factor)) for length in size)
    return float(inside[y : y + shown_height, x : x + shown_width].mean())
