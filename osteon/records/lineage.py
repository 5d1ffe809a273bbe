"""What joins the runs of steps: where a model, or any file, came from.

Steps are joined by content. A step's run is tagged with the hash of everything it read and wrote, the hash that
DVC uses too; whoever wants to know where a file came from looks for the run that wrote its hash. So a stage that
DVC skipped stays linked to the run that made it, and the same holds on Kubeflow, where nobody shares a folder.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.artifacts import load_dict
from mlflow.exceptions import MlflowException

from osteon.errors import OsteonError
from osteon.files import dvc_hash
from osteon.records.store import connect, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT = "pipeline"

# Tags. A hash is part of the name, so that one query finds the runs that read or wrote it.
STEP, PASS, PROCESS = "osteon.step", "osteon.pass", "osteon.process"
READ, WROTE = "osteon.read.", "osteon.wrote."
COMMIT, DIRTY, IMAGE, DATA = "osteon.git.commit", "osteon.git.dirty", "osteon.image", "osteon.data"
PIPELINE = "osteon.pipeline.commit"  # of the compiled pipeline that called the image
REMOTE, ENVIRONMENT = "osteon.dvc.remote", "osteon.environment"
# Of a pipeline run on a cluster; the last is DVC's hash of the table of sides with which it began.
REASON, REVISION, FILMS_COMMIT = "osteon.reason", "osteon.revision", "osteon.films.commit"
REPOSITORY, SIDES = "osteon.films.repository", "osteon.films.sides"
ENVIRONMENT_FILE = "environment.json"


@dataclass
class Lineage:
    """Where something came from: the run that made it, and the runs that made what that run read."""

    run_id: str
    step: str
    status: str
    started: datetime
    seconds: float | None
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    missing: list[str] = field(default_factory=list)
    upstream: list["Lineage"] = field(default_factory=list)

    def walk(self) -> "Iterator[Lineage]":
        """Each run from the beginning to here, once, what came first first."""
        seen: dict[str, Lineage] = {}

        def visit(node: Lineage) -> None:
            for above in node.upstream:
                visit(above)
            seen.setdefault(node.run_id, node)

        visit(self)
        return iter(seen.values())

    @property
    def data(self) -> str | None:
        """DVC's hash of the source folder at the beginning."""
        return next((node.tags[DATA] for node in self.walk() if DATA in node.tags), None)


def environments(nodes: Iterable[Lineage]) -> dict[str, dict[str, Any]]:
    """The hash of each environment in which runs ran → what describe_environment said there.

    Those of runs that did not keep it, or whose file is gone, are left out.
    """
    client, _ = connect()
    environments: dict[str, dict[str, Any]] = {}
    for node in nodes:
        digest = node.tags.get(ENVIRONMENT)
        if digest is None or digest in environments:
            continue
        place = client.get_run(node.run_id).info.artifact_uri
        with suppress(MlflowException, OSError):
            environments[digest] = load_dict(f"{place}/{ENVIRONMENT_FILE}")
    return environments


def lineage_of_run(client: "MlflowClient", run_id: str) -> Lineage:
    """Follow what a run read to the runs that wrote it, to the beginning."""
    return _lineage(client, client.get_run(run_id), {})


def _lineage(client: "MlflowClient", run: "Run", known: dict[str, Lineage]) -> Lineage:
    tags = run.data.tags
    node = Lineage(
        run_id=run.info.run_id,
        step=tags.get(STEP, run.info.run_name or "?"),
        status=run.info.status,
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        seconds=run.data.metrics.get("seconds"),
        tags=dict(tags),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
    )
    known[node.run_id] = node
    for tag, name in tags.items():
        if node.step == PARENT and tag.startswith(f"{STEP}."):
            node.upstream.append(known.get(name) or _lineage(client, client.get_run(name), known))
        if not tag.startswith(READ):
            continue
        maker = run_that_wrote(client, run.info.experiment_id, tag.removeprefix(READ), name, run.info.start_time)
        if maker is None:
            if DATA not in tags:
                node.missing.append(name)
        elif maker.info.run_id != node.run_id:
            node.upstream.append(known.get(maker.info.run_id) or _lineage(client, maker, known))
    return node


def run_that_wrote(
    client: "MlflowClient", experiment: str, md5: str, name: str | None = None, before: int | None = None
) -> "Run | None":
    """The latest finished run that wrote content with this hash.

    Args:
        client: of the store.
        experiment: its id.
        md5: DVC's hash.
        name: of the output, which mostly is the input's name in the step that reads it. The hash alone is not
            enough: where no film is quarantined, manifest and trusted films are the same bytes. Where no run wrote
            it by this name, one that wrote it by another counts.
        before: only runs that began before this time, milliseconds.

    """
    when = f" and attributes.start_time < {before}" if before else ""
    for named in (f"= '{name}'", "LIKE '%'") if name else ("LIKE '%'",):
        results = client.search_runs(
            [experiment],
            f"tags.`{WROTE}{md5}` {named} and attributes.status = 'FINISHED'{when}",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        if results:
            return results[0]
    return None


def lineage(what: str) -> Lineage:
    """The lineage of a run (its id) or a model (models:/NAME/VERSION, models:/NAME@ALIAS or its m-… id).

    Raises:
        OsteonError: no such run or model.

    """
    client, _ = connect()
    try:
        if what.startswith("models:/") and "@" in what:
            name, alias = what.removeprefix("models:/").split("@", 1)
            run_id = client.get_model_version_by_alias(name, alias).run_id
        elif what.startswith("models:/") and "/" in what.removeprefix("models:/"):
            name, version = what.removeprefix("models:/").rsplit("/", 1)
            run_id = client.get_model_version(name, version).run_id
        elif (model := what.removeprefix("models:/")).startswith("m-"):
            run_id = client.get_logged_model(model).source_run_id
        else:
            run_id = what
        if not run_id:
            raise OsteonError(f"{what}: no known run made it")
        return lineage_of_run(client, run_id)
    except MlflowException as error:
        raise OsteonError(
            f"{what}: {reason(error).rstrip('.')}; give a run's id or models:/NAME/VERSION, as `make ui` shows them"
        ) from None


def model_of_run(run_id: str) -> str | None:
    """The id of the model that a run logged; None if it logged none."""
    client, _ = connect()
    outputs = client.get_run(run_id).outputs
    return next((str(output.model_id) for output in (outputs.model_outputs if outputs else ())), None)


def lineage_of_file(path: Path) -> Lineage | None:
    """The lineage of a file or folder that a step wrote; None where no run of this store wrote it."""
    client, experiment = connect()
    run = run_that_wrote(client, experiment, dvc_hash(path))
    return lineage_of_run(client, run.info.run_id) if run else None
