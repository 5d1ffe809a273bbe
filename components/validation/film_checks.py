"""Every film decoded and checked: whether it is whole and a radiograph, and its attributes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from components.validation.attributes import ATTRIBUTE_TYPES, Attributes, attributes_of, numbered
from osteon.errors import UnreadableFilmError
from osteon.files import read_file
from osteon.films.manifest import depth_or_none, text_to_boxes, typed_frame
from osteon.films.reading.decoding import decode
from osteon.films.reading.film import grey_sample, pixel_hash
from osteon.films.reading.limits import contrast_of
from osteon.params import ValidationParams
from osteon.progress import progress
from osteon.threads import over_cores


def check_films(manifest: pd.DataFrame, source: Path, params: ValidationParams) -> pd.DataFrame:
    """What each film shows.

    Returns:
        One row a film, in the manifest's order: fault (why it cannot be used at all; else null), short_side
        (pixels), aspect (long / short side), contrast and chroma (grey levels of 256), bits, boxes_outside
        (number of boxes that are not wholly on the film), pixel_sha256, and what attributes.py measures.

    """
    needed = manifest[["path", "sha256", "boxes", "depth"]]

    def check_block(rows: Sequence[int]) -> list[tuple[object, ...]]:
        part = needed.iloc[rows[0] : rows[-1] + 1].itertuples(index=False, name=None)
        checks = (
            _check_film(source / path, sha256, boxes, params.max_megapixels, depth_or_none(depth))
            for path, sha256, boxes, depth in part
        )
        return [(*check[:-1], *check.attributes) for check in checks]

    checked = progress(over_cores(check_block, range(len(manifest)), params.cores), "validate", total=len(manifest))
    return numbered(typed_frame(checked, CHECK_TYPES | ATTRIBUTE_TYPES)).set_index(manifest.index)


class FilmCheck(NamedTuple):
    """What one film shows, or why it cannot be used at all."""

    fault: str | None = None
    short_side: int | None = None
    aspect: float | None = None
    contrast: float | None = None
    chroma: float | None = None
    bits: int | None = None
    boxes_outside: int | None = None
    pixel_sha256: str | None = None
    attributes: Attributes = Attributes()


CHECK_TYPES = {
    "fault": "string",
    "short_side": "Int32",
    "aspect": "Float64",
    "contrast": "Float64",
    "chroma": "Float64",
    "bits": "Int16",
    "boxes_outside": "Int16",
    "pixel_sha256": "string",
}


def _check_film(path: Path, sha256: object, boxes: object, max_megapixels: float, depth: int | None) -> FilmCheck:
    try:
        data = read_file(path)
    except FileNotFoundError:
        return FilmCheck("file is missing")
    except OSError as error:
        return FilmCheck(f"file cannot be read: {error.strerror}")
    if hashlib.sha256(data).hexdigest() != sha256:
        return FilmCheck("file changed after ingest looked at it")
    try:
        film = decode(data, max_megapixels=max_megapixels, colour=True, depth=depth)
        grey = grey_sample(film)
        attributes = attributes_of(data, grey)
    except UnreadableFilmError as error:
        return FilmCheck(str(error))
    try:
        marks = text_to_boxes(boxes)
    except ValueError:
        return FilmCheck("its boxes are not a list of [x, y, width, height]")
    height, width = film.pixels.shape
    # Boxes are in the pixels of the file, which may have become more.
    right, bottom = width / film.stretch[0] + BOX_SLACK, height / film.stretch[1] + BOX_SLACK
    outside = sum(
        x < -BOX_SLACK or y < -BOX_SLACK or x + w > right or y + h > bottom or w <= 0 or h <= 0 for x, y, w, h in marks
    )
    return FilmCheck(
        short_side=min(height, width),
        aspect=max(height, width) / min(height, width),
        contrast=contrast_of(grey),
        chroma=film.chroma,
        bits=film.bits,
        boxes_outside=outside,
        pixel_sha256=pixel_hash(film),
        attributes=attributes,
    )


# Annotators' boxes end on the outer edge of a pixel or on its middle.
BOX_SLACK = 1.0
