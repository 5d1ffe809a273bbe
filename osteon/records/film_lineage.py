"""Which models saw a film, and which films a model saw: what a hospital must answer when a patient withdraws consent.

A model's package holds the list of the films behind it (train writes it), an evaluation's report that of the films
it was measured on. Both are looked up in MLflow's store, so the answer holds after the films, the manifest and the
prepared pixels have changed or are gone.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from osteon.errors import OsteonError
from osteon.models.package.package import FILMS
from osteon.progress import progress
from osteon.records import lineage, store
from osteon.records.registry import LOG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

COLUMNS = ("film_id", "sha256", "md5", "role")
# What a film was to a model, the most first: it taught the weights, chose among them (or set the operating points), was
# measured on, or was measured on as somebody else's.
ROLES = ("train", "validation", "test", "external")
EVALUATION, EXTERNAL_TEST = "evaluate", "external_test"  # steps that measure a model
PACKAGES = ("model", "recalibrated")  # outputs of steps that write one
FEWEST_DIGITS = 8
UNLISTED = "it was made before lists were kept, or its files are gone"


@dataclass(frozen=True)
class ModelWithFilms:
    """A model of the store. films has COLUMNS; it is None where no list is with the model."""

    model_id: str
    run_id: str
    registered: tuple[str, ...]  # 'NAME/VERSION', and '@ALIAS' after it
    made: datetime
    data: str | None  # DVC's hash of the source folder
    films: "pd.DataFrame | None"


@dataclass
class FilmSearch:
    """What a search for a film found: models and the film's role in each, and what the film's bytes are."""

    models: int = 0
    seen: list[tuple[ModelWithFilms, str]] = field(default_factory=list)
    unknown: list[ModelWithFilms] = field(default_factory=list)
    contents: list[tuple[str, str, str]] = field(default_factory=list)  # film_id, sha256, md5


def models_that_saw(film: str) -> FilmSearch:
    """Search every model of the store, in whichever experiment, for a film.

    Args:
        film: its film_id, eight or more of the first digits of its sha256 or md5, or the path of its file.

    Raises:
        OsteonError: the digits fit several films.

    """
    client, _ = store.connect()
    sha256 = _sha256(Path(film)) if Path(film).is_file() else None
    digits = film.lower() if re.fullmatch(rf"[0-9a-fA-F]{{{FEWEST_DIGITS},64}}", film) else None

    def fits(films: "pd.DataFrame") -> "pd.Series[bool]":
        matches = films["film_id"] == film
        if sha256:
            matches |= films["sha256"] == sha256
        if digits:
            matches |= films["sha256"].str.startswith(digits) | films["md5"].str.startswith(digits)
        return matches

    search = _search(client, fits)
    contents = {content for _, content, _ in search.contents if content}
    if film in {name for name, *_ in search.contents}:
        # The same film may go by another id in another set.
        return _search(client, lambda films: fits(films) | films["sha256"].isin(contents))
    if len(contents) > 1:
        raise OsteonError(f"{film} matches {len(contents)} films; give more digits, or the film's id")
    return search


def _search(client: "MlflowClient", fits: "Callable[[pd.DataFrame], pd.Series[bool]]") -> FilmSearch:
    """Look through the lists one by one: together they may be larger than memory."""
    logged = _logged_models(client)
    search, rows = FilmSearch(), []
    for model in progress(_models(client, logged), "models", total=len(logged)):
        search.models += 1
        if model.films is None:
            search.unknown.append(model)
            continue
        matches = model.films[fits(model.films)]
        search.seen += [(replace(model, films=matches), role) for role in ROLES if (matches["role"] == role).any()]
        rows.append(matches)
    if rows:
        contents = pd.concat(rows)[["film_id", "sha256", "md5"]].drop_duplicates()
        search.contents = [(str(row[0]), str(row[1]), str(row[2])) for row in contents.itertuples(index=False)]
    return search


def films_of(what: str) -> "pd.DataFrame":
    """The films behind a model and those it was measured on: COLUMNS, one row for each film and role.

    Args:
        what: a run's id, models:/NAME/VERSION, models:/NAME@ALIAS or a model's m-… id.

    Raises:
        OsteonError: no such run or model, or no list was kept.

    """
    model = _model_behind(lineage.lineage(what))
    if model is None:
        raise OsteonError(f"{what}: no model is behind it")
    if model.films is None:
        raise OsteonError(f"{what}: there is no list of films with {model.model_id}; {UNLISTED}")
    return model.films


def films_behind(origin: "lineage.Lineage") -> "pd.DataFrame | None":
    """As films_of; None where no model is behind the run, or no list was kept."""
    model = _model_behind(origin)
    return model.films if model else None


def _model_behind(origin: "lineage.Lineage") -> ModelWithFilms | None:
    """The last model that one of the runs logged."""
    client, _ = store.connect()
    for node in reversed(list(origin.walk())):
        outputs = client.get_run(node.run_id).outputs
        for output in outputs.model_outputs if outputs else ():
            return next(_models(client, [client.get_logged_model(output.model_id)]), None)
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _logged_models(client: "MlflowClient") -> "list[LoggedModel]":
    """All models of the store, the first first."""
    experiments = [str(experiment.experiment_id) for experiment in client.search_experiments()]
    models: list[LoggedModel] = []
    token: str | None = None
    while True:
        page = client.search_logged_models(
            experiments, order_by=[{"field_name": "creation_timestamp", "ascending": True}], page_token=token
        )
        models += page
        token = page.token
        if not token:
            return models


def _models(client: "MlflowClient", logged: "list[LoggedModel]") -> Iterator[ModelWithFilms]:
    """Osteon's models among those of the store, each with its films."""
    names = _registered_names(client)
    for logged_model in logged:
        run = client.get_run(str(logged_model.source_run_id)) if logged_model.source_run_id else None
        if run is None or lineage.STEP not in run.data.tags:
            continue  # somebody else's: a store may be shared
        yield ModelWithFilms(
            model_id=str(logged_model.model_id),
            run_id=str(run.info.run_id),
            registered=tuple(names[str(run.info.run_id)]),
            made=datetime.fromtimestamp(logged_model.creation_timestamp / 1000, UTC),
            data=run.data.tags.get(lineage.DATA),
            films=_films(client, logged_model, run),
        )


def _registered_names(client: "MlflowClient") -> dict[str, list[str]]:
    """Run → the names under which its model is in the registry."""
    names: dict[str, list[str]] = defaultdict(list)
    token: str | None = None
    while True:
        page = client.search_model_versions(page_token=token)
        # A version that comes from a search does not know its aliases.
        aliases = {name: client.get_registered_model(name).aliases for name in {version.name for version in page}}
        for version in page:
            # On a server MLflow takes a decision for one more name of the model that it is about.
            if version.name == LOG:
                continue
            called = [alias for alias, number in aliases[version.name].items() if str(number) == str(version.version)]
            names[str(version.run_id)].append("@".join([f"{version.name}/{version.version}", *sorted(called)]))
        token = page.token
        if not token:
            return names


def _films(client: "MlflowClient", model: "LoggedModel", run: "Run") -> "pd.DataFrame | None":
    """The list in the model's package, and the test films of every evaluation that read this package."""

    def read(place: str) -> "pd.DataFrame":
        try:
            return pd.read_csv(download_artifacts(artifact_uri=place), dtype=str, keep_default_na=False)
        except (MlflowException, OSError) as error:
            # To go on without it would be an answer that may be wrong.
            raise OsteonError(f"{place}: this list of films cannot be read ({store.reason(error)})") from None

    folders = [entry.path for entry in client.list_logged_model_artifacts(model.model_id, "artifacts") if entry.is_dir]
    lists = [
        entry.path
        for folder in folders
        for entry in client.list_logged_model_artifacts(model.model_id, folder)
        if Path(entry.path).name == FILMS
    ]
    if not lists:
        return None
    films = [read(f"{model.artifact_location}/{lists[0]}")]
    for step, role in ((EVALUATION, "test"), (EXTERNAL_TEST, "external")):
        for evaluation in evaluations(client, run, step):
            measured = read(f"{evaluation.info.artifact_uri}/report/predictions.csv")
            # Until lists were kept, predictions had no hashes.
            films.append(measured.reindex(columns=list(COLUMNS), fill_value="").assign(role=role))
    return pd.concat(films)[list(COLUMNS)].drop_duplicates(ignore_index=True)


def evaluations(client: "MlflowClient", run: "Run", step: str = EVALUATION) -> "list[Run]":
    """The finished runs of the step evaluate that read the package which a run wrote, the last first.

    Args:
        client: of the store.
        run: that wrote it.
        step: EVALUATION, or EXTERNAL_TEST for those on other people's films.

    """
    hashes = [tag.removeprefix(lineage.WROTE) for tag, name in run.data.tags.items() if name in PACKAGES]
    return [test for md5 in hashes for test in tests_of_package(client, md5, step)]


def tests_of_package(client: "MlflowClient", md5: str, step: str) -> "list[Run]":
    """As evaluations, of a package by DVC's hash of its folder."""
    experiments = [str(experiment.experiment_id) for experiment in client.search_experiments()]
    return list(
        client.search_runs(
            experiments,
            f"tags.`{lineage.READ}{md5}` = 'model' and tags.`{lineage.STEP}` = '{step}' "
            "and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
        )
    )
