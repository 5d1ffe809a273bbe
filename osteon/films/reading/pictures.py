"""A picture file (JPEG, PNG, TIFF, …) → a film, by Pillow."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError
from PIL.ExifTags import Base

from osteon.errors import UnreadableFilmError
from osteon.films.reading.chroma import chroma_of
from osteon.films.reading.depth import depth_of
from osteon.films.reading.film import Film, span_of, with_square_pixels

PILLOW_FORMATS = ("JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP", "JPEG2000")
WHITE_IS_ZERO = 0  # TIFF's PhotometricInterpretation
SIGNED = 1 << 15  # what is added to signed values that are saved as unsigned ones
LARGEST = 100_000_000  # pixels of a picture that is decoded before max_megapixels is known
PREVIEW = 0.5  # a picture at most this wide is a preview of the first one of its file

# The limit is ours to check (max_megapixels), with a reason instead of a warning.
Image.MAX_IMAGE_PIXELS = None
# Films that Pillow can decode and does not list: 12 and 16 bits that call black white, 12 bits of the other byte order.
for _key, _modes in {
    (b"MM", 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (b"II", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
}.items():
    TiffImagePlugin.OPEN_INFO.setdefault(_key, _modes)

# EXIF's Orientation → how the file's pixels are turned upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_THEIR_SIDE = (5, 6, 7, 8)


@contextmanager
def reading_picture(reason: str) -> Iterator[None]:
    """Give `reason` for whatever Pillow raises; of damaged files it raises nearly anything."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnreadableFilmError:
        raise
    except MemoryError:
        raise UnreadableFilmError(f"{reason}: it asks for more memory than there is") from None
    except Exception as error:
        raise UnreadableFilmError(f"{reason}: {error}") from None


def open_picture(data: bytes) -> Image.Image:
    """A picture whose pixels are not decoded yet.

    Raises:
        UnreadableFilmError: not one of the formats, or its header is damaged.

    """
    with reading_picture("damaged header"):
        try:
            return Image.open(io.BytesIO(data), formats=PILLOW_FORMATS)
        except UnidentifiedImageError:
            raise UnreadableFilmError(
                "no picture that can be read (JPEG, PNG, TIFF, GIF, BMP, WebP, JPEG 2000 or DICOM)"
            ) from None


def exif_of(picture: Image.Image) -> dict[int, Any]:
    """EXIF's tags; none where its block is damaged, for the pixels may be whole."""
    try:
        with reading_picture("damaged EXIF"):
            return dict(picture.getexif())
    except UnreadableFilmError:
        return {}


def orientation_of(picture: Image.Image) -> int:
    """EXIF's Orientation, 1 … 8; 1 where the file says none."""
    value = exif_of(picture).get(Base.Orientation)
    return value if isinstance(value, int) and value in UPRIGHT else 1


def decode_picture(data: bytes, *, colour: bool, depth: int | None) -> Film:
    """Decode a file of one picture.

    Args:
        data: the file.
        colour: also measure the chroma.
        depth: bits that white stands at in the set's pictures of 16 bits without a tag of their depth; None: as the
            picture itself shows it.

    Raises:
        UnreadableFilmError: damaged, of several pictures, or deeper than `depth`.

    """
    with open_picture(data) as picture:
        with reading_picture("truncated or damaged"):
            _check_single(picture)
            if not colour and picture.format in ("JPEG", "MPO"):
                picture.draft("L", None)  # libjpeg then decodes the grey channel alone, twice as fast
            picture.load()
        orientation = orientation_of(picture)
        with reading_picture("damaged"):
            ratio = _pixel_ratio(picture)
            values = _deep_values(picture)
            if values is None:
                film = _shallow_film(picture, orientation, colour)
            else:
                turned = UPRIGHT.get(orientation)
                if turned is not None:
                    values = np.asarray(Image.fromarray(values).transpose(turned))
                film = _deep_film(values, picture, depth)
            return with_square_pixels(film, 1 / ratio if orientation in ON_THEIR_SIDE else ratio)


def untagged_values(data: bytes) -> NDArray[np.uint16] | None:
    """The values of a picture of 16 bits that does not say its depth; None for any other file.

    Raises:
        UnreadableFilmError: damaged, or values beyond 16 bits.

    """
    with open_picture(data) as picture:
        if not _may_be_untagged(picture) or picture.width * picture.height > LARGEST:
            return None
        with reading_picture("truncated or damaged"):
            picture.load()
            values = _deep_values(picture)
        return None if values is None or values.dtype.kind == "f" else _without_offset(values)


def _may_be_untagged(picture: Image.Image) -> bool:
    return picture.mode.startswith("I") and _tagged_bits(picture) is None


def _tagged_bits(picture: Image.Image) -> int | None:
    """The depth that a picture of more than 8 bits says it has; None where it says 16 or 32 and may have fewer."""
    if picture.format == "JPEG2000":
        return 16  # Pillow scales its values to 16 bits
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        bits = picture.tag_v2.get(258)
        if isinstance(bits, tuple) and bits and isinstance(bits[0], int) and 8 < bits[0] < 16:
            return bits[0]
    return None


def _check_single(picture: Image.Image) -> None:
    """Refuse a file of several pictures; smaller ones behind the first, of its shape, are previews of it."""
    frames = getattr(picture, "n_frames", 1)
    if frames == 1:
        return
    width, height = picture.size
    previews = True
    if picture.format in ("TIFF", "MPO"):
        for number in range(1, min(frames, 32)):
            picture.seek(number)
            previews &= picture.width <= PREVIEW * width and abs(picture.width * height / width - picture.height) <= 2
        picture.seek(0)
    if picture.format not in ("TIFF", "MPO") or not previews:
        raise UnreadableFilmError(f"holds {frames} pictures; a film is one: split it")


def _pixel_ratio(picture: Image.Image) -> float:
    """Height of a pixel / its width, from dots an inch or the shape that JPEG and PNG can say; else 1."""
    dots = picture.info.get("aspect") or picture.info.get("dpi") or (1, 1)
    if picture.info.get("jfif_unit") == 0:
        dots = picture.info.get("jfif_density") or dots
    across, down = (float(number) for number in dots)
    return across / down if across > 0 and down > 0 and np.isfinite([across, down]).all() else 1.0


def _deep_values(picture: Image.Image) -> NDArray[Any] | None:
    """The values of a picture of more than 8 bits; None for other pictures."""
    if not (picture.mode.startswith("I") or picture.mode == "F"):
        return None
    values = np.asarray(picture)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise UnreadableFilmError("holds values that are no numbers")
        return values.astype(np.float32)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableFilmError("values beyond 16 bits")
    return values.astype(np.uint16)


def _without_offset(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Signed values that were saved as unsigned ones lie in the upper half; nothing else does with all its pixels."""
    return values - np.uint16(SIGNED) if values.min() >= SIGNED else values


def _deep_film(values: NDArray[Any], picture: Image.Image, depth: int | None) -> Film:
    turned = isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.tag_v2.get(262) == WHITE_IS_ZERO
    if values.dtype.kind == "f":
        low, high = span_of(values)
        values = np.clip(values, np.float32(low), np.float32(high))
        return Film(np.float32(low + high) - values if turned else values, low, high, 32, 0.0)
    bits = _tagged_bits(picture)
    if bits is None:
        values = _without_offset(values)
        own = depth_of(values)
        bits = depth or own
        if own > bits:
            raise UnreadableFilmError(f"its values need {own} bits, those of its set {bits}")
    top = (1 << bits) - 1
    values = np.minimum(values, np.uint16(top))
    return Film(np.uint16(top) - values if turned else values, 0.0, float(top), bits, 0.0)


def _shallow_film(picture: Image.Image, orientation: int, colour: bool) -> Film:
    turned = UPRIGHT.get(orientation)
    upright = picture if turned is None else picture.transpose(turned)
    chroma = chroma_of(upright) if colour else None
    grey = np.asarray(upright.convert("L"))
    if "A" in upright.mode and grey.min() == grey.max():
        clear = np.asarray(upright.getchannel("A"))
        if clear.min() < clear.max():
            raise UnreadableFilmError("its picture is in its transparency alone; save it again without transparency")
    return Film(grey, 0.0, 255.0, 8, chroma)
