"""Vary the development films, and write their copies and a contact sheet."""

import logging
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.augmentation.step import AugmentationSummary
from osteon.files import atomic_dir, atomic_file, check_space
from osteon.films.contact_sheet import draw_contact_sheet
from osteon.films.manifest import boxes_to_text, text_to_boxes
from osteon.films.prepared.array import (
    FILMS,
    PIXELS,
    ROW_BYTES,
    PreparedFilms,
    open_prepared,
    write_pixels,
    write_rows,
)
from osteon.films.prepared.warping import Variation, draw_variation, vary, vary_boxes
from osteon.params import AugmentationParams
from osteon.progress import progress
from osteon.threads import over_cores

PARAMS = "augmentation.json"
SHEET_FILMS, SHEET_COPIES = 6, 7

log = logging.getLogger(__name__)


def run_augment(dataset: Path, augmented: Path, sheet: Path, params: AugmentationParams) -> AugmentationSummary:
    """Write the copies; arguments as of the step `augment`."""
    prepared = open_prepared(dataset)
    side = prepared.side
    development = prepared.films[~prepared.films["test"]]
    rarer = int(development["label"].mean() <= 0.5)
    if (params.copies == 0) != (params.copies_rarer == 0):
        log.warning(
            "warning: only films of one class get copies. A copy is a little smoother than a film, so a classical "
            "model can separate copies from films; set augmentation.copies and copies_rarer both to 0, or neither"
        )
    times = development["label"].map({rarer: params.copies_rarer, 1 - rarer: params.copies})
    copies = development.loc[development.index.repeat(times)]
    copies = copies.assign(copy=copies.groupby(level=0).cumcount() + 1)

    def vary_some(numbers: Sequence[int]) -> list[tuple[NDArray[np.uint8], str]]:
        varied = []
        part = copies.iloc[numbers[0] : numbers[-1] + 1]
        for row, film_id, copy, boxes in part[["film_id", "copy", "boxes"]].itertuples(name=None):
            variation = _variation(film_id, copy, params, side)
            moved = vary_boxes(text_to_boxes(boxes), variation, side)
            varied.append((vary(prepared.pixels[row], variation), boxes_to_text(moved)))
        return varied

    moved_boxes: list[str] = []

    def films() -> Iterator[NDArray[np.uint8]]:
        varied = over_cores(vary_some, range(len(copies)), params.cores)
        for pixels, boxes in progress(varied, "augment", total=len(copies)):
            moved_boxes.append(boxes)
            yield pixels

    with atomic_dir(augmented) as folder:
        check_space(folder.parent, len(copies) * (side**2 + ROW_BYTES))
        write_pixels(folder / PIXELS, films(), len(copies), side)
        write_rows(folder / FILMS, copies.assign(boxes=moved_boxes))
        (folder / PARAMS).write_text(params.model_dump_json(indent=2) + "\n", encoding="utf-8")
    with atomic_file(sheet) as path:
        _draw_sheet(prepared, development, params, path)
    return AugmentationSummary(
        films=len(development), copies=len(copies), positive_copies=int((copies["label"] == 1).sum())
    )


def _variation(film_id: str, copy: int, params: AugmentationParams, side: int) -> Variation:
    """The variation of one copy: from the seed, the film and the copy's number, whatever else is in the set."""
    rng = np.random.default_rng([params.seed, zlib.crc32(film_id.encode()), copy])
    return draw_variation(rng, params, side)


def _draw_sheet(prepared: PreparedFilms, development: pd.DataFrame, params: AugmentationParams, path: Path) -> None:
    """A film a row, the film itself first, then its copies; more are drawn here than may have been written."""
    chosen = development.sort_values("label", ascending=False, kind="stable").groupby("label", sort=False)
    pixels, captions, boxes = [], [], []
    shown = chosen.head(SHEET_FILMS // 2)
    for row, film_id, text in zip(shown.index, shown["film_id"], shown["boxes"], strict=True):
        film, marks = prepared.pixels[row], text_to_boxes(text)
        pixels.append(film)
        captions.append(film_id)
        boxes.append(marks)
        for copy in range(1, SHEET_COPIES + 1):
            variation = _variation(film_id, copy, params, prepared.side)
            pixels.append(vary(film, variation))
            captions.append(f"copy {copy}")
            boxes.append(vary_boxes(marks, variation, prepared.side))
    draw_contact_sheet(path, pixels, captions, boxes, columns=SHEET_COPIES + 1)
