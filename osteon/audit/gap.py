"""The gap: how much better a model looks when copies of its training films are among the held-out ones."""

from collections.abc import Callable
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from osteon.audit.findings import CrossValidation, Gap
from osteon.progress import progress
from osteon.statistics.auroc import auroc_in_strata
from osteon.statistics.bootstrap import bootstrap, group_weights
from osteon.statistics.out_of_fold import fold_of_rows, out_of_fold_scores, rows_of_whole_groups
from osteon.statistics.proportions import wilson

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FOLDS, FEWEST_GROUPS, MOST_FILMS = 5, 10, 8000
TREES, SIDE = 100, 32  # pixels of the thumbnails
RESAMPLES, SEED = 2000, 20


class SquareFilms(Protocol):
    """Squares that are read by their numbers."""

    def __getitem__(self, films: int, /) -> NDArray[np.uint8]: ...


def find_gap(squares: SquareFilms, rows: Ints, labels: Ints, groups: Ints, confidence: float, cores: int) -> Gap:
    """Validate a random forest on 32 × 32 thumbnails by random films and by whole groups, five folds each.

    The accuracy's interval is Wilson's by random films, as a paper would give it, and a bootstrap over groups by whole
    groups; that of the difference of both is a bootstrap over groups. AUROC ranks films of one fold (intervals:
    DeLong's by random films, by group else).

    Args:
        squares: all films.
        rows: numbers of the films that have a label.
        labels: their labels, 0 or 1.
        groups: number of their groups.
        confidence: of the intervals.
        cores: for the forest; 0 takes all.

    """
    chosen = rows_of_whole_groups(groups, MOST_FILMS, SEED)
    left_out = len(rows) - len(chosen)
    rows, labels = rows[chosen], labels[chosen]
    groups = np.unique(groups[chosen], return_inverse=True)[1].astype(np.int64)
    counts: dict[str, Any] = {"films": len(rows), "groups": len(np.unique(groups)), "left_out": left_out}
    for label, name in ((1, "positive"), (0, "negative")):
        if (count := len(np.unique(groups[labels == label]))) < FEWEST_GROUPS:
            what = "1 group has" if count == 1 else f"{count} groups have"
            return Gap(skipped=f"{what} a film with a {name} label, {FEWEST_GROUPS} are needed", **counts)

    pixels = np.stack([_thumbnail(squares[int(row)]) for row in rows])
    alone = np.arange(len(rows))
    by_film = fold_of_rows(StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(pixels, labels), len(rows))
    by_group = fold_of_rows(
        StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED).split(pixels, labels, groups), len(rows)
    )
    forest = RandomForestClassifier(TREES, n_jobs=cores or -1, random_state=SEED)
    fits = (
        (scheme, *fit)
        for scheme, folds in enumerate((by_film, by_group))
        for fit in out_of_fold_scores(pixels, labels, folds, forest)
    )
    scores = np.zeros((2, len(rows)))
    for scheme, heldout_rows, heldout_scores in progress(fits, "cross-validation", total=2 * FOLDS):
        scores[scheme, heldout_rows] = heldout_scores
    right = ((scores > 0.5) == (labels == 1)).astype(np.float64)
    weights = group_weights(groups, labels, RESAMPLES, SEED)
    return Gap(
        majority=float(max(labels.mean(), 1 - labels.mean())),
        random=CrossValidation(
            accuracy=wilson(int(right[0].sum()), len(rows), confidence),
            auroc=auroc_in_strata(labels, scores[0], alone, by_film, confidence),
        ),
        grouped=CrossValidation(
            accuracy=bootstrap(_mean_of(right[1]), weights, confidence),
            auroc=auroc_in_strata(labels, scores[1], groups, by_group, confidence),
        ),
        difference=bootstrap(_mean_of(right[0] - right[1]), weights, confidence),
        **counts,
    )


def _mean_of(values: Floats) -> Callable[[Floats], Floats]:
    """The films' mean as a function of their weights, as bootstrap takes it."""
    return lambda weights: np.asarray(weights @ values / weights.sum(axis=1))


def _thumbnail(square: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32).ravel()
