"""Make the embedded data: radiograph-like films with known fractures, the same pixels for one seed anywhere."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Output, Summary
from osteon.params import PhantomParams


class PhantomSummary(Summary):
    """What was made."""

    films: int
    fractured: int
    patients: int


def phantoms(
    films: Annotated[Path, Output("folder for the films (PNG) and their manifest.csv")],
    sheet: Annotated[Path, Output("contact sheet of some films with their fractures boxed (PNG)", "report")],
    params: PhantomParams,
) -> PhantomSummary:
    """Make radiograph-like films with known fractures from a seed."""
    from components.phantoms.run import run_phantoms

    return run_phantoms(films, sheet, params)
