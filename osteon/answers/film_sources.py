"""The films that a person names: files, those of folders, those of zip archives; each is read when its turn comes."""

import lzma
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from osteon.errors import OsteonError, UnreadableFilmError
from osteon.films.film_files import judge_member, look_through
from osteon.films.left_out import LeftOut

# Of one file. The largest radiographs have 50 MB; a file of an archive may be a bomb.
MOST_BYTES = 512 * 1024**2


@dataclass(frozen=True)
class FilmSource:
    """A film's name, as a person would write it, and how to get its bytes.

    fetch: raises UnreadableFilmError, whose text is the reason.
    """

    name: str
    fetch: Callable[[], bytes] = field(compare=False)


@dataclass(frozen=True)
class Sources:
    """The films in the order in which they were named, and what else looks like films beside them.

    deeper: films in folders below a folder that was named, which were not to be read.
    """

    films: list[FilmSource]
    left_out: list[LeftOut]
    deeper: int = 0


def find_sources(paths: Sequence[Path], *, recursive: bool) -> Sources:
    """The films of files, folders and zip archives. What is named itself is a film, whatever it is called.

    Args:
        paths: what a person names.
        recursive: also the films in folders below a folder.

    Raises:
        OsteonError: a path is not there, cannot be opened, or holds no film.

    """
    films: list[FilmSource] = []
    left_out: list[LeftOut] = []
    deeper = 0
    for path in paths:
        if path.is_dir():
            content = look_through(path)
            inside = [film for film in content.films if recursive or len(film.parts) == 1]
            deeper += len(content.films) - len(inside)
            films += [FilmSource(str(path / film), partial(_bytes_of, path / film)) for film in inside]
            for file in content.left_out:
                if not recursive and "/" in file.path:
                    continue
                if file.kind == "zip":
                    _add_archive_of_folder(path / file.path, films, left_out)
                else:
                    left_out.append(file._replace(path=str(path / file.path)))
        elif not path.exists():
            raise OsteonError(f"{path}: no such file or folder")
        elif _is_zip(path):
            _add_archive(path, films, left_out)
        else:
            films.append(FilmSource(str(path), partial(_bytes_of, path)))
    if not films:
        names = ", ".join(map(str, paths))
        advice = f"{deeper:,} in folders below: add --recursive" if deeper else "name a film, a folder or a zip archive"
        raise OsteonError(f"{names}: no film there ({advice})")
    return Sources(films, left_out, deeper)


def _bytes_of(path: Path) -> bytes:
    try:
        if path.is_fifo():  # it would wait without an end
            raise UnreadableFilmError("a pipe, no file")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise UnreadableFilmError(f"{size:,} bytes, {MOST_BYTES:,} at most")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFilmError(f"cannot be opened ({error.strerror})") from None


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def _add_archive_of_folder(path: Path, films: list[FilmSource], left_out: list[LeftOut]) -> None:
    """As _add_archive; what cannot be opened is a film that cannot be read, for the others of the folder can be."""
    try:
        _add_archive(path, films, left_out)
    except OsteonError as error:
        films.append(FilmSource(str(path), partial(_refuse, str(error).removeprefix(f"{path}: "))))


def _refuse(reason: str) -> bytes:
    raise UnreadableFilmError(reason)


def _add_archive(path: Path, films: list[FilmSource], left_out: list[LeftOut]) -> None:
    """The films of an archive, which stays open. Several threads may read from it: zipfile takes turns."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged, or no zip archive"
        raise OsteonError(f"{path}: cannot be opened ({reason})") from None
    for member in archive.infolist():
        if member.is_dir():
            continue
        name = f"{path}/{member.filename}"
        judged = judge_member(member.filename, partial(_first_bytes, archive, member))
        if judged is None:
            films.append(FilmSource(name, partial(_unpacked, archive, member)))
        elif judged.kind:
            left_out.append(judged._replace(path=name))


_HEAD = 1 << 16  # bytes of a member that tell what it is, DICOM's tags included
# What zipfile raises of a damaged, encrypted or unknown member.
_SPOILT = (RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)


def _first_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """None where they cannot be had; reading the film says why."""
    try:
        with archive.open(member) as file:
            return file.read(_HEAD)
    except _SPOILT:
        return b""


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.flag_bits & 1:
        raise UnreadableFilmError("encrypted; unpack the archive with its password")
    try:
        with archive.open(member) as file:
            # What the archive says of a member's size may be wrong.
            data = file.read(MOST_BYTES + 1)
    except _SPOILT as error:
        raise UnreadableFilmError(f"cannot be unpacked ({type(error).__name__})") from None
    if len(data) > MOST_BYTES:
        raise UnreadableFilmError(f"more than {MOST_BYTES:,} bytes unpacked")
    return data
