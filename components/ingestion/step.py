"""A folder of films → the manifest: what is there, before anybody judges it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from components.contract import Input, Output, Summary
from components.params import DataParams

if TYPE_CHECKING:
    from collections.abc import Sequence


class IngestSummary(Summary):
    """What was found."""

    films: int
    positive: int
    unlabelled: int
    unreadable: int


def ingest(
    source: Annotated[Path, Input("folder of films, as its authors publish it", "source")],
    manifest: Annotated[Path, Output("one row a film (parquet)")],
    params: DataParams,
) -> IngestSummary:
    """Read a folder by its layout and write the manifest, one row a film."""
    import pandas as pd

    from components.films.decoding import over_cores
    from components.films.layouts import read_layout
    from components.films.manifest import write_manifest
    from components.progress import progress

    rows = read_layout(source, params)

    def look(paths: "Sequence[str]") -> "list[dict[str, object]]":
        return [_look(source / path) for path in paths]

    looked = over_cores(look, rows["path"].tolist(), params.cores)
    facts = pd.DataFrame(list(progress(looked, "ingest", total=len(rows))), index=rows.index)
    rows = rows.assign(**{str(column): facts[column] for column in facts})
    write_manifest(rows, manifest)
    return IngestSummary(
        films=len(rows),
        positive=int((rows["label"] == 1).sum()),
        unlabelled=int(rows["label"].isna().sum()),
        unreadable=int(facts["width"].isna().sum()),
    )


def _look(path: Path) -> dict[str, object]:
    """Hash and header of one file; what cannot be read stays null, and validate says why."""
    import hashlib

    from components.errors import UnreadableFilmError
    from components.films.decoding import read_header

    nothing: dict[str, object] = {"sha256": None, "width": None, "height": None, "mode": None}
    try:
        data = path.read_bytes()
    except OSError:
        return nothing
    found = nothing | {"sha256": hashlib.sha256(data).hexdigest()}
    try:
        header = read_header(data)
    except UnreadableFilmError:
        return found
    return found | {"width": header.width, "height": header.height, "mode": header.mode}
