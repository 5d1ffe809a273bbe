"""The package of a model by its address in MLflow, and what was measured of it there."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from botocore.exceptions import BotoCoreError, ClientError
from mlflow.artifacts import download_artifacts, load_dict
from mlflow.exceptions import MlflowException

from osteon.errors import OsteonError
from osteon.files import dvc_hash
from osteon.records import store
from osteon.records.film_lineage import EXTERNAL_TEST, evaluations, tests_of_package
from osteon.records.lineage import READ, lineage_of_file, model_of_run
from osteon.records.registry import FETCH_TIMEOUT, MODEL, Registry
from osteon.records.retries import Retries

if TYPE_CHECKING:
    from mlflow import MlflowClient

INFO = "package.json"
ADDRESSES = "models:/NAME@ALIAS, models:/NAME/VERSION, models:/m-…, runs:/RUN/model or a folder with a package"


@dataclass(frozen=True)
class OwnTest:
    """The last evaluation of a model on its own test films: its run, metrics.json, and the films' SHA-256."""

    run: str
    metrics: dict[str, Any]
    films: frozenset[str]


def fetch_package(what: str, folder: Path) -> Path:
    """The folder of a model's package: the one that was named, or one that is fetched from MLflow.

    Args:
        what: one of ADDRESSES.
        folder: to fetch into.

    Raises:
        OsteonError: no such model, or it has no package of Osteon's.
        UnreachableError: MLflow's server or its artifacts do not answer.

    """
    if not what.startswith(("models:/", "runs:/")):
        if not (Path(what) / INFO).is_file():
            raise OsteonError(f"{what}: no packaged model ({INFO} is missing); give {ADDRESSES}")
        return Path(what)
    client, _ = store.connect()
    try:
        with store.http_limits(Retries.SHORT, FETCH_TIMEOUT):
            place = _place(client, what)
            if registered := re.fullmatch(rf"models:/{MODEL}/(\d+)", place):
                return Registry(client).package_of(registered[1], folder)
            fetched = Path(download_artifacts(artifact_uri=f"{place}/artifacts", dst_path=str(folder)))
    except (MlflowException, OSError, BotoCoreError, ClientError) as error:
        outage = store.outage_of(error) if isinstance(error, MlflowException) else None
        raise outage or OsteonError(f"{what}: {store.reason(error).rstrip('.')}; give {ADDRESSES}") from None
    packages = [path.parent for path in fetched.rglob(INFO)]
    if len(packages) != 1:
        raise OsteonError(f"{what}: no model of Osteon's ({INFO} is missing)")
    return packages[0]


def _place(client: "MlflowClient", what: str) -> str:
    """Where the files of a model lie: models:/NAME/VERSION, or the place of a model that has only an id.

    Raises:
        OsteonError: a run without a model.
        MlflowException: no such run, alias, version or model.

    """
    if what.startswith("runs:/"):
        run = what.removeprefix("runs:/").split("/")[0]
        model = model_of_run(run)
        if model is None:
            raise OsteonError(f"{what}: this run logged no model; give {ADDRESSES}")
        what = f"models:/{model}"
    if (model := what.removeprefix("models:/").rstrip("/")).startswith("m-"):
        return str(client.get_logged_model(model).artifact_location)
    name, _, alias = what.removeprefix("models:/").partition("@")
    if alias:
        return f"models:/{name}/{client.get_model_version_by_alias(name, alias).version}"
    if "/" in name:
        client.get_model_version(*name.rstrip("/").rsplit("/", 1))
    return what.rstrip("/")


def own_test(package: Path) -> OwnTest | None:
    """What the step evaluate measured of a package last; None where no run of this store did.

    Raises:
        OsteonError: its report cannot be read.

    """
    client, _ = store.connect()
    made = lineage_of_file(package)
    tests = evaluations(client, client.get_run(made.run_id)) if made else []
    if not tests:
        return None
    place = f"{tests[0].info.artifact_uri}/report"
    try:
        films = pd.read_csv(download_artifacts(f"{place}/predictions.csv"), dtype=str, usecols=["sha256"])
        return OwnTest(str(tests[0].info.run_id), load_dict(f"{place}/metrics.json"), frozenset(films["sha256"]))
    except (MlflowException, OSError, ValueError) as error:
        raise OsteonError(f"{place}: the model's own test cannot be read ({store.reason(error)})") from None


def external_tests(package: Path) -> list[dict[str, Any]]:
    """metrics.json of a package's last test on each folder of other people's films, the last first.

    Raises:
        OsteonError: one cannot be read.

    """
    client, _ = store.connect()
    last: dict[str, dict[str, Any]] = {}
    for run in tests_of_package(client, dvc_hash(package), EXTERNAL_TEST):
        folder = next((tag.removeprefix(READ) for tag, name in run.data.tags.items() if name == "root"), "")
        if folder in last:
            continue
        place = f"{run.info.artifact_uri}/report/metrics.json"
        try:
            last[folder] = load_dict(place)
        except (MlflowException, OSError, ValueError) as error:
            raise OsteonError(f"{place}: this external test cannot be read ({store.reason(error)})") from None
    return list(last.values())
