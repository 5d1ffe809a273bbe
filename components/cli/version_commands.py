"""Commands on a version of the model: put an earlier one into use, make one again."""

from pathlib import Path
from typing import Annotated

import typer

NOT_REPRODUCED = 4  # exit code


def rollback(
    why: Annotated[str, typer.Option(help="the reason, kept in the log")],
    to: Annotated[str, typer.Option(metavar="VERSION", help="left out: the version in use before")] = "",
) -> None:
    """Put an earlier version into use again, and log it like a promotion."""
    from components.promotion.rollback import roll_back

    typer.echo(roll_back(to or None, why))


def reproduce(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="of osteon-fracture, champion or previous", show_default=False)
    ],
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="work there and leave it; left out: a temporary folder, removed at the end"),
    ] = None,
) -> None:
    """Make a version again from its commit and films, and compare its figures.

    All steps run in a folder of their own; the project and its registry stay as they are. Exit code 0: no figure
    differs by more than 0.001; 4: a figure does, or the films differ; 2: misuse, or its origin is not known;
    1: a fault of Osteon.
    """
    from components.cli.show_reproduction import reproduce_and_print

    if not reproduce_and_print(version, keep):
        raise typer.Exit(NOT_REPRODUCED)
