"""Commands on films outside the project: fetch a public set, audit any folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from components.cli.options import AsJson
from osteon.params import Params, layout_names, load_params

LEAK = 3  # exit code


def fetch(
    name: Annotated[str, typer.Argument(metavar="SET", help="left out: list the sets", show_default=False)] = "",
) -> None:
    """Fetch a public set of films from the table data/sources.yaml."""
    from osteon.remotes import public_sets

    for line in public_sets.fetch(name) if name else public_sets.list_sources():
        typer.echo(line)


def preview_films(paths: Mapping[str, Path], params: Params) -> list[str]:
    """What `osteon ingest --dry-run` prints."""
    from components.ingestion.preview import preview

    return preview(paths.get("source", Path(params.data.root)), params.data)


def audit(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="of films; nothing is written there")],
    layout: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(layout_names())}; left out: the first that fits")
    ] = "",
    params: Annotated[
        Path | None,
        typer.Option(help="has data.classes, columns, label_file and patient_pattern; left out: the defaults"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="write pairs.csv, least_certain.png and audit.json; left out: write nothing"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search any folder of films for copies, and report what they do to its splits, labels and figures.

    It needs no project, and reads no params.yaml unless you name it. Splits come from the layout, or from folders
    named train, val or test. Exit code 0: no leak found; 3: the given splits leak; 2: misuse; 1: a fault of Osteon.
    """
    if layout and layout not in layout_names():
        raise typer.BadParameter(f"no layout {layout}; there are {', '.join(layout_names())}", param_hint="--layout")
    data = (load_params(params) if params else Params()).data

    from osteon.audit import audit as audits
    from osteon.audit import tables

    result = audits.audit_folder(folder, layout or None, data, out)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        tables.print_audit(result)
    if result.leaking:
        raise typer.Exit(LEAK)
