"""When a model is trained again: by rules on what was judged, and asked of a real registry."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.retraining.find_reason import find_reason
from components.retraining.reasons import DriftReport, Judged, reason_to_train
from osteon.errors import OsteonError
from osteon.params import Params, RetrainingParams
from osteon.records.registry import MODEL, Entry, Registry
from tests.film_repository import FilmRepository, film_repository
from tests.unit.conftest import use_store

NOW = datetime(2026, 5, 1, tzinfo=UTC)
PARAMS = RetrainingParams(max_age_days=90, max_drift=0.3)


def days(count: float) -> datetime:
    return NOW - timedelta(days=count)


def why(*judged: Judged, data: str = "now", drift: DriftReport | None = None) -> str:
    return reason_to_train(data, list(judged), drift, PARAMS, NOW)


def test_the_first_model_needs_no_other_reason() -> None:
    assert why() == "no model has been judged yet"


def test_new_films_are_a_reason_and_known_ones_none() -> None:
    assert why(Judged(days(1), "before", True)) == "new films: now"
    assert why(Judged(days(1), "now", True)) == ""


def test_films_whose_model_was_refused_are_no_reason_again() -> None:
    assert why(Judged(days(9), "before", True), Judged(days(1), "now", False)) == ""


def test_a_model_that_is_too_old_is_trained_again_but_not_each_day() -> None:
    assert why(Judged(days(90), "now", True)) == ""
    assert why(Judged(days(91), "now", True)) == "age: the model in use was judged 91 days ago, more than 90"
    refused = Judged(days(1), "now", False)
    assert why(Judged(days(91), "now", True), refused) == ""
    late = Judged(days(95), "now", False)
    assert why(Judged(days(200), "now", True), late) == "age: the model in use was judged 200 days ago, more than 90"
    assert why(late) == "age: the last model was judged 95 days ago, more than 90"


def test_drift_is_a_reason_until_a_model_was_judged_after_it() -> None:
    used = Judged(days(10), "now", True)
    report = DriftReport(made=days(5), share=0.4)
    assert why(used, drift=report) == "drift: 40% of the figures compared, more than 30%"
    assert why(used, drift=DriftReport(made=days(5), share=0.3)) == ""
    assert why(used, drift=DriftReport(made=days(11), share=0.4)) == ""
    assert why(used, Judged(days(4), "now", False), drift=report) == ""


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return use_store(tmp_path, empty_store, monkeypatch)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> FilmRepository:
    return film_repository(tmp_path_factory.mktemp("films"), {"a.png": b"one"})


def params() -> str:
    result = Params()
    data = result.data.model_copy(update={"root": "data/films"})
    return result.model_copy(update={"data": data, "retraining": PARAMS}).model_dump_json()


def judged(client: MlflowClient, data: str) -> None:
    registry = Registry.connect()
    version = client.create_model_version(MODEL, Path.cwd().as_uri(), tags={"osteon.data": data}).version
    entry = Entry(
        before=registry.state().last,
        at=datetime.now(UTC),
        who="test",
        action="promoted",
        version=str(version),
        was=None,
        why="a test",
    )
    assert registry.append(entry)


def test_the_registry_and_the_repository_are_asked(client: MlflowClient, films: FilmRepository) -> None:
    requested = (str(films.folder), "main", params())
    assert find_reason(*requested) == "no model has been judged yet"
    judged(client, "other.dir")
    assert find_reason(*requested) == f"new films: {films.data}"
    judged(client, films.data)
    assert find_reason(*requested) == ""


def test_a_drift_report_is_read_and_a_damaged_one_said(client: MlflowClient, films: FilmRepository) -> None:
    judged(client, films.data)
    report = json.dumps({"made": f"{datetime.now(UTC) + timedelta(hours=1):%FT%TZ}", "share": 0.5})
    assert find_reason(str(films.folder), "main", params(), report).startswith("drift: 50%")
    with pytest.raises(OsteonError, match="drift: no drift report"):
        find_reason(str(films.folder), "main", params(), '{"share": 2}')
