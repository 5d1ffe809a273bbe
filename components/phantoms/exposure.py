"""Taking a film of a limb: the beam, the detector, the borders and the marker, down to 8-bit grey."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.phantoms.anatomy import Limb, texture_of
from components.phantoms.fractures import Fracture
from components.phantoms.projection import (
    CORTEX,
    MARROW,
    SOFT,
    STEEL,
    Array,
    Box,
    Shadow,
    blurred,
    bone_thickness,
    break_point,
    broadly_blurred,
    flesh_thickness,
    shadow,
)
from components.phantoms.regions import RNG

# Side markers as a radiographer lays them: 5 × 7 dots, bright.
GLYPHS = {
    "L": ("X....", "X....", "X....", "X....", "X....", "X....", "XXXXX"),
    "R": ("XXXX.", "X...X", "X...X", "XXXX.", "X.X..", "X..X.", "X...X"),
}


@dataclass(frozen=True)
class Findings:
    """What else a study shows. It does not depend on whether the bone is broken."""

    metal: bool
    growth_plates: bool
    ossicle: bool
    sprain: bool


def draw_findings(rng: RNG) -> Findings:
    """Distractors of one study, independent of its label."""
    return Findings(
        metal=bool(rng.random() < 0.06),
        growth_plates=bool(rng.random() < 0.1),
        ossicle=bool(rng.random() < 0.12),
        sprain=bool(rng.random() < 0.08),
    )


def expose(
    limb: Limb, degrees: float, size: int, fracture: Fracture | None, findings: Findings, rng: RNG
) -> tuple[NDArray[np.uint8], Box | None]:
    """One film of a limb.

    Args:
        limb: what lies in the beam.
        degrees: turn of the body about its long axis.
        size: longer side of the film, pixels.
        fracture: what is broken, if anything.
        findings: distractors.
        rng: of this film alone (position, exposure, noise, borders).

    Returns:
        Pixels (height × width, uint8, bone bright) and the fracture's box (x, y, width, height, pixels),
        None where nothing is broken or the break lies off the film.

    """
    shape = (size, 8 * round(limb.width * size / 8))
    centre = (
        shape[1] * (0.5 + rng.uniform(-0.06, 0.06)),
        shape[0] * rng.uniform(-0.04, 0.04),
    )
    if limb.side == "R":
        degrees = -degrees  # filmed from its own outer side, as the left limb is: the mirror image in every view
    texture = texture_of(limb, degrees, size)
    bones, box = bone_thickness(limb, degrees, size, shape, centre, fracture, texture)
    bone = bones.whole
    flesh = flesh_thickness(limb, degrees, size, shape, centre)
    shadows = [shadow(part, degrees, size, centre) for part in limb.bones]
    marrow = bones.marrow + limb.anatomy.strength * bones.texture
    lines = _thin_lines(shadows, findings, shape, rng)
    steel = _metal(shadows, shape, np.random.default_rng([limb.seed, 1])) if findings.metal else np.zeros(shape)
    if findings.ossicle:
        bone = bone + _ossicle(shadows, shape, rng)

    per_pixel = limb.centimetres / size
    x, y = (np.arange(side, dtype=np.float64) - middle for side, middle in zip(shape[::-1], centre, strict=True))
    lumps = texture.of_flesh(x, y)
    soft = np.maximum(flesh - bone, 0.0) * (1 + 0.03 * lumps)
    soft = soft + _swelling(shadows, fracture, findings, shape, rng)
    hard = lines * limb.anatomy.mineral * (CORTEX * (bone - bones.marrow) + MARROW * marrow)
    path = per_pixel * (SOFT * soft + hard + STEEL * steel)
    pixels = _develop(path, size, rng)
    pixels = _collimate(pixels, rng)
    _lay_marker(pixels, limb.side, rng)
    return np.floor(np.clip(pixels, 0.0, 1.0) * 255 + 0.5).astype(np.uint8), box


def _develop(path: Array, size: int, rng: RNG) -> Array:
    """Attenuation → grey in [0, 1]: focal blur, scatter, photon noise, logarithm, window, gamma."""
    primary = blurred(np.exp(-path), rng.uniform(0.35, 0.7) * size / 256)
    # Scatter is a broad, faint copy of the whole picture (a tenth to a third of the primary beam).
    scatter = broadly_blurred(primary, 0.12 * size, reach=2.0)
    seen = primary + rng.uniform(0.1, 0.35) * scatter
    photons = rng.uniform(2500, 12000)
    seen = seen + np.sqrt(seen / photons) * rng.standard_normal(path.shape)
    dark = -np.log(np.maximum(seen, 1e-4))
    # Detectors flatten what is broad (a thick thigh) so that what is fine (its bone) stays in the window.
    dark = dark - rng.uniform(0.35, 0.6) * broadly_blurred(dark, 0.09 * size, reach=2.5)
    low, high = np.percentile(dark, [1.0, 99.8])
    width = (high - low) * rng.uniform(0.9, 1.2)
    grey = np.clip((dark - low) / width + rng.uniform(-0.04, 0.08), 0.0, 1.0)
    shown: Array = grey ** rng.uniform(0.75, 1.25)
    return shown


def _thin_lines(shadows: list[Shadow], findings: Findings, shape: tuple[int, int], rng: RNG) -> Array:
    """Lucent lines that are no fracture, as a factor on bone: growth plates and vessels' canals."""
    factor = np.ones(shape)
    flat = factor.reshape(-1)
    scale = max(shape) / 256
    for cast in shadows:
        if cast.bone.round or not cast.bone.breakable:
            continue
        canal = rng.random() < 0.08
        if not (findings.growth_plates or canal):
            continue
        index, s, v = cast.places(shape)
        if findings.growth_plates:
            at = cast.length * rng.uniform(0.86, 0.92) + 1.5 * scale * np.sin(v / cast.radius * rng.uniform(2, 5))
            flat[index] -= rng.uniform(0.15, 0.35) * np.exp(-(((s - at) / (rng.uniform(0.7, 1.2) * scale)) ** 2))
        if canal:
            middle, sense = cast.length * rng.uniform(0.3, 0.7), rng.choice([-1.0, 1.0])
            reach = np.clip((sense * v / cast.radius - rng.uniform(0.1, 0.4)) * 4, 0.0, 1.0)
            leaning = middle + sense * v * rng.uniform(0.8, 2.5)
            flat[index] -= reach * rng.uniform(0.08, 0.22) * np.exp(-(((s - leaning) / (0.8 * scale)) ** 2))
    return np.maximum(factor, 0.4)


def _metal(shadows: list[Shadow], shape: tuple[int, int], rng: RNG) -> Array:
    """A plate with screws beside a bone, or a nail in it: thickness of steel, pixels."""
    cast = max(
        (shadow for shadow in shadows if shadow.bone.breakable and not shadow.bone.round),
        key=lambda shadow: shadow.length,
    )
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    s, v = cast.local(x + 0.5, y + 0.5)
    middle, half = cast.length * rng.uniform(0.4, 0.6), cast.length * rng.uniform(0.12, 0.25)
    if rng.random() < 0.4:
        nail = 0.35 * cast.radius
        return np.where(np.abs(s - middle) < 1.6 * half, 2 * np.sqrt(np.maximum(0.0, nail**2 - v**2)), 0.0)
    side = rng.choice([-1.0, 1.0])
    plate = (np.abs(s - middle) < half) & (np.abs(v - side * 1.15 * cast.radius) < rng.uniform(0.1, 0.2) * cast.radius)
    steel = np.where(plate, 0.8 * cast.radius, 0.0)
    across = side * v / cast.radius  # 1.15 at the plate
    for place in np.linspace(-0.85, 0.85, int(rng.integers(3, 7))) + rng.uniform(-0.12, 0.12):
        at = middle + (place + rng.uniform(-0.1, 0.1)) * half + rng.uniform(-0.35, 0.35) * (across - 1.15) * cast.radius
        shaft = (
            (np.abs(s - at) < rng.uniform(0.07, 0.13) * cast.radius)
            & (across < 1.2)
            & (across > rng.uniform(-1.3, 0.4))
        )
        steel = np.maximum(steel, np.where(shaft, rng.uniform(0.2, 0.35) * cast.radius, 0.0))
    return steel


def _ossicle(shadows: list[Shadow], shape: tuple[int, int], rng: RNG) -> Array:
    """A small round bone beside a joint, as many people have: not a torn-off chip."""
    long = [shadow for shadow in shadows if shadow.bone.breakable and not shadow.bone.round]
    cast = long[int(rng.integers(len(long)))]
    near_end = cast.length * float(rng.choice([0.05, 0.95]))
    x0, y0 = cast.on_film(near_end, float(rng.choice([-1.0, 1.0]) * rng.uniform(1.3, 1.9) * cast.radius))
    size = rng.uniform(0.18, 0.35) * cast.radius
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    away = ((x + 0.5 - x0) / size) ** 2 + ((y + 0.5 - y0) / (size * rng.uniform(0.8, 1.6))) ** 2
    thick: Array = 2 * size * np.sqrt(np.maximum(0.0, 1 - away))
    return thick


def _swelling(
    shadows: list[Shadow], fracture: Fracture | None, findings: Findings, shape: tuple[int, int], rng: RNG
) -> Array:
    """Blood and water in the soft tissue around most breaks, and around some joints that are only sprained."""
    if fracture is not None and rng.random() < 0.85:
        cast = shadows[fracture.bone]
        at, radius = break_point(cast, fracture, shape), cast.radius
    elif findings.sprain:
        long = [shadow for shadow in shadows if shadow.bone.breakable and not shadow.bone.round]
        cast = long[int(rng.integers(len(long)))]
        at, radius = cast.length * float(rng.choice([0.05, 0.95])), cast.radius
    else:
        return np.zeros(shape)
    x0, y0 = cast.on_film(at, float(rng.uniform(-0.8, 0.8) * radius))
    wide = radius * rng.uniform(1.6, 2.6)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    away = ((x + 0.5 - x0) / wide) ** 2 + ((y + 0.5 - y0) / (wide * rng.uniform(0.9, 1.6))) ** 2
    thick: Array = rng.uniform(0.8, 2.4) * radius * np.exp(-0.5 * away)
    return thick


def _collimate(pixels: Array, rng: RNG) -> Array:
    """Black beyond the edges of the beam, which are often a little askew."""
    if rng.random() < 0.35:
        return pixels
    height, width = pixels.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    lean = np.tan(np.deg2rad(rng.uniform(-3, 3)))
    left, right, top, bottom = rng.uniform(0.0, 0.07, 4)
    distance = np.minimum.reduce(
        [
            x - left * width - lean * (y - height / 2),
            (1 - right) * width - x + lean * (y - height / 2),
            y - top * height + lean * (x - width / 2),
            (1 - bottom) * height - y - lean * (x - width / 2),
        ]
    )
    inside: Array = np.clip(distance / 1.5 + 0.5, 0.0, 1.0)
    return pixels * inside


def _lay_marker(pixels: Array, side: str, rng: RNG) -> None:
    """Put L or R into a corner, in place; some films have none."""
    if rng.random() < 0.2:
        return
    dots = np.array([[dot == "X" for dot in row] for row in GLYPHS[side]], dtype=np.float64)
    times = max(1, round(rng.uniform(1.5, 3.5) * max(pixels.shape) / 256))
    glyph = np.kron(dots, np.ones((times, times)))
    room = (pixels.shape[0] - glyph.shape[0], pixels.shape[1] - glyph.shape[1])
    y = int(room[0] * (rng.uniform(0.03, 0.2) if rng.random() < 0.5 else rng.uniform(0.8, 0.97)))
    x = int(room[1] * (rng.uniform(0.03, 0.12) if rng.random() < 0.5 else rng.uniform(0.88, 0.97)))
    place = pixels[y : y + glyph.shape[0], x : x + glyph.shape[1]]
    np.maximum(place, glyph * rng.uniform(0.8, 1.0), out=place)
