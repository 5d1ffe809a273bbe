import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


def test_a_test_share_that_needs_more_parts_than_there_are_films() -> None:
    with pytest.raises(OsteonError, match=r"8 films are too few to be split into 10 parts; .*preparation\.test_share"):
        split_films(films_of([1] * 8, [0, 1] * 4), 0.1, 2, 0)


def test_one_giant_group_leaves_a_part_without_a_class() -> None:
    """Positive films in seven groups, but nearly all of the set in one of them."""
    films = films_of([300, 1, 1, 1, 1, 1, 1, 1], [1] * 7 + [0])
    with pytest.raises(OsteonError, match=r"too few|no film of one class"):
        split_films(films, 0.2, 5, 0)


def test_a_torn_group_is_found() -> None:
    films = films_of([2, 2, 2], [0, 1, 0]).assign(
        test=[True, True, True, True, False, False], fold=pd.array([None] * 4 + [0, 0], dtype="Int8")
    )
    films["label"] = pd.array([0, 1, 0, 1, 0, 1], dtype="Int8")
    check_split(films)
    films.loc[4, "group"] = "g001"
    with pytest.raises(OsteonError, match="1 groups lie on two sides of the split: g001"):
        check_split(films)
