"""A tree of DICOM files and one CSV with their labels (data.label_file, columns in data.columns).

A row of the CSV names its film by path below the folder, by file name or by SOPInstanceUID. Patient and study come
from the files' own tags.
"""

from pathlib import Path

import pandas as pd
from pydicom import dcmread

from osteon.errors import UnreadableFilmError
from osteon.files import files_under
from osteon.films.layouts import label_from_rows, read_table
from osteon.films.reading.dicom_pixels import reading_dicom
from osteon.params import DataParams

TAGS = ("PatientID", "StudyInstanceUID", "SOPInstanceUID")


def read(root: Path, params: DataParams) -> pd.DataFrame:
    """One row a DICOM file, and one for each label whose file is not there."""
    columns = params.columns
    table = read_table(root / params.label_file, (columns.film, columns.label))
    entries: dict[str, list[pd.Series]] = {}
    for _, entry in table.iterrows():
        entries.setdefault(str(entry[columns.film]).replace("\\", "/"), []).append(entry)

    rows = []
    for path in files_under(root):
        if not may_be_dicom(path):
            continue
        relative = path.relative_to(root)
        tags = identifying_tags(path)
        row: dict[str, object] = {
            "film_id": relative.as_posix(),
            "path": relative.as_posix(),
            "finding": "fractured",
        }
        row["patient_id"] = tags.get("PatientID")
        row["study_id"] = tags.get("StudyInstanceUID")
        names = (relative.as_posix(), relative.name, relative.stem, tags.get("SOPInstanceUID", ""))
        key = next((name for name in names if name in entries), None)
        rows.append(row | label_from_rows(entries.pop(key) if key else [], params.label_file, params))
    for key, left in entries.items():
        rows.append(
            {"film_id": key, "path": key, "finding": "fractured"} | label_from_rows(left, params.label_file, params)
        )
    return pd.DataFrame(rows)


def may_be_dicom(path: Path) -> bool:
    """By its extension, or, as PACS exports have none, by the mark at byte 128."""
    if path.suffix.lower() in (".dcm", ".dicom"):
        return True
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def identifying_tags(path: Path) -> dict[str, str]:
    """The tags that say where a film belongs; none from a file that cannot be read (validate says why)."""
    try:
        with reading_dicom("damaged DICOM"):
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
            return {tag: str(dataset.get(tag)) for tag in TAGS if dataset.get(tag)}
    except UnreadableFilmError:
        return {}
