"""Rows of the prepared films by their part in a fold: training, early stopping, held out. Never a test film."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from osteon.errors import OsteonError

Rows = NDArray[np.int64]


def fold_numbers(films: pd.DataFrame) -> list[int]:
    """The folds of the development films, in their order.

    Raises:
        OsteonError: a test film has a fold.

    """
    if (films["fold"].notna() & films["test"]).any():
        raise OsteonError("a test film has a fold; run the step prepare again")
    return sorted(int(fold) for fold in films["fold"].dropna().unique())


def development_rows(films: pd.DataFrame) -> Rows:
    """Rows of every film that is not a test film."""
    return np.flatnonzero(~films["test"].to_numpy(bool))


def rows_in(films: pd.DataFrame, fold: int) -> Rows:
    """Rows of one fold's films."""
    return np.flatnonzero((films["fold"] == fold).fillna(False).to_numpy(bool) & ~films["test"].to_numpy(bool))


def rows_outside(films: pd.DataFrame, fold: int) -> Rows:
    """Rows of the other folds' films."""
    return np.setdiff1d(development_rows(films), rows_in(films, fold))


def set_aside(films: pd.DataFrame, rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Part rows into those to train on and those for early stopping, by group and label.

    Args:
        films: columns label and group.
        rows: to part.
        share: of the rows for early stopping, roughly.
        seed: of the draw.

    Raises:
        OsteonError: too few groups for both sides to have both classes.

    """
    part = films.iloc[rows]
    labels, groups = part["label"].to_numpy(np.int64), part["group"].to_numpy()
    split = StratifiedGroupKFold(max(2, round(1 / share)), shuffle=True, random_state=seed)
    try:
        train, stopping = next(iter(split.split(labels, labels, groups)))
    except ValueError:
        train = stopping = np.empty(0, np.int64)
    if any(len(np.unique(labels[side])) < 2 for side in (train, stopping)):
        raise OsteonError(
            f"{len(rows)} films of {len(np.unique(groups))} groups are too few to set some aside for early stopping; "
            "add films, or set training.patience to 0"
        )
    return np.sort(rows[train]), np.sort(rows[stopping])


def copies_of(films: pd.DataFrame, rows: Rows, copies: pd.DataFrame) -> Rows:
    """Rows of the augmented copies whose source films are in the given rows of the films."""
    return np.flatnonzero(copies["film_id"].isin(films["film_id"].iloc[rows]).to_numpy(bool))
