"""Begin the processes that compute folds, then cross-validate."""

from pathlib import Path

from components.cross_validation.side_by_side import Sources, prepare_processes, processes
from components.cross_validation.step import CrossValidationSummary
from osteon.params import ClassicalParams, CrossValidationParams, TrainingParams

__all__ = ["Sources", "run_cross_validate"]


def run_cross_validate(
    sources: Sources,
    folds: Path,
    report: Path,
    params: CrossValidationParams,
    training: TrainingParams,
    classical: ClassicalParams,
) -> CrossValidationSummary:
    """Cross-validate every model; arguments as of the step `cross_validate`."""
    # There are two folds at least; whether there is a GPU, Keras says when it is loaded.
    if processes(params.at_once, 2, gpu=False) > 1:
        prepare_processes()
    # Loads Keras, while the process that was begun above does the same: so not at the top.
    from components.cross_validation.out_of_fold import cross_validate_models

    return cross_validate_models(sources, folds, report, params, training, classical)
