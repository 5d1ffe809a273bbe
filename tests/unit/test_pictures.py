"""Pictures as people save films: deep, turned, inverted, with previews, odd pixels and damaged EXIF blocks."""

import io
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from osteon.errors import UnreadableFilmError
from osteon.films.reading.decoding import decode, untagged_white
from osteon.films.reading.depth import depth_of, depth_of_set
from osteon.films.reading.film import Film, to_8_bit
from tests.making import encoded, phantom_films

GREY = phantom_films(1)[0]
TWELVE = (GREY.astype(np.float64) / 255 * 4095).round().astype(np.uint16)
SIXTEEN = GREY.astype(np.uint16) * 257


def read(data: bytes, depth: int | None = None) -> Film:
    return decode(data, max_megapixels=80, colour=True, depth=depth)


def grey_of(data: bytes, depth: int | None = None) -> NDArray[np.int64]:
    return to_8_bit(read(data, depth)).astype(np.int64)


def tiff(values: NDArray[np.uint16], photometric: int, order: str, bits: int = 16) -> bytes:
    """An uncompressed TIFF as a machine writes it; Pillow writes none of these."""
    data = values.astype(f"{order}u2").tobytes()
    height, width = values.shape
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8 + 2 + 12 * 9 + 4),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(data)),
    ]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    for tag, kind, value in tags:
        packed = struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
        head += struct.pack(f"{order}HHI", tag, kind, 1) + packed
    return head + struct.pack(f"{order}I", 0) + data


# ---------------------------------------------------------------- depth


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [12, 16])
def test_tiff_that_calls_white_zero(order: str, bits: int) -> None:
    values = TWELVE if bits == 12 else SIXTEEN
    np.testing.assert_array_equal(grey_of(tiff((1 << bits) - 1 - values, 0, order)), GREY)
    np.testing.assert_array_equal(grey_of(tiff(values, 1, order)), GREY)


def marked(height: int, width: int) -> NDArray[np.uint16]:
    values = TWELVE.copy()
    values[5 : 5 + height, 5 : 5 + width] = 65535
    return values


@pytest.mark.parametrize(("height", "width"), [(1, 1), (10, 20), (30, 60)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_hot_pixels_and_markers_do_not_make_a_film_dark(height: int, width: int, kind: str) -> None:
    grey = grey_of(encoded(marked(height, width), kind))
    assert (grey[5 : 5 + height, 5 : 5 + width] == 255).all()
    np.testing.assert_array_equal(grey[40:], GREY[40:])


def test_a_few_bright_pixels_of_the_film_itself_are_not_cut_off() -> None:
    values = np.tile(np.arange(1000, dtype=np.uint16), (1000, 1))
    values[:, -10:] = np.arange(1024, 2024, 100)
    assert depth_of(values) == 12


def test_values_of_the_upper_half_alone_are_signed_ones() -> None:
    np.testing.assert_allclose(grey_of(encoded(TWELVE + np.uint16(32768), "PNG")), GREY, atol=1)
    np.testing.assert_allclose(grey_of(encoded(SIXTEEN, "PNG")), GREY)


def test_one_depth_for_a_set() -> None:
    assert depth_of_set([]) is None
    assert depth_of_set([255]) == 8
    assert depth_of_set([1023, 1100]) == 12
    assert depth_of_set([4095] * 9 + [65535]) == 12  # that one cannot be read with it
    assert depth_of_set([4095] * 5 + [65535] * 5) == 16
    assert depth_of_set([900] * 8 + [3000, 3500]) == 12


def test_a_film_is_read_with_the_depth_of_its_set() -> None:
    data = encoded((GREY.astype(np.uint16) * 4), "PNG")
    assert untagged_white(data) == 1020
    np.testing.assert_allclose(grey_of(data), GREY, atol=1)
    np.testing.assert_allclose(grey_of(data, 12), GREY * (1020 / 4095), atol=1)
    with pytest.raises(UnreadableFilmError, match="its values need 12 bits, those of its set 10"):
        read(encoded(TWELVE, "PNG"), 10)


def test_the_depth_of_a_set_is_not_for_films_that_say_their_own() -> None:
    for data in (encoded(GREY, "PNG"), encoded(GREY, "JPEG"), encoded(SIXTEEN, "JPEG2000"), b"", b"nothing"):
        assert untagged_white(data) is None
    np.testing.assert_array_equal(grey_of(encoded(GREY, "PNG"), 12), GREY)
    np.testing.assert_array_equal(grey_of(encoded(SIXTEEN, "JPEG2000"), 12), GREY)


def test_an_outlier_in_a_float_tiff() -> None:
    values = GREY.astype(np.float32)
    values[0, 0] = 1e6
    np.testing.assert_array_equal(grey_of(encoded(values, "TIFF"))[1:], GREY[1:])


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize(("kind", "options"), [("WEBP", {"lossless": True}), ("JPEG2000", {}), ("PNG", {})])
def test_lossless_formats(kind: str, options: dict[str, bool]) -> None:
    np.testing.assert_array_equal(grey_of(encoded(GREY, kind, **options)), GREY)


@pytest.mark.parametrize("shift", [4, 0])
def test_jpeg_2000_of_16_bits_says_its_depth(shift: int) -> None:
    values = (TWELVE << shift).astype(np.uint16)
    np.testing.assert_allclose(grey_of(encoded(values, "JPEG2000")), values / 65535 * 255, atol=1)


@pytest.mark.parametrize("kind", ["MPO", "TIFF"])
def test_previews_behind_a_film_are_not_looked_at(kind: str) -> None:
    film = Image.fromarray(GREY).convert("RGB" if kind == "MPO" else "L")
    previews = [film.resize((film.width // 4, film.height // 4)), film.resize((film.width // 2, film.height // 2))]
    data = encoded(film, kind, save_all=True, append_images=previews)
    np.testing.assert_allclose(grey_of(data), GREY, atol=30 if kind == "MPO" else 0)
    with pytest.raises(UnreadableFilmError, match="holds 2 pictures"):
        read(encoded(film, kind, save_all=True, append_images=[film]))


def test_a_film_that_is_in_the_transparency_alone() -> None:
    film, black = Image.fromarray(GREY), Image.new("L", GREY.shape[::-1])
    with pytest.raises(UnreadableFilmError, match="in its transparency alone"):
        read(encoded(Image.merge("LA", [black, film]), "PNG"))
    np.testing.assert_array_equal(grey_of(encoded(Image.merge("LA", [film, film]), "PNG")), GREY)


# ---------------------------------------------------------------- EXIF and dots


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("block", [b"Exif\0\0no TIFF at all", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_a_damaged_exif_block_does_not_matter(kind: str, block: bytes) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 98} if kind == "JPEG" else {}
    np.testing.assert_allclose(grey_of(encoded(GREY, kind, exif=block, **options)), GREY, atol=20)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
@pytest.mark.parametrize("values", [GREY, SIXTEEN], ids=["8 bits", "16 bits"])
def test_every_orientation(orientation: int, values: NDArray[np.uint16]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns = {2: "flip", 3: "180", 4: "flip 180", 5: "flip 90", 6: "-90", 7: "flip -90", 8: "90"}.get(orientation, "")
    expected = GREY[:, ::-1] if "flip" in turns else GREY
    expected = np.rot90(expected, {"180": 2, "90": 1, "-90": 3}.get(turns.removeprefix("flip").strip(), 0))
    np.testing.assert_array_equal(grey_of(encoded(values, "PNG", exif=exif)), expected)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG"])
def test_pixels_are_made_square(kind: str) -> None:
    film = read(encoded(GREY[:200, :300], kind, dpi=(200, 100)))
    assert film.pixels.shape == (400, 300)
    assert film.stretch == (1, 2)
    assert read(encoded(GREY[:200, :300], kind, dpi=(72, 72))).stretch == (1, 1)


def test_pixels_of_a_film_that_lies_on_its_side_are_made_square() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    film = read(encoded(GREY[:200, :300], "PNG", dpi=(200, 100), exif=exif))
    assert film.pixels.shape == (300, 400)
    assert film.stretch == (2, 1)


def test_bytes_behind_the_end_do_not_matter() -> None:
    data = io.BytesIO()
    Image.fromarray(GREY).save(data, "PNG")
    np.testing.assert_array_equal(grey_of(data.getvalue() + b"more"), GREY)
