import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from components.ingestion.step import ingest
from components.validation.step import validate
from osteon.films.reading.dicom_tags import BURNED_IN, REGIONS, VIEWS, FilmTags, read_tags, word_in
from osteon.params import DataParams, ValidationParams
from tests.making import dicom, dicom_bytes, encoded, ramp, write


def tags(**values: object) -> FilmTags:
    return read_tags(dicom_bytes(dicom(ramp(top=4000), **values)))


def coded(meaning: str) -> Sequence:
    item = Dataset()
    item.CodeMeaning = meaning
    return Sequence([item])


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("WRIST", "wrist"),
        ("L HAND", "hand"),
        ("HAND_AP2", "hand"),
        ("both knees", "knee"),
        ("RADIUSULNA", "forearm"),
        ("Distal radius, left", "wrist"),
        ("TIB/FIB", "lower leg"),
        ("Tibia and fibula", "lower leg"),
        ("upper leg", "femur"),
        ("C-Spine", "spine"),
        ("Hüfte rechts", "hip"),
        ("Huefte", "hip"),
        ("FUSS", "foot"),
        ("Linker Fuß", "foot"),
        ("Unterschenkel", "lower leg"),
        ("muñeca", "wrist"),
        ("dedo del pie", "toe"),
        ("Hand and wrist", None),  # two of them
        ("Handlung", None),  # a whole word only
        ("Chandler, Hans", None),
        ("radial head", None),
        ("EXTREMITY", None),
        ("", None),
    ],
)
def test_regions_in_what_people_write(text: str, region: str | None) -> None:
    assert word_in(text, "region") == region


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("AP", "frontal"),
        ("Knie a.p.", "frontal"),
        ("antero-posterior", "frontal"),
        ("LAT", "lateral"),
        ("Ellenbogen seitl.", "lateral"),
        ("medio-lateral", "lateral"),
        ("Schrägaufnahme", "oblique"),
        ("OBL", "oblique"),
        ("Patella axial", "axial"),
        ("AP/LAT", None),
        ("Rapid", None),
        ("LL 2024", None),  # lower limb, likely
    ],
)
def test_views_in_what_people_write(text: str, view: str | None) -> None:
    assert word_in(text, "view") == view


def test_every_spelling_is_found_and_stands_for_one_word() -> None:
    for kind, words in (("region", REGIONS), ("view", VIEWS)):
        spellings = [spelling for text in words.values() for spelling in text.split(", ")]
        assert len(spellings) == len(set(spellings))
        for word, text in words.items():
            for spelling in text.split(", "):
                assert word_in(f"XX {spelling.upper()}, 2", kind) == word


# ---------------------------------------------------------------- tags


def test_the_body_part_goes_before_what_is_described() -> None:
    descriptions = {"SeriesDescription": "Hand AP", "ProtocolName": "Elbow", "StudyDescription": "Knee LAT"}
    assert tags(BodyPartExamined="WRIST", AnatomicRegionSequence=coded("Ankle"), **descriptions).region == "wrist"
    assert tags(BodyPartExamined="LIMB", AnatomicRegionSequence=coded("Ankle"), **descriptions).region == "ankle"
    assert tags(BodyPartExamined="", **descriptions).region == "hand"
    del descriptions["SeriesDescription"]
    assert tags(**descriptions).region == "elbow"
    del descriptions["ProtocolName"]
    assert tags(**descriptions) == ("knee", None, None, None)  # a study's description is no view of a film's


@pytest.mark.parametrize(
    ("position", "view"),
    [
        ("AP", "frontal"),
        (" pa ", "frontal"),
        ("LL", "lateral"),
        ("rl", "lateral"),
        ("Lateral", "lateral"),
        ("LLO", "oblique"),
        ("RAO", "oblique"),
        ("OBL", "oblique"),
        ("XY", None),
    ],
)
def test_view_positions(position: str, view: str | None) -> None:
    assert tags(ViewPosition=position).view == view


def test_the_views_code_and_the_series_stand_in_for_the_position() -> None:
    assert tags(ViewCodeSequence=coded("medio-lateral"), SeriesDescription="AP").view == "lateral"
    assert tags(ViewPosition="PA", ViewCodeSequence=coded("medio-lateral")).view == "frontal"
    assert tags(SeriesDescription="Schrägaufnahme", SpecificCharacterSet="ISO_IR 100").view == "oblique"


def test_pixel_spacing_calibrated_first() -> None:
    assert tags(PixelSpacing=[0.139, 0.14], ImagerPixelSpacing=[0.2, 0.2]).pixel_spacing == "[0.139, 0.14]"
    assert tags(ImagerPixelSpacing=[0.2, 0.25]).pixel_spacing == "[0.2, 0.25]"
    assert tags(PixelSpacing=[0, 0], ImagerPixelSpacing=[0.2, 0.25]).pixel_spacing == "[0.2, 0.25]"
    assert tags(PixelSpacing=[0.1, -0.1]).pixel_spacing is None
    assert tags(PixelSpacing=0.1).pixel_spacing is None
    assert tags().pixel_spacing is None


@pytest.mark.parametrize(
    ("value", "doubt"), [("YES", BURNED_IN), ("yes ", BURNED_IN), ("NO", None), ("", None), ("YESTERDAY", None)]
)
def test_burned_in_text_is_a_doubt(value: str, doubt: str | None) -> None:
    assert tags(BurnedInAnnotation=value).doubt == doubt


def test_one_bad_tag_does_not_hide_the_others() -> None:
    data = dicom_bytes(
        dicom(ramp(top=4000), PixelSpacing=[11111111, 2], BodyPartExamined="HAND", BurnedInAnnotation="YES")
    )
    result = read_tags(data.replace(b"11111111", b"Xaverine"))
    assert result == ("hand", None, None, BURNED_IN)


def test_other_formats_say_nothing() -> None:
    assert read_tags(encoded(ramp(), "PNG")) == read_tags(b"") == FilmTags()


# ---------------------------------------------------------------- in the manifest


def test_the_tags_fill_what_the_set_leaves_open_whatever_its_layout(tmp_path: Path) -> None:
    films = tmp_path / "films"
    says = {"BodyPartExamined": "KNEE", "ViewPosition": "AP", "PixelSpacing": [0.1, 0.1]}
    rng = np.random.default_rng(0)
    for number in range(8):
        pixels = rng.integers(0, 4000, (80, 100)).astype(np.uint16)
        burned = {"BurnedInAnnotation": "YES"} if number == 7 else {}
        write(films / f"{number}.dcm", dicom_bytes(dicom(pixels, **says, **burned)))
    lines = [f"{number}.dcm,{number % 2},{'hip' if number == 0 else ''}" for number in range(7)]
    write(films / "manifest.csv", "\n".join(["path,label,region", *lines, "7.dcm,third,"]).encode())
    ingest(films, tmp_path / "m.parquet", DataParams())
    rows = pd.read_parquet(tmp_path / "m.parquet").set_index("path")
    assert rows["region"].to_list() == ["hip", *["knee"] * 7]
    assert set(rows["view"]) == {"frontal"}
    assert [json.loads(text) for text in rows["pixel_spacing"]] == [[0.1, 0.1]] * 8
    assert rows["doubt"].iloc[:7].isna().all()
    assert rows["doubt"]["7.dcm"].endswith(f"; {BURNED_IN}")
    assert rows["doubt"]["7.dcm"].startswith("label 'third' is neither")

    params = ValidationParams(max_quarantined=0.2)
    validate(films, tmp_path / "m.parquet", tmp_path / "t.parquet", tmp_path / "report", params)
    assert "7.dcm" not in set(pd.read_parquet(tmp_path / "t.parquet")["path"])
    assert "BurnedInAnnotation = YES" in (tmp_path / "report" / "quarantine.csv").read_text()
