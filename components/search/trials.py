"""What a trial is: a model is trained on the other folds with the values it tries, and predicts a held-out fold."""

import dataclasses
import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState
from sklearn.metrics import roc_auc_score

from components.search.space import Distributions, as_best, suggest
from components.search.study import first_number, report
from osteon.files import remove
from osteon.films.prepared.folds import rows_in, rows_outside
from osteon.models.classical.classifiers import fit_classical, probabilities
from osteon.models.classical.film_features import FilmFeatures
from osteon.models.fitting.train_network import TrainingData, train_network
from osteon.models.networks.quiet_keras import keras
from osteon.params import ClassicalName, ClassicalParams, TrainingParams
from osteon.records import runs

log = logging.getLogger(__name__)

Measure = Callable[[optuna.Trial], float]


def network_trial(
    films: TrainingData, folds: list[int], params: TrainingParams, searched: Distributions, folder: Path
) -> Measure:
    """Measure the network: mean AUROC of its last epoch over the folds, each predicted after training on the others.

    No film is set aside and no epoch chosen, so the figure is not made better by choosing.

    Args:
        films: all.
        folds: that are asked.
        params: how it learns, but for what is tried; patience is 0 and precision chosen.
        searched: what is tried.
        folder: for checkpoints. A trial that takes over another's values finds what that one left.

    """
    table = films.prepared.films

    def measure(trial: optuna.Trial) -> float:
        best = as_best(trial.params)
        learning = best.over_training(params)
        varied = dataclasses.replace(films, limits=best.over_augmentation(films.limits))
        place = folder / f"trial-{first_number(trial)}"
        done: list[float] = []
        for fold in folds:
            before = len(done) * params.epochs

            def on_epoch(epoch: int, entry: dict[str, float], before: int = before) -> None:
                runs.log_metrics(entry, step=before + epoch + 1)
                if not math.isfinite(entry["loss"]):
                    raise optuna.TrialPruned("the loss is no number any more")
                value = float(np.mean([*done, entry["watched_auroc"]]))
                report(trial, value, before + epoch + 1, len(folds) * params.epochs)

            _, state = train_network(
                varied,
                rows_outside(table, fold),
                learning,
                place / f"fold-{fold}",
                validation_rows=rows_in(table, fold),
                on_epoch=on_epoch,
            )
            done.append(state.history[-1]["watched_auroc"])
        return float(np.mean(done))

    def tidy(trial: optuna.Trial) -> None:
        remove(folder / f"trial-{first_number(trial)}")
        keras.utils.clear_session()  # else the networks of all trials stay in memory

    return _recorded("network", searched, measure, tidy)


def classical_trial(
    name: ClassicalName,
    films: TrainingData,
    features: FilmFeatures,
    folds: list[int],
    params: ClassicalParams,
    searched: Distributions,
) -> Measure:
    """Measure a classical model in the same way; it can be pruned after a fold."""
    table = films.prepared.films

    def measure(trial: optuna.Trial) -> float:
        tried = as_best(trial.params).over_classical(params)
        done: list[float] = []
        for fold in folds:
            heldout_rows, train_rows = rows_in(table, fold), rows_outside(table, fold)
            estimator = fit_classical(name, *films.described(features, train_rows, tried), tried)
            prevalence = float(films.labels(train_rows).mean())
            scores = [probabilities(estimator, described, prevalence) for described in features.blocks(heldout_rows)]
            done.append(float(roc_auc_score(films.labels(heldout_rows), np.concatenate(scores))))
            report(trial, float(np.mean(done)), len(done), len(folds))
        return float(np.mean(done))

    return _recorded(name, searched, measure, lambda trial: None)  # noqa: ARG005


def _recorded(model: str, searched: Distributions, measure: Measure, tidy: Callable[[optuna.Trial], None]) -> Measure:
    """A trial with a run of its own in MLflow, and a line in the log."""

    def run(trial: optuna.Trial) -> float:
        pruned, value = None, math.nan
        with runs.nested_run(f"{model} trial {trial.number}"):
            values = suggest(trial, searched)
            runs.log_params({"model": model, **values})
            log.info("%s, trial %d: %s", model, trial.number, ", ".join(f"{k} {_short(v)}" for k, v in values.items()))
            try:
                value = measure(trial)
                if not math.isfinite(value):
                    raise optuna.TrialPruned("AUROC is no number")
            except optuna.TrialPruned as reason:
                pruned = reason
            else:
                runs.log_metrics({"auroc": value})
            state = TrialState.PRUNED if pruned else TrialState.COMPLETE
            runs.set_tag("osteon.trial", state.name.lower())
            tidy(trial)
        if pruned:
            log.info("%s, trial %d: pruned %s", model, trial.number, pruned)
            raise pruned
        log.info("%s, trial %d: AUROC %.3f", model, trial.number, value)
        return value

    return run


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
