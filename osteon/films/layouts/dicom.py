"""Films of any kind, DICOM or pictures, and one table with their labels (data.label_file, columns in data.columns).

A row of the table names its film by path, file name or SOPInstanceUID, or with data.label_unit: study by
StudyInstanceUID.
"""

from collections import Counter
from pathlib import Path

import pandas as pd

from osteon.films.film_files import film_files
from osteon.films.labels.label_rows import read_label_table, with_labels
from osteon.films.labels.label_table import read_table
from osteon.films.reading.dicom_ids import TAGS, identifying_tags
from osteon.params import DataParams

KNOWS = ("patients", "studies", "types", "regions", "views")


def read(root: Path, params: DataParams) -> pd.DataFrame:
    """One row a film, and one for each label whose file is not there."""
    rows = []
    for path in film_files(root):
        name = path.as_posix()
        rows.append({"film_id": name, "path": name, "finding": "fractured"} | identifying_tags(root / path))
    films = pd.DataFrame(rows, columns=["film_id", "path", "finding", *TAGS])
    return with_labels(films, [read_label_table(root / params.label_file, films, params)], root, params)


def class_words(root: Path, params: DataParams) -> Counter[str] | None:
    """Rows of each label; None if the folder is not laid out like this."""
    if not (root / params.label_file).exists():
        return None
    table = read_table(root / params.label_file, (params.columns.film, params.columns.label)).rows
    return Counter(table[params.columns.label].dropna())
