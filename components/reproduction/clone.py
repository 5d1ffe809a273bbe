"""The folder in which a version is made again: a clone at its commit, with its parameters, films and environment."""

import configparser
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components.reproduction.original import Original
from components.reproduction.programs import output_of, run, run_git
from osteon.errors import OsteonError
from osteon.files import dvc_hash
from osteon.films.identity import KEY_FILE, VARIABLE
from osteon.params import IMAGENET
from osteon.records.store_address import STORE

log = logging.getLogger(__name__)

LOCK = Path("requirements.lock")
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


@contextmanager
def work_folder(keep: Path | None) -> Iterator[Path]:
    """The folder to work in; None: a temporary one.

    Raises:
        OsteonError: it exists and is not empty.

    """
    if keep is None:
        # A file that something wrote late must not cost the verdict.
        with TemporaryDirectory(prefix="osteon-reproduce-", ignore_cleanup_errors=True) as temporary:
            yield Path(temporary).resolve()
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise OsteonError(f"--keep {keep}: exists and is not empty; name a new folder")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.resolve()


def clone_at(commit: str, folder: Path) -> Path:
    """Clone this repository at a commit; the project's folder in it."""
    top, below = run_git("rev-parse", "--show-toplevel"), run_git("rev-parse", "--show-prefix")
    run_git("clone", "--quiet", "--no-checkout", top, str(folder))
    run_git("-C", str(folder), "checkout", "--quiet", "--detach", commit)
    return folder / below


def step_environment(project: Path, original: Original) -> dict[str, str]:
    """The variables of the steps."""
    kept = {name: value for name, value in os.environ.items() if name not in _UNSET}
    # Their code is the commit's: this environment's own is that of the present tree.
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(project), kept.get("PYTHONPATH"))))
    kept["MLFLOW_TRACKING_URI"] = f"sqlite:///{STORE / 'mlflow.db'}"
    kept["DVC_SITE_CACHE_DIR"] = str(project / ".dvc" / "tmp" / "site")  # else a folder of /var/tmp for each clone
    # DVC would look for its updates in the background, and write into the folder while it is removed.
    kept["DVC_DAEMON"] = "1"
    if original.info:
        kept["KERAS_BACKEND"] = original.info.backend
    # Groups and splits stand on the hashed ids of patients, so that the key must be the same.
    if not kept.get(VARIABLE) and KEY_FILE.exists():
        kept[VARIABLE] = KEY_FILE.read_text(encoding="utf-8").strip()
    return kept


def commands_of(project: Path, environment: dict[str, str]) -> Path:
    """The folder with osteon, dvc and python: this environment's, or one made there from another lock."""
    commands = Path(sys.executable).parent
    if (project / LOCK).exists() and not (LOCK.exists() and LOCK.read_bytes() == (project / LOCK).read_bytes()):
        log.info("%s was different then; making an environment from it", LOCK)
        run(["make", ".venv/made", f"PYTHON={sys.executable}"], project, environment)
        commands = project / ".venv" / "bin"
    environment["PATH"] = os.pathsep.join((str(commands), environment.get("PATH", os.defpath)))
    return commands


def check_code(project: Path, environment: dict[str, str], commands: Path) -> None:
    """Check that the steps will run with the code of the commit.

    Raises:
        OsteonError: they would run with other code.

    """
    ours = [name for name in ("osteon", "components") if (project / name).is_dir()]  # an old commit has no osteon
    code = f"import {', '.join(ours)}; print(*(m.__path__[0] for m in ({', '.join(ours)},)), sep='\\n')"
    # -P: not because it lies in the current folder; `osteon` is not started from there.
    for package in output_of([commands / "python", "-P", "-c", code], project, environment).splitlines():
        if Path(package).resolve().parent != project.resolve():
            raise OsteonError(f"the steps would run with the code in {package}, not with that of the commit")


def set_params(project: Path, environment: dict[str, str], commands: Path, params: dict[str, str]) -> dict[str, str]:
    """Set in params.yaml what the steps ran with, and where their films lie; the values of their keys.

    They may have been given another file than the commit's.
    """
    wanted = dict(params)
    _fetch(project, environment, commands, list(_named_places(wanted).values()))
    wanted |= places_elsewhere(project, wanted)
    if wanted.get("search.storage"):
        # Several may write there, and its studies are finished: no trial would run.
        wanted["search.storage"] = ""

    def read() -> dict[str, str]:
        lines = output_of([commands / "osteon", "params"], project, environment).splitlines()
        return {key: value for key, _, value in (line.partition(": ") for line in lines)}

    at_commit = read()
    # MLflow adds some of its own to a run that logs a model.
    changed = {key: value for key, value in wanted.items() if key in at_commit and at_commit[key] != value}
    if not changed:
        return wanted
    yaml, file = YAML(), project / "params.yaml"
    yaml.width = 10_000  # a path stays on one line
    content = yaml.load(file.read_text(encoding="utf-8"))
    for key, value in changed.items():
        log.info("params.yaml: %s: %s (at the commit: %s)", key, value, at_commit[key])
        *above, name = key.split(".")
        section = content
        for key_above in above:
            section = section.setdefault(key_above, {})
        section[name] = _value(value)
    with file.open("w", encoding="utf-8") as out:
        yaml.dump(content, out)
    written = read()
    if left := [key for key, value in changed.items() if written.get(key) != value]:
        raise OsteonError(f"params.yaml: {left[0]} was {wanted[left[0]]}, which cannot be set there")
    return wanted


def _value(text: str) -> Any:
    """A parameter from its text in MLflow, which is Python's or, of what is nested, JSON."""
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
    tracked = output_of(["git", "ls-files", "*.dvc"], project, environment).splitlines()
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
    cache = output_of([dvc, "cache", "dir"], Path.cwd(), environment).strip()
    # No step writes to its films, and a link takes no room.
    config.read_dict({"cache": {"dir": cache, "type": "reflink,symlink"}})
    try:
        (project / local).touch(0o600)
        with (project / local).open("w", encoding="utf-8") as file:
            config.write(file)
        try:
            output_of([dvc, "checkout", *wanted], project, environment)
        except OsteonError:
            log.info("not all of %s is in DVC's cache; dvc pull fetches it from the remote", ", ".join(wanted))
            run([dvc, "pull", *wanted], project, environment)
    finally:
        # From here on the clone has a cache of its own, and no keys.
        (project / local).unlink(missing_ok=True)


def _named_places(params: dict[str, str]) -> dict[str, str]:
    """The parameters that name a folder or a file: weights may be ImageNet's, which no path leads to."""
    return {key: params[key] for key in _PLACES if params.get(key) not in (None, "", IMAGENET)}


def places_elsewhere(project: Path, params: dict[str, str]) -> dict[str, str]:
    """Films and weights that neither git, DVC nor a stage brings: where they lie in the user's project, by parameter.

    Raises:
        OsteonError: one lies nowhere.

    """
    stages = YAML(typ="safe", pure=True).load((project / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    made = [out if isinstance(out, str) else next(iter(out)) for stage in stages.values() for out in stage["outs"]]
    paths = {}
    for key, name in _named_places(params).items():
        path = Path(name)
        if (project / path).exists() or any(path.is_relative_to(out) for out in made):
            continue
        if not path.exists():
            raise OsteonError(f"{key}: {path} is not here, and neither git nor DVC knows it at the commit")
        paths[key] = str(path.resolve())
    return paths


def check_films(root: Path, original: Original) -> None:
    """Before hours of work: films that are there already must be those of then."""
    if root.exists() and (present := dvc_hash(root)) != original.made.data:
        raise OsteonError(
            f"{root}: the films differ: version {original.version} was made from {original.made.data}, "
            f"their hash is {present}"
        )
