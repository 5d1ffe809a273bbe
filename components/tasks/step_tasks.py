"""A step as a task of a cluster: parameters come as text, films by their hash, everything else as paths.

A task shares no folder with others. What it reads and writes is the same as on one machine, and so are its runs in
MLflow: those of one pipeline run lie below one run, which OSTEON_PASS names.
"""

import json
import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from components.steps import STEPS
from components.tasks.fold_task import lay_folds, one_fold
from osteon.contract import Step, Summary, describe
from osteon.environment import collect_garbage_rarely
from osteon.errors import OsteonError
from osteon.params import Params, checked, section_of
from osteon.progress import configure_logging
from osteon.records import lineage, pipeline_run, runs
from osteon.records.retries import Retries
from osteon.remotes.film_versions import fetch_file, fetched, find_version, repository_address

SIDES = "data/sides.parquet"  # in the films' repository
CARD_TEMPLATE = "mlflow/model_card.md.j2"  # in the working folder, which is the image's
SEARCH_STORAGE = "OSTEON_SEARCH_STORAGE"  # where the address has a password, it is not written anywhere else
MARK = "--- "  # before JSON, so that nobody on its way takes it for an object: 2 would come out as 2.0

log = logging.getLogger(__name__)


class Films(NamedTuple):
    """Where films come from: a repository, the revision whose DVC remote is read, DVC's hash of their folder."""

    repository: str
    revision: str
    data: str


def read_params(text: str) -> Params:
    """Parameters from JSON; sections that are not there have their defaults, and are not the task's own.

    Raises:
        OsteonError: no JSON, or a key or value that is not allowed.

    """
    return checked(_json(text.removeprefix(MARK), "params"), Params, "params")


def _json(text: str, name: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise OsteonError(f"{name}: no JSON ({error})") from None
    if not isinstance(content, dict):
        raise OsteonError(f"{name}: must be a JSON object")
    return content


def params_of_steps(params: str) -> dict[str, str]:
    """The sections that each step reads, as JSON: no step runs again for a change of what it does not read."""
    values = read_params(params)
    texts = {}
    for name, step in STEPS.items():
        sections = dict(section_of(values, kind) for kind in step.sections.values())
        texts[name] = MARK + json.dumps({key: section.model_dump(mode="json") for key, section in sections.items()})
    return texts


def find_films(films: Films, params: str, reason: str) -> str:
    """Begin a pipeline run: DVC's hash of the films at a revision, looked up anew each time."""
    configure_logging()
    values = read_params(params)
    version = find_version(repository_address(films.repository), films.revision, values.data.root)
    tags = {lineage.REASON: reason, lineage.REVISION: films.revision, lineage.FILMS_COMMIT: version.commit}
    pipeline_run.begin_pipeline_run(values, tags)
    log.info("find_films: %s files, %s, at commit %s", f"{version.files:,}", version.data, version.commit)
    return version.data


def run_task(name: str, params: str, **paths: str) -> Summary:
    """Run the step of this name on these paths."""
    return _run(STEPS[name], read_params(params), paths)


def run_on_films(name: str, params: str, films: Films, **paths: str) -> Summary:
    """Run a step that reads the films themselves."""
    values = read_params(params)
    if "sides" in paths and fetch_file(
        repository_address(films.repository), films.revision, SIDES, Path(paths["sides"])
    ):
        log.info("%s: the table of sides is that of %s", name, films.revision)
    # The layouts keep the folder's name as the films' source.
    with fetched(repository_address(films.repository), films.revision, films.data, Path(values.data.root).name) as root:
        return _run(STEPS[name], values, {**paths, "source": str(root)})


def search(params: str, worker: int = 0, **paths: str) -> None:
    """Run the step search, or work beside it on its study until all trials are done.

    Args:
        params: the step's own. Of several workers each needs search.storage, or OSTEON_SEARCH_STORAGE.
        worker: 0 writes what was found; the others leave nothing.
        paths: of the step; a worker other than 0 has none to write to.

    """
    configure_logging()
    values = read_params(params)
    storage = values.search.storage or os.environ.get(SEARCH_STORAGE, "")
    if worker and not storage:
        log.info("search: nothing to share, for neither search.storage nor %s names a database", SEARCH_STORAGE)
        return
    # A database outlives the pipeline run, and the next one has other films, with which no figure can be compared.
    study = f"{values.search.study} {pipeline_run.pipeline_run_key() or ''}".strip()
    shared = values.search.model_copy(update={"storage": storage, "study": study if storage else values.search.study})
    with TemporaryDirectory() as temporary:
        given = {**paths, "best": f"{temporary}/best"} if worker else paths
        name = f"search, worker {worker}" if worker else None
        _run(STEPS["search"], values.model_copy(update={"search": shared}), given, name=name)


def params_of_folds(params: str) -> list[str]:
    """For each fold its number and the sections it reads, as one text: a loop passes nothing else on."""
    values = read_params(params)
    return [f"{number} {params_of_steps(params)['cross_validate']}" for number in range(values.preparation.folds)]


def run_fold(given: str, **paths: str) -> Summary:
    """Compute one fold. given: its text of params_of_folds."""
    number, _, params = given.partition(" ")
    return _run(one_fold(int(number)), read_params(params), paths, name=f"fold {number}")


def collect_folds(computed: list[str], params: str, **paths: str) -> dict[str, float]:
    """Run the step cross_validate on folds that are computed already; each model's AUROC."""
    lay_folds(Path(paths["folds"]), [Path(path) for path in computed])
    values = read_params(params)
    in_turn = values.cross_validation.model_copy(update={"at_once": 1})
    summary = _run(STEPS["cross_validate"], values.model_copy(update={"cross_validation": in_turn}), paths)
    auroc: dict[str, float] = summary.model_dump()["auroc"]
    return auroc


def promote(policy: str, mode: str, films: Films, **paths: str) -> Summary:
    """Run the step promote by a policy that is given as JSON, in the mode of this pipeline run."""
    from components.promotion.policy import Policy
    from components.promotion.step import promote as judge

    rules = checked({**_json(policy, "policy"), "mode": mode}, Policy, "policy")
    with (
        TemporaryDirectory() as temporary,
        fetched(repository_address(films.repository), films.revision, films.data) as root,
    ):
        file = Path(temporary) / "promotion.yaml"
        file.write_text(rules.model_dump_json(indent=2), encoding="utf-8")  # JSON is YAML too
        given = {**paths, "source": str(root), "policy": str(file), "card": CARD_TEMPLATE}
        return _run(describe(judge), Params(), given, retries=Retries.SHORT)


def _run(
    step: Step, params: Params, paths: dict[str, str], *, retries: Retries = Retries.LONG, name: str | None = None
) -> Summary:
    """Run and record a step; its last line goes to the log."""
    collect_garbage_rarely()
    configure_logging()
    given = {key: Path(path) for key, path in paths.items()}
    summary = runs.run_step(step, given, params, retries=retries, name=name)
    log.info("%s: %s", name or step.name, summary.line())
    return summary
