"""A film's size as its file says it and as it is shown, and boxes from the first to the second."""

import struct
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base

from osteon.errors import UnreadableFilmError
from osteon.films.manifest import Box
from osteon.films.reading.decoding import read_header

SHARES = (1.0, 1.0)  # what boxes are measured on whose values are shares of the sides
_ON_THEIR_SIDE = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class FilmSize(NamedTuple):
    """Pixels of the file, before EXIF turns the film, and EXIF's orientation, 1 … 8."""

    width: int
    height: int
    orientation: int = 1

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height of the film as it is shown."""
        turned = self.orientation in _ON_THEIR_SIDE
        return (self.height, self.width) if turned else (self.width, self.height)


def film_size(path: Path) -> FilmSize | None:
    """The size of one film, from its header; None if it cannot be read (validate says why)."""
    try:
        with Image.open(path) as picture:
            return FilmSize(picture.width, picture.height, _orientation(picture))
    except FileNotFoundError:
        return None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, struct.error):
        pass
    try:
        header = read_header(path.read_bytes())
    except (UnreadableFilmError, OSError):
        return None
    return FilmSize(header.width, header.height)


def _orientation(picture: Image.Image) -> int:
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1  # Pillow would decode all pixels to look behind them
    try:
        value = picture.getexif().get(Base.Orientation, 1)
    except (OSError, ValueError, SyntaxError, struct.error):  # a damaged EXIF block turns nothing
        return 1
    return value if value in range(1, 9) else 1


def boxes_as_shown(boxes: list[Box], size: FilmSize, measured_on: tuple[float, float] | None) -> list[Box]:
    """Boxes in pixels of the film as it is shown.

    Args:
        boxes: x, y, width, height as the annotation has them.
        size: of the film.
        measured_on: width and height of the picture that they are measured on, as the annotation says; SHARES
            for shares of the sides. None where it does not say: then they are of the film as it is shown, as every tool
            that shows films to annotators measures them.

    Raises:
        ValueError: the annotation speaks of a picture of another size; the text is the reason.

    """
    width, height = size.shown
    if measured_on == SHARES:
        return [(x * width, y * height, w * width, h * height) for x, y, w, h in boxes]
    if measured_on not in (None, (width, height), (size.width, size.height)):
        raise ValueError(
            "its boxes are measured on a picture of {:g} × {:g} pixels, ".format(*measured_on)
            + f"the film has {width} × {height}"
        )
    return boxes if measured_on in (None, (width, height)) else [_turned(box, size) for box in boxes]


def _turned(box: Box, size: FilmSize) -> Box:
    """A box of the file's pixels as EXIF's orientations 5 to 8 turn it; the others leave the sides as they are."""
    x, y, w, h = box
    right, below = size.width - x - w, size.height - y - h
    return {5: (y, x, h, w), 6: (below, x, h, w), 7: (below, right, h, w), 8: (y, right, h, w)}[size.orientation]
