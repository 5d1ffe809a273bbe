"""The package of the model in use, which comes from this folder again as long as the registry is as it was."""

import json
import shutil
from pathlib import Path

from osteon.errors import OsteonError
from osteon.files import atomic_dir
from osteon.models.package.package import read_info
from osteon.records.store_address import store_file, store_state

IN_USE = "models:/osteon-fracture@champion"
MADE_HERE = Path("artifacts/model")  # as the step train makes it
KEPT = Path(".osteon") / "model_in_use"
_STATE, _PACKAGE = "state.json", "package"


def package_in_use(temporary: Path) -> tuple[str, Path]:
    """The address of the model in use and its package; where no model is in use, those of the one in MADE_HERE.

    A registry in a file of this project has to be asked only when the file has changed: asking takes seconds, most of
    them to import MLflow. The package's own hashes are checked whenever it is opened.

    Args:
        temporary: folder to fetch into.

    Raises:
        OsteonError: there is neither.
        UnreachableError: MLflow's server does not answer.

    """
    file, state = store_file(), store_state()
    if file is not None and state is None:
        return _made_here("no model is in use: this folder has no registry")
    if state is not None and _kept_state() == state:
        return IN_USE, KEPT / _PACKAGE

    from osteon.records.model_packages import fetch_package

    try:
        package = fetch_package(IN_USE, temporary)
    except OsteonError as error:
        if file is None:  # a server that does not answer must not make another model answer
            raise
        return _made_here(str(error))
    if state is not None and state == store_state():
        _keep(package, state)
    return IN_USE, package


def _made_here(reason: str) -> tuple[str, Path]:
    if not MADE_HERE.is_dir():
        raise OsteonError(f"{reason}. There is no {MADE_HERE} either: `make run` makes one, or name a model by --model")
    return str(MADE_HERE), MADE_HERE


def _kept_state() -> str | None:
    try:
        state = json.loads((KEPT / _STATE).read_text(encoding="utf-8"))["state"]
        read_info(KEPT / _PACKAGE)
    except (OSError, ValueError, KeyError, TypeError, OsteonError):
        return None
    return str(state)


def _keep(package: Path, state: str) -> None:
    """A folder that cannot be written to is no error: the registry is asked next time."""
    try:
        KEPT.parent.mkdir(mode=0o700, exist_ok=True)
        with atomic_dir(KEPT) as folder:
            shutil.copytree(package, folder / _PACKAGE)
            (folder / _STATE).write_text(json.dumps({"state": state}), encoding="utf-8")
    except (OSError, OsteonError):
        return
