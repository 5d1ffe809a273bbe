from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from components.preparation import splits
from components.preparation.splits import check_split, split_films
from osteon.errors import OsteonError


def films_of(sizes: list[int], labels: list[int], regions: list[str] | None = None) -> pd.DataFrame:
    """A group for each size, its films all of one label."""
    group = np.repeat([f"g{number:03}" for number in range(len(sizes))], sizes)
    return pd.DataFrame(
        {
            "group": group,
            "label": pd.array(np.repeat(labels, sizes), dtype="Int8"),
            "region": pd.array(np.repeat(regions or ["wrist"] * len(sizes), sizes), dtype="string"),
        }
    )


@given(
    sizes=st.lists(st.integers(1, 6), min_size=40, max_size=80),
    folds=st.integers(2, 5),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_group_is_torn_and_every_film_has_one_place(sizes: list[int], folds: int, seed: int) -> None:
    films = films_of(sizes, [number % 2 for number in range(len(sizes))])
    parts = split_films(films, 0.2, folds, seed)
    assert parts["test"].notna().all()
    assert (parts["fold"].isna() == parts["test"]).all()
    assert set(parts["fold"].dropna()) == set(range(folds))
    sides = parts["fold"].fillna(-1).groupby(films["group"]).nunique()
    assert (sides == 1).all()


def test_test_set_and_folds_have_the_sets_share_of_labels_and_regions() -> None:
    rng = np.random.default_rng(0)
    count = 1000
    labels = (rng.random(count) < 0.2).astype(int).tolist()
    regions = rng.choice(["wrist", "hip", "ankle"], count, p=[0.6, 0.3, 0.1]).tolist()
    films = films_of(rng.integers(1, 4, count).tolist(), labels, regions)
    parts = split_films(films, 0.2, 5, 1)
    assert parts["test"].mean() == pytest.approx(0.2, abs=0.01)
    everything = films["label"].mean()
    for _, part in films.groupby(parts["fold"].fillna(-1)):
        assert part["label"].mean() == pytest.approx(everything, abs=0.02)
        assert (part["region"] == "hip").mean() == pytest.approx(0.3, abs=0.04)


def test_a_seed_gives_one_split() -> None:
    films = films_of([2] * 60, [0, 1] * 30)
    first, again, other = (split_films(films, 0.2, 3, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_too_few_groups_of_a_class() -> None:
    with pytest.raises(
        OsteonError, match=r"3 groups with a positive film are too few for 5 folds and a test set; add "
    ):
        split_films(films_of([3] * 30, [1] * 3 + [0] * 27), 0.2, 5, 0)
    with pytest.raises(OsteonError, match="0 groups with a negative film"):
        split_films(films_of([3] * 30, [1] * 30), 0.2, 5, 0)


def test_the_number_of_folds_that_is_advised_is_the_largest_that_is_not_refused() -> None:
    films = films_of([3] * 30, [1] * 5 + [0] * 25)
    with pytest.raises(OsteonError, match=r"^5 groups with a positive film .* preparation\.folds to at most 4$"):
        split_films(films, 0.2, 5, 0)
    assert split_films(films, 0.2, 4, 1)["fold"].nunique() == 4


def test_a_test_share_that_needs_more_parts_than_there_are_films() -> None:
    with pytest.raises(OsteonError, match=r"8 films are too few to be split into 10 parts; .*preparation\.test_share"):
        split_films(films_of([1] * 8, [0, 1] * 4), 0.1, 2, 0)


def small_sets() -> Iterator[tuple[pd.DataFrame, int, int]]:
    """Sets of so few groups that a part is without a class now and then; the number of folds, and the seed."""
    for seed in range(120):
        rng = np.random.default_rng(seed)
        groups, folds = int(rng.integers(8, 16)), int(rng.integers(2, 4))
        labels = rng.integers(0, 2, groups).tolist()
        if min(labels.count(0), labels.count(1)) > folds:
            yield films_of(rng.integers(1, 12, groups).tolist(), labels), folds, seed


def test_a_split_is_refused_where_and_only_where_a_part_lacks_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = 0
    for films, folds, seed in small_sets():
        with monkeypatch.context() as unchecked:
            unchecked.setattr(splits, "check_split", lambda films: None)
            parts = split_films(films, 0.2, folds, seed)
        sides = [("test", parts["test"]), *((f"fold {fold}", parts["fold"] == fold) for fold in range(folds))]
        lacking = [name for name, rows in sides if films["label"][rows.fillna(False).to_numpy(bool)].nunique() < 2]
        if not lacking:
            pd.testing.assert_frame_equal(split_films(films, 0.2, folds, seed), parts)
            continue
        refused += 1
        with pytest.raises(OsteonError) as refusal:
            split_films(films, 0.2, folds, seed)
        reason, advice = str(refusal.value).split("; ")
        assert sorted(reason.removeprefix("no film of one class in ").split(", ")) == sorted(lacking)
        assert advice == "add films or lower preparation.folds"
    assert refused >= 5


def test_two_giant_groups_leave_folds_without_a_class() -> None:
    """One positive, one negative, each nearly half of the set."""
    with pytest.raises(OsteonError) as refusal:
        split_films(films_of([300, 300] + [1] * 12, [1, 0] * 7), 0.2, 5, 0)
    assert str(refusal.value) == "no film of one class in fold 0, fold 1; add films or lower preparation.folds"


def test_a_split_that_tears_a_group_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups are kept together by scikit-learn; were they not, nothing would be returned."""

    class Groupless(StratifiedKFold):
        def split(self, X: Any, y: Any, groups: Any = None) -> Any:  # noqa: N803 – scikit-learn's names
            return super().split(X, y)

    monkeypatch.setattr(splits, "StratifiedGroupKFold", Groupless)
    films = films_of([20] * 12, [0, 1] * 6)
    with pytest.raises(OsteonError) as refusal:
        split_films(films, 0.2, 2, 0)
    assert str(refusal.value) == "12 groups lie on two sides of the split: g000, g001, g002, g003, g004"


def test_a_torn_group_is_found() -> None:
    films = films_of([2, 2, 2], [0, 1, 0]).assign(
        test=[True, True, True, True, False, False], fold=pd.array([None] * 4 + [0, 0], dtype="Int8")
    )
    films["label"] = pd.array([0, 1, 0, 1, 0, 1], dtype="Int8")
    check_split(films)
    films.loc[4, "group"] = "g001"
    with pytest.raises(OsteonError, match="1 groups lie on two sides of the split: g001"):
        check_split(films)
