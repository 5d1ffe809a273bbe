"""What Kubeflow's page shows of a task: pages, figures, curves, taken from what the step wrote."""

import json
import shutil
from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_curve

from components.evaluation.step import METRICS, PREDICTIONS
from components.evaluation.step import REPORT as EVALUATION
from components.promotion.step import CARD, PAGE
from components.validation.step import REPORT as VALIDATION

ANSWERS = ("not fractured", "fractured")


def show_figures(figures: dict[str, float], path: str) -> dict[str, float]:
    """Figures for the page's table, which are its metadata, and a file with them: kfp's cache asks for one."""
    Path(path).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def show_validation(report: str, page: str) -> None:
    """The page about trusted films and quarantine."""
    shutil.copyfile(Path(report) / VALIDATION, page)


def show_evaluation(report: str, page: str, path: str) -> dict[str, float]:
    """The report's page; the figures on the test films, with the ends of their intervals, and a file with them."""
    shutil.copyfile(Path(report) / EVALUATION, page)
    test = json.loads((Path(report) / METRICS).read_text(encoding="utf-8"))["test"]
    figures = {"films": float(test["n"])}
    for name, figure in test.items():
        if isinstance(figure, dict) and figure.get("value") is not None:
            figures |= {name: figure["value"], f"{name}, low": figure["low"], f"{name}, high": figure["high"]}
    return show_figures(figures, path)


def curve(report: str, path: str) -> tuple[list[float], list[float], list[float]]:
    """False and true positive rates on the test films, and the probabilities that give them; a file with the rates."""
    shutil.copyfile(Path(report) / "plots" / "roc.csv", path)
    films = pd.read_csv(Path(report) / PREDICTIONS)
    false, true, thresholds = roc_curve(films["label"], films["score"])
    thresholds[0] = 1.0  # infinite, so that nothing reaches it; JSON has no such number
    return false.tolist(), true.tolist(), thresholds.tolist()


def confusion_matrix(report: str) -> tuple[list[str], list[list[int]]]:
    """Answers, and how often each (columns) was given to films that are one of them (rows)."""
    table = pd.read_csv(Path(report) / "plots" / "confusion.csv")
    counts = pd.crosstab(table["actual"], table["answer"]).reindex(index=ANSWERS, columns=ANSWERS, fill_value=0)
    return list(ANSWERS), counts.to_numpy().tolist()


def show_decision(decision: str, card: str, page: str) -> None:
    """The decision's page and the model card; a model that is in use already has neither anew."""
    for name, to in ((CARD, card), (PAGE, page)):
        kept = Path(decision) / name
        if kept.is_file():
            shutil.copyfile(kept, to)
        else:
            Path(to).write_text("nothing was judged\n", encoding="utf-8")
