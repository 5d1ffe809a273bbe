"""A version as it was made: its runs, its commit, its figures and its package, from MLflow's store."""

import json
import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from components.reproduction.programs import has_commit, run_git
from osteon.errors import OsteonError
from osteon.files import dvc_hash
from osteon.models.package.package import PackageInfo, read_info
from osteon.records import lineage, store
from osteon.records.film_lineage import evaluations
from osteon.records.lineage import Lineage
from osteon.records.registry import MODEL, PACKAGE, Registry, translate_errors

log = logging.getLogger(__name__)

SIDES = "sides"  # output of prepare, by whose name MLflow keeps it


@dataclass(frozen=True)
class Original:
    """A version as it was made.

    made: from the films to its evaluation, which ran at `commit`. figures: of the evaluation; None where one is not
    defined. info: of its package; None where the store has lost that.
    """

    version: str
    made: Lineage
    commit: str
    figures: dict[str, float | None]
    info: PackageInfo | None

    @property
    def params(self) -> dict[str, str]:
        """Those of all its steps, as MLflow keeps them."""
        return {key: value for node in self.made.walk() for key, value in node.params.items()}


def find_original(version: str) -> Original:
    """What is known of a version.

    Args:
        version: of osteon-fracture, or an alias of one.

    Raises:
        OsteonError: there is no such version, or it is not known from what it was made.

    """
    registry = Registry.open_existing()
    if registry is None:
        raise OsteonError(f"this store has no version of {MODEL} that `osteon promote` made")
    number = registry.aliases().get(version, version)
    if not number.isdecimal():
        raise OsteonError(f"{version} is no version and no alias of {MODEL}; `osteon registry history` shows them")
    name, run_id = f"{MODEL}/{number}", registry.run_of(number)
    if run_id is None or PACKAGE not in registry.tags(number):
        raise OsteonError(f"{name} was registered by hand: what it was made from is not known")
    with translate_errors():
        made = _last_evaluation(name, run_id)
    commit = made.tags[lineage.COMMIT]
    run_git("rev-parse", "--show-toplevel")
    if not has_commit(commit):
        raise OsteonError(f"{name}: its commit {commit} is not in this repository; `git fetch` may bring it")
    figures, info = _reported_figures(name, made), _package_info(registry, number)
    # MLflow shows these: what stands there is what was promised.
    shown = {key: made.metrics[key] for key in figures if key in made.metrics}
    figures |= {key: None if math.isnan(value) else value for key, value in shown.items()}
    return Original(number, made, commit, figures, info)


def _last_evaluation(name: str, run_id: str) -> Lineage:
    """The last evaluation of a run's model that can be made again.

    It must have read the prepared films that the model was trained on: those have its test films.
    """

    def dataset(tags: dict[str, str]) -> set[str]:
        return {tag for tag, name in tags.items() if tag.startswith(lineage.READ) and name == "dataset"}

    client, _ = store.connect()
    run = client.get_run(run_id)
    reason: OsteonError | None = None
    for evaluation in evaluations(client, run):
        if dataset(evaluation.data.tags) != dataset(run.data.tags):
            continue
        made = lineage.lineage_of_run(client, str(evaluation.info.run_id))
        try:
            _check_known(name, made)
        except OsteonError as error:
            reason = reason or error
        else:
            return made
    raise reason or OsteonError(f"{name}: no evaluation of it on its own test films is in the store")


def _check_known(name: str, made: Lineage) -> None:
    for node in made.walk():
        if node.missing:
            raise OsteonError(f"{name}: no run of this store wrote {node.missing[0]}, which its step {node.step} read")
        if node.tags.get(lineage.COMMIT, "unknown") == "unknown":
            raise OsteonError(f"{name}: the commit at which its step {node.step} ran is not known")
        if node.tags.get(lineage.DIRTY) != "false":
            raise OsteonError(
                f"{name}: its step {node.step} ran with changes that were not committed: its code is not known"
            )
    if made.data is None or "data.root" not in {key for node in made.walk() for key in node.params}:
        raise OsteonError(f"{name}: its source films are not known")


def _reported_figures(name: str, measured: Lineage) -> dict[str, float | None]:
    """The figures of the report that is kept with the evaluation's run."""
    client, _ = store.connect()
    wrote = {tag.removeprefix(lineage.WROTE) for tag, kind in measured.tags.items() if kind == "report"}
    with TemporaryDirectory() as temporary:
        try:
            with translate_errors():
                report = Path(client.download_artifacts(measured.run_id, "report", temporary))
        except (OSError, OsteonError) as error:
            raise OsteonError(f"{name}: the report of its evaluation cannot be fetched ({error})") from None
        if dvc_hash(report) not in wrote:
            raise OsteonError(f"{name}: the report in the store is not the one that its evaluation wrote")
        return figures_of(report)


def bring_sides(original: Original, project: Path) -> None:
    """Put the table of sides that the version's own preparation wrote where its stage reads it.

    Without it the films that came one after another would be drawn together, and some could change side.
    """
    client, _ = store.connect()
    for node in original.made.walk():
        if node.step != "prepare":
            continue
        with TemporaryDirectory() as temporary:
            try:
                with translate_errors():
                    kept = Path(client.download_artifacts(node.run_id, SIDES, temporary))
            except (OSError, OsteonError):
                log.info("the table of sides is not in the store; the rule draws the test films")
                # DVC knows a table, so the step would refuse to draw. Every stage runs, whatever the lock says.
                (project / "dvc.lock").unlink(missing_ok=True)
                return
            for file in kept.iterdir():
                shutil.copy(file, project / "data" / file.name)


def figures_of(report: Path) -> dict[str, float | None]:
    """Figures on the test films, by their names in metrics.json, and each model's out-of-fold AUROC."""
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    figures: dict[str, float | None] = {}
    for name, metric in metrics["test"].items():
        if not isinstance(metric, dict):
            figures[name] = metric
        elif "value" in metric:
            figures[name] = metric["value"]
    models = metrics.get("models", {})
    return figures | {f"out-of-fold AUROC of {name}": auroc["pooled"]["value"] for name, auroc in models.items()}


def _package_info(registry: Registry, version: str) -> PackageInfo | None:
    with TemporaryDirectory() as temporary:
        try:
            return read_info(registry.package_of(version, Path(temporary)))
        except OsteonError as error:
            # Perhaps it is made again for this very reason.
            log.warning("%s; its backend and precision are not known", error)
            return None
