"""Where MLflow's store is. It does not import MLflow, which takes two seconds."""

import os
from pathlib import Path

STORE = Path("mlflow") / "store"
_LOCAL = "sqlite:///"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or a sqlite file in this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_LOCAL}{STORE / 'mlflow.db'}"


def store_file() -> Path | None:
    """The file of a store on this machine; None for a server or a database."""
    uri = tracking_uri()
    return Path(uri.removeprefix(_LOCAL)) if uri.startswith(_LOCAL) else None


def store_state() -> str | None:
    """Size and time of the store's file and of its journal, which any write changes; None where it is no file here."""
    file = store_file()
    if file is None or not file.is_file():
        return None
    journal = file.with_name(f"{file.name}-wal")
    states = [path.stat() for path in (file, journal) if path.exists()]
    return " ".join([str(file.resolve()), *(f"{state.st_size} {state.st_mtime_ns}" for state in states)])
