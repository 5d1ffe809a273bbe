"""What was drawn on one film, and what that makes of its label."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from osteon.errors import OsteonError
from osteon.films.boxes.film_size import boxes_as_shown, film_size
from osteon.films.class_words import meaning_of
from osteon.films.labels.class_labels import label_of
from osteon.films.manifest import Box, boxes_to_text
from osteon.params import ClassNames, DataParams

log = logging.getLogger(__name__)

Meaning = Literal["finding", "none", "unclear"]
SLACK = 1.0  # pixels that a box may stand over by rounding; it is cut there


class Mark(NamedTuple):
    """One thing drawn on a film: its class, and the box around it; None where it has none."""

    name: str
    box: Box | None


@dataclass
class Drawing:
    """All that is drawn on one film.

    faults: reasons not to trust it. measured_on: as boxes_as_shown. splits: train, val, test, as the set says.
    """

    marks: list[Mark] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    measured_on: tuple[float, float] | None = None
    splits: set[str] = field(default_factory=set)


def meanings(names: Iterable[str], classes: ClassNames, where: str) -> dict[str, Meaning]:
    """What each class of a set means for a film's label.

    data.classes decides. A class in neither list is no finding ('metal', 'text'), unless its name speaks of a
    fracture: then films that have it and no finding are doubtful.

    Raises:
        OsteonError: no class is the finding.

    """
    names = list(dict.fromkeys(names))
    by_class: dict[str, Meaning] = {}
    for name in names:
        label = label_of(name, classes)
        if label is None:
            by_class[name] = "unclear" if meaning_of(name).label == 1 else "none"
        else:
            by_class[name] = "finding" if label else "none"
    if names and "finding" not in by_class.values():
        raise OsteonError(
            f"{where}: none of its classes is in data.classes.fractured; they are {', '.join(map(repr, names[:20]))}. "
            "List those that mean a fracture there (`osteon data guess` proposes them)"
        )
    return by_class


def labelled(
    drawing: Drawing | None, film: Path, by_class: dict[str, Meaning], params: DataParams
) -> dict[str, object]:
    """Label, boxes and doubt of one film.

    Args:
        drawing: None where no annotation names the film.
        film: its file; read for its size if it has boxes.
        by_class: of meanings.
        params: says what a film without a box or without an annotation is.

    """
    if drawing is None:
        if params.missing_annotation == "negative":
            return {"label": 0, "doubt": None}
        return {
            "label": None,
            "doubt": "no annotation names it; if that means not fractured, set data.missing_annotation: negative",
        }
    faults = list(dict.fromkeys(drawing.faults))
    kinds = {by_class[mark.name] for mark in drawing.marks}
    label = 1 if "finding" in kinds else 0
    if not drawing.marks and not faults and params.empty_annotation == "doubt":
        faults.append("its annotation is empty; if that means not fractured, set data.empty_annotation: negative")
    if not label and "unclear" in kinds:
        unclear = sorted({mark.name for mark in drawing.marks if by_class[mark.name] == "unclear"})
        faults.append(f"class {', '.join(map(repr, unclear))} is in neither list of data.classes")
    boxes = list(dict.fromkeys(mark.box for mark in drawing.marks if mark.box and by_class[mark.name] == "finding"))
    text = None
    if boxes and (size := film_size(film)) is not None:
        try:
            text = boxes_to_text([_cut(box, *size.shown) for box in boxes_as_shown(boxes, size, drawing.measured_on)])
        except ValueError as error:
            faults.append(str(error))
    return {"label": None if faults else label, "boxes": text, "doubt": "; ".join(faults) or None}


def _cut(box: Box, width: int, height: int) -> Box:
    """A box that stands over the film's edge by rounding, cut there; one that stands over by more stays as it is."""
    x, y, w, h = box
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    near = max(left - x, top - y, x + w - right, y + h - bottom) <= SLACK
    return (left, top, right - left, bottom - top) if near else box


def around(points: list[float]) -> Box:
    """The upright box around the corners x, y, x, y, … of an outline."""
    xs, ys = points[0::2], points[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def say_other_classes(drawings: Iterable[Drawing], by_class: dict[str, Meaning]) -> None:
    """Say once which classes of the set make no film positive."""
    marks = Counter(mark.name for drawing in drawings for mark in drawing.marks)
    others = [f"{name} ({count:,})" for name, count in marks.most_common() if by_class[name] != "finding"]
    if others:
        log.warning("classes that are not the finding, with their number: %s", ", ".join(others))
