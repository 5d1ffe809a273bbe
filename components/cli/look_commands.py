"""Commands that look and change nothing: parameters, the last evaluation, lineage, the registry's history."""

import json
from pathlib import Path
from typing import Annotated

import typer

from components.cli.options import PARAMS_FILE, AsJson, ParamsFile
from osteon.environment import uncommitted_code_warning
from osteon.files import check_hashable
from osteon.params import Params, flatten, load_params


def show_params(
    params: ParamsFile = PARAMS_FILE,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON schema of the file instead")] = False,
) -> None:
    """Check the parameter file and the names of the films, and print all values. Warn of code that is not committed.

    `make run` begins with this.
    """
    if schema:
        typer.echo(json.dumps(Params.model_json_schema(), indent=2))
        return
    checked = load_params(params)
    if (folder := Path(checked.data.root)).is_dir():
        check_hashable(folder)
    for key, value in flatten(checked).items():
        typer.echo(f"{key}: {value}")
    if warning := uncommitted_code_warning():
        typer.echo(f"warning: {warning}", err=True)


def summary(
    report: Annotated[Path, typer.Option(help="output folder of the step evaluate")] = Path("reports/evaluation"),
) -> None:
    """Print the figures, times and warnings of the last evaluation."""
    from components.cli.show_evaluation import print_summary

    print_summary(report)


def lineage(
    what: Annotated[
        str, typer.Argument(metavar="RUN_OR_MODEL", help="a run's id, models:/NAME/VERSION or m-…", show_default=False)
    ] = "",
    film: Annotated[
        str, typer.Option(metavar="FILM", help="its id, file or hash: list the models that used it", show_default=False)
    ] = "",
    films: Annotated[bool, typer.Option("--films", help="list the films behind the model, as CSV")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what a run or model was made from, or which models used a film."""
    from components.cli import show_films, show_lineage

    if bool(what) == bool(film) or (film and films):
        raise typer.BadParameter("give RUN_OR_MODEL (and --films, if you like) or --film FILM")
    if film:
        show_films.print_film(film, as_json)
    elif films:
        show_films.print_films(what, as_json)
    else:
        show_lineage.print_lineage(what, as_json)


def show_history(as_json: AsJson = False) -> None:
    """Print every decision in order: which version, who, when, why."""
    from components.cli.show_history import print_history

    print_history(as_json)
