"""Curves, confusion matrix and score histogram: as tables for `dvc plots` and as pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from components.evaluation.metrics import confusion
from osteon.pages.style import BLUE, GREY, ORANGE, STYLE
from osteon.statistics.estimate import Estimate
from osteon.statistics.reliability import Reliability

mpl.use("Agg")
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curve_tables(films: pd.DataFrame, threshold: float, finding: str) -> dict[str, pd.DataFrame]:
    """Name → table for `dvc plots`.

    Args:
        films: columns label and score.
        threshold: a score at or above it is the answer 'finding'.
        finding: what label 1 means.

    """
    labels, scores = films["label"].to_numpy(np.int64), films["score"].to_numpy(np.float64)
    false, true, _ = roc_curve(labels, scores)
    precision, recall, _ = precision_recall_curve(labels, scores, drop_intermediate=True)
    names = np.array([f"not {finding}", finding])
    edges = np.linspace(0, 1, 21)
    counts = {names[label]: np.histogram(scores[labels == label], edges)[0] for label in (0, 1)}
    return {
        "roc": pd.DataFrame({"1 - specificity": false, "sensitivity": true}),
        "precision_recall": pd.DataFrame({"recall": recall, "precision": precision}),
        "confusion": pd.DataFrame({"actual": names[labels], "answer": names[(scores >= threshold).astype(int)]}),
        "scores": pd.DataFrame({"probability": np.round((edges[:-1] + edges[1:]) / 2, 3), **counts}),
    }


def draw_figures(
    folder: Path,
    films: pd.DataFrame,
    tables: dict[str, pd.DataFrame],
    threshold: float,
    finding: str,
    figures: dict[str, Estimate],
) -> None:
    """Write roc.png, precision_recall.png, confusion.png and scores.png."""
    labels, scores = films["label"].to_numpy(np.int64), films["score"].to_numpy(np.float64)
    tp, fn, tn, fp = confusion(labels, scores, threshold)
    with plt.rc_context(STYLE):
        figure, axes = _square("1 − specificity", "sensitivity", f"ROC, AUROC {_shown(figures['auroc'])}")
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        axes.step(*tables["roc"].to_numpy().T, where="post", color=BLUE)
        axes.plot(
            fp / (fp + tn),
            tp / (tp + fn),
            "o",
            color=ORANGE,
            label=f"answers ({finding} from {threshold:.2f})",
        )
        axes.legend(frameon=False, loc="lower right")
        save_figure(figure, folder / "roc.png")

        title = f"precision and recall, AP {_shown(figures['average_precision'])}"
        figure, axes = _square("recall (sensitivity)", "precision (PPV)", title)
        axes.axhline(labels.mean(), color=GREY, linewidth=1, linestyle=":", label=f"prevalence {labels.mean():.2f}")
        axes.step(*tables["precision_recall"].to_numpy().T, where="post", color=BLUE)
        axes.legend(frameon=False, loc="lower left")
        save_figure(figure, folder / "precision_recall.png")

        figure, axes = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
        cells = np.array([[tn, fp], [fn, tp]])
        axes.imshow(cells / cells.sum(axis=1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
        for row in range(2):
            for column in range(2):
                share = cells[row, column] / cells[row].sum()
                axes.text(
                    column,
                    row,
                    f"{cells[row, column]}\n{share:.0%}",
                    ha="center",
                    va="center",
                    color="white" if share > 0.55 else "#1a202c",
                )
        names = [f"not {finding}", finding]
        axes.set_xticks([0, 1], names)
        axes.set_yticks([0, 1], names, rotation=90, va="center")
        axes.set(xlabel="answer", ylabel="truth", title=f"{len(films)} test films")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        save_figure(figure, folder / "confusion.png")

        figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
        edges = [float(edge) for edge in np.linspace(0, 1, 21)]
        axes.hist(
            [scores[labels == 0], scores[labels == 1]],
            edges,
            color=[BLUE, ORANGE],
            label=names,
            stacked=False,
            rwidth=0.9,
        )
        axes.axvline(threshold, color="#1a202c", linewidth=1, linestyle="--", label="threshold")
        axes.set(xlabel=f"probability of {finding}", ylabel="films", xlim=(0, 1))
        axes.legend(frameon=False)
        save_figure(figure, folder / "scores.png")


def draw_reliability(path: Path, before: Reliability, after: Reliability, finding: str) -> None:
    """Write one picture: share of positive films against probability in bins, before and after calibration."""
    with plt.rc_context(STYLE):
        figure, both = plt.subplots(1, 2, figsize=(9.2, 5), layout="constrained")
        parts = (("before", before, ORANGE), ("after", after, BLUE))
        for axes, (name, reliability, color) in zip(both, parts, strict=True):
            bins = [each for each in reliability.bins if each.positive.value is not None]
            estimates = [each.positive for each in bins]
            shares = np.array([[share.value, share.low, share.high] for share in estimates], np.float64)
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
            axes.errorbar(
                [each.probability for each in bins],
                shares[:, 0],
                # Wilson's interval can end a last digit short of a share of 0 or 1.
                np.clip([shares[:, 0] - shares[:, 1], shares[:, 2] - shares[:, 0]], 0, None),
                fmt="o",
                color=color,
                markersize=5,
                elinewidth=1,
            )
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=f"probability of {finding}", box_aspect=1)
            title = f"{name} calibration\nECE {_shown(reliability.ece)}, by chance {reliability.by_chance:.3f}"
            axes.set_title(title, fontsize=10)
        both[0].set_ylabel(f"share {finding}")
        save_figure(figure, path)


def _square(x: str, y: str, title: str) -> "tuple[Figure, Axes]":
    figure, axes = plt.subplots(figsize=(4.6, 4.4), layout="constrained")
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_title(title, fontsize=10)
    return figure, axes


def _shown(estimate: Estimate) -> str:
    if estimate.value is None:
        return "not defined"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as PNG, and close it."""
    # Without date and version inside, one run's picture is byte for byte the next one's.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
