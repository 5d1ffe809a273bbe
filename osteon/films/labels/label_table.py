"""A table of labels as spreadsheets and people write it: bytes → a frame, and what was found.

Encoding, separator and the header's line are found, not given. What cannot be read is an error that names the file,
the line and what was expected; a table is never repaired.
"""

import contextlib
import csv
import difflib
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.labels.table_encoding import Decoded, decoded
from osteon.folding import folded

log = logging.getLogger(__name__)

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
LONGEST_NAME = 60  # of a column, characters; what is longer is a text
HEADER_WITHIN = 20  # lines with text; titles and comments may stand above the header
_NO_TEXT = (
    (b"PK\x03\x04", "a workbook (.xlsx, .ods) or another zip"),
    (b"\xd0\xcf\x11\xe0", "a workbook of an old Excel (.xls)"),
    (b"PAR1", "a parquet file"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip"),
    (b"SQLite format 3", "a database"),
)
_END = "\0"  # a line after the last: it is one only if no quote is left open


class LabelTable(NamedTuple):
    """A table as it was read.

    Attributes:
        path: the file.
        rows: its cells as text, null where empty. The index is the line of the file in which a row begins, from 1. A
            column that was asked for has the name by which it was asked for, every other the name it has in the file.
        encoding: a name that Python knows.
        separator: one character.

    """

    path: Path
    rows: pd.DataFrame
    encoding: str
    separator: str


def read_table(
    path: Path, needed: Sequence[str], optional: Sequence[str] = (), known_words: Iterable[str] = ()
) -> LabelTable:
    """Read a table whose header has all the needed columns.

    Names of columns are compared without case, outer spaces and Unicode's form. A row shorter than the header has nulls
    in its last columns, unless a needed one is among them. Empty lines are skipped.

    Args:
        path: the file, in Unicode or a code page, separated by comma, semicolon, tab or pipe.
        needed: columns without which the table is of no use.
        optional: columns that get these names too, if they are there.
        known_words: words that the table may hold (names of films, words of classes). Where the encoding is not
            certain, the one in which most of them are found is taken.

    Raises:
        OsteonError: missing, no text, without a needed column, or with a row that does not fit the header.

    """
    text, encoding, certain = _text_of(path, {*needed, *optional, *known_words})
    first_line, separator = 1, None
    declared = re.match(r"sep=(.)[ \t]*(?:\r\n|\r|\n)", text, re.IGNORECASE)  # Excel's own
    if declared:
        text, first_line, separator = text[declared.end() :], 2, declared[1]
    if not text.strip():
        raise OsteonError(f"{path}: not a table: it is empty; expected a header with {', '.join(needed)}")
    separators = [separator] if separator else _likely_separators(text)
    headers = [_header(text, sign, needed) for sign in separators]
    header, separator = max(
        zip(headers, separators, strict=True), key=lambda pair: (pair[0].fitting, len(pair[0].names))
    )
    places = _places(path, header.names, needed, optional)
    lines, rows = [], []
    width = max((places[name] for name in needed), default=0) + 1
    for line, cells in _rows(path, text, separator):
        if line <= header.line or not any(cells):
            continue
        if any(cells[len(header.names) :]) or len(cells) < width:
            raise OsteonError(
                f"{path}, line {line + first_line - 1}: {len(cells)} values where the header (line "
                f"{header.line + first_line - 1}) has {len(header.names)} columns, separated by "
                f"{_name_of(separator)}; quote a value that holds the separator"
            )
        lines.append(line + first_line - 1)
        rows.append([*cells, *[""] * (len(header.names) - len(cells))][: len(header.names)])
    frame = pd.DataFrame(rows, columns=range(len(header.names)), index=pd.Index(lines, name="line"), dtype="string")
    frame = frame.replace("", pd.NA)
    names = _unique_names(header.names, {place: name for name, place in places.items()})
    frame.columns = pd.Index(names)
    unnamed = [name for name, given in zip(names, header.names, strict=True) if not given]
    frame = frame.drop(columns=[name for name in unnamed if frame[name].isna().all()])
    where = f", header in line {header.line + first_line - 1}" if header.line + first_line > 2 else ""
    log.info(
        "%s: %s%s, separated by %s%s; %d rows; columns %s",
        *(path, encoding, "" if certain else " (a guess: if letters are wrong, save it as UTF-8)"),
        *(_name_of(separator), where, len(frame), ", ".join(frame.columns)),
    )
    return LabelTable(path, frame, encoding, separator)


def column_named(columns: Iterable[str], name: str) -> str | None:
    """The column with that name; without case, outer spaces and Unicode's form where none has it exactly.

    Raises:
        ValueError: several are called so.

    """
    names = list(columns)
    fitting = [column for column in names if column == name] or [c for c in names if folded(c) == folded(name)]
    if len(fitting) > 1:
        raise ValueError(f"{len(fitting)} columns are called {name}")
    return fitting[0] if fitting else None


class _Header(NamedTuple):
    line: int
    names: list[str]
    fitting: int  # how many of the needed columns it has


def _header(text: str, separator: str, needed: Sequence[str]) -> _Header:
    """The first row that has all needed columns, else the first of those that have most of them."""
    wanted = {folded(name) for name in needed}
    best: _Header | None = None
    with contextlib.suppress(csv.Error):  # a quote that is never closed; _rows says so
        for number, (line, cells) in enumerate(row for row in _cells(text, separator) if any(row[1])):
            while cells and not cells[-1]:
                cells.pop()
            fitting = len(wanted & {folded(cell) for cell in cells})
            if best is None or fitting > best.fitting:
                best = _Header(line, cells, fitting)
            if fitting == len(wanted) or number + 1 == HEADER_WITHIN:
                break
    return best or _Header(1, [], 0)


def _places(path: Path, header: list[str], needed: Sequence[str], optional: Sequence[str]) -> dict[str, int]:
    """Where each column stands that was asked for and is there."""
    places = {}
    for name in (*needed, *optional):
        try:
            column = column_named(header, name)
        except ValueError as error:
            raise OsteonError(f"{path}: {error}; rename all but one") from None
        if column is not None:
            places[name] = header.index(column)
    missing = [name for name in needed if name not in places]
    if missing:
        names = ", ".join(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]} …" for name in header[:30])
        raise OsteonError(f"{path}: no column {', '.join(missing)}; it has {names}{_nearest(missing, header)}")
    return places


def _nearest(missing: list[str], header: list[str]) -> str:
    """What may be meant by the missing columns."""
    free = {folded(name): name for name in header if 0 < len(name) <= LONGEST_NAME}
    nearest = {name: difflib.get_close_matches(folded(name), free, n=1, cutoff=0.5) for name in missing}
    meant = [f"{free[close[0]]!r} for {name!r}" for name, close in nearest.items() if close]
    return f". Perhaps {', '.join(meant)}: rename it, or, in a label file, name it in data.columns" if meant else ""


def _unique_names(header: list[str], requested: dict[int, str]) -> list[str]:
    names: list[str] = []
    for place, given in enumerate(header):
        name = requested.get(place) or given or f"column {place + 1}"
        number = 2
        while place not in requested and (name in names or name in requested.values()):
            name, number = f"{given} ({number})", number + 1
        names.append(name)
    return names


def _rows(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows with the line in which each begins, checked for a quote that is left open."""
    last: tuple[int, list[str]] | None = None
    end = "" if text.endswith(("\n", "\r")) else "\n"
    try:
        for row in _cells(f"{text}{end}{_END}\n", separator):
            if last is not None:
                yield last
            last = row
    except csv.Error as error:
        raise OsteonError(f"{path}, line {last[0] + 1 if last else 1}: {error}") from None
    if last is None or last[1] != [_END]:
        raise OsteonError(f'{path}, line {last[0] if last else 1}: a quote (") is opened and never closed')


def _cells(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    line = 1
    for row in reader:
        yield line, [cell.strip() for cell in row]
        line = reader.line_num + 1


def _likely_separators(text: str) -> list[str]:
    """The usual ones, and first what the text looks like."""
    try:
        guess = [csv.Sniffer().sniff(text[:10_000], "".join(SEPARATORS)).delimiter]
    except csv.Error:
        guess = []
    return [*guess, *(sign for sign in SEPARATORS if sign not in guess)]


def _name_of(separator: str) -> str:
    return SEPARATORS.get(separator, repr(separator))


def _text_of(path: Path, known_words: Iterable[str]) -> Decoded:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise OsteonError(f"{path}: no such file; the layout needs it") from None
    except OSError as error:
        raise OsteonError(f"{path}: cannot be read: {error.strerror}") from None
    for beginning, kind in _NO_TEXT:
        if data.startswith(beginning):
            raise OsteonError(f"{path}: not a table of text but {kind}; open it and save it as CSV (UTF-8)")
    read = decoded(data, known_words)
    if read is None or "\0" in read.text:
        raise OsteonError(f"{path}: not a table: it is no text in any encoding known; save it as CSV (UTF-8)")
    if re.match(r"\s*<(!doctype|html|table|\?xml)", read.text, re.IGNORECASE):
        raise OsteonError(f"{path}: not a table of text but a page of HTML or XML; open it and save it as CSV (UTF-8)")
    return read
