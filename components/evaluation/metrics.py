"""The figures of a test, each with its interval."""

import numpy as np
from numpy.typing import NDArray

from osteon.params import EvaluationParams
from osteon.statistics.auroc import delong
from osteon.statistics.bootstrap import bootstrap, group_weights
from osteon.statistics.estimate import Estimate, Floats, Labels
from osteon.statistics.proportions import wilson
from osteon.statistics.ranking import WeightedRanking, ratio

# In the order a reader wants them, with the name to print.
NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "f1": "F1",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "brier": "Brier score",
    "log_loss": "log loss",
}


def confusion(labels: Labels, scores: Floats, threshold: float) -> tuple[int, int, int, int]:
    """True positive, false negative, true negative and false positive films at 'score ≥ threshold'."""
    predicted = scores >= threshold
    return (
        int((predicted & (labels == 1)).sum()),
        int((~predicted & (labels == 1)).sum()),
        int((~predicted & (labels == 0)).sum()),
        int((predicted & (labels == 0)).sum()),
    )


def measure(
    labels: Labels, scores: Floats, groups: NDArray[np.int64], threshold: float, params: EvaluationParams
) -> dict[str, Estimate]:
    """Every figure of NAMES on one set of films.

    Args:
        labels: 0 or 1.
        scores: probability of 1.
        groups: number of each film's group, 0 …; films of a group are drawn together.
        threshold: a score at or above it is the answer 1.
        params: confidence, resamples and seed.

    Returns:
        Proportions with Wilson's interval, AUROC with DeLong's, the rest with a bootstrap over groups.

    """
    tp, fn, tn, fp = confusion(labels, scores, threshold)
    level = params.confidence
    weights = group_weights(groups, labels, params.resamples, params.seed)
    predicted = (scores >= threshold).astype(np.float64)
    truth = labels.astype(np.float64)

    def f1(w: Floats) -> Floats:
        # 2·TP / (2·TP + FP + FN)
        return ratio(2 * (w @ (predicted * truth)), w @ (predicted + truth))

    def balanced_accuracy(w: Floats) -> Floats:
        return 0.5 * (
            ratio(w @ (predicted * truth), w @ truth) + ratio(w @ ((1 - predicted) * (1 - truth)), w @ (1 - truth))
        )

    squares = (scores - truth) ** 2
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    surprises = -(truth * np.log(clipped) + (1 - truth) * np.log(1 - clipped))
    order = WeightedRanking(truth, scores)
    figures = {
        "auroc": delong(labels, scores, level),
        "average_precision": bootstrap(order.average_precision, weights, level),
        "sensitivity": wilson(tp, tp + fn, level),
        "specificity": wilson(tn, tn + fp, level),
        "ppv": wilson(tp, tp + fp, level),
        "npv": wilson(tn, tn + fn, level),
        "f1": bootstrap(f1, weights, level),
        "balanced_accuracy": bootstrap(balanced_accuracy, weights, level),
        "accuracy": wilson(tp + tn, len(labels), level),
        "brier": bootstrap(lambda w: ratio(w @ squares, w.sum(axis=1)), weights, level),
        "log_loss": bootstrap(lambda w: ratio(w @ surprises, w.sum(axis=1)), weights, level),
    }
    return {name: figures[name] for name in NAMES}
