"""Figures of the type of fracture, for a model that names one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osteon.statistics.auroc import delong
from osteon.statistics.estimate import Estimate, Floats, Labels
from osteon.statistics.proportions import wilson


@dataclass(frozen=True)
class TypeFigures:
    """How well one type is separated from the others, among fractured films whose type is known.

    auroc: films of this type against those of all other types. named: share of its films that are given its name.
    answers: answer → how many of its films got it, in the order of the model's types; a row of the confusion table.
    """

    name: str
    films: int
    auroc: Estimate
    named: Estimate
    answers: dict[str, int]


def measure_types(
    known: Sequence[str | None], scores: Floats, names: Sequence[str], confidence: float
) -> list[TypeFigures]:
    """One-vs-rest AUROC and the row of the confusion table of every type, in the order of `names`.

    Args:
        known: each film's true type; None where it is not known or there is no fracture, and a film of a type that
            the model does not name is left out too.
        scores: films × types, the highest is the answer.
        names: of the types, one a column of scores.
        confidence: of the intervals (DeLong, Wilson).

    """
    place = {name: number for number, name in enumerate(names)}
    truth: Labels = np.array([place.get(name, -1) if name is not None else -1 for name in known], np.int64)
    scores, truth = scores[truth >= 0], truth[truth >= 0]
    answers = scores.argmax(axis=1)
    rows = []
    for number, name in enumerate(names):
        inside = truth == number
        counts = np.bincount(answers[inside], minlength=len(names))
        rows.append(
            TypeFigures(
                name=name,
                films=int(inside.sum()),
                auroc=delong(inside.astype(np.int64), scores[:, number], confidence),
                named=wilson(int(counts[number]), int(inside.sum()), confidence),
                answers={other: int(count) for other, count in zip(names, counts, strict=True)},
            )
        )
    return rows
