"""What differs between two runs: their arguments, the films they read, the figures they reached."""

import json
from typing import Any, NamedTuple

from osteon.errors import OsteonError
from osteon.params import read_one_line
from osteon.records.lineage import DATA
from osteon.records.pipeline_run import find_pipeline_run
from osteon.records.store import connect
from pipelines.cluster import Cluster, get_run, version_name
from pipelines.run_status import run_line

# Arguments that are compared key by key, and what comes before their keys.
PER_KEY = {"params": "", "policy": "policy"}


class Difference(NamedTuple):
    """A value that differs between two runs; empty where a run has none."""

    name: str
    first: str
    second: str


class RunDiff(NamedTuple):
    """What differs, how many values are the same, and what could not be compared."""

    different: list[Difference]
    same: int
    notes: list[str]


def diff_runs(cluster: Cluster, first: str, second: str) -> RunDiff:
    """Compare two runs by their arguments and by what MLflow has of them.

    Raises:
        OsteonError: there is no such run. MLflow may be away: then a note says so.

    """
    runs = [get_run(cluster, run_id) for run_id in (first, second)]
    values_by_run = [_values_of(cluster, run) for run in runs]
    notes: list[str] = []
    try:
        client, experiment = connect()
        for run, values in zip(runs, values_by_run, strict=True):
            values |= _mlflow_values(client, experiment, run.run_id, notes)
    except OsteonError as error:
        notes.append(f"data and figures are not compared: {error}")
    names = list(dict.fromkeys([*values_by_run[0], *values_by_run[1]]))
    pairs = [Difference(name, values_by_run[0].get(name, ""), values_by_run[1].get(name, "")) for name in names]
    different = [pair for pair in pairs if pair.first != pair.second]
    return RunDiff(different, len(pairs) - len(different), notes)


def _values_of(cluster: Cluster, run: Any) -> dict[str, str]:
    """State, version and arguments of a run; arguments with keys and values key by key."""
    values = {"run": run_line(run), "version": version_name(cluster, run.pipeline_version_reference)}
    for name, value in ((run.runtime_config.parameters if run.runtime_config else None) or {}).items():
        try:
            values |= _flat(read_one_line(value, name), PER_KEY[name])
        except (KeyError, OsteonError):
            values[name] = str(value)
    return values


def _flat(content: dict[str, Any], prefix: str) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in content.items():
        name = f"{prefix}.{key}" if prefix else key
        flat |= _flat(value, name) if isinstance(value, dict) else {name: json.dumps(value, ensure_ascii=False)}
    return flat


def _mlflow_values(client: Any, experiment: str, run_id: str, notes: list[str]) -> dict[str, str]:
    """What MLflow has of a run: it is tagged with the run's id."""
    run = find_pipeline_run(client, experiment, run_id)
    if run is None:
        notes.append(f"MLflow has nothing of run {run_id}")
        return {}
    data = run.data
    return {"data": data.tags.get(DATA, ""), **{name: f"{value:.4g}" for name, value in sorted(data.metrics.items())}}
