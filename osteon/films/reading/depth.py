"""How many bits a 16-bit picture uses that does not say so: of one picture, and of all pictures of a set.

A PNG of 16 bits may hold 12-bit values, and no tag says so. The largest value does not tell either: one hot pixel or a
marker at 65535 would make the film 16 times too dark. And films of one detector whose largest values are 1023 and 1100
would come out four times apart. So a few detached values do not count, and one depth holds for the whole set.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DEPTHS = (8, 10, 12, 14, 16)  # of greyscale detectors
DETACHED = 0.02  # share of a film that a marker or hot pixels may be
JUST_ABOVE = 0.0005  # share between a depth and the next bit: what is attached to the film goes on there
FAR = 4  # a white so many times the set's median is of another kind of file …
RARE = 0.1  # … if at most this share of the set's films have it


def depth_of(values: NDArray[np.uint16]) -> int:
    """Bits that a picture uses: 8, 10, 12, 14 or 16.

    The smallest depth that leaves out at most 2 % of the pixels, and next to none just above itself.
    """
    total = values.size
    for depth in DEPTHS[:-1]:
        above = np.count_nonzero(values >= 1 << depth)
        if above > DETACHED * total:
            continue
        if above == 0 or np.count_nonzero((values >= 1 << depth) & (values < 2 << depth)) <= JUST_ABOVE * total:
            return depth
    return DEPTHS[-1]


def white_of(values: NDArray[np.uint16]) -> int:
    """A picture's largest value that is no marker and no hot pixel."""
    attached = values[values < 1 << depth_of(values)]
    return int(attached.max()) if attached.size else 0


def depth_of_set(whites: Sequence[int]) -> int | None:
    """The depth that all pictures of a set are read with; None for no pictures.

    The smallest that holds the white of every picture, but for a few whose white lies far above the others'. Those
    cannot be read with this depth, which decode says.

    Args:
        whites: of each picture of 16 bits without a tag of its depth, by white_of.

    """
    if not len(whites):
        return None
    levels = np.asarray(whites)
    far = levels > FAR * np.median(levels)
    top = levels[~far].max() if far.mean() <= RARE else levels.max()
    return next(depth for depth in DEPTHS if top < 1 << depth)
