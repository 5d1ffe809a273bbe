"""Films decoded once, as squares in one file on the disk."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.errors import UnreadableFilmError
from osteon.files import atomic_file, read_file
from osteon.films.copies.keypoints import SIDE
from osteon.films.copies.specks import without_specks
from osteon.films.manifest import typed_frame
from osteon.films.prepared.array import write_pixels
from osteon.films.prepared.row_file import RowFile
from osteon.films.reading.decoding import decode
from osteon.films.reading.film import letterbox, pixel_hash
from osteon.progress import progress
from osteon.threads import over_cores

MEGAPIXELS = 80.0  # no film larger is decoded; a file of some kilobytes can claim any size
FACT_TYPES = {
    "sha256": "string",
    "pixel_sha256": "string",
    "shown_width": "Int32",
    "shown_height": "Int32",
    "fault": "string",  # why it cannot be read; else null
}
SquareFacts = tuple[str | None, str | None, int | None, int | None, str | None]


class ReadableSquares:
    """The squares of the films that can be read, by their number among those."""

    def __init__(self, squares: RowFile[np.uint8], rows: NDArray[np.int64]) -> None:
        """Take a file of squares and the rows that hold a film."""
        self.squares, self.rows = squares, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, films: "int | NDArray[np.integer[Any]]") -> NDArray[np.uint8]:
        """One film, SIDE × SIDE, or several."""
        return self.squares[self.rows[films]]


def write_squares(films: pd.DataFrame, root: Path, path: Path, cores: int) -> pd.DataFrame:
    """Decode every film and write it into a file, a black square where that cannot be done.

    Args:
        films: column path, below root.
        root: the folder of films.
        path: .npy file to write, films × SIDE × SIDE.
        cores: threads; 0 is one a core.

    Returns:
        FACT_TYPES, on the films' index.

    Raises:
        OsteonError: the disk is full.

    """
    paths, rows = films["path"], []

    def work(numbers: Sequence[int]) -> list[tuple[NDArray[np.uint8], SquareFacts]]:
        return [_decode_square(root / name) for name in paths.iloc[numbers[0] : numbers[-1] + 1]]

    def squares() -> Iterator[NDArray[np.uint8]]:
        decoded = over_cores(work, range(len(films)), cores)
        for square, facts in progress(decoded, "decode", total=len(films)):
            rows.append(facts)
            yield square

    with atomic_file(path) as partial:
        write_pixels(partial, squares(), len(films), SIDE)
    return typed_frame(rows, FACT_TYPES).set_index(films.index)


def _decode_square(path: Path) -> tuple[NDArray[np.uint8], SquareFacts]:
    nothing = np.zeros((SIDE, SIDE), np.uint8)
    try:
        data = read_file(path)
    except OSError as error:
        return nothing, (None, None, None, None, f"file: {error.strerror}")
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        film = decode(data, max_megapixels=MEGAPIXELS)
    except UnreadableFilmError as error:
        return nothing, (sha256, None, None, None, str(error))
    height, width = film.pixels.shape
    return letterbox(without_specks(film), SIDE), (sha256, pixel_hash(film), width, height, None)
