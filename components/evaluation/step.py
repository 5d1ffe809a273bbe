"""The packaged model on the test films, which nothing before has seen."""

from pathlib import Path
from typing import Annotated

from components.contract import Input, Output, Summary
from components.errors import OsteonError
from components.params import EvaluationParams

METRICS, PREDICTIONS, REPORT = "metrics.json", "predictions.csv", "report.html"


class EvaluationSummary(Summary):
    """How good the model is, in short; the report has the rest."""

    films: int
    auroc: float
    auroc_low: float
    auroc_high: float
    average_precision: float
    sensitivity: float
    specificity: float
    brier: float

    def line(self) -> str:
        """The figures a person asks for first."""
        return (
            f"{self.films} test films · AUROC {self.auroc:.3f} [{self.auroc_low:.3f}, {self.auroc_high:.3f}] · "
            f"sensitivity {self.sensitivity:.3f} · specificity {self.specificity:.3f}"
        )


def evaluate(
    model: Annotated[Path, Input("the packaged model", "model")],
    dataset: Annotated[Path, Input("prepared films")],
    validation: Annotated[Path, Input("validate's report, with its shortcut audit", "report")],
    report: Annotated[Path, Output("metrics.json, figures and report.html", "report")],
    params: EvaluationParams,
) -> EvaluationSummary:
    """Score the test films and report every figure with its interval."""
    import dataclasses
    import json
    import logging
    import math

    import numpy as np
    import pandas as pd

    from components.evaluation.figures import curve_tables, draw_figures
    from components.evaluation.metrics import by_region, confusion, measure
    from components.evaluation.report import render_report
    from components.films.audit import read_audit
    from components.films.prepared import open_prepared
    from components.models.package import open_package
    from components.outputs import whole_folder

    package, prepared, audit = open_package(model), open_prepared(dataset), read_audit(validation)
    info = package.info
    test = np.flatnonzero(prepared.films["test"].to_numpy(bool))
    films = prepared.films.iloc[test].reset_index(drop=True)
    if films["label"].nunique() < 2:
        raise OsteonError(f"{dataset}: the {len(films)} test films are not of both classes; prepare with more films")
    if prepared.finding != info.finding:
        raise OsteonError(f"{model} finds '{info.finding}', the films of {dataset} are labelled '{prepared.finding}'")
    if prepared.side != info.image_size:
        raise OsteonError(
            f"{model} takes films of {info.image_size} pixels, {dataset} has {prepared.side}; run train again"
        )
    films["score"] = np.concatenate([package.probabilities(squares) for squares in prepared.blocks(test)])
    labels, scores = films["label"].to_numpy(np.int64), films["score"].to_numpy(np.float64)
    groups = pd.factorize(films["group"])[0].astype(np.int64)

    figures = measure(labels, scores, groups, info.threshold, params)
    tables = curve_tables(films, info.threshold, info.finding)
    regions = by_region(films, info.threshold, params.confidence)
    tp, fn, tn, fp = confusion(labels, scores, info.threshold)
    metrics = {
        "test": {
            **{name: dataclasses.asdict(estimate) for name, estimate in figures.items()},
            "n": len(films),
            "groups": int(films["group"].nunique()),
            "prevalence": float(labels.mean()),
            "threshold": info.threshold,
            "confidence": params.confidence,
            "confusion": {"tp": tp, "fn": fn, "tn": tn, "fp": fp},
        },
        "regions": {
            str(row["region"]): {
                key: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
                for key, value in row.items()
                if key != "region"
            }
            for row in regions
        },
        # Beside the model's figures, in every place that shows them.
        "shortcuts": {
            "auroc": dataclasses.asdict(audit.auroc),
            "limit": audit.limit,
            "warning": audit.warning,
            "skipped": audit.skipped,
        },
    }
    with whole_folder(report) as folder:
        (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        kept = films[["film_id", "sha256", "md5", "group", "region", "view", "label", "score"]]
        kept.to_csv(folder / PREDICTIONS, index=False, float_format="%.6f", lineterminator="\n")
        (folder / "plots").mkdir()
        for name, table in tables.items():
            table.to_csv(folder / "plots" / f"{name}.csv", index=False, float_format="%.6f", lineterminator="\n")
        (folder / "figures").mkdir()
        draw_figures(folder / "figures", films, tables, info.threshold, info.finding, figures)
        page = render_report(folder / "figures", metrics, figures, regions, info, prepared.films, audit)
        (folder / REPORT).write_text(page, encoding="utf-8")

    if audit.warning:
        logging.getLogger(__name__).warning("warning: %s", audit.warning)

    def number(found: float | None) -> float:
        return math.nan if found is None else found

    def value(name: str) -> float:
        return number(figures[name].value)

    auroc = figures["auroc"]
    return EvaluationSummary(
        films=len(films),
        auroc=value("auroc"),
        auroc_low=number(auroc.low),
        auroc_high=number(auroc.high),
        average_precision=value("average_precision"),
        sensitivity=value("sensitivity"),
        specificity=value("specificity"),
        brier=value("brier"),
    )
