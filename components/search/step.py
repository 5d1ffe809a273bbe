"""Search space → the best values found, measured on folds of the development films."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from osteon.contract import Input, Output, Summary
from osteon.params import ClassicalName, ClassicalParams, SearchParams, TrainingParams

if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage

    from components.search.report import Searched, StudyInfo
    from osteon.models.classical.film_features import FilmFeatures
    from osteon.models.fitting.train_network import TrainingData

TRIALS, SEARCH, PLOTS = "trials.csv", "search.json", "plots"
STUDY, CHECKPOINTS = "study.db", "trials"  # while it runs


class SearchSummary(Summary):
    """What was tried, what pruning saved of it, and the AUROC of the best, mean over the folds."""

    trials: int
    pruned: int
    epochs: int
    epochs_saved: int
    auroc: dict[str, float]


def search(
    dataset: Annotated[Path, Input("prepared films")],
    augmented: Annotated[Path, Input("augmented copies and the limits of variation")],
    features: Annotated[Path, Input("features of films and copies")],
    best: Annotated[Path, Output("best.yaml, trials.csv and plots", "report")],
    params: SearchParams,
    training: TrainingParams,
    classical: ClassicalParams,
) -> SearchSummary:
    """Search for hyperparameters that rank held-out films better; the test films are not read."""
    from osteon.files import atomic_dir, remove_all_but
    from osteon.models.best_hyperparameters import BestHyperparameters, write_best_hyperparameters

    with atomic_dir(best, keep=True) as folder:
        if not (params.trials or params.classical_trials):
            remove_all_but(folder, [])
            write_best_hyperparameters(folder, BestHyperparameters())
            return SearchSummary(trials=0, pruned=0, epochs=0, epochs_saved=0, auroc={})

        from components.search.study import opened

        # Results of an interrupted call are written anew; its study is continued, unless a database has it.
        remove_all_but(folder, [CHECKPOINTS] if params.storage else [CHECKPOINTS, STUDY])
        with opened(params.storage or f"sqlite:///{(folder / STUDY).resolve()}") as storage:
            infos = _search(dataset, augmented, features, folder, params, training, classical, storage)
        remove_all_but(folder, ["best.yaml", TRIALS, SEARCH, PLOTS])
    network = [info for info in infos if info.unit == "epochs"]
    return SearchSummary(
        trials=sum(info.trials for info in infos),
        pruned=sum(info.pruned for info in infos),
        epochs=sum(info.done for info in network),
        epochs_saved=sum(info.asked - info.done for info in network),
        auroc={info.model: info.auroc for info in infos if info.auroc is not None},
    )


def _search(
    dataset: Path,
    augmented: Path,
    features: Path,
    folder: Path,
    params: SearchParams,
    training: TrainingParams,
    classical: ClassicalParams,
    storage: "RDBStorage",
) -> "list[StudyInfo]":
    """All studies, and what they found."""
    from osteon.files import dvc_hash
    from osteon.models.best_hyperparameters import BestHyperparameters
    from osteon.models.networks.backend import load_keras

    load_keras()
    from osteon.models.classical.film_features import open_features
    from osteon.models.fitting.train_network import open_training_data

    films = open_training_data(dataset, augmented, training, BestHyperparameters())
    folds = _folds(films, params.folds)
    described, known = open_features(features), f"{films.fingerprint} {dvc_hash(features)}"
    found, precision = [], {}
    if params.trials and (params.space.training or params.space.augmentation):
        searched, chosen = _search_network(films, folds, folder, params, training, storage)
        found.append(searched)
        # Asked to choose, the steps after this one choose the same, and need not try again.
        precision = {"training.precision": chosen} if training.precision == "auto" else {}
    if params.classical_trials:
        found += [
            _search_classical(name, films, described, folds, known, params, classical, storage)
            for name in get_args(ClassicalName)
            if getattr(params.space, name)
        ]
    return _write(folder, found, precision, params.seed)


def _folds(films: "TrainingData", count: int) -> list[int]:
    """The first folds, each fit to be measured on."""
    from osteon.errors import OsteonError
    from osteon.films.prepared.folds import fold_numbers, rows_in

    numbers = fold_numbers(films.prepared.films)
    if count > len(numbers):
        raise OsteonError(f"search.folds = {count}: there are {len(numbers)} folds, see preparation.folds")
    for fold in numbers[:count]:
        if len(set(films.labels(rows_in(films.prepared.films, fold)))) < 2:
            raise OsteonError(f"search.folds: fold {fold} has films of one class only; add films, or take fewer folds")
    return numbers[:count]


def _search_network(
    films: "TrainingData",
    folds: list[int],
    folder: Path,
    params: SearchParams,
    training: TrainingParams,
    storage: "RDBStorage",
) -> "tuple[Searched, str]":
    """The network's study, and the precision its trials are measured with."""
    import keras

    from components.search.report import Searched
    from components.search.space import distributions, own_values
    from components.search.study import PRECISION, open_study, work
    from components.search.trials import network_trial
    from osteon.films.prepared.folds import rows_outside
    from osteon.models.fitting.train_network import with_precision

    space = params.space
    spaces = (("training", space.training, training), ("augmentation", space.augmentation, films.limits))
    tried = {name: one for part in spaces for name, one in distributions(*part).items()}
    own = {name: value for part in spaces for name, value in own_values(*part).items()}
    # The last epoch counts and none is chosen, so nothing is set aside.
    learning = training.model_copy(update={"epochs": params.epochs or training.epochs, "patience": 0})
    steps = len(folds) * learning.epochs
    known = _fingerprint(
        {"films": films.fingerprint},
        {
            "augmentation": films.limits,
            "training": learning,
            "space": tried,
            "folds": folds,
            "seed": params.seed,
            "types": films.types,
        },
        keras.backend.backend(),
    )
    study = open_study(storage, params.study, known, steps, alone=not params.storage)
    precision = study.user_attrs.get(PRECISION)
    if precision is None:
        precision = with_precision(films, rows_outside(films.prepared.films, folds[0]), learning).precision
        study.set_user_attr(PRECISION, precision)
    learning = learning.model_copy(update={"precision": precision})
    _queue_own_values(study, own)
    work(study, network_trial(films, folds, learning, tried, folder / CHECKPOINTS), params.trials, params.seed)
    return Searched("network", study, "epochs", steps), precision


def _search_classical(
    name: ClassicalName,
    films: "TrainingData",
    features: "FilmFeatures",
    folds: list[int],
    known: str,
    params: SearchParams,
    classical: ClassicalParams,
    storage: "RDBStorage",
) -> "Searched":
    """A classical model's study. known: fingerprint of films, copies and features."""
    from components.search.report import Searched
    from components.search.space import distributions, own_values
    from components.search.study import open_study, work
    from components.search.trials import classical_trial

    part = (name, getattr(params.space, name), getattr(classical, name))
    tried = distributions(*part)
    parameters = {"classical": classical, "space": tried, "folds": folds, "seed": params.seed}
    fingerprint = _fingerprint({"films and features": known}, parameters)
    study = open_study(storage, f"{params.study}/{name}", fingerprint, len(folds), alone=not params.storage)
    _queue_own_values(study, own_values(*part))
    measure = classical_trial(name, films, features, folds, classical, tried)
    work(study, measure, params.classical_trials, params.seed)
    return Searched(name, study, "folds", len(folds))


def _queue_own_values(study: "optuna.Study", own: dict[str, Any]) -> None:
    """The values of params.yaml come first, so that a search never ends with worse ones."""
    from components.search.study import OWN

    study.enqueue_trial(own, user_attrs={OWN: True}, skip_if_exists=True)


def _fingerprint(data: dict[str, str], parameters: dict[str, object], backend: str = "") -> str:
    """Of all that trials of one study have in common, as JSON: only then can their figures be compared."""
    from osteon.fingerprint import fingerprint

    return fingerprint("components.search.trials", data, parameters, backend).model_dump_json()


def _write(folder: Path, found: "list[Searched]", precision: dict[str, str], seed: int) -> "list[StudyInfo]":
    """best.yaml, trials.csv, search.json and plots; what won is said in the log."""
    import json
    import logging

    from components.search.report import describe, draw_plots, trials_table
    from components.search.space import as_best
    from components.search.study import best_trial, finished
    from osteon.models.best_hyperparameters import write_best_hyperparameters

    log = logging.getLogger(__name__)
    (folder / PLOTS).mkdir()
    values, infos = dict(precision), []
    for searched in found:
        best = best_trial(finished(searched.study))
        values |= best.params if best else {}
        missing = draw_plots(searched, folder / PLOTS, seed)
        info = describe(searched).model_copy(update={"not_drawn": missing})
        infos.append(info)
        log.info("%s", info.line())
        for name, reason in missing.items():
            log.info("%s: no picture of %s: %s", searched.model, name, reason)
    write_best_hyperparameters(folder, as_best(values))
    trials_table(found).to_csv(folder / TRIALS, index=False, float_format="%.6g", lineterminator="\n")
    content = json.dumps([info.model_dump() for info in infos], indent=2)
    (folder / SEARCH).write_text(content + "\n", encoding="utf-8")
    return infos
