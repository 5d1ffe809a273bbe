"""MLflow's store of runs: where it is, a client for it, how long to wait for it, and what to say when it is gone."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from osteon.errors import OsteonError, UnreachableError
from osteon.records.retries import Retries
from osteon.records.store_address import tracking_uri
from osteon.redaction import redact, redact_url

EXPERIMENT = "osteon"


def connect() -> tuple[MlflowClient, str]:
    """A client and the experiment's id, made where missing."""
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
        with _alone_with_tables(file) if local else nullcontext(), http_limits(Retries.CONNECTING):
            client = mlflow.MlflowClient()
            experiment = client.get_experiment_by_name(name)
        if experiment is None:
            experiment = _create_experiment(
                client, name, (file.parent / "artifacts").resolve().as_uri() if local else None
            )
    except (MlflowException, SQLAlchemyError, ImportError) as error:  # the last: no driver for this database
        raise UnreachableError(
            f"the MLflow server {redact_url(uri)} does not answer ({reason(error)}); "
            "check MLFLOW_TRACKING_URI, or unset it to use a local file"
        ) from None
    if experiment.lifecycle_stage == "deleted":
        raise OsteonError(f"MLflow's experiment '{name}' was deleted; restore it or set MLFLOW_EXPERIMENT_NAME")
    return client, str(experiment.experiment_id)


@contextmanager
def _alone_with_tables(file: Path) -> Iterator[None]:
    """MLflow makes its tables when it first asks a file; of processes that do so at once it spoils what each does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # Who may only read a store makes no tables in it.
    with FileLock(f"{file}.lock") if os.access(file.parent, os.W_OK) else nullcontext():
        yield


def _create_experiment(client: MlflowClient, name: str, artifacts: str | None) -> Experiment:
    """A new experiment, or the one that another process has made in the meantime."""
    try:
        return client.get_experiment(client.create_experiment(name, artifacts))
    except MlflowException as error:
        experiment = client.get_experiment_by_name(name) if error.error_code == "RESOURCE_ALREADY_EXISTS" else None
        if experiment is None:
            raise
        return experiment


def retry_once_on_conflict(write: Callable[[], object]) -> None:
    """Let MLflow write something, and retry once if its database refuses.

    MLflow looks for a row and inserts it if it is missing. Of two processes that do so at once the database refuses
    the second, which finds the row when it retries.

    Args:
        write: calls MLflow; it may be called twice.

    Raises:
        MlflowException: any other error than a refusal, or a second refusal.

    """
    try:
        write()
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":
            raise
        write()


def reason(error: Exception) -> str:
    """The first line of an error's message, redacted."""
    line = (redact(str(error), tracking_uri()).splitlines() or [type(error).__name__])[0]
    # The end of requests' message has the reason; the rest are addresses.
    _, caused, why = line.rpartition("(Caused by ")
    return (why.removesuffix(")") if caused else line)[:200]


def outage_of(error: Exception) -> UnreachableError | None:
    """An error for the user if this error of MLflow's means that its server or database went away; else None."""
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
    """Raise an UnreachableError where MLflow's error means that its server or database went away."""
    try:
        yield
    except MlflowException as error:
        if outage := outage_of(error):
            raise outage from None
        raise


_limits: list[dict[str, str]] = []  # the variables that each open http_limits has set, the innermost last


@contextmanager
def http_limits(retries: Retries, timeout_s: int = 10) -> Iterator[None]:
    """Limit how long MLflow waits for its server; what the user has set in the environment holds.

    Args:
        retries: how often it retries; LONG changes nothing.
        timeout_s: seconds to wait for each answer of a server that accepts the connection.

    """
    if retries is Retries.LONG:
        yield
        return
    wanted = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries.value),
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout_s),
    }
    outer = _limits[-1] if _limits else {}
    # It warns of each retry, which is good to know in four minutes and not in half of one.
    retrying = logging.getLogger("urllib3.connectionpool")
    level = retrying.level
    retrying.setLevel(logging.ERROR)
    changed = {name: value for name, value in wanted.items() if name in outer or name not in os.environ}
    os.environ.update(changed)
    _limits.append(changed)
    try:
        yield
    finally:
        retrying.setLevel(level)
        _limits.pop()
        for name in changed:
            del os.environ[name]
        os.environ.update(outer)
