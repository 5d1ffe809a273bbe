"""Which films a person names, and why some cannot be read."""

import os
import zipfile
from pathlib import Path

import pytest

from osteon.answers import film_sources
from osteon.answers.film_sources import find_sources
from osteon.errors import OsteonError, UnreadableFilmError
from tests.making import dicom, dicom_bytes, encoded, ramp

PNG = encoded(ramp(), "PNG")
RADIOGRAPH = dicom_bytes(dicom(ramp(top=4095)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.png, notes.txt and a.heic; b/IM0001 (DICOM), b/c/d.png."""
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name, data in {
        "a.png": PNG,
        "notes.txt": b"of the films\n",
        "a.heic": b"\0\0\0\x18ftypheic",
        "b/IM0001": RADIOGRAPH,
        "b/c/d.png": PNG,
    }.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def archive_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def names(*paths: Path, recursive: bool = False) -> list[str]:
    return [os.path.relpath(film.name, paths[0]) for film in find_sources(paths, recursive=recursive).films]


def test_a_folder_gives_its_films_and_counts_those_below(folder: Path) -> None:
    sources = find_sources([folder], recursive=False)
    assert [film.name for film in sources.films] == [str(folder / "a.png")]
    assert sources.deeper == 2
    assert [(file.path, file.kind) for file in sources.left_out] == [(str(folder / "a.heic"), "heic")]
    assert sources.films[0].fetch() == PNG


def test_recursive_takes_those_below_too(folder: Path) -> None:
    sources = find_sources([folder], recursive=True)
    assert names(folder, recursive=True) == ["a.png", "b/IM0001", "b/c/d.png"]
    assert sources.deeper == 0
    assert [film.fetch() for film in sources.films] == [PNG, RADIOGRAPH, PNG]


def test_what_is_named_itself_is_a_film_whatever_it_is_called(folder: Path) -> None:
    """The decoder says why it is none."""
    sources = find_sources([folder / "notes.txt", folder / "a.png"], recursive=False)
    assert [film.fetch() for film in sources.films] == [b"of the films\n", PNG]


def test_paths_keep_the_order_in_which_they_are_named(folder: Path) -> None:
    sources = find_sources([folder / "b", folder], recursive=False)
    assert [Path(film.name).name for film in sources.films] == ["IM0001", "a.png"]


@pytest.mark.parametrize("inside", [False, True], ids=["named", "in a folder"])
def test_films_of_an_archive(tmp_path: Path, inside: bool) -> None:
    path = archive_of(
        tmp_path / "CD.zip",
        {
            "DICOM/IM0001": RADIOGRAPH,
            "DICOMDIR": RADIOGRAPH,
            "films/a.png": PNG,
            "readme.txt": b"a CD\n",
            "__MACOSX/films/._a.png": b"\0",
            "../../up.png": PNG,
            "more.zip": b"PK\x03\x04",
        },
    )
    sources = find_sources([tmp_path if inside else path], recursive=False)
    assert [(film.name, film.fetch()) for film in sources.films] == [
        (f"{path}/DICOM/IM0001", RADIOGRAPH),
        (f"{path}/films/a.png", PNG),
        (f"{path}/../../up.png", PNG),  # a name; nothing is unpacked
    ]
    assert {Path(file.path).name: file.kind for file in sources.left_out} == {
        "DICOMDIR": "DICOMDIR",
        "._a.png": "left by macOS",
        "more.zip": "zip",
    }


def test_an_archive_with_a_spoilt_member(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"a.png": PNG, "b.png": PNG})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF  # in the first member's bytes
    path.write_bytes(data)
    spoilt, whole = find_sources([path], recursive=False).films
    with pytest.raises(UnreadableFilmError, match=r"^cannot be unpacked \(\w+\)$"):
        spoilt.fetch()
    assert whole.fetch() == PNG


def test_a_spoilt_archive_among_films_is_one_that_cannot_be_read(folder: Path) -> None:
    (folder / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    film, archive = find_sources([folder], recursive=False).films
    assert film.fetch() == PNG
    assert archive.name == str(folder / "cut.zip")
    with pytest.raises(UnreadableFilmError, match=r"^cannot be opened \(damaged, or no zip archive\)$"):
        archive.fetch()


def test_a_member_that_grows_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_sources, "MOST_BYTES", 10_000)
    path = archive_of(tmp_path / "a.zip", {"bomb.png": bytes(1_000_000), "a.png": PNG})
    bomb, film = find_sources([path], recursive=False).films
    with pytest.raises(UnreadableFilmError, match=r"^more than 10,000 bytes unpacked$"):
        bomb.fetch()
    assert film.fetch() == PNG


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_sources, "MOST_BYTES", 100)
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(UnreadableFilmError, match=rf"^{len(PNG):,} bytes, 100 at most$"):
        find_sources([tmp_path / "a.png"], recursive=False).films[0].fetch()


def test_a_file_that_goes_away_meanwhile(folder: Path) -> None:
    (film,) = find_sources([folder / "a.png"], recursive=False).films
    (folder / "a.png").unlink()
    with pytest.raises(UnreadableFilmError, match=r"^cannot be opened \(No such file or directory\)$"):
        film.fetch()


def test_what_cannot_be_read_at_all(folder: Path) -> None:
    for path, text in {
        folder / "none.png": r"none\.png: no such file or folder$",
        folder / "b" / "c" / "empty": r"no film there \(name a film, a folder or a zip archive\)$",
        archive_of(folder / "texts.zip", {"a.txt": b"text"}): r"texts\.zip: no film there",
    }.items():
        if path.name == "empty":
            path.mkdir()
        with pytest.raises(OsteonError, match=text):
            find_sources([path], recursive=False)
    (folder / "a.png").unlink()
    with pytest.raises(OsteonError, match=r"no film there \(2 in folders below: add --recursive\)$"):
        find_sources([folder], recursive=False)
    (folder / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(OsteonError, match=r"cut\.zip: cannot be opened \(damaged, or no zip archive\)$"):
        find_sources([folder / "cut.zip"], recursive=False)
