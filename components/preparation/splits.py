"""Folds of the development films: stratified by label and region, and no group on two sides."""

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from components.preparation.sides import DEVELOPMENT, TEST
from osteon.errors import OsteonError


def split_films(films: pd.DataFrame, folds: int, seed: int) -> pd.DataFrame:
    """Put every development group into one fold.

    Args:
        films: columns label, region (null allowed), group and side (test or development).
        folds: of the development films.
        seed: of the shuffle.

    Returns:
        test (bool) and fold (Int8, null for test films), on the films' index.

    Raises:
        OsteonError: too few groups, or a part that would be without one of the classes.

    """
    test = films["side"].eq(TEST).astype(bool)
    development = films[films["side"] == DEVELOPMENT]
    for label, name in ((1, "positive"), (0, "negative")):
        groups = films.loc[films["label"] == label, "group"].nunique()
        if groups < folds + 1:
            raise OsteonError(
                f"{groups} groups with a {name} film are too few for {folds} folds and a test set; "
                f"{_more_films(groups - 1)}"
            )
        left = development.loc[development["label"] == label, "group"].nunique()
        if left < folds:
            raise OsteonError(
                f"{left} development groups with a {name} film are too few for {folds} folds; {_more_films(left)}"
            )
    fold = pd.Series(pd.NA, index=films.index, dtype="Int8")
    fold[development.index] = _fold_numbers(development, folds, seed)
    result = pd.DataFrame({"test": test, "fold": fold})
    check_split(films.assign(**result))
    return result


def _more_films(folds: int) -> str:
    """What to do, where so many folds would do; with fewer than two there is nothing to compare."""
    if folds < 2:
        return "add films of other patients; if these are of more, their ids are not right (docs/data.md, Patients)"
    return f"add films or lower preparation.folds to at most {folds}"


def _fold_numbers(films: pd.DataFrame, folds: int, seed: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    # A region too rare to be in every fold would make the folds uneven for nothing.
    region = films["region"].fillna("unknown").astype(str)
    rare = films.groupby(region)["group"].transform("nunique") < 2 * folds
    strata = films["label"].astype(str) + "/" + region.mask(rare, "rare")
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    # Numbers instead of names, in their order: the same split for less memory.
    stratum, group = (pd.factorize(names, sort=True)[0] for names in (strata, films["group"]))
    number = np.empty(len(films), np.int64)
    # It warns where a stratum has fewer films than parts, which one group of them is enough for.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        for part, (_, chosen) in enumerate(split.split(stratum, stratum, group)):
            number[chosen] = part
    return number


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
    if "test" not in classes:
        lacking.append("test")
    if lacking:
        raise OsteonError(
            f"no film of one class in {', '.join(f'fold {name}' if name != 'test' else name for name in lacking)}; "
            "add films or lower preparation.folds"
        )
