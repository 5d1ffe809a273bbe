"""Read a folder by its layout, each file's header and tags, and write the manifest."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from components.ingestion.preview import suggestion_for
from components.ingestion.step import IngestSummary
from osteon.errors import UnreadableFilmError
from osteon.files import read_file
from osteon.films.known_patients import count_patients
from osteon.films.layouts import files_left_out, read_layout
from osteon.films.left_out import LeftOut, skipped_line, warning_of
from osteon.films.manifest import COLUMNS, typed_frame, write_manifest
from osteon.films.reading.decoding import read_header, untagged_white
from osteon.films.reading.depth import depth_of_set
from osteon.films.reading.dicom_tags import read_tags
from osteon.params import DataParams
from osteon.progress import progress
from osteon.threads import over_cores

log = logging.getLogger(__name__)


def run_ingest(source: Path, manifest: Path, params: DataParams) -> IngestSummary:
    """Read the folder; arguments as of the step `ingest`."""
    rows = read_layout(source, params)
    left_out = files_left_out(source, rows, params.layout)
    _say(left_out)
    if folders := _linked_folders(source, rows["path"]):
        log.warning(
            "warning: %s: DVC does not see it if a film behind a link changes; then run `dvc repro --force ingest`",
            f"{folders[0]} is a link" if len(folders) == 1 else f"{', '.join(folders[:3])} are links",
        )

    def read_block(numbers: Sequence[int]) -> list[FileFacts]:
        return [_read_facts(source / path) for path in rows["path"].iloc[numbers[0] : numbers[-1] + 1]]

    file_facts = over_cores(read_block, range(len(rows)), params.cores)
    types = {column: COLUMNS.get(column, "Int32") for column in FileFacts._fields}
    facts = typed_frame(progress(file_facts, "ingest", total=len(rows)), types)
    whites = facts.pop("white")
    facts["depth"] = pd.array([depth_of_set(whites.dropna().tolist())] * len(rows), "Int8")
    facts["depth"] = facts["depth"].mask(whites.isna())
    for column in ("region", "view"):  # what the set itself says takes precedence
        facts[column] = rows[column].fillna(facts[column])
    doubts = rows["doubt"].str.cat(facts["doubt"], sep="; ")
    facts["doubt"] = doubts.fillna(rows["doubt"]).fillna(facts["doubt"])
    rows = rows.assign(**{str(column): facts[column] for column in facts})
    write_manifest(rows, manifest, left_out)
    patients = count_patients(rows)
    if patients.warning:
        log.warning("warning: %s", patients.warning)
        if suggestion := suggestion_for(rows, params):
            log.warning("%s", suggestion)
    return IngestSummary(
        films=len(rows),
        positive=int((rows["label"] == 1).sum()),
        unlabelled=int(rows["label"].isna().sum()),
        unreadable=int(facts["width"].isna().sum()),
        patients=patients.line,
        not_read=sum(bool(file.advice) for file in left_out),
        skipped=sum(not file.advice for file in left_out),
    )


def _linked_folders(source: Path, paths: "pd.Series[str]") -> list[str]:
    """The folders above the films that are links, below the source."""
    nearest = {PurePosixPath(path).parent for path in paths}
    folders = nearest.union(*(folder.parents for folder in nearest))
    return sorted(str(folder) for folder in folders if folder.parts and (source / folder).is_symlink())


def _say(left_out: list[LeftOut]) -> None:
    """Tell a person which kinds of files are not among the films."""
    if warning := warning_of(left_out):
        log.warning("warning: %s", warning)
    if line := skipped_line(left_out):
        log.info(line)


class FileFacts(NamedTuple):
    """What a file says before it is decoded; a tuple, for there is one for each film of the set.

    white: largest value of a picture of 16 bits that does not say its depth. The fields from region on are those of
    FilmTags.
    """

    sha256: str | None = None
    md5: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    white: int | None = None
    region: str | None = None
    view: str | None = None
    pixel_spacing: str | None = None
    doubt: str | None = None


def _read_facts(path: Path) -> FileFacts:
    """Hashes, header and tags of one file; what cannot be read stays null, and validate says why."""
    try:
        data = read_file(path)
    except OSError:
        return FileFacts()
    hashes = hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest()
    try:
        header = read_header(data)
    except UnreadableFilmError:
        return FileFacts(*hashes)
    return FileFacts(*hashes, header.width, header.height, header.mode, untagged_white(data), *read_tags(data))
