"""What other people's films say that the model's own test does not: figures side by side, and sentences on them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from components.evaluation.measurements import Measurements
from components.evaluation.metrics import measure
from components.promotion.decision import signed
from osteon.params import EvaluationParams
from osteon.records.model_packages import OwnTest
from osteon.statistics.estimate import Estimate, difference, shown
from osteon.statistics.point_search import Kept

# What is set side by side: name → where it is in metrics.json.
COMPARED: dict[str, tuple[str, ...]] = {
    "AUROC": ("test", "auroc"),
    "average precision": ("test", "average_precision"),
    "sensitivity": ("test", "sensitivity"),
    "specificity": ("test", "specificity"),
    "Brier score": ("test", "brier"),
    "calibration error": ("calibration", "test", "ece"),
    "kept at rule out": ("operating_points", "sensitivity", "share"),
    "kept at rule in": ("operating_points", "specificity", "share"),
    "answered uncertain": ("operating_points", "uncertain"),
    "refused": ("refused",),
}


@dataclass(frozen=True)
class SideBySide:
    """One figure here and on the model's own test films; the difference is here less there, of independent films."""

    name: str
    here: Estimate
    own: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Answered:
    """Films of one label, and how many of them get each answer."""

    label: str
    films: int
    cleared: int
    uncertain: int
    alarmed: int
    refused: int


def side_by_side(metrics: dict[str, Any], own: OwnTest | None) -> list[SideBySide]:
    """The figures that both tests have, in the order of COMPARED; none where the own test is not known."""
    rows = []
    for name, keys in COMPARED.items() if own else ():
        here, there = _estimate(metrics, keys), _estimate(own.metrics if own else {}, keys)
        if here and there:
            rows.append(SideBySide(name, here, there, difference(here, there)))
    return rows


def _estimate(metrics: dict[str, Any], keys: tuple[str, ...]) -> Estimate | None:
    value: Any = metrics
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return Estimate(**value) if isinstance(value, dict) else None


def count_answers(measured: Measurements) -> list[Answered]:
    """What the packaged model answers, for films of each label; a refused film gets no other answer."""
    films, info = measured.films, measured.info
    refused = refused_films(films, info.max_ood_distance)
    score, points = films["score"], info.points
    rows = []
    for label, name in ((1, info.finding), (0, f"not {info.finding}")):
        inside = (films["label"] == label) & ~refused
        cleared, alarmed = inside & (score < points.rule_out.threshold), inside & (score >= points.rule_in.threshold)
        rows.append(
            Answered(
                label=name,
                films=int((films["label"] == label).sum()),
                cleared=int(cleared.sum()),
                uncertain=int((inside & ~cleared & ~alarmed).sum()),
                alarmed=int(alarmed.sum()),
                refused=int(((films["label"] == label) & refused).sum()),
            )
        )
    return rows


def refused_films(films: pd.DataFrame, limit: float | None) -> "pd.Series[bool]":
    """Which films the packaged model refuses as unlike its training films."""
    if limit is None:
        return pd.Series(False, films.index)
    return ~(films["distance"] <= limit)


def figures_of_answered(measured: Measurements, params: EvaluationParams) -> dict[str, Estimate] | None:
    """The figures of the films that are not refused; None where none is refused, or both classes are not left."""
    films = measured.films[~refused_films(measured.films, measured.info.max_ood_distance)]
    if len(films) == len(measured.films) or films["label"].nunique() < 2:
        return None
    groups = pd.factorize(films["group"])[0].astype(np.int64)
    labels, scores = films["label"].to_numpy(np.int64), films["score"].to_numpy(np.float64)
    return measure(labels, scores, groups, measured.info.threshold, params)


def say_guarantee(name: str, kept: Kept) -> str:
    """Whether an operating point keeps its target on these films."""
    share = f"{name}: {shown(kept.share)} kept of {kept.target:g} aimed at, {kept.groups:,} groups"
    if kept.refuted:
        return f"{share}: the {'guarantee' if kept.guaranteed else 'target'} does not hold on films like these"
    if kept.share.low is not None and kept.share.low >= kept.target:
        return f"{share}: it holds on films like these"
    so_far = "reached here, but" if kept.met else "missed here, and"
    return f"{share}: {so_far} so few groups prove neither that it holds nor that it does not"


def say_refusals(measured: Measurements, rows: list[SideBySide], expected: float) -> str:
    """Whether the model notices that these films are not its own.

    Args:
        measured: on these films.
        rows: of side_by_side.
        expected: share of films like the training films that it may refuse.

    """
    refused = measured.refused
    if refused is None:
        return "it has no network, so it cannot tell foreign films from its own, and refused none"
    own = next((row.own for row in rows if row.name == "refused"), None)
    usual = f"{shown(own)} on its own test" if own else f"{expected:.1%} expected of films like its own"
    share = f"refused as unlike its training films: {shown(refused)}, {usual}"
    most = own.high if own and own.high is not None else expected
    if refused.low is not None and refused.low > most:
        half = refused.value is not None and refused.value > 0.5
        return f"{share}: it notices that {'most of them' if half else 'some of them'} are foreign"
    worse = next((row for row in rows if row.name == "AUROC" and (row.difference.high or 0) < 0), None)
    if worse:
        return f"{share}: it ranks them worse than its own films, and nothing in its answers says so"
    return f"{share}: to the model these films look like its own"


def say_difference(rows: list[SideBySide]) -> str:
    """How the ranking differs from that of the own test."""
    auroc = next((row for row in rows if row.name == "AUROC"), None)
    if auroc is None:
        return "its own test is not known to this MLflow store, so nothing is compared with it"
    low, high = auroc.difference.low or 0.0, auroc.difference.high or 0.0
    verdict = "worse here" if high < 0 else "better here" if low > 0 else "not shown to differ"
    return f"AUROC {shown(auroc.here)} here, {shown(auroc.own)} on its own test: {signed(auroc.difference)}, {verdict}"
