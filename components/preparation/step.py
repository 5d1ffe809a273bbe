"""Trusted films → the pixel array, the frozen test set and the folds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import PreparationParams

if TYPE_CHECKING:
    import pandas as pd


class PreparationSummary(Summary):
    """What was split, and how."""

    films: int
    groups: int
    test_films: int
    test_positive: int
    copies: int
    largest_group: int


def prepare(
    source: Annotated[Path, Input("folder of films the manifest speaks of", "films")],
    trusted: Annotated[Path, Input("films that may be used (parquet, from validate)")],
    dataset: Annotated[Path, Output("pixels.npy and films.parquet, with test set and folds")],
    leaks: Annotated[
        Path, Output("pairs.csv: copies of one film, with the evidence; a picture of the doubtful", "report")
    ],
    params: PreparationParams,
) -> PreparationSummary:
    """Decode the films once, join copies and patients into groups, and split by group."""
    from components.preparation.splits import split_films
    from components.preparation.squares import FACTS, standardise_films
    from osteon.files import atomic_dir, remove
    from osteon.films.copies.near_copies import FilmStack
    from osteon.films.copies.pairs import find_pairs, joined_rows, write_pairs
    from osteon.films.groups import components, group_films
    from osteon.films.manifest import read_manifest
    from osteon.films.prepared.array import FILMS, PIXELS, open_pixels, write_rows

    films = read_manifest(trusted)
    with atomic_dir(dataset, keep=True) as folder:
        films = films.join(standardise_films(films, source, folder, params.image_size, params.cores))
        sizes = list(zip(films["shown_width"], films["shown_height"], strict=True))
        stack = FilmStack(open_pixels(folder / PIXELS), sizes)
        pairs = find_pairs(films, stack, params.cores)
        with atomic_dir(leaks) as report:
            write_pairs(report, pairs, films, stack)
        joined = joined_rows(pairs)
        films["group"] = group_films(films, joined)
        films = films.drop(columns=["path", "pixel_sha256"])  # read for the last time, and long
        films = films.join(split_films(films, params.test_share, params.folds, params.seed))
        films = films.assign(
            copy=0,
            boxes=_fitted_boxes(films, params.image_size),
            width=films["shown_width"],
            height=films["shown_height"],
        )
        write_rows(folder / FILMS, films)
        remove(folder / FACTS)
    return PreparationSummary(
        films=len(films),
        groups=int(films["group"].nunique()),
        test_films=int(films["test"].sum()),
        test_positive=int(films.loc[films["test"], "label"].sum()),
        copies=len(films) - len(set(components(len(films), joined).tolist())),
        largest_group=int(films["group"].value_counts().max()),
    )


def _fitted_boxes(films: "pd.DataFrame", side: int) -> list[str]:
    """The films' boxes in pixels of the square.

    The sizes are those of the decoded films: a film that EXIF turns is not as wide as its header says.
    """
    from osteon.films.manifest import boxes_to_text, text_to_boxes
    from osteon.films.reading.decoding import fit_into_square

    texts = []
    for text, width, height in zip(films["boxes"], films["shown_width"], films["shown_height"], strict=True):
        fit = fit_into_square(width, height, side)
        moved = [
            (x * fit.factor + fit.left, y * fit.factor + fit.top, w * fit.factor, h * fit.factor)
            for x, y, w, h in text_to_boxes(text)
        ]
        texts.append(boxes_to_text(moved))
    return texts
