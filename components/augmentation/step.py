"""Training films → more training films: varied copies, more of the rarer class, never of a test film."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import AugmentationParams


class AugmentationSummary(Summary):
    """How many copies there are now."""

    films: int
    copies: int
    positive_copies: int


def augment(
    dataset: Annotated[Path, Input("prepared films")],
    augmented: Annotated[Path, Output("copies of development films, and the augmentation limits")],
    sheet: Annotated[Path, Output("contact sheet of films and their copies (PNG)", "report")],
    params: AugmentationParams,
) -> AugmentationSummary:
    """Write varied copies of the development films; each keeps its film's id, group and fold."""
    from components.augmentation.run import run_augment

    return run_augment(dataset, augmented, sheet, params)
