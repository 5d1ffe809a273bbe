"""GRAZPEDWRI-DX (Nagy et al., Scientific Data 2022): children's wrists, dataset.csv and images_part1/ … images_part4/.

dataset.csv names each film without extension (filestem), its patient and study, and has a 1 in fracture_visible where a
fracture is seen and nothing where not. Boxes from the set's YOLO texts (folder_structure/yolov5/labels) or Pascal VOC
files (folder_structure/pascalvoc), wherever they lie; only those of the class fracture. diagnosis_uncertain, a table
and boxes that disagree, and a film that lies there twice are doubts. metal becomes hardware; cast, age, gender and the
AO class are not read.
"""

import re
from collections import Counter
from collections.abc import Hashable
from pathlib import Path, PurePath

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.boxes.drawing import Drawing, Meaning, labelled
from osteon.films.boxes.voc_xml import read_voc
from osteon.films.boxes.yolo_text import read_text
from osteon.films.film_files import film_files, plain_files
from osteon.films.id_columns import id_columns
from osteon.films.labels.label_table import read_table
from osteon.films.layouts.folders import split_of
from osteon.folding import folded
from osteon.params import DataParams

KNOWS = ("patients", "studies", "boxes", "regions", "views", "hardware", "splits")
TABLE = "dataset.csv"
CLASSES = (  # of its YOLO texts, in their order
    "boneanomaly",
    "bonelesion",
    "foreignbody",
    "fracture",
    "metal",
    "periostealreaction",
    "pronatorsign",
    "softtissue",
    "text",
)
MEANINGS: dict[str, Meaning] = {name: "finding" if name == "fracture" else "none" for name in CLASSES}
VIEWS = {"1": "frontal", "2": "lateral"}  # of its column projection
STEM = re.compile(r"(?P<patient>\d{4})_\d+_(?P<study>\d{2})_")  # 0001_1297860395_01_WRI-L1_M014


def read(root: Path, params: DataParams) -> pd.DataFrame:
    """One row a film, and one for each row of the table whose film is not there."""
    place = _table(root)
    if place is None:
        raise OsteonError(f"{root}: no {TABLE} with a column filestem there or below; the layout grazpedwri needs it")
    table = read_table(place, ("filestem", "fracture_visible")).rows.drop_duplicates()
    patient = id_columns(table, TABLE, params.columns).get("patient_id", "")
    entries: dict[str, list[dict[Hashable, object]]] = {}
    for entry in table.to_dict("records"):
        stem = PurePath(str(entry["filestem"]).replace("\\", "/")).name
        entries.setdefault(folded(re.sub(r"(?i)\.(png|jpe?g)$", "", stem)), []).append(entry)
    films = list(film_files(root))
    times = Counter(folded(film.stem) for film in films)
    drawings = _drawings(root, set(entries))
    named: list[tuple[str, Path]] = [(folded(film.stem), film) for film in films]
    named += [(stem, Path(str(rows[0]["filestem"]))) for stem, rows in entries.items() if stem not in times]
    rows = []
    for stem, film in named:
        row: dict[str, object] = {"film_id": film.as_posix(), "path": film.as_posix(), "finding": "fractured"}
        row |= {"region": "wrist", "given_split": split_of(film)}
        if stem not in entries:
            rows.append(row | {"label": None, "doubt": f"not in {TABLE}"})
            continue
        row |= _from_table(entries[stem][0], patient)
        doubts = [str(row["doubt"])] if row["doubt"] else []
        if len(entries[stem]) > 1:
            doubts.append(f"in {TABLE} twice, with different values")
        if times[stem] > 1:
            doubts.append(f"{times[stem]} films are called {film.stem}")
        row["doubt"] = "; ".join(doubts) or None
        rows.append(_with_boxes(row, drawings.get(stem), root / film, params))
    return pd.DataFrame(rows)


def class_words(root: Path, params: DataParams) -> Counter[str] | None:  # noqa: ARG001 – the form of a layout
    """No words: the table has a 1 or nothing; None if the folder is not laid out like this."""
    return None if _table(root) is None else Counter()


def _table(root: Path) -> Path | None:
    """dataset.csv with the set's columns; FracAtlas and others call theirs so too."""
    for path in plain_files(root):
        if path.name.lower() == TABLE:
            with path.open("rb") as file:
                if b"filestem" in file.readline(4096).replace(b"\0", b""):
                    return path
    return None


def _from_table(entry: dict[Hashable, object], patient_column: str) -> dict[str, object]:
    """What one row of the table says of its film, the patient in a column of its own or in the name."""
    seen = _text(entry, "fracture_visible")
    label = {"": 0, "0": 0, "0.0": 0, "1": 1, "1.0": 1}.get(seen)
    doubts = [f"{TABLE}: fracture_visible is {seen!r}, neither 1 nor empty"] if label is None else []
    if _text(entry, "diagnosis_uncertain").startswith("1"):
        doubts.append(f"{TABLE}: diagnosis_uncertain")
    parts = STEM.match(str(entry["filestem"]))
    patient = _text(entry, patient_column) or (parts["patient"] if parts else "")
    study = _text(entry, "study_number") or (parts["study"] if parts else "")
    return {
        "label": None if doubts else label,
        "doubt": "; ".join(doubts) or None,
        "patient_id": patient or None,
        "study_id": f"{patient}/{study}" if patient and study else None,
        "view": VIEWS.get(_text(entry, "projection").removesuffix(".0")),
        "hardware": _text(entry, "metal").startswith("1") if "metal" in entry else None,
    }


def _text(entry: dict[Hashable, object], column: str) -> str:
    value = entry.get(column)
    return value.strip() if isinstance(value, str) else ""


def _with_boxes(row: dict[str, object], drawing: Drawing | None, film: Path, params: DataParams) -> dict[str, object]:
    """The row with its film's boxes; a doubt if they disagree with the table."""
    if drawing is None:
        return row
    drawn = labelled(drawing, film, MEANINGS, params)
    doubts = [str(reason) for reason in (row["doubt"], drawn["doubt"]) if reason]
    if not doubts and drawn["label"] != row["label"]:
        doubts.append(f"{TABLE} and the boxes disagree on whether a fracture is visible")
    return row | {
        "boxes": drawn["boxes"],
        "label": None if doubts else row["label"],
        "doubt": "; ".join(doubts) or None,
    }


def _drawings(root: Path, stems: set[str]) -> dict[str, Drawing]:
    """What is drawn on each film, by its folded name; of YOLO's text and VOC's XML for one film, the text."""
    drawings: dict[str, Drawing] = {}
    names = dict(enumerate(CLASSES))
    for path in plain_files(root):
        stem = folded(path.stem)
        if stem not in stems:
            continue
        if path.suffix.lower() == ".txt":
            drawings[stem] = read_text(path, names)
        elif path.suffix.lower() == ".xml" and stem not in drawings and (content := read_voc(path)) is not None:
            drawings[stem] = content.drawing
            for mark in content.drawing.marks:
                if mark.name not in MEANINGS:
                    content.drawing.faults.append(f"{path.name}: class {mark.name!r} is none of this set's")
            content.drawing.marks = [mark for mark in content.drawing.marks if mark.name in MEANINGS]
    return drawings
