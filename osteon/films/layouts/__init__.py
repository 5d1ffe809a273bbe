"""Layouts: each file here reads one way of laying films out, as its authors publish it.

A layout is a module with

    def read(root: Path, params: DataParams) -> pd.DataFrame

that gives one row for each film with at least film_id and path (below root, with '/'), and whatever else of
the manifest's columns the set has. Its patient_id and study_id are the source's own: read_layout joins them with
DICOM's tags and hashes them. An id that names nobody goes into patient_pseudonym or study_pseudonym and is kept as it
is. An id that is no column of a table says what it is in patient_source or study_source. A row the layout itself
cannot trust gets a reason in `doubt` and goes to quarantine in the step validate; no film is left out silently.
Adding a layout is adding one file.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from osteon.errors import OsteonError
from osteon.files import files_under
from osteon.films.identity import pseudonymised
from osteon.films.manifest import as_manifest
from osteon.films.patient_ids import with_ids
from osteon.params import ClassNames, DataParams

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".gif", ".bmp", ".dcm", ".dicom"})


def read_layout(root: Path, params: DataParams, key: bytes | None = None) -> pd.DataFrame:
    """Read a folder by the layout that params.layout names.

    Args:
        root: the folder.
        params: layout, classes and columns.
        key: of the hashes of patients' and studies' ids; None takes the one that is kept.

    Raises:
        OsteonError: the folder is missing, holds no film, or is not laid out like that.

    """
    if not root.is_dir():
        raise OsteonError(f"{root}: no such folder; set data.root in params.yaml to the folder with the films")
    layout = importlib.import_module(f"{__name__}.{params.layout}")
    rows = layout.read(root, params)
    if rows.empty:
        raise OsteonError(f"{root}: the layout {params.layout} found no film there; check data.root and data.layout")
    # Here and not in the layouts, so that none can forget it.
    rows = pseudonymised(with_ids(rows, root, params), key)
    rows = as_manifest(rows.assign(source=root.resolve().name))
    return rows.sort_values("film_id", kind="stable", ignore_index=True)


def film_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that has a film's extension, in order, as a path relative to the folder."""
    return (path.relative_to(folder) for path in files_under(folder) if path.suffix.lower() in EXTENSIONS)


def label_of(word: object, classes: ClassNames) -> int | None:
    """1, 0, or None for a word that names neither class; case and spaces around it do not matter."""
    text = str(word).strip().casefold()
    if text in {name.casefold() for name in classes.fractured}:
        return 1
    if text in {name.casefold() for name in classes.not_fractured}:
        return 0
    return None


def no_class(word: object, where: str) -> str:
    """The doubt about a film whose class is neither."""
    return f"{where} {str(word)!r} is neither in data.classes.fractured nor in data.classes.not_fractured"


def label_from_rows(rows: list[pd.Series], table: str, params: DataParams) -> dict[str, object]:
    """Label, fracture type, region, view and doubt of one film from the rows a label file has for it.

    Args:
        rows: those that name the film; none is a doubt, as are two that contradict each other.
        table: the label file's name, for the reason.
        params: its columns and words.

    """
    columns = params.columns
    if not rows:
        return {"label": None, "doubt": f"not in {table}"}
    words = sorted({str(row[columns.label]) for row in rows})
    labels = {label_of(word, params.classes) for word in words}
    if len(labels) > 1:
        return {"label": None, "doubt": f"{table} gives it more than one label: {', '.join(words)}"}
    label = labels.pop()
    if label is None:
        return {"label": None, "doubt": no_class(words[0], f"{table}: {columns.label}")}
    return {
        "label": label,
        "fracture_type": _agreed(rows, columns.fracture_type) if label else None,
        "region": _agreed(rows, columns.region),
        "view": _agreed(rows, columns.view),
        "doubt": None,
    }


def _agreed(rows: list[pd.Series], column: str) -> str | None:
    """What a film's rows say in a column that may be absent; None where they do not say the same."""
    values = {text for row in rows if isinstance(text := row.get(column), str)}
    return values.pop() if len(values) == 1 else None


def read_table(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """A CSV as text, checked for its columns.

    Raises:
        OsteonError: missing, empty, not a table, or without a needed column; the text names those it has.

    """
    try:
        table = pd.read_csv(path, dtype="string", keep_default_na=False, na_values=[""], skipinitialspace=True)
    except FileNotFoundError:
        raise OsteonError(f"{path}: no such file; the layout needs it") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise OsteonError(f"{path}: not a table with commas: {str(error).strip()}") from None
    missing = [column for column in needed if column not in table]
    if missing:
        raise OsteonError(f"{path}: no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    return table
