from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from components.preparation import splits
from components.preparation.sides import assign_sides, read_sides
from components.preparation.splits import check_split, split_films
from osteon.errors import OsteonError
from osteon.params import PreparationParams

EMPTY = read_sides(Path("nowhere"))


def films_of(sizes: list[int], labels: list[int], regions: list[str] | None = None) -> pd.DataFrame:
    """A group for each size, its films all of one label, and each group a patient."""
    group = np.repeat([f"g{number:03}" for number in range(len(sizes))], sizes)
    ids = [f"f{number:04}" for number in range(len(group))]
    return pd.DataFrame(
        {
            "film_id": ids,
            "sha256": [f"bytes of {film}" for film in ids],
            "pixel_sha256": [f"pixels of {film}" for film in ids],
            "patient_id": group,
            "study_id": pd.array([None] * len(group), dtype="string"),
            "group": group,
            "label": pd.array(np.repeat(labels, sizes), dtype="Int8"),
            "region": pd.array(np.repeat(regions or ["wrist"] * len(sizes), sizes), dtype="string"),
        }
    )


def split(films: pd.DataFrame, test_share: float, folds: int, seed: int) -> pd.DataFrame:
    """Sides and folds of films that no table knows."""
    sides = assign_sides(films, EMPTY, PreparationParams(test_share=test_share, seed=seed)).side
    return split_films(films.assign(side=sides), folds, seed)


@given(
    sizes=st.lists(st.integers(1, 6), min_size=40, max_size=80),
    folds=st.integers(2, 5),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_group_is_torn_and_every_film_has_one_place(sizes: list[int], folds: int, seed: int) -> None:
    films = films_of(sizes, [number % 2 for number in range(len(sizes))])
    parts = split(films, 0.2, folds, seed)
    assert parts["test"].notna().all()
    assert (parts["fold"].isna() == parts["test"]).all()
    assert set(parts["fold"].dropna()) == set(range(folds))
    sides = parts["fold"].fillna(-1).groupby(films["group"]).nunique()
    assert (sides == 1).all()
    assert parts["test"].mean() == pytest.approx(0.2, abs=0.04)


def test_test_set_and_folds_have_the_sets_share_of_labels_and_regions() -> None:
    rng = np.random.default_rng(0)
    count = 1000
    labels = (rng.random(count) < 0.2).astype(int).tolist()
    regions = rng.choice(["wrist", "hip", "ankle"], count, p=[0.6, 0.3, 0.1]).tolist()
    films = films_of(rng.integers(1, 4, count).tolist(), labels, regions)
    parts = split(films, 0.2, 5, 1)
    assert parts["test"].mean() == pytest.approx(0.2, abs=0.01)
    everything = films["label"].mean()
    for _, part in films.groupby(parts["fold"].fillna(-1)):
        assert part["label"].mean() == pytest.approx(everything, abs=0.02)
        assert (part["region"] == "hip").mean() == pytest.approx(0.3, abs=0.04)


def test_a_seed_gives_one_split() -> None:
    films = films_of([2] * 60, [0, 1] * 30)
    first, again, other = (split(films, 0.2, 3, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first["test"].equals(other["test"])
    assert not first["fold"].equals(other["fold"])


def test_folds_are_drawn_anew_with_another_seed_alone() -> None:
    films = films_of([2] * 60, [0, 1] * 30).assign(side=["test"] * 24 + ["development"] * 96)
    first, again, other = (split_films(films, 3, seed)["fold"] for seed in (1, 1, 2))
    pd.testing.assert_series_equal(first, again)
    assert not first.equals(other)


def test_films_of_no_region_are_a_region_of_their_own() -> None:
    regions: list[Any] = ["hip", None] * 30
    films = films_of([1] * 60, [0, 0, 1, 1] * 15, regions).assign(side=["test"] * 4 + ["development"] * 56)
    parts = split_films(films, 2, 1)
    unknown = films["region"].isna().groupby(parts["fold"]).sum()
    assert unknown.tolist() == [14, 14]


@pytest.mark.parametrize(("groups", "even"), [(4, True), (3, False)])
def test_a_region_of_two_groups_a_fold_is_spread_evenly_and_a_rarer_one_is_not_looked_at(
    groups: int, even: bool
) -> None:
    """Alone it is split by itself: of either label, each fold has one of four groups."""
    uneven = 0
    for seed in range(12):
        labels = [0, 1] * 20
        regions = ["hip"] * groups + ["knee"] * groups + ["wrist"] * (40 - 2 * groups)
        films = films_of([1] * 40, labels, regions).assign(side="development")
        films.loc[36:, "side"] = "test"
        parts = split_films(films, 2, seed)
        hips = (films["region"] == "hip").groupby(parts["fold"]).sum()
        uneven += int(abs(hips[0] - hips[1]) > 1)
    assert (uneven == 0) == even


def test_too_few_groups_of_a_class() -> None:
    with pytest.raises(
        OsteonError, match=r"3 groups with a positive film are too few for 5 folds and a test set; add "
    ):
        split(films_of([3] * 30, [1] * 3 + [0] * 27), 0.2, 5, 0)
    with pytest.raises(OsteonError, match=r"^0 groups with a negative film .*add films of other patients; if"):
        split(films_of([3] * 30, [1] * 30), 0.2, 5, 0)


def test_the_number_of_folds_that_is_advised_is_the_largest_that_is_not_refused() -> None:
    films = films_of([3] * 30, [1] * 5 + [0] * 25)
    with pytest.raises(OsteonError, match=r"^5 groups with a positive film .* preparation\.folds to at most 4$"):
        split(films, 0.2, 5, 0)
    assert split(films, 0.2, 4, 1)["fold"].nunique() == 4


@pytest.mark.parametrize(
    ("positive", "advice"),
    [
        (3, "add films or lower preparation.folds to at most 2"),
        (
            2,
            "add films of other patients; if these are of more, their ids are not right (docs/data.md, Patients)",
        ),
    ],
)
def test_what_to_do_where_groups_are_too_few_word_by_word(positive: int, advice: str) -> None:
    films = films_of([1] * 12, [1] * positive + [0] * (12 - positive)).assign(side="development")
    with pytest.raises(OsteonError) as refusal:
        split_films(films, 3, 0)
    assert str(refusal.value) == (
        f"{positive} groups with a positive film are too few for 3 folds and a test set; {advice}"
    )


def test_the_order_of_films_moves_none_to_another_fold() -> None:
    regions: list[Any] = ["wrist", "hip", None, "wrist", "wrist"] * 12
    films = films_of([1, 2, 3] * 20, [0, 1, 0, 1] * 15, regions).assign(side="development")
    films.loc[films["group"] < "g008", "side"] = "test"
    fold = split_films(films, 3, 5)["fold"]
    for order in (films.index[::-1], np.random.default_rng(0).permutation(films.index)):
        pd.testing.assert_series_equal(split_films(films.loc[order], 3, 5)["fold"].sort_index(), fold)


@pytest.mark.filterwarnings("error")
def test_a_region_with_one_film_of_a_class_is_no_warning() -> None:
    """Six groups of a region are enough for three folds, the one positive film of the hips is not."""
    films = films_of([1] * 14, [0] * 5 + [1] * 6 + [0, 1, 0], ["hip"] * 6 + ["knee"] * 6 + ["toe"] * 2)
    films["side"] = ["development"] * 12 + ["test"] * 2
    assert split_films(films, 3, 0)["fold"].value_counts().to_dict() == {0: 4, 1: 4, 2: 4}


def test_strata_of_less_films_than_there_are_folds() -> None:
    regions = ["wrist", "hip", "knee", "hand"] * 6
    films = films_of([1] * 24, [0, 1] * 12, regions).assign(side=["test"] * 12 + ["development"] * 12)
    assert split_films(films, 5, 0)["fold"].nunique() == 5


def small_sets() -> Iterator[tuple[pd.DataFrame, int, int]]:
    """Small sets, and some of two groups so large that a fold lacks a class; folds and seed."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        groups, folds = int(rng.integers(8, 16)), int(rng.integers(2, 4))
        labels = rng.integers(0, 2, groups).tolist()
        if min(labels.count(0), labels.count(1)) > folds:
            yield films_of(rng.integers(1, 12, groups).tolist(), labels), folds, seed
    for seed in range(10):
        yield films_of([300, 300] + [1] * 12, [1, 0] * 7), 4, seed


def test_a_split_is_refused_where_and_only_where_a_part_lacks_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = 0
    for films, folds, seed in small_sets():
        with monkeypatch.context() as unchecked:
            unchecked.setattr(splits, "check_split", lambda films: None)
            parts = split(films, 0.2, folds, seed)
        sides = [("test", parts["test"]), *((f"fold {fold}", parts["fold"] == fold) for fold in range(folds))]
        lacking = [name for name, rows in sides if films["label"][rows.fillna(False).to_numpy(bool)].nunique() < 2]
        if not lacking:
            pd.testing.assert_frame_equal(split(films, 0.2, folds, seed), parts)
            continue
        refused += 1
        with pytest.raises(OsteonError) as refusal:
            split(films, 0.2, folds, seed)
        reason, advice = str(refusal.value).split("; ")
        assert sorted(reason.removeprefix("no film of one class in ").split(", ")) == sorted(lacking)
        assert advice == "add films or lower preparation.folds"
    assert refused >= 1


def test_two_giant_groups_leave_folds_without_a_class() -> None:
    """One positive, one negative, each nearly half of the set."""
    with pytest.raises(OsteonError) as refusal:
        split(films_of([300, 300] + [1] * 12, [1, 0] * 7), 0.2, 5, 0)
    assert str(refusal.value) == "no film of one class in fold 0, fold 1; add films or lower preparation.folds"


def test_as_many_development_groups_of_a_class_as_folds_are_enough() -> None:
    films = films_of([1] * 10, [0, 1] * 5).assign(side=["test"] * 4 + ["development"] * 6)
    parts = split_films(films, 3, 0)
    assert parts["fold"].nunique() == 3
    assert parts.dtypes.astype(str).to_dict() == {"test": "bool", "fold": "Int8"}
    with pytest.raises(OsteonError, match=r"^3 development groups with a positive film are .* 4 folds; .* at most 3$"):
        split_films(films, 4, 0)


def test_no_test_film_at_all_is_refused() -> None:
    films = films_of([2] * 12, [0, 1] * 6).assign(side="development")
    with pytest.raises(OsteonError, match=r"^no film of one class in test; "):
        split_films(films, 2, 0)


def test_a_split_that_tears_a_group_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups are kept together by scikit-learn; were they not, nothing would be returned."""

    class Groupless(StratifiedKFold):
        def split(self, X: Any, y: Any, groups: Any = None) -> Any:  # noqa: N803 – scikit-learn's names
            return super().split(X, y)

    monkeypatch.setattr(splits, "StratifiedGroupKFold", Groupless)
    films = films_of([20] * 12, [0, 1] * 6).assign(side=["test"] * 40 + ["development"] * 200)
    with pytest.raises(OsteonError) as refusal:
        split_films(films, 2, 0)
    assert str(refusal.value) == "10 groups lie on two sides of the split: g002, g003, g004, g005, g006"


def test_a_film_without_a_fold_is_of_no_fold() -> None:
    """It is looked at with the test films, as a film that no model is trained on."""
    films = films_of([1] * 5, [0, 1, 0, 1, 1]).assign(
        test=[True, True, False, False, False], fold=pd.array([None, None, 0, 0, None], dtype="Int8")
    )
    check_split(films)
    films.loc[4, "group"] = "g002"
    with pytest.raises(OsteonError, match="1 groups lie on two sides of the split: g002"):
        check_split(films)


def test_a_torn_group_is_found() -> None:
    films = films_of([2, 2, 2], [0, 1, 0]).assign(
        test=[True, True, True, True, False, False], fold=pd.array([None] * 4 + [0, 0], dtype="Int8")
    )
    films["label"] = pd.array([0, 1, 0, 1, 0, 1], dtype="Int8")
    check_split(films)
    films.loc[4, "group"] = "g001"
    with pytest.raises(OsteonError, match="1 groups lie on two sides of the split: g001"):
        check_split(films)
