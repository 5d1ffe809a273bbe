"""Which rows learn, decide and are asked."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osteon.errors import OsteonError
from osteon.films.prepared.folds import copies_of, development_rows, fold_numbers, rows_in, rows_outside, set_aside


def films_of(folds: list[int | None], labels: list[int] | None = None, groups: list[str] | None = None) -> pd.DataFrame:
    """One film a fold's number; None is a test film."""
    count = len(folds)
    return pd.DataFrame(
        {
            "film_id": [f"film {row}" for row in range(count)],
            "label": labels or [row % 2 for row in range(count)],
            "group": groups or [f"group {row}" for row in range(count)],
            "test": pd.array([fold is None for fold in folds], "boolean"),
            "fold": pd.array(folds, "Int8"),
        }
    )


def test_a_fold_the_others_and_the_test_films_are_all_films_once() -> None:
    films = films_of([0, None, 1, 2, 0, None, 1])
    assert fold_numbers(films) == [0, 1, 2]
    assert development_rows(films).tolist() == [0, 2, 3, 4, 6]
    assert rows_in(films, 0).tolist() == [0, 4]
    assert rows_outside(films, 0).tolist() == [2, 3, 6]


def test_a_film_that_is_in_no_fold_is_in_none_and_beside_all() -> None:
    films = films_of([0, None, 1])
    films["test"] = False
    assert rows_in(films, 0).tolist() == [0]
    assert rows_outside(films, 0).tolist() == [1, 2]


def test_a_test_film_that_has_a_fold_is_refused() -> None:
    films = films_of([0, 1, None])
    films.loc[2, "fold"] = 1
    with pytest.raises(OsteonError, match=r"^a test film has a fold; run the step prepare again$"):
        fold_numbers(films)


def test_copies_are_those_of_the_rows_films_only() -> None:
    films = films_of([0, 1, 2])
    copies = films.iloc[[2, 0, 2, 1]].reset_index(drop=True)
    assert copies_of(films, np.array([2]), copies).tolist() == [0, 2]
    assert copies_of(films, np.array([0, 1]), copies).tolist() == [1, 3]


@settings(deadline=None, max_examples=30)  # scikit-learn is imported in the first
@given(seed=st.integers(0, 2**16), sizes=st.lists(st.integers(1, 4), min_size=24, max_size=60))
def test_films_set_aside_share_no_group_with_those_that_learn_and_both_have_both_classes(
    seed: int, sizes: list[int]
) -> None:
    groups = [f"group {number}" for number, size in enumerate(sizes) for _ in range(size)]
    labels = [number % 2 for number, size in enumerate(sizes) for _ in range(size)]
    films = films_of([0] * len(groups), labels, groups)
    rows = development_rows(films)
    learning, stopping = set_aside(films, rows, 0.125, seed)
    assert sorted([*learning, *stopping]) == rows.tolist()
    assert not set(films["group"].iloc[learning]) & set(films["group"].iloc[stopping])
    for side in (learning, stopping):
        assert set(films["label"].iloc[side]) == {0, 1}
    # Whole groups of up to four films cannot be cut more finely.
    assert abs(len(stopping) - len(rows) / 8) <= 8


def test_too_few_films_to_set_some_aside_are_said() -> None:
    films = films_of([0] * 6, [0, 1, 0, 1, 0, 1])
    message = (
        r"^6 films of 6 groups are too few to set some aside for early stopping; "
        r"add films, or set training\.patience to 0$"
    )
    with pytest.raises(OsteonError, match=message):
        set_aside(films, development_rows(films), 0.125, 1)


def test_the_same_seed_sets_the_same_films_aside_and_another_seed_others() -> None:
    films = films_of([0] * 80, [row // 2 % 2 for row in range(80)])
    rows = development_rows(films)
    chosen = [set_aside(films, rows, 0.125, seed)[1].tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_half_of_the_films_can_be_set_aside() -> None:
    films = films_of([0] * 40)
    learning, stopping = set_aside(films, development_rows(films), 0.5, 1)
    assert len(learning) == len(stopping) == 20
    learning, stopping = set_aside(films, development_rows(films), 0.9, 1)  # not all of them
    assert len(learning) == len(stopping) == 20
