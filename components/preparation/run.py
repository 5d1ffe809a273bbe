"""Decode the trusted films, group and split them, and write the prepared folder and the report of copies."""

import logging
from pathlib import Path

import pandas as pd

from components.preparation.splits import split_films
from components.preparation.squares import COMPARED, FACTS, compared_squares, standardise_films
from components.preparation.step import PreparationSummary
from osteon.files import atomic_dir, remove
from osteon.films.copies.alignment import FilmStack
from osteon.films.copies.pairs import find_pairs, joined_rows, write_pairs
from osteon.films.groups import connected_components, group_films
from osteon.films.known_patients import count_patients
from osteon.films.manifest import boxes_to_text, read_manifest, text_to_boxes
from osteon.films.prepared.array import FILMS, open_pixels, write_rows
from osteon.films.reading.film import fit_into_square
from osteon.params import PreparationParams

log = logging.getLogger(__name__)


def run_prepare(
    source: Path, trusted: Path, dataset: Path, leaks: Path, params: PreparationParams
) -> PreparationSummary:
    """Prepare the films; arguments as of the step `prepare`."""
    films = read_manifest(trusted)
    with atomic_dir(dataset, keep=True) as folder:
        films = films.join(standardise_films(films, source, folder, params.image_size, params.cores))
        sizes = list(zip(films["shown_width"], films["shown_height"], strict=True))
        stack = FilmStack(open_pixels(compared_squares(folder, params.image_size)), sizes)
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
        )
        write_rows(folder / FILMS, films)
        for scratch in (FACTS, COMPARED):
            remove(folder / scratch)
    patients = count_patients(films)
    if patients.warning:
        log.warning("warning: %s", patients.warning)
    return PreparationSummary(
        films=len(films),
        groups=int(films["group"].nunique()),
        test_films=int(films["test"].sum()),
        test_positive=int(films.loc[films["test"], "label"].sum()),
        copies=len(films) - len(set(connected_components(len(films), joined).tolist())),
        largest_group=int(films["group"].value_counts().max()),
        patients=patients.line,
    )


def _fitted_boxes(films: pd.DataFrame, side: int) -> list[str]:
    """The films' boxes in pixels of the square.

    The sizes are those of the decoded films: a film that EXIF turns is not as wide as its header says, and one whose
    pixels are not square gets more of them.
    """
    texts = []
    needed = films[["boxes", "shown_width", "shown_height", "stretch_across", "stretch_down"]]
    for text, width, height, across, down in needed.itertuples(index=False, name=None):
        fit = fit_into_square(width, height, side)
        across, down = across * fit.factor, down * fit.factor
        moved = [
            (x * across + fit.left, y * down + fit.top, w * across, h * down) for x, y, w, h in text_to_boxes(text)
        ]
        texts.append(boxes_to_text(moved))
    return texts
