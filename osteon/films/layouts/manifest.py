"""Osteon's own layout: manifest.csv (or manifest.parquet) beside the films; the phantoms use it.

Columns: path and label, and whichever of film_id, finding, fracture_type, region, view, patient_id, study_id,
hardware, boxes and given_split there are (docs/data.md says what is in them). film_id defaults to the path.
"""

from collections import Counter
from pathlib import Path

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.film_files import film_files
from osteon.films.id_columns import id_columns
from osteon.films.labels.class_labels import label_of, no_class
from osteon.films.labels.label_table import read_table
from osteon.films.manifest import LAYOUT_COLUMNS
from osteon.films.manifest_paths import films_once, paths_below
from osteon.params import DataParams

KNOWS = ("patients", "studies", "boxes", "types", "regions", "views", "hardware", "splits")


def read(root: Path, params: DataParams) -> pd.DataFrame:
    """One row a row of the manifest, and one for each film that it does not name."""
    name = "manifest.parquet" if (root / "manifest.parquet").exists() else "manifest.csv"
    if name == "manifest.parquet":
        rows = pd.read_parquet(root / name)
        missing = [column for column in ("path", "label") if column not in rows]
        if missing:
            raise OsteonError(f"{root / name}: no column {', '.join(missing)}")
        rows.index = pd.RangeIndex(1, len(rows) + 1)
    else:
        rows = read_table(root / name, ("path", "label"), sorted(LAYOUT_COLUMNS)).rows
    ids = id_columns(rows, "the manifest", params.columns)
    rows = rows.drop(columns=[key for key, column in ids.items() if key in rows and key != column])
    rows = rows.rename(columns={column: key for key, column in ids.items()})
    rows = rows[[column for column in rows if column in LAYOUT_COLUMNS]].copy()
    films = [path.as_posix() for path in film_files(root)]
    rows["path"] = paths_below(rows["path"], films, root, name)
    rows["film_id"] = rows["film_id"].fillna(rows["path"]) if "film_id" in rows else rows["path"]
    rows["finding"] = rows["finding"].fillna("fractured") if "finding" in rows else "fractured"
    if "hardware" in rows:
        rows["hardware"] = (
            rows["hardware"].astype("string").str.casefold().map({"true": True, "false": False, "1": True, "0": False})
        )
    words = rows["label"].tolist()
    labels = [label_of(word, params.classes) for word in words]
    rows["label"] = pd.array(labels, dtype="Int8")
    doubts = [None if label is not None else no_class(word, "label") for word, label in zip(words, labels, strict=True)]
    rows["doubt"] = pd.array(doubts, dtype="string")
    rows = films_once(rows)

    named = set(rows["path"])
    extra = [film for film in films if film not in named]
    strays = pd.DataFrame({"film_id": extra, "path": extra, "doubt": "not in the manifest"})
    return pd.concat([rows, strays], ignore_index=True) if extra else rows


def class_words(root: Path, params: DataParams) -> Counter[str] | None:  # noqa: ARG001 – the form of a layout
    """Rows of each label; None if the folder is not laid out like this."""
    if (root / "manifest.parquet").exists():
        rows = pd.read_parquet(root / "manifest.parquet")
        return Counter(rows["label"].dropna().astype(str)) if "label" in rows else None
    if not (root / "manifest.csv").exists():
        return None
    return Counter(read_table(root / "manifest.csv", ("path", "label")).rows["label"].dropna())
