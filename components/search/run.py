"""Run the studies of a search, or write the values of params.yaml where nothing is to be tried."""

from pathlib import Path

from components.search.step import CHECKPOINTS, PLOTS, SEARCH, STUDY, TRIALS, SearchSummary
from osteon.files import atomic_dir, remove_all_but
from osteon.models.best_hyperparameters import BEST, BestHyperparameters, write_best_hyperparameters
from osteon.models.networks.backend import load_keras
from osteon.params import ClassicalParams, SearchParams, TrainingParams


def run_search(
    dataset: Path,
    augmented: Path,
    features: Path,
    best: Path,
    params: SearchParams,
    training: TrainingParams,
    classical: ClassicalParams,
) -> SearchSummary:
    """Search; arguments as of the step `search`.

    Raises:
        OsteonError: the folds cannot be measured on, or the study's database cannot be used.

    """
    with atomic_dir(best, keep=True) as folder:
        if not (params.trials or params.classical_trials):
            remove_all_but(folder, [])
            write_best_hyperparameters(folder, BestHyperparameters())
            return SearchSummary(trials=0, pruned=0, epochs=0, epochs_saved=0, auroc={})

        # Here, because a search without trials needs neither Keras nor Optuna; Keras first, which it loads quietly.
        load_keras()
        from components.search.model_studies import run_studies
        from components.search.results import write_results
        from components.search.study import local_database, shared_database

        # Results of an interrupted call are written anew; its study is continued, unless a database has it.
        remove_all_but(folder, [CHECKPOINTS] if params.storage else [CHECKPOINTS, STUDY])
        database = shared_database(params.storage) if params.storage else local_database(folder / STUDY)
        with database as storage:
            studies, precision = run_studies(
                dataset, augmented, features, folder / CHECKPOINTS, params, training, classical, storage
            )
            infos = write_results(folder, studies, precision, params.seed)
        remove_all_but(folder, [BEST, TRIALS, SEARCH, PLOTS])
    network = [info for info in infos if info.unit == "epochs"]
    return SearchSummary(
        trials=sum(info.trials for info in infos),
        pruned=sum(info.pruned for info in infos),
        epochs=sum(info.done for info in network),
        epochs_saved=sum(info.asked - info.done for info in network),
        auroc={info.model: info.auroc for info in infos if info.auroc is not None},
    )
