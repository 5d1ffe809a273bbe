"""Every step as a function that Kubeflow calls: an import and a call. What happens is in components.

Films do not travel: a task that reads them gets their hash and fetches them. Everything else is an artefact. A task
loads this file from its image, where kfp is told that it runs and has no decorators.
"""

from typing import NamedTuple

from kfp.dsl import (
    HTML,
    Artifact,
    ClassificationMetrics,
    Dataset,
    Input,
    Markdown,
    Metrics,
    Model,
    Output,
    PipelineTaskFinalStatus,
)


def find_films(repository: str, revision: str, params: str, reason: str) -> NamedTuple(  # type: ignore[valid-type]
    "Found",
    [
        ("films", str),
        ("sides", str),
        ("ingest", str),
        ("validate", str),
        ("prepare", str),
        ("augment", str),
        ("features", str),
        ("search", str),
        ("cross_validate", str),
        ("train", str),
        ("evaluate", str),
        ("folds", str),
    ],
):
    """The films and their sides, as the revision says them now, and the parameters of each step and fold."""
    from components.tasks import step_tasks

    return step_tasks.find_films(repository, revision, params, reason)


def share_folds(folds: str) -> list[str]:
    """What each fold must know; a loop over it computes them side by side. kfp's local runner takes no loop else."""
    from components.tasks import step_tasks

    return step_tasks.share_folds(folds)


def ingest(films: str, params: str, manifest: Output[Dataset]) -> None:
    """Source folder to manifest."""
    from components.tasks import step_tasks

    step_tasks.run_on_films("ingest", params, films, manifest=manifest.path)


def validate(
    films: str,
    params: str,
    manifest: Input[Dataset],
    trusted: Output[Dataset],
    report: Output[Artifact],
    page: Output[HTML],
) -> None:
    """Trusted films and quarantine."""
    from components.tasks import pages, step_tasks

    step_tasks.run_on_films("validate", params, films, manifest=manifest.path, trusted=trusted.path, report=report.path)
    pages.show_validation(report.path, page.path)


def prepare(
    films: str,
    kept_sides: str,
    params: str,
    trusted: Input[Dataset],
    dataset: Output[Dataset],
    leaks: Output[Artifact],
    sides: Output[Artifact],
) -> None:
    """Pixel array, test set and folds."""
    from components.tasks import step_tasks

    paths = {"trusted": trusted.path, "dataset": dataset.path, "leaks": leaks.path, "sides": sides.path}
    step_tasks.run_on_films("prepare", params, films, kept_sides, **paths)


def augment(params: str, dataset: Input[Dataset], augmented: Output[Dataset], sheet: Output[Artifact]) -> None:
    """Varied copies of the development films."""
    from components.tasks import step_tasks

    step_tasks.run_task("augment", params, dataset=dataset.path, augmented=augmented.path, sheet=sheet.path)


def features(params: str, dataset: Input[Dataset], augmented: Input[Dataset], features: Output[Dataset]) -> None:
    """What the classical models see of films and copies."""
    from components.tasks import step_tasks

    step_tasks.run_task("features", params, dataset=dataset.path, augmented=augmented.path, features=features.path)


def search(
    params: str,
    dataset: Input[Dataset],
    augmented: Input[Dataset],
    features: Input[Dataset],
    best: Output[Artifact],
) -> None:
    """Better parameters, measured on folds."""
    from components.tasks import step_tasks

    step_tasks.search(params, dataset=dataset.path, augmented=augmented.path, features=features.path, best=best.path)


def join_search(
    params: str, worker: int, dataset: Input[Dataset], augmented: Input[Dataset], features: Input[Dataset]
) -> None:
    """Trials of the same study, beside the step search."""
    from components.tasks import step_tasks

    step_tasks.search(params, worker, dataset=dataset.path, augmented=augmented.path, features=features.path)


def cross_validate_fold(
    given: str,
    dataset: Input[Dataset],
    augmented: Input[Dataset],
    features: Input[Dataset],
    best: Input[Artifact],
    fold: Output[Artifact],
) -> None:
    """Scores of every model on one fold."""
    from components.tasks import step_tasks

    paths = {"dataset": dataset.path, "augmented": augmented.path, "features": features.path, "best": best.path}
    step_tasks.run_fold(given, fold=fold.path, **paths)


def cross_validate(
    params: str,
    dataset: Input[Dataset],
    augmented: Input[Dataset],
    features: Input[Dataset],
    best: Input[Artifact],
    computed: Input[list[Artifact]],
    folds: Output[Artifact],
    report: Output[Artifact],
    figures: Output[Metrics],
) -> None:
    """Out-of-fold scores of every model, from the folds that are computed."""
    from components.tasks import pages, step_tasks

    paths = {"dataset": dataset.path, "augmented": augmented.path, "features": features.path, "best": best.path}
    summary = step_tasks.collect_folds(
        [fold.path for fold in computed], params, **paths, folds=folds.path, report=report.path
    )
    figures.metadata.update(pages.show_figures(summary, figures.path))


def train(
    params: str,
    dataset: Input[Dataset],
    augmented: Input[Dataset],
    features: Input[Dataset],
    best: Input[Artifact],
    folds: Input[Artifact],
    model: Output[Model],
) -> None:
    """The packaged model."""
    from components.tasks import step_tasks

    paths = {"dataset": dataset.path, "augmented": augmented.path, "features": features.path, "best": best.path}
    step_tasks.run_task("train", params, **paths, folds=folds.path, model=model.path)


def evaluate(
    params: str,
    model: Input[Model],
    dataset: Input[Dataset],
    best: Input[Artifact],
    folds: Input[Artifact],
    validation: Input[Artifact],
    leaks: Input[Artifact],
    report: Output[Artifact],
    page: Output[HTML],
    figures: Output[Metrics],
    curves: Output[ClassificationMetrics],
) -> None:
    """Figures with intervals on the test films."""
    from components.tasks import pages, step_tasks

    paths = {"model": model.path, "dataset": dataset.path, "best": best.path, "folds": folds.path}
    step_tasks.run_task("evaluate", params, **paths, validation=validation.path, leaks=leaks.path, report=report.path)
    figures.metadata.update(pages.show_evaluation(report.path, page.path, figures.path))
    curves.log_roc_curve(*pages.curve(report.path, curves.path))
    curves.log_confusion_matrix(*pages.confusion_matrix(report.path))


def promote(
    films: str,
    policy: str,
    mode: str,
    model: Input[Model],
    dataset: Input[Dataset],
    trusted: Input[Dataset],
    report: Input[Artifact],
    leaks: Input[Artifact],
    decision: Output[Artifact],
    card: Output[Markdown],
    page: Output[HTML],
) -> None:
    """A decision, carried out in the registry."""
    from components.tasks import pages, step_tasks

    paths = {"model": model.path, "dataset": dataset.path, "trusted": trusted.path, "report": report.path}
    step_tasks.promote(policy, mode, films, **paths, leaks=leaks.path, decision=decision.path)
    pages.show_decision(decision.path, card.path, page.path)


def report_end(mode: str, status: PipelineTaskFinalStatus) -> None:
    """How the run ended, reported to MLflow and a webhook."""
    from components.tasks import run_end

    run_end.report_end(status.state, status.error_message, mode)


def ask_why(repository: str, revision: str, params: str, drift: str) -> str:
    """Why to train again; empty where there is no reason."""
    from components.retraining import find_reason

    return find_reason.find_reason(repository, revision, params, drift)
