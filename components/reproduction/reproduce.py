"""A version made once more, from its commit and its films in a folder of its own, and its figures beside those of then.

Nothing is written into the project: the code is cloned, the runs go to a store in that folder, and DVC keeps no
output of them.
"""

import configparser
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from osteon.environment import differences
from osteon.errors import OsteonError
from osteon.files import dvc_hash
from osteon.films.identity import KEY_FILE, VARIABLE
from osteon.records import lineage, store
from osteon.records.registry import MODEL, PACKAGE, Registry, translate_errors

if TYPE_CHECKING:
    from osteon.models.package.package import PackageInfo
    from osteon.records.lineage import Lineage

log = logging.getLogger(__name__)

TOLERANCE = 1e-3
NOT_REPRODUCED = 4  # exit code
REPORT, MADE, LOCK = Path("reports/evaluation"), Path("artifacts/model"), Path("requirements.lock")
_PLACES = ("data.root", "training.weights")  # parameters that name a folder or file
# What would make the steps write somewhere else, or say that they are others than they are.
_UNSET = (
    "DVC_ROOT",
    "DVC_STAGE",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_RUN_ID",
    "OSTEON_GIT_COMMIT",
    "OSTEON_GIT_DIRTY",
    "OSTEON_PASS",
    "VIRTUAL_ENV",
)


@dataclass(frozen=True)
class Original:
    """A version as it was made.

    made: from the films to its evaluation, which ran at `commit`. figures: of the evaluation; None where one is not
    defined. info: of its package; None where the store has lost that.
    """

    version: str
    made: "Lineage"
    commit: str
    figures: dict[str, float | None]
    info: "PackageInfo | None"

    @property
    def params(self) -> dict[str, str]:
        """Those of all its steps, as MLflow keeps them."""
        return {key: value for node in self.made.walk() for key, value in node.params.items()}


@dataclass(frozen=True)
class Figure:
    """A figure then and now; None where it is not defined."""

    name: str
    then: float | None
    now: float | None

    @property
    def difference(self) -> float:
        """Now less then; infinite where only one of them is defined."""
        if self.then is None or self.now is None:
            return 0.0 if self.then is self.now else math.inf
        return self.now - self.then

    @property
    def same(self) -> bool:
        """Within the tolerance."""
        return abs(self.difference) <= TOLERANCE


@dataclass(frozen=True)
class Comparison:
    """What came out. data: DVC's hash of the films then and now. changes: what else was another, a line each."""

    version: str
    figures: list[Figure]
    data: tuple[str, str]
    changes: list[str]

    @property
    def worst(self) -> Figure:
        """The figure that differs most."""
        return max(self.figures, key=lambda figure: abs(figure.difference))

    @property
    def reproduced(self) -> bool:
        """The films are the same, and every figure is."""
        return self.data[0] == self.data[1] and self.worst.same


def reproduce(version: str, keep: Path | None) -> Comparison:
    """Make a version again and compare its figures.

    Args:
        version: of osteon-fracture, or an alias of one.
        keep: an empty folder, or one to make, to work in and to leave; None: a temporary one, removed at the end.

    Raises:
        OsteonError: it is not known well enough what the version was made from, or the run did not come to its end.

    """
    original = find_original(version)
    with _scratch(keep) as folder:
        stays = "it stays there" if keep else "removed at the end; --keep DIR keeps it"
        log.info("version %s: commit %s, in %s (%s)", original.version, original.commit, folder, stays)
        project = _check_out(original.commit, folder)
        environment = _environment(project, original)
        commands = _commands(project, environment)
        _check_code(project, environment, commands)
        params = _set_params(project, environment, commands, original.params)
        root = project / params["data.root"]
        _check_films(root, original)
        # --force: each stage runs, whatever dvc.lock says and DVC's cache has; --no-commit: no output is kept there.
        _run([commands / "dvc", "repro", "--force", "--no-run-cache", "--no-commit", "evaluate"], project, environment)
        now = figures_of(project / REPORT)
        names = dict.fromkeys((*original.figures, *now))
        return Comparison(
            version=original.version,
            figures=[Figure(name, original.figures.get(name), now.get(name)) for name in names],
            data=(str(original.made.data), dvc_hash(root)),
            changes=list(_changes(original, project)),
        )


# ---------------------------------------------------------------- what it was


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
        made = _evaluation(name, run_id)
    commit = made.tags[lineage.COMMIT]
    _git("rev-parse", "--show-toplevel")
    if not _has(commit):
        raise OsteonError(f"{name}: its commit {commit} is not in this repository; `git fetch` may bring it")
    figures, info = _reported(name, made), _package_info(registry, number)
    # MLflow shows these: what stands there is what was promised.
    shown = {key: made.metrics[key] for key in figures if key in made.metrics}
    figures |= {key: None if math.isnan(value) else value for key, value in shown.items()}
    return Original(number, made, commit, figures, info)


def _evaluation(name: str, run_id: str) -> "Lineage":
    """The last evaluation, of those that can be made again, of a run's model on the prepared films that it learnt from.

    Those have its test films.
    """
    from osteon.records.film_lineage import evaluations

    def dataset(tags: dict[str, str]) -> set[str]:
        return {tag for tag, name in tags.items() if tag.startswith(lineage.READ) and name == "dataset"}

    client, _ = store.connect()
    run = client.get_run(run_id)
    reason: OsteonError | None = None
    for one in evaluations(client, run):
        if dataset(one.data.tags) != dataset(run.data.tags):
            continue
        made = lineage.lineage_of_run(client, str(one.info.run_id))
        try:
            _check_known(name, made)
        except OsteonError as error:
            reason = reason or error
        else:
            return made
    raise reason or OsteonError(f"{name}: no evaluation of it on its own test films is in the store")


def _check_known(name: str, made: "Lineage") -> None:
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


def _reported(name: str, measured: "Lineage") -> dict[str, float | None]:
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


def figures_of(report: Path) -> dict[str, float | None]:
    """Figures on the test films, by their names in metrics.json, and each model's out-of-fold AUROC."""
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    found: dict[str, float | None] = {}
    for name, one in metrics["test"].items():
        if not isinstance(one, dict):
            found[name] = one
        elif "value" in one:
            found[name] = one["value"]
    models = metrics.get("models", {})
    return found | {f"out-of-fold AUROC of {name}": one["pooled"]["value"] for name, one in models.items()}


def _package_info(registry: Registry, version: str) -> "PackageInfo | None":
    from osteon.models.package.package import read_info

    with TemporaryDirectory() as temporary:
        try:
            return read_info(registry.package_of(version, Path(temporary)))
        except OsteonError as error:
            # To make it again may be just what is wanted then.
            log.warning("%s; its backend and precision are not known", error)
            return None


# ---------------------------------------------------------------- where it is made again


@contextmanager
def _scratch(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        # A file that something wrote late must not cost the verdict.
        with TemporaryDirectory(prefix="osteon-reproduce-", ignore_cleanup_errors=True) as temporary:
            yield Path(temporary).resolve()
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise OsteonError(f"--keep {keep}: is there and not empty; name a folder that is to be made")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.resolve()


def _check_out(commit: str, folder: Path) -> Path:
    """Clone this repository at a commit; the project's folder in it."""
    top, below = _git("rev-parse", "--show-toplevel"), _git("rev-parse", "--show-prefix")
    _git("clone", "--quiet", "--no-checkout", top, str(folder))
    _git("-C", str(folder), "checkout", "--quiet", "--detach", commit)
    return folder / below


def _environment(project: Path, original: Original) -> dict[str, str]:
    """The variables of the steps."""
    kept = {name: value for name, value in os.environ.items() if name not in _UNSET}
    # Their code is the commit's: this environment's own is that of the present tree.
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(project), kept.get("PYTHONPATH"))))
    kept["MLFLOW_TRACKING_URI"] = f"sqlite:///{store.STORE / 'mlflow.db'}"
    kept["DVC_SITE_CACHE_DIR"] = str(project / ".dvc" / "tmp" / "site")  # else a folder of /var/tmp for each clone
    # DVC would look for its updates in the background, and write into the folder while it is removed.
    kept["DVC_DAEMON"] = "1"
    if original.info:
        kept["KERAS_BACKEND"] = original.info.backend
    # Groups and splits stand on the hashed ids of patients, so that the key must be the same.
    if not kept.get(VARIABLE) and KEY_FILE.exists():
        kept[VARIABLE] = KEY_FILE.read_text(encoding="utf-8").strip()
    return kept


def _commands(project: Path, environment: dict[str, str]) -> Path:
    """The folder with osteon, dvc and python: this environment's, or one made there from another lock."""
    commands = Path(sys.executable).parent
    if (project / LOCK).exists() and not (LOCK.exists() and LOCK.read_bytes() == (project / LOCK).read_bytes()):
        log.info("%s was another one then; an environment is made from it", LOCK)
        _run(["make", ".venv/made", f"PYTHON={sys.executable}"], project, environment)
        commands = project / ".venv" / "bin"
    environment["PATH"] = os.pathsep.join((str(commands), environment.get("PATH", os.defpath)))
    return commands


def _check_code(project: Path, environment: dict[str, str], commands: Path) -> None:
    # -P: not because it lies in the current folder; `osteon` is not started from there.
    code = "import components; print(components.__path__[0])"
    there = Path(_said([commands / "python", "-P", "-c", code], project, environment).strip())
    if there.resolve().parent != project.resolve():
        raise OsteonError(f"the steps would run with the code in {there}, not with that of the commit")


def _set_params(project: Path, environment: dict[str, str], commands: Path, params: dict[str, str]) -> dict[str, str]:
    """Make params.yaml say what the steps ran with, and where their films lie; what it says of their keys now.

    They may have been given another file than the commit's.
    """
    from ruamel.yaml import YAML

    wanted = dict(params)
    _fetch(project, environment, commands, [wanted[key] for key in _PLACES if wanted.get(key)])
    wanted |= _elsewhere(project, wanted)
    if wanted.get("search.storage"):
        # Several may write there, and its studies are finished: no trial would run.
        wanted["search.storage"] = ""

    def read() -> dict[str, str]:
        lines = _said([commands / "osteon", "params"], project, environment).splitlines()
        return {key: value for key, _, value in (line.partition(": ") for line in lines)}

    there = read()
    # MLflow adds some of its own to a run that logs a model.
    changed = {key: value for key, value in wanted.items() if key in there and there[key] != value}
    if not changed:
        return wanted
    yaml, file = YAML(), project / "params.yaml"
    yaml.width = 10_000  # a path stays on one line
    content = yaml.load(file.read_text(encoding="utf-8"))
    for key, value in changed.items():
        log.info("params.yaml: %s: %s (at the commit: %s)", key, value, there[key])
        *above, name = key.split(".")
        section = content
        for one in above:
            section = section.setdefault(one, {})
        section[name] = _value(value)
    with file.open("w", encoding="utf-8") as out:
        yaml.dump(content, out)
    there = read()
    if left := [key for key, value in changed.items() if there.get(key) != value]:
        raise OsteonError(f"params.yaml: {left[0]} was {wanted[left[0]]}, which cannot be set there")
    return wanted


def _value(text: str) -> Any:
    """A parameter from its text in MLflow, which is Python's or, of what is nested, JSON."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if not text:
        return text
    if text == "None":
        return None
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return text


def _fetch(project: Path, environment: dict[str, str], commands: Path, paths: Sequence[str]) -> None:
    """Bring what DVC tracks by itself (`dvc add`) of these paths: out of the project's cache, or from the remote."""
    tracked = _said(["git", "ls-files", "*.dvc"], project, environment).splitlines()
    wanted = [
        name
        for name in tracked
        for path in map(Path, paths)
        if path.is_relative_to(Path(name).with_suffix("")) or Path(name).with_suffix("").is_relative_to(path)
    ]
    if not wanted:
        return
    dvc, local = commands / "dvc", Path(".dvc") / "config.local"
    # Keys of the remote, perhaps. DVC itself cannot write a path with letters beyond ASCII.
    config = configparser.ConfigParser(interpolation=None)
    config.read(local, encoding="utf-8")
    cache = _said([dvc, "cache", "dir"], Path.cwd(), environment).strip()
    # No step writes to its films, and a link takes no room.
    config.read_dict({"cache": {"dir": cache, "type": "reflink,symlink"}})
    try:
        (project / local).touch(0o600)
        with (project / local).open("w", encoding="utf-8") as file:
            config.write(file)
        try:
            _said([dvc, "checkout", *wanted], project, environment)
        except OsteonError:
            log.info("not all of %s is in DVC's cache; dvc pull fetches it from the remote", ", ".join(wanted))
            _run([dvc, "pull", *wanted], project, environment)
    finally:
        # From here on the clone has a cache of its own, and no keys.
        (project / local).unlink(missing_ok=True)


def _elsewhere(project: Path, params: dict[str, str]) -> dict[str, str]:
    """Films and weights that neither git, DVC nor a stage brings: where they lie in the user's project."""
    from ruamel.yaml import YAML

    stages = YAML(typ="safe", pure=True).load((project / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    made = [out if isinstance(out, str) else next(iter(out)) for stage in stages.values() for out in stage["outs"]]
    found = {}
    for key in _PLACES:
        path = Path(params.get(key, ""))
        if path == Path() or (project / path).exists() or any(path.is_relative_to(out) for out in made):
            continue
        if not path.exists():
            raise OsteonError(f"{key}: {path} is not here, and neither git nor DVC knows it at the commit")
        found[key] = str(path.resolve())
    return found


def _check_films(root: Path, original: Original) -> None:
    """Before hours of work: films that are there already must be those of then."""
    if root.exists() and (now := dvc_hash(root)) != original.made.data:
        raise OsteonError(
            f"{root}: these are other films; version {original.version} was made from {original.made.data}, "
            f"their hash is {now}"
        )


# ---------------------------------------------------------------- what else was another


def _changes(original: Original, project: Path) -> Iterator[str]:
    from osteon.models.package.package import read_info

    nodes = list(original.made.walk())
    for commit in {node.tags[lineage.COMMIT] for node in nodes} - {original.commit}:
        steps = ", ".join(node.step for node in nodes if node.tags[lineage.COMMIT] == commit)
        if not _has(commit) or _git(
            "diff", "--name-only", commit, original.commit, "--", "osteon", "components", "dvc.yaml"
        ):
            yield f"code: {steps} ran at commit {commit} then"
    images = {node.tags[lineage.IMAGE] for node in nodes if lineage.IMAGE in node.tags}
    for image in sorted(images - {os.environ.get("OSTEON_IMAGE", "")}):
        yield f"image: {image} then, {os.environ.get('OSTEON_IMAGE') or 'none'} now"
    if then := original.info:
        now = read_info(project / MADE)
        for name in ("backend", "precision"):
            if getattr(then, name) != getattr(now, name):
                yield f"{name}: {getattr(then, name)} then, {getattr(now, name)} now"
    known = list(lineage.environments(nodes).values())
    if not known:
        yield "machine and packages: not recorded then"
    # All steps ran in one environment now.
    kept = next((project / store.STORE).rglob(lineage.ENVIRONMENT_FILE), None)
    if known and kept:
        here = json.loads(kept.read_text(encoding="utf-8"))
        yield from dict.fromkeys(line for environment in known for line in differences(environment, here))


# ---------------------------------------------------------------- other programs


def _has(commit: str) -> bool:
    try:
        _git("cat-file", "-e", f"{commit}^{{commit}}")
    except OsteonError:
        return False
    return True


def _git(*words: str) -> str:
    return _said(["git", *words], Path.cwd(), dict(os.environ)).strip()


def _said(words: Sequence[str | Path], folder: Path, environment: dict[str, str]) -> str:
    """What a short command says.

    Raises:
        OsteonError: it failed, with the last line that it said.

    """
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise OsteonError(f"{Path(words[0]).name} {words[1]}: {said[-1]}")
    return done.stdout


def _run(words: Sequence[str | Path], folder: Path, environment: dict[str, str]) -> None:
    """Run a long command; what it says streams through. Nothing of it goes on when this process is interrupted."""
    import psutil

    process = subprocess.Popen(words, cwd=folder, env=environment)  # noqa: S603
    try:
        code = process.wait()
    except BaseException:
        # They write into the folder that is about to be removed.
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(process.pid)
            left = [first, *first.children(recursive=True)]
            for one in left:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            psutil.wait_procs(left, timeout=10)
        process.wait()
        raise
    if code:
        raise OsteonError(f"{Path(words[0]).name} {words[1]} ended with exit code {code}; what it said stands above")
