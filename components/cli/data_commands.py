"""`osteon data`: which layouts there are, and which one a folder has."""

from pathlib import Path
from typing import Annotated

import typer

from osteon.params import Params, load_params


def list_layouts() -> None:
    """List the layouts, and what each knows of a film."""
    from osteon.films import guessing

    for line in guessing.describe_layouts():
        typer.echo(line)


def guess_layout(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="of films; nothing is written there")],
    params: Annotated[
        Path | None,
        typer.Option(help="read data.columns and label_file from this file; left out: the defaults"),
    ] = None,
) -> None:
    """Look at a folder and propose layout and classes, as YAML for params.yaml.

    What it saw goes to stderr. What it is not sure of is marked `# check`. What it cannot tell is an error.
    """
    data = (load_params(params) if params else Params()).data

    from osteon.films import guessing

    proposal = guessing.guess(folder, data)
    for line in guessing.seen(proposal):
        typer.echo(line, err=True)
    typer.echo(guessing.as_yaml(proposal), nl=False)
