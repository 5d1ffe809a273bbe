"""Out-of-fold scores of a quick classifier: how well features predict a label on groups it was not fitted on."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def rows_of_whole_groups(groups: Ints, most: int, seed: int) -> Ints:
    """Rows of all films, or of groups drawn at random until the next would make them more than `most`; in order.

    Args:
        groups: number of each row's group.
        most: rows at most.
        seed: of the draw.

    """
    if len(groups) <= most:
        return np.arange(len(groups))
    number = np.unique(groups, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(number.max() + 1)
    taken = np.cumsum(np.bincount(number)[order]) <= most
    return np.flatnonzero(np.isin(number, order[taken]))


def fold_of_rows(splits: Iterable[tuple[Any, Ints]], count: int) -> Ints:
    """The number of the fold in which each of `count` rows is held out.

    Args:
        splits: (rows to fit on, rows held out) of each fold, as scikit-learn's splitters give them.
        count: rows.

    """
    fold_of = np.empty(count, np.int64)
    for fold, (_, heldout_rows) in enumerate(splits):
        fold_of[heldout_rows] = fold
    return fold_of


def out_of_fold_scores(
    features: NDArray[np.float32], labels: Ints, folds: Ints, classifier: Any
) -> Iterator[tuple[Ints, Floats]]:
    """Fit a fresh classifier for each fold on the rows of all others, and predict the fold.

    Args:
        features: rows × features.
        labels: 0 or 1; each must occur outside of every fold.
        folds: number of each row's fold.
        classifier: scikit-learn's, not fitted; it is cloned.

    Returns:
        For each fold in order: its rows, and the probability of label 1 of each.

    """
    for fold in np.unique(folds):
        heldout_rows, train_rows = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        fitted = clone(classifier).fit(features[train_rows], labels[train_rows])
        yield heldout_rows, fitted.predict_proba(features[heldout_rows])[:, list(fitted.classes_).index(1)]
