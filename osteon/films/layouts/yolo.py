"""YOLO (Ultralytics, Roboflow, CVAT, Label Studio): images/ and labels/ with one text a film, classes in data.yaml.

images/train/a.png ↔ labels/train/a.txt, train/images/a.png ↔ train/labels/a.txt, or the text beside the film. Classes
from data.yaml (names:, a list or a mapping), classes.txt or obj.names. Boxes, outlines and turned boxes; an outline
becomes the box around it. Boxes are of the film as it is shown. An empty text is a film on which somebody found nothing
(data.empty_annotation), a film without a text may be one that nobody looked at (data.missing_annotation).
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from osteon.errors import OsteonError
from osteon.films.boxes.drawing import Drawing, labelled, meanings, say_other_classes
from osteon.films.boxes.film_names import FilmNames, name_parts
from osteon.films.boxes.yolo_text import read_text
from osteon.films.film_files import film_files, plain_files
from osteon.films.layouts.folders import SPLITS, split_of
from osteon.folding import folded
from osteon.params import DataParams

KNOWS = ("boxes", "splits")
LISTS = ("classes.txt", "obj.names", "_darknet.labels")  # of class names, one a line
SETTINGS = (".yaml", ".yml")


def read(root: Path, params: DataParams) -> pd.DataFrame:
    """One row a film, and one for each text file whose film is not there."""
    named_classes = _settings(root)
    if named_classes is None:
        raise OsteonError(
            f"{root}: no data.yaml with names:, no {' and no '.join(LISTS)}; the layout yolo needs the classes' names"
        )
    place, settings = named_classes
    names = _names(place, settings)
    films = list(film_files(root))
    splits = _splits(root, place, settings, films)
    texts = _texts(root)
    pairs = {film: _text_of(film, texts) for film in films}
    sharing = Counter(text for text in pairs.values() if text)
    keypoint_values = _keypoint_values(settings)
    drawings: dict[PurePath, Drawing] = {}
    for film, text in pairs.items():
        if text:
            drawings[film] = read_text(root / text, names, keypoint_values)
            if sharing[text] > 1:
                drawings[film].faults.append(f"{sharing[text]} films have the text {text.as_posix()}")
    lone = {_film_of(text): text for text in sorted(texts.values()) if text not in sharing}
    for film, text in lone.items():
        drawings[film] = read_text(root / text, names, keypoint_values)

    classes = meanings(names.values(), params.classes, str(place))
    say_other_classes(drawings.values(), classes)
    rows = []
    for film in [*films, *lone]:
        row: dict[str, object] = {"film_id": film.as_posix(), "path": film.as_posix(), "finding": "fractured"}
        given = splits.get(film)
        row["given_split"] = next(iter(given)) if given and len(given) == 1 else None if given else split_of(film)
        rows.append(row | labelled(drawings.get(film), root / film, classes, params))
    return pd.DataFrame(rows)


def class_words(root: Path, params: DataParams) -> Counter[str] | None:  # noqa: ARG001 – the form of a layout
    """Objects of each class; None if the folder is not laid out like this."""
    named_classes = _settings(root)
    if named_classes is None:
        return None
    texts = _texts(root)
    pairs = [text for film in film_files(root) if (text := _text_of(film, texts))]
    if not pairs:
        return None
    names = _names(*named_classes)
    words = Counter(dict.fromkeys(names.values(), 0))
    for text in pairs:
        words.update(mark.name for mark in read_text(root / text, names, _keypoint_values(named_classes[1])).marks)
    return words


def _settings(root: Path) -> tuple[Path, dict[str, Any]] | None:
    """The file that names the classes, and what it says; the outermost, where there are several."""
    files = sorted(plain_files(root), key=lambda path: (len(path.parts), path.name != "data.yaml", path))
    for path in files:
        if path.suffix.lower() in SETTINGS:
            try:
                content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig"))
            except (YAMLError, UnicodeDecodeError):
                continue
            if isinstance(content, dict) and isinstance(content.get("names"), list | dict):
                return path, content
    for path in files:
        if path.name.lower() in LISTS:
            lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            return path, {"names": [line.strip() for line in lines if line.strip()]}
    return None


def _names(place: Path, settings: dict[str, Any]) -> dict[int, str]:
    names = settings["names"]
    try:
        numbered = {
            int(number): str(name) for number, name in (names.items() if isinstance(names, dict) else enumerate(names))
        }
    except (TypeError, ValueError):
        raise OsteonError(f"{place}: names: must be a list, or a mapping from numbers to names") from None
    count = settings.get("nc")
    if not numbered or (isinstance(count, int) and count != len(numbered)):
        raise OsteonError(f"{place}: nc is {count}, and names: has {len(numbered)}; correct one of them")
    return numbered


def _keypoint_values(settings: dict[str, Any]) -> int:
    match settings.get("kpt_shape"):
        case [int(points), int(values)]:
            return points * values
    return 0


def _texts(root: Path) -> dict[tuple[str, ...], Path]:
    """Text files that may be a film's, by their folded path without extension."""
    texts = {}
    for path in plain_files(root):
        relative = path.relative_to(root)
        if path.suffix.lower() == ".txt" and path.name.lower() not in LISTS:
            texts[_key(relative)] = relative
    films_folders = {_key(film)[:-1] for film in film_files(root)}
    return {
        key: text
        for key, text in texts.items()
        if "labels" in key[:-1] or (key[:-1] in films_folders and not _is_no_label(root / text))
    }


def _key(path: PurePath) -> tuple[str, ...]:
    return tuple(map(folded, path.with_suffix("").parts))


def _is_no_label(path: Path) -> bool:
    """A text beside films that is a note, or a list of films: its first line does not begin with a number."""
    with path.open("rb") as file:
        words = file.readline(400).removeprefix(b"\xef\xbb\xbf").split()
    return bool(words) and not (len(words) > 4 and words[0].isdigit())


def _text_of(film: PurePath, texts: dict[tuple[str, ...], Path]) -> Path | None:
    return next((texts[key] for key in _places(_key(film)) if key in texts), None)


def _places(key: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Where a film's text may be: images → labels (the last such folder first), beside it, in labels/."""
    for at in reversed(range(len(key) - 1)):
        if key[at] in ("images", "image", "imgs"):
            yield (*key[:at], "labels", *key[at + 1 :])
    yield key
    for at in reversed(range(len(key))):
        yield (*key[:at], "labels", *key[at:])


def _film_of(text: Path) -> Path:
    """Where the film of a text without one would be; its extension is not known."""
    parts = list(text.with_suffix("").parts)
    at = next((at for at in reversed(range(len(parts) - 1)) if parts[at].casefold() == "labels"), None)
    if at is not None:
        parts[at] = "images"
    return Path(*parts)


def _splits(root: Path, place: Path, settings: dict[str, Any], films: list[Path]) -> dict[PurePath, set[str]]:
    """The splits that data.yaml gives each film: its train:, val: and test: are a folder, a list of films, or several.

    Paths of another machine are common there (path: /content/data, train: ../train/images of Roboflow), so that the
    longest end of each that is here counts.
    """
    given: dict[PurePath, set[str]] = {}
    known = FilmNames(films)
    folder = place.parent.relative_to(root)
    for word, split in SPLITS.items():
        entries = settings.get(word) or []
        for entry in [entries] if isinstance(entries, str) else entries if isinstance(entries, list) else []:
            parts = name_parts(str(entry))
            target = next(
                (
                    root / folder.joinpath(*parts[at:])
                    for at in range(len(parts))
                    if (root / folder.joinpath(*parts[at:])).exists()
                ),
                place.parent if not parts else None,
            )
            if target is None:
                continue
            if target.is_dir():
                inside = [film for film in films if (root / film).is_relative_to(target)]
            else:
                lines = target.read_text(encoding="utf-8-sig", errors="replace").splitlines()
                matched = known.match([line for line in lines if line.strip()], folder)
                inside = [Path(films[0]) for films in matched if len(films) == 1]
            for film in inside:
                given.setdefault(film, set()).add(split)
    return given
