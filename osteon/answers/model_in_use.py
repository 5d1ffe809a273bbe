"""The package of the model in use, which comes from this folder again as long as the registry is as it was."""

import json
import shutil
from pathlib import Path

from osteon.errors import OsteonError
from osteon.files import atomic_dir
from osteon.models.package.package import read_info
from osteon.records.store_address import store_file, store_state

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
        OsteonError: there is neither, or the files of the model in use are missing or altered.
        UnreachableError: MLflow's server does not answer.

    """
    file, state = store_file(), store_state()
    if file is not None and state is None:
        return _made_here("no model is in use: this folder has no registry")
    if state is not None and (address := _kept_address(state)):
        return address, KEPT / _PACKAGE

    from osteon.records.registry import CHAMPION, MODEL, Registry

    registry = Registry.open_existing()
    version = registry.aliases().get(CHAMPION) if registry else None
    if registry is None or version is None:
        return _made_here("no model is in use")
    # From here on an error is one: no other model answers in its place.
    address, package = f"models:/{MODEL}/{version}", registry.package_of(version, temporary)
    if state is not None and state == store_state():
        _keep(package, state, address)
    return address, package


def _made_here(reason: str) -> tuple[str, Path]:
    if not MADE_HERE.is_dir():
        raise OsteonError(f"{reason}. There is no {MADE_HERE} either: `make run` makes one, or name a model by --model")
    return str(MADE_HERE), MADE_HERE


def _kept_address(state: str) -> str | None:
    """Of the model that was kept while the registry was in this state; None where none was, or it is damaged."""
    try:
        kept = json.loads((KEPT / _STATE).read_text(encoding="utf-8"))
        read_info(KEPT / _PACKAGE)
        return str(kept["address"]) if kept["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError, OsteonError):
        return None


def _keep(package: Path, state: str, address: str) -> None:
    """A folder that cannot be written to is no error: the registry is asked next time."""
    try:
        KEPT.parent.mkdir(mode=0o700, exist_ok=True)
        with atomic_dir(KEPT) as folder:
            shutil.copytree(package, folder / _PACKAGE)
            (folder / _STATE).write_text(json.dumps({"state": state, "address": address}), encoding="utf-8")
    except (OSError, OsteonError):
        return
