"""Which films must stay on one side of a split.

Films are joined when they share a patient, a study, their bytes, their pixels or, where no patient is known, the
stem of their file name. Joined films that share a third are joined with it: a group is a connected component.
"""

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

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
    """A film's file name without extension and without what tools append to it, in lower case."""
    stem = PurePosixPath(path).stem
    while (shorter := _SUFFIX.sub("", stem)) != stem and shorter:
        stem = shorter
    return stem.casefold()


def signs(films: "pd.DataFrame") -> "pd.DataFrame":
    """For each film the keys it may share with another; null where a sign says nothing of the film.

    Args:
        films: manifest columns and pixel_sha256.

    """
    import pandas as pd

    # Where patients are known, names are often the same for all (image1.png in every study's folder).
    stems = films["path"].where(films["patient_id"].isna()).map(name_stem, na_action="ignore")
    return pd.DataFrame(
        {
            "patient": films["patient_id"],
            "study": films["study_id"],
            "name": stems,
            "bytes": films["sha256"],
            "pixels": films["pixel_sha256"],
        }
    )


def group_films(films: "pd.DataFrame") -> "pd.Series[str]":
    """The group of each film, named after its first film in order of film_id.

    Args:
        films: manifest columns and pixel_sha256, one row a film.

    """
    import pandas as pd
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(films)
    left, right = [], []
    table = signs(films)
    for sign in table.columns:
        codes = pd.factorize(table[sign])[0]  # null is −1
        known = np.flatnonzero(codes >= 0)
        first = pd.Series(known).groupby(codes[known]).transform("first").to_numpy()
        left.append(known)
        right.append(first)
    rows, columns = np.concatenate(left), np.concatenate(right)
    links = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(count, count))
    component = connected_components(links, directed=False)[1]
    names = films["film_id"].groupby(component).transform("min")
    return names.astype("string").rename("group")
