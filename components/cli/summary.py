"""What a person wants to know after a run, and of a model, as text."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.errors import OsteonError
from osteon.redaction import redact_url

if TYPE_CHECKING:
    from components.reproduction.reproduce import Comparison
    from osteon.records.lineage import Lineage
    from osteon.records.registry import Entry

TABLE_WIDTH = 100
MOST_CHANGES = 12  # packages may all have other versions
SHOWN = ("auroc", "average_precision", "sensitivity", "specificity", "brier")


def print_summary(report: Path) -> None:
    """The figures of the evaluation in `report`, the seconds of the steps behind it, and the places to look.

    Raises:
        OsteonError: there is no evaluation.

    """
    from rich.console import Console
    from rich.table import Table

    from osteon.records import lineage, store

    try:
        metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OsteonError(f"{report}: no evaluation there; `dvc repro` makes one") from None
    test, warning, worst = metrics["test"], metrics["shortcuts"]["warning"], metrics["subgroups"]["worst"]
    console = Console()
    figures = Table(box=None, padding=(0, 2, 0, 0))
    figures.add_column(f"on {test['n']} test films of {test['groups']} groups")
    figures.add_column("value", justify="right")
    figures.add_column(f"{test['confidence']:.0%} interval", justify="right")
    for name in SHOWN:
        one = test[name]
        if one["value"] is not None:
            figures.add_row(
                {"auroc": "AUROC", "brier": "Brier score"}.get(name, name.replace("_", " ")),
                f"{one['value']:.3f}",
                f"{one['low']:.3f} – {one['high']:.3f}",
            )
    console.print()
    console.print(figures)
    if worst:
        console.print()
        text = f"worse than the rest: {worst['text']}"
        console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if warning:
        console.print()
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)

    found = lineage.lineage_of_file(report)
    if found is not None:
        steps = [node for node in found.walk() if node.seconds is not None]
        times = Table(box=None, padding=(0, 2, 0, 0))
        times.add_column("step")
        times.add_column("seconds", justify="right")
        for node in steps:
            times.add_row(node.step, f"{node.seconds:.1f}")
        times.add_row("together", f"{sum(node.seconds or 0 for node in steps):.1f}")
        console.print()
        console.print(times)
    console.print()
    console.print(f"report  {report / 'report.html'}", highlight=False, soft_wrap=True)
    console.print(
        f"MLflow  {redact_url(store.tracking_uri())}  (`make ui` opens it)",
        highlight=False,
        soft_wrap=True,
    )
    if found is not None:
        console.print(f"run     {found.run_id}  (`osteon lineage {found.run_id}`)", highlight=False, soft_wrap=True)


def print_lineage(what: str, as_json: bool) -> None:
    """Commit, data, parameters and runs of each step behind a run or model."""
    from rich.console import Console
    from rich.table import Table

    from osteon.environment import machine_line, packages_line
    from osteon.records import lineage

    found = lineage.lineage(what)
    nodes = list(found.walk())
    environments = lineage.environments(nodes)
    if as_json:
        print(json.dumps(_as_json(found, environments), indent=2, default=str))  # noqa: T201 – the command's output
        return
    console = Console()
    if console.width < TABLE_WIDTH:  # ids are no use cut short
        console = Console(width=TABLE_WIDTH)

    def say(name: str, value: object) -> None:
        console.print(f"{name:<9}{value}", highlight=False, soft_wrap=True)

    commits = sorted({node.tags.get(lineage.COMMIT, "unknown") for node in nodes})
    dirty = any(node.tags.get(lineage.DIRTY) == "true" for node in nodes)
    say("commit", ", ".join(commits) + (" (with changes that were not committed)" if dirty else ""))
    say("data", found.data or "unknown")
    if remote := _remote(nodes):
        say("remote", remote)
    images = {node.tags[lineage.IMAGE] for node in nodes if lineage.IMAGE in node.tags}
    if images:
        say("image", ", ".join(sorted(images)))
    for entry in _decisions(found.run_id):
        when = f"{entry.at:%Y-%m-%d %H:%M} UTC"
        say("decision", f"version {entry.version} {entry.action} {when} by {entry.who}: {entry.reason()}")
        run = f", decision.json is in run {entry.run}" if entry.run else ""
        say("", f"its hash in the log is {entry.digest()}{run}")
    for digest, environment in environments.items():
        there = [node.step for node in nodes if node.tags.get(lineage.ENVIRONMENT) == digest]
        # Mostly all ran in one, and to name them all says nothing.
        say("python", machine_line(environment) + (f" ({', '.join(there)})" if len(environments) > 1 else ""))
        say("packages", packages_line(environment))
    for run in _evaluations(found.run_id):
        say("measured", f"in run {run}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("step", "run", "started (UTC)", "seconds", "status"):
        table.add_column(column, no_wrap=True)
    for node in nodes:
        seconds = f"{node.seconds:.1f}" if node.seconds is not None else ""
        table.add_row(node.step, node.run_id, f"{node.started:%Y-%m-%d %H:%M:%S}", seconds, node.status)
    console.print(table)
    for node in nodes:
        for name in node.missing:
            say("missing", f"no run of this store wrote {name}, which {node.step} read")
    console.print("parameters")
    for key, value in {key: value for node in nodes for key, value in sorted(node.params.items())}.items():
        console.print(f"  {key}: {value}", highlight=False, soft_wrap=True)


def print_comparison(found: "Comparison") -> None:
    """A version's figures then and now, what else differs, and in the last line whether it was reproduced."""
    from rich.console import Console
    from rich.table import Table

    from components.reproduction.reproduce import TOLERANCE
    from osteon.records.registry import MODEL

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)

    console = Console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(f"{MODEL} version {found.version}")
    for column in ("then", "now", "difference"):
        table.add_column(column, justify="right")
    for figure in found.figures:
        cells = (figure.name.replace("_", " "), shown(figure.then), shown(figure.now), f"{figure.difference:.1g}")
        table.add_row(*cells, style=None if figure.same else "yellow")
    console.print()
    console.print(table)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    if found.changes:
        console.print()
        say("other than then:")
    for line in found.changes[:MOST_CHANGES]:
        say(f"  {line}")
    if more := len(found.changes[MOST_CHANGES:]):
        say(f"  and {more} more")
    console.print()
    worst, differing = found.worst, sum(not figure.same for figure in found.figures)
    if found.reproduced:
        say(f"reproduced: no figure differs by more than {TOLERANCE}")
        return
    then, now = found.data
    if then != now:
        say(f"not reproduced: the films differ; their hash was {then}, it is {now}")
    if differing:
        said = f"{worst.name.replace('_', ' ')} was {shown(worst.then)}, it is {shown(worst.now)}"
        say(f"not reproduced: {said}; {differing} of {len(found.figures)} figures differ by more than {TOLERANCE}")


def _decisions(run_id: str) -> "list[Entry]":
    """What was decided on the versions whose model a run made."""
    from osteon.records.registry import Registry

    registry = Registry.open_existing()
    versions = registry.versions_of_run(run_id) if registry else []
    return [entry for entry in registry.entries() if entry.version in versions] if registry and versions else []


def _evaluations(run_id: str) -> list[str]:
    """The runs that measured the model which a run made, the last first."""
    from osteon.records import store
    from osteon.records.film_lineage import evaluations

    client, _ = store.connect()
    return [str(run.info.run_id) for run in evaluations(client, client.get_run(run_id))]


def _remote(nodes: "list[Lineage]") -> str | None:
    """DVC's remote when the last of the runs was made that had one."""
    from osteon.records.lineage import REMOTE

    return next((node.tags[REMOTE] for node in reversed(nodes) if REMOTE in node.tags), None)


def _as_json(found: "Lineage", environments: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What is not known of a run is null."""
    from osteon.records import lineage
    from osteon.records.film_lineage import films_behind

    nodes = list(found.walk())
    films = films_behind(found)
    return {
        "run": found.run_id,
        "evaluations": _evaluations(found.run_id),
        "decisions": [json.loads(entry.text()) | {"digest": entry.digest()} for entry in _decisions(found.run_id)],
        "commit": sorted({node.tags.get(lineage.COMMIT, "unknown") for node in nodes}),
        "dirty": any(node.tags.get(lineage.DIRTY) == "true" for node in nodes),
        "data": found.data,
        "remote": _remote(nodes),
        "images": sorted({node.tags[lineage.IMAGE] for node in nodes if lineage.IMAGE in node.tags}),
        "params": {key: value for node in nodes for key, value in sorted(node.params.items())},
        "steps": [
            {
                "step": node.step,
                "run": node.run_id,
                "status": node.status,
                "started": node.started.isoformat(),
                "seconds": node.seconds,
                "metrics": node.metrics,
                "missing": node.missing,
                "commit": node.tags.get(lineage.COMMIT),
                "image": node.tags.get(lineage.IMAGE),
                "environment": node.tags.get(lineage.ENVIRONMENT),
            }
            for node in nodes
        ],
        "environments": environments,
        "films": None if films is None else films.to_dict("records"),
    }


SAID = {"train": "trained on it", "validation": "chosen by it", "test": "measured on it"}


def print_film(film: str, as_json: bool) -> None:
    """The models that saw a film."""
    from rich.console import Console

    from osteon.records.film_lineage import UNLISTED, models_that_saw

    found = models_that_saw(film)
    if as_json:
        print(json.dumps(_film_as_json(film, found), indent=2, default=str))  # noqa: T201 – the command's output
        return
    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    for name, sha256, md5 in found.contents:
        say(f"film    {name}")
        if sha256:
            say(f"sha256  {sha256}")
            say(f"md5     {md5}")
    for model, role in found.seen:
        names = f"  {', '.join(model.registered)}" if model.registered else ""
        say(f"{model.model_id}  {SAID[role]:<14}  made {model.made:%Y-%m-%d %H:%M} UTC{names}")
    count, listed = len({model.model_id for model, _ in found.seen}), found.models - len(found.unknown)
    if count:
        say(f"{count} of {listed} models saw it")
    else:
        say(f"no model of this store saw {film}, of {listed} that keep a list")
    for model in found.unknown:
        say(f"unknown {model.model_id}, made {model.made:%Y-%m-%d}: no list of films is with it; {UNLISTED}")


def _film_as_json(film: str, found: Any) -> dict[str, Any]:
    def shown(model: Any) -> dict[str, Any]:
        return {
            "model": model.model_id,
            "run": model.run_id,
            "registered": list(model.registered),
            "made": model.made.isoformat(),
            "data": model.data,
        }

    return {
        "asked": film,
        "films": [dict(zip(("film_id", "sha256", "md5"), one, strict=True)) for one in found.contents],
        "seen": [{**shown(model), "role": role} for model, role in found.seen],
        "unknown": [shown(model) for model in found.unknown],
        "models": found.models,
    }


def print_films(what: str, as_json: bool) -> None:
    """The films behind a model and those it was measured on, as CSV or JSON."""
    import sys

    from osteon.records.film_lineage import films_of

    films = films_of(what)
    if as_json:
        print(json.dumps(films.to_dict("records"), indent=2))  # noqa: T201 – the command's output
    else:
        films.to_csv(sys.stdout, index=False, lineterminator="\n")


def print_history(as_json: bool) -> None:
    """Every decision on the model in use."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from osteon.records.registry import MODEL, Registry

    registry = Registry.open_existing()
    entries = registry.entries() if registry else []
    if as_json:
        print(json.dumps([json.loads(entry.text()) | {"digest": entry.digest()} for entry in entries], indent=2))  # noqa: T201
        return
    console = Console()
    if registry is None or not entries:
        console.print(f"no decision yet: no version of {MODEL} is in use", highlight=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("at (UTC)", "version", "what", "was", "who", "why"):
        table.add_column(column)
    for entry in entries:
        when, reason = f"{entry.at:%Y-%m-%d %H:%M}", entry.reason()
        cells = (when, entry.version, entry.action, entry.was or "–", entry.who, reason)
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)
    state = registry.state()
    for line in (f"in use: {MODEL} version {state.champion or 'none'}", f"hash of the last decision: {state.last}"):
        console.print(line, highlight=False, soft_wrap=True)
