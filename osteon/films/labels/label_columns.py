"""Which columns of a table name films and labels, where nobody has said so."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import NamedTuple

from osteon.films.class_words import meaning_of
from osteon.films.labels.label_table import read_table
from osteon.folding import folded

LABELS = 4  # different words in a column of labels at most: yes, no, and a few for not sure
_CALLED = re.compile(r"fract|frakt|bruch|kırık|kirik|label|class|diagnos|finding|target|outcome")


class LabelColumns(NamedTuple):
    """The columns of films and of labels in one table."""

    table: Path
    film: str
    label: str


def label_columns(table: Path, films: Iterable[PurePath]) -> LabelColumns | None:
    """The columns that most likely name films and labels; None if the table has no such pair.

    A column names films if more than half of its cells do. A column has labels if it has few words and some of them
    mean fractured and others not fractured; of several, the one that is called so.

    Raises:
        OsteonError: as read_table.

    """
    rows = read_table(table, ()).rows
    names = {folded(name) for film in films for name in (film.name, film.stem)}
    cells = {str(column): [str(cell) for cell in rows[column].dropna()] for column in rows}
    shares = {column: _named(texts, names) / max(len(rows), 1) for column, texts in cells.items()}
    film = max(shares, key=lambda column: shares[column], default="")
    labels = [column for column, texts in cells.items() if column != film and _tells_labels(set(texts))]
    called = [column for column in labels if _CALLED.search(folded(column))] or labels
    if shares.get(film, 0) <= 0.5 or len(called) != 1:
        return None
    return LabelColumns(table, film, called[0])


def _named(cells: list[str], names: set[str]) -> int:
    """How many cells name a film, by its file's name with or without extension."""
    texts = [folded(PurePath(cell.replace("\\", "/")).name) for cell in cells]
    return sum(text in names or PurePath(text).stem in names for text in texts)


def _tells_labels(words: set[str]) -> bool:
    return len(words) <= LABELS and {meaning_of(word).label for word in words} >= {0, 1}
