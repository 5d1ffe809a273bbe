"""Which files of a folder are films, and what is said of the others."""

import os
import socket
from pathlib import Path

import pytest

from osteon.errors import OsteonError
from osteon.films.film_files import HIDDEN, look_through, plain_files
from osteon.films.left_out import LeftOut, count_kinds, skipped_line, warning_of
from tests.making import dicom, dicom_bytes, encoded, ramp, write

PNG = encoded(ramp(), "PNG")
JPEG = encoded(ramp(), "JPEG")
RADIOGRAPH = dicom_bytes(dicom(ramp(top=4095)))


def films(folder: Path) -> list[str]:
    return [path.as_posix() for path in look_through(folder).films]


def kinds(folder: Path) -> dict[str, str]:
    return {file.path: file.kind for file in look_through(folder).left_out}


def dicom_object(name: str, **tags: object) -> bytes:
    """An object without pixels, of a class by its number."""
    dataset = dicom(None, SOPClassUID=name, **tags)
    dataset.file_meta.MediaStorageSOPClassUID = name
    return dicom_bytes(dataset)


def without_preamble(data: bytes) -> bytes:
    """The data set alone, as older archives keep it: no preamble, no mark, no meta group."""
    length = int.from_bytes(data[140:144], "little")
    return data[144 + length :]


# ---------------------------------------------------------------- films


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a.jpg",
            "a.JPEG",
            "a.jpe",
            "a.jfif",
            "a.png",
            "a.TIF",
            "a.tiff",
            "a.gif",
            "a.bmp",
            "a.webp",
            "a.jp2",
            "a.j2k",
        ),
        *("a.b.png", "a.png ", "çatlak ü.png", "Röntgen 1/a.png", "a" * 240 + ".png", "line\nbreak.png"),
    ],
)
def test_a_film_by_its_extension_whatever_is_in_it(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, b"")
    assert films(tmp_path) == [name]


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.10008.7", "a.IMA", "a.dcm", "a.DICOM", "a.mag", "a.dcm.1"])
def test_a_radiograph_is_a_film_under_any_name(tmp_path: Path, name: str) -> None:
    for content in (RADIOGRAPH, without_preamble(RADIOGRAPH)):
        write(tmp_path / name, content)
        assert films(tmp_path) == [name]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "JPEG2000"])
def test_a_picture_without_an_extension_is_a_film(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "0001", encoded(ramp(), kind))
    write(tmp_path / "a.png?raw=1", encoded(ramp(), kind))
    assert films(tmp_path) == ["0001", "a.png?raw=1"]


def test_texts_tables_and_programs_are_neither(tmp_path: Path) -> None:
    for name in ("README", "labels.csv", "a.txt", "data.yaml", "viewer.exe", "labels.csv.gz", "a.xlsx", "BMreadme"):
        write(tmp_path / name, b"BM a text that is not a bitmap")
    write(tmp_path / "empty.txt", b"")
    write(tmp_path / "utf16", "über".encode("utf-16"))
    content = look_through(tmp_path)
    assert (content.films, content.left_out) == ([], [])


def test_films_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b/1.png", "a/z.png", "a.png", "a-b/1.png", "B.png"):
        write(tmp_path / name, PNG)
    assert films(tmp_path) == ["B.png", "a/z.png", "a-b/1.png", "a.png", "b/1.png"]


# ---------------------------------------------------------------- film-like, and not read


@pytest.mark.parametrize(
    ("name", "kind", "advice"),
    [
        ("a.heic", "heic", "convert to PNG"),
        ("a.AVIF", "avif", "convert to PNG"),
        ("a.svg", "svg", "convert to PNG"),
        ("a.psd", "psd", "convert to PNG"),
        ("a.CR2", "cr2", "convert to PNG"),
        ("a.pdf", "pdf", "export the films in it as PNG or DICOM"),
        ("films.zip", "zip", "unpack"),
        ("films.7z", "7z", "unpack"),
        ("films.tar.gz", "gz", "unpack"),
        ("a.dcm.gz", "gz", "unpack"),
        ("a.nii.gz", "gz", "unpack"),
        ("a.mp4", "mp4", "save the films in it as pictures"),
        ("a.npy", "npy", "save each film in it as PNG or DICOM"),
        ("a.png.part", "part", "fetch it whole"),
        ("a.png.lnk", "lnk", "copy the file that it names"),
        ("a.png~", "bak", "give it its own extension again"),
        (".a.png", HIDDEN, "take away the dot if it is a film"),
        (
            ".cache/a/b.jpg",
            HIDDEN,
            "take away the dot if it is a film",
        ),
    ],
)
def test_what_looks_like_a_film_and_is_not_read_has_a_kind_and_an_advice(
    tmp_path: Path, name: str, kind: str, advice: str
) -> None:
    write(tmp_path / name, b"whatever")
    assert look_through(tmp_path).left_out == [LeftOut(name, kind, advice)]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\x03\x04", "zip"),
        (b"%PDF-1.7", "pdf"),
        (b"\x1f\x8b\x08\0", "gz"),
        (b"Rar!\x1a\x07\x01\0", "rar"),
        (b"\0\0\0\x18ftypheic", "heic"),
        (b"\0\0\0\x1cftypavif", "heic"),
        (b"\0\0\0\x18ftypmp42", "mp4"),
        (b"", "no extension, and empty"),
        (b"\1\2\0\3", "no extension, and no content that is known"),
    ],
)
def test_without_an_extension_the_content_tells(tmp_path: Path, content: bytes, kind: str) -> None:
    write(tmp_path / "IM0001", content)
    (file,) = look_through(tmp_path).left_out
    assert file.kind == kind
    assert file.advice


def test_a_film_that_is_called_a_text_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "film.png.txt", PNG)
    assert look_through(tmp_path).left_out == [LeftOut("film.png.txt", "film called .txt", "give it its own extension")]


def test_pipes_and_sockets_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("c.png")
        assert kinds(tmp_path) == dict.fromkeys(("a.png", "b", "c.png"), "pipe, socket or device")


# ---------------------------------------------------------------- no film at all


def test_what_systems_leave_is_skipped(tmp_path: Path) -> None:
    for name in ("._a.png", "__MACOSX/x/._a.png", "__MACOSX/x/b.png", ".DS_Store", "x/.DS_Store", ".Trashes/501/a.png"):
        write(tmp_path / name, b"\0\5\x16\7")
    for name in ("Thumbs.db", "x/thumbs.db", "desktop.ini", "$RECYCLE.BIN/S-1/a.png", "@eaDir/a.png/THUMB_M.jpg"):
        write(tmp_path / name, b"")
    content = look_through(tmp_path)
    assert content.films == []
    assert not any(file.advice for file in content.left_out)
    assert {count.kind: count.files for count in count_kinds(content.left_out)} == {
        "left by macOS": 6,
        "left by Windows": 4,
        "left by a file server": 1,
    }


@pytest.mark.parametrize("name", ["SR0001", "a.dcm", "a.IMA"])
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR"),
        ("1.2.840.10008.5.1.4.1.1.88.67", "X-Ray Radiation Dose SR"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "Key Object Selection Document"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "RT Structure Set"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF"),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "12-lead ECG Waveform"),
        ("1.3.12.2.1107.5.9.1", "a class of a maker"),
    ],
)
def test_dicom_objects_without_pixels_are_skipped(tmp_path: Path, name: str, number: str, kind: str) -> None:
    for data in (dicom_object(number), without_preamble(dicom_object(number))):
        write(tmp_path / name, data)
        assert look_through(tmp_path).left_out == [LeftOut(name, f"DICOM without pixels: {kind}")]


def test_a_directory_of_dicom_files_is_skipped(tmp_path: Path) -> None:
    write(tmp_path / "DICOMDIR", dicom_object("1.2.840.10008.1.3.10"))
    assert kinds(tmp_path) == {"DICOMDIR": "DICOMDIR"}


def test_a_damaged_radiograph_is_a_film_that_validate_judges(tmp_path: Path) -> None:
    """An image without pixels, one that is cut, and a text that is called .dcm: each may have been a film."""
    write(tmp_path / "a", dicom_bytes(dicom(None)))
    write(tmp_path / "b", RADIOGRAPH[:150])
    write(tmp_path / "c.dcm", b"no DICOM")
    write(tmp_path / "d.dcm", b"")
    assert films(tmp_path) == ["a", "b", "c.dcm", "d.dcm"]


# ---------------------------------------------------------------- links and names


def test_links_are_followed(tmp_path: Path) -> None:
    """A folder elsewhere, a file elsewhere, and a folder of this folder: its films are here twice."""
    write(tmp_path / "elsewhere" / "deep" / "a.png", PNG)
    folder = tmp_path / "films"
    write(folder / "b" / "b.png", PNG)
    (folder / "fractured").symlink_to(tmp_path / "elsewhere")
    (folder / "c.png").symlink_to(tmp_path / "elsewhere" / "deep" / "a.png")
    (folder / "d").symlink_to("b")
    assert films(folder) == ["b/b.png", "c.png", "d/b.png", "fractured/deep/a.png"]


def test_tables_behind_links_are_files_too(tmp_path: Path) -> None:
    for name in (
        "elsewhere/a.txt",
        "films/labels.csv",
        "films/.hidden.csv",
        "films/__MACOSX/labels.csv",
        "films/b.png",
    ):
        write(tmp_path / name, b"")
    (tmp_path / "films" / "labels").symlink_to(tmp_path / "elsewhere")
    folder = tmp_path / "films"
    assert list(plain_files(folder)) == [folder / name for name in ("b.png", "labels/a.txt", "labels.csv")]


@pytest.mark.parametrize("target", [".", "..", "../..", "here", "/"])
def test_a_link_without_an_end_is_an_error_that_names_it(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "films" / "a"
    write(folder / "a.png", PNG)
    (folder / "here").symlink_to(target)
    with pytest.raises(OsteonError, match=f"{folder}/here: a link to {target}, .* delete the link"):
        look_through(tmp_path / "films")


def test_two_links_that_lead_to_each_other(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "on").symlink_to(tmp_path / other)
    with pytest.raises(OsteonError, match=r"/on: a link to .* delete the link"):
        look_through(tmp_path)


def test_a_link_to_nothing_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("../annex/objects/SHA256E-s1")
    (tmp_path / "b").symlink_to(tmp_path / "nowhere")
    assert kinds(tmp_path) == dict.fromkeys(("a.png", "b"), "link to what is not there")


def test_names_that_are_not_utf_8_are_named_before_any_file_is_opened(tmp_path: Path) -> None:
    write(tmp_path / "a.png", PNG)
    folder = tmp_path / os.fsdecode(b"k\xfdr\xfdk")
    for number in range(7):
        write(folder / f"{number}.png", PNG)
    with pytest.raises(OsteonError) as error:
        look_through(tmp_path)
    text = str(error.value)
    text.encode()  # it can be printed
    assert f"{tmp_path}: 7 file names are not UTF-8: k\\xfdr\\xfdk/0.png, k\\xfdr\\xfdk/1.png," in text
    assert "4.png, …; rename them" in text
    assert "convmv" in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root opens every folder")
def test_a_folder_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "closed" / "a.png", PNG)
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.raises(OsteonError, match=r"closed: cannot be opened \(Permission denied\)"):
            look_through(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)


# ---------------------------------------------------------------- what is said


def test_the_kinds_are_counted_and_said_in_one_sentence() -> None:
    left_out = [
        LeftOut("._a.png", "left by macOS"),
        LeftOut("a.heic", "heic", "convert to PNG"),
        LeftOut("b\n.heic", "heic", "convert to PNG"),
        LeftOut("c\n.zip", "zip", "unpack"),
    ]
    assert warning_of(left_out) == (
        "3 files that look like films, or may hold some, are not read: "
        "2 × heic (convert to PNG), as a.heic; 1 × zip (unpack), as 'c\\n.zip'"
    )
    assert skipped_line(left_out) == "1 file is no film, and skipped: 1 × left by macOS"
    assert (warning_of(left_out[:1]), skipped_line(left_out[1:])) == ("", "")
