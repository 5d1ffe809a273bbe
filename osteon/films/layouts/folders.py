"""A folder for each class, with or without a folder for each split: [train|val|test/]<class>/film.jpg.

data.classes says which class means fractured, never the alphabet: a popular set calls its folders
'fractured' and 'not fractured', and models trained on it by alphabetical order answer backwards.
"""

import logging
from collections import Counter
from pathlib import Path, PurePath

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.class_words import meaning_of
from osteon.films.film_files import film_files
from osteon.films.labels.class_labels import label_of, no_class
from osteon.params import DataParams

log = logging.getLogger(__name__)

KNOWS = ("splits",)
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
    """One row a film; the class is that of the folders above it that name one, if they name the same."""
    rows = []
    unknown: Counter[str] = Counter()
    for path in film_files(root):
        folders = path.parts[:-1]
        named = {folder: label for folder in folders if (label := label_of(folder, params.classes)) is not None}
        labels = set(named.values())
        doubt = None
        if not labels:
            doubt = no_class("/".join(folders), "folder")
            unknown[next((folder for folder in reversed(folders) if folder.casefold() not in SPLITS), "")] += 1
        elif len(labels) > 1:
            doubt = f"folders {' and '.join(map(repr, named))} name both classes; move the film, or rename one of them"
        rows.append(
            {
                "film_id": path.as_posix(),
                "path": path.as_posix(),
                "label": labels.pop() if len(labels) == 1 else None,
                "finding": "fractured",
                "given_split": split_of(path),
                "doubt": doubt,
            }
        )
    if rows and unknown.total() == len(rows):
        seen = sorted({Path(str(row["path"])).parent.as_posix() for row in rows})
        raise OsteonError(
            f"{root}: no folder is a class; found {', '.join(seen[:8])}. Name the class folders in data.classes"
        )
    if unknown:
        log.warning(
            "%d of %d films are in folders that name no class: %s. Write each name that is a class into "
            "data.classes.fractured or data.classes.not_fractured",
            *(unknown.total(), len(rows)),
            ", ".join(f"{folder!r} ({count})" for folder, count in unknown.most_common(8)),
        )
    return pd.DataFrame(rows)


def class_words(root: Path, params: DataParams) -> Counter[str] | None:  # noqa: ARG001 – the form of a layout
    """Films of each folder that may name a class; None if no film lies in such a folder.

    That is the nearest whose name tells a class, else the nearest that is no split, else the nearest.
    """
    words: Counter[str] = Counter()
    for path in film_files(root):
        folders = path.parts[:-1]
        no_splits = [folder for folder in folders if folder.casefold() not in SPLITS]
        telling = [folder for folder in no_splits if meaning_of(folder).label is not None]
        if folders:
            words[(telling or no_splits or folders)[-1]] += 1
    return words or None
