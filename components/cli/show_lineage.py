"""`osteon lineage`: what a run or model was made from."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from osteon.environment import machine_line, packages_line
from osteon.records import lineage, store
from osteon.records.film_lineage import evaluations, films_behind
from osteon.records.lineage import Lineage
from osteon.records.registry import Entry, Registry

TABLE_WIDTH = 100


def print_lineage(what: str, as_json: bool) -> None:
    """Commit, data, parameters and runs of each step behind a run or model."""
    origin = lineage.lineage(what)
    nodes = list(origin.walk())
    environments = lineage.environments(nodes)
    if as_json:
        print(json.dumps(_as_json(origin, environments), indent=2, default=str))  # noqa: T201 – the command's output
        return
    console = Console()
    if console.width < TABLE_WIDTH:  # ids are no use cut short
        console = Console(width=TABLE_WIDTH)

    def print_line(name: str, value: object) -> None:
        console.print(f"{name:<9}{value}", highlight=False, soft_wrap=True)

    commits = sorted({node.tags.get(lineage.COMMIT, "unknown") for node in nodes})
    dirty = any(node.tags.get(lineage.DIRTY) == "true" for node in nodes)
    print_line("commit", ", ".join(commits) + (" (with changed code that was not committed)" if dirty else ""))
    print_line("data", origin.data or "unknown")
    if remote := _remote(nodes):
        print_line("remote", remote)
    images = {node.tags[lineage.IMAGE] for node in nodes if lineage.IMAGE in node.tags}
    if images:
        print_line("image", ", ".join(sorted(images)))
    for entry in _decisions(origin.run_id):
        when = f"{entry.at:%Y-%m-%d %H:%M} UTC"
        print_line("decision", f"version {entry.version} {entry.action} {when} by {entry.who}: {entry.reason()}")
        run = f", decision.json is in run {entry.run}" if entry.run else ""
        print_line("", f"its hash in the log is {entry.digest()}{run}")
    for digest, environment in environments.items():
        steps = [node.step for node in nodes if node.tags.get(lineage.ENVIRONMENT) == digest]
        # Mostly all ran in the same environment: then their names tell nothing.
        print_line("python", machine_line(environment) + (f" ({', '.join(steps)})" if len(environments) > 1 else ""))
        print_line("packages", packages_line(environment))
    for run in _evaluations(origin.run_id):
        print_line("measured", f"in run {run}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("step", "run", "started (UTC)", "seconds", "status"):
        table.add_column(column, no_wrap=True)
    for node in nodes:
        seconds = f"{node.seconds:.1f}" if node.seconds is not None else ""
        table.add_row(node.step, node.run_id, f"{node.started:%Y-%m-%d %H:%M:%S}", seconds, node.status)
    console.print(table)
    for node in nodes:
        for name in node.missing:
            print_line("missing", f"no run of this store wrote {name}, which {node.step} read")
    console.print("parameters")
    for key, value in {key: value for node in nodes for key, value in sorted(node.params.items())}.items():
        console.print(f"  {key}: {value}", highlight=False, soft_wrap=True)


def _decisions(run_id: str) -> list[Entry]:
    """What was decided on the versions whose model a run made."""
    registry = Registry.open_existing()
    versions = registry.versions_of_run(run_id) if registry else []
    return [entry for entry in registry.entries() if entry.version in versions] if registry and versions else []


def _evaluations(run_id: str) -> list[str]:
    """The runs that measured the model which a run made, the last first."""
    client, _ = store.connect()
    return [str(run.info.run_id) for run in evaluations(client, client.get_run(run_id))]


def _remote(nodes: list[Lineage]) -> str | None:
    """DVC's remote when the last of the runs was made that had one."""
    return next((node.tags[lineage.REMOTE] for node in reversed(nodes) if lineage.REMOTE in node.tags), None)


def _as_json(origin: Lineage, environments: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What is not known of a run is null."""
    nodes = list(origin.walk())
    films = films_behind(origin)
    return {
        "run": origin.run_id,
        "evaluations": _evaluations(origin.run_id),
        "decisions": [json.loads(entry.text()) | {"digest": entry.digest()} for entry in _decisions(origin.run_id)],
        "commit": sorted({node.tags.get(lineage.COMMIT, "unknown") for node in nodes}),
        "dirty": any(node.tags.get(lineage.DIRTY) == "true" for node in nodes),
        "data": origin.data,
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
