"""Two runs beside each other: what they were given, the films they read, the figures they reached."""

import json
from typing import Any, NamedTuple

from osteon.errors import OsteonError
from pipelines.cluster import Cluster, get_run, version_name
from pipelines.following import run_line


class Difference(NamedTuple):
    """Something that two runs have otherwise; empty where one of them has none."""

    name: str
    first: str
    second: str


class Compared(NamedTuple):
    """What differs, how many are the same, and what could not be looked at."""

    different: list[Difference]
    same: int
    notes: list[str]


def compare(cluster: Cluster, first: str, second: str) -> Compared:
    """Compare two runs by their arguments and by what MLflow has of them.

    Raises:
        OsteonError: there is no such run. MLflow may be away: then a note says so.

    """
    runs = [get_run(cluster, run_id) for run_id in (first, second)]
    told = [_told_of(cluster, run) for run in runs]
    notes: list[str] = []
    try:
        from osteon.records.store import connect

        client, experiment = connect()
        for run, values in zip(runs, told, strict=True):
            values |= _recorded(client, experiment, run.run_id, notes)
    except OsteonError as error:
        notes.append(f"data and figures are not compared: {error}")
    names = list(dict.fromkeys([*told[0], *told[1]]))
    pairs = [Difference(name, told[0].get(name, ""), told[1].get(name, "")) for name in names]
    different = [pair for pair in pairs if pair.first != pair.second]
    return Compared(different, len(pairs) - len(different), notes)


def _told_of(cluster: Cluster, run: Any) -> dict[str, str]:
    """State, version and arguments of a run; arguments that are JSON key by key."""
    found = {"run": run_line(run), "version": version_name(cluster, run.pipeline_version_reference)}
    for name, value in ((run.runtime_config.parameters if run.runtime_config else None) or {}).items():
        try:
            content = json.loads(value)
        except (TypeError, ValueError):
            content = None
        if isinstance(content, dict):
            found |= _flat(content, "" if name == "params" else name)
        else:
            found[name] = str(value)
    return found


def _flat(content: dict[str, Any], prefix: str) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in content.items():
        name = f"{prefix}.{key}" if prefix else key
        flat |= _flat(value, name) if isinstance(value, dict) else {name: json.dumps(value, ensure_ascii=False)}
    return flat


def _recorded(client: Any, experiment: str, run_id: str, notes: list[str]) -> dict[str, str]:
    """What MLflow has of a run: it is tagged with the run's id."""
    from osteon.records.lineage import DATA
    from osteon.records.runs import run_of_pass

    found = run_of_pass(client, experiment, run_id)
    if found is None:
        notes.append(f"MLflow has nothing of run {run_id}")
        return {}
    data = found.data
    return {"data": data.tags.get(DATA, ""), **{name: f"{value:.4g}" for name, value in sorted(data.metrics.items())}}
