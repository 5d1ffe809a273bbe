"""Films in train|test/images (or images/) with an annotations.csv that has a yes/no and, often, a type column.

The file may lie in each split's folder or once at the top. data.columns names its columns and data.classes the
words that mean yes and no.
"""

from collections import Counter
from pathlib import Path

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.film_files import film_files, plain_files
from osteon.films.labels.label_rows import read_label_table, with_labels
from osteon.films.labels.label_table import read_table
from osteon.films.layouts.folders import split_of
from osteon.params import DataParams

KNOWS = ("patients", "studies", "types", "regions", "views", "splits")
TABLE = "annotations.csv"


def read(root: Path, params: DataParams) -> pd.DataFrame:
    """One row a film, and one for each entry whose film is not there."""
    places = sorted(path for path in plain_files(root) if path.name.casefold() == TABLE)
    if not places:
        others = sorted(path.relative_to(root).as_posix() for path in plain_files(root) if path.stem == "annotations")
        advice = f"; save {others[0]} as {TABLE}" if others else ""
        raise OsteonError(f"{root}: no {TABLE} there or below; the layout annotations needs one{advice}")
    paths = list(film_files(root))
    films = pd.DataFrame(
        {
            "film_id": [path.as_posix() for path in paths],
            "path": [path.as_posix() for path in paths],
            "finding": "fractured",
            "given_split": [split_of(path) for path in paths],
        }
    )
    tables = [read_label_table(path, films, params) for path in places]
    return with_labels(films, tables, root, params)


def class_words(root: Path, params: DataParams) -> Counter[str] | None:
    """Rows of each label; None if the folder is not laid out like this."""
    places = [path for path in plain_files(root) if path.name.casefold() == TABLE]
    columns = (params.columns.film, params.columns.label)
    tables = [read_table(path, columns).rows for path in places]
    return Counter(word for table in tables for word in table[params.columns.label].dropna()) if tables else None
