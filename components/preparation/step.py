"""Trusted films → the pixel array, the frozen test set and the folds."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import PreparationParams


class PreparationSummary(Summary):
    """What was split, and how."""

    films: int
    groups: int
    test_films: int
    test_positive: int
    copies: int
    largest_group: int
    patients: str  # of how many films they are known


def prepare(
    source: Annotated[Path, Input("folder of the films in the manifest", "films")],
    trusted: Annotated[Path, Input("trusted films (parquet, from validate)")],
    dataset: Annotated[Path, Output("pixels.npy and films.parquet, with test set and folds")],
    leaks: Annotated[
        Path, Output("pairs.csv: pairs of copies with the evidence; a picture of the least certain", "report")
    ],
    params: PreparationParams,
) -> PreparationSummary:
    """Decode the films once, join copies and patients into groups, and split by group."""
    from components.preparation.run import run_prepare

    return run_prepare(source, trusted, dataset, leaks, params)
