"""YOLO's text files: one line an object, a class's number and shares of the film's sides.

Five values are a box (class, x and y of its middle, width, height), more are the corners of an outline or of a box
that is turned (Ultralytics' formats detect, segment and obb).
"""

import math
from pathlib import Path

from osteon.films.boxes.drawing import Drawing, Mark, around
from osteon.films.boxes.film_size import SHARES
from osteon.films.manifest import Box

BEYOND = 0.01  # share of a side by which rounding may leave the film


def read_text(path: Path, names: dict[int, str], keypoint_values: int = 0) -> Drawing:
    """What one text file draws on its film.

    Args:
        path: the file.
        names: of the classes by number.
        keypoint_values: numbers after a box that say where key points are.

    """
    drawing = Drawing(measured_on=SHARES)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        drawing.faults.append(f"{path.name} cannot be read: {type(error).__name__}")
        return drawing
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            drawing.marks.append(_mark(line, names, keypoint_values))
        except ValueError as error:
            drawing.faults.append(f"{path.name}, line {number}: {error}")
    return drawing


def _mark(line: str, names: dict[int, str], keypoint_values: int) -> Mark:
    """The object of one line.

    Raises:
        ValueError: it is none; the text is the reason.

    """
    try:
        first, *values = (float(word) for word in line.split())
    except ValueError:
        raise ValueError("not a class and numbers") from None
    if not first.is_integer() or int(first) not in names:
        raise ValueError(f"there is no class {first:g}; there are {len(names)}")
    if keypoint_values and len(values) == 4 + keypoint_values:
        values = values[:4]
    if not all(math.isfinite(value) and -BEYOND <= value <= 1 + BEYOND for value in values):
        raise ValueError("values are no shares between 0 and 1")
    return Mark(names[int(first)], _box(values))


def _box(values: list[float]) -> Box:
    if len(values) == 4:
        x, y, width, height = values
        if width <= 0 or height <= 0:
            raise ValueError("a box without area")
        return x - width / 2, y - height / 2, width, height
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"{len(values)} values after the class; a box has 4, an outline an even number from 6 on")
    return around(values)
