"""Figures of subgroups of the films, and which subgroup is shown to be worse than the rest.

A subgroup is compared with all other films in AUROC, which asks how well films are ranked, and in sensitivity, which
asks what is missed at the threshold; films of one group are kept together. Who looks at thirty subgroups finds a bad
one by chance: every interval is widened for the number of looks (Bonferroni), and a subgroup counts as worse only where
the widened interval of its difference lies below 0. Of several such, the one that is worse by the most for certain is
named, the one whose interval ends lowest: the largest difference itself would favour the smallest subgroup.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.evaluation.metrics import confusion
from osteon.statistics.auroc import auroc_in_strata, delong
from osteon.statistics.estimate import UNDEFINED, Estimate, Floats, Labels, difference
from osteon.statistics.proportions import wilson, wilson_in_groups

LEAST = 10  # films of each class that a subgroup and the rest need to be compared; with fewer it is only shown
UNKNOWN = "unknown"
COMPARED = {"auroc": "AUROC", "sensitivity": "sensitivity"}


@dataclass(frozen=True)
class Subgroup:
    """Films whose attribute has one value.

    sensitivity, specificity, auroc: intervals take films as independent. differences: figure → its difference from
    all other films, with the widened interval; empty where one of both sides has too few films.
    """

    attribute: str
    value: str
    films: int
    positive: int
    sensitivity: Estimate
    specificity: Estimate
    auroc: Estimate
    differences: dict[str, Estimate]

    def worse_in(self) -> list[str]:
        """The figures in which it is shown to be worse than the rest, the one that is surely lowest first."""
        highs = {name: difference.high for name, difference in self.differences.items()}
        bounds = {name: high for name, high in highs.items() if high is not None and high < 0}
        return sorted(bounds, key=lambda name: bounds[name])


@dataclass(frozen=True)
class Worst:
    """The subgroup that is named, by which figure, and that figure of all other films."""

    subgroup: Subgroup
    figure: str
    rest: float

    def line(self) -> str:
        """'region elbow: AUROC 0.710, of all other films 0.880 (12 films, 5 positive)'."""
        subgroup = self.subgroup
        value = getattr(subgroup, self.figure).value
        return (
            f"{subgroup.attribute} {subgroup.value}: {COMPARED[self.figure]} {value:.3f}, "
            f"of all other films {self.rest:.3f} ({subgroup.films} films, {subgroup.positive} positive)"
        )


def attributes_of(films: "pd.DataFrame") -> "dict[str, pd.Series[Any]]":
    """What the films are divided by: attribute → a text for each film, 'unknown' where it is null.

    Args:
        films: columns region, view, hardware, shown_width, shown_height and source of the prepared films.

    """
    return {
        "region": films["region"].fillna(UNKNOWN),
        "view": films["view"].fillna(UNKNOWN),
        "hardware": films["hardware"].map({True: "metal", False: "no metal"}).astype("string").fillna(UNKNOWN),
        "film size": _thirds(films["shown_width"].astype("Float64") * films["shown_height"].astype("Float64") / 1e6),
        "source": pd.Series(films["source"], dtype="string").fillna(UNKNOWN),
    }


def _thirds(megapixels: "pd.Series[Any]") -> "pd.Series[Any]":
    """A third of the films each, from small to large; films of one size stay together."""
    values = megapixels.to_numpy(np.float64, na_value=np.nan)
    known = values[~np.isnan(values)]
    names = np.full(len(values), UNKNOWN, object)
    order: list[str] = []
    if len(known):
        place = np.searchsorted(np.unique(np.quantile(known, [1 / 3, 2 / 3], method="inverted_cdf")), values)
        for third in np.unique(place[~np.isnan(values)]):
            inside = (place == third) & ~np.isnan(values)
            low, high = (f"{edge:.3g}" for edge in (values[inside].min(), values[inside].max()))
            name = f"{low if low == high else f'{low} – {high}'} megapixels"
            names[inside] = name
            order.append(name)
    return pd.Series(pd.Categorical(names, list(dict.fromkeys([*order, UNKNOWN]))), index=megapixels.index)


def measure_subgroups(
    attributes: "dict[str, pd.Series[Any]]",
    labels: Labels,
    scores: Floats,
    groups: NDArray[np.int64],
    threshold: float,
    confidence: float,
) -> list[Subgroup]:
    """Every subgroup of every attribute; the largest first, or in their own order where they have one.

    Args:
        attributes: as attributes_of gives them, one text a film.
        labels: 0 or 1.
        scores: probability of 1.
        groups: number of each film's group.
        threshold: a score at or above it is the answer 1.
        confidence: of the intervals; those of differences are wider, for all looks together to have it.

    """
    members = [
        (attribute, value, (column == value).to_numpy(bool))
        for attribute, column in attributes.items()
        for value in _in_order(column)
    ]
    enough = [_enough(labels[inside]) and _enough(labels[~inside]) for _, _, inside in members]
    looks = len(COMPARED) * sum(enough)
    measured = []
    for (attribute, value, inside), compare in zip(members, enough, strict=True):
        tp, fn, tn, fp = confusion(labels[inside], scores[inside], threshold)
        differences = {}
        if compare:
            widened = 1 - (1 - confidence) / looks
            own, rest = (
                _compared(labels[side], scores[side], groups[side], threshold, widened) for side in (inside, ~inside)
            )
            differences = {figure: difference(own[figure], rest[figure]) for figure in COMPARED}
        measured.append(
            Subgroup(
                attribute=attribute,
                value=value,
                films=int(inside.sum()),
                positive=tp + fn,
                sensitivity=wilson(tp, tp + fn, confidence),
                specificity=wilson(tn, tn + fp, confidence),
                auroc=delong(labels[inside], scores[inside], confidence),
                differences=differences,
            )
        )
    return measured


def worst_of(subgroups: list[Subgroup]) -> Worst | None:
    """The subgroup to name, by the rule at the top of this file; None where none is shown to be worse."""
    worse = [(subgroup, figure) for subgroup in subgroups for figure in subgroup.worse_in()]
    if not worse:
        return None
    subgroup, figure = min(worse, key=lambda each: each[0].differences[each[1]].high or 0.0)
    return Worst(subgroup, figure, getattr(subgroup, figure).value - subgroup.differences[figure].value)


def _in_order(column: "pd.Series[Any]") -> list[str]:
    counts = column.value_counts()
    if isinstance(column.dtype, pd.CategoricalDtype):
        return [str(value) for value in column.cat.categories if counts[value]]
    return sorted((str(value) for value in counts.index), key=lambda value: (-int(counts[value]), value))


def _enough(labels: Labels) -> bool:
    return min(int((labels == 1).sum()), int((labels == 0).sum())) >= LEAST


def _compared(
    labels: Labels, scores: Floats, groups: NDArray[np.int64], threshold: float, confidence: float
) -> dict[str, Estimate]:
    numbers = np.unique(groups, return_inverse=True)[1]
    positive = labels == 1
    return {
        "auroc": auroc_in_strata(labels, scores, numbers, np.zeros(len(labels), np.int64), confidence),
        "sensitivity": wilson_in_groups(scores[positive] >= threshold, numbers[positive], confidence)
        if positive.any()
        else UNDEFINED,
    }
