"""The packaged model on the test films, which no step before has used."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import EvaluationParams

METRICS, PREDICTIONS, REPORT = "metrics.json", "predictions.csv", "report.html"


class EvaluationSummary(Summary):
    """How good the model is, in short; the report has the rest."""

    films: int
    auroc: float
    auroc_low: float
    auroc_high: float
    average_precision: float
    sensitivity: float
    specificity: float
    brier: float

    def line(self) -> str:
        """The figures a person asks for first."""
        return (
            f"{self.films} test films · AUROC {self.auroc:.3f} [{self.auroc_low:.3f}, {self.auroc_high:.3f}] · "
            f"sensitivity {self.sensitivity:.3f} · specificity {self.specificity:.3f}"
        )


def evaluate(
    model: Annotated[Path, Input("the packaged model", "model")],
    dataset: Annotated[Path, Input("prepared films")],
    best: Annotated[Path, Input("what the search found", "report")],
    folds: Annotated[Path, Input("out-of-fold scores and the comparison of models")],
    validation: Annotated[Path, Input("validate's report, with its shortcut audit", "report")],
    leaks: Annotated[Path, Input("prepare's pairs of films that are one", "report")],
    report: Annotated[Path, Output("metrics.json, figures and report.html", "report")],
    params: EvaluationParams,
) -> EvaluationSummary:
    """Score the test films and report every figure with its interval."""
    from components.evaluation.run import run_evaluate

    return run_evaluate(model, dataset, best, folds, validation, leaks, report, params)
