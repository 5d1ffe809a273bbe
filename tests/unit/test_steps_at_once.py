"""What is recorded of steps that run side by side, in several processes that share one store."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from osteon.contract import describe
from osteon.params import Params
from osteon.records import lineage, pipeline_run
from osteon.records import runs as tracking
from osteon.records.lineage import Lineage
from tests.command import python
from tests.steps_at_once import GIVEN, fold
from tests.stores import Store
from tests.threads import in_threads

pytestmark = [pytest.mark.xdist_group("registry"), pytest.mark.slow]

PROCESSES = 4


def run_at_once(folder: Path) -> None:
    """As many processes as there are folds in a pipeline run: all read the same files of the folder."""
    for name in GIVEN:
        (folder / name).write_text(f"rows of {name}")
    # With PYTEST_CURRENT_TEST MLflow behaves otherwise.
    unset = ("PYTEST_CURRENT_TEST",)
    done = python(folder, "-m", "tests.steps_at_once", str(PROCESSES), str(folder), unset=unset)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def passed(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Of an empty store, in which a pipeline run has begun."""
    address = store.begin(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("OSTEON_PASS", "monday")
    monkeypatch.chdir(tmp_path)
    pipeline_run.begin_pipeline_run(Params(), {})
    return MlflowClient(address)


def folds_of(client: MlflowClient) -> list[Run]:
    (experiment,) = client.search_experiments(filter_string="name = 'osteon'")
    wanted = f"tags.`{lineage.STEP}` = 'fold'"
    return list(client.search_runs([experiment.experiment_id], wanted, order_by=["attributes.run_name ASC"]))


def test_steps_of_a_pipeline_run_that_read_the_same_at_once(passed: MlflowClient, tmp_path: Path) -> None:
    run_at_once(tmp_path)
    whole = pipeline_run.end_pipeline_run("FINISHED", {})
    assert whole is not None
    runs = folds_of(passed)
    assert [run.info.run_name for run in runs] == [f"fold {number}" for number in range(PROCESSES)]
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == whole.info.run_id
        assert {item.dataset.name for item in run.inputs.dataset_inputs} == set(GIVEN)
        assert {tag.value for item in run.inputs.dataset_inputs for tag in item.tags} == {"fold"}
        assert run.data.metrics["films"] == 7
    assert whole.data.metrics["fold.films"] == 7
    assert whole.data.tags[f"{lineage.STEP}.fold"] in {run.info.run_id for run in runs}
    # Not of their films: of two that write one value in the same millisecond MLflow keeps one.
    assert len(passed.get_metric_history(whole.info.run_id, "fold.seconds")) == PROCESSES


def test_steps_that_end_at_once_tell_their_pipeline_run_the_same(
    passed: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but one in the same millisecond: MLflow keeps one of their figures, after its database has refused others."""
    (experiment,) = passed.search_experiments(filter_string="name = 'osteon'")
    whole = pipeline_run.find_pipeline_run(passed, experiment.experiment_id, "monday")
    assert whole is not None
    recorder = tracking._Recorder(describe(fold), whole, whole, passed)
    before = [Lineage(name, name, "FINISHED", datetime.now(UTC), 1.0, {}, {}, {}) for name in "abcdefghijklmnopqrst"]
    last = replace(before[0], run_id="fold 0", step="fold", upstream=before)
    seconds = cycle([1_700_000_000.0, *[1_700_000_001.0] * (2 * PROCESSES - 1)])
    monkeypatch.setattr(tracking, "time", SimpleNamespace(time=lambda: next(seconds)))
    figures = {f"films.{number}": 7.0 for number in range(20)}
    for name, value in figures.items():  # each new to the pipeline run
        in_threads(2 * PROCESSES, partial(recorder._log_to_parent, whole.info.run_id, {name: value}, last))
    result = passed.get_run(whole.info.run_id).data
    assert result.metrics == {f"fold.{name}": value for name, value in figures.items()}
    output = {name: result.tags.get(f"{lineage.STEP}.{name}") for name in ("fold", *(item.step for item in before))}
    assert output == {"fold": "fold 0", **{item.step: item.run_id for item in before}}


def test_several_steps_may_be_the_first_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file, whose tables MLflow makes when it is first asked; a server has made its own."""
    address = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    run_at_once(tmp_path)
    assert [run.info.status for run in folds_of(MlflowClient(address))] == ["FINISHED"] * PROCESSES
