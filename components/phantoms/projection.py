"""From solids to what a detector sees: thickness of each material, Beer–Lambert, scatter, noise, film.

Everything is computed in float64 and rounded once, at the end, so that different processors, whose last
bits differ, give the same pixels.
"""

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

    def on_film(self, s: float, v: float) -> tuple[float, float]:
        """The inverse of `local`, for one point."""
        v = v + float(self.aside(np.array(s)))
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
        start, end = self.bone.flare
        wide = 1 + start * np.exp(-((u / self._reach[0]) ** 2)) + end * np.exp(-(((1 - u) / self._reach[1]) ** 2))
        wide = wide * self._uneven(u)
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
    thick = BoneThickness(np.zeros(shape), np.zeros(shape), np.zeros(shape))
    box = None
    for number, bone in enumerate(limb.bones):
        cast = shadow(bone, degrees, size, centre)
        parts = [Fragment(whole_bone)]
        if fracture is not None and fracture.bone == number:
            at = break_point(cast, fracture, shape)
            # In a notch between condyles there is no bone in the middle.
            radius = max(float(cast.profile(np.array([at]))[0]), 0.5 * cast.radius)
            parts = fragments(fracture, degrees, at, radius, 0.7 * size / 256)
            box = _fracture_box(cast, fracture, degrees, at, radius, shape)
        window = _window(cast, shape)
        y, x = np.mgrid[window].astype(np.float64)
        s, v = cast.local(x + 0.5, y + 0.5)
        for part in parts:
            s0, v0 = part.unmoved(s, v) if len(parts) > 1 else (s, v)
            share = part.weight(s0, v0)
            whole, inside = cast.thickness(s0, v0)
            thick.whole[window] += share * whole
            thick.marrow[window] += share * inside
            thick.texture[window] += share * inside * texture.of_marrow(number, s0, v0)
    return thick, box


def flesh_thickness(
    limb: Limb, degrees: float, size: int, shape: tuple[int, int], centre: tuple[float, float]
) -> Array:
    """Thickness of soft tissue and bone together, pixels; solids that overlap count once."""
    thick = np.zeros(shape)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    for part in limb.flesh:
        cast = shadow(part, degrees, size, centre)
        s, v = cast.local(x + 0.5, y + 0.5)
        thick = np.maximum(thick, 2 * part.flat * np.sqrt(np.maximum(0.0, cast.profile(s, v) ** 2 - v**2)))
    return thick


def whole_bone(s: Array, v: Array) -> Array:  # noqa: ARG001 – the form of a weight
    """All of the bone belongs to it."""
    return np.ones_like(s)


def break_point(cast: Shadow, fracture: Fracture, shape: tuple[int, int]) -> float:
    """Where along the axis the fracture lies, pixels: its place within the part that is on the film."""
    if fracture.kind == "avulsion":
        return fracture.place * cast.length
    s = np.linspace(0.06, 0.94, 89) * cast.length
    points = np.array([cast.on_film(float(along), 0.0) for along in s])
    margin = 0.06 * max(shape)
    inside = (
        (points[:, 0] > margin)
        & (points[:, 0] < shape[1] - margin)
        & (points[:, 1] > margin)
        & (points[:, 1] < shape[0] - margin)
    )
    seen = s[inside] if inside.any() else s[44:45]
    return float(seen[0] + fracture.place * (seen[-1] - seen[0]))


def _window(cast: Shadow, shape: tuple[int, int]) -> tuple[slice, slice]:
    """The part of the film a bone can reach, fragments that moved included."""
    reach = 2.9 * cast.radius * (1 + max(*cast.bone.flare, 0.0)) + abs(cast.bow) + abs(cast.sway) + 2
    ends = np.array(
        [
            cast.origin,
            (cast.origin[0] + cast.length * cast.along[0], cast.origin[1] + cast.length * cast.along[1]),
        ]
    )
    low, high = ends.min(axis=0) - reach, ends.max(axis=0) + reach
    x0, x1 = (int(np.clip(edge, 0, shape[1])) for edge in (low[0], high[0]))
    y0, y1 = (int(np.clip(edge, 0, shape[0])) for edge in (low[1], high[1]))
    return slice(y0, y1), slice(x0, x1)


def _fracture_box(
    cast: Shadow, fracture: Fracture, degrees: float, at: float, radius: float, shape: tuple[int, int]
) -> Box | None:
    """The box around a break, cut at the film's edge; None where the break lies off the film."""
    angle = np.deg2rad(degrees)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    slope = abs(fracture.slope[0] * cos + fracture.slope[1] * sin)
    shift = abs(fracture.shift[0] * cos + fracture.shift[1] * sin)
    across = radius * (1.1 + 0.6 * shift)
    along = radius * (0.3 + fracture.gap / 2 + slope + (0.7 if fracture.kind in ("comminuted", "avulsion") else 0.0))
    corners = np.array([cast.on_film(at + a * along, b * across) for a in (-1, 1) for b in (-1, 1)])
    x0, x1 = (float(np.clip(edge, 0, shape[1])) for edge in (corners[:, 0].min(), corners[:, 0].max()))
    y0, y1 = (float(np.clip(edge, 0, shape[0])) for edge in (corners[:, 1].min(), corners[:, 1].max()))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    return x0, y0, x1 - x0, y1 - y0


def blurred(picture: Array, sigma: float, reach: float = 4.0) -> Array:
    """A picture under a Gaussian of so many pixels, cut off at `reach` of them, mirrored beyond the edge."""
    width = 2 * int(reach * sigma + 0.5) + 1
    return np.asarray(cv2.GaussianBlur(picture, (width, width), sigma, borderType=cv2.BORDER_REFLECT))
