"""Folds computed in turn in this process, or side by side, each in a process of its own with its share of the cores.

A small network does not keep two cores busy, and compiling it keeps one: side by side the folds are done sooner.
"""

import logging
import os
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, forkserver, get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from joblib import cpu_count

from osteon.errors import OsteonError
from osteon.params import ClassicalName, ClassicalParams, TrainingParams
from osteon.progress import configure_logging
from osteon.records import runs

if TYPE_CHECKING:
    from osteon.models.classical.film_features import FilmFeatures
    from osteon.models.fitting.train_network import TrainingData
    from osteon.models.heldout.predictions import FoldInfo

log = logging.getLogger(__name__)

MEMORY = 3 * 2**30  # bytes that a process may come to need


@dataclass(frozen=True)
class Sources:
    """What the step reads; as its arguments of these names."""

    dataset: Path
    augmented: Path
    features: Path
    best: Path


@dataclass(frozen=True)
class FoldWork:
    """What a process needs to compute folds. training: precision is chosen. folder: gets a folder a fold."""

    sources: Sources
    folder: Path
    training: TrainingParams
    classical: ClassicalParams
    models: list[ClassicalName]


def prepare_processes() -> None:
    """Begin, beside this process, to import what folds need: once, in a process from which theirs are forked."""
    get_context("forkserver").set_forkserver_preload(["components.cross_validation.fold_imports"])
    forkserver.ensure_running()


def processes(wanted: int, folds: int, *, gpu: bool) -> int:
    """How many folds to compute at once.

    Args:
        wanted: so many; 0: one where there is a GPU, else as many as are done the soonest and have free memory.
        folds: that there are.
        gpu: whether networks are trained on one.

    """
    if wanted or gpu:
        return min(wanted or 1, folds)
    most = max(1, min(folds, psutil.virtual_memory().available // MEMORY))
    cores = int(cpu_count())
    return min(range(1, most + 1), key=lambda at_once: _turns(folds, at_once, cores))


def _turns(folds: int, at_once: int, cores: int) -> float:
    """How long folds take, in those of a core each. Three of five share two cores, that none be idle at the end."""
    whole, rest = divmod(folds, at_once)
    return whole * max(1.0, at_once / cores) + (max(1.0, rest / cores) if rest else 0.0)


def compute_in_turn(
    work: FoldWork, folds: list[int], films: "TrainingData", features: "FilmFeatures"
) -> "list[FoldInfo]":
    """Compute folds one after the other, of films and features that are open already."""
    computed = []
    for fold in folds:
        log.info("fold %d", fold)
        computed.append(_compute(work, fold, films, features))
    return computed


def compute_side_by_side(work: FoldWork, folds: list[int], at_once: int) -> "list[FoldInfo]":
    """Compute folds, so many at once; each is written to its folder as compute_fold does it.

    Raises:
        OsteonError: a process was killed, as a rule by the system, because memory ran out; or what compute_fold raises.

    """
    cores = max(1, int(cpu_count()) // at_once)
    recorded = runs.recorded_run()
    try:
        with ProcessPoolExecutor(at_once, get_context("forkserver"), initializer=_begin, initargs=(cores,)) as executor:
            futures = [executor.submit(_compute_elsewhere, work, fold, cores, recorded) for fold in folds]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                for child in active_children():  # no fold is waited for when another could not be computed
                    child.terminate()
                raise
            return [future.result() for future in futures]
    except BrokenProcessPool:
        raise OsteonError(
            "cross_validate: the process of a fold was killed, perhaps because memory ran out; "
            "set cross_validation.at_once to 1 and run again; finished folds are kept"
        ) from None


def _compute(work: FoldWork, fold: int, films: "TrainingData", features: "FilmFeatures") -> "FoldInfo":
    """One fold, recorded in a run below the step's."""
    from osteon.models.heldout.fold import compute_fold
    from osteon.models.heldout.predictions import FOLD

    with runs.nested_run(f"fold {fold}"):
        return compute_fold(
            films,
            features,
            fold,
            work.folder / FOLD.format(fold),
            work.training,
            work.classical,
            work.models,
            on_epoch=lambda epoch, entry: runs.log_metrics(entry, step=epoch + 1),
        )


def _begin(cores: int) -> None:
    """Begin a process for folds, with its share of the cores."""
    end_with_parent()
    # Read when TensorFlow, and joblib within scikit-learn, begin to work.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "LOKY_MAX_CPU_COUNT"):
        os.environ[name] = str(cores)


def _compute_elsewhere(work: FoldWork, fold: int, cores: int, recorded: runs.RecordedRun | None) -> "FoldInfo":
    """One fold, in a process of its own.

    Keras is loaded here, not at the top: TensorFlow reads the number of threads, which _begin sets, when it begins.
    """
    from osteon.models.networks.backend import load_keras

    load_keras()
    from threadpoolctl import threadpool_limits

    from osteon.models.best_hyperparameters import read_best_hyperparameters
    from osteon.models.classical.film_features import open_features
    from osteon.models.fitting.train_network import open_training_data

    sources, best = work.sources, read_best_hyperparameters(work.sources.best)
    films = open_training_data(sources.dataset, sources.augmented, work.training, best)
    # Lines of several folds come in turns.
    configure_logging(f"fold {fold} · %(message)s", anew=True)
    with threadpool_limits(cores), runs.joined(recorded):
        return _compute(work, fold, films, open_features(sources.features))


def end_with_parent() -> None:
    """End this process when its parent is gone: a run that is started again must not find it still writing."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
