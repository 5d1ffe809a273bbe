"""A study in a database: begun anew, interrupted, pruned, and shared by workers that die."""

import logging
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import fail_stale_trials
from optuna.trial import TrialState

from components.search import study as study_module
from components.search.report import ModelStudy, draw_plots, summarise, trials_table
from components.search.space import distributions, suggest
from components.search.study import (
    OWN,
    best_trial,
    finished,
    local_database,
    open_study,
    report,
    retry,
    shared_database,
    work,
)
from osteon.errors import OsteonError
from osteon.params import Params, Range, SvmParams, flatten
from osteon.redaction import redact_url
from tests.command import ROOT
from tests.postgres import postgres_server
from tests.stores import free_port
from tests.threads import in_threads

X = distributions("svm", {"c": Range(low=0.1, high=10.0, log=True)}, SvmParams())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


# ---------------------------------------------------------------- the database


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://karl:s3cret@host:5432/studies", "postgresql://host:5432/studies"),
        ("postgresql://karl:s3@c/ret@host/studies?password=s3cret", "postgresql://host/studies"),
        ("sqlite:////data/study.db", "sqlite:////data/study.db"),
        ("data/phantoms", "data/phantoms"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    flat = flatten(Params.model_validate({"search": {"storage": url}}))
    assert flat["search.storage"] == shown
    assert "s3" not in str(flat)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://karl:s3cret@localhost:1/studies",  # no driver here, or nobody answers
        "nonsense://karl:s3cret@localhost/studies",
        "no url",
    ],
)
def test_the_message_of_an_unusable_database_has_no_password(url: str) -> None:
    with (
        pytest.raises(OsteonError, match=r"search\.storage: the database .* cannot be used") as error,
        shared_database(url),
    ):
        pass
    assert "s3cret" not in str(error.value)
    assert "karl" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("url", ["sqlite:////data/study.db", "sqlite:///study.db", "SQLite+pysqlite:///study.db"])
def test_workers_cannot_share_an_sqlite_file(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(OsteonError, match=r"search\.storage: .*study\.db is an SQLite file.* PostgreSQL or MySQL"),
        shared_database(url),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "no folder" / "study.db"
    with pytest.raises(OsteonError, match=r"no folder/study\.db: the study cannot be kept"), local_database(file):
        pass


# ---------------------------------------------------------------- a study


def bowl(trial: optuna.Trial) -> float:
    """Best at c = 1."""
    return 1 - float(np.log10(suggest(trial, X)["svm.c"])) ** 2


def test_the_same_seed_tries_the_same_and_another_does_not(tmp_path: Path) -> None:
    tried = []
    for number, seed in enumerate((1, 1, 2)):
        with local_database(tmp_path / f"{number}.db") as storage:
            study = open_study(storage, "s", "f", 1, alone=True)
            work(study, bowl, 14, seed)  # more than the ten that are drawn at random
            tried.append([trial.params["svm.c"] for trial in study.trials])
    assert tried[0] == tried[1]
    assert len(set(tried[0])) == 14
    assert not set(tried[0]) & set(tried[2])


def test_an_interrupted_search_goes_on_to_the_same_trials(tmp_path: Path) -> None:
    """Interrupted in the third trial: it is tried again, and what follows is what would have followed."""
    with local_database(tmp_path / "whole.db") as storage:
        whole = open_study(storage, "s", "f", 1, alone=True)
        work(whole, bowl, 6, 7)
        expected = [trial.params for trial in finished(whole)]

    def interrupted(trial: optuna.Trial) -> float:
        value = bowl(trial)
        if trial.number == 2:
            raise KeyboardInterrupt
        return value

    for measure in (interrupted, bowl):
        with local_database(tmp_path / "again.db") as storage:
            study = open_study(storage, "s", "f", 1, alone=True)
            if measure is interrupted:
                with pytest.raises(KeyboardInterrupt):
                    work(study, measure, 6, 7)
            else:
                work(study, measure, 6, 7)
                work(study, measure, 6, 7)  # nothing more to do
                assert [trial.params for trial in finished(study)] == expected
                assert [trial.number for trial in finished(study)] == [0, 1, 3, 4, 5, 6]
                assert study.trials[3].system_attrs["retry_history"] == [2]


def test_a_trial_that_kills_its_worker_each_time_is_given_up(file: Path) -> None:
    for _ in range(4):
        with local_database(file) as storage:
            study = open_study(storage, "s", "f", 1, alone=True)
            suggest(study.ask(), X)  # and never heard of again
    with local_database(file) as storage:
        study = open_study(storage, "s", "f", 1, alone=True)
        work(study, bowl, 1, 7)
        # Three retries, then another trial takes its place.
        assert [trial.state.name for trial in study.trials] == ["FAIL"] * 4 + ["COMPLETE"]
        assert [trial.system_attrs.get("retry_history") for trial in study.trials] == [
            None,
            [0],
            [0, 1],
            [0, 1, 2],
            None,
        ]


def test_an_error_ends_the_search_and_is_not_hidden(file: Path) -> None:
    def broken(trial: optuna.Trial) -> float:
        suggest(trial, X)
        raise RuntimeError("no such layer")

    with local_database(file) as storage:
        study = open_study(storage, "s", "f", 1, alone=True)
        with pytest.raises(RuntimeError, match="no such layer"):
            work(study, broken, 3, 7)
        assert [trial.state for trial in finished(study)] == [TrialState.FAIL]
        work(study, bowl, 3, 7)
        assert [trial.state.name for trial in finished(study)] == ["FAIL"] + ["COMPLETE"] * 3


def test_a_study_of_other_films_is_begun_anew_or_refused(file: Path) -> None:
    with local_database(file) as storage:
        work(open_study(storage, "s", "these films", 1, alone=True), bowl, 2, 7)
        with pytest.raises(OsteonError, match=r"search\.study: 's' in sqlite.* was begun with other films"):
            open_study(storage, "s", "other films", 1, alone=False)
        assert len(open_study(storage, "s", "these films", 1, alone=False).trials) == 2
        assert open_study(storage, "s", "other films", 1, alone=True).trials == []


def curves(trial: optuna.Trial) -> float:
    """Fifty steps; what is far from 1 is worse from the first."""
    value = bowl(trial)
    for step in range(1, 51):
        report(trial, value * step / 50, step, 50)
    return value


def test_what_is_worse_is_pruned_early_and_the_files_own_values_never(file: Path, tmp_path: Path) -> None:
    with local_database(file) as storage:
        study = open_study(storage, "s", "f", 50, alone=True)
        for c in (1.0, 9.0, 0.2, 8.0, 0.9):
            study.enqueue_trial({"svm.c": c})
        study.enqueue_trial({"svm.c": 10.0}, user_attrs={OWN: True})
        work(study, curves, 16, 7)
        trials = study.trials
        assert trials[0].state == TrialState.COMPLETE
        assert (trials[5].state, trials[5].last_step) == (TrialState.COMPLETE, 50)
        pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
        assert len(pruned) > 3
        assert {trial.last_step for trial in pruned} == {6, 18}  # a ninth and a third of the way
        best = best_trial(trials)
        assert best is not None
        assert best.value == max(trial.value for trial in trials if trial.state == TrialState.COMPLETE)

        model_study = ModelStudy("svm", study, "epochs", 50)
        table, info = trials_table([model_study]), summarise(model_study)
        assert list(table["state"]).count("pruned") == info.pruned == len(pruned)
        assert table["done"].sum() == info.done == sum(trial.last_step or 0 for trial in trials)
        assert info.asked == 16 * 50
        assert info.saved() == f"{800 - info.done} of 800 epochs saved by pruning"
        assert table[table["own_values"]]["svm.c"].tolist() == [10.0]
        assert info.own_auroc == pytest.approx(trials[5].value)
        assert draw_plots(model_study, tmp_path, 1) == {}
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        f"svm_{name}.png" for name in ("history", "importance", "parameters", "steps")
    ]


def test_of_equals_the_earliest_is_best_so_the_files_own_values_stay(file: Path) -> None:
    with local_database(file) as storage:
        study = open_study(storage, "s", "f", 1, alone=True)
        work(study, lambda trial: suggest(trial, X) and 0.5, 4, 7)  # type: ignore[arg-type, return-value]
        best = best_trial(study.trials)
        assert best is not None
        assert best.number == 0


def test_what_cannot_be_drawn_is_said(file: Path, tmp_path: Path) -> None:
    with local_database(file) as storage:
        study = open_study(storage, "s", "f", 1, alone=True)

        def measure(trial: optuna.Trial) -> float:
            value = bowl(trial)
            report(trial, value, 1, 1)
            return value

        work(study, measure, 1, 7)
        missing = draw_plots(ModelStudy("svm", study, "folds", 1), tmp_path, 1)
    assert missing == {
        "steps": "a trial has one of folds only",
        "parameters": "complete trials: 1, needed: 2",
        "importance": "complete trials: 1, needed: 4",
    }
    assert [path.name for path in tmp_path.glob("*.png")] == ["svm_history.png"]


# ---------------------------------------------------------------- several workers


@pytest.fixture
def postgres_database() -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    with postgres_server(free_port()) as server:
        yield server.address.replace("+psycopg2", "")  # as most people write it


WORKER = """
    import os, sys, time
    from components.search import study as room
    from components.search.space import distributions, suggest
    from osteon.params import Range, SvmParams
    room.HEARTBEAT, room.GRACE, room.PAUSE = 1, 6, 0.1
    X = distributions("svm", {"c": Range(low=0.1, high=10.0, log=True)}, SvmParams())
    url, trials, hangs = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "hangs"

    def measure(trial):
        value = suggest(trial, X)["svm.c"]
        trial.set_user_attr("worker", os.getpid())
        print("begun", flush=True)
        time.sleep(600 if hangs else 0.1)
        return value

    print("there", flush=True)
    sys.stdin.readline()
    with room.shared_database(url) as storage:
        study = room.open_study(storage, "s", "f", 1, alone=False)
        room.work(study, measure, trials, 7)
        print(room.best_trial(room.finished(study)).params)
"""


def workers_begun_together(url: str, number: int, trials: int, how: str = "") -> list[subprocess.Popen[str]]:
    """Processes, none of which opens the study before all are there."""
    command = [sys.executable, "-c", textwrap.dedent(WORKER), url, str(trials), how]
    pipe = subprocess.PIPE
    workers = [
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(number)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "there\n", worker.communicate()[1][-2000:]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("begin\n")
        worker.stdin.flush()
    return workers


def test_workers_share_a_study_and_take_over_what_a_dead_one_left(postgres_database: str) -> None:
    (dead,) = workers_begun_together(postgres_database, 1, 8, "hangs")
    assert dead.stdout is not None
    assert dead.stdout.readline() == "begun\n"
    dead.kill()
    dead.wait()
    workers = workers_begun_together(postgres_database, 2, 8)
    answers = []
    for worker in workers:
        out, error = worker.communicate(timeout=300)
        assert worker.returncode == 0, error[-2000:]
        answers.append(out.splitlines()[-1])
    assert answers[0] == answers[1]  # each waited until all was done
    with shared_database(postgres_database) as storage:
        study = open_study(storage, "s", "f", 1, alone=False)
        trials = study.trials
        assert sum(trial.state == TrialState.COMPLETE for trial in trials) == 8
        assert len(finished(study)) == 8
    assert trials[0].state == TrialState.FAIL
    (again,) = (trial for trial in trials if trial.system_attrs.get("retry_history") == [0])
    assert again.params == trials[0].params
    assert {trial.user_attrs["worker"] for trial in finished(study)} == {worker.pid for worker in workers}
    assert len({trial.params["svm.c"] for trial in finished(study)}) == 8


def test_workers_that_begin_at_once_make_one_study_and_try_nothing_twice(postgres_database: str) -> None:
    def worker() -> None:
        with shared_database(postgres_database) as storage:
            study = open_study(storage, "s", "f", 1, alone=False)
            study.enqueue_trial({"svm.c": 3.0}, user_attrs={OWN: True})  # each, before it sees that another has
            work(study, bowl, 6, 7)

    in_threads(3, worker)
    with shared_database(postgres_database) as storage:
        study = open_study(storage, "s", "f", 1, alone=False)
        done = finished(study)
        assert [trial.state for trial in done] == [TrialState.COMPLETE] * 6
        assert [trial.params["svm.c"] for trial in done if OWN in trial.user_attrs] == [3.0]
        assert len({trial.params["svm.c"] for trial in done}) == 6
        assert [trial.number for trial in study.trials] == list(range(len(study.trials)))


def test_what_is_drawn_does_not_depend_on_when_others_see_that_they_are_not_needed(file: Path) -> None:
    """Two workers have queued the file's own values; the second is at it still while the third trial is drawn."""
    with local_database(file) as storage:
        study = open_study(storage, "s", "f", 1, alone=False)
        for _ in range(2):
            study.enqueue_trial({"svm.c": 3.0}, user_attrs={OWN: True})
            suggest(study.ask(), X)

        def measure(trial: optuna.Trial) -> float:
            if trial.number == 2:
                study.tell(0, 0.5)
                study.tell(1, state=TrialState.FAIL)
            return bowl(trial)

        work(study, measure, 4, 7)
        drawn = [trial.params["svm.c"] for trial in study.trials if trial.state == TrialState.COMPLETE]
    with local_database(file.with_suffix(".2")) as storage:
        alone = open_study(storage, "s", "f", 1, alone=True)
        alone.enqueue_trial({"svm.c": 3.0}, user_attrs={OWN: True})
        work(alone, bowl, 4, 7)
        assert drawn == [trial.params["svm.c"] for trial in alone.trials]
    assert len(set(drawn)) == 4


def test_what_a_dead_worker_left_is_taken_over_by_one(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "GRACE", 1)
    with shared_database(postgres_database) as storage:
        study = open_study(storage, "s", "f", 1, alone=False)
        for _ in range(10):
            trial = study.ask()
            suggest(trial, X)
            storage.record_heartbeat(trial._trial_id)
    time.sleep(2.5)

    def take_over() -> None:
        with shared_database(postgres_database) as storage:
            fail_stale_trials(open_study(storage, "s", "f", 1, alone=False))

    in_threads(4, take_over)
    with shared_database(postgres_database) as storage:
        study = open_study(storage, "s", "f", 1, alone=False)
        assert [trial.state.name for trial in study.trials] == ["FAIL"] * 10 + ["WAITING"] * 10


def test_a_worker_that_died_before_its_first_sign_of_life_counts_as_dead(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took a trial, and was killed before its heartbeat's thread had written; twice, for it was queued again."""
    monkeypatch.setattr(study_module, "GRACE", 1)
    monkeypatch.setattr(study_module, "PAUSE", 0.1)
    looks = 0

    def killed_again(study: optuna.Study) -> None:
        nonlocal looks
        looks += 1
        assert looks < 600, "it waits for ever"
        fail_stale_trials(study)
        if len(study.trials) == 4 and study.trials[3].state == TrialState.WAITING:
            suggest(study.ask(), X)

    monkeypatch.setattr(study_module, "fail_stale_trials", killed_again)
    with shared_database(postgres_database) as storage:
        study = open_study(storage, "s", "f", 1, alone=False)
        suggest(study.ask(), X)
        work(study, bowl, 3, 7)
        assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
        assert study.trials[4].system_attrs["retry_history"] == [0, 3]
        assert study.trials[4].params == study.trials[0].params


def test_one_that_was_taken_for_dead_goes_on_with_the_next_trial(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A machine that slept. Its first trial is complete, the other's is pruned; both have been given away before."""

    def slept(trial: optuna.Trial) -> float:
        value = bowl(trial)
        if trial.number < 2:
            frozen = trial.study.trials[trial.number]
            trial.study.tell(trial.number, state=TrialState.FAIL)
            retry(trial.study, frozen)
        if trial.number == 1:
            raise optuna.TrialPruned
        return value

    with local_database(file) as storage:
        study = open_study(storage, "s", "f", 1, alone=False)
        with caplog.at_level(logging.WARNING):
            work(study, slept, 3, 7)
        assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
        assert study.trials[2].params == study.trials[0].params
    assert caplog.messages[0] == (
        "s: trial 0 was given to another worker, for this one gave no sign of life for 150 seconds"
    )


def test_an_interruption_between_two_trials_leaves_what_is_complete(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_database(file) as storage:
        study = open_study(storage, "s", "f", 1, alone=True)
        ask = study.ask

        def interrupted() -> optuna.Trial:
            if len(study.trials) == 2:
                raise KeyboardInterrupt
            return ask()

        monkeypatch.setattr(study, "ask", interrupted)
        with pytest.raises(KeyboardInterrupt):
            work(study, bowl, 3, 7)
        assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
