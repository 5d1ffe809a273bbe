"""Films in train|test/images (or images/) with an annotations.csv that has a yes/no and, often, a type column.

The file may lie in each split's folder or once at the top. data.columns names its columns and data.classes the
words that mean yes and no.
"""

from pathlib import Path

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.layouts import film_files, label_from_rows, read_table
from osteon.films.layouts.folders import split_of
from osteon.params import DataParams

TABLE = "annotations.csv"


def read(root: Path, params: DataParams) -> pd.DataFrame:
    """One row a film, and one for each entry whose film is not there."""
    tables = sorted(path.relative_to(root) for path in root.rglob(TABLE))
    if not tables:
        raise OsteonError(f"{root}: no {TABLE} there or below; the layout annotations needs one")
    columns = params.columns
    entries: dict[str, list[pd.Series]] = {}
    for place in tables:
        table = read_table(root / place, (columns.film, columns.label))
        for _, entry in table.iterrows():
            name = str(entry[columns.film]).replace("\\", "/")
            entries.setdefault((place.parent / Path(name).name).as_posix(), []).append(entry)

    rows = []
    for path in film_files(root):
        key = next(
            (key for key in ((parent / path.name).as_posix() for parent in path.parents) if key in entries),
            None,
        )
        row = {
            "film_id": path.as_posix(),
            "path": path.as_posix(),
            "finding": "fractured",
            "given_split": split_of(path),
        }
        rows.append(row | label_from_rows(entries.pop(key) if key else [], TABLE, params))
    for key, left in entries.items():
        rows.append({"film_id": key, "path": key, "finding": "fractured"} | label_from_rows(left, TABLE, params))
    return pd.DataFrame(rows)
