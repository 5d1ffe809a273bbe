"""FracAtlas (Abedeen et al., Scientific Data 2023): dataset.csv beside images/ and COCO outlines.

images/Fractured, images/Non_fractured, dataset.csv (image_id, five regions, hardware, fractured, three views),
Annotations/COCO JSON/COCO_fracture_masks.json (an outline and a box a fracture).

The set has no patient ids, and films with neighbouring numbers are often two views of one patient. Films whose
numbers follow each other (one may be missing between them) and that show the same region are therefore taken
for one study. That is a guess: it joins some films of different patients, which costs the split a little
freedom, and misses a patient whose films are far apart, which nobody can see in what was published.
"""

import json
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.film_files import film_files
from osteon.films.id_columns import id_columns
from osteon.films.known_patients import GUESS
from osteon.films.labels.label_table import read_table
from osteon.films.manifest import Box, boxes_to_text
from osteon.folding import class_word
from osteon.params import DataParams

KNOWS = ("studies", "boxes", "regions", "views", "hardware")
REGIONS = ("hand", "leg", "hip", "shoulder")
VIEWS = ("frontal", "lateral", "oblique")
MISSING_BETWEEN = 1
OUTLINES = Path("Annotations") / "COCO JSON" / "COCO_fracture_masks.json"
FOLDERS = {"Fractured": 1, "Non_fractured": 0}


def read(root: Path, params: DataParams) -> pd.DataFrame:
    """One row a film in images/ or dataset.csv."""
    columns = ("image_id", *REGIONS, "mixed", "hardware", "fractured", *VIEWS)
    table = read_table(root / "dataset.csv", columns).rows
    table = table.drop_duplicates()  # a row twice is one row; two rows that disagree are a doubt
    contradicted = set(table.loc[table["image_id"].duplicated(), "image_id"])
    ids = id_columns(table, "dataset.csv", params.columns)  # the published table has none
    table = table.drop_duplicates("image_id").set_index("image_id")
    boxes = _boxes(root / OUTLINES)
    entries = {str(name): entry for name, entry in table.to_dict("index").items()}
    paths = sorted(film_files(root / "images"), key=lambda film: film.name)
    films = Counter(film.name for film in paths)
    named: list[tuple[str, Path | None]] = [(film.name, film) for film in paths]
    named += [(name, None) for name in entries if name not in films]
    rows, regions = [], {}
    for name, path in sorted(named, key=lambda item: item[0]):
        row: dict[str, object] = {"film_id": name, "finding": "fractured"}
        row["path"] = f"images/{(path or Path(name)).as_posix()}"
        doubts = []
        if films[name] > 1:  # two names of version 7 are in both folders
            row["film_id"] = row["path"]
            doubts.append(f"{films[name]} films are called {name}")
        if name in entries:
            entry = entries[name]
            flags = {column: class_word(entry[column]) == "1" for column in (*REGIONS, "mixed", "hardware", *VIEWS)}
            regions[name] = tuple(region for region in REGIONS if flags[region])
            row["region"] = "mixed" if flags["mixed"] or len(regions[name]) != 1 else regions[name][0]
            row["view"] = "+".join(view for view in VIEWS if flags[view]) or None
            row["hardware"] = flags["hardware"]
            row |= {key: entry[column] for key, column in ids.items()}
            row["label"] = {"0": 0, "1": 1}.get(class_word(entry["fractured"]))
            if row["label"] is None:
                doubts.append(f"dataset.csv: fractured is {entry['fractured']!r}, neither 0 nor 1")
            elif path is not None and FOLDERS.get(path.parts[0]) != row["label"]:
                doubts.append(f"dataset.csv says fractured = {row['label']}, its folder is {path.parts[0]}")
            if name in contradicted:
                doubts.append("in dataset.csv twice, with different values")
        else:
            doubts.append("not in dataset.csv")
        if name in boxes:
            row["boxes"] = boxes_to_text(boxes[name])
        row["doubt"] = "; ".join(doubts) or None
        rows.append(row)
    frame = pd.DataFrame(rows)
    if not ids:
        frame["study_pseudonym"] = _runs([Path(path).name for path in frame["path"]], regions) if len(frame) else []
        frame["study_source"] = GUESS
    return frame


def class_words(root: Path, params: DataParams) -> Counter[str] | None:  # noqa: ARG001 – the form of a layout
    """No words: its own are fixed; None if the folder is not laid out like this."""
    try:
        read_table(root / "dataset.csv", ("image_id", "fractured"))
    except OsteonError:
        return None
    return Counter() if (root / "images").is_dir() else None


def _boxes(path: Path) -> dict[str, list[Box]]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        boxes: dict[str, list[Box]] = {}
        for annotation in content["annotations"]:
            x, y, width, height = annotation["bbox"]
            boxes.setdefault(names[annotation["image_id"]], []).append((x, y, width, height))
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise OsteonError(f"{path}: not COCO annotations ({type(error).__name__}: {error})") from None
    return boxes


def _runs(names: list[str], regions: dict[str, tuple[str, ...]]) -> list[str]:
    """A study for each run of consecutive numbers with one region."""
    studies, study = [], ""
    last: tuple[int, tuple[str, ...]] = (-9, ())
    for name in names:  # sorted
        digits = re.search(r"\d+", name)
        here = (int(digits.group()) if digits else -9, regions.get(name, ("?",)))
        if not digits or not 0 <= here[0] - last[0] <= 1 + MISSING_BETWEEN or here[1] != last[1]:
            study = f"run-{Path(name).stem}"
        studies.append(study)
        last = here
    return studies
