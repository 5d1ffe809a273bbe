"""Trusted films → the pixel array, the frozen test set and the folds."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from components.contract import Input, Output, Summary
from components.errors import OsteonError, UnreadableFilmError
from components.params import PreparationParams

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


class PreparationSummary(Summary):
    """What was split, and how."""

    films: int
    groups: int
    test_films: int
    test_positive: int
    largest_group: int


def prepare(
    source: Annotated[Path, Input("folder of films the manifest speaks of", "films")],
    trusted: Annotated[Path, Input("films that may be used (parquet, from validate)")],
    dataset: Annotated[Path, Output("pixels.npy and films.parquet, with test set and folds")],
    params: PreparationParams,
) -> PreparationSummary:
    """Decode the films once, join copies and patients into groups, and split by group."""
    from components.films.decoding import over_cores
    from components.films.groups import group_films
    from components.films.manifest import read_manifest
    from components.films.prepared import FILMS, PIXELS, write_pixels, write_rows
    from components.outputs import whole_folder
    from components.preparation.splits import split_films
    from components.progress import progress

    films = read_manifest(trusted)
    side = params.image_size
    pixel_hashes: list[str] = []
    sizes: list[tuple[int, int]] = []

    def standardise(numbers: "Sequence[int]") -> "list[tuple[NDArray[np.uint8], str, tuple[int, int]]]":
        return [_standardise(source / path, side) for path in films["path"].iloc[numbers[0] : numbers[-1] + 1]]

    def squares() -> "Iterator[NDArray[np.uint8]]":
        decoded = over_cores(standardise, range(len(films)), params.cores)
        for square, digest, size in progress(decoded, "prepare", total=len(films)):
            pixel_hashes.append(digest)
            sizes.append(size)
            yield square

    with whole_folder(dataset) as folder:
        write_pixels(folder / PIXELS, squares(), len(films), side)
        films["pixel_sha256"] = pixel_hashes
        pixel_hashes.clear()
        films["group"] = group_films(films)
        films = films.drop(columns=["path", "pixel_sha256"])  # read for the last time, and long
        parts = split_films(films, params.test_share, params.folds, params.seed)
        boxes = _fitted_boxes(films["boxes"], sizes, side)
        films = films.assign(test=parts["test"], fold=parts["fold"], copy=0, boxes=boxes)
        write_rows(folder / FILMS, films)
    return PreparationSummary(
        films=len(films),
        groups=int(films["group"].nunique()),
        test_films=int(films["test"].sum()),
        test_positive=int(films.loc[films["test"], "label"].sum()),
        largest_group=int(films["group"].value_counts().max()),
    )


def _standardise(path: Path, side: int) -> "tuple[NDArray[np.uint8], str, tuple[int, int]]":
    """One film as a square, and the hash and size (width, height) of its pixels before they were fitted."""
    from components.films.decoding import decode, letterbox, pixel_hash

    try:
        film = decode(path.read_bytes(), max_megapixels=math.inf)  # validate has looked at the size
    except (OSError, UnreadableFilmError) as error:
        raise OsteonError(f"{path}: {error}; it was readable before, run the steps ingest and validate again") from None
    height, width = film.pixels.shape
    return letterbox(film, side), pixel_hash(film), (width, height)


def _fitted_boxes(boxes: "pd.Series[str]", sizes: list[tuple[int, int]], side: int) -> list[str]:
    """The films' boxes in pixels of the square.

    The sizes are those of the decoded films: a film that EXIF turns is not as wide as its header says.
    """
    from components.films.decoding import fit_into_square
    from components.films.manifest import boxes_to_text, text_to_boxes

    texts = []
    for text, (width, height) in zip(boxes, sizes, strict=True):
        fit = fit_into_square(width, height, side)
        moved = [
            (x * fit.factor + fit.left, y * fit.factor + fit.top, w * fit.factor, h * fit.factor)
            for x, y, w, h in text_to_boxes(text)
        ]
        texts.append(boxes_to_text(moved))
    return texts
