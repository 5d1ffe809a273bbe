"""The packaged model on the test films, which nothing before has seen."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from osteon.contract import Input, Output, Summary
from osteon.errors import OsteonError
from osteon.params import EvaluationParams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from components.evaluation.explanations import Pointing
    from components.evaluation.gallery import Picture
    from components.evaluation.robustness import Flips, Size
    from components.evaluation.subgroups import Subgroup, Worst
    from osteon.films.prepared.array import PreparedFilms
    from osteon.models.package.package import Package

    Maps = Callable[[NDArray[np.uint8]], NDArray[np.float64]]

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
    best: Annotated[Path, Input("what the search found", "report")],
    folds: Annotated[Path, Input("out-of-fold scores and the comparison of models")],
    validation: Annotated[Path, Input("validate's report, with its shortcut audit", "report")],
    leaks: Annotated[Path, Input("prepare's pairs of films that are one", "report")],
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

    from components.evaluation.certainty import measure_certainty
    from components.evaluation.figures import curve_tables, draw_figures, draw_reliability
    from components.evaluation.fracture_types import measure_types
    from components.evaluation.gallery import draw_gallery
    from components.evaluation.metrics import confusion, measure
    from components.evaluation.report import render_report
    from components.evaluation.studies import fuse_studies
    from components.evaluation.subgroups import attributes_of, measure_subgroups, worst_of
    from osteon.files import atomic_dir, dvc_hash
    from osteon.films.copies.leaks import count_joined
    from osteon.films.prepared.array import open_prepared
    from osteon.films.shortcut_audit import read_shortcut_audit
    from osteon.models.best_hyperparameters import read_search
    from osteon.models.heldout.comparison import read_comparison
    from osteon.models.heldout.predictions import read_predictions
    from osteon.models.package.package import open_package
    from osteon.statistics.proportions import wilson_in_groups

    package, prepared, audit = open_package(model), open_prepared(dataset), read_shortcut_audit(validation)
    info, comparison = package.info, read_comparison(folds)
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
    # The test films alone from here on: no row of any other film can be read by mistake.
    films = films.assign(score=np.concatenate([package.probabilities(squares) for squares in prepared.blocks(test)]))
    labels, scores = films["label"].to_numpy(np.int64), films["score"].to_numpy(np.float64)
    groups = pd.factorize(films["group"])[0].astype(np.int64)

    figures = measure(labels, scores, groups, info.threshold, params)
    tables = curve_tables(films, info.threshold, info.finding)
    subgroups = measure_subgroups(attributes_of(films), labels, scores, groups, info.threshold, params.confidence)
    worst = worst_of(subgroups)
    studies = fuse_studies(films, params.fusion)
    of_studies = None  # where every study has a fracture, say
    if studies["label"].nunique() == 2:
        of_studies = measure(
            studies["label"].to_numpy(np.int64),
            studies["score"].to_numpy(np.float64),
            pd.factorize(studies["group"])[0].astype(np.int64),
            info.threshold,
            params,
        )
    certainty = measure_certainty(read_predictions(folds, info.model), info.calibration, info.points, films, params)
    types = []
    if info.types:
        type_scores = np.concatenate([package.type_probabilities(squares) for squares in prepared.blocks(test)])
        known = films["fracture_type"].where(films["label"] == 1)
        types = measure_types(
            [None if pd.isna(one) else str(one) for one in known], type_scores, info.types, params.confidence
        )
    refused = None
    if info.max_ood_distance is not None:
        distances = np.concatenate([package.distances(squares) for squares in prepared.blocks(test)])
        refused = wilson_in_groups(distances > info.max_ood_distance, groups, params.confidence)
    flips = _robustness(package, prepared, films, groups, params)
    method, maps = explanation_of(package, model)
    pointing, gallery, failed = _explanations(maps, prepared, films, groups, info.threshold, params.confidence)

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
        "operating_points": dataclasses.asdict(certainty.points),
        # Real films that would be taken for something else, and get no answer.
        "refused": dataclasses.asdict(refused) if refused else None,
        "calibration": {
            "method": info.calibration.method,
            "log_loss_out_of_fold": info.calibration.log_loss,
            **{
                name: {"ece": dataclasses.asdict(one.ece), "by_chance": one.by_chance}
                for name, one in (
                    ("out_of_fold_before", certainty.before),
                    ("out_of_fold_after", certainty.after),
                    ("test", certainty.test),
                )
            },
        },
        "models": {row.model: dataclasses.asdict(row.auroc) for row in comparison.models},
        "subgroups": _subgroups_as_json(subgroups, worst),
        "studies": {
            **{name: dataclasses.asdict(estimate) for name, estimate in (of_studies or {}).items()},
            "n": len(studies),
            "positive": int(studies["label"].sum()),
            "of_several_films": int((studies["films"] > 1).sum()),
            "fusion": params.fusion,
        },
        "types": {one.name: dataclasses.asdict(one) for one in types},
        "robustness": {
            flip.change: {key: value for key, value in dataclasses.asdict(flip).items() if key != "change"}
            for flip in flips
        },
        "explanations": {
            "method": method,
            "pointing_game": dataclasses.asdict(pointing) if pointing else None,
            "not_shown": failed,
        },
        # Beside the model's figures, in every place that shows them.
        "shortcuts": {
            "auroc": dataclasses.asdict(audit.auroc),
            "limit": audit.limit,
            "warning": audit.warning,
            "skipped": audit.skipped,
        },
    }
    with atomic_dir(report) as folder:
        (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        kept = films[["film_id", "sha256", "md5", "group", "region", "view", "label", "score"]]
        kept.to_csv(folder / PREDICTIONS, index=False, float_format="%.6f", lineterminator="\n")
        (folder / "plots").mkdir()
        for name, table in tables.items():
            table.to_csv(folder / "plots" / f"{name}.csv", index=False, float_format="%.6f", lineterminator="\n")
        (folder / "figures").mkdir()
        draw_figures(folder / "figures", films, tables, info.threshold, info.finding, figures)
        draw_reliability(folder / "figures" / "reliability.png", certainty.before, certainty.after, info.finding)
        if any(gallery.values()):
            draw_gallery(folder / "figures" / "gallery.png", gallery)
        page = render_report(
            folder / "figures",
            metrics,
            figures,
            of_studies,
            subgroups,
            worst,
            flips,
            pointing,
            info,
            prepared.films,
            audit,
            certainty,
            refused,
            comparison,
            types,
            read_search(best),
            count_joined(leaks),
            {"prepared films": dvc_hash(dataset), "model": dvc_hash(model)},
        )
        (folder / REPORT).write_text(page, encoding="utf-8")

    log = logging.getLogger(__name__)
    if audit.warning:
        log.warning("warning: %s", audit.warning)
    if worst:
        log.warning("worse than the rest: %s", worst.line())

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


def explanation_of(package: "Package", folder: Path) -> "tuple[str | None, Maps | None]":
    """How the answers of a folder's model are explained, and the function from squares to maps (None: not at all)."""
    import numpy as np

    from osteon.models.inference.grad_cam import grad_cam
    from osteon.models.package.package import load_networks

    if package.info.map_learnt:
        return "map", package.maps
    if package.networks:
        networks = load_networks(folder)
        return "Grad-CAM", lambda squares: np.mean([grad_cam(one, squares) for one in networks], axis=0)
    return None, None


def _subgroups_as_json(subgroups: "list[Subgroup]", worst: "Worst | None") -> dict[str, Any]:
    import dataclasses

    by: dict[str, dict[str, Any]] = {}
    for one in subgroups:
        row = dataclasses.asdict(one)
        by.setdefault(row.pop("attribute"), {})[row.pop("value")] = row
    return {
        "looks": sum(len(one.differences) for one in subgroups),
        "worst": worst
        and {
            "attribute": worst.subgroup.attribute,
            "value": worst.subgroup.value,
            "figure": worst.figure,
            "text": worst.line(),
        },
        "by": by,
    }


def _robustness(
    package: "Package",
    prepared: "PreparedFilms",
    films: "pd.DataFrame",
    groups: "NDArray[np.int64]",
    params: EvaluationParams,
) -> "list[Flips]":
    """Answers for changed films; `films` are rows of the prepared ones, by their index."""
    import numpy as np

    from components.evaluation.robustness import MOST_FILMS, changed_scores, measure_robustness
    from osteon.statistics.bootstrap import group_weights

    chosen = np.arange(len(films))
    if len(films) > MOST_FILMS:
        chosen = np.sort(np.random.default_rng(params.seed).choice(len(films), MOST_FILMS, replace=False))
    drawn = films.iloc[chosen]
    labels = drawn["label"].to_numpy(np.int64)
    if labels.min() == labels.max():
        return []

    def blocks() -> "Iterator[tuple[NDArray[np.uint8], list[Size]]]":
        sizes = sizes_of(drawn)
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


def sizes_of(films: "pd.DataFrame") -> "list[Size]":
    """Width and height of each film before it was fitted into the square."""
    return [
        (int(width), int(height)) for width, height in zip(films["shown_width"], films["shown_height"], strict=True)
    ]


def _explanations(
    maps: "Maps | None",
    prepared: "PreparedFilms",
    films: "pd.DataFrame",
    groups: "NDArray[np.int64]",
    threshold: float,
    confidence: float,
) -> "tuple[Pointing | None, dict[str, list[Picture]], dict[str, str]]":
    """The pointing game, the films to show, and film_id → reason of those whose explanation failed.

    The game is None where no fractured test film has a box, or the model has no maps; without maps the films are shown
    all the same.
    """
    import numpy as np

    from components.evaluation.explanations import failure_of, most_certain, pointing_game
    from components.evaluation.gallery import Picture
    from osteon.films.manifest import text_to_boxes

    labels, scores = films["label"].to_numpy(np.int64), films["score"].to_numpy(np.float64)
    boxes = [text_to_boxes(text) for text in films["boxes"]]
    boxed = [number for number, marks in enumerate(boxes) if marks and labels[number]]
    chosen = most_certain(labels, scores, threshold)
    rows = films.index.to_numpy(np.int64)
    heat_of: dict[int, NDArray[np.float64]] = {}
    if maps:
        needed = sorted({*boxed, *(number for numbers in chosen.values() for number in numbers)})
        heats = np.concatenate([maps(squares) for squares in prepared.blocks(rows[needed])])
        heat_of = dict(zip(needed, heats, strict=True))

    pointing = None
    if boxed and heat_of:
        pointing = pointing_game(
            np.stack([heat_of[number] for number in boxed]),
            [boxes[number] for number in boxed],
            sizes_of(films.iloc[boxed]),
            np.unique(groups[boxed], return_inverse=True)[1],
            prepared.side,
            confidence,
        )
    gallery: dict[str, list[Picture]] = {kind: [] for kind in chosen}
    failed: dict[str, str] = {}
    for kind, numbers in chosen.items():
        for number in numbers:
            film_id, heat = str(films["film_id"].iloc[number]), heat_of.get(number)
            reason = None if heat is None else failure_of(heat)
            if reason:
                failed[film_id] = reason
            else:
                square = prepared.pixels[int(rows[number])]
                gallery[kind].append(Picture(film_id, float(scores[number]), square, heat, boxes[number]))
    return pointing, gallery, failed
