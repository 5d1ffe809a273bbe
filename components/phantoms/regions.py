"""The regions of the body as simple solids: which bones each has, where they lie, and how a view projects them.

Lengths are in sides of the film (its longer side is 1), x across the limb, y along it (downwards on the
film), z along the frontal beam. A body turned by an angle about y and projected along z gives a view.
These are left limbs of nobody; anatomy.py makes them one patient's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float, float]
Across = tuple[float, float]  # a distance across the axis: x, z
RNG = np.random.Generator


@dataclass(frozen=True)
class Shape:
    """How a solid departs from the smooth one of its plan. Lengths are in its radii; pairs are of start and end.

    taper: how much wider the end is than the start. waves: heights and phases of waves of its width, one, two, …
    periods long. sway: how far it runs to one side and back to the other. lean: how far each end stands off the
    axis. tilt: how far each end's face is askew. notch: how deep it is cut between two condyles. reach: how far the
    flare goes, as a share of the length. blunt: over how much of the length each end is rounded. square: exponent of
    an ellipsoid's outline, 2 for an ellipse.
    """

    taper: float = 0.0
    waves: tuple[tuple[float, float], ...] = ()
    sway: Across = (0.0, 0.0)
    lean: tuple[Across, Across] = ((0.0, 0.0), (0.0, 0.0))
    tilt: tuple[Across, Across] = ((0.0, 0.0), (0.0, 0.0))
    notch: tuple[float, float] = (0.0, 0.0)
    reach: tuple[float, float] = (0.16, 0.16)
    blunt: tuple[float, float] = (1.0, 1.0)
    square: float = 2.0


SMOOTH = Shape()


@dataclass(frozen=True)
class Bone:
    """A solid around an axis: a shell of cortical bone around marrow.

    radius: across the axis at mid-shaft. flare: how much wider start and end are, as shares of the radius.
    bow: sideways offset (x, z) of the middle of the axis. cortex: thickness of the shell as a share of the
    radius. flat: depth along the beam as a share of the width. round: an ellipsoid instead of a shaft.
    breakable: a fracture may be put here.
    """

    name: str
    start: Point
    end: Point
    radius: float
    flare: tuple[float, float] = (0.0, 0.0)
    bow: Across = (0.0, 0.0)
    cortex: float = 0.35
    flat: float = 1.0
    round: bool = False
    breakable: bool = True
    shape: Shape = SMOOTH


@dataclass(frozen=True)
class Plan:
    """What lies in the beam: bones, soft tissue as boneless solids, and the film's real size."""

    bones: tuple[Bone, ...]
    flesh: tuple[Bone, ...]
    centimetres: float
    width: float  # shorter side of the film as a share of the longer one


def _flesh(start: Point, end: Point, radius: float, flare: tuple[float, float] = (0.0, 0.0), flat: float = 1.0) -> Bone:
    return Bone("flesh", start, end, radius, flare, flat=flat)


def _finger(own: RNG, pose: RNG) -> Plan:
    bend = pose.uniform(0.0, 0.35)
    lengths = np.array([0.17, 0.23, 0.36]) * own.uniform(0.93, 1.07, 3)
    radii = np.array([0.035, 0.046, 0.056]) * own.uniform(0.9, 1.1)
    bones, y, z, slope = [], 0.09, -0.06, 0.9 * bend
    for name, length, radius in zip(("distal", "middle", "proximal"), lengths, radii, strict=True):
        end = (0.0, y + length, z + slope * length)
        bones.append(Bone(f"{name} phalanx", (0.0, y, z), end, float(radius), (0.15, 0.5), (0.0, 0.012), cortex=0.38))
        y, z, slope = y + length + 0.012, z + slope * length, slope - 0.8 * bend
    bones.append(Bone("metacarpal", (0.01, y + 0.005, z), (0.05, 1.25, z), 0.062, (0.45, 0.3)))
    flesh = (
        _flesh((0.0, 0.03, -0.05), (0.0, 0.9, -0.01), 0.105, (0.0, 0.1)),
        _flesh((0.02, 0.55, 0.0), (0.06, 1.4, 0.0), 0.22, (0.0, 0.2), flat=0.6),
    )
    return Plan(tuple(bones), flesh, centimetres=9, width=0.72)


def _wrist(own: RNG, _pose: RNG) -> Plan:
    bones = [
        Bone("radius", (-0.055, 1.2, 0.0), (-0.07, 0.6, 0.0), 0.05, (0.0, 0.75), (0.01, 0.012), cortex=0.34),
        Bone("ulna", (0.075, 1.2, 0.02), (0.085, 0.625, 0.015), 0.037, (0.0, 0.35), cortex=0.36),
    ]
    places = [(-0.1, 0.535), (-0.035, 0.53), (0.03, 0.54), (0.07, 0.515)]
    places += [(-0.115, 0.465), (-0.065, 0.45), (-0.005, 0.455), (0.05, 0.455)]
    for number, (x, y) in enumerate(places):
        x, y = x + own.uniform(-0.006, 0.006), y + own.uniform(-0.006, 0.006)
        size = own.uniform(0.033, 0.042)
        name = "scaphoid" if number == 0 else "carpal"
        bones.append(
            Bone(
                name,
                (x, y - size, 0.02),
                (x, y + size, 0.0),
                size * 0.85,
                cortex=0.16,
                round=True,
                breakable=number == 0,
            )
        )
    for number, spread in enumerate((-0.22, -0.105, -0.03, 0.035, 0.1)):
        top = 0.24 if number == 0 else 0.08 + 0.03 * abs(number - 2)
        bones.append(
            Bone("metacarpal", (0.45 * spread, 0.415, 0.0), (spread, top, 0.02), 0.028, (0.4, 0.5), cortex=0.38)
        )
    flesh = (
        _flesh((0.0, 1.4, 0.0), (0.0, 0.3, 0.0), 0.165, (0.1, 0.0), flat=0.75),
        _flesh((0.0, 0.68, 0.0), (-0.02, -0.25, 0.0), 0.22, (-0.2, 0.0), flat=0.45),
    )
    return Plan(tuple(bones), flesh, centimetres=17, width=0.8)


def _forearm(_own: RNG, _pose: RNG) -> Plan:
    bones = (
        Bone("radius", (-0.08, -0.15, 0.0), (-0.07, 1.0, 0.0), 0.05, (0.0, 0.6), (-0.04, 0.02), cortex=0.42),
        Bone("ulna", (0.065, -0.15, 0.02), (0.075, 0.99, 0.015), 0.044, (0.5, 0.2), (0.01, 0.015), cortex=0.42),
    )
    flesh = (_flesh((0.0, -0.3, 0.0), (0.0, 1.25, 0.0), 0.19, (0.3, -0.1), flat=0.85),)
    return Plan(bones, flesh, centimetres=20, width=0.7)


def _elbow(_own: RNG, pose: RNG) -> Plan:
    bend = pose.uniform(0.05, 0.35)
    bones = (
        Bone("humerus", (0.0, -0.2, 0.0), (0.0, 0.47, 0.0), 0.058, (0.0, 0.85), cortex=0.36, flat=0.75),
        Bone("radius", (-0.075, 0.515, 0.02), (-0.06, 1.2, bend), 0.04, (0.5, 0.0), cortex=0.38),
        Bone("ulna", (0.055, 0.43, -0.03), (0.05, 1.2, bend + 0.02), 0.046, (0.75, 0.0), cortex=0.38),
    )
    flesh = (
        _flesh((0.0, -0.4, 0.0), (0.0, 0.66, 0.0), 0.185, flat=0.85),
        _flesh((0.0, 0.3, -0.3 * bend), (0.0, 1.4, 1.2 * bend), 0.18, (0.0, -0.1), flat=0.85),
    )
    return Plan(bones, flesh, centimetres=20, width=0.78)


def _shoulder(own: RNG, _pose: RNG) -> Plan:
    ribs = tuple(
        Bone(
            "rib",
            (0.18, 0.42 + 0.12 * n, 0.1),
            (0.62, 0.52 + 0.13 * n, 0.1),
            0.016,
            bow=(-0.05, 0.02),
            breakable=False,
        )
        for n in range(4)
    )
    head = 0.098 * own.uniform(0.93, 1.07)
    bones = (
        Bone("humerus", (-0.2, 0.27, 0.0), (-0.25, 1.2, 0.0), 0.05, (0.9, 0.0), (-0.015, 0.0), cortex=0.34),
        Bone(
            "humeral head",
            (-0.15, 0.31 - head, 0.0),
            (-0.15, 0.31 + head, 0.0),
            head,
            cortex=0.1,
            round=True,
            breakable=False,
        ),
        Bone("clavicle", (-0.1, 0.17, 0.02), (0.45, 0.1, 0.05), 0.036, (0.3, 0.3), (0.03, 0.03), cortex=0.36),
        Bone(
            "scapula",
            (0.0, 0.2, 0.06),
            (0.13, 0.78, 0.06),
            0.12,
            cortex=0.04,
            flat=0.12,
            round=True,
            breakable=False,
        ),
        *ribs,
    )
    flesh = (
        _flesh((-0.21, 0.1, 0.0), (-0.26, 1.3, 0.0), 0.16, (0.3, 0.0)),
        _flesh((0.3, 0.1, 0.0), (0.34, 1.6, 0.0), 0.42, flat=0.3),
    )
    return Plan(bones, flesh, centimetres=34, width=1.0)


def _hip(own: RNG, _pose: RNG) -> Plan:
    head = 0.088 * own.uniform(0.94, 1.06)
    bones = (
        Bone("femur", (-0.17, 0.42, 0.0), (-0.1, 1.25, 0.0), 0.06, (0.55, 0.0), (-0.02, 0.02), cortex=0.42),
        Bone("femoral neck", (-0.19, 0.45, 0.0), (0.02, 0.325, 0.0), 0.06, (0.3, 0.1), cortex=0.2),
        Bone(
            "femoral head",
            (0.02, 0.3 - head, 0.0),
            (0.02, 0.3 + head, 0.0),
            head,
            cortex=0.1,
            round=True,
            breakable=False,
        ),
        Bone(
            "ilium",
            (0.12, -0.15, 0.05),
            (0.1, 0.36, 0.05),
            0.19,
            cortex=0.05,
            flat=0.2,
            round=True,
            breakable=False,
        ),
        Bone("pubis", (0.09, 0.33, 0.0), (0.42, 0.42, 0.0), 0.035, cortex=0.25),
        Bone("ischium", (0.09, 0.34, 0.03), (0.28, 0.62, 0.03), 0.042, cortex=0.22, breakable=False),
    )
    flesh = (
        _flesh((-0.08, 0.2, 0.0), (-0.1, 1.4, 0.0), 0.25, (0.2, 0.0)),
        _flesh((0.15, -0.6, 0.0), (0.15, 0.75, 0.0), 0.46, flat=0.42),
    )
    return Plan(bones, flesh, centimetres=38, width=0.85)


def _lower_leg(_own: RNG, _pose: RNG) -> Plan:
    bones = (
        Bone("tibia", (0.03, -0.12, 0.0), (0.03, 1.05, 0.0), 0.062, (0.7, 0.45), (0.012, -0.01), cortex=0.44),
        Bone(
            "fibula",
            (-0.095, -0.08, 0.055),
            (-0.075, 1.05, 0.035),
            0.03,
            (0.4, 0.5),
            (0.012, 0.0),
            cortex=0.46,
        ),
    )
    flesh = (
        _flesh((0.0, -0.3, 0.0), (0.0, 1.3, 0.0), 0.18, (0.35, -0.3)),
        _flesh((-0.02, -0.1, 0.06), (0.0, 0.75, 0.05), 0.16),
    )
    return Plan(bones, flesh, centimetres=30, width=0.62)


def _ankle(_own: RNG, pose: RNG) -> Plan:
    tilt = pose.uniform(-0.03, 0.03)
    bones = (
        Bone("tibia", (0.02, -0.2, 0.0), (0.03, 0.53, 0.0), 0.066, (0.0, 0.75), cortex=0.36),
        Bone("medial malleolus", (0.1, 0.44, 0.0), (0.115, 0.595, 0.0), 0.03, cortex=0.28),
        Bone("fibula", (-0.105, -0.2, 0.03), (-0.105, 0.62, 0.02), 0.032, (0.0, 0.45), cortex=0.4),
        Bone("talus", (0.02 + tilt, 0.545, -0.07), (0.02 + tilt, 0.68, 0.03), 0.088, cortex=0.13, round=True),
        Bone("calcaneus", (0.0, 0.72, 0.16), (0.0, 0.8, -0.2), 0.075, (0.2, 0.0), cortex=0.16),
        Bone("navicular", (0.04, 0.7, -0.2), (0.04, 0.8, -0.21), 0.05, cortex=0.16, round=True, breakable=False),
        Bone("metatarsal", (0.02, 0.77, -0.23), (0.05, 0.93, -0.6), 0.03, (0.3, 0.0), cortex=0.4),
    )
    flesh = (
        _flesh((0.0, -0.3, 0.0), (0.0, 0.82, 0.0), 0.165, (0.2, 0.0)),
        _flesh((0.0, 0.72, 0.3), (0.0, 0.9, -0.8), 0.17, flat=0.8),
    )
    return Plan(bones, flesh, centimetres=22, width=0.8)


# From what is a patient's own, and how the limb is held: the region's plan.
REGIONS: dict[str, Callable[[RNG, RNG], Plan]] = {
    "finger": _finger,
    "wrist": _wrist,
    "forearm": _forearm,
    "elbow": _elbow,
    "shoulder": _shoulder,
    "hip": _hip,
    "lower leg": _lower_leg,
    "ankle": _ankle,
}

# Frontal and lateral are a quarter turn apart, but a shoulder or hip is never filmed across the body.
SECOND_VIEW_DEGREES = {"shoulder": 35.0, "hip": 40.0}


def turned(point: Point, degrees: float) -> tuple[float, float]:
    """Where a point falls on the film (x, y) when the body is turned about its long axis."""
    angle = np.deg2rad(degrees)
    return float(point[0] * np.cos(angle) + point[2] * np.sin(angle)), point[1]


def ends_on_film(bone: Bone) -> tuple[float, ...]:
    """Which ends of a bone (0.0 its start, 1.0 its end) lie well on the film in every view."""
    return tuple(end for end, point in ((0.0, bone.start), (1.0, bone.end)) if 0.1 < point[1] < 0.9)


def length_on_film(bone: Bone) -> float:
    """How much of a bone's length lies well on the film seen from the front, in sides of the film."""
    first, last = sorted((bone.start[1], bone.end[1]))
    return min(last, 0.94) - max(first, 0.06)
