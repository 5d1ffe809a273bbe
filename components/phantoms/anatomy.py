"""What makes a limb one patient's: its size and shape, the marrow's texture, its soft tissue.

All films of a patient show the same anatomy, however often and from wherever they are taken; those of two patients
do not. The two sides of a body are mirror images but for small differences.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from components.phantoms.regions import REGIONS, RNG, Across, Bone, Point, Shape

Array = NDArray[np.float64]

SIDES = ("L", "R")
UNLIKE = 0.08  # how much of a patient's own variation the two sides of the body do not share
TEXTURE = 128  # values each way; the texture repeats after so many
# How much faster the pattern of what lies one behind the other turns than the body: two views 7° or 90° apart show
# patterns that have nothing to do with each other, as those of meshes of a millimetre in a bone of two centimetres.
TURNS = 13


@dataclass(frozen=True)
class Anatomy:
    """One patient's body. 1 is as in the plan of the region, if not said otherwise.

    size: of all limbs. stout: width of the bones. knobbly: how far their shapes depart from the plan's. flared: how
    much wider they are at the joints. cortex: thickness of the shell. mineral: its attenuation. girth: of the soft
    tissue. grain: size of the marrow's meshes, shares of the film. strength: of the marrow's texture, a share of its
    attenuation. along: how much longer its meshes are along the bone than across. bundle: size of the soft tissue's
    lumps, shares of the film. seed: of what is each bone's own.
    """

    size: float
    stout: float
    knobbly: float
    flared: float
    cortex: float
    mineral: float
    girth: float
    grain: float
    strength: float
    along: float
    bundle: float
    seed: int


@dataclass(frozen=True)
class Limb:
    """One side of one patient's region, as it lies in the beam."""

    bones: tuple[Bone, ...]
    flesh: tuple[Bone, ...]
    centimetres: float
    width: float  # shorter side of the film as a share of the longer one
    side: str
    anatomy: Anatomy
    seed: int  # of the texture: another one for each region and side


def draw_anatomy(rng: RNG) -> Anatomy:
    """A patient's body."""
    return Anatomy(
        size=float(rng.uniform(0.93, 1.08)),
        stout=float(rng.uniform(0.85, 1.15)),
        knobbly=float(rng.uniform(0.7, 1.3)),
        flared=float(rng.uniform(0.7, 1.4)),
        cortex=float(rng.uniform(0.75, 1.2)),
        mineral=float(rng.uniform(0.88, 1.12)),
        girth=float(rng.uniform(0.88, 1.18)),
        grain=float(rng.uniform(1.3, 2.3) / 256),
        strength=float(rng.uniform(0.1, 0.18)),
        along=float(rng.uniform(1.0, 2.2)),
        bundle=float(rng.uniform(14, 24) / 256),
        seed=int(rng.integers(2**32)),
    )


def draw_limb(region: str, anatomy: Anatomy, side: str, pose: RNG) -> Limb:
    """A patient's limb.

    Args:
        region: of REGIONS.
        anatomy: of the patient.
        side: L or R; regions are planned as left limbs, and a right one is the mirror image.
        pose: of the visit: how far joints are bent, and how the limb lies on the table.

    """
    about = [anatomy.seed, list(REGIONS).index(region)]
    plan = REGIONS[region](np.random.default_rng(about), pose)
    both, one = np.random.default_rng([*about, 2]), np.random.default_rng([*about, 3 + SIDES.index(side)])
    bones = tuple(_own_bone(bone, anatomy, both, one) for bone in plan.bones)
    flesh = tuple(_own_flesh(part, anatomy, both, one) for part in plan.flesh)
    bones, flesh = _posed(bones, flesh, pose)
    if side == "R":
        bones, flesh = tuple(map(_mirrored, bones)), tuple(map(_mirrored, flesh))
    return Limb(bones, flesh, plan.centimetres, plan.width, side, anatomy, int(one.integers(2**32)))


class _Own:
    """Draws of a patient, −1 … 1, most of each the same for both sides of the body."""

    def __init__(self, both: RNG, one: RNG, much: float) -> None:
        self.both, self.one, self.much = both, one, much

    def about(self, reach: float, middle: float = 0.0) -> float:
        """A number within reach of the middle."""
        drawn = (1 - UNLIKE) * self.both.uniform(-1, 1) + UNLIKE * self.one.uniform(-1, 1)
        return middle + float(reach * self.much * drawn)

    def across(self, reach: float) -> Across:
        return self.about(reach), self.about(reach)

    def near(self, point: Point, size: float, reach: float) -> Point:
        """A point of the plan in a limb of another size, which grows from the middle of the film."""
        x, y, z = point
        return x * size + self.about(reach), 0.5 + (y - 0.5) * size + self.about(reach), z * size + self.about(reach)


def _own_bone(bone: Bone, anatomy: Anatomy, both: RNG, one: RNG) -> Bone:
    own = _Own(both, one, anatomy.knobbly)
    start, end = bone.flare
    shape = Shape(
        taper=own.about(0.12),
        waves=tuple((own.about(0.06 / (number + 1)), own.about(np.pi)) for number in range(3)),
        sway=own.across(0.12),
        lean=(own.across(0.22), own.across(0.22)),
        tilt=(own.across(0.3), own.across(0.3)),
        notch=(own.about(0.22, 0.08), own.about(0.22, 0.08)),
        reach=(own.about(0.04, 0.16), own.about(0.04, 0.16)),
        blunt=(own.about(0.25, 0.9), own.about(0.25, 0.9)),
        square=own.about(0.4, 2.2),
    )
    return replace(
        bone,
        start=own.near(bone.start, anatomy.size, 0.007),
        end=own.near(bone.end, anatomy.size, 0.007),
        radius=bone.radius * anatomy.size * anatomy.stout * own.about(0.05, 1.0),
        flare=(start * anatomy.flared * own.about(0.15, 1.0), end * anatomy.flared * own.about(0.15, 1.0)),
        cortex=min(0.6, bone.cortex * anatomy.cortex * own.about(0.06, 1.0)),
        bow=(
            bone.bow[0] * own.about(0.6, 1.0) + own.about(0.006),
            bone.bow[1] * own.about(0.6, 1.0) + own.about(0.006),
        ),
        shape=shape,
    )


def _own_flesh(part: Bone, anatomy: Anatomy, both: RNG, one: RNG) -> Bone:
    own = _Own(both, one, 1.0)
    return replace(
        part,
        start=own.near(part.start, anatomy.size, 0.01),
        end=own.near(part.end, anatomy.size, 0.01),
        radius=part.radius * anatomy.size * anatomy.girth * own.about(0.08, 1.0),
        bow=own.across(0.025),
        shape=Shape(
            taper=own.about(0.15),
            waves=tuple((own.about(0.05 / (number + 1)), own.about(np.pi)) for number in range(4)),
            sway=own.across(0.08),
        ),
    )


def _posed(bones: tuple[Bone, ...], flesh: tuple[Bone, ...], pose: RNG) -> tuple[tuple[Bone, ...], tuple[Bone, ...]]:
    """The limb as it lies on the table this time: askew, raised at one end, bent sideways in its middle."""
    askew, raised, bent = pose.uniform(-0.08, 0.08), pose.uniform(-0.25, 0.25), pose.uniform(-0.12, 0.12)

    def moved(point: Point, loose: float) -> Point:
        x, y, z = point
        y -= 0.5
        x, z = x + askew * y + bent * abs(y), z + raised * y
        # Seen from the front, what is raised looks shorter.
        y = 0.5 + y * float(np.cos(raised)) - raised * z
        return x + pose.uniform(-loose, loose), y + pose.uniform(-loose, loose), z + pose.uniform(-loose, loose)

    placed = (
        replace(part, start=moved(part.start, loose), end=moved(part.end, loose))
        for parts, loose in ((bones, 0.01), (flesh, 0.004))
        for part in parts
    )
    every = tuple(placed)
    return every[: len(bones)], every[len(bones) :]


def _mirrored(bone: Bone) -> Bone:
    """A solid of the other side of the body."""

    def other(pair: Across) -> Across:
        return -pair[0], pair[1]

    def both(ends: tuple[Across, Across]) -> tuple[Across, Across]:
        return other(ends[0]), other(ends[1])

    shape = replace(bone.shape, sway=other(bone.shape.sway), lean=both(bone.shape.lean), tilt=both(bone.shape.tilt))
    return replace(bone, start=_beyond(bone.start), end=_beyond(bone.end), bow=other(bone.bow), shape=shape)


def _beyond(point: Point) -> Point:
    """A point's mirror image."""
    x, y, z = point
    return -x, y, z


@dataclass(frozen=True)
class Texture:
    """The texture of a limb as one view shows it: tables of values that repeat without end.

    fine, coarse: of the marrow. muscle: of the soft tissue. grain, bundle: their meshes, pixels. along: how much longer
    those of the marrow are along the bone than across.
    """

    fine: Array
    coarse: Array
    muscle: Array
    grain: float
    bundle: float
    along: float

    def of_marrow(self, bone: int, s: Array, v: Array) -> Array:
        """At places along a bone's axis and across it (pixels): mean 0, standard deviation about 1."""
        place = bone * 37.0  # another part of the tables for each bone
        s, v = s / (self.grain * self.along) + place, v / self.grain + place
        value: Array = 0.8 * _between(self.fine, s, v) + 0.6 * _between(self.coarse, s / 2.5, v / 2.5)
        return value

    def of_flesh(self, x: Array, y: Array) -> Array:
        """In rows y and columns x of the film, pixels from the body's axis: mean 0, standard deviation about 1."""
        columns = _straight(self.muscle, x / self.bundle)
        return 1.5 * _straight(columns.T, y / self.bundle)


def texture_of(limb: Limb, degrees: float, size: int) -> Texture:
    """The texture of a view.

    What lies one behind the other makes the pattern: it changes little by little as the body turns.

    Args:
        limb: whose.
        degrees: turn of the body in this view.
        size: pixels of the film's longer side.

    """
    angle = TURNS * np.deg2rad(degrees)
    tables = _tables(limb.seed)
    fine, coarse, muscle = np.cos(angle) * tables[0] + np.sin(angle) * tables[1]
    own = limb.anatomy
    return Texture(fine, coarse, muscle, grain=own.grain * size, bundle=own.bundle * size, along=own.along)


@lru_cache(maxsize=4)  # of the views of a study
def _tables(seed: int) -> Array:
    """Independent values, mean 0 and standard deviation 1: two tables each for the fine, the coarse and the muscle."""
    return np.random.default_rng(seed).standard_normal((2, 3, TEXTURE, TEXTURE))


def _straight(rows: Array, place: Array) -> Array:
    """Rows of an endless table between those that it has, by straight lines."""
    below = np.floor(place).astype(int)
    share = (place - below)[:, None]
    value: Array = (1 - share) * rows[below % TEXTURE] + share * rows[(below + 1) % TEXTURE]
    return value


def _between(table: Array, row: Array, column: Array) -> Array:
    """Values of an endless table between its places, by straight lines."""
    # Straight lines between independent values have two thirds of their deviation.
    return 1.5 * np.asarray(ndimage.map_coordinates(table, [row, column], order=1, mode="grid-wrap"))
