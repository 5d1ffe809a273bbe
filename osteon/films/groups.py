"""Which films must stay on one side of a split.

Films are joined when they share a patient, a study, their bytes or their pixels, or when a pair of them was found to be
copies of one film (pairs.py). Joined films that share a third are joined with it: a group is a connected component.
"""

import re
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array, csgraph

# What tools append to a name when they copy or vary a film, one after another: 12-rotated1-rotated3, IMG_flip (2),
# 12_jpg.rf.0123456789abcdef0123456789abcdef.
_SUFFIX = re.compile(
    r"(\.rf\.[0-9a-f]{6,}"
    r"|[-_. ]*\((\d+)\)"
    r"|[-_. ]+(copy|copie|kopie)\s*\d*"
    r"|[-_. ]*(rotated|rotate|rot|flipped|flip|mirror|mirrored|aug|augmented|crop|cropped|zoom|bright|noise|blur)"
    r"[-_]?\d*"
    r"|_(jpe?g|png|bmp|tiff?|gif))$",
    re.IGNORECASE,
)


def name_stem(path: str) -> str:
    """A film's file name without extension and without what tools append to it, in lower case.

    >>> name_stem("train/IMG_0012-rotated1-flip (2).png")
    'img_0012'
    >>> name_stem("val/img_0012_jpg.rf.0123456789abcdef.jpg")
    'img_0012'
    """
    stem = PurePosixPath(path).stem
    while (shorter := _SUFFIX.sub("", stem)) != stem and shorter:
        stem = shorter
    return stem.casefold()


def shared_names(films: pd.DataFrame) -> "pd.Series[str]":
    """The stem of each film's name; null where it is nobody else's, or where the patient is known.

    Where patients are known, names are often the same for all (image1.png in every study's folder).

    Args:
        films: manifest columns.

    """
    stems = films["path"].where(films["patient_id"].isna()).map(name_stem, na_action="ignore")
    return stems.where(stems.duplicated(keep=False))


def with_first_of_its_kind(keys: "pd.Series[str]") -> NDArray[np.int64]:
    """Pairs of row numbers, n × 2: each row that has a key with the first row that has the same, if that is another."""
    codes = pd.factorize(keys)[0]  # null is −1
    known = np.flatnonzero(codes >= 0)
    first = pd.Series(known).groupby(codes[known]).transform("first").to_numpy(np.int64)
    pairs: NDArray[np.int64] = np.column_stack([first, known])[first != known]
    return pairs


def connected_components(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of the connected component of each of `count` rows, joined by pairs (n × 2).

    The first film is joined with the third, and so with the fourth:

    >>> connected_components(5, np.array([[0, 2], [2, 3]])).tolist()
    [0, 1, 0, 0, 2]
    """
    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(csgraph.connected_components(links, directed=False)[1], np.int64)


def group_films(films: pd.DataFrame, copies: NDArray[np.int64]) -> "pd.Series[str]":
    """The group of each film, named after its first film in order of film_id.

    Args:
        films: manifest columns and pixel_sha256, one row a film.
        copies: n × 2, row numbers of films that are copies of one film beside those with the same bytes or pixels.

    """
    decisive = ("patient_id", "study_id", "sha256", "pixel_sha256")
    pairs = np.concatenate([*(with_first_of_its_kind(films[sign]) for sign in decisive), copies])
    names = films["film_id"].groupby(connected_components(len(films), pairs)).transform("min")
    return names.astype("string").rename("group")
