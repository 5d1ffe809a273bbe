"""MLflow's store of runs: where it is, a client for it, how long to wait for it, and what to say when it is gone."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from osteon.errors import OsteonError, UnreachableError
from osteon.redaction import redact, redact_url

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

STORE = Path("mlflow") / "store"
EXPERIMENT = "osteon"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or a sqlite file in this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{STORE / 'mlflow.db'}"


def connect() -> "tuple[MlflowClient, str]":
    """A client and the experiment's id, made where missing."""
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    uri = tracking_uri()
    local = uri.startswith("sqlite:///")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # It prints the server's address, with the password in it.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    file = Path(uri.removeprefix("sqlite:///"))
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    try:
        mlflow.set_tracking_uri(uri)
        with _tables_made_by_one(file) if local else nullcontext(), http_limits(AT_FIRST):
            client = mlflow.MlflowClient()
            found = client.get_experiment_by_name(name)
        if found is None:
            found = _made(client, name, (file.parent / "artifacts").resolve().as_uri() if local else None)
    except (MlflowException, SQLAlchemyError, ImportError) as error:  # the last: no driver for this database
        raise UnreachableError(
            f"the MLflow server {redact_url(uri)} does not answer ({reason(error)}); "
            "check MLFLOW_TRACKING_URI, or unset it to use a local file"
        ) from None
    if found.lifecycle_stage == "deleted":
        raise OsteonError(f"MLflow's experiment '{name}' was deleted; restore it or set MLFLOW_EXPERIMENT_NAME")
    return client, str(found.experiment_id)


@contextmanager
def _tables_made_by_one(file: Path) -> Iterator[None]:
    """MLflow makes its tables when it first asks a file; of processes that do so at once it spoils what each does."""
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    # Who may only read a store makes no tables in it.
    with FileLock(f"{file}.lock") if os.access(file.parent, os.W_OK) else nullcontext():
        yield


def _made(client: "MlflowClient", name: str, artifacts: str | None) -> "Experiment":
    """A new experiment, or the one that another process has made in the meantime."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment(client.create_experiment(name, artifacts))
    except MlflowException as error:
        found = client.get_experiment_by_name(name) if error.error_code == "RESOURCE_ALREADY_EXISTS" else None
        if found is None:
            raise
        return found


def retry_once_on_conflict(ask: Callable[[], object]) -> None:
    """Ask MLflow to write something, and once more if its database refuses.

    MLflow looks for a row and inserts one if there is none. Where two processes do so at once the database refuses the
    second, which finds the row when it asks again.
    """
    from mlflow.exceptions import MlflowException

    try:
        ask()
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":
            raise
        ask()


def reason(error: Exception) -> str:
    """The first line of an error's message, redacted."""
    line = (redact(str(error), tracking_uri()).splitlines() or [type(error).__name__])[0]
    # Of what requests says the end tells why; the rest are addresses.
    _, caused, why = line.rpartition("(Caused by ")
    return (why.removesuffix(")") if caused else line)[:200]


def gone(error: Exception) -> UnreachableError | None:
    """What to tell the user if this error of MLflow's means that its server or database went away; else None."""
    # MLflow makes one kind of error of whatever goes wrong on the way to its server.
    away = str(error).startswith("API request to ")
    if not away and getattr(error, "error_code", None) != "TEMPORARILY_UNAVAILABLE":
        return None
    return UnreachableError(
        f"the MLflow server {redact_url(tracking_uri())} no longer responds ({reason(error)}); "
        "run the command again when it does; nothing is left half done"
    )


@contextmanager
def translate_outage() -> Iterator[None]:
    """A server that goes away is nothing that Osteon can mend."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if told := gone(error):
            raise told from None
        raise


AT_FIRST, A_RESTART = 2, 4  # times to ask again: five seconds, as long as MLflow's server takes to start
_asking: list[dict[str, str]] = []


@contextmanager
def http_limits(again: int, seconds: int = 10) -> Iterator[None]:
    """Let MLflow give up soon where nobody answers; what the user has set holds.

    By itself it goes on for four minutes, which suits a server that restarts in the middle of a training and not
    an address that is wrong, nor a decision that can be said again.

    Args:
        again: how often to ask once more.
        seconds: how long to wait each time for a server that is there and says nothing.

    """
    wanted = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(again), "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds)}
    outer = _asking[-1] if _asking else {}
    # It says so each time it asks again, which is good to know in four minutes and not in half of one.
    retrying = logging.getLogger("urllib3.connectionpool")
    level = retrying.level
    retrying.setLevel(logging.ERROR)
    changed = {name: value for name, value in wanted.items() if name in outer or name not in os.environ}
    os.environ.update(changed)
    _asking.append(changed)
    try:
        yield
    finally:
        retrying.setLevel(level)
        _asking.pop()
        for name in changed:
            del os.environ[name]
        os.environ.update(outer)
