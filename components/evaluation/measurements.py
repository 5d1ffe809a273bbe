"""All that is measured of a packaged model on the test films."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.evaluation.certainty import Certainty
from components.evaluation.detection import Detection, measure_detection
from components.evaluation.explain import Explanations, explain_films, explanation_method
from components.evaluation.fracture_types import TypeFigures, measure_types
from components.evaluation.metrics import measure
from components.evaluation.robustness import MOST_FILMS, Flips, Size, changed_scores, measure_robustness
from components.evaluation.studies import fuse_studies
from components.evaluation.subgroups import Subgroup, Worst, attributes_of, measure_subgroups, worst_of
from osteon.films.prepared.array import PreparedFilms, shown_sizes
from osteon.models.package.package import Package, PackageInfo
from osteon.params import EvaluationParams
from osteon.statistics.bootstrap import group_weights
from osteon.statistics.estimate import Estimate
from osteon.statistics.proportions import wilson_in_groups


@dataclass(frozen=True)
class Measurements:
    """What was measured; `films` are the test films with `score` and `distance`.

    figures: name → estimate, of films. studies: a row a study; study_figures: the same figures of studies, None where
    these are all of one class. worst: the subgroup to name, if any. types: of each type of fracture; empty where the
    model names none. refused: share of the test films that are out of distribution; None where the model has no
    network. flips: what changes of the films do. detection: of the predicted boxes; None where there are none.
    """

    info: PackageInfo
    films: pd.DataFrame
    figures: dict[str, Estimate]
    studies: pd.DataFrame
    study_figures: dict[str, Estimate] | None
    subgroups: list[Subgroup]
    worst: Worst | None
    certainty: Certainty
    types: list[TypeFigures]
    refused: Estimate | None
    flips: list[Flips]
    explanations: Explanations
    detection: Detection | None


def measure_model(
    package: Package,
    folder: Path,
    prepared: PreparedFilms,
    films: pd.DataFrame,
    certainty: Certainty,
    params: EvaluationParams,
) -> Measurements:
    """Measure a packaged model.

    Args:
        package: the model.
        folder: where it lies; Grad-CAM needs its networks as they were trained.
        prepared: all prepared films, whose pixels are read.
        films: rows of the test films with `score` and `distance`, by their index in the prepared films.
        certainty: of its probabilities and answers.
        params: confidence, resamples, seed, how views are fused.

    """
    info, threshold = package.info, package.info.threshold
    labels, scores = films["label"].to_numpy(np.int64), films["score"].to_numpy(np.float64)
    groups = pd.factorize(films["group"])[0].astype(np.int64)
    figures = measure(labels, scores, groups, threshold, params)
    subgroups = measure_subgroups(attributes_of(films), labels, scores, groups, threshold, params.confidence)
    studies = fuse_studies(films, params.fusion)
    method, maps = explanation_method(package, folder)
    return Measurements(
        info=info,
        films=films,
        figures=figures,
        studies=studies,
        study_figures=_study_figures(studies, threshold, params),
        subgroups=subgroups,
        worst=worst_of(subgroups),
        certainty=certainty,
        types=_types(package, prepared, films, params),
        refused=_refused(info, films, groups, params),
        flips=_flips(package, prepared, films, groups, params),
        explanations=explain_films(method, maps, prepared, films, groups, info, params.confidence),
        detection=measure_detection(package, prepared, films, params),
    )


def _study_figures(studies: pd.DataFrame, threshold: float, params: EvaluationParams) -> dict[str, Estimate] | None:
    """Figures of studies; None where every study has a fracture, say."""
    if studies["label"].nunique() < 2:
        return None
    return measure(
        studies["label"].to_numpy(np.int64),
        studies["score"].to_numpy(np.float64),
        pd.factorize(studies["group"])[0].astype(np.int64),
        threshold,
        params,
    )


def _types(
    package: Package, prepared: PreparedFilms, films: pd.DataFrame, params: EvaluationParams
) -> list[TypeFigures]:
    if not package.info.types:
        return []
    rows = films.index.to_numpy(np.int64)
    scores = np.concatenate([package.type_probabilities(squares) for squares in prepared.blocks(rows)])
    known = films["fracture_type"].where(films["label"] == 1)
    names = [None if pd.isna(name) else str(name) for name in known]
    return measure_types(names, scores, package.info.types, params.confidence)


def _refused(
    info: PackageInfo, films: pd.DataFrame, groups: NDArray[np.int64], params: EvaluationParams
) -> Estimate | None:
    """Share of real films that get no answer, for they are taken for something else."""
    if info.max_ood_distance is None:
        return None
    # As the package does it: what is no number is refused.
    unlike = ~(films["distance"].to_numpy(np.float64) <= info.max_ood_distance)
    return wilson_in_groups(unlike, groups, params.confidence)


def _flips(
    package: Package,
    prepared: PreparedFilms,
    films: pd.DataFrame,
    groups: NDArray[np.int64],
    params: EvaluationParams,
) -> list[Flips]:
    """Answers for changed films, of MOST_FILMS test films at most."""
    chosen = np.arange(len(films))
    if len(films) > MOST_FILMS:
        chosen = np.sort(np.random.default_rng(params.seed).choice(len(films), MOST_FILMS, replace=False))
    drawn = films.iloc[chosen]
    labels = drawn["label"].to_numpy(np.int64)
    if labels.min() == labels.max():
        return []

    def blocks() -> Iterator[tuple[NDArray[np.uint8], list[Size]]]:
        sizes = shown_sizes(drawn)
        start = 0
        for squares in prepared.blocks(drawn.index.to_numpy(np.int64)):
            yield squares, sizes[start : start + len(squares)]
            start += len(squares)

    return measure_robustness(
        labels,
        drawn["score"].to_numpy(np.float64),
        changed_scores(blocks(), package.probabilities),
        package.info.threshold,
        group_weights(np.unique(groups[chosen], return_inverse=True)[1], labels, params.resamples, params.seed),
        params.confidence,
    )
