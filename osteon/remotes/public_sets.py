"""Public sets of films: the table of them, data/sources.yaml, and fetching one whole or not at all."""

import difflib
import re
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated
from zipfile import BadZipFile, ZipFile, ZipInfo

import pooch
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from osteon.errors import OsteonError
from osteon.files import atomic_dir, atomic_file, partial_path, remove
from osteon.params import layout_names
from osteon.progress import byte_bar, progress

SOURCES = Path("data") / "sources.yaml"
BLOCK = 1 << 20


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Archive(_Entry):
    """A zip file of a set. checksum is what its publisher gives for it, or null where there is none."""

    url: HttpUrl
    bytes: Annotated[int, Field(gt=0)]
    checksum: Annotated[str, Field(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")] | None


class Source(_Entry):
    """A public set: where it is, who may use it how, and how Osteon reads it.

    licence: an SPDX identifier, or LicenseRef-… for terms of its own. inside: the folder in the archives that
    becomes the set's. by_hand: how to get the set where nobody may fetch it for you (LicenseRef-…), or where its files
    are no zip archives of known size.
    """

    title: str
    page: HttpUrl
    licence: Annotated[str, Field(pattern=r"^[A-Za-z0-9.+-]+$")]
    citation: str
    films: Annotated[int, Field(gt=0)]
    layout: str
    archives: tuple[Archive, ...] = ()
    inside: str = ""
    by_hand: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Source":
        if self.layout not in layout_names():
            raise ValueError(f"there is no layout {self.layout}; there are {', '.join(layout_names())}")
        if bool(self.archives) == bool(self.by_hand):
            raise ValueError("give archives, or by_hand where nobody may fetch them")
        return self


_TABLE: TypeAdapter[dict[str, Source]] = TypeAdapter(
    dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")], Source]
)


class _Fetched(_Entry):
    """What is remembered beside a set of one of its archives: what was requested, and what came."""

    url: HttpUrl
    checksum: str | None
    sha256: str


class _Record(_Entry):
    title: str
    licence: str
    citation: str
    fetched: datetime
    archives: tuple[_Fetched, ...]


def read_sources(table: Path = SOURCES) -> dict[str, Source]:
    """The table of public sets.

    Raises:
        OsteonError: missing, or something in it is wrong.

    """
    try:
        return _TABLE.validate_python(YAML(typ="safe", pure=True).load(table.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise OsteonError(f"{table}: no such file; run this in the project's folder") from None
    except YAMLError as error:
        raise OsteonError(f"{table}: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise OsteonError(f"{table}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def list_sources(table: Path = SOURCES) -> Iterator[str]:
    """The sets there are, for a person."""
    for name, source in read_sources(table).items():
        size = sum(archive.bytes for archive in source.archives)
        how = f"{size / 1e6:,.0f} MB" if size else "by hand"
        yield f"{name:<14} {source.films:>7,} films  {how:>9}  {source.licence}"
        yield f"{'':<14} {source.title}. {source.citation}"


def fetch(name: str, table: Path = SOURCES) -> Iterator[str]:
    """Fetch a public set into the folder of its name beside the table, and say what was done.

    Raises:
        OsteonError: no such set, its licence or the network says no, something else came than was published, or
            the folder is there and is not that set. Nothing is left behind then.

    """
    source = _source(name, table)
    folder, record_file = table.parent / name, table.parent / f"{name}.source.json"
    if source.by_hand:
        own_terms = source.licence.startswith("LicenseRef-")
        why = f"its licence ({source.licence}) forbids Osteon to fetch it" if own_terms else "fetch it by hand"
        raise OsteonError(
            f"{name}: {why}. {source.by_hand} Unpack it into {folder}, then set data.root: {folder} "
            f"and data.layout: {source.layout}"
        )
    record = _read_record(record_file)
    if folder.exists():
        if record is None or not _is_that(record, source):
            raise OsteonError(f"{folder} is there, and is not what {table} names; move it away first")
        yield f"{folder}: already there, fetched {record.fetched:%Y-%m-%d}"
    else:
        size = sum(archive.bytes for archive in source.archives)
        yield f"{source.title}: {source.films:,} films, {size / 1e6:,.0f} MB"
        fetched = _fetch(name, source, folder, record)
        record = _Record(
            title=source.title,
            licence=source.licence,
            citation=source.citation,
            fetched=datetime.now(UTC).replace(microsecond=0),
            archives=tuple(fetched),
        )
        with atomic_file(record_file) as partial:
            partial.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for archive in fetched:
            verdict = (
                f"{archive.checksum}, as published" if archive.checksum else "nobody published a checksum: NOT verified"
            )
            yield f"{archive.url}: {verdict}; sha256 {archive.sha256}"
    yield f"licence {source.licence}; cite {source.citation}"
    yield f"use it     in params.yaml, section data: root: {folder}, layout: {source.layout}"
    yield f"or once    dvc exp run -S data.root={folder} -S data.layout={source.layout} evaluate"
    yield f"keep it    dvc add {folder} && git add {folder}.dvc {record_file} && dvc push"


def _source(name: str, table: Path) -> Source:
    sources = read_sources(table)
    if name not in sources:
        near = difflib.get_close_matches(name.lower(), sources, n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(sources)}"
        raise OsteonError(f"{table} has no set {name}; {advice}")
    return sources[name]


def _read_record(path: Path) -> _Record | None:
    try:
        return _Record.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError:
        raise OsteonError(f"{path}: damaged; delete it, and the folder beside it, and fetch again") from None


def _is_that(record: _Record, source: Source) -> bool:
    wanted = [(archive.url, archive.checksum) for archive in source.archives]
    return [(archive.url, archive.checksum) for archive in record.archives] == wanted


def _fetch(name: str, source: Source, folder: Path, record: _Record | None) -> list[_Fetched]:
    # What came last time is what must come again, where the publisher gives no checksum.
    known = {archive.url: f"sha256:{archive.sha256}" for archive in record.archives} if record else {}
    fetched = []
    try:
        with atomic_dir(folder) as partial:
            for archive in source.archives:
                packed = partial / ".archive" / f"{name}.zip"
                sha256 = _download(archive, packed, archive.checksum or known.get(archive.url), source.page)
                _unpack(packed, partial, source.inside, str(archive.url))
                remove(packed.parent)
                fetched.append(_Fetched(url=archive.url, checksum=archive.checksum, sha256=sha256))
    except BaseException:
        remove(partial_path(folder))
        raise
    return fetched


def _download(archive: Archive, path: Path, checksum: str | None, page: HttpUrl) -> str:
    """Fetch one archive; its sha256."""
    url = str(archive.url)
    pooch.get_logger().setLevel("WARNING")
    try:
        with byte_bar(path.name) as bar:
            downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=BLOCK)
            pooch.retrieve(url, checksum, fname=path.name, path=path.parent, downloader=downloader)
    except ValueError:
        raise OsteonError(
            f"{url}: the download differs from the published file ({checksum}): damaged on the way, "
            "changed, or a page that "
            f"asks for something. Nothing was kept; try again, or look at {page}"
        ) from None
    except OSError as error:  # what requests raises are OSErrors too
        answer = getattr(error, "response", None)
        if answer is not None:
            raise OsteonError(f"{url} answered {answer.status_code} {answer.reason}; look at {page}") from None
        if type(error).__name__ == "SSLError":
            why = "its certificate is not trusted; REQUESTS_CA_BUNDLE names the file of your own CA"
        elif error.filename:
            why = str(error)
        else:
            why = f"the network says no ({type(error).__name__}); behind a proxy set HTTPS_PROXY"
        raise OsteonError(f"{url}: {why}. Nothing was kept") from None
    return str(pooch.file_hash(str(path), alg="sha256"))


def _unpack(packed: Path, folder: Path, inside: str, url: str) -> None:
    """Unpack what lies under `inside` into a folder, and nothing anywhere else.

    pooch.Unzip was looked at: it keeps the folder `inside` around the films, takes FracAtlas2/ for FracAtlas/, goes
    through all names once for each member, lets the second of two files with one name take the first one's place, and
    shows no progress.
    """
    try:
        with ZipFile(packed) as file:
            members = _members(file, inside, url)
            needed, free = sum(member.file_size for member, _ in members), shutil.disk_usage(folder).free
            if needed > free:
                raise OsteonError(f"{folder.parent}: {needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free")
            for member, path in progress(members, "unpack", total=len(members)):
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with file.open(member) as packed_film, target.open("xb") as film:
                    shutil.copyfileobj(packed_film, film, BLOCK)
    except FileExistsError as error:
        raise OsteonError(f"{url}: holds {Path(error.filename).relative_to(folder)} twice; nothing was kept") from None
    except (BadZipFile, NotImplementedError, RuntimeError) as error:
        raise OsteonError(f"{url}: no zip file that can be read ({error}); nothing was kept") from None


def _members(file: "ZipFile", inside: str, url: str) -> "list[tuple[ZipInfo, PurePosixPath]]":
    """The files under `inside` and where they go.

    Raises:
        OsteonError: one would land outside the folder, or is a link; or there is none.

    """
    members = []
    for member in file.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", member.filename):
            raise OsteonError(f"{url}: {member.filename!r} would be written outside of the folder; nothing was kept")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise OsteonError(f"{url}: {member.filename!r} is a link; nothing was kept")
        if not member.is_dir() and path.is_relative_to(inside):
            members.append((member, path.relative_to(inside)))
    if not members:
        raise OsteonError(f"{url}: holds nothing in a folder {inside!r}; nothing was kept")
    return members
