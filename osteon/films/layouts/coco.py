"""COCO (Roboflow, CVAT, Label Studio and others): any JSON file with images, annotations and categories.

train/_annotations.coco.json beside its films, annotations/instances_default.json with images/, result.json with
images/: every such file below the folder is read. A film is found by the name that the file gives it; folders of
another machine at the front of the name do not count. A film that a file lists without an annotation has none
(data.empty_annotation), one that no file lists may be one that nobody looked at (data.missing_annotation). Boxes,
outlines and masks; boxes are of the film as it is shown, or of the file's pixels where the JSON says that size.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.boxes.coco_json import CocoFile, CocoImage, read_coco
from osteon.films.boxes.drawing import Drawing, labelled, meanings, say_other_classes
from osteon.films.boxes.film_names import FilmNames, name_parts
from osteon.films.film_files import film_files, plain_files
from osteon.films.layouts.folders import SPLITS, split_of
from osteon.params import DataParams

KNOWS = ("patients", "boxes", "splits")


def read(root: Path, params: DataParams) -> pd.DataFrame:
    """One row a film, and one for each entry whose film is not there."""
    files = list(_coco_files(root))
    if not files:
        raise OsteonError(f"{root}: no JSON file with images and categories there or below; the layout coco needs one")
    films = list(film_files(root))
    known = FilmNames(films)
    drawings: dict[PurePath, Drawing] = {}
    patients: dict[PurePath, set[str]] = {}
    missing: dict[PurePath, None] = {}
    for place, content in files:
        split = _split_of_file(place)
        matches = known.match([image.name for image in content.images], place.parent, split)
        for image, matched in zip(content.images, matches, strict=True):
            paths = matched or [_where_it_would_be(place, image.name)]
            if not matched:
                missing[paths[0]] = None
            for path in paths:
                drawing = drawings.setdefault(path, Drawing(measured_on=image.measured_on))
                _add(drawing, image, len(paths), place)
                if given := split or split_of(path):
                    drawing.splits.add(given)
                if image.patient:
                    patients.setdefault(path, set()).add(image.patient)
    classes = meanings((name for _, content in files for name in content.categories), params.classes, str(root))
    say_other_classes(drawings.values(), classes)
    rows = []
    for film in [*films, *missing]:
        row: dict[str, object] = {"film_id": film.as_posix(), "path": film.as_posix(), "finding": "fractured"}
        drawn = drawings.get(film)
        splits = drawn.splits if drawn else {split_of(film)}
        row["given_split"] = next(iter(splits)) if len(splits) == 1 else None
        ids = patients.get(film, set())
        row["patient_id"] = next(iter(ids)) if len(ids) == 1 else None
        rows.append(row | labelled(drawn, root / film, classes, params))
    return pd.DataFrame(rows)


def class_words(root: Path, params: DataParams) -> Counter[str] | None:  # noqa: ARG001 – the form of a layout
    """Annotations of each category; None if the folder is not laid out like this."""
    files = [content for _, content in _coco_files(root)]
    if not files:
        return None
    words = Counter({name: 0 for content in files for name in content.categories})
    words.update(mark.name for content in files for image in content.images for mark in image.marks)
    return words


def _coco_files(root: Path) -> Iterator[tuple[Path, CocoFile]]:
    """Each COCO file with its path relative to the folder."""
    for path in plain_files(root):
        if path.suffix.lower() == ".json" and (content := read_coco(path)) is not None:
            yield path.relative_to(root), content


def _split_of_file(place: Path) -> str | None:
    """The split that a file's own name says (instances_train2017.json), else the folder that it lies in."""
    words = re.split(r"[^a-z]+", place.stem.casefold())
    return next((SPLITS[word] for word in words if word in SPLITS), None) or split_of(place)


def _where_it_would_be(place: Path, name: str) -> PurePath:
    return place.parent.joinpath(*name_parts(name))


def _add(drawing: Drawing, image: CocoImage, candidates: int, place: Path) -> None:
    """Add an entry to what is drawn on its film."""
    if candidates > 1:
        drawing.faults.append(f"{place.as_posix()}: {image.name!r} may be any of {candidates} films")
    if image.measured_on != drawing.measured_on:
        drawing.faults.append("two annotations give the film two sizes")
    drawing.marks += image.marks
    drawing.faults += image.faults
