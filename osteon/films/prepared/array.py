"""Prepared films: pixels.npy (uint8, films × side × side) and films.parquet, one row for each in the same order.

The pixels are written film by film and read by row, so that neither costs memory that grows with their number.
"""

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.errors import OsteonError
from osteon.files import atomic_file
from osteon.films.prepared.row_file import RowFile

PIXELS, FILMS = "pixels.npy", "films.parquet"
ROW_BYTES = 512  # of a film in FILMS and in what is written on the way there; most need less

# What films.parquet has of each row, beside what the manifest has of the film.
ROW_COLUMNS = {
    "group": "string",  # never on two sides of a split
    "test": "boolean",
    "fold": "Int8",  # 0 … k−1; null for the test films
    "copy": "Int16",  # 0 the film itself, 1, 2, … its augmented copies
}
KEPT_COLUMNS = (
    "film_id",
    "sha256",
    "md5",
    "label",
    "finding",
    "fracture_type",
    "region",
    "view",
    "patient_id",
    "study_id",
    "patient_source",
    "study_source",
    "hardware",
    "boxes",  # in pixels of the prepared square
    "shown_width",  # pixels of the decoded film, EXIF applied, before it was fitted into the square
    "shown_height",
    "depth",  # bits of pictures of 16 bits that do not say theirs; null for other films
    "source",
)


@dataclass(frozen=True)
class PreparedFilms:
    """Pixels (films × side × side, uint8; on the disk or in memory) and the table that describes their rows."""

    pixels: RowFile[np.uint8] | NDArray[np.uint8]
    films: pd.DataFrame

    @property
    def side(self) -> int:
        """Pixels of the square."""
        return int(self.pixels.shape[1])

    @property
    def finding(self) -> str:
        """What label 1 means; one finding for the whole set."""
        (finding,) = self.films["finding"].unique() if len(self.films) else ("fractured",)
        return str(finding)

    def blocks(self, rows: NDArray[np.int64], block: int = 1024) -> Iterator[NDArray[np.uint8]]:
        """The squares of some rows, not more than a block of them in memory."""
        for start in range(0, len(rows), block):
            yield self.pixels[rows[start : start + block]]


def open_pixels(path: Path) -> RowFile[np.uint8]:
    """The squares of PIXELS: films × side × side.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it holds something else, or less than its header says.

    """
    pixels = RowFile(path, np.uint8)
    if len(pixels.shape) != 3 or pixels.shape[1] != pixels.shape[2]:
        raise ValueError(f"{path.name} is {pixels.shape}, not films × side × side")
    return pixels


def open_prepared(folder: Path) -> PreparedFilms:
    """Open what the step prepare or augment wrote.

    Raises:
        OsteonError: missing, or pixels and table do not belong together.

    """
    try:
        films = pd.read_parquet(folder / FILMS)
        pixels = open_pixels(folder / PIXELS)
    except (OSError, ValueError) as error:
        raise OsteonError(f"{folder}: no prepared films ({error}); run the steps prepare and augment first") from None
    if missing := [column for column in (*KEPT_COLUMNS, *ROW_COLUMNS) if column not in films]:
        raise OsteonError(f"{folder}: {FILMS} has no column {', '.join(missing)}; run prepare and augment again")
    if len(pixels) != len(films):
        raise OsteonError(f"{folder}: {PIXELS} and {FILMS} do not belong together; run prepare and augment again")
    return PreparedFilms(pixels, films)


def write_pixels(path: Path, films: Iterable[NDArray[np.uint8]], count: int, side: int) -> None:
    """Stream films into a .npy file; what is in memory is one film.

    Args:
        path: file to write.
        films: side × side uint8 each.
        count: how many there are; written into the header before the first comes.
        side: pixels.

    Raises:
        ValueError: another number of films, or one of another size.

    """
    start_pixels(path, count, side)
    written = add_pixels(path, films)
    if written != count:
        raise ValueError(f"{written} films, but {count} were announced")


def start_pixels(path: Path, count: int, side: int) -> None:
    """Write a .npy file that says how many films will be in it, and has none yet."""
    path.write_bytes(_header(count, side))


def add_pixels(path: Path, films: Iterable[NDArray[np.uint8]]) -> int:
    """Write films behind those that are in a file which start_pixels began.

    Returns:
        How many films came.

    Raises:
        ValueError: one of them is not side × side uint8.

    """
    written = 0
    with path.open("rb+") as file:
        np.lib.format.read_magic(file)
        (_, side, _), _, _ = np.lib.format.read_array_header_1_0(file)
        file.seek(0, os.SEEK_END)
        for film in films:
            if film.shape != (side, side) or film.dtype != np.uint8:
                raise ValueError(f"film {written} is {film.dtype} {film.shape}, not uint8 {(side, side)}")
            file.write(np.ascontiguousarray(film).data)
            written += 1
    return written


def keep_rows(path: Path, rows: NDArray[np.int64]) -> None:
    """Leave only some films' squares in a file of pixels, in the order of the rows."""
    films = PreparedFilms(open_pixels(path), pd.DataFrame())
    with atomic_file(path) as shorter:
        write_pixels(shorter, (film for block in films.blocks(rows) for film in block), len(rows), films.side)


def pixels_end(count: int, side: int, films: int) -> int:
    """Bytes of the file of start_pixels when so many films have been added."""
    return len(_header(count, side)) + films * side**2


def _header(count: int, side: int) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (count, side, side)})
    return header.getvalue()


def write_rows(path: Path, films: pd.DataFrame) -> None:
    """Write the table of prepared films, KEPT_COLUMNS and ROW_COLUMNS, in the order of their pixels."""
    ordered = films[[*KEPT_COLUMNS, *ROW_COLUMNS]].astype(ROW_COLUMNS).reset_index(drop=True)
    ordered.to_parquet(path, index=False)


def shown_sizes(films: "pd.DataFrame") -> list[tuple[int, int]]:
    """Width and height in pixels of each film as it is shown, before it was fitted into the square."""
    return [
        (int(width), int(height)) for width, height in zip(films["shown_width"], films["shown_height"], strict=True)
    ]
