"""The manifest: one row a film, the record that travels from the source folder to the answer."""

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from osteon.errors import OsteonError
from osteon.files import atomic_file
from osteon.films.left_out import LeftOut

Box = tuple[float, float, float, float]

# Column → pandas type. Every column is there in every manifest; what a set does not say is null.
COLUMNS = {
    "film_id": "string",  # unique in the set
    "path": "string",  # below the source folder, with '/'
    "sha256": "string",  # of the file
    "md5": "string",  # of the file, by which DVC knows it
    "label": "Int8",  # 1 the finding is there, 0 it is not
    "finding": "string",  # what label 1 means: 'fractured', or 'abnormal'
    "fracture_type": "string",  # transverse, oblique, …
    "region": "string",  # wrist, elbow, …
    "view": "string",  # frontal, lateral, …
    "patient_id": "string",  # a keyed hash of the source's, or a pseudonym (osteon/films/identity.py)
    "study_id": "string",
    "patient_source": "string",  # how the patient is known (osteon/films/known_patients.py); null: unknown
    "study_source": "string",
    "hardware": "boolean",  # metal in the film
    "boxes": "string",  # JSON [[x, y, width, height], …], pixels of the film as it is shown (EXIF orientation applied)
    "pixel_spacing": "string",  # JSON [row, column], mm from one pixel's centre to the next, of DICOM only
    "width": "Int32",  # as the file's header says, before EXIF turns the film
    "height": "Int32",
    "mode": "string",  # pixel format as the file says it
    "depth": "Int8",  # bits of the set's pictures of 16 bits that do not say theirs; null for other films
    "source": "string",  # name of the folder the film came from
    "given_split": "string",  # train, val or test, where the set comes split
    "doubt": "string",  # why the layout itself does not trust the row
}

LEFT_OUT = b"osteon.left_out"  # key of the file's metadata
PART = 4096  # rows that are turned into columns, written or read together

# What a layout may tell, beside path; the rest is what ingest finds in the files.
LAYOUT_COLUMNS = frozenset(COLUMNS) - {"sha256", "md5", "width", "height", "mode", "depth", "source", "pixel_spacing"}
LAYOUT_COLUMNS |= {"patient_pseudonym", "study_pseudonym"}


def as_manifest(rows: pd.DataFrame) -> pd.DataFrame:
    """Give a frame the manifest's columns, order and types; what is missing becomes null.

    Raises:
        OsteonError: a column the manifest does not know, or a value of the wrong type.

    """
    unknown = sorted(set(rows.columns) - set(COLUMNS))
    if unknown:
        raise OsteonError(f"the manifest has no column {', '.join(unknown)}; it has {', '.join(COLUMNS)}")
    typed = {}
    for column, kind in COLUMNS.items():
        values = rows[column] if column in rows else pd.Series(pd.NA, index=rows.index)
        try:
            typed[column] = values.astype(kind)  # type: ignore[call-overload]
        except (TypeError, ValueError) as error:
            raise OsteonError(f"manifest column {column} must be {kind}: {error}") from None
    return pd.DataFrame(typed).reset_index(drop=True)


def typed_frame(rows: Iterable[tuple[object, ...]], types: dict[str, str]) -> pd.DataFrame:
    """A frame from tuples, made some thousand rows at a time: typed columns take a fifth of the tuples' memory.

    Args:
        rows: one tuple a row, its values in the order of `types`.
        types: column → pandas type.

    """
    rows = iter(rows)
    parts: list[pd.DataFrame] = []
    while (part := list(islice(rows, PART))) or not parts:
        parts.append(pd.DataFrame(part, columns=list(types)).astype(types))
    return pd.concat(parts, ignore_index=True)


def write_manifest(manifest: pd.DataFrame, path: Path, left_out: Sequence[LeftOut] = ()) -> None:
    """Write a manifest as parquet, whole or not at all.

    Args:
        manifest: one row a film.
        path: of the file.
        left_out: the files of the folder that are not among the films; they go into the file's metadata.

    """
    table = pa.Table.from_pandas(as_manifest(manifest), preserve_index=False)
    kept = {LEFT_OUT: json.dumps(left_out)} if left_out else {}
    with atomic_file(path) as partial:
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, **kept}), partial, row_group_size=PART)


def read_left_out(path: Path) -> list[LeftOut]:
    """The files that are not among a manifest's films, as write_manifest was given them."""
    kept = pq.read_schema(path).metadata.get(LEFT_OUT)
    return [LeftOut(*file) for file in json.loads(kept)] if kept else []


def read_manifest(path: Path) -> pd.DataFrame:
    """Read what write_manifest wrote.

    Raises:
        OsteonError: no such file, or not a manifest.

    """
    try:
        # Part by part; read at once, the file takes twice as much memory as its rows.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            rows = file.read(use_threads=False).to_pandas(use_threads=False)
    except FileNotFoundError:
        raise OsteonError(f"{path}: no such file; run the step ingest first") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise OsteonError(f"{path}: not a parquet file: {error}") from None
    missing = [column for column in COLUMNS if column not in rows]
    if missing:
        raise OsteonError(f"{path}: not a manifest, no column {', '.join(missing)}; run the step ingest again")
    return as_manifest(rows)


def depth_or_none(depth: object) -> int | None:
    """A value of the column depth, as decode takes it."""
    return int(depth) if isinstance(depth, int | np.integer) else None


def boxes_to_text(boxes: list[Box]) -> str:
    """Boxes as the manifest stores them; one decimal is a tenth of a pixel."""
    return json.dumps([[round(float(value), 1) for value in box] for box in boxes])


def text_to_boxes(text: object) -> list[Box]:
    """The inverse; null is no box.

    Raises:
        ValueError: not a JSON list of four numbers each.

    """
    if not isinstance(text, str) or not text:
        return []
    boxes = json.loads(text)
    if not isinstance(boxes, list):
        raise ValueError("boxes must be a list")
    parsed: list[Box] = []
    for box in boxes:
        x, y, width, height = (float(value) for value in box)
        parsed.append((x, y, width, height))
    return parsed
