"""The files of a folder that are not among its films: their kinds, counted, and what a person is told of them."""

from collections.abc import Iterable
from typing import NamedTuple

_LIKE_FILMS = "files that look like films, or may hold some,"


class LeftOut(NamedTuple):
    """A file that is not among the films: its path below the folder, with '/', its kind, and what to do with it.

    Nothing is to do with what is no film.
    """

    path: str
    kind: str
    advice: str = ""


class KindCount(NamedTuple):
    """How many files of one kind there are, and the first of them."""

    files: int
    kind: str
    advice: str
    first: str


def count_kinds(left_out: Iterable[LeftOut]) -> list[KindCount]:
    """The kinds with their numbers: first those with which something is to do, then the commonest."""
    kinds: dict[tuple[str, str], list[LeftOut]] = {}
    for file in left_out:
        kinds.setdefault((file.kind, file.advice), []).append(file)
    counts = [KindCount(len(files), *kind, files[0].path) for kind, files in kinds.items()]
    return sorted(counts, key=lambda count: (not count.advice, -count.files, count.kind))


def warning_of(left_out: Iterable[LeftOut]) -> str:
    """What looks like a film, or may hold some, and is not read; empty where nothing does."""
    counts = [count for count in count_kinds(left_out) if count.advice]
    if not counts:
        return ""
    kinds = "; ".join(f"{count.files:,} × {count.kind} ({count.advice}), as {shown(count.first)}" for count in counts)
    many = sum(count.files for count in counts)
    what = "1 file that looks like a film, or may hold some, is" if many == 1 else f"{many:,} {_LIKE_FILMS} are"
    return f"{what} not read: {kinds}"


def skipped_line(left_out: Iterable[LeftOut]) -> str:
    """What goes with films and is none; empty where there is nothing."""
    counts = [count for count in count_kinds(left_out) if not count.advice]
    if not counts:
        return ""
    many = sum(count.files for count in counts)
    kinds = ", ".join(f"{count.files:,} × {count.kind}" for count in counts)
    return f"{many:,} {'file is' if many == 1 else 'files are'} no film, and skipped: {kinds}"


def shown(path: str) -> str:
    """A path on one line."""
    return path if path.isprintable() else ascii(path)
