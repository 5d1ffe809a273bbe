"""The table of sides: which films are test films and which are for development, kept from one run to the next.

`prepare` only adds to it. A film is recognised by its bytes, pixels, patient or study, and by its id as the last: so no
other film, parameter or file name moves it to the other side. Where films of both sides turn out to be one group, the
group is on neither side from then on.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from components.preparation.draw import draw_numbers, draw_test_groups, stable_names
from osteon.errors import OsteonError
from osteon.films.manifest import typed_frame
from osteon.params import PreparationParams
from osteon.remotes.lost_outputs import command_for_lost

log = logging.getLogger(__name__)

TEST, DEVELOPMENT, NEITHER = "test", "development", "neither"
NEITHER_TABLE = "neither.csv"
_BITS = {TEST: 1, DEVELOPMENT: 2, NEITHER: 4}
# Of films with these bits together; both sides make neither, and neither stays.
_SIDE_OF = {1: TEST, 2: DEVELOPMENT, **dict.fromkeys(range(3, 8), NEITHER)}
IDENTITY = ("film_id", "sha256", "pixel_sha256", "patient_id", "study_id")  # by which a film is recognised
COLUMNS = {
    **dict.fromkeys(IDENTITY, "string"),
    "side": "string",
    "why": "string",  # the reason of a redraw, or the films that brought a film to neither side; null: the first draw
    "draw": "Int32",  # 1 the first, 2 the first redraw, …; the last one counts
    "seed": "Int64",  # of the draw
    "test_share": "Float64",
}


class Sides(NamedTuple):
    """The side of each film, the side that it alone had before (null: none), and the table with what is new.

    Both are strings on the films' index. draw, why: which draw the sides are of; why is null for the first.
    """

    side: "pd.Series[str]"
    before: "pd.Series[str]"
    table: pd.DataFrame
    draw: int
    why: str | None


def read_sides(path: Path) -> pd.DataFrame:
    """The table of an earlier run; without rows where there is none.

    Raises:
        OsteonError: it cannot be read. To go on without it would draw anew.

    """
    if not path.exists():
        return typed_frame([], COLUMNS)
    try:
        table = pd.read_parquet(path)[list(COLUMNS)].astype(COLUMNS)
        damaged = not (table["side"].isin(list(_BITS)).all() and table["draw"].ge(1).all())
    except (OSError, ValueError, KeyError):
        damaged = True
    if damaged:
        raise OsteonError(
            f"{path}: the table of sides is damaged; bring it back with `dvc checkout --force {path}`, or from the "
            'remote with `dvc pull --force`. `osteon prepare --redraw --why "…"` draws all sides anew'
        )
    return table


def refuse_lost_sides(path: Path) -> None:
    """Stop where there is no table and DVC has the one of an earlier run: without it the sides would be drawn anew.

    Raises:
        OsteonError: it has; or its remote, which may have it, does not answer.

    """
    anew = 'To draw all sides anew: `osteon prepare --redraw --why "…"`'
    try:
        command = command_for_lost(path)
    except OsteonError as error:
        raise OsteonError(
            f"{path}: the table of sides is gone, which says what the test films are, and whether it can be brought "
            f"back is not known: {error}. {anew}"
        ) from None
    if command:
        raise OsteonError(
            f"{path}: the table of sides is gone, and an earlier run had it. Without it test films may become training "
            f"films. `{command}` brings it back. {anew}"
        )


def write_sides(path: Path, table: pd.DataFrame) -> None:
    """Write the table; the same rows give the same bytes."""
    table.to_parquet(path, index=False)


def assign_sides(films: pd.DataFrame, table: pd.DataFrame, params: PreparationParams, redraw: str = "") -> Sides:
    """The side of every film: the one it has in the table, or a new one.

    Args:
        films: columns film_id, sha256, pixel_sha256, patient_id, study_id, group, label and region.
        table: of read_sides.
        params: test_share, and the seed of the draw.
        redraw: why all sides are drawn anew; empty: they are kept.

    """
    draw = int(table["draw"].max()) if len(table) else 0
    valid = table[table["draw"] == draw]
    if redraw or not draw:
        draw, valid = draw + 1, valid.iloc[:0]
    why = redraw or next(iter(valid.loc[valid["side"] != NEITHER, "why"].dropna()), None)

    before, side = (bits.map(_SIDE_OF).astype("string") for bits in _kept_bits(films, valid))
    drawn = _drawn_tests(films[side.ne(NEITHER).fillna(True)], side, params, draw)
    side = side.fillna(drawn.map({True: TEST, False: DEVELOPMENT}).astype("string"))
    rows = films[list(IDENTITY)].assign(side=side, why=why, draw=draw, seed=params.seed, test_share=params.test_share)
    rows.loc[side == NEITHER, "why"] = "one group of test and development films"
    return Sides(side, before, _added(table, rows), draw, why)


def _kept_bits(films: pd.DataFrame, table: pd.DataFrame) -> tuple["pd.Series[int]", "pd.Series[int]"]:
    """The sides that each film and each film's group has in the table, as _BITS; 0 where nothing is recognised."""
    bits = table["side"].map(_BITS).astype(np.int64)

    def recognised(sign: str) -> "pd.Series[int]":
        known = bits.groupby(table[sign]).agg(np.bitwise_or.reduce)
        return films[sign].map(known).fillna(0).astype(np.int64)

    def of_group(of_film: "pd.Series[int]") -> "pd.Series[int]":
        return films["group"].map(of_film.groupby(films["group"]).agg(np.bitwise_or.reduce)).astype(np.int64)

    itself = recognised("sha256") | recognised("pixel_sha256")
    film = itself | recognised("patient_id") | recognised("study_id")
    # Another film may lie under an old name: a name decides only where nothing else in the group does.
    film = film.where(of_group(film) > 0, recognised("film_id"))
    return itself.where(itself > 0, film), of_group(film)


def _drawn_tests(
    films: pd.DataFrame, side: "pd.Series[str]", params: PreparationParams, draw: int
) -> "pd.Series[bool]":
    """Whether each film is a test film; those with a side keep it."""
    of_group = films.groupby("group")
    groups = pd.DataFrame(
        {
            "films": of_group.size(),
            "positive": of_group["label"].max().eq(1).astype(bool),
            "region": _most_frequent(_regions(films, params.test_share), films["group"]),
            "test": side[films.index].eq(TEST).groupby(films["group"]).first(),
            "number": 0.0,
        }
    )
    groups["number"] = draw_numbers(stable_names(films)[groups.index], params.seed, draw)
    return films["group"].map(draw_test_groups(groups, params.test_share))


def _regions(films: pd.DataFrame, test_share: float) -> "pd.Series[str]":
    """The films' regions; those of so few groups that less than two would be test groups are one together."""
    region = films["region"].fillna("unknown").astype(str)
    rare = films.groupby(region)["group"].transform("nunique") * test_share < 2
    return region.mask(rare, "rare")


def _most_frequent(region: "pd.Series[str]", group: "pd.Series[str]") -> "pd.Series[str]":
    """The region of most films of each group; of several the first by name."""
    counts = pd.DataFrame({"group": group, "region": region}).value_counts().reset_index(name="films")
    counts = counts.sort_values(["films", "region"], ascending=[False, True])
    return counts.drop_duplicates("group").set_index("group")["region"]


def _added(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The table with the rows that are not in it yet, in the order of their films' ids."""
    keys = [*IDENTITY, "side", "draw"]
    old, new = (pd.MultiIndex.from_frame(part[keys].astype("string").fillna("")) for part in (table, rows))
    fresh = rows[~new.isin(old)].drop_duplicates(keys).sort_values(keys)
    return pd.concat([table, fresh.astype(COLUMNS)[list(COLUMNS)]], ignore_index=True)


def write_neither(folder: Path, films: pd.DataFrame, sides: Sides) -> None:
    """Write the films that are on neither side, with the side that each had before, as NEITHER_TABLE.

    Args:
        folder: of the report.
        films: columns film_id and group.
        sides: of assign_sides.

    """
    neither = films[["film_id", "group"]].assign(before=sides.before.fillna("new"))[sides.side == NEITHER]
    neither.sort_values(["group", "film_id"]).to_csv(folder / NEITHER_TABLE, index=False)


def report_sides(folder: Path, sides: Sides, params: PreparationParams) -> None:
    """Say what became of the kept sides.

    Args:
        folder: that has NEITHER_TABLE.
        sides: of assign_sides.
        params: whose share and seed new groups are drawn with.

    """
    known, new = int(sides.before.notna().sum()), int(sides.before.isna().sum())
    if known:
        log.info("sides: %s films keep theirs, %s are new", f"{known:,}", f"{new:,}")
    if neither := int(sides.side.eq(NEITHER).sum()):
        log.warning(
            "%s films are on neither side and are left out: test films and development films turned out to be of one "
            "patient, or copies (%s). If a wrong id or pair joined them, mend it, bring the table of sides back as it "
            "was (docs/data.md, Sides), and run again",
            f"{neither:,}",
            folder / NEITHER_TABLE,
        )
    drawn = sides.table[sides.table["draw"] == sides.draw].iloc[0]
    for key in ("seed", "test_share"):
        if drawn[key] != getattr(params, key):
            log.warning(
                "preparation.%s is %s, and the sides were drawn with %s: they are kept, only what is new follows the "
                'new value. `osteon prepare --redraw --why "…"` draws all anew',
                key,
                getattr(params, key),
                drawn[key],
            )
