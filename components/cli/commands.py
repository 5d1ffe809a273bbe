"""The command osteon: one subcommand a step, made from the step's own signature, and a few that look.

Nothing heavy is imported here: `osteon --help` answers at once.
"""

import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.steps import STEPS
from osteon.contract import Output, Step, Summary, describe
from osteon.environment import collect_garbage_rarely
from osteon.errors import OsteonError
from osteon.params import Params, describe_keys, flatten, layout_names, load_params
from osteon.progress import configure_logging
from osteon.redaction import redact

if TYPE_CHECKING:
    from osteon.remotes.bucket import Finding

app = typer.Typer(
    name="osteon",
    help="Find bone fractures on radiographs, and be honest about how sure that is.\n\n"
    "`dvc repro` runs the steps phantoms to evaluate one after the other, with the paths in dvc.yaml. "
    "Parameters come from params.yaml.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

ParamsFile = Annotated[Path, typer.Option("--params", help="parameter file", show_default=True)]
PARAMS_FILE = Path("params.yaml")
LEAK = 3  # exit code


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
) -> None:
    # Read again in main(), where the errors arrive.
    if debug:
        os.environ["OSTEON_DEBUG"] = "1"


def _command(step: Step) -> Callable[..., None]:
    """The subcommand of a step: an option for each path, and the parameter file."""

    def run(**given: Any) -> None:
        from osteon.records.runs import run_step

        params = load_params(given.pop("params"))
        _end(step, run_step(step, given, params))

    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[Path, typer.Option(f"--{name}", help=_path_help(name, step))],
        )
        for name in step.paths
    ]
    file = inspect.Parameter("params", inspect.Parameter.KEYWORD_ONLY, annotation=ParamsFile, default=PARAMS_FILE)
    run.__signature__ = inspect.Signature([*options, file])  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in (*options, file)}
    run.__name__ = step.name
    return run


def _end(step: Step, summary: Summary) -> None:
    """A step's last line, and what its command ends with."""
    typer.echo(f"{step.name}: {summary.line()}")
    if code := summary.exit_code():
        raise typer.Exit(code)


def _path_help(name: str, step: Step) -> str:
    mark = step.paths[name]
    return f"{'writes' if isinstance(mark, Output) else 'reads'}: {mark.help}"


def _keys_help(step: Step) -> str:
    """The keys of the step's sections with their defaults, for the end of its help."""
    lines = ["\b"]
    for kind in step.sections.values():
        section = next(name for name, found in Params.model_fields.items() if found.annotation is kind)
        lines += [f"Keys of {PARAMS_FILE}, section {section}, with their defaults:"]
        meanings = describe_keys(kind)
        lines += [f"  {f'{key}: {value}':<26}  {meanings[key]}" for key, value in flatten(kind()).items()]
    return "\n".join(lines)


for _step in STEPS.values():
    app.command(
        name=_step.name,
        help=_step.help,
        epilog=_keys_help(_step),
    )(_command(_step))


@app.command(name="params")
def show_params(
    params: ParamsFile = PARAMS_FILE,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON schema of the file instead")] = False,
) -> None:
    """Check the parameter file and print all values."""
    if schema:
        typer.echo(json.dumps(Params.model_json_schema(), indent=2))
        return
    for key, value in flatten(load_params(params)).items():
        typer.echo(f"{key}: {value}")


@app.command()
def summary(
    report: Annotated[Path, typer.Option(help="output folder of the step evaluate")] = Path("reports/evaluation"),
) -> None:
    """Print the figures, times and warnings of the last evaluation."""
    from components.cli.summary import print_summary

    print_summary(report)


@app.command()
def lineage(
    what: Annotated[
        str, typer.Argument(metavar="RUN_OR_MODEL", help="a run's id, models:/NAME/VERSION or m-…", show_default=False)
    ] = "",
    film: Annotated[
        str, typer.Option(metavar="FILM", help="its id, file or hash: list the models that used it", show_default=False)
    ] = "",
    films: Annotated[bool, typer.Option("--films", help="list the films behind the model, as CSV")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Print what a run or model was made from, or which models used a film."""
    from components.cli.summary import print_film, print_films, print_lineage

    if bool(what) == bool(film) or (film and films):
        raise typer.BadParameter("give RUN_OR_MODEL (and --films, if you like) or --film FILM")
    if film:
        print_film(film, as_json)
    elif films:
        print_films(what, as_json)
    else:
        print_lineage(what, as_json)


@app.command(name="promote")
def promote_model(
    model: Annotated[Path, typer.Option(help="the packaged model")] = Path("artifacts/model"),
    policy: Annotated[Path, typer.Option(help="rules that a model must pass")] = Path("mlflow/promotion.yaml"),
    dataset: Annotated[Path, typer.Option(help="prepared films")] = Path("data/prepared"),
    report: Annotated[Path, typer.Option(help="output folder of evaluate")] = Path("reports/evaluation"),
    leaks: Annotated[Path, typer.Option(help="pairs of copies, from prepare")] = Path("reports/leaks"),
    trusted: Annotated[Path, typer.Option(help="manifest of the trusted films, from validate")] = Path(
        "data/trusted.parquet"
    ),
    card: Annotated[Path, typer.Option(help="template of the model card")] = Path("mlflow/model_card.md.j2"),
    decision: Annotated[Path, typer.Option(help="writes: the decision, its page, the model card")] = Path(
        "reports/promotion"
    ),
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Judge the packaged model against the one in use, and put it into use if no rule fails.

    The model becomes a version of osteon-fracture in MLflow's registry; the version in use has the alias champion. Exit
    code 0: promoted, or in use already; 4: not good enough, with the rules that fail; 2: misuse; 1: a fault of Osteon.
    """
    from components.promotion.step import promote
    from osteon.records.runs import run_step

    values = load_params(params)
    paths = {
        "model": model,
        "dataset": dataset,
        "source": Path(values.data.root),
        "trusted": trusted,
        "report": report,
        "leaks": leaks,
        "policy": policy,
        "card": card,
        "decision": decision,
    }
    step = describe(promote)
    _end(step, run_step(step, paths, values, patient=False))


@app.command()
def rollback(
    why: Annotated[str, typer.Option(help="the reason, kept in the log")],
    to: Annotated[str, typer.Option(metavar="VERSION", help="left out: the version in use before")] = "",
) -> None:
    """Put an earlier version into use again, and log it like a promotion."""
    from components.promotion.rollback import roll_back

    typer.echo(roll_back(to or None, why))


@app.command(name="reproduce")
def reproduce_version(
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
    from components.cli.summary import print_comparison
    from components.reproduction.reproduce import NOT_REPRODUCED, reproduce

    found = reproduce(version, keep)
    print_comparison(found)
    if not found.reproduced:
        raise typer.Exit(NOT_REPRODUCED)


registry = typer.Typer(help="The log of decisions on the model in use.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(registry, name="registry")


@registry.command(name="history")
def show_history(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Print every decision in order: which version, who, when, why."""
    from components.cli.summary import print_history

    print_history(as_json)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="SET", help="left out: list the sets", show_default=False)] = "",
) -> None:
    """Fetch a public set of films from the table data/sources.yaml."""
    from osteon.remotes.public_sets import fetch, list_sources

    for line in fetch(name) if name else list_sources():
        typer.echo(line)


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="of films; nothing is written there")],
    layout: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(layout_names())}; left out: the first that fits")
    ] = "",
    params: Annotated[
        Path | None,
        typer.Option(help="read data.classes, columns and label_file from this file; left out: the defaults"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="write pairs.csv, least_certain.png and audit.json; left out: write nothing"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Search any folder of films for copies, and report what they do to its splits, labels and figures.

    It needs no project, and reads no params.yaml unless you name it. Splits come from the layout, or from folders
    named train, val or test. Exit code 0: no leak found; 3: the given splits leak; 2: misuse; 1: a fault of Osteon.
    """
    if layout and layout not in layout_names():
        raise typer.BadParameter(f"no layout {layout}; there are {', '.join(layout_names())}", param_hint="--layout")
    data = (load_params(params) if params else Params()).data

    from osteon.audit.audit import audit_folder
    from osteon.audit.tables import print_audit

    found = audit_folder(folder, layout or None, data, out)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        print_audit(found)
    if found.leaking:
        raise typer.Exit(LEAK)


storage = typer.Typer(
    help="The DVC remote on S3: its bucket, its settings, and whether it can be used.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(storage, name="storage")


@storage.command(name="init")
def init_storage(
    url: Annotated[
        str | None, typer.Argument(metavar="s3://BUCKET/PREFIX", help="left out: the remote that DVC has")
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="of an S3 server other than AWS, such as MinIO")
    ] = None,
) -> None:
    """Make the bucket or correct its settings, test it, and write it into .dvc/config; safe to repeat."""
    from osteon.remotes.bucket import init

    _say(init(url, endpoint_url))


@storage.command(name="check")
def check_storage() -> None:
    """Check DVC's remote, and change nothing."""
    from osteon.remotes.bucket import check

    _say(check())


def _say(findings: "Iterator[Finding]") -> None:
    """Print each finding as it comes; what is wrong with some makes an error at the end."""
    from osteon.remotes.bucket import WRONG

    wrong = 0
    for finding in findings:
        typer.echo(finding.line())
        wrong += finding.state in WRONG
    if wrong:
        said = "1 thing is not as it should be" if wrong == 1 else f"{wrong} things are not as they should be"
        raise OsteonError(f"{said}, marked ✗ above")


def _end_with_traceback() -> None:
    """With --debug, print the traceback of the present error, redacted, and end."""
    if os.environ.get("OSTEON_DEBUG"):
        typer.echo(redact(traceback.format_exc().rstrip()), err=True)
        sys.exit(1)


def main() -> None:
    """Run the command; an error the user can mend is one line and exit code 2."""
    collect_garbage_rarely()
    configure_logging()
    try:
        app()
    except OsteonError as error:
        _end_with_traceback()
        typer.echo(redact(f"error: {error}"), err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        _end_with_traceback()
        typer.echo(redact(f"error: {type(error).__name__}: {error}"), err=True)
        typer.echo("This is a fault of Osteon or its machine; `osteon --debug …` shows where.", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
