"""Which groups become test films, by a rule that other films hardly move.

A group has a number between 0 and 1: a hash of its name, the seed and the number of the draw. It is a test group where
this number is below the share of test films, whatever other films there are. Groups nearest to that threshold change
over only where the parts would be too far from their share.
"""

import hashlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# How far the test films of a part may be from their share before groups change over: as a share of the films that
# shall be test films, but never less than half a group. The first is for a label's films of one region, the second
# for all of a label. docs/architecture.md has what was measured.
REGION_TOLERANCE, LABEL_TOLERANCE = 0.25, 0.05


def draw_numbers(names: "pd.Series[str]", seed: int, draw: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each name, the same whatever else is drawn.

    >>> draw_numbers(pd.Series(["a", "b"]), seed=20, draw=1).round(3).tolist()
    [0.077, 0.462]
    """
    hashes = (hashlib.sha256(f"{seed} {draw} {name}".encode()).digest()[:8] for name in names)
    return np.array([int.from_bytes(digest) for digest in hashes], np.float64) / 2.0**64


def stable_names(films: pd.DataFrame) -> "pd.Series[str]":
    """A name for each group, by group, that a renamed file or another order does not change.

    Its first patient's id, else its first study's, else the first of its films' pixel hashes.

    Args:
        films: columns group, patient_id, study_id and pixel_sha256.

    """
    first = films.groupby("group")[["patient_id", "study_id", "pixel_sha256"]].min()
    names = "pixels " + first["pixel_sha256"].astype("string")
    for sign in ("study_id", "patient_id"):
        names = (f"{sign} " + first[sign].astype("string")).fillna(names)
    return names


def draw_test_groups(groups: pd.DataFrame, test_share: float) -> "pd.Series[bool]":
    """Which groups are test groups.

    Args:
        groups: indexed by group: films (how many), positive (whether it has a positive film), region, number (of
            draw_numbers), and test (boolean): the side that a group has already, null where it is to be drawn.
        test_share: of the films.

    Returns:
        For every group; those with a side keep it.

    """
    fresh = groups["test"].isna().to_numpy(bool)
    films = groups["films"].to_numpy(np.int64)
    # A group with more films than the test set shall have comes last: it would be the test set.
    number = groups["number"].to_numpy(np.float64) + (films > test_share * films.sum())
    test = np.where(fresh, number < test_share, groups["test"].fillna(False).to_numpy(bool))

    def correct(rows: NDArray[np.bool_], tolerance: float) -> None:
        """Let groups change over until the rows' test films are near enough to their share."""
        drawn = np.flatnonzero(rows & fresh)
        if not len(drawn):
            return
        # Where a few groups have most films, the small ones must not all be test groups.
        most = max(1, int(2 * test_share * len(drawn)))
        ordered = drawn[np.argsort(number[drawn])]
        test[ordered[test[ordered]][most:]] = False
        mean = films[rows].mean()
        share = test_share * films[drawn].sum()
        kept = films[rows & ~fresh & test].sum()
        # What is new makes up for what is missing, but does not become test films alone, or none.
        target = np.clip(test_share * films[rows].sum() - kept, share / 2 - mean, share * 2 + mean)
        excess = films[drawn][test[drawn]].sum() - target
        sign = 1 if excess > 0 else -1
        for row in ordered[test[ordered] == (excess > 0)][::-sign]:
            if sign * excess <= max(tolerance * target, mean / 2) or test[drawn].sum() - sign > most:
                return
            if abs(excess - sign * films[row]) < abs(excess):
                test[row] = not test[row]
                excess -= sign * films[row]

    positive = groups["positive"].to_numpy(bool)
    region = groups["region"].to_numpy()
    for label in (True, False):
        for name in pd.unique(region[positive == label]):
            correct((positive == label) & (region == name), REGION_TOLERANCE)
        correct(positive == label, LABEL_TOLERANCE)
        # A share of few groups may be less than half of one.
        if not (test & (positive == label)).any() and (drawn := np.flatnonzero(fresh & (positive == label))).size:
            test[drawn[np.argmin(number[drawn])]] = True
    return pd.Series(test, groups.index, dtype=bool)
