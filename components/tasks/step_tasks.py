"""A step as a task of a cluster: parameters come as text, films by their hash, everything else as paths.

A task shares no folder with others. What it reads and writes is the same as on one machine, and so are its runs in
MLflow: those of one pipeline run lie below one run, which OSTEON_PASS names.
"""

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from components.steps import STEPS
from components.tasks.fold_task import lay_folds, one_fold
from osteon.contract import Step, Summary, describe
from osteon.environment import collect_garbage_rarely
from osteon.errors import OsteonError
from osteon.params import Params, checked, one_line, read_one_line, section_of
from osteon.progress import configure_logging
from osteon.records import lineage, pipeline_run, runs
from osteon.records.retries import Retries
from osteon.redaction import redact_url
from osteon.remotes.film_versions import fetch_file, fetched, file_hash, find_version, repository_address

SIDES = "data/sides.parquet"  # in the films' repository
CARD_TEMPLATE = "mlflow/model_card.md.j2"  # in the working folder, which is the image's
SEARCH_STORAGE = "OSTEON_SEARCH_STORAGE"  # where the address has a password, it is not written anywhere else
MARK = "--- "  # so that nobody on its way takes it for an object: 2 would come out as 2.0

log = logging.getLogger(__name__)


class Films(NamedTuple):
    """Where films come from: DVC's hash of their folder, the revision whose DVC remote is read, a repository.

    As a text they are one parameter of a task: the hash, the revision and, if the secret has it not, the repository.
    """

    data: str
    revision: str
    repository: str

    @classmethod
    def parse(cls, text: str) -> "Films":
        """From the text."""
        data, _, place = text.partition(" ")
        revision, _, repository = place.partition(" ")
        return cls(data, revision, repository)

    def __str__(self) -> str:
        return " ".join(self).rstrip()


def read_params(text: str) -> Params:
    """Parameters from one_line, or JSON; sections that are not there have their defaults.

    Raises:
        OsteonError: no JSON, or a key or value that is not allowed.

    """
    return checked(read_one_line(text.removeprefix(MARK), "params"), Params, "params")


def params_of_steps(params: str) -> dict[str, str]:
    """The sections that each step reads, as one line: no step runs again for a change of what it does not read.

    Values that are the image's defaults are left out: Kubeflow keeps a parameter some twenty times.
    """
    values = read_params(params)
    texts = {}
    for name, step in STEPS.items():
        sections = dict(section_of(values, kind) for kind in step.sections.values())
        given = {key: section.model_dump(mode="json", exclude_defaults=True) for key, section in sections.items()}
        texts[name] = MARK + one_line(given)
    return texts


class Found(NamedTuple):
    """What a pipeline run begins with: the films, DVC's hash of the table of sides, the parameters of each step.

    sides is empty where the repository has no table. folds: how many, and what cross_validate is given.
    """

    films: str
    sides: str
    ingest: str
    validate: str
    prepare: str
    augment: str
    features: str
    search: str
    cross_validate: str
    train: str
    evaluate: str
    folds: str


def find_films(repository: str, revision: str, params: str, reason: str) -> Found:
    """Begin a pipeline run: films and table of sides are looked up anew each time.

    Raises:
        OsteonError: there are no films, or the table of sides is gone that an earlier pipeline run had.

    """
    configure_logging()
    values, address = read_params(params), repository_address(repository)
    version = find_version(address, revision, values.data.root)
    sides = file_hash(address, revision, SIDES)
    if not sides:
        refuse_lost_sides(address, revision)
    tags = {lineage.REASON: reason, lineage.REVISION: revision, lineage.FILMS_COMMIT: version.commit}
    tags |= {lineage.REPOSITORY: redact_url(address), lineage.SIDES: sides}
    pipeline_run.begin_pipeline_run(values, tags)
    log.info("find_films: %s files, %s, at commit %s", f"{version.files:,}", version.data, version.commit)
    own = {name: text for name, text in params_of_steps(params).items() if name != "phantoms"}
    films = str(Films(version.data, revision, repository))
    return Found(films=films, sides=sides, folds=f"{values.preparation.folds} {own['cross_validate']}", **own)


def refuse_lost_sides(repository: str, revision: str) -> None:
    """Stop where a revision of the films' repository has no table of sides, and had one in an earlier pipeline run.

    Raises:
        OsteonError: it had.

    """
    where = {lineage.REPOSITORY: redact_url(repository), lineage.REVISION: revision}
    if earlier := pipeline_run.last_tags(lineage.SIDES, where):
        commit = earlier[lineage.FILMS_COMMIT]
        raise OsteonError(
            f"{redact_url(repository)} at {revision} has no {SIDES}, and an earlier pipeline run had it, at commit "
            f"{commit}: test films would become training films. To bring it back, in a clone: `dvc get --force --rev "
            f"{commit} -o {SIDES} . {SIDES}`, `dvc add {SIDES}`, `dvc push`, commit. To draw all sides anew, there: "
            '`osteon prepare --redraw --why "…"`, and keep the new table in the same way'
        )


def run_task(name: str, params: str, **paths: str) -> Summary:
    """Run the step of this name on these paths."""
    return _run(STEPS[name], read_params(params), paths)


def run_on_films(name: str, params: str, films: str, kept_sides: str = "", **paths: str) -> Summary:
    """Run a step that reads the films themselves.

    Args:
        name: of the step.
        params: the step's own.
        films: a text of Films.
        kept_sides: DVC's hash of the table of sides with which prepare begins; empty: it begins without.
        paths: of the step.

    """
    values, of = read_params(params), Films.parse(films)
    address = repository_address(of.repository)
    if kept_sides:
        fetch_file(address, of.revision, SIDES, kept_sides, Path(paths["sides"]))
        log.info("%s: the table of sides is that of %s", name, of.revision)
    # The layouts keep the folder's name as the films' source.
    with fetched(address, of.revision, of.data, Path(values.data.root).name) as root:
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


def share_folds(folds: str) -> list[str]:
    """For each fold its number and the sections it reads, as one text: a loop passes nothing else on.

    Args:
        folds: how many, and the sections, as find_films says it.

    """
    count, _, params = folds.partition(" ")
    return [f"{number} {params}" for number in range(int(count))]


def run_fold(given: str, **paths: str) -> Summary:
    """Compute one fold. given: its text of share_folds."""
    number, _, params = given.partition(" ")
    return _run(one_fold(int(number)), read_params(params), paths, name=f"fold {number}")


def collect_folds(computed: list[str], params: str, **paths: str) -> dict[str, float]:
    """Run the step cross_validate on folds that are computed already; each model's AUROC."""
    for number, path in enumerate(computed):
        require_artefact(f"fold {number}", Path(path))
    lay_folds(Path(paths["folds"]), [Path(path) for path in computed])
    values = read_params(params)
    in_turn = values.cross_validation.model_copy(update={"at_once": 1})
    summary = _run(STEPS["cross_validate"], values.model_copy(update={"cross_validation": in_turn}), paths)
    auroc: dict[str, float] = summary.model_dump()["auroc"]
    return auroc


def promote(policy: str, mode: str, films: str, **paths: str) -> Summary:
    """Run the step promote by a policy that is given as one line, in the mode of this pipeline run."""
    from components.promotion.policy import Policy
    from components.promotion.step import promote as judge

    of = Films.parse(films)
    rules = checked({**read_one_line(policy, "policy"), "mode": mode}, Policy, "policy")
    with (
        TemporaryDirectory() as temporary,
        fetched(repository_address(of.repository), of.revision, of.data) as root,
    ):
        file = Path(temporary) / "promotion.yaml"
        file.write_text(rules.model_dump_json(indent=2), encoding="utf-8")  # JSON is YAML too
        given = {**paths, "source": str(root), "policy": str(file), "card": CARD_TEMPLATE}
        return _run(describe(judge), Params(), given, retries=Retries.SHORT)


def require_artefact(name: str, path: Path) -> None:
    """Stop where an artefact is not there: Kubeflow's launcher fetches what is gone as nothing.

    Raises:
        OsteonError: it is not.

    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        raise OsteonError(
            f"{name}: the object store has no such artefact. If an earlier step came from Kubeflow's cache, what it "
            f"wrote is lost: `osteon pipeline submit --no-cache` computes all again"
        )


def _run(
    step: Step, params: Params, paths: dict[str, str], *, retries: Retries = Retries.LONG, name: str | None = None
) -> Summary:
    """Run and record a step; its last line goes to the log."""
    collect_garbage_rarely()
    configure_logging()
    given = {key: Path(path) for key, path in paths.items()}
    for key in step.inputs:
        require_artefact(key, given[key])
    summary = runs.run_step(step, given, params, retries=retries, name=name)
    log.info("%s: %s", name or step.name, summary.line())
    return summary
