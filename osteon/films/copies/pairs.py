"""Pairs of films that are copies of one film, with the evidence: bytes, pixels, likeness, or name and likeness."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.films.contact_sheet import draw_contact_sheet
from osteon.films.copies.alignment import Alignment, FilmStack, best_alignment
from osteon.films.copies.leaks import TABLE
from osteon.films.copies.near_copies import SURE, WITH_NAME, find_near_copies
from osteon.films.groups import connected_components, shared_names, with_first_of_its_kind
from osteon.progress import progress

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
    "inverted": "boolean",  # one is the negative of the other
    "rotation": "Float64",  # degrees, clockwise
    "scale": "Float64",
    "shift_x": "Float64",  # of the middle, share of the square's side
    "shift_y": "Float64",
}


def find_pairs(films: pd.DataFrame, stack: FilmStack, cores: int) -> pd.DataFrame:
    """All pairs that were joined, and those that were compared and nearly were.

    Bytes, pixels and a near copy's likeness decide alone. A name needs a likeness too, a lesser one: two films both
    called 1.jpg may have nothing to do with each other.

    Args:
        films: manifest columns and pixel_sha256, one row a film.
        stack: the same films' pixels.
        cores: worker threads; 0 takes one for each core.

    Returns:
        COLUMNS; a film in several copies is paired with the first of them.

    """
    same_bytes = with_first_of_its_kind(films["sha256"])
    same_pixels = with_first_of_its_kind(films["pixel_sha256"])
    near = find_near_copies(stack, np.setdiff1d(np.arange(len(films)), same_pixels[:, 1]), cores)
    joined = np.array([pair[:2] for pair in near if pair.alignment.score >= SURE], np.int64).reshape(-1, 2)
    named = _same_names(films, stack, connected_components(len(films), np.concatenate([same_pixels, joined])))
    of_bytes = {tuple(pair) for pair in same_bytes.tolist()}
    rows = [
        *((first, second, "same bytes", True) for first, second in same_bytes.tolist()),
        *((*pair, "same pixels", True) for pair in map(tuple, same_pixels.tolist()) if pair not in of_bytes),
        *(
            (first, second, "near copy", alignment.score >= SURE, *_alignment_columns(alignment))
            for first, second, alignment in near
        ),
        *(
            (
                first,
                second,
                "same name",
                alignment is not None and alignment.score >= WITH_NAME,
                *_alignment_columns(alignment),
            )
            for first, second, alignment in named
        ),
    ]
    width = len(COLUMNS)
    frame = pd.DataFrame([(*row, *(None,) * (width - len(row))) for row in rows], columns=list(COLUMNS))
    return frame.astype(COLUMNS)


def joined_rows(pairs: pd.DataFrame) -> NDArray[np.int64]:
    """The joined pairs' row numbers, n × 2, as group_films takes them."""
    return pairs.loc[pairs["joined"], ["first", "second"]].to_numpy(np.int64)


def _same_names(
    films: pd.DataFrame, stack: FilmStack, component: NDArray[np.int64]
) -> list[tuple[int, int, Alignment | None]]:
    """Films of one name that nothing has joined yet, compared with those that came before them under that name.

    None where there is too little to compare: then the name has no second sign.
    """
    names = shared_names(films)
    different: dict[str, list[int]] = {}  # name → the first film of each component under it
    for row, name in zip(np.flatnonzero(names.notna()).tolist(), names.dropna(), strict=True):
        firsts = different.setdefault(name, [])
        if component[row] not in component[firsts]:
            firsts.append(row)
    pairs = []
    ambiguous = [rows for rows in different.values() if 1 < len(rows) <= ORDINARY]
    for rows in progress(ambiguous, "same names", total=len(ambiguous)):
        for number, row in enumerate(rows[1:], 1):
            alignments = [(first, best_alignment(stack, first, row)) for first in rows[:number]]
            first, best = max(alignments, key=lambda item: -1.0 if item[1] is None else item[1].score)
            pairs.append((first, row, best))
    return pairs


def _alignment_columns(alignment: Alignment | None) -> tuple[float | bool, ...]:
    """Score, mirrored, inverted, rotation, scale and shift as COLUMNS has them; nothing where there is no alignment."""
    if alignment is None:
        return ()
    score, rotation, scale = round(alignment.score, 3), round(alignment.rotation, 1), round(alignment.scale, 3)
    x, y = alignment.shift
    return score, alignment.mirrored, alignment.inverted, rotation, scale, round(x, 3), round(y, 3)


def write_pairs(folder: Path, pairs: pd.DataFrame, films: pd.DataFrame, stack: FilmStack) -> None:
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


def _draw_least_certain(path: Path, pairs: pd.DataFrame, films: pd.DataFrame, stack: FilmStack) -> None:
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
