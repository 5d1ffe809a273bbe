"""The attributes of a film's file and exposure, and what the audit makes of them."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from components.validation import shortcuts
from components.validation.attributes import (
    ATTRIBUTE_TYPES,
    Attributes,
    attributes_of,
    frame_of,
    marker_corner,
    numbered,
)
from components.validation.film_checks import CHECK_TYPES
from components.validation.shortcuts import attribute_table, audit_shortcuts, label_shares
from osteon.films.shortcut_audit import Attribute, LabelShare
from osteon.params import ValidationParams
from osteon.statistics.estimate import Estimate
from osteon.statistics.proportions import wilson
from tests.making import dicom, dicom_bytes, encoded, manifest_of, ramp

# ---------------------------------------------------------------- attributes of one film


def noise(seed: int, height: int = 80, width: int = 100) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(40, 200, (height, width), np.uint8)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 100), st.booleans())
def test_the_quality_a_jpeg_was_saved_with_is_found_again(quality: int, colour: bool) -> None:
    picture = Image.fromarray(noise(quality)).convert("RGB" if colour else "L")
    result = attributes_of(encoded(picture, "JPEG", quality=quality), noise(0))
    assert result.jpeg_quality == quality


# ITU-T T.81, annex K, table K.1.
LUMINANCE = """
    16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""


@pytest.mark.parametrize("quality", [1, 2, 25, 49, 50, 51, 75, 90, 99, 100])
def test_the_quality_is_that_of_the_standards_table_scaled_as_the_libraries_code_says(quality: int) -> None:
    from components.validation.attributes import jpeg_quality

    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = [min(max((int(value) * scale + 50) // 100, 1), 255) for value in LUMINANCE.split()]
    assert jpeg_quality(table) == quality


def test_a_table_of_another_writer_has_the_nearest_quality() -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(0)).save(buffer, "JPEG", quality=80)
    table = Image.open(buffer).quantization[0]  # type: ignore[attr-defined]
    table[5] += 1
    other = encoded(noise(0), "JPEG", qtables=[table])
    assert attributes_of(other, noise(0)).jpeg_quality == 80


def test_what_a_picture_says_of_itself() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131], exif[0x0112] = "ACME  \n Corp", "X-1", "PhotoEdit 3", 6
    picture = Image.fromarray(noise(1)).convert("RGB")
    data = encoded(picture, "JPEG", exif=exif, dpi=(96, 96), subsampling="4:2:0", progressive=True)
    result = attributes_of(data, noise(1))
    assert result.file_bytes == len(data)
    assert (result.manufacturer, result.model, result.software) == ("ACME Corp", "X-1", "PhotoEdit 3")
    assert (result.encoding, result.chroma_sampling, result.dpi) == ("JPEG, progressive", "4:2:0", 96)
    assert result.orientation == 6
    plain = attributes_of(encoded(noise(1), "PNG"), noise(1))
    assert plain.encoding == "PNG"
    assert (plain.jpeg_quality, plain.chroma_sampling, plain.dpi, plain.manufacturer) == (None,) * 4


SECRETS = ("Grey Sloan Memorial", "ER-PORTABLE-2", "SN 4711", "Doe^Jane", "MRN-0815")


def test_dicom_tags_of_the_scanner_without_a_name_of_place_machine_or_patient() -> None:
    hospital, station, detector, patient, number = SECRETS
    tags = {
        "Manufacturer": "ACME",
        "ManufacturerModelName": "DR 9",
        "SoftwareVersions": ["1.0", "2.0"],
        "KVP": "60",
        "Exposure": "4",
        "ExposureTime": "",
        "StationName": station,
        "DetectorID": detector,
        "InstitutionName": hospital,
        "PatientName": patient,
        "PatientID": number,
    }
    film = noise(2)
    result = attributes_of(dicom_bytes(dicom(film, bits=8, **tags)), film)
    assert (result.manufacturer, result.model, result.software) == ("ACME", "DR 9", "['1.0', '2.0']")
    assert (result.kvp, result.current, result.exposure_time) == (60.0, 4.0, None)
    assert result.encoding == "DICOM, Explicit VR Little Endian"
    assert not [secret for secret in SECRETS if secret in str(result)]
    # Pseudonyms of eight hex digits: two machines stay two.
    assert result.station is not None
    other = attributes_of(dicom_bytes(dicom(film, bits=8, StationName="ER-PORTABLE-3")), film)
    assert result.station != other.station
    assert all(len(str(text)) == 9 for text in (result.station, result.detector, result.hospital, other.station))
    assert (other.detector, other.hospital, other.manufacturer) == (None, None, None)


def test_places_and_machines_are_numbered_as_they_come() -> None:
    films = pd.DataFrame(
        {name: pd.array(["#b", None, "#a", "#b"], "string") for name in ("station", "detector", "hospital")}
    )
    assert [None if pd.isna(item) else item for item in numbered(films)["station"]] == ["#1", None, "#2", "#1"]


def test_exposure_black_white_and_rim_by_hand() -> None:
    grey = np.full((10, 20), 100, np.uint8)
    grey[0], grey[-1] = 0, 255  # 40 of the rim's 56 pixels
    result = attributes_of(encoded(grey, "PNG"), grey)
    assert (result.black, result.white) == (20 / 200, 20 / 200)
    assert result.exposure == pytest.approx((160 * 100 + 20 * 255) / 200)
    assert result.rim == pytest.approx((20 * 255 + 16 * 100) / 56)


def test_a_frame_is_what_shows_nothing() -> None:
    grey = np.zeros((100, 200), np.uint8)
    grey[10:80, 30:190] = noise(3, 70, 160)
    assert frame_of(grey) == (10, 20, 30, 10)
    result = attributes_of(encoded(grey, "PNG"), grey)
    assert result.border == pytest.approx(1 - 70 * 160 / (100 * 200))
    assert frame_of(noise(3)) == (0, 0, 0, 0)
    assert frame_of(np.full((50, 50), 9, np.uint8)) == (0, 0, 0, 0)


def laid(*marks: tuple[slice, slice]) -> NDArray[np.uint8]:
    film = np.full((200, 160), 30, np.uint8)
    for rows, columns in marks:
        film[rows, columns] = 240
    return film


TOP_RIGHT = slice(10, 20), slice(140, 148)


@pytest.mark.parametrize(
    ("film", "corner"),
    [
        (laid(TOP_RIGHT), "top right"),
        (laid((slice(170, 185), slice(5, 12))), "bottom left"),
        (laid(TOP_RIGHT, (slice(170, 185), slice(5, 15))), "bottom left"),  # the larger of two
        (laid(), None),
        (laid((slice(90, 100), slice(80, 88))), None),  # in the middle
        (laid((slice(0, 200), slice(140, 148))), None),  # runs through: bone, or a cassette's edge
        (laid((slice(10, 12), slice(140, 141))), None),  # a speck
        (laid((slice(5, 40), slice(125, 158))), None),  # too large
        (np.where(laid(TOP_RIGHT) > 200, 80, 30).astype(np.uint8), None),  # faint
    ],
)
def test_the_corner_with_the_marker(film: NDArray[np.uint8], corner: str | None) -> None:
    assert marker_corner(film) == corner


def test_the_phantoms_markers_are_found(phantoms: Path) -> None:
    """Eight of ten have one, by the way they are drawn."""
    result = []
    for path in sorted((phantoms / "films").glob("*.png"))[:100]:
        with Image.open(path) as picture:
            result.append(marker_corner(np.asarray(picture)))
    assert 60 <= sum(corner is not None for corner in result) <= 90
    assert len(set(result)) == 5


# ---------------------------------------------------------------- shares of the label


def test_shares_by_quarter_and_by_text() -> None:
    labels = np.array([0, 0, 0, 1, 0, 0, 1, 1])
    numbers = pd.Series([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7000.0, np.nan])
    result = [(item.value, item.positive, item.films) for item in label_shares(numbers, labels)]
    assert result == [("1 – 2", 0, 2), ("3 – 4", 1, 2), ("5 – 6", 0, 2), ("7,000", 1, 1), ("none", 1, 1)]
    texts = pd.Series(["a", "b", "a", "b", "a", None, None, "a"], dtype=object)
    shares = label_shares(texts, labels)
    assert [(item.value, item.positive, item.films) for item in shares] == [("a", 1, 4), ("b", 1, 2), ("none", 1, 2)]
    assert shares[0].share == wilson(1, 4, 0.95)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0.0] * 9 + [1.0], ["0", "1"]),
        ([0.0] + [1.0] * 9, ["0", "1"]),
        ([0.5] + [1.0] * 8 + [3.0], ["0.5", "1", "3"]),
        ([2.0] * 10, ["2"]),
    ],
)
def test_a_value_that_a_quarter_shares_stands_alone(values: list[float], names: list[str]) -> None:
    shares = label_shares(pd.Series(values), np.zeros(10, np.int64))
    assert [item.value for item in shares] == names


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=60).filter(any))
def test_every_film_is_in_one_share(values: list[float | None]) -> None:
    labels = np.arange(len(values)) % 2
    shares = label_shares(pd.Series(values, dtype="float64"), labels)
    assert sum(item.films for item in shares) == len(values)
    assert sum(item.positive for item in shares) == labels.sum()


def shared(*rows: tuple[str, int, int]) -> Attribute:
    shares = [LabelShare(value=v, positive=p, films=n, share=wilson(p, n, 0.95)) for v, p, n in rows]
    return Attribute(name="x", auroc=Estimate(0.5, 0.4, 0.6), shares=shares)


def test_the_value_whose_share_differs_most() -> None:
    result = shared(("small", 160, 1000), ("large", 34, 100), ("two", 2, 2)).furthest()
    assert result is not None
    assert (result[0].value, result[1], result[2]) == ("large", 162, 1002)
    assert shared(("a", 50, 100), ("b", 52, 100)).furthest() is None
    assert shared(("all", 50, 100)).furthest() is None


# ---------------------------------------------------------------- the audit

FILMS = 400


def films_with(columns: dict[str, object], labels: NDArray[np.int64], **manifest: object) -> pd.DataFrame:
    """What validate has of films, all alike but for what is said."""
    number = range(len(labels))
    rows = pd.DataFrame(
        {
            "film_id": [f"f{i:05}" for i in number],
            "path": [f"{i:05}.png" for i in number],
            "sha256": [f"{i:064x}" for i in number],
            "label": labels,
            "finding": "fractured",
            "width": 100,
            "height": 80,
            "mode": "L",
            **manifest,
        }
    )
    seen = pd.DataFrame(index=rows.index)
    for name, kind in (CHECK_TYPES | ATTRIBUTE_TYPES).items():
        seen[name] = pd.array([pd.NA] * len(rows), dtype=kind)
    seen["pixel_sha256"] = [f"p{i}" for i in number]
    seen["file_bytes"] = 1000
    frame = manifest_of(rows.to_dict("records")).join(seen)
    for name, values in columns.items():
        frame[name] = pd.array(values, dtype=frame[name].dtype)
    return frame


def test_a_label_that_is_the_file_size_is_told_completely() -> None:
    labels = np.arange(FILMS) % 2
    rng = np.random.default_rng(0)
    columns = {"file_bytes": 1000 + 500 * labels + rng.integers(0, 100, FILMS), "exposure": rng.normal(100, 9, FILMS)}
    result = audit_shortcuts(films_with(columns, labels), ValidationParams())
    assert (result.auroc.value, result.auroc.high) == (1.0, 1.0)
    assert result.auroc.low is not None
    assert result.auroc.low > 0.98
    by_name = {item.name: item.auroc.value for item in result.attributes}
    # Nothing else is told but what goes with the size, as all films have as many pixels.
    assert {name for name, value in by_name.items() if value == 1.0} == {"file size (bytes)", "bytes a pixel"}
    assert 0.4 < (by_name["mean exposure (grey level)"] or 0) < 0.6
    assert result.attributes[0].name == "file size (bytes)"
    assert "the strongest is file size (bytes), alone 1.000 [" in str(result.warning)
    assert "max_shortcut = 0.6" in str(result.warning)
    assert (result.films, result.groups, result.left_out, result.skipped) == (FILMS, FILMS, 0, None)
    assert {"width (pixels)", "pixel format", "station (numbered)", "file extension"} <= set(result.constant)


def test_a_label_that_is_the_scanner_is_told_too() -> None:
    labels = np.arange(FILMS) % 2
    stations = np.where(np.random.default_rng(0).random(FILMS) < 0.9, labels, 1 - labels)
    columns = {"station": [f"#{item}" for item in stations], "kvp": [60.0, None] * (FILMS // 2)}
    result = audit_shortcuts(films_with(columns, labels), ValidationParams())
    by_name = {item.name: item for item in result.attributes}
    # 0.9 of each class: the area under one corner at (0.1, 0.9).
    assert by_name["station (numbered)"].auroc.value == pytest.approx(0.9, abs=0.03)
    assert by_name["tube voltage (kV)"].auroc.value == 1.0  # that it is missing tells
    assert [share.value for share in by_name["tube voltage (kV)"].shares] == ["60", "none"]


@pytest.mark.parametrize("seed", range(4))
def test_labels_that_nothing_goes_with_give_no_warning(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, FILMS)
    columns = {
        "file_bytes": rng.integers(900, 2000, FILMS),
        "exposure": rng.normal(100, 20, FILMS),
        "rim": rng.normal(50, 20, FILMS),
        "marker_corner": rng.choice(["top left", "top right"], FILMS),
    }
    result = audit_shortcuts(films_with(columns, labels), ValidationParams(seed=seed))
    assert result.warning is None
    assert result.auroc.low is not None
    assert result.auroc.high is not None
    assert result.auroc.low < 0.5 < result.auroc.high + 0.05


def copied(groups: int, copies: int, together: dict[str, object]) -> pd.DataFrame:
    """Groups of films with attributes of their own and a label by the toss of a coin, the same for all of the group."""
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(groups), copies)
    labels = rng.integers(0, 2, groups)[group]
    columns: dict[str, object] = {
        "file_bytes": rng.integers(1000, 1_000_000, groups)[group],
        "exposure": rng.normal(100, 20, groups)[group],
    }
    made = {name: [f"{value}{item}" for item in group] for name, value in together.items()}
    return films_with(columns, labels, **made)


def test_copies_do_not_make_the_labels_told() -> None:
    """Asked about copies of films it learned from, the same classifier knows them all."""
    apart = audit_shortcuts(copied(60, 8, {}), ValidationParams())
    assert apart.auroc.value is not None
    assert apart.auroc.value > 0.9  # nothing says that they are copies
    for sign in ("patient_id", "study_id"):
        result = audit_shortcuts(copied(60, 8, {sign: "P"}), ValidationParams())
        assert result.groups == 60
        assert result.warning is None
        assert result.auroc.low is not None
        assert result.auroc.low < 0.5
        assert result.auroc.value is not None
        assert result.auroc.value < 0.65


def test_copies_do_not_make_the_interval_narrower() -> None:
    once, eight = (audit_shortcuts(copied(60, copies, {"patient_id": "P"}), ValidationParams()) for copies in (1, 8))
    wide, narrow = (float(item.auroc.high or 0) - float(item.auroc.low or 0) for item in (once, eight))
    assert narrow == pytest.approx(wide, rel=0.35)  # by film it would be 2.8 times narrower


def test_a_region_in_disguise_is_seen_through() -> None:
    """Size goes with the region alone, and regions are not fractured equally often."""
    rng = np.random.default_rng(3)
    region = rng.integers(0, 2, 1000)
    labels = (rng.random(1000) < np.where(region, 0.8, 0.2)).astype(np.int64)
    columns = {"file_bytes": 1000 + 5000 * region + rng.integers(0, 900, 1000)}
    films = films_with(columns, labels, region=np.where(region, "hand", "leg"))
    result = audit_shortcuts(films, ValidationParams())
    assert result.auroc.low is not None
    assert result.auroc.low > 0.7
    assert result.within_region is not None
    assert result.within_region.low is not None
    assert result.within_region.high is not None
    assert result.within_region.low < 0.5 < result.within_region.high
    assert "among films of one region" in str(result.warning)


def test_the_warning_asks_for_the_whole_interval_above_the_limit() -> None:
    labels = np.arange(FILMS) % 2
    sizes = 1000 + 30 * labels + np.random.default_rng(0).integers(0, 60, FILMS)
    films = films_with({"file_bytes": sizes}, labels)
    low = audit_shortcuts(films, ValidationParams(max_shortcut=0.5)).auroc.low
    assert low is not None
    assert 0.6 < low < 0.9
    assert audit_shortcuts(films, ValidationParams(max_shortcut=low - 1e-6)).warning is not None
    assert audit_shortcuts(films, ValidationParams(max_shortcut=low)).warning is None


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros(50, np.int64), "0 groups have a film fractured, 10 are needed"),
        (np.ones(50, np.int64), "0 groups have a film not fractured, 10 are needed"),
        (np.arange(50) // 41, "9 groups have a film fractured, 10 are needed"),
        (np.empty(0, np.int64), "0 groups have a film fractured, 10 are needed"),
    ],
)
def test_too_few_films_are_not_asked(labels: NDArray[np.int64], reason: str) -> None:
    result = audit_shortcuts(films_with({"file_bytes": np.arange(len(labels))}, labels), ValidationParams())
    assert result.skipped == reason
    assert (result.auroc.value, result.warning, result.attributes) == (None, None, [])


def test_just_enough_films_are_asked() -> None:
    labels = (np.arange(50) >= 40).astype(np.int64)
    result = audit_shortcuts(films_with({"file_bytes": 1000 + labels}, labels), ValidationParams())
    assert result.skipped is None
    assert result.auroc.value is not None


def test_films_that_are_all_alike_are_not_asked() -> None:
    result = audit_shortcuts(films_with({}, np.arange(50) % 2), ValidationParams())
    assert result.skipped == "every attribute is the same on all films"
    assert "megapixels" in result.constant


def test_the_same_seed_finds_the_same_to_the_last_digit() -> None:
    films = films_with({"file_bytes": np.random.default_rng(0).integers(0, 99, FILMS)}, np.arange(FILMS) % 2)
    once, again, other = (audit_shortcuts(films, ValidationParams(seed=seed)) for seed in (1, 1, 2))
    assert once == again
    assert once.auroc != other.auroc


def test_of_many_films_whole_groups_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "MOST_FILMS", 100)
    rng = np.random.default_rng(0)
    patients = [f"P{i // 3}" for i in range(FILMS)]
    films = films_with({"file_bytes": rng.integers(0, 99, FILMS)}, rng.integers(0, 2, FILMS), patient_id=patients)
    result = audit_shortcuts(films, ValidationParams())
    assert 95 <= result.films <= 100
    assert result.films == 3 * result.groups or result.films == 3 * result.groups - 2  # the last patient has one film
    assert result.left_out == FILMS - result.films
    assert result.skipped is None


def test_a_text_on_few_films_is_not_told_apart() -> None:
    """It may be a name."""
    software = ["common"] * 30 + ["Dr. Jane Doe"] * 19 + ["other"] * 20 + [None] * 31
    table = attribute_table(films_with({"software": software}, np.arange(100) % 2))
    assert table["software"].value_counts().to_dict() == {"common": 30, "other": 20, "rarer ones": 19}
    result = audit_shortcuts(films_with({"software": software}, np.arange(100) % 2), ValidationParams())
    assert "Jane" not in result.model_dump_json()


def test_what_is_derived_by_hand() -> None:
    table = attribute_table(films_with({"file_bytes": [4000, 2000]}, np.array([0, 1])))
    assert table["megapixels"].tolist() == [0.008, 0.008]
    assert table["shape (width / height)"].tolist() == [1.25, 1.25]
    assert table["bytes a pixel"].tolist() == [0.5, 0.25]
    assert table["file extension"].tolist() == ["rarer ones"] * 2  # each on fewer than 20 films


def test_no_attribute_is_forgotten() -> None:
    assert set(Attributes._fields) == set(ATTRIBUTE_TYPES)
    requested = {*shortcuts.NUMBERS.values(), *shortcuts.TEXTS.values()}
    assert set(Attributes._fields) <= requested
    # Nothing that is the label, the group, or anatomy.
    assert not requested & {"label", "path", "film_id", "region", "view", "patient_id", "study_id", "boxes", "hardware"}


@pytest.mark.parametrize("make", [lambda: encoded(ramp(), "PNG"), lambda: dicom_bytes(dicom(ramp(top=4000)))])
def test_the_values_fit_their_types(make: Callable[[], bytes]) -> None:
    result = attributes_of(make(), ramp())
    frame = pd.DataFrame([result], columns=list(ATTRIBUTE_TYPES)).astype(ATTRIBUTE_TYPES)
    assert frame["file_bytes"].item() == result.file_bytes
