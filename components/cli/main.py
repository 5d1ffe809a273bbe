"""The command osteon: one subcommand for each step, made from the step's signature, and a few that look.

Nothing heavy is imported here, so that `osteon --help` is fast: each command imports what it needs.
"""

import os
import signal
import sys
import threading
import traceback
from typing import Annotated

import typer

import osteon
from components.cli.data_commands import guess_layout, list_layouts
from components.cli.external_test_commands import external_test
from components.cli.film_commands import audit, fetch, preview_films
from components.cli.look_commands import lineage, show_history, show_params, summary
from components.cli.read_command import read
from components.cli.step_commands import add_step
from components.cli.storage_commands import check_storage, init_storage
from components.cli.version_commands import reproduce, rollback
from components.steps import PROMOTE, STEPS
from osteon.environment import collect_garbage_rarely
from osteon.errors import OsteonError
from osteon.progress import configure_logging
from osteon.records.retries import Retries
from osteon.redaction import redact

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


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"osteon {osteon.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="print the version and exit", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    # Read again in main(), where the errors arrive.
    if debug:
        os.environ["OSTEON_DEBUG"] = "1"


# In the order of the help.
for _step in STEPS.values():
    add_step(app, _step, preview=preview_films if _step.name == "ingest" else None)
app.command()(read)
app.command(name="params")(show_params)
app.command()(summary)
app.command()(lineage)
# A decision is made again at once, so it does not wait for a server that restarts.
add_step(app, PROMOTE, description=PROMOTE.description, retries=Retries.SHORT)
app.command(name="test")(external_test)
app.command()(rollback)
app.command()(reproduce)
app.command()(fetch)
app.command()(audit)

data = typer.Typer(help="How films are laid out in folders.", no_args_is_help=True, rich_markup_mode=None)
data.command(name="layouts")(list_layouts)
data.command(name="guess")(guess_layout)
app.add_typer(data, name="data")

registry = typer.Typer(help="The log of decisions on the model in use.", no_args_is_help=True, rich_markup_mode=None)
registry.command(name="history")(show_history)
app.add_typer(registry, name="registry")

storage = typer.Typer(
    help="The DVC remote on S3: its bucket, its settings, and whether it can be used.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
storage.command(name="init")(init_storage)
storage.command(name="check")(check_storage)
app.add_typer(storage, name="storage")


def _end_with_traceback() -> None:
    """With --debug, print the traceback of the present error, redacted, and end."""
    if os.environ.get("OSTEON_DEBUG"):
        typer.echo(redact(traceback.format_exc().rstrip()), err=True)
        sys.exit(1)


def main() -> None:
    """Run the command; an error the user can mend is one line and exit code 2, or the one of its class.

    SIGTERM and SIGHUP end it as Ctrl-C does: what is under way is taken back, and no temporary folder is left.
    """
    received: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the end
        received.append(number)
        raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()  # which alone may have handlers
    for number in (signal.SIGTERM, signal.SIGHUP) if in_main else ():
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` sets it
            signal.signal(number, interrupt)
    try:
        _run()
    except SystemExit:
        if received:
            sys.exit(128 + received[0])
        raise


def _run() -> None:
    collect_garbage_rarely()
    configure_logging()
    try:
        app()
    except OsteonError as error:
        _end_with_traceback()
        typer.echo(redact(f"error: {error}"), err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        _end_with_traceback()
        typer.echo(redact(f"error: {type(error).__name__}: {error}"), err=True)
        typer.echo("This is a fault of Osteon or its machine; `osteon --debug …` shows where.", err=True)
        sys.exit(1)
