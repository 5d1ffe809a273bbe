"""Fractures by their types: how a bone parts into fragments, seen from any side.

A fracture is a plane through the bone in three dimensions, so that one view may show it sharply and the
other hardly at all. Lengths are in radii of the bone where it breaks; s runs along the axis and v across it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weight = Callable[[Array, Array], Array]
Across = Callable[[Array], Array]

TYPES = ("transverse", "oblique", "spiral", "comminuted", "greenstick", "avulsion", "hairline")
# Breaks through and through, whose fragments can move apart, and the bend that anybody sees.
OBVIOUS_TYPES = ("transverse", "oblique", "spiral", "comminuted", "greenstick")


@dataclass(frozen=True)
class Fracture:
    """One fracture, the same in every view of a study.

    place: where along the axis, as a share of the part of the bone that is on the film; for an avulsion, of
    the whole bone. slope (x, z): how far
    the plane runs along the axis for each radius across it. shift (x, z) and turn (x, z, radians): how the far
    fragment moved. gap: opening; below 0 the fragments overlap. seed: of the jagged edge and of small chips.
    obvious: anybody sees it.
    """

    kind: str
    bone: int
    place: float
    slope: tuple[float, float]
    shift: tuple[float, float]
    turn: tuple[float, float]
    gap: float
    seed: int
    obvious: bool = False


@dataclass(frozen=True)
class Fragment:
    """A part of a bone: which share of the unbroken bone at (s, v) is in it, and where it went.

    weight: from coordinates in the unbroken bone to shares in [0, 1]. The part turns by `turn` (radians) about
    `hinge` (s, v) and then moves by `shift` (s, v).
    """

    weight: Weight
    turn: float = 0.0
    hinge: tuple[float, float] = (0.0, 0.0)
    shift: tuple[float, float] = (0.0, 0.0)

    def reach(self, length: float) -> float:
        """How far at most a part of a bone of this length has moved, pixels."""
        return float(np.hypot(*self.shift) + 2 * abs(np.sin(self.turn / 2)) * length)

    def unmoved(self, s: Array, v: Array) -> tuple[Array, Array]:
        """Where in the unbroken bone the material now at (s, v) came from."""
        s = s - (self.hinge[0] + self.shift[0])
        v = v - (self.hinge[1] + self.shift[1])
        cos, sin = float(np.cos(self.turn)), float(np.sin(self.turn))
        return s * cos + v * sin + self.hinge[0], v * cos - s * sin + self.hinge[1]


def draw_fracture(rng: np.random.Generator, bone: int, ends: tuple[float, ...]) -> Fracture:
    """A fracture of a random type; how far it moved is drawn so that many are hard to see.

    Args:
        rng: of the study.
        bone: number of the bone in the limb.
        ends: which ends of the bone (0.0 start, 1.0 end) are on the film: ligaments tear there and nowhere
            else, so a bone that shows no end has no avulsion.

    """
    kinds = TYPES if ends else tuple(kind for kind in TYPES if kind != "avulsion")
    kind = kinds[int(rng.integers(len(kinds)))]
    place = float(rng.random())
    if kind == "avulsion":
        place = abs(ends[int(rng.integers(len(ends)))] - 0.04 - 0.08 * place)
    around = rng.uniform(0, 2 * np.pi)
    side = np.array([np.cos(around), np.sin(around)])
    steep = {
        "transverse": rng.uniform(0.0, 0.2),
        "oblique": rng.uniform(0.6, 1.2),
        "spiral": rng.uniform(1.5, 2.4),
        "comminuted": rng.uniform(0.1, 0.7),
        "greenstick": rng.uniform(0.0, 0.3),
        "avulsion": 0.0,
        "hairline": rng.uniform(0.0, 0.9),
    }[kind]
    moved = rng.beta(2.0, 1.4)
    far = {"greenstick": 0.0, "hairline": 0.0, "avulsion": 0.6 + 0.7 * moved}.get(kind, 1.5 * moved)
    turned = {"greenstick": rng.uniform(0.16, 0.3), "hairline": 0.0, "avulsion": 0.3}.get(
        kind, 0.32 * rng.beta(1.6, 1.6)
    )
    gap = {"hairline": rng.uniform(0.28, 0.45), "greenstick": 0.35}.get(kind, rng.uniform(0.5, 1.1))
    # The far fragment moves mostly down the slope of the break, as it does in a limb.
    direction = np.deg2rad(rng.uniform(-60, 60))
    cos, sin = np.cos(direction), np.sin(direction)
    towards = np.array([side[0] * cos - side[1] * sin, side[0] * sin + side[1] * cos])
    return Fracture(
        kind=kind,
        bone=bone,
        place=place,
        slope=(float(steep * side[0]), float(steep * side[1])),
        shift=(float(far * towards[0]), float(far * towards[1])),
        turn=(float(turned * towards[0]), float(turned * towards[1])),
        gap=float(gap),
        seed=int(rng.integers(2**31)),
    )


def draw_obvious(rng: np.random.Generator, bone: int) -> Fracture:
    """A fracture that anybody sees: fragments far apart, side by side or at an angle, well within the film.

    Args:
        rng: of the study.
        bone: number of the bone in the limb.

    """
    kind = OBVIOUS_TYPES[int(rng.integers(len(OBVIOUS_TYPES)))]
    around, towards = rng.uniform(0, 2 * np.pi, 2)
    steep = {"oblique": rng.uniform(0.6, 1.2), "spiral": rng.uniform(1.2, 2.0)}.get(kind, rng.uniform(0.0, 0.4))
    # Muscles pull: some fragments slide past each other, so that their ends lie side by side, brighter than one bone.
    overlap = rng.random() < 0.4 and kind in ("transverse", "oblique")
    far = 0.0 if kind == "greenstick" else rng.uniform(1.3, 2.0) if overlap else rng.uniform(0.9, 1.8)
    turned = rng.uniform(0.35, 0.6) if kind == "greenstick" else rng.uniform(0.15, 0.45)
    gap = -rng.uniform(0.6, 1.6) if overlap else rng.uniform(0.8, 1.5)

    def across(much: float, angle: float) -> tuple[float, float]:
        return float(much * np.cos(angle)), float(much * np.sin(angle))

    return Fracture(
        kind=kind,
        bone=bone,
        place=float(rng.uniform(0.15, 0.85)),
        slope=across(steep, around),
        shift=across(far, towards),
        turn=across(turned, towards),
        gap=float(gap),
        seed=int(rng.integers(2**31)),
        obvious=True,
    )


def fragments(fracture: Fracture, degrees: float, at: float, radius: float, pixel: float) -> list[Fragment]:
    """The parts of the bone in one view.

    Args:
        fracture: what broke.
        degrees: turn of the body in this view.
        at: place of the break along the axis, pixels.
        radius: of the bone there, pixels.
        pixel: softening of an edge that runs along the beam, pixels.

    """
    angle = np.deg2rad(degrees)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))

    def seen(pair: tuple[float, float]) -> float:
        return pair[0] * cos + pair[1] * sin

    depth = fracture.slope[1] * cos - fracture.slope[0] * sin  # how far the plane leans along the beam
    soft = pixel + 0.5 * abs(depth) * radius
    rng = np.random.default_rng([fracture.seed, int(degrees) % 360])
    edge = _jagged_edge(rng, at, radius, seen(fracture.slope), curl=0.5 if fracture.kind == "spiral" else 0.0)
    gap = fracture.gap * radius
    shift, turn = seen(fracture.shift) * radius, seen(fracture.turn)
    if fracture.kind == "avulsion":
        return _avulsion(fracture, at, radius, cos, sin, pixel)
    if fracture.kind == "greenstick":
        bend = max(abs(turn), 0.03) * (1 if turn >= 0 else -1)
        hinge = (at, -radius if bend > 0 else radius)
        return [
            Fragment(lambda s, v: _ramp((edge(v) - s) / soft)),
            Fragment(lambda s, v: _ramp((s - edge(v)) / soft), bend, hinge),
        ]
    if fracture.kind == "comminuted":
        tall = radius * float(rng.uniform(0.7, 1.3))
        lean = float(rng.choice([-1.0, 1.0])) * float(rng.uniform(0.5, 0.9))

        def second(v: Array) -> Array:
            # The butterfly fragment is a wedge: its two edges meet at the far cortex.
            return edge(v) + tall * np.maximum(0.0, 0.5 + lean * v / (2 * radius))

        away = float(np.sign(lean)) * radius * (0.1 + 0.5 * abs(seen(fracture.shift)))
        return [
            Fragment(lambda s, v: _ramp((edge(v) - gap / 2 - s) / soft)),
            Fragment(
                lambda s, v: np.minimum(_ramp((s - edge(v) - gap / 2) / soft), _ramp((second(v) - gap / 2 - s) / soft)),
                0.5 * turn + 0.12 * float(np.sign(lean)),
                (at, 0.0),
                (0.0, away),
            ),
            Fragment(lambda s, v: _ramp((s - second(v) - gap / 2) / soft), turn, (at, 0.0), (0.0, shift)),
        ]
    through = _hairline_reach(rng, radius) if fracture.kind == "hairline" else _everywhere
    shorten = -0.5 * abs(shift) if fracture.kind in ("oblique", "spiral") else 0.0
    return [
        Fragment(lambda s, v: _ramp((edge(v) - gap / 2 * through(v) - s) / soft)),
        Fragment(lambda s, v: _ramp((s - edge(v) - gap / 2 * through(v)) / soft), turn, (at, 0.0), (shorten, shift)),
    ]


def _ramp(x: Array) -> Array:
    """0 below −½, 1 above ½, straight between: two of them, back to back, add up to 1."""
    return np.clip(x + 0.5, 0.0, 1.0)


def _everywhere(v: Array) -> Array:
    return np.ones_like(v)


def _hairline_reach(rng: np.random.Generator, radius: float) -> Across:
    """A hairline often ends inside the bone."""
    stop = float(rng.uniform(-0.3, 1.0)) * radius
    sense = float(rng.choice([-1.0, 1.0]))
    return lambda v: np.clip((stop - sense * v) / (0.4 * radius) + 0.5, 0.0, 1.0)


def _jagged_edge(rng: np.random.Generator, at: float, radius: float, slope: float, curl: float) -> Across:
    """Where along the axis the edge of the break lies, for each v: a slope with teeth."""
    waves = rng.uniform(1.5, 7.0, 4) / radius
    heights = rng.normal(0.0, 0.06, 4) * radius
    phases = rng.uniform(0, 2 * np.pi, 4)

    def edge(v: Array) -> Array:
        line = at + slope * v
        if curl:
            line = line + curl * slope * radius * np.tanh(2.0 * v / radius)
        for wave, height, phase in zip(waves, heights, phases, strict=True):
            line = line + height * np.sin(wave * v + phase)
        return line

    return edge


def _avulsion(fracture: Fracture, at: float, radius: float, cos: float, sin: float, pixel: float) -> list[Fragment]:
    """A chip torn from the edge near a joint, the bone keeping the bite."""
    across = fracture.shift[0] * cos + fracture.shift[1] * sin
    sense = 1.0 if across >= 0 else -1.0
    size = 0.5 * radius
    # Seen from the side the chip lies on the edge; seen from the front it lies over the bone and hides.
    middle = sense * 0.95 * radius * abs(across) / (abs(fracture.shift[0]) + abs(fracture.shift[1]))

    def chip(s: Array, v: Array) -> Array:
        away = np.sqrt(((s - at) / 1.4) ** 2 + (v - middle) ** 2)
        return np.clip((size - away) / pixel + 0.5, 0.0, 1.0)

    return [
        Fragment(lambda s, v: 1.0 - chip(s, v)),
        Fragment(chip, sense * 0.25, (at, middle), (0.1 * radius, across * radius)),
    ]
