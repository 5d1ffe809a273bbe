"""MURA (Rajpurkar et al. 2018): <split>/XR_<REGION>/patient<n>/study<n>_<positive|negative>/image<n>.png.

Patient, study, region and label are in the path. Its label says 'abnormal', which may be a fracture, an implant
or worn joints; the manifest says so in `finding`, and the pipeline does not take it for 'fractured'.
"""

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from osteon.films.film_files import film_files
from osteon.films.known_patients import PATH
from osteon.params import DataParams

KNOWS = ("patients", "studies", "regions", "splits")
FINDING = "abnormal"
FORM = re.compile(
    r"(?:.*/)?(?P<split>train|valid)/XR_(?P<region>[A-Z]+)/(?P<patient>patient\d+)/"
    r"(?P<study>study\d+)_(?P<label>positive|negative)/[^/]+$"
)


def read(root: Path, params: DataParams) -> pd.DataFrame:  # noqa: ARG001 – the form of a layout
    """One row a film."""
    rows = []
    for path in film_files(root):
        row: dict[str, object] = {"film_id": path.as_posix(), "path": path.as_posix(), "finding": FINDING}
        parts = FORM.match(path.as_posix())
        if parts:
            row["label"] = int(parts["label"] == "positive")
            row["region"] = parts["region"].lower()
            row["patient_id"] = parts["patient"]
            row["study_id"] = f"{parts['patient']}/{parts['region'].lower()}/{parts['study']}"
            row["patient_source"] = row["study_source"] = PATH
            row["given_split"] = {"train": "train", "valid": "val"}[parts["split"]]
        else:
            row["doubt"] = "path is not <split>/XR_<REGION>/patient<n>/study<n>_<positive|negative>/<film>"
        rows.append(row)
    return pd.DataFrame(rows)


def class_words(root: Path, params: DataParams) -> Counter[str] | None:  # noqa: ARG001 – the form of a layout
    """No words: its own are fixed; None if the folder is not laid out like this."""
    return Counter() if any(FORM.match(path.as_posix()) for path in film_files(root)) else None
