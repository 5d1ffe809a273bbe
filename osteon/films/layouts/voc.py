"""Pascal VOC (LabelImg, CVAT, Roboflow): one XML a film, beside it or in Annotations/ with JPEGImages/.

An XML belongs to the film of its own name, else to the one that its <filename> says. Splits from
ImageSets/Main/train.txt, val.txt and test.txt, or from folders. An XML without an object is a film on which somebody
found nothing (data.empty_annotation), a film without an XML may be one that nobody looked at (data.missing_annotation).
Boxes count pixels from 1; they are of the film as it is shown, or of the file's pixels where <size> says so.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.boxes.drawing import Drawing, labelled, meanings, say_other_classes
from osteon.films.boxes.film_names import FilmNames
from osteon.films.boxes.voc_xml import VocFile, read_voc
from osteon.films.film_files import film_files, plain_files
from osteon.films.layouts.folders import SPLITS, split_of
from osteon.folding import folded
from osteon.params import DataParams

KNOWS = ("boxes", "splits")
FOLDERS = ("annotations", "xmls", "labels")  # beside one of the films' folders


def read(root: Path, params: DataParams) -> pd.DataFrame:
    """One row a film, and one for each XML whose film is not there."""
    files = list(_voc_files(root))
    if not any(content.name is not None or content.drawing.marks for _, content in files):
        raise OsteonError(f"{root}: no Pascal VOC XML (<annotation>) there or below; the layout voc needs one a film")
    films = list(film_files(root))
    known = FilmNames(films)
    splits = _splits(root)
    drawings: dict[PurePath, Drawing] = {}
    missing: dict[PurePath, None] = {}
    for place, content in files:
        matched = _films_of(place, content, known)
        if not matched:
            matched = [_where_it_would_be(place, content)]
            missing[matched[0]] = None
        for film in matched:
            drawing = drawings.setdefault(film, Drawing(measured_on=content.drawing.measured_on))
            drawing.marks += content.drawing.marks
            drawing.faults += content.drawing.faults
            if len(matched) > 1:
                drawing.faults.append(f"{place.as_posix()} may be of any of {len(matched)} films")
            if drawing.measured_on != content.drawing.measured_on:
                drawing.faults.append("two annotations give the film two sizes")
    classes = meanings(
        (mark.name for drawing in drawings.values() for mark in drawing.marks), params.classes, str(root)
    )
    say_other_classes(drawings.values(), classes)
    rows = []
    for film in [*films, *missing]:
        row: dict[str, object] = {"film_id": film.as_posix(), "path": film.as_posix(), "finding": "fractured"}
        given = splits.get(folded(film.stem), set())
        row["given_split"] = next(iter(given)) if len(given) == 1 else None if given else split_of(film)
        rows.append(row | labelled(drawings.get(film), root / film, classes, params))
    return pd.DataFrame(rows)


def class_words(root: Path, params: DataParams) -> Counter[str] | None:  # noqa: ARG001 – the form of a layout
    """Objects of each class; None if the folder is not laid out like this."""
    files = [content for _, content in _voc_files(root)]
    if not any(content.name is not None for content in files):
        return None
    return Counter(mark.name for content in files for mark in content.drawing.marks) or None


def _voc_files(root: Path) -> Iterator[tuple[Path, VocFile]]:
    """Each XML with its path relative to the folder."""
    for path in plain_files(root):
        if path.suffix.lower() == ".xml" and (content := read_voc(path)) is not None:
            yield path.relative_to(root), content


def _films_of(place: Path, content: VocFile, known: FilmNames) -> list[PurePath]:
    """The films that an XML can be of: that of its own name, else that of the name it says."""
    folder = place.parent
    if folder.name.casefold() in FOLDERS:
        folder = folder.parent
    named = known.match([content.name], folder)[0] if content.name else []
    own = known.match([place.with_suffix("").name], folder)[0]
    both = [film for film in own if film in named]
    return own if len(own) == 1 else both or own or named


def _where_it_would_be(place: Path, content: VocFile) -> PurePath:
    extension = PurePath(content.name or "").suffix
    return place.with_suffix(extension if extension.casefold() != ".xml" else "")


def _splits(root: Path) -> dict[str, set[str]]:
    """The splits of each film's folded name, from ImageSets/Main; trainval.txt says nothing new."""
    given: dict[str, set[str]] = {}
    for path in plain_files(root):
        if path.suffix.lower() != ".txt" or path.parent.name.casefold() != "main":
            continue
        split = SPLITS.get(path.stem.casefold())
        if split is None or path.parent.parent.name.casefold() != "imagesets":
            continue
        for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
            if words := line.split():
                given.setdefault(folded(words[0]), set()).add(split)
    return given
