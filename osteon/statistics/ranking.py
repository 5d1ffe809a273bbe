"""Films ranked by falling score, for figures that go through all thresholds under many weightings at once."""

import numpy as np

from osteon.statistics.estimate import Floats


def ratio(above: Floats, below: Floats) -> Floats:
    """Quotients, not a number where nothing is below."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


class WeightedRanking:
    """Films by falling score, for figures that go through all thresholds, many weightings at once."""

    def __init__(self, truth: Floats, scores: Floats) -> None:
        self.rows = np.argsort(-scores, kind="stable")
        self.truth = truth[self.rows]
        sorted_scores = scores[self.rows]
        # A threshold lies after the last film of each score.
        self.ends = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))

    def average_precision(self, weights: Floats) -> Floats:
        """Sum over thresholds of precision × gain in recall, as scikit-learn defines it; no interpolation."""
        w = weights[:, self.rows]
        hits = np.cumsum(w * self.truth, axis=1)[:, self.ends]
        seen = np.cumsum(w, axis=1)[:, self.ends]
        gains = np.diff(hits, axis=1, prepend=0.0)
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        return ratio((precision * gains).sum(axis=1), hits[:, -1])

    def auroc(self, weights: Floats) -> Floats:
        """Area under the ROC curve, ties counting half."""
        w = weights[:, self.rows]
        hits = np.cumsum(w * self.truth, axis=1)[:, self.ends]
        alarms = np.cumsum(w * (1 - self.truth), axis=1)[:, self.ends]
        # A trapezium for each threshold.
        heights = hits - np.diff(hits, axis=1, prepend=0.0) / 2
        area = (np.diff(alarms, axis=1, prepend=0.0) * heights).sum(axis=1)
        return ratio(area, hits[:, -1] * alarms[:, -1])
