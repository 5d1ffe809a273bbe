"""Test set and folds: stratified by label and region, and no group on two sides."""

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from osteon.errors import OsteonError


def split_films(films: pd.DataFrame, test_share: float, folds: int, seed: int) -> pd.DataFrame:
    """Put every group into the test set or one fold.

    Args:
        films: columns label, region (null allowed) and group.
        test_share: of the films.
        folds: of the development films.
        seed: of the shuffle.

    Returns:
        test (bool) and fold (Int8, null for test films), on the films' index.

    Raises:
        OsteonError: too few groups, or a part that would be without one of the classes.

    """
    for label, name in ((1, "positive"), (0, "negative")):
        groups = films.loc[films["label"] == label, "group"].nunique()
        if groups < folds + 1:
            raise OsteonError(
                f"{groups} groups with a {name} film are too few for {folds} folds and a test set; "
                f"add films or lower preparation.folds to at most {max(groups - 1, 0)}"
            )
    # A region too rare to be in every part would make the parts uneven for nothing.
    region = films["region"].fillna("unknown").astype(str)
    rare = films.groupby(region)["group"].transform("nunique") < 2 * (folds + 1)
    strata = films["label"].astype(str) + "/" + region.mask(rare, "rare")

    def parts(rows: pd.DataFrame, count: int, part_seed: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        split = StratifiedGroupKFold(count, shuffle=True, random_state=part_seed)
        # Numbers instead of names, in their order: the same split for less memory.
        stratum, group = (pd.factorize(names, sort=True)[0] for names in (strata[rows.index], rows["group"]))
        number = np.empty(len(rows), np.int64)
        try:
            # It warns where a stratum has fewer films than parts, which one group of them is enough for.
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                for part, (_, chosen) in enumerate(split.split(stratum, stratum, group)):
                    number[chosen] = part
        except ValueError:  # no stratum has as many films as there are parts
            raise OsteonError(
                f"{len(rows)} films are too few to be split into {count} parts; add films, raise "
                "preparation.test_share or lower preparation.folds"
            ) from None
        return number

    test = pd.Series(parts(films, max(2, round(1 / test_share)), seed) == 0, index=films.index)
    fold = pd.Series(pd.NA, index=films.index, dtype="Int8")
    fold[~test] = parts(films.loc[~test, ["group"]], folds, seed + 1)
    result = pd.DataFrame({"test": test, "fold": fold})
    check_split(films.assign(**result))
    return result


def check_split(films: pd.DataFrame) -> None:
    """Stop where a group is on two sides, or a part lacks a class.

    Raises:
        OsteonError: with the groups or the part.

    """
    part = films["fold"].astype("string").fillna("test").where(~films["test"], "test")
    sides = part.groupby(films["group"]).nunique()
    torn = sides[sides > 1].index.tolist()
    if torn:
        raise OsteonError(f"{len(torn)} groups lie on two sides of the split: {', '.join(torn[:5])}")
    classes = films["label"].groupby(part).nunique()
    lacking = classes[classes < 2].index.tolist()
    if lacking:
        raise OsteonError(
            f"no film of one class in {', '.join(f'fold {name}' if name != 'test' else name for name in lacking)}; "
            "add films or lower preparation.folds"
        )
