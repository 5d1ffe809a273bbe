"""Trusted films → the pixel array, the frozen test set and the folds."""

from pathlib import Path
from typing import Annotated, NamedTuple

from osteon.contract import Input, Option, Output, Summary
from osteon.errors import OsteonError
from osteon.params import PreparationParams


class PreparationSummary(Summary):
    """What was split, and how.

    known: films whose side is that of an earlier run. neither: films on neither side, which are left out. draw: 1, and
    one more for each redraw. why: of the last redraw.
    """

    films: int
    groups: int
    test_films: int
    test_positive: int
    copies: int
    largest_group: int
    patients: str  # of how many films they are known
    known: int
    neither: int
    draw: int
    why: str = "the first draw"

    def tags(self) -> dict[str, str]:
        """Which draw the test set is of, and why it was drawn."""
        return {"osteon.draw": str(self.draw), "osteon.draw.why": self.why}


class PreparationPaths(NamedTuple):
    """What the step reads and writes."""

    source: Path
    trusted: Path
    dataset: Path
    leaks: Path
    sides: Path


def prepare(
    source: Annotated[Path, Input("folder of the films in the manifest", "films", or_param="data.root")],
    trusted: Annotated[Path, Input("trusted films (parquet, from validate)", default="data/trusted.parquet")],
    dataset: Annotated[Path, Output("pixels.npy and films.parquet, with test set and folds", default="data/prepared")],
    leaks: Annotated[
        Path,
        Output(
            "pairs.csv: pairs of copies with the evidence; a picture of the least certain; neither.csv",
            "report",
            default="reports/leaks",
        ),
    ],
    sides: Annotated[
        Path,
        Output("the table of sides (parquet); read first, and only added to", "report", default="data/sides.parquet"),
    ],
    params: PreparationParams,
    redraw: Annotated[bool, Option("draw test and development films anew; needs --why")] = False,
    why: Annotated[str, Option("the reason of --redraw, kept in the table and with the run")] = "",
) -> PreparationSummary:
    """Decode the films once, join copies and patients into groups, and split by group.

    A film stays on the side, test or development, that it once had: the table of sides says it.
    """
    if redraw != bool(why.strip()):
        raise OsteonError(
            '--redraw needs its reason: --why "…"' if redraw else "--why is the reason of --redraw; give both, or none"
        )
    from components.preparation.run import run_prepare

    return run_prepare(PreparationPaths(source, trusted, dataset, leaks, sides), params, why.strip())
