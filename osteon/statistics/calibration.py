"""From scores to probabilities that mean what they say: temperature or isotonic regression, kept as a few numbers."""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Ints = NDArray[np.int64]
Method = Literal["temperature", "isotonic", "none"]

METHODS: tuple[Method, ...] = ("temperature", "isotonic", "none")
LEAST = 1e-6  # probabilities nearer to 0 or 1 than this are taken for this: logits and losses stay finite
COLDEST, HOTTEST = 1 / 20, 20.0


class Calibration(BaseModel):
    """A map from scores to probabilities that never turns the order of two films; as JSON it is part of a package.

    method: temperature divides the logit by `temperature`; isotonic goes in straight lines through the points
    (scores, probabilities), flat before the first and after the last; none changes nothing. films: how many it was
    fitted on. log_loss: method → mean of −ln(probability given to the truth), each film's probability from a fit
    on the other folds; why this method was taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Method = "none"
    temperature: float = Field(default=1.0, gt=0)
    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()
    films: int = 0
    log_loss: dict[Method, float] = {}

    @model_validator(mode="after")
    def _is_a_rising_map(self) -> Self:
        if len(self.scores) != len(self.probabilities) or (self.method == "isotonic") != bool(self.scores):
            raise ValueError("scores and probabilities must be equally many, and there for isotonic only")
        if (np.diff(self.scores) <= 0).any() or (np.diff(self.probabilities) < 0).any():
            raise ValueError("scores must rise, and probabilities must not fall")
        if self.scores and not 0 < self.probabilities[0] <= self.probabilities[-1] < 1:
            raise ValueError("probabilities must lie between 0 and 1")
        return self

    def apply(self, scores: Floats) -> Floats:
        """Probabilities for scores in [0, 1], as many as there are; inside (0, 1), but for `none`."""
        if self.method == "isotonic":
            return np.interp(scores, self.scores, self.probabilities)
        if self.method == "temperature":
            return np.clip(_sigmoid(_logits(scores) / self.temperature), LEAST, 1 - LEAST)
        return np.asarray(scores, np.float64)


def probabilities_of(logits: NDArray[np.float64], prevalence: float) -> NDArray[np.float64]:
    """Probabilities for films of which a share of `prevalence` is positive.

    The network was trained on batches half of which are positive; by Bayes' rule the log odds of the prevalence
    are added to its logits (Saerens et al. 2002, Neural Computation 14).
    """
    shifted = logits + np.log(prevalence / (1 - prevalence))
    # 1/(1 + e^−x) without overflow.
    return np.asarray(np.exp(-np.logaddexp(0.0, -shifted)), dtype=np.float64)


def fit_calibration(scores: Floats, labels: Labels, folds: Ints, method: Method | Literal["auto"]) -> Calibration:
    """Fit a calibration on out-of-fold scores.

    `auto` takes temperature or isotonic, whichever has the smaller cross-fitted log loss; temperature where they are
    equal, for it has one number only. Isotonic can mend any rising miscalibration, but needs some hundred films
    to do better (Niculescu-Mizil & Caruana 2005, ICML).

    Args:
        scores: probabilities of 1 in [0, 1], out of fold.
        labels: 0 or 1.
        folds: number of each film's fold; a group lies in one fold, so no film is judged by a fit on its own group.
        method: auto, or the one to take.

    Raises:
        ValueError: fewer than two folds, or the films outside some fold are of one class.

    """
    losses = {name: log_loss(labels, cross_fitted(scores, labels, folds, name)) for name in METHODS}
    if method == "auto":
        method = "isotonic" if losses["isotonic"] < losses["temperature"] else "temperature"
    return _fit(scores, labels, method).model_copy(update={"log_loss": losses})


def cross_fitted(scores: Floats, labels: Labels, folds: Ints, method: Method) -> Floats:
    """Each film's probability from a calibration that was fitted on the other folds: what to show as 'after'.

    The folds' maps differ a little, so two films of different folds can change their order.

    Args:
        scores: probabilities of 1 in [0, 1], out of fold.
        labels: 0 or 1.
        folds: number of each film's fold.
        method: of Calibration.method.

    Raises:
        ValueError: fewer than two folds, or the films outside some fold are of one class.

    """
    numbers = np.unique(folds)
    if len(numbers) < 2:
        raise ValueError("cross-fitting needs two folds or more")
    probabilities = np.empty(len(scores))
    for fold in numbers:
        inside = folds == fold
        probabilities[inside] = _fit(scores[~inside], labels[~inside], method).apply(scores[inside])
    return probabilities


def log_loss(labels: Labels, probabilities: Floats) -> float:
    """Mean of −ln(probability given to the truth), probabilities kept 1e-6 from 0 and 1."""
    clipped = np.clip(probabilities, LEAST, 1 - LEAST)
    return float(-np.log(np.where(labels == 1, clipped, 1 - clipped)).mean())


def _fit(scores: Floats, labels: Labels, method: Method) -> Calibration:
    if labels.min() == labels.max():
        raise ValueError("both classes are needed")
    if method == "temperature":
        return Calibration(method=method, temperature=_temperature(_logits(scores), labels), films=len(scores))
    if method == "isotonic":
        return _isotonic(scores, labels)
    return Calibration(films=len(scores))


def _temperature(logits: Floats, labels: Labels) -> float:
    """The temperature of the smallest log loss (Guo et al. 2017, ICML), between 1/20 and 20.

    Scores that part the classes would ask for 0, scores that rank the wrong way for infinity: hence bounds.
    """
    from scipy.optimize import minimize_scalar

    turned = np.where(labels == 1, -logits, logits)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, turned * np.exp(-log_temperature)).mean())

    # The loss is convex in 1/T, so it has one valley in ln T as well.
    bounds = (np.log(COLDEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8}).x))


def _isotonic(scores: Floats, labels: Labels) -> Calibration:
    """Rising steps of the smallest squared error (Zadrozny & Elkan 2002, KDD), films of one score taken together.

    The outermost steps often have films of one class only, which would say 0 or 1. They say at most what Laplace's
    rule of succession says after all n films were of one class: 1 / (n + 2) and (n + 1) / (n + 2).
    """
    from sklearn.isotonic import IsotonicRegression

    count = len(scores)
    fitted = IsotonicRegression(y_min=1 / (count + 2), y_max=(count + 1) / (count + 2)).fit(scores, labels)
    return Calibration(
        method="isotonic",
        scores=tuple(fitted.X_thresholds_.tolist()),
        probabilities=tuple(fitted.y_thresholds_.tolist()),
        films=count,
    )


def _logits(scores: Floats) -> Floats:
    clipped = np.clip(scores, LEAST, 1 - LEAST)
    return np.log(clipped / (1 - clipped))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))
