"""Prepared films: pixels.npy (uint8, films × side × side) and films.parquet, one row for each in the same order.

The pixels are written film by film and read as a memory map, so that neither costs memory that grows with
their number.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.errors import OsteonError

if TYPE_CHECKING:
    import pandas as pd

PIXELS, FILMS = "pixels.npy", "films.parquet"

# What films.parquet says of each row, beside what the manifest said of the film.
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
    "hardware",
    "boxes",  # in pixels of the prepared square
    "source",
)


@dataclass(frozen=True)
class PreparedFilms:
    """Pixels (films × side × side, uint8, a read-only memory map) and the table that describes their rows."""

    pixels: NDArray[np.uint8]
    films: "pd.DataFrame"

    @property
    def side(self) -> int:
        """Pixels of the square."""
        return int(self.pixels.shape[1])

    @property
    def finding(self) -> str:
        """What label 1 means; one finding for the whole set."""
        (finding,) = self.films["finding"].unique() if len(self.films) else ("fractured",)
        return str(finding)


def open_prepared(folder: Path) -> PreparedFilms:
    """Open what the step prepare or augment wrote.

    Raises:
        OsteonError: missing, or pixels and table do not belong together.

    """
    import pandas as pd

    try:
        films = pd.read_parquet(folder / FILMS)
        # An array of no films cannot be mapped.
        pixels = np.load(folder / PIXELS, mmap_mode="r" if len(films) else None, allow_pickle=False)
    except (FileNotFoundError, ValueError) as error:
        raise OsteonError(f"{folder}: no prepared films ({error}); run the steps prepare and augment first") from None
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or len(pixels) != len(films):
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
    written = 0
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side)}
        np.lib.format.write_array_header_1_0(file, header)
        for film in films:
            if film.shape != (side, side) or film.dtype != np.uint8:
                raise ValueError(f"film {written} is {film.dtype} {film.shape}, not uint8 {(side, side)}")
            file.write(np.ascontiguousarray(film).data)
            written += 1
    if written != count:
        raise ValueError(f"{written} films where {count} were announced")


def write_rows(path: Path, films: "pd.DataFrame") -> None:
    """Write the table of prepared films, KEPT_COLUMNS and ROW_COLUMNS, in the order of their pixels."""
    ordered = films[[*KEPT_COLUMNS, *ROW_COLUMNS]].astype(ROW_COLUMNS).reset_index(drop=True)
    ordered.to_parquet(path, index=False)
