"""Pairs of films that are copies of one film, with the evidence: bytes, pixels, likeness, or name and likeness."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from osteon.films.copies.leaks import TABLE
from osteon.films.copies.near_copies import SURE, WITH_NAME, FilmStack, Overlay, compare, find_near_copies
from osteon.films.groups import components, shared_names, with_first_of_its_kind
from osteon.progress import progress

if TYPE_CHECKING:
    import pandas as pd

PICTURE = "least_certain.png"
SHOWN = 20  # pairs on the picture
ORDINARY = 8  # a name of more films than that, all of them different, is no name

COLUMNS = {
    "first": "Int64",  # row numbers
    "second": "Int64",
    "sign": "string",  # same bytes, same pixels, near copy or same name
    "joined": "boolean",
    "score": "Float64",  # 0 … 1, how alike; null for a sign that needs none
    "mirrored": "boolean",  # how the first lies on the second, in this order
    "rotation": "Float64",  # degrees, clockwise
    "scale": "Float64",
    "shift_x": "Float64",  # of the middle, share of the square's side
    "shift_y": "Float64",
}


def find_pairs(films: "pd.DataFrame", stack: FilmStack, cores: int) -> "pd.DataFrame":
    """All pairs that were joined, and those that were looked at and nearly were.

    Bytes, pixels and a near copy's likeness decide alone. A name needs a likeness too, a lesser one: two films both
    called 1.jpg may have nothing to do with each other.

    Args:
        films: manifest columns and pixel_sha256, one row a film.
        stack: the same films' pixels.
        cores: worker threads; 0 takes one for each core.

    Returns:
        COLUMNS; a film in several copies is paired with the first of them.

    """
    import pandas as pd

    same_bytes = with_first_of_its_kind(films["sha256"])
    same_pixels = with_first_of_its_kind(films["pixel_sha256"])
    near = find_near_copies(stack, np.setdiff1d(np.arange(len(films)), same_pixels[:, 1]), cores)
    joined = np.array([(one.first, one.second) for one in near if one.overlay.score >= SURE], np.int64).reshape(-1, 2)
    named = _same_names(films, stack, components(len(films), np.concatenate([same_pixels, joined])))
    of_bytes = {tuple(pair) for pair in same_bytes.tolist()}
    rows = [
        *((first, second, "same bytes", True) for first, second in same_bytes.tolist()),
        *((*pair, "same pixels", True) for pair in map(tuple, same_pixels.tolist()) if pair not in of_bytes),
        *((one.first, one.second, "near copy", one.overlay.score >= SURE, *_told(one.overlay)) for one in near),
        *(
            (first, second, "same name", laid is not None and laid.score >= WITH_NAME, *_told(laid))
            for first, second, laid in named
        ),
    ]
    width = len(COLUMNS)
    frame = pd.DataFrame([(*row, *(None,) * (width - len(row))) for row in rows], columns=list(COLUMNS))
    return frame.astype(COLUMNS)


def joined_rows(pairs: "pd.DataFrame") -> NDArray[np.int64]:
    """The joined pairs' row numbers, n × 2, as group_films takes them."""
    return pairs.loc[pairs["joined"], ["first", "second"]].to_numpy(np.int64)


def _same_names(
    films: "pd.DataFrame", stack: FilmStack, component: NDArray[np.int64]
) -> list[tuple[int, int, Overlay | None]]:
    """Films of one name that nothing has joined yet, compared with those that came before them under that name.

    None where there is too little to compare: then the name has no second sign.
    """
    names = shared_names(films)
    different: dict[str, list[int]] = {}  # name → the first film of each component under it
    for row, name in zip(np.flatnonzero(names.notna()).tolist(), names.dropna(), strict=True):
        firsts = different.setdefault(name, [])
        if component[row] not in component[firsts]:
            firsts.append(row)
    found = []
    asked = [rows for rows in different.values() if 1 < len(rows) <= ORDINARY]
    for rows in progress(asked, "same names", total=len(asked)):
        for number, row in enumerate(rows[1:], 1):
            laid = [(first, compare(stack, first, row)) for first in rows[:number]]
            first, best = max(laid, key=lambda one: -1.0 if one[1] is None else one[1].score)
            found.append((first, row, best))
    return found


def _told(laid: Overlay | None) -> tuple[float | bool, ...]:
    if laid is None:
        return ()
    x, y = laid.shift
    return round(laid.score, 3), laid.mirrored, round(laid.rotation, 1), round(laid.scale, 3), round(x, 3), round(y, 3)


def write_pairs(folder: Path, pairs: "pd.DataFrame", films: "pd.DataFrame", stack: FilmStack) -> None:
    """Write the table, with film ids and labels, and the picture of the pairs that were hardest to judge, if any.

    Args:
        folder: to write into.
        pairs: of find_pairs.
        films: the films that the pairs speak of: film_id, label.
        stack: their pixels.

    """
    table = pairs.drop(columns=["first", "second"])
    for place, side in enumerate(("first", "second")):
        table.insert(place, side, films["film_id"].iloc[pairs[side]].to_numpy())
        table[f"{side}_label"] = films["label"].iloc[pairs[side]].to_numpy()
    table.to_csv(folder / TABLE, index=False, lineterminator="\n")
    _draw_least_certain(folder / PICTURE, pairs, films, stack)


def _draw_least_certain(path: Path, pairs: "pd.DataFrame", films: "pd.DataFrame", stack: FilmStack) -> None:
    from osteon.films.contact_sheet import draw_contact_sheet

    doubt = (pairs["score"] - SURE).abs().where(pairs["sign"] == "near copy", (pairs["score"] - WITH_NAME).abs())
    shown = pairs.loc[doubt.dropna().sort_values(kind="stable").index[:SHOWN]]
    if shown.empty:
        return
    squares, captions = [], []
    for first, second, sign, joined, score in shown[["first", "second", "sign", "joined", "score"]].itertuples(
        index=False
    ):
        squares += [stack.read(int(first)), stack.read(int(second))]
        captions += [
            f"{'JOINED' if joined else 'apart'} {score:.2f} {sign}: {films['film_id'].iloc[int(first)]}",
            str(films["film_id"].iloc[int(second)]),
        ]
    draw_contact_sheet(path, squares, captions, [[]] * len(squares), columns=4, side=256)
