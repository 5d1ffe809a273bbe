"""Films → the features of the classical models, computed once a film and read by all steps that fit one."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import FeatureParams


class FeaturesSummary(Summary):
    """How many films have features now."""

    films: int
    copies: int
    features: int


def features(
    dataset: Annotated[Path, Input("prepared films")],
    augmented: Annotated[Path, Input("augmented copies")],
    features: Annotated[Path, Output("films.npy and copies.npy, a row a film, and their description")],
    params: FeatureParams,
) -> FeaturesSummary:
    """Compute edges, texture and grey levels of every film and copy, for the classical models."""
    from components.features.run import run_features

    return run_features(dataset, augmented, features, params)
