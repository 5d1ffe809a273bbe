"""COCO's JSON: images, annotations and categories in one file (https://cocodataset.org/#format-data)."""

import json
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from osteon.errors import OsteonError
from osteon.films.boxes.drawing import Mark, around
from osteon.films.manifest import Box


@dataclass
class CocoImage:
    """One entry of `images`: its name and size as the file has them, what is drawn on it, and what is wrong there."""

    name: str
    measured_on: tuple[float, float] | None
    patient: str | None
    marks: list[Mark] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass
class CocoFile:
    """A COCO file's images, and the names of its categories."""

    images: list[CocoImage]
    categories: list[str]


def read_coco(path: Path) -> CocoFile | None:
    """One file; None if it is JSON of another kind.

    Raises:
        OsteonError: it looks like COCO, and something in it has no sense.

    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise OsteonError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in ("images", "categories")):
        return None
    try:
        return _coco_file(content)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise OsteonError(f"{path}: not COCO annotations ({type(error).__name__}: {error})") from None


def _coco_file(content: dict[str, Any]) -> CocoFile:
    categories = {str(category["id"]): str(category["name"]) for category in content["categories"]}
    images = {str(image["id"]): _image(image) for image in content["images"]}
    if len(images) != len(content["images"]):
        raise ValueError("two images have one id")
    for annotation in content.get("annotations") or []:
        image = images.get(str(annotation["image_id"]))
        if image is None:
            raise ValueError(f"an annotation is of image {annotation['image_id']}, which is not among its images")
        name = categories.get(str(annotation["category_id"]))
        if name is None:
            image.faults.append(f"its annotation is of category {annotation['category_id']}, which has no name")
            continue
        try:
            image.marks.append(Mark(name, _box(annotation)))
        except (TypeError, ValueError, IndexError, KeyError) as error:
            image.faults.append(f"an annotation has no box that makes sense: {error}")
    return CocoFile(list(images.values()), list(dict.fromkeys(categories.values())))


def _image(entry: dict[str, Any]) -> CocoImage:
    width, height = entry.get("width"), entry.get("height")
    size = (float(width), float(height)) if width and height else None
    patient = entry.get("patient_id")
    return CocoImage(str(entry["file_name"]), size, None if patient is None else str(patient))


def _box(annotation: dict[str, Any]) -> Box | None:
    """The box, or the one around its outline or its mask."""
    if box := annotation.get("bbox"):
        x, y, width, height = (float(value) for value in box)
        if width > 0 and height > 0:
            return x, y, width, height
    outline = annotation.get("segmentation")
    if isinstance(outline, dict):
        return _around_mask(outline)
    if outline:
        parts = outline if isinstance(outline[0], list) else [outline]
        box = around([float(value) for part in parts for value in part])
        if box[2] > 0 and box[3] > 0:
            return box
    if annotation.get("bbox"):
        raise ValueError("a box without area")
    return None


def _around_mask(mask: dict[str, Any]) -> Box:
    """The box around a mask as run lengths: 0 and 1 in turn, column by column; size is height, width."""
    height, _ = mask["size"]
    counts = mask["counts"]
    runs = list(accumulate(_run_lengths(counts) if isinstance(counts, str) else map(int, counts)))
    spans = [(start, end) for start, end in zip(runs[0::2], runs[1::2], strict=False) if end > start]
    if not spans:
        raise ValueError("an empty mask")
    left, right = spans[0][0] // height, (spans[-1][1] - 1) // height
    # A run over the end of a column covers the rows at both ends.
    whole = [start // height != (end - 1) // height for start, end in spans]
    top = 0 if any(whole) else min(start % height for start, _ in spans)
    bottom = height - 1 if any(whole) else max((end - 1) % height for _, end in spans)
    return float(left), float(top), float(right - left + 1), float(bottom - top + 1)


def _run_lengths(text: str) -> list[int]:
    """COCO's packed run lengths: 5 bits a character, low ones first; from the fourth on the change since two before."""
    runs: list[int] = []
    at = 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(text[at]) - 48
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            at, shift = at + 1, shift + 5
            if not more and bits & 0x10:
                value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
