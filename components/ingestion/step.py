"""A folder of films → the manifest: what is there, before anybody judges it."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import DataParams


class IngestSummary(Summary):
    """How many films the folder has, and how many files look like films and are not read, or are none."""

    films: int
    positive: int
    unlabelled: int
    unreadable: int
    patients: str  # of how many films they are known
    not_read: int = 0
    skipped: int = 0

    def line(self) -> str:
        """The line of any summary, without the files that are not read or skipped where there are none."""
        return super().line().removesuffix(" · skipped 0").removesuffix(" · not read 0")


def ingest(
    source: Annotated[Path, Input("folder of films, as its authors publish it", "source")],
    manifest: Annotated[Path, Output("one row a film (parquet)")],
    params: DataParams,
) -> IngestSummary:
    """Read a folder by its layout and write the manifest, one row a film."""
    from components.ingestion.run import run_ingest

    return run_ingest(source, manifest, params)
