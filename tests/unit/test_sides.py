"""A film stays on the side that it once had, whatever else changes."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.preparation.draw import draw_numbers, draw_test_groups, stable_names
from components.preparation.sides import (
    COLUMNS,
    NEITHER_TABLE,
    Sides,
    assign_sides,
    read_sides,
    report_sides,
    write_neither,
    write_sides,
)
from components.preparation.splits import split_films
from osteon.errors import OsteonError
from osteon.films.groups import group_films
from osteon.params import PreparationParams

PARAMS = PreparationParams()
EMPTY = read_sides(Path("nowhere"))
NO_COPIES = np.empty((0, 2), np.int64)


def a_set(seed: int, patients: int, prefix: str = "p") -> pd.DataFrame:
    """Films of patients, one to four each; every third patient is not known, but the film's study is, or nothing."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        for number in range(int(rng.integers(1, 5 if patient % 3 < 2 else 2))):
            name = f"{prefix}{patient:03}-{number}"
            rows.append(
                {
                    "film_id": name,
                    "sha256": f"bytes {name}",
                    "pixel_sha256": f"{rng.integers(1 << 60):x}",
                    "patient_id": f"{prefix}{patient}" if patient % 3 == 0 else None,
                    "study_id": f"study {prefix}{patient}" if patient % 3 == 1 else None,
                    "label": int(rng.random() < 0.4),
                    "region": ["wrist", "hip", None][patient % 3],
                }
            )
    films = pd.DataFrame(rows).astype(dict.fromkeys(("patient_id", "study_id", "region"), "string"))
    return grouped(films)


def grouped(films: pd.DataFrame, copies: np.ndarray = NO_COPIES) -> pd.DataFrame:
    films = films.reset_index(drop=True)
    return films.assign(group=group_films(films, copies))


def by_film(films: pd.DataFrame, sides: Sides) -> dict[str, str]:
    return dict(zip(films["film_id"], sides.side, strict=True))


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [film for film, side in before.items() if film in after and after[film] != side]


# ---------------------------------------------------------------- what moves no film


@given(seed=st.integers(0, 10**6), patients=st.integers(25, 90), share=st.sampled_from([0.1, 0.2, 0.3, 0.5]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_film_changes_side_for_order_more_films_less_films_or_another_name(
    seed: int, patients: int, share: float
) -> None:
    params = PreparationParams(test_share=share)
    films = a_set(seed, patients)
    first = assign_sides(films, EMPTY, params)
    sides = by_film(films, first)
    assert set(sides.values()) == {"test", "development"}
    assert first.side.groupby(films["group"]).nunique().eq(1).all()
    assert first.before.isna().all()
    # What groups permit: half a group of each label, or a twentieth of the test films.
    largest = films.groupby("group").size().max()
    assert abs(first.side.eq("test").sum() - share * len(films)) <= max(2 * largest, 0.05 * share * len(films))

    shuffled = grouped(films.sample(frac=1, random_state=seed))
    less = grouped(films.drop(index=seed % len(films)))
    more = grouped(pd.concat([films, a_set(seed + 1, patients // 10 + 1, "new")]))
    renamed = grouped(films.assign(film_id="z/" + films["film_id"].str[::-1]))
    for others in (films, shuffled, less, more):
        kept = assign_sides(others, first.table, params)
        assert changed(sides, by_film(others, kept)) == []
    assert assign_sides(shuffled, EMPTY, params).table.equals(first.table)
    kept = assign_sides(renamed, first.table, params)
    assert kept.side.tolist() == first.side.tolist()
    assert kept.before.notna().all()


def test_neither_seed_nor_share_moves_a_film_that_has_a_side(caplog: pytest.LogCaptureFixture) -> None:
    films = a_set(1, 60)
    first = assign_sides(films, EMPTY, PARAMS)
    other = PreparationParams(seed=21, test_share=0.4)
    kept = assign_sides(films, first.table, other)
    assert kept.side.equals(first.side)
    pd.testing.assert_frame_equal(kept.table, first.table)
    report_sides(Path("leaks"), kept, other)
    warned_of = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [message.split(",")[0] for message in warned_of] == [
        "preparation.seed is 21",
        "preparation.test_share is 0.4",
    ]
    assert all("osteon prepare --redraw --why" in message for message in warned_of)
    caplog.clear()
    report_sides(Path("leaks"), kept, PARAMS)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_folds_follow_their_number_and_the_test_films_do_not() -> None:
    films = a_set(2, 80)
    films["side"] = assign_sides(films, EMPTY, PARAMS).side
    tests = [split_films(films, folds, 21)["test"] for folds in (2, 3, 5)]
    assert all(test.equals(films["side"].eq("test").astype(bool)) for test in tests)
    pd.testing.assert_frame_equal(split_films(films, 3, 21), split_films(films, 3, 21))


def test_without_the_table_nearly_all_films_have_the_same_side() -> None:
    """10 % more films, or one patient less: a film changes over only where a part is too far from its share."""
    films = a_set(3, 250)
    sides = by_film(films, assign_sides(films, EMPTY, PARAMS))
    more = grouped(pd.concat([films, a_set(4, 25, "new")]))
    assert len(changed(sides, by_film(more, assign_sides(more, EMPTY, PARAMS)))) < 0.05 * len(films)
    moved = 0
    for group in films["group"].unique()[:20]:
        less = grouped(films[films["group"] != group])
        moved += len(changed(sides, by_film(less, assign_sides(less, EMPTY, PARAMS))))
    assert moved < 0.01 * 20 * len(films)


# ---------------------------------------------------------------- how a film is recognised


@pytest.mark.parametrize("sign", ["sha256", "pixel_sha256", "patient_id", "study_id", "film_id"])
def test_one_sign_is_enough(sign: str) -> None:
    films = a_set(5, 60).assign(
        patient_id=lambda films: "p" + films["group"], study_id=lambda films: "s" + films["group"]
    )
    first = assign_sides(films, EMPTY, PARAMS)
    others = films.assign(
        **{
            column: "other " + films[column]
            for column in ("film_id", "sha256", "pixel_sha256", "patient_id", "study_id")
            if column != sign
        }
    )
    kept = assign_sides(grouped(others), first.table, PreparationParams(seed=99))
    assert kept.side.tolist() == first.side.tolist()
    assert kept.before.tolist() == first.side.tolist()


def test_a_new_film_under_an_old_name_is_on_its_own_patients_side() -> None:
    """The name says test, the patient development."""
    films = a_set(6, 60)
    first = assign_sides(films, EMPTY, PARAMS)
    known = films["patient_id"].notna()
    test = films[(first.side == "test") & known].iloc[0]
    patient = films.loc[(first.side == "development") & known, "patient_id"].iloc[0]
    new = films.iloc[:1].assign(
        film_id=test["film_id"], sha256="n", pixel_sha256="n", patient_id=patient, study_id=None
    )
    kept = assign_sides(grouped(new), first.table, PARAMS)
    assert kept.side.tolist() == ["development"]


def test_new_films_of_a_known_patient_follow_the_patient() -> None:
    films = a_set(7, 90)
    first = assign_sides(films, EMPTY, PARAMS)
    known = films[films["patient_id"].notna()].drop_duplicates("patient_id")
    new = known.assign(film_id="new " + known["film_id"], sha256="n" + known["sha256"])
    new["pixel_sha256"] = "n" + new["pixel_sha256"]
    kept = assign_sides(grouped(new), first.table, PARAMS)  # the old films are no longer there
    assert kept.side.tolist() == first.side[known.index].tolist()
    assert set(kept.side) == {"test", "development"}


# ---------------------------------------------------------------- films of both sides


def joined(films: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """The films with two of them found to be copies."""
    rows = [films.index[films["film_id"] == film][0] for film in (first, second)]
    return grouped(films, np.array([rows]))


def test_a_group_of_both_sides_is_on_neither_from_then_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    films = a_set(8, 60)
    first = assign_sides(films, EMPTY, PARAMS)
    test, development = (films.loc[first.side == side, "film_id"].iloc[0] for side in ("test", "development"))
    both = joined(films, test, development)
    kept = assign_sides(both, first.table, PARAMS)
    group = both.loc[both["film_id"] == test, "group"].iloc[0]
    out = both["group"] == group
    assert kept.side[out].eq("neither").all()
    assert kept.side[~out].equals(first.side[~out])
    assert out.sum() >= 2

    write_neither(tmp_path, both, kept)
    table = pd.read_csv(tmp_path / NEITHER_TABLE)
    assert table["film_id"].tolist() == sorted(both.loc[out, "film_id"])
    assert dict(zip(table["film_id"], table["before"], strict=True)) == {
        film: side for film, side in by_film(films, first).items() if film in set(table["film_id"])
    }
    with caplog.at_level(logging.WARNING):
        report_sides(tmp_path, kept, PARAMS)
    (message,) = caplog.messages
    assert message.startswith(f"{out.sum()} films are on neither side and are left out: ")

    # The table keeps what was, adds what is, and the films stay out when nothing joins them any more.
    pd.testing.assert_frame_equal(kept.table.iloc[: len(first.table)], first.table)
    added = kept.table.iloc[len(first.table) :]
    assert added["film_id"].tolist() == sorted(both.loc[out, "film_id"])
    assert added["side"].eq("neither").all()
    assert added["why"].eq("one group of test and development films").all()
    later = assign_sides(films, kept.table, PARAMS)
    assert later.side.equals(kept.side)
    pd.testing.assert_frame_equal(later.table, kept.table)
    new = films.loc[films["film_id"] == test].assign(film_id="new", pixel_sha256="new", sha256=films["sha256"])
    assert assign_sides(grouped(new), kept.table, PARAMS).side.tolist() == ["neither"]


def test_two_groups_of_one_side_that_are_joined_stay_there() -> None:
    films = a_set(9, 60)
    first = assign_sides(films, EMPTY, PARAMS)
    for side in ("test", "development"):
        known = films[first.side == side].drop_duplicates("group")["film_id"]
        kept = assign_sides(joined(films, known.iloc[0], known.iloc[1]), first.table, PARAMS)
        assert kept.side.equals(first.side)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_joined_no_film_goes_over_to_the_other_side(seed: int) -> None:
    """Three runs; each joins some films, and leaves some out."""
    rng = np.random.default_rng(seed)
    films = a_set(seed, 50)
    table, before = EMPTY, dict[str, str]()
    for _ in range(3):
        some = films[rng.random(len(films)) < 0.8].reset_index(drop=True)
        some = grouped(some, rng.integers(0, len(some), (3, 2)))
        sides = assign_sides(some, table, PARAMS)
        after = by_film(some, sides)
        assert sides.side.groupby(some["group"]).nunique().eq(1).all()
        assert all(after[film] == "neither" for film in changed(before, after))
        table, before = sides.table, before | after


# ---------------------------------------------------------------- drawing anew


def test_a_redraw_draws_all_films_anew_and_is_written_down() -> None:
    films = a_set(10, 120)
    first = assign_sides(films, EMPTY, PARAMS)
    assert (first.draw, first.why) == (1, None)
    assert first.table["why"].isna().all()
    again = assign_sides(films, first.table, PARAMS, redraw="a new scanner")
    assert (again.draw, again.why) == (2, "a new scanner")
    assert not again.side.equals(first.side)
    assert again.before.isna().all()
    pd.testing.assert_frame_equal(again.table.iloc[: len(first.table)], first.table)
    added = again.table.iloc[len(first.table) :]
    assert added["why"].eq("a new scanner").all()
    assert added["draw"].eq(2).all()
    assert len(added) == len(films)
    kept = assign_sides(films, again.table, PARAMS)
    assert kept.side.equals(again.side)
    assert (kept.draw, kept.why) == (2, "a new scanner")
    pd.testing.assert_frame_equal(kept.table, again.table)


def test_a_redraw_brings_films_back_that_were_on_neither_side() -> None:
    films = a_set(11, 60)
    first = assign_sides(films, EMPTY, PARAMS)
    both = joined(films, *(films.loc[first.side == side, "film_id"].iloc[0] for side in ("test", "development")))
    kept = assign_sides(both, first.table, PARAMS)
    assert (kept.why, kept.draw) == (None, 1)
    assert assign_sides(both, kept.table, PARAMS, redraw="why not").side.ne("neither").all()


# ---------------------------------------------------------------- the table as a file


def test_the_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = assign_sides(a_set(12, 40), EMPTY, PARAMS).table
    write_sides(tmp_path / "sides.parquet", table)
    pd.testing.assert_frame_equal(read_sides(tmp_path / "sides.parquet"), table)
    assert list(table) == list(COLUMNS)
    assert table["seed"].eq(PARAMS.seed).all()
    assert table["test_share"].eq(PARAMS.test_share).all()


def test_a_table_that_is_cut_off_or_another_file_is_an_error_that_says_how_to_get_it_back(tmp_path: Path) -> None:
    path = tmp_path / "sides.parquet"
    table = assign_sides(a_set(13, 40), EMPTY, PARAMS).table
    write_sides(path, table)
    data = path.read_bytes()
    for part in range(10):
        path.write_bytes(data[: len(data) * part // 10])
        with pytest.raises(OsteonError, match=r"sides\.parquet: the table of sides is damaged; .* `dvc checkout"):
            read_sides(path)
    for others in (table.drop(columns="side"), table.assign(side="left"), table.assign(draw=0)):
        others.to_parquet(path)
        with pytest.raises(OsteonError, match="the table of sides is damaged"):
            read_sides(path)


# ---------------------------------------------------------------- the draw


def groups_of(films: list[int], numbers: list[float], **columns: object) -> pd.DataFrame:
    groups = pd.DataFrame({"films": films, "number": numbers, "positive": True, "region": "wrist"})
    groups["test"] = pd.array([None] * len(films), "boolean")
    return groups.assign(**columns)


def test_a_groups_number_below_the_share_makes_it_a_test_group() -> None:
    numbers = [(number + 0.5) / 20 for number in range(20)]
    assert draw_test_groups(groups_of([1] * 20, numbers), 0.2).tolist() == [True] * 4 + [False] * 16


@pytest.mark.parametrize("numbers", [[0.9, 0.5, 0.3, 0.4, 0.8], [0.01, 0.02, 0.1, 0.03, 0.05]])
def test_where_the_share_is_missed_the_groups_next_to_it_change_over(numbers: list[float]) -> None:
    """No group, or all of them, are below 0.2; one is wanted."""
    lowest = int(np.argmin(numbers))
    assert draw_test_groups(groups_of([2] * 5, numbers), 0.2).tolist() == [row == lowest for row in range(5)]


def test_a_group_larger_than_the_test_set_is_no_test_group() -> None:
    numbers = [0.01, *((number + 0.5) / 20 for number in range(20))]
    test = draw_test_groups(groups_of([30, *[1] * 20], numbers), 0.2)
    assert not test[0]
    assert 1 <= test.sum() <= 8  # the share of films would be ten, which is half of the groups


def test_each_label_has_a_test_group() -> None:
    groups = groups_of([1] * 32, [0.95, 0.9, *np.linspace(0.01, 0.99, 30)], positive=[True, True, *[False] * 30])
    test = draw_test_groups(groups, 0.1)
    assert test[:2].tolist() == [False, True]


def test_groups_with_a_side_keep_it_and_new_ones_make_up_for_them() -> None:
    numbers = [0.5] * 10 + [0.21, 0.7, 0.8, 0.9, 0.95]
    groups = groups_of([1] * 15, numbers, test=pd.array([False] * 10 + [None] * 5, "boolean"))
    assert draw_test_groups(groups, 0.2).tolist() == [False] * 10 + [True] + [False] * 4 or (
        draw_test_groups(groups, 0.2)[:10].sum() == 0
    )
    full = groups.assign(test=pd.array([True] * 3 + [False] * 7 + [None] * 5, "boolean"), number=0.1)
    assert draw_test_groups(full, 0.2)[:10].tolist() == [True] * 3 + [False] * 7


def test_numbers_are_even_and_of_name_seed_and_draw_alone() -> None:
    names = pd.Series([f"patient_id {number}" for number in range(4000)])
    numbers = draw_numbers(names, 20, 1)
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    assert abs(counts - 400).max() < 80
    assert draw_numbers(names[::-1], 20, 1)[::-1].tolist() == numbers.tolist()
    for other in (draw_numbers(names, 21, 1), draw_numbers(names, 20, 2)):
        assert abs(np.corrcoef(numbers, other)[0, 1]) < 0.06


def test_a_groups_name_is_its_patients_else_its_studys_else_its_pixels() -> None:
    films = pd.DataFrame(
        {
            "group": ["a", "a", "b", "b", "c"],
            "patient_id": ["p2", "p1", None, None, None],
            "study_id": ["s1", None, "s3", "s2", None],
            "pixel_sha256": ["1", "2", "3", "4", "5"],
        }
    ).astype("string")
    assert stable_names(films).tolist() == ["patient_id p1", "study_id s2", "pixels 5"]
