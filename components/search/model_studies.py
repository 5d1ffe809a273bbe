"""One study for each model: its films, its space, its trials."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import keras
import optuna
from optuna.storages import RDBStorage

from components.search.report import ModelStudy
from components.search.space import distributions, own_values
from components.search.study import OWN, PRECISION, open_study, work
from components.search.trials import classical_trial, network_trial
from osteon.errors import OsteonError
from osteon.files import dvc_hash
from osteon.films.prepared.folds import fold_numbers, rows_in, rows_outside
from osteon.fingerprint import fingerprint
from osteon.models.best_hyperparameters import BestHyperparameters
from osteon.models.classical.film_features import FilmFeatures, open_features
from osteon.models.fitting.train_network import TrainingData, open_training_data, with_precision
from osteon.params import ClassicalName, ClassicalParams, SearchParams, TrainingParams


@dataclass(frozen=True)
class SearchData:
    """What all studies of a search share. folds: the numbers of those that are held out, one after the other."""

    films: TrainingData
    folds: list[int]
    params: SearchParams
    storage: RDBStorage


def run_studies(
    dataset: Path,
    augmented: Path,
    features: Path,
    checkpoints: Path,
    params: SearchParams,
    training: TrainingParams,
    classical: ClassicalParams,
    storage: RDBStorage,
) -> tuple[list[ModelStudy], dict[str, str]]:
    """All studies, and the precision as a hyperparameter where training.precision is 'auto'.

    The steps after the search take that precision and need not choose again.

    Args:
        dataset: as of the step `search`, like augmented, features, params, training and classical.
        augmented: see there.
        features: see there.
        checkpoints: folder of the network's trials, for a search that is killed.
        params: see there.
        training: see there.
        classical: see there.
        storage: where the studies are kept.

    Raises:
        OsteonError: a fold is missing or has films of one class only.

    """
    films = open_training_data(dataset, augmented, training, BestHyperparameters())
    data = SearchData(films, _folds(films, params.folds), params, storage)
    described, described_fingerprint = open_features(features), f"{films.fingerprint} {dvc_hash(features)}"
    studies, precision = [], {}
    if params.trials and (params.space.training or params.space.augmentation):
        network, chosen = _search_network(data, checkpoints, training)
        studies.append(network)
        precision = {"training.precision": chosen} if training.precision == "auto" else {}
    if params.classical_trials:
        studies += [
            _search_classical(name, data, described, described_fingerprint, classical)
            for name in get_args(ClassicalName)
            if getattr(params.space, name)
        ]
    return studies, precision


def _folds(films: TrainingData, count: int) -> list[int]:
    """The first folds, each fit to be measured on."""
    numbers = fold_numbers(films.prepared.films)
    if count > len(numbers):
        raise OsteonError(f"search.folds = {count}: there are {len(numbers)} folds, see preparation.folds")
    for fold in numbers[:count]:
        if len(set(films.labels(rows_in(films.prepared.films, fold)))) < 2:
            raise OsteonError(f"search.folds: fold {fold} has films of one class only; add films, or take fewer folds")
    return numbers[:count]


def _search_network(data: SearchData, checkpoints: Path, training: TrainingParams) -> tuple[ModelStudy, str]:
    """The network's study, and the precision its trials are measured with."""
    films, folds, params = data.films, data.folds, data.params
    space = params.space
    spaces = (("training", space.training, training), ("augmentation", space.augmentation, films.limits))
    searched = {name: values for part in spaces for name, values in distributions(*part).items()}
    own = {name: value for part in spaces for name, value in own_values(*part).items()}
    # The last epoch counts and none is chosen, so nothing is set aside.
    trained = training.model_copy(update={"epochs": params.epochs or training.epochs, "patience": 0})
    steps = len(folds) * trained.epochs
    key = _fingerprint(
        {"films": films.fingerprint},
        {
            "augmentation": films.limits,
            "training": trained,
            "space": searched,
            "folds": folds,
            "seed": params.seed,
            "types": films.types,
        },
        keras.backend.backend(),
    )
    study = open_study(data.storage, params.study, key, steps, alone=not params.storage)
    precision = study.user_attrs.get(PRECISION)
    if precision is None:
        precision = with_precision(films, rows_outside(films.prepared.films, folds[0]), trained).precision
        study.set_user_attr(PRECISION, precision)
    trained = trained.model_copy(update={"precision": precision})
    _queue_own_values(study, own)
    work(study, network_trial(films, folds, trained, searched, checkpoints), params.trials, params.seed)
    return ModelStudy("network", study, "epochs", steps), precision


def _search_classical(
    name: ClassicalName,
    data: SearchData,
    features: FilmFeatures,
    features_fingerprint: str,
    classical: ClassicalParams,
) -> ModelStudy:
    """A classical model's study. features_fingerprint: of films, copies and features."""
    folds, params = data.folds, data.params
    part = (name, getattr(params.space, name), getattr(classical, name))
    searched = distributions(*part)
    key = _fingerprint(
        {"films and features": features_fingerprint},
        {"classical": classical, "space": searched, "folds": folds, "seed": params.seed},
    )
    study = open_study(data.storage, f"{params.study}/{name}", key, len(folds), alone=not params.storage)
    _queue_own_values(study, own_values(*part))
    measure = classical_trial(name, data.films, features, folds, classical, searched)
    work(study, measure, params.classical_trials, params.seed)
    return ModelStudy(name, study, "folds", len(folds))


def _queue_own_values(study: optuna.Study, own: dict[str, Any]) -> None:
    """The values of params.yaml come first, so that a search never ends with worse ones."""
    study.enqueue_trial(own, user_attrs={OWN: True}, skip_if_exists=True)


def _fingerprint(data: dict[str, str], parameters: dict[str, object], backend: str = "") -> str:
    """Of all that trials of one study have in common, as JSON: only then can their figures be compared."""
    return fingerprint("components.search.trials", data, parameters, backend).model_dump_json()
