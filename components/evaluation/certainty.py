"""How far probabilities and answers can be believed: calibration out of fold, operating points on test films."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.params import EvaluationParams
from osteon.statistics.calibration import Calibration, cross_fitted
from osteon.statistics.operating_points import OperatingPoints
from osteon.statistics.point_search import MeasuredPoints, measure_operating_points
from osteon.statistics.reliability import Reliability, reliability


@dataclass(frozen=True)
class Certainty:
    """Calibration and operating points as measured.

    before, after: of out-of-fold scores, 'after' by fits on the other folds. test: of the packaged model's
    probabilities. points: what they keep on the test films.
    """

    before: Reliability
    after: Reliability
    test: Reliability
    points: MeasuredPoints


def measure_certainty(
    out_of_fold: "pd.DataFrame",
    calibration: Calibration,
    points: OperatingPoints,
    test: "pd.DataFrame",
    params: EvaluationParams,
) -> Certainty:
    """Measure calibration and operating points.

    Args:
        out_of_fold: columns group, label, fold, score (before calibration) of the development films.
        calibration: of the package; its method is fitted anew without each fold.
        points: of the package.
        test: columns group, label, score (calibrated) of the test films.
        params: confidence, resamples and seed.

    """
    labels, folds = out_of_fold["label"].to_numpy(np.int64), out_of_fold["fold"].to_numpy(np.int64)
    scores = out_of_fold["score"].to_numpy(np.float64)
    calibrated = cross_fitted(scores, labels, folds, calibration.method)
    groups, test_groups = _numbers(out_of_fold), _numbers(test)
    how = (params.confidence, params.resamples, params.seed)
    test_labels, probabilities = test["label"].to_numpy(np.int64), test["score"].to_numpy(np.float64)
    return Certainty(
        before=reliability(labels, scores, groups, *how),
        after=reliability(labels, calibrated, groups, *how),
        test=reliability(test_labels, probabilities, test_groups, *how),
        points=measure_operating_points(test_labels, probabilities, test_groups, points, *how),
    )


def _numbers(films: "pd.DataFrame") -> NDArray[np.int64]:
    return pd.factorize(films["group"])[0].astype(np.int64)
