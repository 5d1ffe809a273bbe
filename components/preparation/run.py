"""Decode the trusted films, group and split them, and write the prepared folder and the report of copies."""

import logging

import numpy as np
import pandas as pd

from components.preparation.sides import (
    NEITHER,
    assign_sides,
    read_sides,
    refuse_lost_sides,
    report_sides,
    write_neither,
    write_sides,
)
from components.preparation.splits import split_films
from components.preparation.squares import COMPARED, FACTS, standardise_films
from components.preparation.step import PreparationPaths, PreparationSummary
from osteon.files import atomic_dir, atomic_file, remove
from osteon.films.copies.alignment import FilmStack
from osteon.films.copies.pairs import find_pairs, joined_rows, write_pairs
from osteon.films.groups import connected_components, group_films
from osteon.films.known_patients import count_patients
from osteon.films.manifest import boxes_to_text, read_manifest, text_to_boxes
from osteon.films.prepared.array import FILMS, PIXELS, keep_rows, open_pixels, write_rows
from osteon.films.reading.film import fit_into_square
from osteon.params import PreparationParams

log = logging.getLogger(__name__)


def run_prepare(paths: PreparationPaths, params: PreparationParams, redraw: str = "") -> PreparationSummary:
    """Prepare the films.

    Args:
        paths: as of the step `prepare`.
        params: of the step.
        redraw: why all sides are drawn anew; empty: they are kept.

    """
    if not redraw and not paths.sides.exists():
        refuse_lost_sides(paths.sides)
    kept = read_sides(paths.sides)
    films = read_manifest(paths.trusted)
    with atomic_dir(paths.dataset, keep=True) as folder:
        films = films.join(standardise_films(films, paths.source, folder, params.image_size, params.cores))
        sizes = list(zip(films["shown_width"], films["shown_height"], strict=True))
        stack = FilmStack(open_pixels(folder / COMPARED), sizes)
        pairs = find_pairs(films, stack, params.cores)
        joined = joined_rows(pairs)
        films["group"] = group_films(films, joined)
        sides = assign_sides(films, kept, params, redraw)
        films["side"] = sides.side
        with atomic_dir(paths.leaks) as report:
            write_pairs(report, pairs, films, stack)
            write_neither(report, films, sides)
        report_sides(paths.leaks, sides, params)
        copies = len(films) - len(set(connected_components(len(films), joined).tolist()))
        largest_group = int(films["group"].value_counts().max())
        films = films.drop(columns=["path", "pixel_sha256"])  # read for the last time, and long
        neither = films["side"].eq(NEITHER).to_numpy(bool)
        films = films[~neither]
        films = films.join(split_films(films, params.folds, params.seed + 1))
        films = films.assign(
            copy=0,
            boxes=fitted_boxes(films, params.image_size),
        )
        write_rows(folder / FILMS, films)
        for scratch in (FACTS, COMPARED):  # an interrupted call must begin anew where the pixels are others
            remove(folder / scratch)
        if neither.any():
            keep_rows(folder / PIXELS, np.flatnonzero(~neither))
        # Before the films get their name: no film may be trained on whose side is not in the table.
        with atomic_file(paths.sides) as file:
            write_sides(file, sides.table)
    patients = count_patients(films)
    if patients.warning:
        log.warning("warning: %s", patients.warning)
    return PreparationSummary(
        films=len(films),
        groups=int(films["group"].nunique()),
        test_films=int(films["test"].sum()),
        test_positive=int(films.loc[films["test"], "label"].sum()),
        copies=copies,
        largest_group=largest_group,
        patients=patients.line,
        known=int(sides.before.notna().sum()),
        neither=int(neither.sum()),
        draw=sides.draw,
        **({"why": sides.why} if sides.why else {}),
    )


def fitted_boxes(films: pd.DataFrame, side: int) -> list[str]:
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
