"""Score the test films, measure, and write metrics.json, tables, figures and the page."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pandas as pd

from components.evaluation.certainty import measure_certainty
from components.evaluation.detection import FROC, draw_froc
from components.evaluation.figures import curve_tables, draw_figures, draw_reliability
from components.evaluation.gallery import draw_gallery
from components.evaluation.measurements import Measurements, measure_model
from components.evaluation.metrics_json import metrics_as_json
from components.evaluation.report import Origin, render_report
from components.evaluation.step import METRICS, PREDICTIONS, REPORT, EvaluationSummary
from osteon.errors import OsteonError
from osteon.files import atomic_dir, dvc_hash
from osteon.films.copies.leaks import count_joined
from osteon.films.known_patients import count_patients
from osteon.films.prepared.array import PreparedFilms, open_prepared
from osteon.films.shortcut_audit import ShortcutAudit, read_shortcut_audit
from osteon.models.best_hyperparameters import read_search
from osteon.models.heldout.comparison import read_comparison
from osteon.models.heldout.predictions import read_predictions
from osteon.models.package.package import Package, open_package
from osteon.params import EvaluationParams

log = logging.getLogger(__name__)


def run_evaluate(
    model: Path,
    dataset: Path,
    best: Path,
    folds: Path,
    validation: Path,
    leaks: Path,
    report: Path,
    params: EvaluationParams,
) -> EvaluationSummary:
    """Evaluate the model; arguments as of the step `evaluate`."""
    package, prepared, audit = open_package(model), open_prepared(dataset), read_shortcut_audit(validation)
    comparison = read_comparison(folds)
    films = score_test_films(package, prepared, model, dataset)
    info, out_of_fold = package.info, read_predictions(folds, package.info.model)
    certainty = measure_certainty(out_of_fold, info.calibration, info.points, films, params)
    measured = measure_model(package, model, prepared, films, certainty, params)
    metrics = metrics_as_json(measured, comparison, audit, count_patients(prepared.films), params)
    origin = Origin(
        films=prepared.films,
        audit=audit,
        comparison=comparison,
        search=read_search(best),
        joined=count_joined(leaks),
        hashes={"prepared films": dvc_hash(dataset), "model": dvc_hash(model)},
    )
    with atomic_dir(report) as folder:
        (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        write_tables(folder, measured)
        draw_pictures(folder / "figures", measured)
        (folder / REPORT).write_text(render_report(folder / "figures", metrics, measured, origin), encoding="utf-8")
    _warn(audit, measured)
    return _summary(measured)


def score_test_films(package: Package, prepared: PreparedFilms, model: Path, dataset: Path) -> pd.DataFrame:
    """The rows of the test films, by their index in the prepared films, with what the model says of each.

    uncalibrated, score: probabilities before and after calibration. distance: from the training films; NaN where the
    model has no network. No other film's row is in the table, so that none can be read by mistake.

    Raises:
        OsteonError: where test films and model do not fit.

    """
    info = package.info
    test = np.flatnonzero(prepared.films["test"].to_numpy(bool))
    films = prepared.films.iloc[test]
    if films["label"].nunique() < 2:
        raise OsteonError(f"{dataset}: the {len(films)} test films are not of both classes; prepare with more films")
    if prepared.finding != info.finding:
        raise OsteonError(f"{model} finds '{info.finding}', the films of {dataset} are labelled '{prepared.finding}'")
    if prepared.side != info.image_size:
        raise OsteonError(
            f"{model} takes films of {info.image_size} pixels, {dataset} has {prepared.side}; run train again"
        )
    seen = [package.scores_and_distances(squares) for squares in prepared.blocks(test)]
    scores, distances = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    return films.assign(uncalibrated=scores, score=info.calibration.apply(scores), distance=distances)


def write_tables(folder: Path, measured: Measurements) -> None:
    """The predictions of the test films, and the curves as tables."""
    columns = ["film_id", "sha256", "md5", "group", "region", "view", "label", "score"]
    measured.films[columns].to_csv(folder / PREDICTIONS, index=False, float_format="%.6f", lineterminator="\n")
    (folder / "plots").mkdir()
    for name, table in _curves(measured).items():
        table.to_csv(folder / "plots" / f"{name}.csv", index=False, float_format="%.6f", lineterminator="\n")


def _curves(measured: Measurements) -> dict[str, pd.DataFrame]:
    tables = curve_tables(measured.films, measured.info.threshold, measured.info.finding)
    return tables | ({"froc": measured.detection.curve} if measured.detection else {})


def draw_pictures(folder: Path, measured: Measurements) -> None:
    """All pictures of the report, as PNG, into a new folder."""
    info, certainty = measured.info, measured.certainty
    folder.mkdir()
    draw_figures(folder, measured.films, _curves(measured), info.threshold, info.finding, measured.figures)
    draw_reliability(folder / "reliability.png", certainty.before, certainty.after, info.finding)
    if any(measured.explanations.gallery.values()):
        draw_gallery(folder / "gallery.png", measured.explanations.gallery)
    if measured.detection:
        draw_froc(folder / FROC, measured.detection)


def _warn(audit: ShortcutAudit, measured: Measurements) -> None:
    if audit.warning:
        log.warning("warning: %s", audit.warning)
    if measured.worst:
        log.warning("worse than the rest: %s", measured.worst.line())


def _summary(measured: Measurements) -> EvaluationSummary:
    def number(figure: float | None) -> float:
        return math.nan if figure is None else figure

    def value(name: str) -> float:
        return number(measured.figures[name].value)

    auroc = measured.figures["auroc"]
    return EvaluationSummary(
        films=len(measured.films),
        auroc=value("auroc"),
        auroc_low=number(auroc.low),
        auroc_high=number(auroc.high),
        average_precision=value("average_precision"),
        sensitivity=value("sensitivity"),
        specificity=value("specificity"),
        brier=value("brier"),
    )
