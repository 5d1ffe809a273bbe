"""Which files of a folder are films, and what the others are that look like films.

A file is a film by its extension, or by its content where the extension says nothing (PACS exports and CDs have none).
Two kinds of others are listed: what looks like a film, or may hold some, and is not read; and what goes with films
and is none (what macOS and Windows leave, DICOM objects without pixels). Tables, texts and programs are neither.
"""

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath

from pydicom import dcmread
from pydicom.uid import UID

from osteon.errors import OsteonError, UnreadableFilmError
from osteon.files import check_names, is_ignored
from osteon.films.left_out import LeftOut
from osteon.films.reading.dicom_pixels import is_dicom, reading_dicom
from osteon.hash_cache import file_state


def _extensions(text: str) -> frozenset[str]:
    return frozenset(f".{extension}" for extension in text.split())


DICOM_EXTENSIONS = _extensions("dcm dicom dic ima")
PICTURE_EXTENSIONS = _extensions(
    "jpg jpeg jpe jfif jif pjpeg pjp png tif tiff gif bmp dib webp jp2 j2k j2c jpc jpf jpx"
)
EXTENSIONS = PICTURE_EXTENSIONS | DICOM_EXTENSIONS

# What to do → extensions of files that look like films, or may hold some, and are not read.
NOT_READ = {
    "convert to PNG": "heic heif hif avif jxl jxr wdp hdp jls tga ico icns pcx ppm pgm pbm pnm pam exr hdr dds sgi qoi "
    "fits fit xbm xpm svs ndpi svg svgz psd psb xcf kra ai eps cdr wmf emf raw cr2 cr3 nef arw dng orf rw2 raf pef srw",
    "export the films in it as PNG or DICOM": "pdf ps djvu xps ppt pptx odp",
    "unpack": "zip 7z rar tar tgz tbz tbz2 txz gz bz2 xz zst lz4 lzma z cab iso dmg nrg zipx 001 ace arj lzh",
    "save each film in it as PNG or DICOM": "nii nrrd nhdr mha mhd npy npz mat h5 hdf5 tfrecord tfrecords lmdb",
    "save the films in it as pictures": "mp4 avi mov mkv webm mpg mpeg wmv m4v flv 3gp mjpeg mjpg",
    "copy the file that it names": "lnk url webloc",
    "fetch it whole": "part crdownload download filepart icloud",
    "give it its own extension again": "bak old orig tmp swp",
}
_ADVICE = {f".{extension}": advice for advice, text in NOT_READ.items() for extension in text.split()}
_TABLES = _extensions("csv tsv json jsonl txt xml parquet md log yaml yml")  # compressed or not, they hold no film
_TEXTS = _TABLES | _extensions("htm html css js py ini cfg toml rst doc docx odt xls xlsx ods inf")

MACOS_NAMES = frozenset(
    {"__MACOSX", ".DS_Store", ".localized", "Icon\r", ".AppleDouble", ".Spotlight-V100", ".Trashes", ".fseventsd"}
    | {".TemporaryItems", ".DocumentRevisions-V100", ".apdisk"}
)
WINDOWS_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"})
NAS_NAMES = frozenset({"@eaDir", "#recycle", "@Recycle", ".@__thumb", "#snapshot", "lost+found"})

HIDDEN = "hidden (its name, or its folder's, begins with a dot)"
BROKEN_LINK = "link to what is not there"
NO_FILE = "pipe, socket or device"
CLOSED = "cannot be opened"
UNKNOWN = "no extension, and no content that is known"
EMPTY = "no extension, and empty"
_HEAD = 512  # bytes that tell what a file is

_PICTURES = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),  # JPEG 2000, in its box and without
)
_CONTENTS = {  # of files without an extension → the extension they should have
    b"PK\x03\x04": ".zip",
    b"7z\xbc\xaf\x27\x1c": ".7z",
    b"Rar!\x1a\x07": ".rar",
    b"\x1f\x8b\x08": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"%PDF-": ".pdf",
    b"8BPS": ".psd",
}


@dataclass(frozen=True)
class FolderContent:
    """The films of a folder, by their paths below it, and what else looks like some; both in their paths' order."""

    films: list[Path]
    left_out: list[LeftOut]


def look_through(folder: Path) -> FolderContent:
    """Every film below a folder, and every file that looks like one and is none, or is not read.

    Links to folders are followed.

    Raises:
        OsteonError: a name is no UTF-8, a link leads back to a folder that holds it, or a folder cannot be opened.

    """
    entries = sorted(_entries(folder), key=lambda entry: entry.path.split("/"))
    check_names(folder, (entry.path for entry in entries))
    films, left_out = [], []
    for path, kind, advice in entries:
        if not kind:
            kind, advice = _judge(folder / path)
        if kind == _FILM:
            films.append(Path(path))
        elif kind:
            left_out.append(LeftOut(path, kind, advice))
    return FolderContent(films, left_out)


def film_files(folder: Path) -> Iterator[Path]:
    """Every film below a folder, in order, as a path relative to the folder; none where the folder is not there."""
    return iter(look_through(folder).films if folder.is_dir() else [])


def plain_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, film or not, in order, without what systems leave; links to folders are followed."""
    entries = sorted((entry.path for entry in _entries(folder) if not entry.kind), key=lambda path: path.split("/"))
    check_names(folder, entries)
    return (folder / path for path in entries)


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM, by its extension or its content."""
    if path.suffix.lower() in DICOM_EXTENSIONS:
        return True
    return path.suffix.lower() not in PICTURE_EXTENSIONS and is_dicom(_head(path))


# ---------------------------------------------------------------- what there is, without a look inside

_FILM, _NEITHER = "film", ""


def _entries(folder: Path) -> Iterator[LeftOut]:
    """Every file below a folder; its kind is empty where its content has to tell it."""
    above = {_identity(parent) for parent in (folder.resolve(), *folder.resolve().parents)}
    waiting: list[tuple[str, frozenset[tuple[int, int]], str, str]] = [("", frozenset(above), "", "")]
    while waiting:
        place, holders, inside, link = waiting.pop()
        try:
            with os.scandir(folder / place) as listing:
                entries = list(listing)
        except OSError as error:
            if inside:
                yield LeftOut(place, inside)
                continue
            raise OsteonError(
                f"{folder / place}: cannot be opened ({error.strerror}); change its permissions or move it elsewhere"
            ) from None
        for entry in entries:
            path = f"{place}/{entry.name}" if place else entry.name
            kind, advice = _kind_of_name(entry.name, inside)
            state = _state(entry, folder)
            if state is not None and stat.S_ISDIR(state.st_mode):
                if is_ignored(entry.name):
                    continue
                identity = (state.st_dev, state.st_ino)
                followed = path if entry.is_symlink() else link
                if identity in holders:
                    raise _loop(folder, followed)
                waiting.append((path, holders | {identity}, kind, followed))
            elif kind == HIDDEN and not _looks_like_a_film(entry.name):
                continue
            elif kind:
                yield LeftOut(path, kind, advice)
            elif state is None:
                yield LeftOut(path, BROKEN_LINK, "fetch what it leads to, or delete it")
            elif not stat.S_ISREG(state.st_mode):
                yield LeftOut(path, NO_FILE, "delete it")
            else:
                yield LeftOut(path, _NEITHER)


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino


def _state(entry: "os.DirEntry[str]", folder: Path) -> os.stat_result | None:
    """Of what a link leads to; None where that is not there."""
    try:
        return Path(entry.path).stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _loop(folder, os.path.relpath(entry.path, folder)) from None
        return None


def _loop(folder: Path, link: str) -> OsteonError:
    place = folder / link
    return OsteonError(
        f"{place}: a link to {place.readlink() if place.is_symlink() else 'itself'}, and so to a folder that holds the "
        "link: there is no end to it; delete the link"
    )


def _kind_of_name(name: str, inside: str) -> tuple[str, str]:
    """The kind that a name alone gives, and what to do; inside: that of the folder above."""
    if name.startswith("._") or name in MACOS_NAMES or inside == _MACOS:
        return _MACOS, ""
    if name.casefold() in WINDOWS_NAMES or inside == _WINDOWS:
        return _WINDOWS, ""
    if name in NAS_NAMES or inside == _NAS:
        return _NAS, ""
    if name.startswith(".") or inside == HIDDEN:
        return HIDDEN, "take away the dot if it is a film"
    return _NEITHER, ""


_MACOS, _WINDOWS, _NAS = "left by macOS", "left by Windows", "left by a file server"


def _looks_like_a_film(name: str) -> bool:
    extension = _extension(name)
    return extension in EXTENSIONS or extension in _ADVICE


def _extension(name: str) -> str:
    """In lower case, with the dot; empty for a number, for UIDs and CDs number their files so."""
    if name.endswith("~"):
        return ".bak"
    extension = PurePath(name.strip()).suffix.lower()
    return "" if extension[1:].isdigit() and extension != ".001" else extension


# ---------------------------------------------------------------- what is in it


def _judge(path: Path) -> tuple[str, str]:
    """Film, neither, or the kind and what to do."""
    return _judged(path, file_state(path))


# A layout, and what is not among its films, each walk over the folder: a file that is as it was is not opened again.
@lru_cache(maxsize=1 << 17)
def _judged(path: Path, _state: str | None) -> tuple[str, str]:
    return _judge_content(path.name, lambda: _head(path), lambda: path)


def judge_member(path: str, read: Callable[[], bytes]) -> LeftOut | None:
    """What a file of an archive is, by its path there and its first bytes; None for a film, no kind for a text.

    Args:
        path: in the archive.
        read: gives its first bytes, DICOM's tags among them. Where the name tells what it is, it is not called.

    """
    for part in PurePath(path).parts:
        kind, advice = _kind_of_name(part, "")
        if kind and part != "..":
            return LeftOut(path, kind, advice)
    kind, advice = _judge_content(PurePath(path).name, lambda: read()[:_HEAD], lambda: io.BytesIO(read()))
    return None if kind == _FILM else LeftOut(path, kind, advice)


def _judge_content(name: str, head_of: Callable[[], bytes], source: Callable[[], Path | io.BytesIO]) -> tuple[str, str]:
    extension = _extension(name)
    if extension in PICTURE_EXTENSIONS:
        return _FILM, ""
    if extension in _ADVICE:
        if _extension(PurePath(name).stem) in _TABLES:
            return _NEITHER, ""
        return extension[1:], _ADVICE[extension]
    try:
        head = head_of()
    except OSError as error:
        return (_FILM, "") if extension in EXTENSIONS else (CLOSED, f"change its permissions ({error.strerror})")
    if extension in DICOM_EXTENSIONS or is_dicom(head):
        kind = _dicom_without_pixels(name, source())
        return (kind, "") if kind else (_FILM, "")
    if _is_picture_head(head):
        return (f"film called {extension}", "give it its own extension") if extension in _TEXTS else (_FILM, "")
    return _without_extension(head) if not extension else (_NEITHER, "")


def _without_extension(head: bytes) -> tuple[str, str]:
    if not head:
        return EMPTY, "fetch it again"
    if head[4:8] == b"ftyp":
        return ("heic", _ADVICE[".heic"]) if head[8:11] in (b"hei", b"mif", b"avi") else ("mp4", _ADVICE[".mp4"])
    for mark, extension in _CONTENTS.items():
        if head.startswith(mark):
            return extension[1:], _ADVICE[extension]
    text = b"\0" not in head or head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return (_NEITHER, "") if text else (UNKNOWN, "give it its extension if it is a film")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _is_picture_head(head: bytes) -> bool:
    if head.startswith(_PICTURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return True
    # Two letters are no proof: a bitmap has four zero bytes, and then the size of one of its headers.
    return head.startswith(b"BM") and head[6:10] == bytes(4) and head[14:18] in {bytes([n, 0, 0, 0]) for n in _DIB}


_DIB = (12, 40, 52, 56, 64, 108, 124)


def _dicom_without_pixels(name: str, source: Path | io.BytesIO) -> str | None:
    """What an object is that has no pixels by its class; None for an image, and for a file that is damaged."""
    if name.upper() == "DICOMDIR":
        return "DICOMDIR"
    try:
        with reading_dicom("damaged DICOM"):
            dataset = dcmread(source, stop_before_pixels=True, force=True, specific_tags=["SOPClassUID", "Rows"])
            kind = UID(str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or ""))
            if not kind or "Rows" in dataset or "Image Storage" in kind.name:
                return None
    except UnreadableFilmError:
        return None
    # A class that the standard does not list has its number for a name, which may name a machine.
    return f"DICOM without pixels: {kind.name.removesuffix(' Storage') if kind.name != kind else 'a class of a maker'}"
