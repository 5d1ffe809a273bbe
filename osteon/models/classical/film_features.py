"""What a classical model sees of a film: edges (HOG), texture (LBP) and grey levels, float32, the same number for all.

Gain and offset of a film are taken out where they matter, as in the networks' first layer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from skimage.feature import hog, local_binary_pattern

from osteon.errors import OsteonError
from osteon.films.prepared.row_file import RowFile

cv2.setNumThreads(1)

FILMS, COPIES, INFO = "films.npy", "copies.npy", "features.json"

CELLS, BLOCK, DIRECTIONS = 8, 2, 9  # of HOG: cells a side, cells a block's side, bins of 20 degrees
TEXTURE_CELLS, NEIGHBOURS, RADII = 4, 8, (1, 2)  # of LBP: cells a side, pixels in the circle, its radii
GREY_CELLS = 8  # of the grey levels' means and deviations, a side
QUANTILES = np.linspace(0.05, 0.95, 10)
PARTS = {
    "hog": (CELLS - BLOCK + 1) ** 2 * BLOCK**2 * DIRECTIONS,
    "lbp": TEXTURE_CELLS**2 * (NEIGHBOURS + 2) * len(RADII),
    "grey": 2 * GREY_CELLS**2 + len(QUANTILES),
}
FEATURES = sum(PARTS.values())  # of a film


class FeatureInfo(BaseModel):
    """What features.json says of the two arrays beside it.

    image_size: side to which films were resized, pixels. parts: how many features of each kind, in their order.
    films, copies: rows of each array, those of the prepared films and of the copies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int
    parts: dict[str, int]
    films: int
    copies: int


@dataclass(frozen=True)
class FilmFeatures:
    """Features as the step `features` wrote them: float32, rows × FEATURES, on the disk until they are read.

    films and copies: a row for each row of the prepared films, and of the augmented copies.
    """

    films: RowFile[np.float32] | NDArray[np.float32]
    copies: RowFile[np.float32] | NDArray[np.float32]
    info: FeatureInfo

    def blocks(self, rows: NDArray[np.int64], block: int = 4096) -> Iterator[NDArray[np.float32]]:
        """The features of some films, not more than a block of them in memory."""
        for start in range(0, len(rows), block):
            yield self.films[rows[start : start + block]]


def features_of(squares: NDArray[np.uint8], image_size: int) -> NDArray[np.float32]:
    """HOG, LBP and grey levels of films.

    HOG (Dalal & Triggs 2005, CVPR): CELLS × CELLS cells, DIRECTIONS bins of unsigned gradient, blocks of
    BLOCK × BLOCK cells normalised by L2-Hys. LBP (Ojala et al. 2002, IEEE TPAMI 24): the histogram of the uniform,
    rotation-invariant patterns in each cell. Grey levels: mean and deviation in each cell, and quantiles, of the film
    with mean 0 and deviation 1.

    Args:
        squares: films × side × side.
        image_size: pixels, a multiple of 16; films of another side are resized to it first.

    Returns:
        films × FEATURES, whatever image_size is.

    """
    features = np.empty((len(squares), FEATURES), np.float32)
    for row, square in zip(features, squares, strict=True):
        how = cv2.INTER_AREA if len(square) > image_size else cv2.INTER_LINEAR
        film = cv2.resize(square, (image_size, image_size), interpolation=how)
        row[:] = np.concatenate([_edges(film), _texture(film), _grey_levels(film)])
    return features


def _edges(film: NDArray[np.uint8]) -> NDArray[np.float64]:
    cell = len(film) // CELLS
    features: NDArray[np.float64] = hog(
        film, orientations=DIRECTIONS, pixels_per_cell=(cell, cell), cells_per_block=(BLOCK, BLOCK)
    )
    return features


def _texture(film: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shares of the NEIGHBOURS + 2 patterns: radius by radius, and there cell by cell."""
    shares = []
    for radius in RADII:
        pattern = local_binary_pattern(film, NEIGHBOURS, radius, method="uniform").astype(np.intp)
        cells = _cells(pattern, TEXTURE_CELLS)
        counts = [np.bincount(cell, minlength=NEIGHBOURS + 2) for cell in cells]
        shares.append(np.concatenate(counts) / cells.shape[1])
    return np.concatenate(shares)


def _grey_levels(film: NDArray[np.uint8]) -> NDArray[np.float64]:
    # As in the network: below one grey level it is a blank film, whose noise would otherwise be blown up.
    grey = (film - film.mean()) / max(float(film.std()), 1.0)
    cells = _cells(grey, GREY_CELLS)
    return np.concatenate([cells.mean(axis=1), cells.std(axis=1), np.quantile(grey, QUANTILES)])


def _cells(film: NDArray[np.generic], cells: int) -> NDArray[np.generic]:
    """Cells² × the pixels of each, row by row."""
    size = len(film) // cells
    return film.reshape(cells, size, cells, size).swapaxes(1, 2).reshape(cells**2, size**2)


def write_features(path: Path, rows: Iterable[NDArray[np.float32]], count: int) -> None:
    """Stream films' features into a .npy file.

    Args:
        path: file to write.
        rows: FEATURES float32 each.
        count: how many there are; written into the header before the first comes.

    Raises:
        ValueError: another number of them.

    """
    written = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (count, FEATURES)})
        for row in rows:
            file.write(row.tobytes())
            written += 1
    if written != count:
        raise ValueError(f"features of {written} films, but {count} were announced")


def open_features(folder: Path) -> FilmFeatures:
    """Open what the step features wrote.

    Raises:
        OsteonError: missing, damaged, or made by another version of this file.

    """
    try:
        info = FeatureInfo.model_validate_json((folder / INFO).read_text(encoding="utf-8"))
        films, copies = (RowFile(folder / name, np.float32) for name in (FILMS, COPIES))
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise OsteonError(f"{folder}: no features of films ({reason}); run the step features") from None
    for array, rows, name in ((films, info.films, FILMS), (copies, info.copies, COPIES)):
        if array.shape != (rows, FEATURES) or info.parts != PARTS:
            raise OsteonError(
                f"{folder}: {name} is {array.dtype} {array.shape}, not float32 {(rows, FEATURES)}; "
                "run the step features again"
            )
    return FilmFeatures(films, copies, info)
