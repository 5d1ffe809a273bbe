"""A command for each step, made from the step's signature: an option for each path, and the parameter file."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from components.cli.options import PARAMS_FILE, ParamsFile
from osteon.contract import Input, Output, Step
from osteon.params import Params, describe_keys, flatten, load_params
from osteon.records.retries import Retries

# Gives the lines that --dry-run prints, from the paths that were given and the parameters.
Preview = Callable[[Mapping[str, Path], Params], list[str]]
DRY_RUN, CONTEXT = "dry_run", "context"


def add_step(
    app: typer.Typer,
    step: Step,
    *,
    description: str = "",
    retries: Retries = Retries.LONG,
    preview: Preview | None = None,
) -> None:
    """Add the command of a step.

    Args:
        app: gets it.
        step: whose signature makes the command.
        description: for the command's help; empty: the step's first line.
        retries: how long the step waits for MLflow's server.
        preview: gives the command an option --dry-run, with which neither the step nor a run is started, and no path
            need be given.

    """
    epilog = _keys_help(step) if step.sections else None
    app.command(name=step.name, help=description or step.help, epilog=epilog)(
        _command(step, retries=retries, preview=preview)
    )


def _command(step: Step, *, retries: Retries, preview: Preview | None) -> Callable[..., None]:
    by_param = {name: mark.param or mark.or_param for name, mark in step.inputs.items() if mark.param or mark.or_param}

    def run(**paths: Any) -> None:
        from osteon.records.runs import run_step

        params = load_params(paths.pop("params"))
        if preview:
            dry_run, context = paths.pop(DRY_RUN), paths.pop(CONTEXT)
            if dry_run:
                typer.echo("\n".join(preview({name: path for name, path in paths.items() if path}, params)))
                return
            if missing := next((name for name, path in paths.items() if path is None), None):
                context.fail(f"Missing option '--{missing}'.")
        values = flatten(params)
        options = {name: paths.pop(name) for name in step.options}
        given: dict[str, Any] = {"options": options} if options else {}
        paths |= {name: Path(str(values[key])) for name, key in by_param.items() if paths.get(name) is None}
        summary = run_step(step, paths, params, retries=retries, **given)
        typer.echo(f"{step.name}: {summary.line()}")
        if code := summary.exit_code():
            raise typer.Exit(code)

    hidden = {name for name, mark in step.inputs.items() if mark.param}
    options = [_option(name, step, required=preview is None) for name in step.paths if name not in hidden]
    options += [_flag(name, mark.help, step) for name, mark in step.options.items()]
    options += _dry_run() if preview else []
    file = inspect.Parameter("params", inspect.Parameter.KEYWORD_ONLY, annotation=ParamsFile, default=PARAMS_FILE)
    run.__signature__ = inspect.Signature([*options, file])  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in (*options, file)}
    run.__name__ = step.name
    return run


def _dry_run() -> list[inspect.Parameter]:
    """The option, and typer's context, by which a missing path is refused as typer does it."""
    option = Annotated[bool, typer.Option("--dry-run", help="show what comes of it, and write nothing")]
    return [
        inspect.Parameter(DRY_RUN, inspect.Parameter.KEYWORD_ONLY, annotation=option, default=False),
        inspect.Parameter(CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
    ]


def _option(name: str, step: Step, *, required: bool) -> inspect.Parameter:
    mark = step.paths[name]
    text = f"{'writes' if isinstance(mark, Output) else 'reads'}: {mark.help}"
    if isinstance(mark, Input) and mark.or_param:
        text += f"; left out: {mark.or_param}"
        kind = Annotated[Path | None, typer.Option(f"--{name}", help=text, show_default=False)]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=None)
    text += "" if required or mark.default else " [required]"
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[Path if required else Path | None, typer.Option(f"--{name}", help=text)],
        default=Path(mark.default) if mark.default else inspect.Parameter.empty if required else None,
    )


def _flag(name: str, text: str, step: Step) -> inspect.Parameter:
    default = inspect.signature(step.function).parameters[name].default
    option = typer.Option(f"--{name}", help=text, show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[type(default), option], default=default
    )


def _keys_help(step: Step) -> str:
    """The keys of the step's sections with their defaults, for the end of its help."""
    lines = ["\b"]
    for kind in step.sections.values():
        section = next(name for name, field in Params.model_fields.items() if field.annotation is kind)
        lines += [f"Keys of {PARAMS_FILE}, section {section}, with their defaults:"]
        meanings = describe_keys(kind)
        lines += [f"  {f'{key}: {value}':<26}  {meanings[key]}" for key, value in flatten(kind()).items()]
    return "\n".join(lines)
