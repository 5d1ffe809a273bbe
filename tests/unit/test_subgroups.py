"""Subgroups: their figures by hand, and which of them is named."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluation.subgroups import (
    LEAST,
    Subgroup,
    Worst,
    attributes_of,
    measure_subgroups,
    worst_of,
)
from osteon.statistics.estimate import UNDEFINED, Estimate, difference
from osteon.statistics.proportions import wilson, wilson_in_groups


def prepared(**columns: list[object]) -> pd.DataFrame:
    """Columns of prepared films; what is not said is null."""
    count = len(next(iter(columns.values())))
    types = {"region": "string", "view": "string", "source": "string", "hardware": "boolean"}
    types |= {"shown_width": "Int32", "shown_height": "Int32"}
    return pd.DataFrame({name: pd.array(columns.get(name, [None] * count), dtype=kind) for name, kind in types.items()})


def measured(
    values: list[str], labels: list[int], scores: list[float], groups: list[int] | None = None
) -> list[Subgroup]:
    return measure_subgroups(
        {"region": pd.Series(values)},
        np.array(labels),
        np.array(scores),
        np.array(groups or range(len(labels))),
        0.5,
        0.95,
    )


# ---------------------------------------------------------------- attributes


def test_what_is_not_known_is_a_subgroup_of_its_own() -> None:
    films = prepared(
        region=["wrist", None, "hip"],
        view=[None, None, None],
        hardware=[True, None, False],
        source=["a", "b", None],
        shown_width=[100, None, 100],
        shown_height=[100, 100, 100],
    )
    result = {name: column.tolist() for name, column in attributes_of(films).items()}
    assert result == {
        "region": ["wrist", "unknown", "hip"],
        "view": ["unknown"] * 3,
        "hardware": ["metal", "unknown", "no metal"],
        "film size": ["0.01 megapixels", "unknown", "0.01 megapixels"],
        "source": ["a", "b", "unknown"],
    }


def test_sizes_are_thirds_from_small_to_large() -> None:
    sides = [3000, 100, 200, 1000, 2000, 300]
    films = prepared(shown_width=list(sides), shown_height=list(sides))
    column = attributes_of(films)["film size"]
    assert column.tolist() == [
        "4 – 9 megapixels",
        "0.01 – 0.04 megapixels",
        "0.01 – 0.04 megapixels",
        "0.09 – 1 megapixels",
        "4 – 9 megapixels",
        "0.09 – 1 megapixels",
    ]
    rows = measure_subgroups({"film size": column}, np.array([0, 1] * 3), np.full(6, 0.5), np.arange(6), 0.5, 0.95)
    assert [item.value for item in rows] == ["0.01 – 0.04 megapixels", "0.09 – 1 megapixels", "4 – 9 megapixels"]


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=40))
def test_films_of_one_size_are_never_parted(sides: list[int]) -> None:
    films = prepared(shown_width=[side * 100 for side in sides], shown_height=[100] * len(sides))
    column = attributes_of(films)["film size"]
    assert column.groupby(sides).nunique().max() == 1
    assert column.nunique() <= 3


# ---------------------------------------------------------------- figures


def test_subgroups_by_hand() -> None:
    rows = measured(
        ["wrist"] * 3 + ["unknown"] * 4 + ["hip"] * 2 + ["ankle"] * 2,
        [1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1],
        [0.9, 0.4, 0.6, 0.2, 0.1, 0.7, 0.1, 0.1, 0.8, 0.5, 0.4],
    )
    # The largest first, names decide between equals.
    assert [(row.value, row.films, row.positive) for row in rows] == [
        ("unknown", 4, 1),
        ("wrist", 3, 2),
        ("ankle", 2, 2),
        ("hip", 2, 0),
    ]
    result = {row.value: row for row in rows}
    assert result["wrist"].sensitivity == wilson(1, 2, 0.95)
    assert result["wrist"].specificity == wilson(0, 1, 0.95)
    assert result["unknown"].sensitivity == wilson(0, 1, 0.95)
    assert result["unknown"].specificity == wilson(2, 3, 0.95)
    assert {value: row.auroc.value for value, row in result.items()} == {
        "wrist": 0.5,
        "unknown": pytest.approx(2 / 3),
        "hip": None,
        "ankle": None,
    }
    assert result["hip"].sensitivity == result["ankle"].specificity == UNDEFINED
    assert all(row.differences == {} for row in rows)


def two_sides(missed: int, films: int = 2 * LEAST) -> tuple[list[str], list[int], list[float]]:
    """Films of a and b, half of them positive; of a's so many are missed, of b's one; no negative one is called."""
    labels = ([1] * (films // 2) + [0] * (films // 2)) * 2
    a = [0.4] * missed + [0.9] * (films // 2 - missed) + [0.1] * (films // 2)
    b = [0.4] + [0.9] * (films // 2 - 1) + [0.1] * (films // 2)
    return ["a"] * films + ["b"] * films, labels, a + b


def test_the_difference_from_the_rest_is_widened_for_all_looks() -> None:
    values, labels, scores = two_sides(4)
    a, b = measured(values, labels, scores)
    widened = 1 - 0.05 / 4  # two subgroups, two figures each
    hits = np.arange(LEAST)
    expected = difference(
        wilson_in_groups(hits >= 4, hits, widened),
        wilson_in_groups(hits >= 1, hits, widened),
    )
    assert a.differences["sensitivity"] == expected
    assert expected.value == pytest.approx(-0.3)
    assert b.differences["sensitivity"].value == pytest.approx(0.3)


def test_the_worst_is_named_with_what_the_rest_reaches() -> None:
    values, labels, scores = two_sides(45, films=100)
    worst = worst_of(measured(values, labels, scores))
    assert worst is not None
    assert (worst.subgroup.value, worst.figure) == ("a", "sensitivity")
    assert worst.rest == pytest.approx(0.98)
    assert worst.line() == "region a: sensitivity 0.100, of all other films 0.980 (100 films, 50 positive)"


@pytest.mark.parametrize(("films", "compared"), [(2 * LEAST, True), (2 * LEAST - 2, False)])
def test_a_subgroup_of_few_films_is_shown_and_never_named(films: int, compared: bool) -> None:
    values, labels, scores = two_sides(films // 2, films)
    rows = measured(values, labels, scores)
    assert len(rows) == 2
    assert all(bool(row.differences) is compared for row in rows)
    assert (worst_of(rows) is not None) is compared


def test_where_the_rest_is_small_nothing_is_compared() -> None:
    values, labels, scores = two_sides(50, films=100)
    keep = [value == "a" or number % 10 == 0 for number, value in enumerate(values)]
    rows = measured(
        *([item for item, kept in zip(column, keep, strict=True) if kept] for column in (values, labels, scores))
    )
    assert [row.differences for row in rows] == [{}, {}]


def test_films_of_one_patient_count_as_one() -> None:
    """What a hundred films of as many patients show, a hundred films of four do not."""
    values, labels, scores = two_sides(20, films=100)
    assert worst_of(measured(values, labels, scores)) is not None
    patients = [number // 25 for number in range(200)]
    assert worst_of(measured(values, labels, scores, patients)) is None


def test_of_several_the_one_that_is_surely_worst_is_named() -> None:
    def subgroup(value: str, auroc: Estimate, sensitivity: Estimate) -> Subgroup:
        return Subgroup(
            "region", value, 50, 20, Estimate(0.5, 0.3, 0.7), UNDEFINED, Estimate(0.6, 0.5, 0.7),
            {"auroc": auroc, "sensitivity": sensitivity},
        )  # fmt: skip

    same, unknown = Estimate(0.0, -0.2, 0.2), UNDEFINED
    small = subgroup("small", Estimate(-0.4, -0.75, -0.05), same)
    large = subgroup("large", same, Estimate(-0.3, -0.45, -0.15))
    both = subgroup("both", Estimate(-0.2, -0.3, -0.1), Estimate(-0.2, -0.3, -0.01))
    better = subgroup("better", Estimate(0.2, 0.1, 0.3), unknown)
    assert worst_of([small, better, large, both]) == Worst(large, "sensitivity", 0.8)
    assert [item.worse_in() for item in (small, large, both, better)] == [
        ["auroc"],
        ["sensitivity"],
        ["auroc", "sensitivity"],
        [],
    ]
    assert worst_of([better, subgroup("touching", Estimate(-0.2, -0.4, 0.0), same)]) is None
    assert worst_of([]) is None


# ---------------------------------------------------------------- chance, and power


def simulated(rng: np.random.Generator, shift: float) -> list[Subgroup]:
    """300 patients with two films each, alike; eight regions of which the first is read worse by `shift`."""
    patients = np.repeat(np.arange(300), 2)
    region, labels = rng.integers(0, 8, 300)[patients], (rng.random(300) < 0.4).astype(np.int64)[patients]
    gain = np.where(region == 0, 1.6 - shift, 1.6)
    latent = gain * labels + rng.normal(0, 0.8, 300)[patients] + rng.normal(0, 0.6, 600)
    view = pd.Series(np.where(np.arange(600) % 2, "frontal", "lateral"))
    return measure_subgroups(
        {"region": pd.Series(region.astype(str)), "view": view},
        labels,
        1 / (1 + np.exp(-latent)),
        patients,
        0.65,
        0.95,
    )


def test_where_all_subgroups_are_alike_hardly_ever_one_is_named() -> None:
    rng = np.random.default_rng(0)
    named = sum(worst_of(simulated(rng, 0.0)) is not None for _ in range(200))
    assert named / 200 <= 0.05


def test_a_subgroup_that_is_read_much_worse_is_found() -> None:
    rng = np.random.default_rng(1)
    named = [worst_of(simulated(rng, 1.6)) for _ in range(20)]
    result = [item for item in named if item is not None]
    assert len(result) >= 18
    assert {(item.subgroup.attribute, item.subgroup.value) for item in result} == {("region", "0")}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_films_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, scores, groups = rng.integers(0, 2, 80), rng.random(80).round(1), rng.integers(0, 30, 80)
    values = pd.Series(rng.choice(["a", "b"], 80))
    order = rng.permutation(80)
    item = measure_subgroups({"view": values}, labels, scores, groups, 0.5, 0.95)
    other = measure_subgroups(
        {"view": values.iloc[order].reset_index(drop=True)}, labels[order], scores[order], groups[order], 0.5, 0.95
    )
    for a, b in zip(item, other, strict=True):
        assert (a.value, a.sensitivity, a.specificity) == (b.value, b.sensitivity, b.specificity)
        assert a.auroc.value == pytest.approx(b.auroc.value)
        for name in a.differences:
            assert a.differences[name].high == pytest.approx(b.differences[name].high)
