"""How near the test films come to their share, and how many films change side, by the draw alone, without a kept table.

Made-up sets: groups of one to ten films of four regions, three in ten with a finding. Of each set two more are drawn
without a table: with a tenth more groups, and with one group less. The tolerances of the draw are compared with none (a
pure threshold).
"""

from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pandas as pd

from benchmarks.findings import Findings, Goal
from components.preparation import draw
from components.preparation.draw import draw_numbers, draw_test_groups

SHARE = 0.2
GROUPS = (30, 250, 2_500)
SETS, QUICK_SETS = 200, 20
NONE = 1e9  # a tolerance that is never passed
MOST_OFF = {30: 0.05, 250: 0.02, 2_500: 0.01}


def measure(quick: bool) -> Findings:
    """Deviation and moved films for each number of groups, as drawn and by a pure threshold."""
    sets = QUICK_SETS if quick else SETS
    rows, goals = [], []
    for groups in GROUPS:
        for name, region, label in (
            ("as it draws", draw.REGION_TOLERANCE, draw.LABEL_TOLERANCE),
            ("a pure threshold", NONE, NONE),
        ):
            with patch.multiple(draw, REGION_TOLERANCE=region, LABEL_TOLERANCE=label):
                figures = np.array(list(of_sets(groups, sets)))
            off, more, less = figures.T
            worst = float(np.quantile(np.abs(off), 0.95))
            rows.append([f"{groups:,}", name, f"{worst:.3f}", f"{more.mean():.1%}", f"{less.mean():.1%}"])
            if name == "as it draws":
                text = f"{groups:,} groups: 95 of 100 shares within {MOST_OFF[groups]:g}: {worst:.3f}"
                goals.append(Goal(text, worst <= MOST_OFF[groups]))
    return Findings(
        n=f"{sets} made-up sets of each size; test_share {SHARE:g}",
        columns=[
            "groups",
            "draw",
            "95 of 100 shares are within",
            "films moved by 10 % more groups",
            "films moved by one group less",
        ],
        rows=rows,
        goals=goals,
    )


def of_sets(groups: int, sets: int) -> Iterator[tuple[float, float, float]]:
    """Of each set: test films beyond their share, and the share of films that more and fewer groups move."""
    for seed in range(sets):
        larger = made_up(seed, groups + max(1, groups // 10))
        whole = larger.iloc[:groups]
        test = draw_test_groups(whole, SHARE)
        share = whole["films"][test].sum() / whole["films"].sum()
        yield share - SHARE, moved(test, larger), moved(test, whole.iloc[1:])


def moved(test: "pd.Series[bool]", groups: pd.DataFrame) -> float:
    """The share of the films of both sets whose side another set changes."""
    again = draw_test_groups(groups, SHARE)
    both = test.index.intersection(again.index)
    films = groups["films"][both]
    return float(films[test[both] != again[both]].sum() / films.sum())


def made_up(seed: int, groups: int) -> pd.DataFrame:
    """Groups as draw_test_groups takes them, none with a side."""
    rng = np.random.default_rng(seed)
    names = pd.Index([f"{seed}-{number}" for number in range(groups)])
    return pd.DataFrame(
        {
            "films": rng.integers(1, 11, groups),
            "positive": rng.random(groups) < 0.3,
            "region": rng.choice(["hand", "leg", "hip", "shoulder"], groups),
            "test": pd.array([None] * groups, dtype="boolean"),
            "number": draw_numbers(pd.Series(names), seed, 1),
        },
        index=names,
    )
