"""What `osteon read` prints and writes."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import typer

from osteon.answers.answer_tables import Write, answer_table
from osteon.answers.film_answers import FilmAnswer, answer_films, fuse_films, row_of
from osteon.answers.film_sources import FilmSource
from osteon.answers.in_words import in_words, spoken
from osteon.answers.map_picture import map_picture
from osteon.films.reading.decoding import decode
from osteon.models.package.package import Package, PackageInfo
from osteon.progress import progress


def show_answers(
    package: Package, model: str, films: Sequence[FilmSource], *, out: Path | None, maps: Path | None, study: bool
) -> int:
    """Answer for films: a line each and a count, or one film in words; a table and pictures where they are wanted.

    Returns:
        How many could not be read.

    """
    info = package.info
    alone = len(films) == 1
    answers = answer_films(package, films, maps=maps is not None, studies=study)
    kept = []
    with _table(out) as write:
        for number, given in enumerate(progress(answers, "reading", len(films)) if out else answers):
            picture = _write_picture(maps, number, given, info) if maps else ""
            write(row_of(given, "film", info, model, picture))
            if not out:
                _print(given, info, alone=alone)
            kept.append(replace(given, heat=None, data=b""))
        for fused in fuse_films(kept, info) if study else []:
            write(row_of(fused, "study", info, model))
            if not out:
                _print(fused, info, alone=alone)
    if out and alone:
        _print(kept[0], info, alone=True)
    unread = sum(given.unread for given in kept)
    if not alone:
        _print_counts(kept, unread)
    typer.echo(f"model {model}; a research tool, no medical device", err=True)
    for path in filter(None, (out, maps)):
        typer.echo(f"wrote {path}", err=True)
    return unread


@contextmanager
def _table(out: Path | None) -> Iterator[Write]:
    if out is None:
        yield lambda row: None  # noqa: ARG005
    else:
        with answer_table(out) as write:
            yield write


def _print(given: FilmAnswer, info: PackageInfo, *, alone: bool) -> None:
    if alone and not given.unread:
        warnings = [given.reason] if given.reason else given.warnings
        typer.echo(in_words(given.probability, given.answer, warnings, info))
    elif math.isnan(given.probability):
        typer.echo(f"   –    {'not read' if given.unread else 'no answer':14}  {given.name}: {given.reason}")
    else:
        doubts = f"  ({'; '.join(given.warnings)})" if given.warnings else ""
        typer.echo(f"{100 * given.probability:5.1f} %  {spoken(given.answer):14}  {given.name}{doubts}")


def _print_counts(kept: Sequence[FilmAnswer], unread: int) -> None:
    counts = Counter(given.answer for given in kept if not given.unread)
    kinds = ", ".join(f"{count:,} {spoken(answer)}" for answer, count in counts.most_common())
    rest = f"; {unread:,} not read" if unread else ""
    typer.echo(f"{len(kept):,} films: {kinds or 'no answer'}{rest}", err=True)


def _write_picture(folder: Path, number: int, given: FilmAnswer, info: PackageInfo) -> str:
    """Write a film with what the model marks on it; the file's name, or nothing where the film was not read."""
    if given.unread:
        return ""
    film = decode(given.data, max_megapixels=info.limits.max_megapixels, depth=info.depth)
    # The number, for two films may have one name; the name without what a file system does not take.
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in Path(given.name).name)[:100]
    name = f"{number + 1:06d}-{stem}.png"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(map_picture(film, given.heat, given.boxes, info.image_size))
    return name
