"""Films by what an annotation calls them."""

import re
from collections.abc import Iterable
from pathlib import PurePath, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from osteon.films.layouts.folders import split_of
from osteon.folding import folded

_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")  # Label Studio's mark before a file's own name


def name_parts(name: str) -> tuple[str, ...]:
    r"""Folders and file of a name as a tool wrote it: Windows' separators, an address, '..' before it.

    `..\media\upload\4\a.png` → media, upload, 4, a.png; `/data/local-files/?d=x/a.png` → x, a.png
    """
    text = name.strip()
    if "?" in text or "://" in text:
        address = urlsplit(text)
        text = unquote(parse_qs(address.query).get("d", [address.path])[0])
    parts = text.replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", ".", "..") and not part.endswith(":"))


class FilmNames:
    """The films of a folder, to be found by name."""

    def __init__(self, paths: Iterable[PurePath]) -> None:
        """Take the films' paths, relative to the folder."""
        self._by_file: dict[str, list[PurePath]] = {}
        self._by_stem: dict[str, list[PurePath]] = {}
        for path in paths:
            self._by_file.setdefault(folded(path.name), []).append(path)
            self._by_stem.setdefault(folded(path.stem), []).append(path)

    def match(self, names: list[str], near: PurePath, split: str | None = None) -> list[list[PurePath]]:
        """The films that each name of one annotation file can mean: one, none, or several where that is not clear.

        A film fits whose path ends with the name. Folders at the front of a name (of another machine) are left out as
        long as no other name of the file has a folder that is here: then a name without its folder is another film.

        Args:
            names: as the annotation file has them.
            near: its folder; of several films those below it come first.
            split: that the annotation file is of; of several films those of this split come first.

        """
        matches = [self._by_end(name_parts(name)) for name in names]
        if not any(films for _, films in matches):
            matches = [self._by_end((*parts[:-1], _UPLOAD.sub("", parts[-1]))) for parts in map(_some, names)]
        folders_count = any(depth > 1 for depth, _ in matches)
        return [
            []
            if folders_count and depth == 1 and len(name_parts(name)) > 1
            else _nearest(films, name_parts(name), near, split)
            for name, (depth, films) in zip(names, matches, strict=True)
        ]

    def _by_end(self, parts: tuple[str, ...]) -> tuple[int, list[PurePath]]:
        """How many of the last parts fit, and the films that they fit."""
        if not parts:
            return 0, []
        last = folded(parts[-1])
        films = self._by_file.get(last, [])
        if not films:  # a name without its extension, or with another one
            films = self._by_stem.get(last, []) or self._by_stem.get(folded(PurePosixPath(parts[-1]).stem), [])
        depth = 1 if films else 0
        while depth and depth < len(parts):
            folder = folded(parts[-1 - depth])
            deeper = [film for film in films if len(film.parts) > depth and folded(film.parts[-1 - depth]) == folder]
            if not deeper:
                break
            films, depth = deeper, depth + 1
        return depth, films


def _some(name: str) -> tuple[str, ...]:
    return name_parts(name) or ("",)


def _nearest(films: list[PurePath], parts: tuple[str, ...], near: PurePath, split: str | None) -> list[PurePath]:
    """Of several films those that are meant most likely: exactly there, below `near`, of its split."""
    if len(films) < 2:
        return films
    exact = [film for film in films if film.parts in ((*near.parts, *parts), parts)]
    below = [film for film in films if film.is_relative_to(near)]
    same_split = [film for film in films if split and split_of(film) == split]
    for choice in (exact[:1], below if len(below) == 1 else [], same_split if len(same_split) == 1 else []):
        if choice:
            return choice
    return films
