"""`osteon read`: what a model answers for films."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

UNREAD = 6  # exit code


def read(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="films, folders of films, zip archives")],
    model: Annotated[
        str,
        typer.Option(
            help="models:/osteon-fracture@champion, models:/NAME/VERSION, runs:/RUN/model, or a folder with a package. "
            "Left out: the model in use; where there is none, artifacts/model, as the step train makes it",
            show_default=False,
        ),
    ] = "",
    recursive: Annotated[bool, typer.Option("--recursive", help="also the films in folders below a folder")] = False,
    study: Annotated[
        bool, typer.Option("--study", help="also an answer a study, by DICOM's StudyInstanceUID: its highest film's")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write a table: .csv, .jsonl or .parquet", show_default=False)
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="write each film with outlines of its map and its boxes", show_default=False),
    ] = None,
) -> None:
    """Read films: how likely each shows a fracture, and whether that rules one out or in.

    One film is answered in words, several with a line each. An answer below rule-out or at or above rule-in comes with
    the guarantee of docs/training.md; between them it is 'uncertain'. A film that is unlike those that the model was
    trained on is refused. Nothing of a film is kept, and no patient's name is read.

    Osteon is a research tool and no medical device.

    Exit code 0: every film was read; 6: some could not be read (a row each, with the reason); 2: misuse; 1: a fault of
    Osteon.
    """
    from osteon.answers.film_sources import find_sources
    from osteon.films.left_out import skipped_line, warning_of

    sources = find_sources(paths, recursive=recursive)
    if sources.deeper:
        many = "1 film in folders below is" if sources.deeper == 1 else f"{sources.deeper:,} films in folders below are"
        typer.echo(f"note: {many} not read: add --recursive", err=True)
    for line in filter(None, (warning_of(sources.left_out), skipped_line(sources.left_out))):
        typer.echo(f"note: {line}", err=True)

    from components.cli.show_answers import show_answers
    from osteon.models.package.package import open_package

    with TemporaryDirectory() as temporary:
        place, folder = _find_model(model, Path(temporary))
        # Several films are answered side by side, each by one thread.
        package = open_package(folder, threads=1 if len(sources.films) > 1 else 0)
        unread = show_answers(package, place, sources.films, out=out, maps=maps, study=study)
    if unread:
        raise typer.Exit(UNREAD)


def _find_model(model: str, temporary: Path) -> tuple[str, Path]:
    """A model's address, and the folder of its package. A folder needs no MLflow, whose import takes seconds."""
    if model and not model.startswith(("models:/", "runs:/")):
        return model, Path(model)

    if not model:
        from osteon.answers.model_in_use import package_in_use

        return package_in_use(temporary)

    from osteon.records.model_packages import fetch_package

    return model, fetch_package(model, temporary)
