"""Films that look unlike the others of their set: a reason for those far too dark or flat, a picture of the oddest."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from osteon.errors import UnreadableFilmError
from osteon.films.contact_sheet import draw_contact_sheet
from osteon.films.manifest import depth_or_none
from osteon.films.reading.decoding import decode
from osteon.films.reading.film import to_8_bit

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 20  # films that can be called a set
A_TENTH = 0.1
SHOWN, COLUMNS_OF_SHEET = 20, 5
# Measured of every film, grey levels of 256 or shares.
LOOKS = ("exposure", "contrast", "black", "white", "rim")


def odd_looks(films: pd.DataFrame) -> "pd.Series[Any]":
    """For each film that uses at most a tenth of the grey levels that its set uses, what to say of it; else null.

    The set uses what its upper quartile uses, so that a quarter of good films is enough to see that the others are
    dark. In a set of fewer than 20 films nothing is odd.

    Args:
        films: columns contrast (grey levels between percentiles 1 and 99) and exposure (mean grey level), null where
            a film cannot be decoded.

    Returns:
        Text, on the films' index.

    """
    texts = pd.Series(pd.NA, index=films.index, dtype="string")
    seen = films.loc[films["contrast"].notna(), ["contrast", "exposure"]].astype(float)
    if len(seen) < FEWEST:
        return texts
    usual = float(seen["contrast"].quantile(0.75))
    for row, contrast, exposure in seen[seen["contrast"] <= A_TENTH * usual].itertuples(name=None):
        brighter, darker = (seen["exposure"] > exposure).mean(), (seen["exposure"] < exposure).mean()
        than = f"darker than {brighter:.1%}" if brighter >= darker else f"brighter than {darker:.1%}"
        texts[row] = f"uses {contrast:.0f} grey levels where its set uses {usual:.0f}; {than} of this set"
    return texts


def oddest_films(films: pd.DataFrame, count: int = SHOWN) -> "pd.Series[Any]":
    """The films farthest from the set in one of its looks, the farthest first: how far, in usual deviations.

    The usual deviation is the median of all films' deviations from the median, at least 1 % of the scale.

    Args:
        films: the columns of LOOKS, null where a film cannot be decoded.
        count: films at most.

    """
    looks = films[list(LOOKS)].astype("Float64").dropna().astype(float)
    looks[["black", "white"]] *= 255
    away = (looks - looks.median()).abs()
    return (away / away.median().clip(lower=2.55)).max(axis=1).nlargest(count)


def draw_odd_films(path: Path, films: pd.DataFrame, source: Path, max_megapixels: float) -> bool:
    """Write the oddest films as a contact sheet.

    Args:
        path: PNG to write.
        films: columns film_id, path, depth and those of LOOKS.
        source: folder of the films.
        max_megapixels: larger films are left out.

    Returns:
        Whether there was a film to draw.

    """
    pictures: list[NDArray[np.uint8]] = []
    captions: list[str] = []
    for row in oddest_films(films).index:
        film = films.loc[row]
        try:
            data = (source / film["path"]).read_bytes()
            decoded = decode(data, max_megapixels=max_megapixels, depth=depth_or_none(film["depth"]))
        except (OSError, UnreadableFilmError):
            continue  # changed since it was measured
        step = max(1, max(decoded.pixels.shape) // 512)
        pictures.append(np.ascontiguousarray(to_8_bit(decoded)[::step, ::step]))
        captions.append(str(film["film_id"])[-26:])
    if pictures:
        draw_contact_sheet(path, pictures, captions, [[] for _ in pictures], columns=COLUMNS_OF_SHEET)
    return bool(pictures)
