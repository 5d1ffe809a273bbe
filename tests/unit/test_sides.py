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
    IDENTITY,
    NEITHER_TABLE,
    Sides,
    _most_frequent,
    _regions,
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


# ---------------------------------------------------------------- what is reported


def of_group(name: str, side: str | None, draw: int = 1, **columns: object) -> dict[str, object]:
    """A row of the table of sides; each sign of the film is its name."""
    row = dict.fromkeys(COLUMNS, None) | dict.fromkeys(IDENTITY, name)
    return row | {"side": side, "draw": draw, "seed": 20, "test_share": 0.2} | columns


def table_of(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(rows)[list(COLUMNS)].astype(COLUMNS)


def films_of(*names: str, **columns: object) -> pd.DataFrame:
    """A film of each name, which is its group and all its signs."""
    films = pd.DataFrame({sign: list(names) for sign in IDENTITY}, dtype="string")
    return films.assign(group=list(names), label=0, region="wrist").assign(**columns)


def test_the_list_of_films_on_neither_side_word_by_word(tmp_path: Path) -> None:
    side = pd.Series(["neither", "test", "neither", "neither", "development"], dtype="string")
    before = pd.Series(["test", "test", None, "development", None], dtype="string")
    films = pd.DataFrame({"film_id": ["d", "e", "a", "c", "b"], "group": ["g1", "g3", "g2", "g1", "g4"], "label": 0})
    write_neither(tmp_path, films, Sides(side, before, EMPTY, 1, None))
    listed = (tmp_path / NEITHER_TABLE).read_text(encoding="utf-8")
    assert listed.split() == ["film_id,group,before", "c,g1,development", "d,g1,test", "a,g2,new"]


def test_the_report_word_by_word(caplog: pytest.LogCaptureFixture) -> None:
    count = 2500
    side = pd.Series(["neither"] * 1200 + ["test"] * 800 + ["development"] * 500, dtype="string")
    before = pd.Series(["test"] * 1400 + [None] * 1100, dtype="string")
    old = of_group("a", "test", 1, seed=7, test_share=0.4)
    table = table_of(old, of_group("b", "test", 2, seed=21), of_group("c", "test", 2))
    with caplog.at_level(logging.INFO):
        report_sides(Path("leaks"), Sides(side, before, table, 2, "why"), PARAMS)
    assert len(side) == count
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "sides: 1,400 films keep theirs, 1,100 are new"),
        (
            "WARNING",
            "1,200 films are on neither side and are left out: test films and development films turned out to be of "
            "one patient, or copies (leaks/neither.csv). If a wrong id or pair joined them, mend it, bring the table "
            "of sides back as it was (docs/data.md, Sides), and run again",
        ),
        (
            "WARNING",
            "preparation.seed is 20, and the sides were drawn with 21: they are kept, only what is new follows the "
            'new value. `osteon prepare --redraw --why "…"` draws all anew',
        ),
    ]


def test_a_first_draw_has_nothing_to_report(caplog: pytest.LogCaptureFixture) -> None:
    side, before = pd.Series(["test"], dtype="string"), pd.Series([None], dtype="string")
    with caplog.at_level(logging.INFO):
        report_sides(Path("leaks"), Sides(side, before, table_of(of_group("a", "test")), 1, None), PARAMS)
        assert caplog.messages == []
        report_sides(Path("leaks"), Sides(side, side, table_of(of_group("a", "test")), 1, None), PARAMS)
        assert caplog.messages == ["sides: 1 films keep theirs, 0 are new"]


# ---------------------------------------------------------------- the rows of the table


def test_the_rows_that_are_added_word_by_word() -> None:
    """A test film and one of development became a group; a new film stands alone; the old rows are left as they are."""
    table = table_of(of_group("b", "test"), of_group("a", "development"), of_group("d", "development"))
    films = films_of("d", "b", "a", "e", group=["g2", "g1", "g1", "g3"], label=[0, 1, 1, 1])
    sides = assign_sides(films, table, PreparationParams(seed=3, test_share=0.4))
    assert sides.side.tolist() == ["development", "neither", "neither", "test"]
    assert sides.before.fillna("new").tolist() == ["development", "test", "development", "new"]
    assert (sides.side.dtype, sides.before.dtype) == ("string", "string")
    assert (sides.draw, sides.why) == (1, None)
    joined_rows = {"why": "one group of test and development films", "seed": 3, "test_share": 0.4}
    expected = [of_group("a", "neither", **joined_rows), of_group("b", "neither", **joined_rows)]
    expected.append(of_group("e", "test", seed=3, test_share=0.4))
    pd.testing.assert_frame_equal(sides.table, pd.concat([table, table_of(*expected)], ignore_index=True))


def test_of_films_that_are_there_twice_one_row_is_added() -> None:
    films = films_of("a", "a", "b")
    sides = assign_sides(films, EMPTY, PARAMS)
    assert sides.table["film_id"].tolist() == ["a", "b"]
    assert sides.table.index.tolist() == [0, 1]


def test_a_film_that_is_its_own_witness_has_its_own_side_before_its_patients() -> None:
    """By its bytes a test film, by its patient one of development: neither, and the side it had alone is test."""
    table = table_of(of_group("a", "test"), of_group("p", "development"))
    for sign in ("sha256", "pixel_sha256"):
        film = films_of("z").assign(patient_id="p", **{sign: "a"})
        sides = assign_sides(film, table, PARAMS)
        assert (sides.side.tolist(), sides.before.tolist()) == (["neither"], ["test"])


def test_each_region_has_its_share_of_test_films() -> None:
    """Eight of 40 films are wanted of each; two more or less are near enough."""
    films = films_of(*(f"f{number:02}" for number in range(80)), region=["hip", "knee"] * 40)
    for seed in (0, 9):  # by the numbers alone 4 and 12, 5 and 11
        test = assign_sides(films, EMPTY, PreparationParams(seed=seed)).side.eq("test")
        assert test.groupby(films["region"]).sum().between(6, 10).all()


def test_films_on_neither_side_have_no_part_in_the_draw() -> None:
    """Two of ten new films are wanted, whatever became of twenty others."""
    old, new = ([f"{part}{number}" for number in range(count)] for part, count in (("o", 20), ("n", 10)))
    table = table_of(*(of_group(name, "neither") for name in old))
    alone = assign_sides(films_of(*new), table, PARAMS).side.tolist()
    assert alone.count("test") == 2
    assert assign_sides(films_of(*old, *new), table, PARAMS).side.tolist() == ["neither"] * 20 + alone


def test_new_films_are_no_test_films_where_there_are_enough() -> None:
    old, new = ([f"{part}{number}" for number in range(count)] for part, count in (("o", 20), ("n", 10)))
    table = table_of(*(of_group(name, "test") for name in old))
    assert assign_sides(films_of(*old, *new), table, PARAMS).side.tolist() == ["test"] * 20 + ["development"] * 10


def test_a_reason_before_there_is_a_table_is_that_of_the_first_draw() -> None:
    sides = assign_sides(films_of("a", "b"), EMPTY, PARAMS, redraw="a start")
    assert (sides.draw, sides.why, sides.table["draw"].tolist()) == (1, "a start", [1, 1])


def test_the_last_draw_alone_counts() -> None:
    table = table_of(of_group("a", "test"), of_group("a", "development", 2, why="w"), of_group("b", "test"))
    sides = assign_sides(films_of("a"), table, PARAMS)
    assert (sides.side.tolist(), sides.draw, sides.why) == (["development"], 2, "w")
    assert len(sides.table) == 3
    assert assign_sides(films_of("b"), table, PARAMS).before.isna().all()


def test_the_reason_is_that_of_a_draw_and_not_of_films_on_neither_side() -> None:
    table = table_of(of_group("a", "neither", 2, why="one group"), of_group("b", "test", 2, why="new scanner"))
    assert assign_sides(films_of("b"), table, PARAMS).why == "new scanner"
    assert assign_sides(films_of("b"), table_of(of_group("a", "neither", why="one group")), PARAMS).why is None
    rows = assign_sides(films_of("c"), table, PARAMS).table
    assert rows["why"].tolist() == ["one group", "new scanner", "new scanner"]


def test_an_empty_table_has_the_columns_and_their_types(tmp_path: Path) -> None:
    table = read_sides(tmp_path / "sides.parquet")
    assert len(table) == 0
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == COLUMNS


def test_columns_that_another_version_added_are_not_read_and_types_are_restored(tmp_path: Path) -> None:
    path = tmp_path / "sides.parquet"
    table = table_of(of_group("a", "neither", 3), of_group("b", "development"), of_group("c", "test"))
    table.astype({"draw": "int64"}).assign(more=1).to_parquet(path)
    pd.testing.assert_frame_equal(read_sides(path), table)


def test_the_file_has_no_index(tmp_path: Path) -> None:
    table = table_of(of_group("a", "test"), of_group("b", "test"))
    write_sides(tmp_path / "sides.parquet", table.set_index(pd.Index([5, 7], name="row")))
    assert pd.read_parquet(tmp_path / "sides.parquet").index.tolist() == [0, 1]


def test_what_is_to_do_with_a_damaged_table_word_by_word(tmp_path: Path) -> None:
    path = tmp_path / "sides.parquet"
    path.write_bytes(b"")
    with pytest.raises(OsteonError) as refusal:
        read_sides(path)
    assert str(refusal.value) == (
        f"{path}: the table of sides is damaged; bring it back with `dvc checkout --force {path}`, or from the remote "
        'with `dvc pull --force`. `osteon prepare --redraw --why "…"` draws all sides anew'
    )


# ---------------------------------------------------------------- the regions of groups


def test_a_groups_region_is_that_of_most_of_its_films_and_the_first_by_name_of_several() -> None:
    region = pd.Series(["wrist", "hip", "wrist", "knee", "hip", "ankle", "wrist"])
    group = pd.Series(["b", "b", "b", "a", "a", "c", "c"])
    assert _most_frequent(region, group).to_dict() == {"a": "hip", "b": "wrist", "c": "ankle"}


def test_regions_of_less_than_two_test_groups_are_one() -> None:
    """Ten groups are two test groups at a share of 0.2; nine are fewer, however many films they have."""
    region = ["hip"] * 10 + ["knee"] * 9 + ["knee"] * 5 + [None] * 10 + ["toe"]
    group = [*range(10), *range(10, 19), *[18] * 5, *range(20, 30), 30]
    films = pd.DataFrame({"region": pd.array(region, "string"), "group": group})
    assert _regions(films, 0.2).tolist() == ["hip"] * 10 + ["rare"] * 14 + ["unknown"] * 10 + ["rare"]


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


def evenly(count: int) -> list[float]:
    """Numbers in the middle of as many parts of 0 … 1."""
    return [(number + 0.5) / count for number in range(count)]


def drawn_rows(groups: pd.DataFrame, test_share: float) -> list[int]:
    return np.flatnonzero(draw_test_groups(groups, test_share)).tolist()


def test_a_group_as_large_as_the_test_set_is_drawn_by_its_number() -> None:
    """Two of ten films are wanted: the first group has just so many."""
    groups = groups_of([2, *[1] * 8], [0.05, *np.linspace(0.25, 0.9, 8)])
    assert drawn_rows(groups, 0.2) == [0]
    # With three of eleven it is the test set, and two others come first.
    groups = groups_of([3, *[1] * 8], [0.05, *np.linspace(0.25, 0.9, 8)])
    assert drawn_rows(groups, 0.2) == [1, 2]


def test_a_number_just_at_the_share_is_not_below_it() -> None:
    """4.5 of 18 groups are wanted, so that four and five are as near."""
    for at, expected in ((0.25, 4), (np.nextafter(0.25, 0), 5)):
        numbers = [0.01, 0.02, 0.03, 0.04, at, *np.linspace(0.3, 0.9, 13)]
        assert drawn_rows(groups_of([1] * 18, numbers), 0.25) == list(range(expected))


def test_where_one_group_has_most_films_small_ones_become_at_most_twice_their_share_of_groups() -> None:
    """The share of all films would be 10, and 22; the small groups are 20, and 10."""
    groups = groups_of([30, *[1] * 20], [0.01, *evenly(20)])
    assert drawn_rows(groups, 0.2) == list(range(1, 9))  # 0.4 of 21 groups
    groups = groups_of([100, *[1] * 10], [0.01, *np.linspace(0.19, 0.1, 10)])
    assert drawn_rows(groups, 0.2) == [7, 8, 9, 10]  # 0.4 of 11 groups, the lowest numbers of all that are below
    assert drawn_rows(groups_of([1, 1, 10], [0.1, 0.15, 0.05]), 0.2) == [0]


def test_one_group_may_be_drawn_where_twice_the_share_of_groups_is_less() -> None:
    groups = groups_of([1, 1, 1, 10], [0.5, 0.01, 0.02, 0.05])
    groups["test"] = pd.array([True, None, None, None], "boolean")
    assert drawn_rows(groups, 0.1) == [0, 1]


def test_what_is_new_makes_up_for_test_films_that_are_too_many_but_keeps_half_of_its_share() -> None:
    """50 of 100 films are test films: of 100 new ones not −10 but 10 less one film, those of the lowest numbers."""
    groups = groups_of([1] * 200, [*[0.5] * 100, *evenly(100)])
    groups["test"] = pd.array([True] * 50 + [False] * 50 + [None] * 100, "boolean")
    assert drawn_rows(groups, 0.2) == [*range(50), *range(100, 109)]


def test_what_is_new_makes_up_for_missing_test_films_but_with_twice_its_share_of_films_at_most() -> None:
    """25 of 126 films are missing; of 26 new ones not 25 but 10.4 and a group's 1.1 are wanted: 5 + 5 + 1 it is."""
    sizes = [*[1] * 100, *[5] * 4, *[1] * 6]
    groups = groups_of(sizes, [*[0.5] * 100, *np.linspace(0.3, 0.9, 10)])
    groups["test"] = pd.array([False] * 100 + [None] * 10, "boolean")
    assert drawn_rows(groups, 0.2) == [100, 101, 104]


def test_kept_test_films_count_towards_the_share() -> None:
    """Of 30 films 6 are wanted and 3 are there: 3 of 10 new ones."""
    groups = groups_of([1] * 30, [*[0.5] * 20, *evenly(10)])
    groups["test"] = pd.array([True] * 3 + [False] * 17 + [None] * 10, "boolean")
    assert drawn_rows(groups, 0.2) == [0, 1, 2, 20, 21, 22]


def test_a_group_that_would_overshoot_as_far_as_the_rest_falls_short_is_passed_over() -> None:
    """One film is missing; the next group has two."""
    groups = groups_of([1, 1, 1, 2, *[1] * 15], [0.01, 0.02, 0.03, *np.linspace(0.3, 0.9, 16)])
    assert drawn_rows(groups, 0.2) == [0, 1, 2, 4]
    # One too many, and the test group nearest to the share has two.
    groups = groups_of([1, 1, 1, 2, *[1] * 15], [0.01, 0.02, 0.03, 0.04, *np.linspace(0.3, 0.9, 15)])
    assert drawn_rows(groups, 0.2) == [0, 1, 3]


@pytest.mark.parametrize(("hips", "wrists", "expected"), [(10, 6, (10, 6)), (11, 5, (10, 6)), (6, 10, (6, 10))])
@pytest.mark.parametrize("positive", [True, False])
def test_a_region_may_be_a_quarter_off_where_its_label_is_right(
    hips: int, wrists: int, expected: tuple[int, int], positive: bool
) -> None:
    """Eight of 40 groups of each region are wanted; of the other label, 4 of 20 of each."""
    numbers = [*[0.1] * hips, *[0.6] * (40 - hips), *[0.1] * wrists, *[0.6] * (40 - wrists), *[0.1] * 8, *[0.6] * 32]
    groups = groups_of([1] * 120, [number + row / 1000 for row, number in enumerate(numbers)])
    groups["region"] = ["hip"] * 40 + ["wrist"] * 40 + ["hip", "wrist"] * 20
    groups["positive"] = [positive] * 80 + [not positive] * 40
    test = draw_test_groups(groups, 0.2)
    assert test.groupby([groups["positive"], groups["region"]]).sum().to_dict() == {
        (positive, "hip"): expected[0],
        (positive, "wrist"): expected[1],
        (not positive, "hip"): 4,
        (not positive, "wrist"): 4,
    }


def test_each_of_three_regions_is_looked_at_by_itself() -> None:
    numbers = [*[0.1] * 11, *[0.6] * 29, *[0.1] * 5, *[0.6] * 35, *[0.1] * 8, *[0.6] * 32]
    groups = groups_of([1] * 120, [number + row / 1000 for row, number in enumerate(numbers)])
    test = draw_test_groups(groups.assign(region=["hip"] * 40 + ["knee"] * 40 + ["wrist"] * 40), 0.2)
    assert [test[part : part + 40].sum() for part in (0, 40, 80)] == [10, 6, 8]


def test_half_a_group_too_much_is_near_enough() -> None:
    """4.2 of 21 films are wanted; a group has 1.9. Five films are 0.8 too many, though a group of one is among them."""
    groups = groups_of([2, 2, 1, *[2] * 8], [0.01, 0.02, 0.03, *np.linspace(0.3, 0.9, 8)])
    assert drawn_rows(groups, 0.2) == [0, 1, 2]


def test_a_label_is_off_by_a_twentieth_at_most_over_all_regions() -> None:
    """Ten of eight in either region is near enough, 20 of 16 is not: those of the highest numbers change over."""
    numbers = [*np.linspace(0.10, 0.19, 10), *[0.6] * 30, *np.linspace(0.05, 0.14, 10), *[0.7] * 30]
    groups = groups_of([1] * 80, numbers, region=["hip"] * 40 + ["wrist"] * 40)
    assert drawn_rows(groups, 0.2) == [*range(6), *range(40, 50)]


def test_a_label_whose_groups_all_have_a_side_gets_no_test_group_and_takes_none() -> None:
    groups = groups_of([1] * 12, [0.01, 0.02, *evenly(10)], positive=[True, True, *[False] * 10])
    groups["test"] = pd.array([False, False, *[None] * 10], "boolean")
    assert drawn_rows(groups, 0.2) == [2, 3]


def test_a_label_that_has_a_test_group_needs_no_other() -> None:
    groups = groups_of([1] * 3, [0.5, 0.9, 0.95])
    groups["test"] = pd.array([True, None, None], "boolean")
    assert drawn_rows(groups, 0.1) == [0]


def test_the_result_is_on_the_groups_index() -> None:
    groups = groups_of([1] * 5, evenly(5)).set_index(pd.Index(list("edcba"), name="group"))
    test = draw_test_groups(groups, 0.2)
    pd.testing.assert_series_equal(test, pd.Series([True, *[False] * 4], groups.index))


def test_numbers_are_even_and_of_name_seed_and_draw_alone() -> None:
    names = pd.Series([f"patient_id {number}" for number in range(4000)])
    numbers = draw_numbers(names, 20, 1)
    counts, _ = np.histogram(numbers, bins=10, range=(0, 1))
    assert abs(counts - 400).max() < 80
    assert draw_numbers(names[::-1], 20, 1)[::-1].tolist() == numbers.tolist()
    assert draw_numbers(pd.Series(["a", "b"]), 20, 1).tolist() == pytest.approx([0.0773686, 0.4617756], abs=1e-7)
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
