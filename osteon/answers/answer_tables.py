"""Answers as a table: CSV, JSON Lines or Parquet, written row by row as they come."""

import csv
import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from osteon.errors import OsteonError
from osteon.files import atomic_file

Row = Mapping[str, Any]
Write = Callable[[Row], None]

# Columns and their types, in the order of the table.
COLUMNS = {
    "unit": str,
    "name": str,
    "sha256": str,
    "study": int,
    "films": int,
    "probability": float,
    "answer": str,
    "ruled_out": bool,
    "ruled_in": bool,
    "ood_score": float,
    "ood_limit": float,
    "boxes": list,
    "warnings": list,
    "reason": str,
    "map": str,
    "model": str,
}
_ROWS = 1000  # of a group in a Parquet file


@contextmanager
def answer_table(path: Path) -> Iterator[Write]:
    """A function that takes the rows; the file is there, whole, when the block ends without an error.

    Args:
        path: .csv, .jsonl or .parquet.

    Raises:
        OsteonError: another extension.

    """
    writers = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
    if path.suffix.lower() not in writers:
        raise OsteonError(f"{path}: a table is a file {', '.join(writers)}")
    with atomic_file(path) as partial:
        writer = writers[path.suffix.lower()](partial)
        next(writer)
        try:
            yield writer.send
        finally:
            writer.close()


def _csv(path: Path) -> Generator[None, Row, None]:
    """A list as JSON in its cell; nothing where there is no value."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        while True:
            row = yield
            table.writerow([_cell(row.get(name)) for name in COLUMNS])


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return value


def _jsonl(path: Path) -> Generator[None, Row, None]:
    with path.open("w", encoding="utf-8") as file:
        while True:
            row = yield
            file.write(json.dumps({name: row.get(name) for name in COLUMNS}, ensure_ascii=False, allow_nan=False))
            file.write("\n")


def _parquet(path: Path) -> Generator[None, Row, None]:
    import pyarrow as pa
    from pyarrow import parquet

    box = pa.struct([(name, pa.float64()) for name in ("x", "y", "width", "height", "score")])
    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    lists = {"boxes": pa.list_(box), "warnings": pa.list_(pa.string())}
    schema = pa.schema([(name, lists.get(name) or types[kind]) for name, kind in COLUMNS.items()])
    with parquet.ParquetWriter(path, schema) as table:
        waiting: list[Row] = []
        try:
            while True:
                row = yield
                waiting.append({name: row.get(name) for name in COLUMNS})
                if len(waiting) >= _ROWS:
                    table.write_table(pa.Table.from_pylist(waiting, schema))
                    waiting = []
        finally:
            table.write_table(pa.Table.from_pylist(waiting, schema))


def number_or_null(value: float) -> float | None:
    """A number, or null for NaN, which JSON has not."""
    return None if math.isnan(value) else float(value)
