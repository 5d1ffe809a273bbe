import io
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGLosslessSV1, RLELossless

from osteon.errors import UnreadableFilmError
from osteon.films.reading.decoding import decode, read_header
from osteon.films.reading.dicom_tags import read_tags
from osteon.films.reading.film import Film, fit_into_square, letterbox, to_8_bit
from osteon.threads import over_cores
from tests.making import dicom, dicom_bytes, encoded, ramp


def read(data: bytes, megapixels: float = 80, colour: bool = True) -> Film:
    return decode(data, max_megapixels=megapixels, colour=colour)


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_lossless_kinds_give_the_pixels_back(kind: str) -> None:
    film = read(encoded(ramp(), kind))
    np.testing.assert_array_equal(film.pixels, ramp())
    assert (film.bits, film.low, film.high, film.chroma) == (8, 0, 255, 0)


def test_jpeg_comes_close_and_the_same_with_and_without_a_look_at_colour() -> None:
    data = encoded(Image.fromarray(ramp()).convert("RGB"), "JPEG", quality=95)
    assert np.abs(read(data).pixels.astype(int) - ramp()).max() <= 3
    assert np.abs(read(data).pixels.astype(int) - read(data, colour=False).pixels).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("top", "bits"), [(1000, 10), (4095, 12), (4096, 14), (65535, 16)])
def test_16_bit_films_keep_their_depth(kind: str, top: int, bits: int) -> None:
    film = read(encoded(ramp(top=top), kind))
    assert film.pixels.dtype == np.uint16
    np.testing.assert_array_equal(film.pixels, ramp(top=top))
    assert (film.bits, film.high) == (bits, 2**bits - 1)


def test_16_bits_become_8_by_the_whole_range_not_by_cutting_bytes() -> None:
    film = read(encoded(np.array([[0, 2048, 4095]], np.uint16), "PNG"))
    # 2048 · 255 / 4095 = 127.53
    np.testing.assert_array_equal(to_8_bit(film), [[0, 128, 255]])


def test_a_float_tiff_spans_its_own_range() -> None:
    film = read(encoded(np.array([[-1.0, 0.0, 3.0]], np.float32), "TIFF"))
    np.testing.assert_array_equal(to_8_bit(film), [[0, 64, 255]])


@pytest.mark.parametrize(("orientation", "turned"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(orientation: int, turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    marked = np.zeros((64, 96), np.uint8)
    marked[:16, :16] = 255
    film = read(encoded(Image.fromarray(marked), "JPEG", exif=exif, quality=100))
    expected = np.rot90(marked, turned)
    assert film.pixels.shape == expected.shape
    assert np.abs(film.pixels.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_grey(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    film = read(encoded(Image.fromarray(ramp()).convert(mode), kind))
    assert film.pixels.shape == (80, 100)
    assert film.pixels[:, -1].mean() > film.pixels[:, 0].mean() + 200
    assert film.chroma == pytest.approx(0, abs=2)


def test_chroma_tells_a_photograph_from_a_tinted_film() -> None:
    grey = ramp(200, 300).astype(float)
    sepia = np.stack([grey, grey * 0.85 + 3, grey * 0.6 + 9], axis=-1).astype(np.uint8)
    assert read(encoded(sepia, "PNG")).chroma == pytest.approx(0, abs=1)
    y, x = np.mgrid[:200, :300]
    photograph = np.stack([(x * 0.8) % 256, (y * 1.1) % 256, (x + y) * 0.5 % 256], axis=-1).astype(np.uint8)
    assert read(encoded(photograph, "PNG")).chroma > 40
    # Red that falls as green rises lies on a line too, but is no tint.
    red_to_green = np.stack([grey, 255 - grey, 0 * grey], axis=-1).astype(np.uint8)
    assert read(encoded(red_to_green, "PNG")).chroma > 40


# ---------------------------------------------------------------- what is no film


def test_an_empty_file() -> None:
    with pytest.raises(UnreadableFilmError, match=r"^empty file \(0 bytes\)$"):
        read(b"")


@pytest.mark.parametrize("data", [b"not a picture at all", b"<svg></svg>", b"%PDF-1.7", b"\0" * 400])
def test_text_named_png(data: bytes) -> None:
    with pytest.raises(UnreadableFilmError, match="no picture that can be read"):
        read(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_never_taken_for_whole(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160), dtype=np.uint8)
    data = encoded(noise, kind)
    with pytest.raises(UnreadableFilmError, match=r"truncated|damaged"):
        read(data[: int(len(data) * share)])


@pytest.mark.parametrize("cut", [2, 20, 200])
def test_a_jpeg_without_its_last_bytes_is_refused(cut: int) -> None:
    """FracAtlas has dozens that lack about 20 bytes; Pillow can be told to overlook it."""
    noise = np.random.default_rng(0).integers(0, 255, (120, 160), dtype=np.uint8)
    with pytest.raises(UnreadableFilmError, match="truncated"):
        read(encoded(noise, "JPEG")[:-cut])


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(UnreadableFilmError, match=r"60000 × 60000 pixels is more than max_megapixels = 80 allows"):
        read(bomb)


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_several_pictures_in_one_file(kind: str) -> None:
    pages = [Image.fromarray(ramp() + number) for number in range(3)]
    buffer = io.BytesIO()
    pages[0].save(buffer, format=kind, save_all=True, append_images=pages[1:])
    with pytest.raises(UnreadableFilmError, match="holds 3 pictures"):
        read(buffer.getvalue())


def test_other_formats_of_pillow_are_not_even_tried() -> None:
    with pytest.raises(UnreadableFilmError, match="no picture"):
        read(encoded(ramp(), "PPM"))


# ---------------------------------------------------------------- DICOM


def test_dicom_without_window_spans_what_is_there() -> None:
    film = read(dicom_bytes(dicom(ramp(top=4000))))
    assert (film.low, film.high, film.bits) == (0, 4000, 12)
    np.testing.assert_array_equal(to_8_bit(film)[0], np.rint(ramp(top=4000)[0] * (255 / 4000)))


def test_monochrome1_is_turned_so_that_bone_is_bright() -> None:
    straight = to_8_bit(read(dicom_bytes(dicom(ramp(top=4000)))))
    turned = to_8_bit(read(dicom_bytes(dicom(ramp(top=4000), "MONOCHROME1"))))
    assert np.abs(straight.astype(int) + turned - 255).max() <= 1


def test_the_window_is_applied_after_the_rescale() -> None:
    """Stored 0 … 4000; rescaled −1000 … 7000; window 1000 … 3000 (PS3.3 C.11.2.1.2.1)."""
    dataset = dicom(ramp(top=4000), RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=2000.5, WindowWidth=2001)
    grey = to_8_bit(read(dicom_bytes(dataset)))[0].astype(float)
    rescaled = ramp(top=4000)[0].astype(float) * 2 - 1000
    np.testing.assert_allclose(grey, np.clip((rescaled - 1000) / 2000, 0, 1) * 255, atol=1)


def test_the_window_of_a_monochrome1_film_is_applied_before_it_is_turned() -> None:
    dataset = dicom(ramp(top=4000), "MONOCHROME1", WindowCenter=1000.5, WindowWidth=1001)
    grey = to_8_bit(read(dicom_bytes(dataset)))[0].astype(float)
    expected = 255 - np.clip((ramp(top=4000)[0].astype(float) - 500) / 1000, 0, 1) * 255
    np.testing.assert_allclose(grey, expected, atol=1)


def test_a_voi_lut_goes_before_a_window() -> None:
    lut = Dataset()
    lut.LUTDescriptor = [4096, 0, 16]
    lut.LUTData = (65535 - 16 * np.arange(4096)).astype("<u2").tobytes()
    dataset = dicom(ramp(top=4095), VOILUTSequence=[lut], WindowCenter=100, WindowWidth=10)
    grey = to_8_bit(read(dicom_bytes(dataset)))[0].astype(float)
    np.testing.assert_allclose(grey, (65535 - 16.0 * ramp(top=4095)[0]) * 255 / 65535, atol=1)


def test_a_voi_lut_shorter_than_it_says_is_damage() -> None:
    lut = Dataset()
    lut.LUTDescriptor = [4096, 0, 16]
    lut.LUTData = b"\0" * 64
    with pytest.raises(UnreadableFilmError, match="look-up tables make no sense"):
        read(dicom_bytes(dicom(ramp(top=4095), VOILUTSequence=[lut])))


def test_signed_pixels_and_padding() -> None:
    pixels = np.tile(np.linspace(-500, 500, 101).round().astype(np.int16), (90, 1))
    pixels[:, :10] = -2000
    grey = to_8_bit(read(dicom_bytes(dicom(pixels, bits=16, PixelPaddingValue=-2000))))
    assert (grey[:, :10] == 0).all()
    assert grey[0, 10] == 0
    assert grey[0, -1] == 255
    assert grey[0, 55] == pytest.approx(255 * (55 - 10) / 90, abs=1)


def test_colour_multi_frame_and_pixelless_dicom_are_refused() -> None:
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[:4, :, 0] = 200
    with pytest.raises(UnreadableFilmError, match=r"colour DICOM \(RGB\)"):
        read(dicom_bytes(dicom(colour, "RGB", 8)))
    frames = np.zeros((3, 8, 8), np.uint16)
    with pytest.raises(UnreadableFilmError, match=r"multi-frame DICOM \(3 frames\)"):
        read(dicom_bytes(dicom(frames, NumberOfFrames=3)))
    with pytest.raises(UnreadableFilmError, match="DICOM without pixels"):
        read(dicom_bytes(dicom(None)))
    dataset = dicom(ramp(top=4000))
    del dataset.PixelData
    with pytest.raises(UnreadableFilmError, match="DICOM without pixels"):
        read(dicom_bytes(dataset))


def test_an_unsupported_transfer_syntax_is_named() -> None:
    dataset = dicom(ramp(top=255), bits=8)
    dataset.PixelData = encapsulate([b"\0\1\2\3"])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")  # MPEG-4
    with pytest.raises(UnreadableFilmError, match="transfer syntax that cannot be decoded here: MPEG-4"):
        read(dicom_bytes(dataset))


def test_truncated_dicom() -> None:
    data = dicom_bytes(dicom(ramp(top=4000)))
    with pytest.raises(UnreadableFilmError, match="truncated DICOM pixels: "):
        read(data[: len(data) // 2])
    with pytest.raises(UnreadableFilmError):
        read(data[:140])


def test_errors_never_quote_the_file() -> None:
    dataset = dicom(ramp(top=4000), PatientName="Doe^Jane", PatientID="12345-X")
    data = bytearray(dicom_bytes(dataset))
    for start in range(132, len(data), 97):
        broken = bytes(data[:start]) + b"\xff\xfe\x00" + bytes(data[start + 3 :])
        try:
            read(broken)
        except UnreadableFilmError as error:
            assert "Jane" not in str(error)
            assert "12345" not in str(error)


@pytest.mark.parametrize("tag", ["NumberOfFrames", "WindowCenter", "RescaleSlope"])
def test_a_name_where_a_number_belongs_is_damage_and_not_repeated(tag: str) -> None:
    dataset = dicom(ramp(top=4000), WindowWidth=100, RescaleIntercept=0)
    dataset.add_new(tag_for_keyword(tag), "IS", 12345678)
    data = dicom_bytes(dataset)
    assert data.count(b"12345678") == 1
    with pytest.raises(UnreadableFilmError, match="damaged DICOM") as caught:
        read(data.replace(b"12345678", b"Xaverine"))
    assert "Xaverine" not in str(caught.value)


def test_whatever_is_damaged_it_is_never_a_crash() -> None:
    """What pydicom raises over a changed byte is of any type, and quotes what it stumbled over."""
    whole = dicom_bytes(dicom(ramp(8, 8, 4000), PatientName="Doe^Jane", WindowCenter=2000, WindowWidth=3000))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(1500):
        data = bytearray(whole)
        for place in rng.integers(132, len(whole) - 128, rng.integers(1, 8)):
            data[place] = rng.choice([0, 0x20, 0x5C, ord("9"), ord("Q"), 0xFF])
        for look in (read_header, read, read_tags):
            try:
                look(bytes(data))
            except UnreadableFilmError as error:
                refused += 1
                assert "Doe" not in str(error)
                assert "Jane" not in str(error)
    assert refused > 500


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1], ids=["RLE", "JPEG lossless"])
def test_compressed_syntaxes(syntax: UID) -> None:
    pixels = ramp(60, 90, top=4000)
    dataset = dicom(pixels)
    if syntax == RLELossless:
        dataset.compress(syntax, pixels, generate_instance_uid=False)
        data = dicom_bytes(dataset)
    else:
        data = _recompressed(dicom_bytes(dataset))
    np.testing.assert_array_equal(read(data).pixels, pixels)


def _recompressed(data: bytes) -> bytes:
    """JPEG lossless, first-order prediction, what most digital radiographs are stored in; GDCM writes it."""
    import tempfile

    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.dcm", Path(folder) / "b.dcm"
        source.write_bytes(data)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return target.read_bytes()


# ---------------------------------------------------------------- header, square, cores


def test_the_header_without_the_pixels() -> None:
    header = read_header(encoded(ramp(), "PNG")[:100])  # the rest is not needed
    assert (header.width, header.height, header.mode) == (100, 80, "L")
    header = read_header(dicom_bytes(dicom(ramp(top=4000))))
    assert (header.width, header.height, header.mode) == (100, 80, "MONOCHROME2;12")


def test_the_letterbox_keeps_the_aspect_ratio() -> None:
    film = Film(np.full((50, 100), 200, np.uint8), 0, 255, 8)
    square = letterbox(film, 64)
    assert (square[16:48] == 200).all()
    assert (square[:16] == 0).all()
    assert (square[48:] == 0).all()
    fit = fit_into_square(100, 50, 64)
    assert (fit.factor, fit.left, fit.top) == (0.64, 0, 16)


def test_the_letterbox_resizes_in_full_depth() -> None:
    """Two 16-bit values that 8 bits cannot tell apart average to one between them before rounding."""
    fine = np.zeros((64, 64), np.uint16)
    fine[:, ::2] = 256
    film = Film(fine, 0.0, 65535.0, 16)
    square = letterbox(film, 32)
    # mean 128 → 128 · 255 / 65535 = 0.498 → 0; rounding first would have given (1 + 0) / 2 → 0 or 1.
    assert set(np.unique(square)) == {0}
    film = Film(fine * 2, 0.0, 65535.0, 16)
    assert set(np.unique(letterbox(film, 32))) == {1}


def test_a_film_of_one_pixel_fills_the_square() -> None:
    assert (letterbox(Film(np.full((1, 1), 77, np.uint8), 0, 255, 8), 32) == 77).all()


def test_work_over_cores_keeps_the_order_and_passes_errors_on() -> None:
    assert list(over_cores(lambda part: [2 * item for item in part], range(100), cores=2)) == list(range(0, 200, 2))

    def fails(part: object) -> list[int]:
        raise UnreadableFilmError("no")

    with pytest.raises(UnreadableFilmError):
        list(over_cores(fails, range(100), cores=2))


def test_work_over_cores_waits_for_a_slow_reader() -> None:
    begun = 0

    def counts(part: range) -> list[int]:
        nonlocal begun
        begun += len(part)
        return list(part)

    reader = over_cores(counts, range(10_000), cores=2, block=10)
    next(reader)
    time.sleep(0.1)
    assert begun <= 50
    assert list(reader)[-1] == 9_999


def test_opencv_uses_no_threads_of_its_own() -> None:
    assert cv2.getNumThreads() == 1
