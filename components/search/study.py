"""A study in a database: opened, continued, and worked on by one process or by several that come and go."""

import logging
import sqlite3
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import cast

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from osteon.errors import OsteonError
from osteon.fingerprint import what_changed
from osteon.redaction import redact, redact_url
from osteon.sqlite_size import is_cut_short

log = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.ERROR)  # the steps speak for themselves
warnings.filterwarnings("ignore", category=ExperimentalWarning)  # heartbeats; since 2021

HEARTBEAT, GRACE = 30, 150  # seconds between two signs of life, and without one until a worker counts as dead
PAUSE = 5.0  # seconds between two looks at what other workers do
ATTEMPTS = 10  # to open a database whose tables another worker makes at the same time
RETRIES = 3  # of a trial whose worker died; what kills it each time is the trial itself
REDUCTION = 3  # of Hyperband: of three trials one goes on
RUNGS = REDUCTION**2  # so the first look comes after a ninth of the work

# User attributes of a study and of a trial.
FINGERPRINT, PRECISION, OWN, SPARE, SEEN = "fingerprint", "precision", "own values", "not needed", "seen by others"


class _NotNeededError(Exception):
    """Another worker has begun the last of the requested trials, or this very one."""


@contextmanager
def local_database(file: Path) -> Iterator[RDBStorage]:
    """The studies of one process, in an SQLite file that is made where it is missing.

    It needs no signs of life: what is under way when the file is opened was killed, see open_study. A damaged file is
    logged and begun anew.

    Raises:
        OsteonError: the file cannot be written, now or later.

    """
    if file.is_file() and (damage := _damage_of_sqlite(file)):
        log.warning("%s is damaged (%s); the search begins anew", file.name, damage)
        for left in file.parent.glob(f"{file.name}*"):  # SQLite's journal belongs to what is gone
            left.unlink()
    with _disposed(
        lambda: RDBStorage(f"sqlite:///{file.resolve()}"), lambda error: _unwritable(file, error)
    ) as storage:
        yield storage


def _damage_of_sqlite(file: Path) -> str | None:
    """What SQLite finds wrong with a file; None where it is whole."""
    if is_cut_short(file):
        return "it is cut short"
    try:
        with closing(sqlite3.connect(file)) as database:
            verdict = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if verdict == "ok" else verdict.splitlines()[0]


@contextmanager
def shared_database(url: str) -> Iterator[RDBStorage]:
    """The studies of several workers, in a PostgreSQL or MySQL database; its tables are made where they are missing.

    Raises:
        OsteonError: it is an SQLite file, or does not respond, now or later. The text has no password.

    """
    if url.partition(":")[0].partition("+")[0].lower() == "sqlite":
        raise OsteonError(
            f"search.storage: {redact_url(url)} is an SQLite file, which workers cannot share; give the URL of a "
            "PostgreSQL or MySQL database, or leave it empty for a search by one process"
        )
    with _disposed(lambda: _shared_storage(url), lambda error: _unreachable(url, error)) as storage:
        yield storage


@contextmanager
def _disposed(connect: Callable[[], RDBStorage], translate: Callable[[Exception], OsteonError]) -> Iterator[RDBStorage]:
    """Connect, and disconnect at the end; the database's errors are translated."""
    try:
        storage = connect()
    except (SQLAlchemyError, StorageInternalError, ImportError, ValueError) as error:
        raise translate(error) from None
    try:
        yield storage
    except (SQLAlchemyError, StorageInternalError) as error:
        raise translate(error) from None
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _shared_storage(url: str) -> RDBStorage:
    if url.startswith("postgresql://"):
        url = url.replace("://", "+psycopg2://", 1)  # the driver that is installed with Osteon
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return RDBStorage(
                url, heartbeat_interval=HEARTBEAT, grace_period=GRACE, heartbeat_stale_trial_callback=retry
            )
        except (SQLAlchemyError, StorageInternalError) as error:
            # Workers that start together all see an empty database, and one of them makes its tables.
            made_by_another = isinstance(error, IntegrityError) or isinstance(error.__cause__, IntegrityError)
            if attempt == ATTEMPTS or not (made_by_another or "already exists" in f"{error.__cause__ or error}"):
                raise
            time.sleep(1)
    raise AssertionError("the last attempt returns or raises")


def _unwritable(file: Path, error: Exception) -> OsteonError:
    return OsteonError(f"{file}: the study cannot be kept in this file ({_reason(error, str(file))})")


def _unreachable(url: str, error: Exception) -> OsteonError:
    return OsteonError(
        f"search.storage: the database {redact_url(url)} cannot be used ({_reason(error, url)}); check the address, "
        "that it runs, and that its driver is installed; leave it empty for a search by one process"
    )


def _reason(error: Exception, url: str) -> str:
    return str(redact(error.__cause__ or error, url)).splitlines()[0][:200]


def open_study(storage: RDBStorage, name: str, fingerprint: str, steps: int, *, alone: bool) -> optuna.Study:
    """Make a study, or join or continue one.

    Args:
        storage: where it is.
        name: of the study.
        fingerprint: of all that a trial is measured with, other than its values; as JSON.
        steps: that a trial reports after when nothing prunes it.
        alone: no other process works on it. Then a study of another fingerprint is begun anew, and a trial whose
            state is 'running' is one that was killed.

    Raises:
        OsteonError: the study of this name is another one.

    """
    study = optuna.create_study(
        storage=storage, study_name=name, direction="maximize", pruner=pruner(steps), load_if_exists=True
    )
    known = study.user_attrs.get(FINGERPRINT)
    if known not in (None, fingerprint):
        if not alone:
            raise OsteonError(
                f"search.study: '{name}' in {redact_url(storage.url)} was begun with other films, parameters or "
                "versions, and its figures cannot be compared; give another name, or delete it"
            )
        log.info("the study %s begins anew: %s", name, what_changed(known, fingerprint))
        optuna.delete_study(study_name=name, storage=storage)
        return open_study(storage, name, fingerprint, steps, alone=alone)
    study.set_user_attr(FINGERPRINT, fingerprint)
    if alone:
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
            retry(study, trial)
    return study


def pruner(steps: int) -> optuna.pruners.BasePruner:
    """Hyperband: a trial goes on past a ninth, and past a third, if it is in the best third of those that came there.

    Some trials are looked at later or never, so that what begins slowly has its chance (Li et al. 2018, JMLR 18).
    """
    first = -(-steps // RUNGS)  # rounded up: the third look then falls on the end or behind it, where it saves nothing
    return optuna.pruners.HyperbandPruner(first, first * RUNGS if steps > RUNGS else steps, REDUCTION)


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial whose worker died, with the values it had.

    What Hyperband noted of it stays behind: the new trial may be in another bracket, with its looks elsewhere. So does
    that others saw it under way, for they have not seen the new one.
    """
    trial.system_attrs = {
        name: value for name, value in trial.system_attrs.items() if not name.startswith("completed_rung_")
    }
    trial.user_attrs = {name: value for name, value in trial.user_attrs.items() if name != SEEN}
    RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(study, trial)


def first_number(trial: optuna.Trial) -> int:
    """The number a trial had before its worker died; its own, where none did."""
    history = trial.study.trials[trial.number].system_attrs.get("retry_history", [])
    return int(history[0]) if history else trial.number


def report(trial: optuna.Trial, value: float, step: int, steps: int) -> None:
    """Say how far a trial is; ends it where it is no use to go on. params.yaml's own values always run to the end."""
    trial.report(value, step)
    # Asked of every trial: the pruner notes the value, against which others are measured.
    if step < steps and trial.should_prune() and not trial.user_attrs.get(OWN):
        raise optuna.TrialPruned(f"after {step} of {steps}, AUROC {value:.3f}")


def work(study: optuna.Study, measure: Callable[[optuna.Trial], float], trials: int, seed: int) -> None:
    """Run trials until so many are complete or pruned, those of other workers among them.

    When all are begun it waits for the others, and takes over what a dead one left.

    Args:
        study: other processes may work on it too.
        measure: a trial's value; raises TrialPruned.
        trials: of the whole study.
        seed: of the values tried. They depend on it, on the trial's place and on the trials before, so a search that
            was killed does not try the same again.

    """
    begun: list[int] = []

    def counted(trial: optuna.Trial) -> float:
        earlier = [other for other in _alive(study) if other.number < trial.number]
        queued_twice = OWN in trial.user_attrs and any(OWN in other.user_attrs for other in earlier)
        if len(earlier) >= trials or queued_twice:
            trial.set_user_attr(SPARE, True)
            raise _NotNeededError
        begun.append(trial.number)
        # By default its first ten trials are drawn evenly; how far they came counts in those after.
        entropy = [seed, zlib.crc32(study.study_name.encode()), _place(study, trial.number)]
        drawn = np.random.SeedSequence(entropy).generate_state(1)
        study.sampler = optuna.samplers.TPESampler(seed=int(drawn[0]))
        return measure(trial)

    waiting = False
    while True:
        fail_stale_trials(study)
        _begin_to_count(study)
        alive = _alive(study)
        if sum(trial.state.is_finished() for trial in alive) >= trials:
            return
        if len(alive) < trials or any(trial.state == TrialState.WAITING for trial in alive):
            begun.clear()
            try:
                study.optimize(counted, n_trials=1, catch=(_NotNeededError,))
            except Exception:
                if not _taken_over(study.get_trials(deepcopy=False)).intersection(begun):
                    raise
                log.warning(
                    "%s: trial %d was given to another worker, for this one gave no sign of life for %d seconds",
                    *(study.study_name, begun[-1], GRACE),
                )
            except KeyboardInterrupt:
                # Optuna says 'failed' of it; to the user it is a pause.
                for number in begun:
                    if study.trials[number].state == TrialState.FAIL:
                        retry(study, study.trials[number])
                raise
        else:
            if not waiting:
                log.info("%s: the last trials are other workers'; waiting for them", study.study_name)
            waiting = True
            time.sleep(PAUSE)


def _begin_to_count(study: optuna.Study) -> None:
    """Give each trial under way a sign of life, once: from then on its worker has GRACE seconds for the next.

    Optuna never counts a worker as dead that gave none, and one may die between taking a trial and its first.
    """
    storage = cast("RDBStorage", study._storage)  # what Optuna wraps around it has the same methods
    if storage.get_heartbeat_interval() is None:
        return
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if SEEN not in trial.user_attrs:
            storage.record_heartbeat(trial._trial_id)
            with suppress(UpdateFinishedTrialError):  # in the meantime
                storage.set_trial_user_attr(trial._trial_id, SEEN, True)


def _place(study: optuna.Study, number: int) -> int:
    """How many trials were begun before this one; no two that are drawn have the same.

    Of the file's own values one counts, though each worker may have queued them, and of a trial that was queued again
    only the first. Both are known from a trial's first moment, so it does not matter when another worker asks.
    """
    before = [trial for trial in study.get_trials(deepcopy=False) if trial.number < number]
    first = [trial for trial in before if not trial.system_attrs.get("retry_history")]
    own = [trial for trial in first if OWN in trial.user_attrs]
    return len(first) - max(len(own) - 1, 0)


def _alive(study: optuna.Study) -> list[FrozenTrial]:
    """Every trial that counts: done, under way or queued."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.FAIL]


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials in their order: complete, pruned, and failed ones that were needed and that nobody took over."""
    trials = study.get_trials(deepcopy=False)
    again = _taken_over(trials)
    left = [trial for trial in trials if trial.number not in again and SPARE not in trial.user_attrs]
    return [trial for trial in left if trial.state.is_finished()]


def _taken_over(trials: list[FrozenTrial]) -> set[int]:
    """The numbers of those that have been queued again."""
    return {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}


def best_trial(trials: list[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial with the highest value, the earliest of equals; None where none is complete."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)
