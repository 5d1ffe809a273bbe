"""Which model ranks held-out films better: the table of a cross-validation."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.errors import OsteonError
from osteon.statistics.auroc import Difference, FoldAurocs, auroc_over_folds, compare_aurocs

COMPARISON = "comparison.json"
REFERENCE = "network"
TITLES = {
    "network": "network",
    "svm": "support vector machine",
    "random_forest": "random forest",
    "k_nearest": "k nearest",
    "logistic_regression": "logistic regression",
    "soft_vote": "soft vote of all",
}


class ModelRow(BaseModel):
    """One model. against: the network's AUROC less this one's, on the same films; None for the network itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    auroc: FoldAurocs
    against: Difference | None
    seconds: float | None  # of learning and asking, all folds together; None for the vote

    @property
    def title(self) -> str:
        """Its name for a person."""
        return TITLES[self.model]


class Comparison(BaseModel):
    """Every model on the same folds, the best first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    films: int
    positive: int
    groups: int
    folds: int
    confidence: float
    models: list[ModelRow]


def compare(predictions: "pd.DataFrame", seconds: dict[str, float], confidence: float) -> Comparison:
    """Compare models by their out-of-fold scores.

    Args:
        predictions: columns film_id, group, label, fold, model, score; each model has every film once.
        seconds: of each model, all folds together.
        confidence: of the intervals.

    """
    scores = predictions.pivot(index="film_id", columns="model", values="score")
    films = predictions.drop_duplicates("film_id").set_index("film_id").loc[scores.index]
    labels, folds = films["label"].to_numpy(np.int64), films["fold"].to_numpy(np.int64)
    groups = pd.factorize(films["group"])[0].astype(np.int64)

    def of(model: str) -> NDArray[np.float64]:
        return scores[model].to_numpy(np.float64)

    rows = [
        ModelRow(
            model=model,
            auroc=auroc_over_folds(labels, of(model), groups, folds, confidence),
            against=None
            if model == REFERENCE
            else compare_aurocs(labels, of(REFERENCE), of(model), groups, np.zeros_like(folds), confidence),
            seconds=seconds.get(model),
        )
        for model in scores.columns
    ]
    return Comparison(
        films=len(films),
        positive=int(labels.sum()),
        groups=int(groups.max()) + 1,
        folds=len(np.unique(folds)),
        confidence=confidence,
        models=sorted(rows, key=lambda row: -(row.auroc.pooled.value or 0.0)),
    )


def read_comparison(folder: Path) -> Comparison:
    """What the step cross_validate found.

    Raises:
        OsteonError: missing or damaged.

    """
    try:
        return Comparison.model_validate_json((folder / COMPARISON).read_bytes())
    except FileNotFoundError:
        raise OsteonError(f"{folder}: {COMPARISON} is missing; run the step cross_validate") from None
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise OsteonError(
            f"{folder / COMPARISON}: damaged ({fault['msg']}); run the step cross_validate again"
        ) from None
