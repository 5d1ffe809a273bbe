"""From solids to what a detector sees: thickness of each material, Beer–Lambert, scatter, noise, film.

Everything is computed in float64 and rounded once, at the end, so that different processors, whose last
bits differ, give the same pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from components.phantoms.anatomy import TURNS, Limb, Texture
from components.phantoms.fractures import Fracture, Fragment, fragments
from components.phantoms.regions import Bone, turned

cv2.setNumThreads(1)

Array = NDArray[np.float64]
Box = tuple[float, float, float, float]

# Linear attenuation in 1/cm near 60 keV (NIST XCOM: soft tissue 0.20, cortical bone 0.60, steel about 9; marrow
# with its trabeculae between). The limb is drawn with round cross-sections, which doubles thin bones' contrast;
# cortical bone is set a little lower for that.
SOFT, CORTEX, MARROW, STEEL = 0.20, 0.52, 0.26, 5.0


MANY = 1000  # places, from which on a table is faster


class Places(NamedTuple):
    """Places of a film: their numbers in the flattened film, and where they lie along an axis (s) and across it (v)."""

    number: NDArray[np.intp]
    s: Array
    v: Array


@dataclass(frozen=True)
class Shadow:
    """A bone's axis on the film, in pixels: start, unit direction, length; its profile; how it departs from straight.

    bow, sway: sideways, of the middle and of the quarters. lean, tilt: of start and end, in radii, as this view has
    them. angle: of the view, radians.
    """

    origin: tuple[float, float]
    along: tuple[float, float]
    length: float
    radius: float
    bow: float
    sway: float
    lean: tuple[float, float]
    tilt: tuple[float, float]
    angle: float
    bone: Bone

    def aside(self, s: Array) -> Array:
        """How far the middle of the bone lies beside the straight axis, pixels."""
        return _smoothly(self._aside, s)

    def _aside(self, s: Array) -> Array:
        u = s / self.length
        start, end = (np.exp(-((each / reach) ** 2)) for each, reach in zip((u, 1 - u), self._reach, strict=True))
        leaning = self.radius * (self.lean[0] * start + self.lean[1] * end)
        middle: Array = 4 * self.bow * u * (1 - u) + self.sway * np.sin(2 * np.pi * u) + leaning
        return middle

    @property
    def _reach(self) -> tuple[float, float]:
        return self.bone.shape.reach

    def local(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Film coordinates → along the axis (s) and across it (v), pixels."""
        dx, dy = x - self.origin[0], y - self.origin[1]
        s = dx * self.along[0] + dy * self.along[1]
        return s, dy * self.along[0] - dx * self.along[1] - self.aside(s)

    @property
    def widest(self) -> float:
        """No place of the bone lies farther from its middle, pixels."""
        shape, flare = self.bone.shape, sum(max(each, 0.0) for each in self.bone.flare)
        uneven = 1 + abs(shape.taper) / 2 + sum(abs(height) for height, _ in shape.waves)
        return self.radius * uneven * (1 if self.bone.round else 1 + flare)

    @property
    def beyond(self) -> float:
        """No place of the bone lies farther beyond the ends of its axis, pixels."""
        if self.bone.round:
            return 0.0
        ends = zip(self.bone.flare, self.tilt, self.bone.shape.notch, strict=True)
        return self.radius * max((1 + max(flare, 0.0)) * (abs(tilt) + abs(notch) / 2) for flare, tilt, notch in ends)

    def places(self, shape: tuple[int, int], moved: float = 0.0) -> Places:
        """The places of a film that the bone can reach, or fragments of it that have moved so far (pixels)."""
        x, y = np.arange(shape[1]) + 0.5 - self.origin[0], np.arange(shape[0])[:, None] + 0.5 - self.origin[1]
        s = x * self.along[0] + y * self.along[1]
        v = y * self.along[0] - x * self.along[1]
        beyond = self.beyond + moved
        aside = np.abs(self.aside(np.linspace(-beyond, self.length + beyond, 64))).max()
        far = (s < -beyond) | (s > self.length + beyond) | (np.abs(v) > 1.01 * aside + self.widest + moved)
        number = np.flatnonzero(~far)
        s, v = s.ravel()[number], v.ravel()[number]
        return Places(number, s, v - self.aside(s))

    def reached(self, s: Array, v: Array) -> NDArray[np.intp]:
        """Which of these places the unmoved bone can reach: their numbers."""
        return np.flatnonzero((np.abs(v) < self.widest) & (s > -self.beyond) & (s < self.length + self.beyond))

    def on_film(self, s: Array | float, v: Array | float) -> tuple[Array, Array]:
        """The inverse of `local`."""
        v = v + self.aside(np.asarray(s))
        return (
            self.origin[0] + s * self.along[0] - v * self.along[1],
            self.origin[1] + s * self.along[1] + v * self.along[0],
        )

    def profile(self, s: Array, v: Array | float = 0.0) -> Array:
        """Radius along the axis, pixels; 0 beyond the ends, which lie elsewhere for each v."""
        shape, u = self.bone.shape, s / self.length
        if self.bone.round:
            outline = np.sqrt(np.maximum(0.0, 1 - np.abs(2 * u - 1) ** shape.square))
            return self.radius * outline * self._uneven(u)
        wide = _smoothly(self._wide, s)
        # The ends are rounded over about one radius, lean and are cut in between the condyles.
        across = np.clip(v / (self.radius * np.maximum(wide, 0.1)), -1.0, 1.0)
        caps = []
        for inwards, flare, tilt, notch, blunt in zip(
            (s, self.length - s), self.bone.flare, self.tilt, shape.notch, shape.blunt, strict=True
        ):
            end_radius = self.radius * (1 + max(flare, 0.0))
            inwards = inwards + end_radius * (tilt * across + notch * (across**2 - 0.5))
            caps.append(np.clip(inwards / (end_radius * blunt), 0.0, 1.0))
        from_end = np.minimum(*caps)
        return np.asarray(self.radius * wide * np.sqrt(from_end * (2 - from_end)))

    def _wide(self, s: Array) -> Array:
        """The shaft's width along the axis, as a factor."""
        u, (start, end) = s / self.length, self.bone.flare
        wide = 1 + start * np.exp(-((u / self._reach[0]) ** 2)) + end * np.exp(-(((1 - u) / self._reach[1]) ** 2))
        return np.asarray(wide * self._uneven(u))

    def _uneven(self, u: Array) -> Array:
        """The width's taper and waves, as a factor."""
        shape = self.bone.shape
        factor = 1 + shape.taper * (np.clip(u, 0.0, 1.0) - 0.5)
        for periods, (height, phase) in enumerate(shape.waves, start=1):
            factor = factor + height * np.sin(2 * np.pi * periods * u + phase + TURNS * self.angle)
        return factor

    def thickness(self, s: Array, v: Array) -> tuple[Array, Array]:
        """Chord of the beam through the whole bone, and through its marrow, pixels of unfractured bone."""
        radius = self.profile(s, v)
        outer = 2 * np.sqrt(np.maximum(0.0, radius**2 - v**2))
        # The cortex is thickest at mid-shaft and thins towards the joints.
        u = s / self.length
        shell = self.bone.cortex * self.radius * (0.35 + 0.65 * np.clip(4 * u * (1 - u), 0.0, 1.0))
        inside = np.maximum(0.0, radius - shell)
        inner = 2 * np.sqrt(np.maximum(0.0, inside**2 - v**2))
        return outer * self.bone.flat, inner * self.bone.flat


def _smoothly(of: Callable[[Array], Array], s: Array) -> Array:
    """Values of a smooth function at many places along an axis: by straight lines between places half a pixel apart."""
    if s.size < MANY:
        return of(s)
    grid = np.arange(s.min(), s.max() + 0.5, 0.5)
    return np.interp(s, grid, of(grid))


def shadow(bone: Bone, degrees: float, size: int, centre: tuple[float, float]) -> Shadow:
    """Project a bone's axis. Seen end-on, an axis keeps at least half a radius of length.

    Args:
        bone: the solid.
        degrees: turn of the body about its long axis.
        size: pixels of the film's longer side.
        centre: film position of x = 0, y = 0, pixels.

    """
    start, end = np.array(turned(bone.start, degrees)), np.array(turned(bone.end, degrees))
    span = end - start
    length = max(float(np.sqrt(span @ span)), 0.5 * bone.radius)
    along = span / length if (span @ span) > 0 else np.array([0.0, 1.0])
    angle = float(np.deg2rad(degrees))

    def seen(pair: tuple[float, float]) -> float:
        # v points to the left of `along`; for an axis that runs down the film that is −x.
        return float(-(pair[0] * np.cos(angle) + pair[1] * np.sin(angle)) * along[1])

    shape, radius = bone.shape, bone.radius * size
    return Shadow(
        origin=(float(start[0] * size + centre[0]), float(start[1] * size + centre[1])),
        along=(float(along[0]), float(along[1])),
        length=length * size,
        radius=radius,
        bow=seen(bone.bow) * size,
        sway=seen(shape.sway) * radius,
        lean=(seen(shape.lean[0]), seen(shape.lean[1])),
        tilt=(seen(shape.tilt[0]), seen(shape.tilt[1])),
        angle=angle,
        bone=bone,
    )


class BoneThickness(NamedTuple):
    """What of the beam's way is bone, pixels: all of it, its marrow, and the marrow weighted with its texture."""

    whole: Array
    marrow: Array
    texture: Array


def bone_thickness(
    limb: Limb,
    degrees: float,
    size: int,
    shape: tuple[int, int],
    centre: tuple[float, float],
    fracture: Fracture | None,
    texture: Texture,
) -> tuple[BoneThickness, Box | None]:
    """Thickness of the bones, and the fracture's box (x, y, width, height; pixels)."""
    thick = BoneThickness(*(np.zeros(shape) for _ in BoneThickness._fields))
    whole, marrow, meshes = (each.reshape(-1) for each in thick)
    box = None
    for number, bone in enumerate(limb.bones):
        cast = shadow(bone, degrees, size, centre)
        parts, moved = [Fragment(whole_bone)], 0.0
        if fracture is not None and fracture.bone == number:
            at = break_point(cast, fracture, shape)
            # In a notch between condyles there is no bone in the middle.
            radius = max(float(cast.profile(np.array([at]))[0]), 0.5 * cast.radius)
            parts = fragments(fracture, degrees, at, radius, 0.7 * size / 256)
            box = _fracture_box(cast, fracture, degrees, at, radius, shape)
            moved = max(part.reach(cast.length) for part in parts)
        index, s, v = cast.places(shape, moved)
        for part in parts:
            s0, v0 = part.unmoved(s, v) if len(parts) > 1 else (s, v)
            within = cast.reached(s0, v0)
            s0, v0, place = s0[within], v0[within], index[within]
            share = part.weight(s0, v0)
            outer, inner = cast.thickness(s0, v0)
            whole[place] += share * outer
            marrow[place] += share * inner
            meshes[place] += share * inner * texture.of_marrow(number, s0, v0)
    return thick, box


def flesh_thickness(
    limb: Limb, degrees: float, size: int, shape: tuple[int, int], centre: tuple[float, float]
) -> Array:
    """Thickness of soft tissue and bone together, pixels; solids that overlap count once."""
    thick = np.zeros(shape)
    flat = thick.reshape(-1)
    for part in limb.flesh:
        cast = shadow(part, degrees, size, centre)
        index, s, v = cast.places(shape)
        chord = 2 * part.flat * np.sqrt(np.maximum(0.0, cast.profile(s, v) ** 2 - v**2))
        flat[index] = np.maximum(flat[index], chord)
    return thick


def whole_bone(s: Array, v: Array) -> Array:  # noqa: ARG001 – the form of a weight
    """All of the bone belongs to it."""
    return np.ones_like(s)


def break_point(cast: Shadow, fracture: Fracture, shape: tuple[int, int]) -> float:
    """Where along the axis the fracture lies, pixels: its place within the part that is on the film."""
    if fracture.kind == "avulsion":
        return fracture.place * cast.length
    s = np.linspace(0.06, 0.94, 89) * cast.length
    x, y = cast.on_film(s, 0.0)
    margin = 0.06 * max(shape)
    inside = (x > margin) & (x < shape[1] - margin) & (y > margin) & (y < shape[0] - margin)
    seen = s[inside] if inside.any() else s[44:45]
    return float(seen[0] + fracture.place * (seen[-1] - seen[0]))


def _fracture_box(
    cast: Shadow, fracture: Fracture, degrees: float, at: float, radius: float, shape: tuple[int, int]
) -> Box | None:
    """The box around a break, cut at the film's edge; None where the break lies off the film."""
    angle = np.deg2rad(degrees)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    slope = abs(fracture.slope[0] * cos + fracture.slope[1] * sin)
    shift = abs(fracture.shift[0] * cos + fracture.shift[1] * sin)
    across = radius * (1.1 + 0.6 * shift)
    along = radius * (
        0.3 + abs(fracture.gap) / 2 + slope + (0.7 if fracture.kind in ("comminuted", "avulsion") else 0.0)
    )
    x, y = cast.on_film(at + along * np.array([-1, -1, 1, 1]), across * np.array([-1, 1, -1, 1]))
    x0, x1 = (float(np.clip(edge, 0, shape[1])) for edge in (x.min(), x.max()))
    y0, y1 = (float(np.clip(edge, 0, shape[0])) for edge in (y.min(), y.max()))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    return x0, y0, x1 - x0, y1 - y0


def blurred(picture: Array, sigma: float, reach: float = 4.0) -> Array:
    """A picture under a Gaussian of so many pixels, cut off at `reach` of them, mirrored beyond the edge."""
    width = 2 * int(reach * sigma + 0.5) + 1
    return np.asarray(cv2.GaussianBlur(picture, (width, width), sigma, borderType=cv2.BORDER_REFLECT))


def broadly_blurred(picture: Array, sigma: float, reach: float) -> Array:
    """The same for a wide Gaussian in a fraction of the time: on a smaller copy, which shows all that is left."""
    times = max(1.0, sigma / 6)
    height, width = picture.shape
    small = cv2.resize(picture, (round(width / times), round(height / times)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(blurred(small, sigma / times, reach), (width, height), interpolation=cv2.INTER_LINEAR))
