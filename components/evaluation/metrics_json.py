"""What metrics.json holds: every figure of the evaluation, for programs."""

import dataclasses
from typing import Any

import numpy as np

from components.evaluation.certainty import Certainty
from components.evaluation.detection import Detection
from components.evaluation.explain import Explanations
from components.evaluation.measurements import Measurements
from components.evaluation.metrics import confusion
from components.evaluation.subgroups import Subgroup, Worst
from osteon.films.known_patients import KnownPatients
from osteon.films.shortcut_audit import ShortcutAudit
from osteon.models.heldout.comparison import Comparison
from osteon.params import EvaluationParams
from osteon.statistics.calibration import Calibration
from osteon.statistics.detection import LEAST_IOU
from osteon.statistics.estimate import Estimate


def metrics_as_json(
    measured: Measurements,
    comparison: Comparison | None,
    audit: ShortcutAudit,
    patients: KnownPatients,
    params: EvaluationParams,
) -> dict[str, Any]:
    """The content of metrics.json. comparison: of the models, out of fold; None: they were not compared."""
    return {
        "test": _test(measured, params),
        # Of all prepared films: what is not known of them makes every figure above less sure.
        "patients": {"films": patients.films, "known": patients.known, "line": patients.line, "group": patients.group},
        "operating_points": dataclasses.asdict(measured.certainty.points),
        # Real films that would be taken for something else, and get no answer.
        "refused": dataclasses.asdict(measured.refused) if measured.refused else None,
        "calibration": _calibration(measured.info.calibration, measured.certainty),
        "models": {row.model: dataclasses.asdict(row.auroc) for row in comparison.models} if comparison else {},
        "subgroups": _subgroups(measured.subgroups, measured.worst),
        "studies": {
            **_estimates(measured.study_figures or {}),
            "n": len(measured.studies),
            "positive": int(measured.studies["label"].sum()),
            "of_several_films": int((measured.studies["films"] > 1).sum()),
            "fusion": params.fusion,
        },
        "types": {figures.name: dataclasses.asdict(figures) for figures in measured.types},
        "robustness": {
            flips.change: {key: value for key, value in dataclasses.asdict(flips).items() if key != "change"}
            for flips in measured.flips
        },
        "explanations": _explanations(measured.explanations),
        "detection": _detection(measured.detection) if measured.detection else None,
        # Beside the model's figures, in every place that shows them.
        "shortcuts": {
            "auroc": dataclasses.asdict(audit.auroc),
            "limit": audit.limit,
            "warning": audit.warning,
            "skipped": audit.skipped,
        },
    }


def _estimates(figures: dict[str, Estimate]) -> dict[str, Any]:
    return {name: dataclasses.asdict(estimate) for name, estimate in figures.items()}


def _test(measured: Measurements, params: EvaluationParams) -> dict[str, Any]:
    films, threshold = measured.films, measured.info.threshold
    labels = films["label"].to_numpy(np.int64)
    tp, fn, tn, fp = confusion(labels, films["score"].to_numpy(np.float64), threshold)
    return {
        **_estimates(measured.figures),
        "n": len(films),
        "groups": int(films["group"].nunique()),
        "prevalence": float(labels.mean()),
        "threshold": threshold,
        "confidence": params.confidence,
        "confusion": {"tp": tp, "fn": fn, "tn": tn, "fp": fp},
    }


def _calibration(calibration: Calibration, certainty: Certainty) -> dict[str, Any]:
    parts = {
        "out_of_fold_before": certainty.before,
        "out_of_fold_after": certainty.after,
        "test": certainty.test,
    }
    return {
        "method": calibration.method,
        "log_loss_out_of_fold": calibration.log_loss,
        **{
            name: {"ece": dataclasses.asdict(reliability.ece), "by_chance": reliability.by_chance}
            for name, reliability in parts.items()
        },
    }


def _subgroups(subgroups: list[Subgroup], worst: Worst | None) -> dict[str, Any]:
    by: dict[str, dict[str, Any]] = {}
    for subgroup in subgroups:
        row = dataclasses.asdict(subgroup)
        by.setdefault(row.pop("attribute"), {})[row.pop("value")] = row
    return {
        "looks": sum(len(subgroup.differences) for subgroup in subgroups),
        "worst": worst
        and {
            "attribute": worst.subgroup.attribute,
            "value": worst.subgroup.value,
            "figure": worst.figure,
            "text": worst.line(),
        },
        "by": by,
    }


def _explanations(explanations: Explanations) -> dict[str, Any]:
    pointing = explanations.pointing
    return {
        "method": explanations.method,
        "pointing_game": dataclasses.asdict(pointing) if pointing else None,
        "not_shown": explanations.failed,
    }


def _detection(detection: Detection) -> dict[str, Any]:
    figures = {key: value for key, value in dataclasses.asdict(detection).items() if key not in ("curve", "froc")}
    froc: dict[str, Any] = {}
    for point in detection.froc:
        of_rule = froc.setdefault(point.rule, {})
        of_rule[f"{point.false_marks:g}"] = {
            "by_lesion": dataclasses.asdict(point.by_lesion),
            "by_film": dataclasses.asdict(point.by_film),
        }
    return {**figures, "least_iou": LEAST_IOU, "froc": froc}
