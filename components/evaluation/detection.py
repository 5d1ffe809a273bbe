"""The predicted boxes of the test films against the true ones: FROC and average precision, each with its interval."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from components.evaluation.figures import save_figure
from osteon.films.manifest import text_to_boxes
from osteon.films.prepared.array import PreparedFilms, shown_sizes
from osteon.models.inference.boxes import as_array
from osteon.models.package.package import Package
from osteon.pages.style import BLUE, GREY, ORANGE, STYLE
from osteon.params import EvaluationParams
from osteon.statistics.bootstrap import bootstrap, group_weights
from osteon.statistics.detection import RULES, Marks, mark_films
from osteon.statistics.estimate import Counts, Estimate, Floats

RATES = (0.1, 0.5, 1.0)  # false marks a film
CURVE = np.unique([*np.geomspace(0.02, 2.0, 41).round(4), *RATES])
FROC = "froc.png"


@dataclass(frozen=True)
class FrocPoint:
    """Share of lesions, and of fractured films, that are hit at so many false marks a film; rule: when a box hits."""

    rule: str
    false_marks: float
    by_lesion: Estimate
    by_film: Estimate


@dataclass(frozen=True)
class Shown:
    """What a user sees: the boxes from the threshold on that was chosen out of fold."""

    threshold: float
    false_marks: Estimate
    by_lesion: Estimate
    by_film: Estimate


@dataclass(frozen=True)
class Detection:
    """What is measured of the predicted boxes.

    films: test films that count, fractured: of them those with true boxes; lesions: true boxes. left_out: fractured
    films without a box. most: false marks a film, where all predicted boxes count. curve: FROC by lesion with its
    pointwise band: false_marks, sensitivity, low, high, and sensitivity_centre by the other rule.
    """

    films: int
    fractured: int
    lesions: int
    left_out: int
    most: float
    average_precision: Estimate
    froc: list[FrocPoint]
    shown: Shown
    curve: pd.DataFrame


def measure_detection(
    package: Package, prepared: PreparedFilms, films: pd.DataFrame, params: EvaluationParams
) -> Detection | None:
    """Measure a packaged model's boxes; None where it has none, or no film has a true one.

    A fractured film without a box does not count: where its lesion is, nobody said.

    Args:
        package: the model.
        prepared: all prepared films, whose pixels are read.
        films: rows of the test films, by their index in the prepared films.
        params: confidence, resamples, seed.

    """
    rule = package.info.boxes
    boxed = (films["label"].eq(1) & films["boxes"].ne("[]")).to_numpy(bool)
    counted = films[boxed | films["label"].eq(0).to_numpy(bool)]
    if rule is None or not boxed.any():
        return None
    predicted = _predicted(package, prepared, counted)
    lesions = [
        as_array(text_to_boxes(text) if label else [])
        for text, label in zip(counted["boxes"], counted["label"], strict=True)
    ]
    marks = {name: mark_films(predicted, lesions, name) for name in RULES}
    has_lesion = np.array([len(boxes) > 0 for boxes in lesions])
    groups = pd.factorize(counted["group"])[0].astype(np.int64)
    weights = group_weights(groups, has_lesion.astype(np.int64), params.resamples, params.seed)
    plain = marks["iou"]
    return Detection(
        films=len(counted),
        fractured=int(has_lesion.sum()),
        lesions=len(plain.lesion_film),
        left_out=len(films) - len(counted),
        most=float(plain.false_marks(np.ones((1, len(counted))))[0]),
        average_precision=bootstrap(plain.average_precision, weights, params.confidence),
        froc=[_point(marks[name], name, rate, weights, params.confidence) for name in RULES for rate in RATES],
        shown=_shown(plain, rule.threshold, weights, params.confidence),
        curve=_curve(marks, weights, params.confidence),
    )


def _predicted(package: Package, prepared: PreparedFilms, films: pd.DataFrame) -> list[tuple[Floats, Floats]]:
    sizes = shown_sizes(films)
    predicted: list[tuple[Floats, Floats]] = []
    for squares in prepared.blocks(films.index.to_numpy(np.int64)):
        predicted += package.boxes(squares, sizes[len(predicted) : len(predicted) + len(squares)])
    return predicted


def _point(marks: Marks, rule: str, rate: float, weights: Counts, confidence: float) -> FrocPoint:
    def share(*, by_film: bool) -> Callable[[Floats], Floats]:
        return lambda w: marks.sensitivity(w, [rate], by_film=by_film)[:, 0]

    return FrocPoint(
        rule,
        rate,
        bootstrap(share(by_film=False), weights, confidence),
        bootstrap(share(by_film=True), weights, confidence),
    )


def _shown(marks: Marks, threshold: float, weights: Counts, confidence: float) -> Shown:
    seen = marks.above(threshold)
    return Shown(
        threshold,
        bootstrap(seen.false_marks, weights, confidence),
        bootstrap(lambda w: seen.sensitivity(w, [np.inf])[:, 0], weights, confidence),
        bootstrap(lambda w: seen.sensitivity(w, [np.inf], by_film=True)[:, 0], weights, confidence),
    )


def _curve(marks: dict[str, Marks], weights: Counts, confidence: float) -> pd.DataFrame:
    """The FROC curve by lesion, with the percentile band of the bootstrap at each of its points."""
    rates, every = CURVE.tolist(), np.ones((1, weights.shape[1]))
    sensitivity = marks["iou"].sensitivity(every, rates)[0]
    band = np.quantile(
        marks["iou"].sensitivity(weights.astype(np.float64), rates),
        [(1 - confidence) / 2, (1 + confidence) / 2],
        axis=0,
    )
    return pd.DataFrame(
        {
            "false_marks": CURVE,
            "sensitivity": sensitivity,
            "low": np.minimum(band[0], sensitivity),
            "high": np.maximum(band[1], sensitivity),
            "sensitivity_centre": marks["centre"].sensitivity(every, rates)[0],
        }
    )


def draw_froc(path: Path, detection: Detection) -> None:
    """Write the FROC curve as PNG: false marks a film on a logarithmic axis."""
    curve, points = detection.curve, [point for point in detection.froc if point.rule == "iou"]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.6, 4.4), layout="constrained")
        axes.fill_between(
            curve["false_marks"], curve["low"], curve["high"], color=BLUE, alpha=0.18, linewidth=0, step="post"
        )
        rates, by_centre = curve["false_marks"], curve["sensitivity_centre"]
        axes.step(rates, by_centre, where="post", color=GREY, linewidth=1.2, label="centre in the box")
        axes.step(curve["false_marks"], curve["sensitivity"], where="post", color=BLUE, label="IoU from 0.3 on")
        axes.plot(
            [point.false_marks for point in points],
            [value for point in points if (value := point.by_lesion.value) is not None],
            "o",
            color=ORANGE,
            markersize=5,
        )
        axes.set_xscale("log")
        ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="false marks a film", ylabel="share of lesions that are hit", ylim=(-0.01, 1.01), box_aspect=1)
        axes.set_title(
            f"FROC, {detection.lesions} lesions on {detection.fractured} of {detection.films} films", fontsize=10
        )
        axes.legend(frameon=False, loc="upper left")
        save_figure(figure, path)
