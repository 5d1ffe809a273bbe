"""Pascal VOC's XML: one file a film, an object a box (Everingham et al., IJCV 2010)."""

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from osteon.films.boxes.drawing import Drawing, Mark
from osteon.films.manifest import Box


@dataclass
class VocFile:
    """What a file draws, and the film's name as it says it."""

    drawing: Drawing
    name: str | None


class _RefusedError(Exception):
    pass


def read_voc(path: Path) -> VocFile | None:
    """One file; None if it is XML of another kind. What has no sense in it is a fault of the drawing."""
    try:
        root = _parsed(path.read_bytes())
    except (expat.ExpatError, _RefusedError, OSError, ValueError, LookupError) as error:
        return VocFile(Drawing(faults=[f"{path.name} cannot be read: {error}"]), None)
    if root.tag != "annotation":
        return None
    drawing = Drawing(measured_on=_size(root))
    for item in root.iter("object"):
        name = (item.findtext("name") or "").strip()
        try:
            if not name:
                raise ValueError("an object without a name")
            drawing.marks.append(Mark(name, _box(item)))
        except ValueError as error:
            drawing.faults.append(f"{path.name}: {error}")
    return VocFile(drawing, (root.findtext("filename") or "").strip() or None)


def _parsed(data: bytes) -> Element:
    """The tree of an XML file that has no document type.

    A document type defines entities, which can grow to gigabytes or read files; xml.etree alone cannot refuse them.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    parser.Parse(data, True)
    return builder.close()


def _refuse(*_: object) -> None:
    raise _RefusedError("it has a document type (<!DOCTYPE …>), which is refused: it can hide whole files")


def _size(root: Element) -> tuple[float, float] | None:
    try:
        width, height = (float(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _box(item: Element) -> Box | None:
    """VOC counts pixels from 1, and xmax and ymax are the last pixels inside."""
    corners = item.find("bndbox")
    turned = item.find("robndbox")
    if corners is not None:
        left, top, right, bottom = (_number(corners, name) for name in ("xmin", "ymin", "xmax", "ymax"))
        if right < left or bottom < top:
            raise ValueError("a box whose end is before its beginning")
        return left - 1, top - 1, right - left + 1, bottom - top + 1
    if turned is not None:
        x, y, w, h, angle = (_number(turned, name) for name in ("cx", "cy", "w", "h", "angle"))
        cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
        width, height = w * cosine + h * sine, w * sine + h * cosine
        return x - width / 2, y - height / 2, width, height
    return None


def _number(item: Element, name: str) -> float:
    try:
        value = float(item.findtext(name) or "")
    except ValueError:
        raise ValueError(f"no number {name} in a box") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} of a box is {value}")
    return value
