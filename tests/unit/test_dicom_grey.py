"""DICOM as machines write it: tags that lie, are missing, or mean what a viewer must know."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from osteon.errors import UnreadableFilmError
from osteon.films.reading.decoding import decode, read_header
from osteon.films.reading.dicom_pixels import is_dicom
from osteon.films.reading.film import Film, to_8_bit
from tests.making import dicom, dicom_bytes, phantom_films

GREY = phantom_films(1)[0]
TWELVE = (GREY.astype(np.float64) / 255 * 4095).round().astype(np.uint16)


def film_of(dataset: Dataset) -> Film:
    return decode(dicom_bytes(dataset), max_megapixels=80)


def grey_of(dataset: Dataset) -> NDArray[np.int64]:
    return to_8_bit(film_of(dataset)).astype(np.int64)


def shows_the_film(dataset: Dataset, within: int = 1) -> bool:
    return bool(np.abs(grey_of(dataset) - GREY).max() <= within)


def lut(first: int, entries: Any, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = np.asarray(entries, "<u2").tobytes()
    return item


# ---------------------------------------------------------------- look-up tables


@pytest.mark.parametrize(("says", "has"), [(16, 12), (16, 10), (12, 12), (10, 12), (8, 12), (16, 14)])
def test_a_voi_lut_has_the_depth_of_its_entries_whatever_it_says(says: int, has: int) -> None:
    entries = (np.arange(4096) / 4095 * (2**has - 1)).round()
    assert shows_the_film(dicom(TWELVE, VOILUTSequence=[lut(0, entries, says)]))


def test_a_dark_lut_is_meant_so() -> None:
    """Entries to a little above half of what the descriptor says."""
    entries = np.arange(4096) * 9
    grey = grey_of(dicom(TWELVE, VOILUTSequence=[lut(0, entries, 16)]))
    np.testing.assert_allclose(grey, np.rint(TWELVE * 9 * (255 / 65535)), atol=1)


def test_a_lut_of_which_the_pixels_reach_a_sixteenth() -> None:
    assert shows_the_film(dicom(TWELVE, VOILUTSequence=[lut(0, np.arange(65535), 16)]))


def test_entries_of_8_bits_are_packed_in_words() -> None:
    item = Dataset()
    item.LUTDescriptor = [256, 0, 8]
    item.LUTData = np.arange(256, dtype=np.uint8).tobytes()
    assert shows_the_film(dicom(GREY, bits=8, VOILUTSequence=[item]), within=0)


def test_values_beside_a_lut_get_its_first_and_last_entry() -> None:
    pixels = np.tile(np.arange(100, dtype=np.uint16) * 40, (64, 1))
    dataset = dicom(pixels, VOILUTSequence=[lut(1000, np.arange(2000) * 2, 12)])
    np.testing.assert_array_equal(film_of(dataset).pixels[0], np.clip(pixels[0].astype(int) - 1000, 0, 1999) * 2)


def test_the_first_value_of_a_lut_may_be_negative() -> None:
    signed = TWELVE.astype(np.int16) - 2048
    for first in (-2048, 65536 - 2048):
        item = lut(0, np.arange(4096), 12)
        item.LUTDescriptor = [4096, first, 12]
        item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
        dataset = dicom(signed, VOILUTSequence=[item])
        assert shows_the_film(dataset), first


@pytest.mark.parametrize("count", [65535, 40000])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_lut_of_a_signed_film_may_have_more_than_32767_entries(count: int, syntax: str) -> None:
    """A file that names no types (implicit) gives the descriptor's count as a negative number."""
    signed = (GREY.astype(np.float64) / 255 * (count - 1) - 20000).round().clip(-32768, 32767).astype(np.int16)
    item = lut(-20000, np.arange(count) * (65535 / (count - 1)), 16)
    item["LUTDescriptor"].VR = "SS"
    item.LUTDescriptor = [count, -20000, 16]
    dataset = dicom(signed, bits=16, VOILUTSequence=[item])
    dataset.file_meta.TransferSyntaxUID = syntax
    expected = (signed.astype(np.int64) + 20000).clip(0, count - 1) / (count - 1) * 255
    np.testing.assert_allclose(grey_of(dataset), expected, atol=1)


def test_a_modality_lut_comes_first() -> None:
    item = lut(0, 4095 - np.arange(4096), 12)
    item.ModalityLUTType = "US"
    dataset = dicom(4095 - TWELVE, ModalityLUTSequence=[item], WindowCenter=2048, WindowWidth=4096)
    assert shows_the_film(dataset)


# ---------------------------------------------------------------- rescale and windows


def test_a_falling_rescale_with_a_window() -> None:
    """Agfa CR: slope −10, intercept 3000, 8 bits."""
    tags = {"RescaleSlope": -10, "RescaleIntercept": 3000, "WindowCenter": 1725, "WindowWidth": 2550}
    assert shows_the_film(dicom(255 - GREY, bits=8, **tags))
    tags = {"RescaleSlope": -1, "RescaleIntercept": 4095, "WindowCenter": 2048, "WindowWidth": 4096}
    assert shows_the_film(dicom(4095 - TWELVE, **tags))


@pytest.mark.parametrize("slope", [None, "", 0])
def test_a_slope_that_is_missing_empty_or_0_is_none(slope: object) -> None:
    assert shows_the_film(dicom(TWELVE, RescaleSlope=slope, RescaleIntercept="" if slope == "" else 0))


@pytest.mark.parametrize(
    ("centre", "width"),
    [
        ("", ""),
        (0, 0),
        (2048, 1),  # of the standard, and nothing but black and white
        (2048, -4096),
        (40, 400),  # of another modality
        (128, 256),  # of 8 bits
        (32768, 65536),  # of 16 bits: a sixteenth of the range is left
        (-9000, 300),  # all white
        (90000, 300),  # all black
        ([600, 2048], [60, 4096]),  # the second one shows the film
        ([0, 2048], [0, 4096]),
    ],
)
def test_a_window_that_does_not_show_the_film_is_not_used(centre: object, width: object) -> None:
    assert shows_the_film(dicom(TWELVE, WindowCenter=centre, WindowWidth=width))


def test_of_several_windows_that_show_the_film_the_first_is_used() -> None:
    dataset = dicom(TWELVE, WindowCenter=[1500, 2048], WindowWidth=[2000, 4096])
    assert (film_of(dataset).low, film_of(dataset).high) == (500, 2499)


@pytest.mark.parametrize("function", ["LINEAR", "linear ", "BOGUS", None])
def test_a_linear_window(function: str | None) -> None:
    """PS3.3, C.11.2.1.2.1: black at centre − 0.5 − (width − 1) / 2."""
    film = film_of(dicom(TWELVE, WindowCenter=2000.5, WindowWidth=2001, VOILUTFunction=function))
    assert (film.low, film.high) == (1000, 3000)


def test_an_exact_linear_window() -> None:
    film = film_of(dicom(TWELVE, WindowCenter=2000, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT"))
    assert (film.low, film.high) == (1000, 3000)


def test_a_sigmoid_window() -> None:
    grey = grey_of(dicom(TWELVE, WindowCenter=2048, WindowWidth=2048, VOILUTFunction="SIGMOID"))
    np.testing.assert_allclose(grey, 255 / (1 + np.exp(-4 * (TWELVE - 2048.0) / 2048)), atol=1)


def test_a_blank_film_is_not_stretched_by_its_window() -> None:
    noise = np.random.default_rng(0).integers(2000, 2020, (90, 90)).astype(np.uint16)
    assert np.ptp(grey_of(dicom(noise, WindowCenter=2048, WindowWidth=4096))) <= 2


def test_one_hot_pixel_does_not_make_a_film_dark() -> None:
    pixels = TWELVE.copy()
    pixels[0, 0] = 65535
    grey = grey_of(dicom(pixels, bits=16))
    assert np.abs(grey - GREY)[1:].max() <= 16


# ---------------------------------------------------------------- bits of a word


@pytest.mark.parametrize("shift", [0, 2, 4])
def test_the_high_bit_says_where_the_value_is(shift: int) -> None:
    words = (TWELVE << shift).astype(np.uint16)
    words[:40] |= 0x8000 if shift < 4 else 1  # an overlay in a bit that is left
    dataset = dicom(words, HighBit=11 + shift)
    assert shows_the_film(dataset)


def test_a_high_bit_that_lies() -> None:
    assert shows_the_film(dicom(TWELVE, HighBit=15), within=0)


@pytest.mark.parametrize("bit", [12, 15])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
def test_an_overlay_in_the_upper_bits(bit: int, window: dict[str, Any]) -> None:
    words = TWELVE.copy()
    words[: len(words) // 4] |= 1 << bit
    words[100:140, 50:90] |= 1 << bit
    assert shows_the_film(dicom(words, **window))


def test_fewer_bits_stored_than_the_values_need() -> None:
    dataset = dicom(TWELVE)
    dataset.BitsStored, dataset.HighBit = 10, 9
    assert shows_the_film(dataset)


@pytest.mark.parametrize("extended", [True, False])
def test_signed_values_with_and_without_their_sign_in_the_upper_bits(extended: bool) -> None:
    signed = TWELVE.astype(np.int16) - 2048
    if not extended:
        signed &= 0x0FFF
    assert shows_the_film(dicom(signed, bits=12))


# ---------------------------------------------------------------- polarity, padding


@pytest.mark.parametrize(
    ("photometric", "shape", "turned"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("monochrome1", None, True),
        ("MONOCHROME2 ", None, False),
    ],
)
def test_polarity(photometric: str, shape: str | None, turned: bool) -> None:
    dataset = dicom(4095 - TWELVE if turned else TWELVE, PresentationLUTShape=shape)
    dataset.PhotometricInterpretation = photometric
    assert shows_the_film(dataset)
    assert read_header(dicom_bytes(dataset)).mode == f"{photometric.strip().upper()};12"


def test_a_film_that_does_not_say_what_is_bright_is_refused() -> None:
    dataset = dicom(TWELVE)
    del dataset.PhotometricInterpretation
    with pytest.raises(UnreadableFilmError, match="does not say what is bright"):
        film_of(dataset)
    dataset.PhotometricInterpretation = "XAVERINE"
    with pytest.raises(UnreadableFilmError, match="unknown PhotometricInterpretation") as caught:
        film_of(dataset)
    assert "XAVER" not in str(caught.value)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("ends", [(0, 100), (100, 0)])
def test_a_range_of_padding_is_black(photometric: str, ends: tuple[int, int]) -> None:
    pixels = np.clip(TWELVE, 200, 4000)
    pixels[:, :50] = np.random.default_rng(0).integers(0, 101, (len(pixels), 50))
    dataset = dicom(pixels, photometric, PixelPaddingValue=ends[0], PixelPaddingRangeLimit=ends[1])
    film = film_of(dataset)
    assert (film.low, film.high) == (200, 4000)
    assert (to_8_bit(film)[:, :50] == 0).all()
    expected = pixels[:, 50:].astype(float)
    expected = 4200 - expected if photometric == "MONOCHROME1" else expected
    np.testing.assert_allclose(to_8_bit(film)[:, 50:], (expected - 200) / 3800 * 255, atol=1)


def test_negative_padding_that_is_written_as_a_positive_number() -> None:
    pixels = TWELVE.astype(np.int16)
    pixels[:, :50] = -2000
    dataset = dicom(pixels, bits=16)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    grey = grey_of(dataset)
    assert (grey[:, :50] == 0).all()
    assert np.abs(grey[:, 50:] - GREY[:, 50:]).max() <= 1


def test_padding_alone_is_no_film() -> None:
    with pytest.raises(UnreadableFilmError, match="padding alone"):
        film_of(dicom(np.full((80, 80), 7, np.uint16), PixelPaddingValue=7))


# ---------------------------------------------------------------- files


def test_files_without_preamble_or_meta_header() -> None:
    dataset = dicom(TWELVE)
    whole = dicom_bytes(dataset)
    variants = {"without preamble": whole[132:]}
    for name, implicit, little in (("implicit", True, True), ("explicit", False, True), ("big-endian", False, False)):
        bare = Dataset()
        bare.update({element.tag: element for element in dataset})
        bare.PixelData = TWELVE.astype("<u2" if little else ">u2").tobytes()
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
        write_dataset(buffer, bare)
        variants[name] = buffer.getvalue()
    variants["preamble without meta header"] = b"\0" * 128 + b"DICM" + variants["implicit"]
    for name, data in variants.items():
        assert is_dicom(data[:200]), name
        np.testing.assert_array_equal(to_8_bit(decode(data, max_megapixels=80)), GREY, err_msg=name)


@pytest.mark.parametrize(
    "data", [b"", b"\x08\0", b"\x08\0\x05\0CS\x0a\0ISO_IR 100", b"plain text of some length" * 9, b"\x08" * 400]
)
def test_other_bytes_are_no_dicom(data: bytes) -> None:
    assert not is_dicom(data)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRBigEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=lambda uid: uid.name
)
def test_uncompressed_syntaxes(syntax: Any) -> None:
    dataset = dicom(TWELVE.astype(">u2") if syntax == ExplicitVRBigEndian else TWELVE)
    bare = Dataset()
    bare.update({element.tag: element for element in dataset})
    bare.file_meta = dataset.file_meta
    bare.file_meta.TransferSyntaxUID = syntax
    assert shows_the_film(bare, within=0)


@pytest.mark.parametrize("frames", [0, 1])
def test_a_number_of_frames_that_means_one(frames: int) -> None:
    assert shows_the_film(dicom(TWELVE, NumberOfFrames=frames), within=0)


def test_pixels_that_are_too_many_or_too_few() -> None:
    dataset = dicom(TWELVE)
    dataset.PixelData += b"\0" * 400
    assert shows_the_film(dataset, within=0)
    dataset.PixelData = dataset.PixelData[:-800]
    with pytest.raises(UnreadableFilmError, match=rf"truncated DICOM pixels: {2 * TWELVE.size - 400:,} bytes of"):
        film_of(dataset)


def test_a_grey_film_in_colours() -> None:
    rgb = np.stack([GREY] * 3, axis=-1)
    assert shows_the_film(dicom(rgb, "RGB", 8), within=0)
    dataset = dicom(rgb, "RGB", 8)
    grey = np.full_like(GREY, 128)
    dataset.PhotometricInterpretation = "YBR_FULL"
    dataset.PixelData = np.stack([GREY, grey, grey], axis=-1).tobytes()
    assert shows_the_film(dataset)


def test_a_grey_palette() -> None:
    dataset = dicom(255 - GREY, "PALETTE COLOR", 8)
    entries = (np.arange(256)[::-1] * 257).astype("<u2").tobytes()
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", entries)
    assert shows_the_film(dataset, within=0)
    dataset.RedPaletteColorLookupTableData = entries[::-1]
    with pytest.raises(UnreadableFilmError, match=r"colour DICOM \(PALETTE COLOR\)"):
        film_of(dataset)


# ---------------------------------------------------------------- pixels that are not square


@pytest.mark.parametrize(
    ("tags", "stretch"),
    [
        ({"PixelAspectRatio": [2, 1]}, (1, 2)),
        ({"PixelAspectRatio": [1, 2]}, (2, 1)),
        ({"PixelSpacing": [0.3, 0.2]}, (1, 1.5)),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, (2, 1)),
        ({"PixelSpacing": [0.15, 0.15], "PixelAspectRatio": [2, 1]}, (1, 1)),  # the standard allows the first alone
        ({"PixelSpacing": [0, 0], "PixelAspectRatio": [2, 1]}, (1, 2)),
        ({"PixelSpacing": [0.1435, 0.1434]}, (1, 1)),
    ],
)
def test_pixels_are_made_square(tags: dict[str, Any], stretch: tuple[float, float]) -> None:
    film = film_of(dicom(GREY[:200, :300], bits=8, **tags))
    assert film.pixels.shape == (200 * stretch[1], 300 * stretch[0])
    assert film.stretch == stretch


def test_a_stretched_film_is_the_one_that_it_was_made_from() -> None:
    film = to_8_bit(film_of(dicom(np.ascontiguousarray(GREY[::2]), bits=8, PixelAspectRatio=[2, 1])))
    assert np.corrcoef(film.ravel(), GREY.ravel())[0, 1] > 0.995


def test_a_pixel_ten_times_as_high_as_wide_is_none() -> None:
    with pytest.raises(UnreadableFilmError, match="a pixel is 10 times as high as wide"):
        film_of(dicom(TWELVE, PixelAspectRatio=[10, 1]))


@pytest.mark.parametrize("spacing", [["x", "y"], ["1"], ["nan", "1"], ["0", "0"]])
def test_a_spacing_that_makes_no_sense_says_nothing_of_the_pixels(spacing: list[str]) -> None:
    dataset = dicom(TWELVE)
    dataset.add_new("PixelSpacing", "LO", spacing)
    assert film_of(dataset).pixels.shape == TWELVE.shape
