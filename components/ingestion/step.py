"""A folder of films → the manifest: what is there, before anybody judges it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from osteon.contract import Input, Output, Summary
from osteon.params import DataParams

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
    from osteon.films.layouts import read_layout
    from osteon.films.manifest import COLUMNS, typed_frame, write_manifest
    from osteon.films.reading.decoding import over_cores
    from osteon.progress import progress

    rows = read_layout(source, params)

    def look(numbers: "Sequence[int]") -> "list[Facts]":
        return [_look(source / path) for path in rows["path"].iloc[numbers[0] : numbers[-1] + 1]]

    looked = over_cores(look, range(len(rows)), params.cores)
    types = {column: COLUMNS[column] for column in Facts._fields}
    facts = typed_frame(progress(looked, "ingest", total=len(rows)), types)
    for column in ("region", "view"):  # what the set itself tells goes first
        facts[column] = rows[column].fillna(facts[column])
    both = rows["doubt"].str.cat(facts["doubt"], sep="; ")
    facts["doubt"] = both.fillna(rows["doubt"]).fillna(facts["doubt"])
    rows = rows.assign(**{str(column): facts[column] for column in facts})
    write_manifest(rows, manifest)
    return IngestSummary(
        films=len(rows),
        positive=int((rows["label"] == 1).sum()),
        unlabelled=int(rows["label"].isna().sum()),
        unreadable=int(facts["width"].isna().sum()),
    )


class Facts(NamedTuple):
    """What a file says before it is decoded; a tuple, for there is one for each film of the set.

    The fields from region on are those of FilmTags.
    """

    sha256: str | None = None
    md5: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    region: str | None = None
    view: str | None = None
    pixel_spacing: str | None = None
    doubt: str | None = None


def _look(path: Path) -> Facts:
    """Hashes, header and tags of one file; what cannot be read stays null, and validate says why."""
    import hashlib

    from osteon.errors import UnreadableFilmError
    from osteon.films.reading.decoding import read_header
    from osteon.films.reading.dicom_tags import read_tags

    try:
        data = path.read_bytes()
    except OSError:
        return Facts()
    hashes = hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest()
    try:
        header = read_header(data)
    except UnreadableFilmError:
        return Facts(*hashes)
    return Facts(*hashes, header.width, header.height, header.mode, *read_tags(data))
