from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, KFold

from osteon.statistics.out_of_fold import fold_of_rows, out_of_fold_scores, rows_of_whole_groups

FITTED: list[list[float]] = []


class Noting(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Notes the first feature of the rows it is fitted on; its classes stand in an order of its own."""

    def fit(self, features: NDArray[Any], labels: NDArray[Any]) -> "Noting":
        FITTED.append(features[:, 0].tolist())
        self.classes_ = np.array([1, 0])
        self.share_ = labels.mean()
        return self

    def predict_proba(self, features: NDArray[Any]) -> NDArray[np.float64]:
        return np.tile([self.share_, 1 - self.share_], (len(features), 1))


def test_every_row_is_scored_once_by_a_classifier_that_was_fitted_on_all_other_folds() -> None:
    FITTED.clear()
    features, labels = np.arange(6, dtype=np.float32)[:, None], np.array([1, 1, 0, 0, 0, 0])
    folds = np.array([2, 0, 2, 1, 0, 1])
    scores = list(out_of_fold_scores(features, labels, folds, Noting()))
    assert FITTED == [[0, 2, 3, 5], [0, 1, 2, 4], [1, 3, 4, 5]]
    assert [rows.tolist() for rows, _ in scores] == [[1, 4], [3, 5], [0, 2]]
    assert [values.tolist() for _, values in scores] == [[0.25, 0.25], [0.5, 0.5], [0.25, 0.25]]


def test_the_scores_are_those_of_a_forest_fitted_by_hand() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.random((60, 3)).astype(np.float32), rng.integers(0, 2, 60)
    folds = fold_of_rows(KFold(3).split(features), 60)
    assert folds.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    forest = RandomForestClassifier(10, random_state=3)
    for rows, scores in out_of_fold_scores(features, labels, folds, forest):
        others = np.setdiff1d(np.arange(60), rows)
        by_hand = RandomForestClassifier(10, random_state=3).fit(features[others], labels[others])
        np.testing.assert_array_equal(scores, by_hand.predict_proba(features[rows])[:, 1])


def test_a_rows_fold_is_the_one_that_holds_it_out() -> None:
    groups = np.array([0, 1, 0, 2, 1, 2])
    splits = list(GroupKFold(3).split(groups, groups, groups))
    folds = fold_of_rows(splits, 6)
    assert folds.dtype == np.int64
    for fold, (_, heldout) in enumerate(splits):
        assert np.flatnonzero(folds == fold).tolist() == heldout.tolist()


@pytest.mark.parametrize("most", [100, 40, 7])
def test_of_too_many_films_whole_groups_are_drawn(most: int) -> None:
    groups = np.repeat([5, 3, 9, 7, 1, 2, 8, 4], [10, 3, 4, 9, 5, 2, 6, 3])
    rows = rows_of_whole_groups(groups, most, 1)
    assert len(rows) <= most
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert set(groups[rows]).isdisjoint(np.delete(groups, rows))
    assert (len(rows) == len(groups)) == (most >= len(groups))
    np.testing.assert_array_equal(rows_of_whole_groups(groups, most, 1), rows)


@pytest.mark.parametrize("drawn", range(1, 8))
def test_groups_are_drawn_in_a_random_order_while_there_is_room_for_the_next(drawn: int) -> None:
    names, sizes = np.array([1, 2, 3, 4, 5, 7, 8, 9]), np.array([5, 2, 3, 3, 10, 9, 6, 4])
    groups = np.random.default_rng(0).permutation(np.repeat(names, sizes))
    order = np.random.default_rng(6).permutation(8)
    expected = np.flatnonzero([group in names[order][:drawn] for group in groups])
    ends = np.cumsum(sizes[order])
    for most in (ends[drawn - 1], ends[drawn] - 1):  # for these, and for all but one of the next
        assert rows_of_whole_groups(groups, int(most), 6).tolist() == expected.tolist()
