"""A folder for each class, with or without a folder for each split: [train|val|test/]<class>/film.jpg.

data.classes says which class means fractured, never the alphabet: a popular set calls its folders
'fractured' and 'not fractured', and models trained on it by alphabetical order answer backwards.
"""

from pathlib import Path, PurePath

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.film_files import film_files
from osteon.films.labels.class_labels import label_of, no_class
from osteon.params import DataParams

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def split_of(path: PurePath) -> str | None:
    """The split that a folder above a film names; the outermost, where several do."""
    return next((SPLITS[folder.casefold()] for folder in path.parts[:-1] if folder.casefold() in SPLITS), None)


def read(root: Path, params: DataParams) -> pd.DataFrame:
    """One row a film; the class is the nearest folder above it that names one."""
    rows = []
    for path in film_files(root):
        folders = path.parts[:-1]
        labels = [label for label in (label_of(folder, params.classes) for folder in folders) if label is not None]
        rows.append(
            {
                "film_id": path.as_posix(),
                "path": path.as_posix(),
                "label": labels[-1] if labels else None,
                "finding": "fractured",
                "given_split": split_of(path),
                "doubt": None if labels else no_class("/".join(folders), "folder"),
            }
        )
    if rows and all(row["label"] is None for row in rows):
        seen = sorted({Path(str(row["path"])).parent.as_posix() for row in rows})
        raise OsteonError(
            f"{root}: no folder is a class; found {', '.join(seen[:8])}. Name the class folders in data.classes"
        )
    return pd.DataFrame(rows)
