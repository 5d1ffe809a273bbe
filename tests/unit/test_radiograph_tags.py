"""Pictures in DICOM that are no radiographs for reading, and films that only look like something else."""

from typing import Any

import pytest

from osteon.films.reading.dicom_tags import BURNED_IN, read_tags
from osteon.films.reading.radiograph_tags import MODALITIES, RADIOGRAPHS, UNSPECIFIC
from tests.making import dicom, dicom_bytes, ramp

SC = "1.2.840.10008.5.1.4.1.1.7"
DX = "1.2.840.10008.5.1.4.1.1.1.1"


def doubt(sop_class: str | None = None, **tags: Any) -> str | None:
    dataset = dicom(ramp(top=4095), **tags)
    if sop_class is not None:
        dataset.SOPClassUID = sop_class
        dataset.file_meta.MediaStorageSOPClassUID = sop_class or SC
    return read_tags(dicom_bytes(dataset)).doubt


@pytest.mark.parametrize("modality", sorted(RADIOGRAPHS | UNSPECIFIC | {"XR", "dx", "X-RAY"}))
def test_projection_radiography_and_what_says_nothing_is_no_doubt(modality: str) -> None:
    assert doubt(Modality=modality) is None
    assert doubt(SC, Modality=modality) is None


@pytest.mark.parametrize("modality", ["CT", "MR", "MG", "US", "NM", "PT", "RF", "XA", "SEG", "RTIMAGE", "DOC", " ct "])
def test_another_modality_is_a_doubt(modality: str) -> None:
    term = modality.strip().upper()
    assert doubt(Modality=modality) == f"Modality is {term} ({MODALITIES[term]}), no radiograph"
    assert doubt(SC, Modality=modality) == f"Modality is {term} ({MODALITIES[term]}), no radiograph"


@pytest.mark.parametrize(
    ("sop_class", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", "CT"),
        ("1.2.840.10008.5.1.4.1.1.4", "MR"),
        ("1.2.840.10008.5.1.4.1.1.1.2", "Digital Mammography X-Ray"),
        ("1.2.840.10008.5.1.4.1.1.6.1", "Ultrasound"),
        ("1.2.840.10008.5.1.4.1.1.20", "Nuclear Medicine"),
        ("1.2.840.10008.5.1.4.1.1.128", "Positron Emission Tomography"),
        ("1.2.840.10008.5.1.4.1.1.12.2", "X-Ray Radiofluoroscopic"),
    ],
)
def test_without_a_modality_the_class_tells(sop_class: str, name: str) -> None:
    assert doubt(sop_class) == f"SOPClassUID is that of {name}, no radiograph"
    assert doubt(sop_class, Modality="CR") == f"SOPClassUID is that of {name}, no radiograph"


def test_a_class_of_a_maker_says_nothing() -> None:
    assert doubt("1.3.12.2.1107.5.9.9", Modality="DX") is None


@pytest.mark.parametrize("kind", [["ORIGINAL", "PRIMARY", "LOCALIZER"], ["DERIVED", "SECONDARY", "SCOUT"]])
def test_a_localiser_is_a_doubt(kind: list[str]) -> None:
    assert doubt(ImageType=kind) == "ImageType says that it is a localiser"
    assert doubt(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]) is None
    both = doubt(ImageType=kind, Modality="CT")
    assert both == "Modality is CT (computed tomography), no radiograph; ImageType says that it is a localiser"


def test_for_processing_is_a_doubt_by_its_intent_and_by_its_class() -> None:
    reason = "FOR PROCESSING: the detector's raw values; export the picture that is FOR PRESENTATION"
    assert doubt(DX, PresentationIntentType="FOR PROCESSING") == reason
    assert doubt(PresentationIntentType="for processing ") == reason
    assert doubt("1.2.840.10008.5.1.4.1.1.1.1.1", Modality="DX") == reason
    assert doubt(DX, PresentationIntentType="FOR PRESENTATION") is None


@pytest.mark.parametrize(
    ("tags", "document"),
    [
        ({"ConversionType": "SD"}, "a scanned document"),
        ({"ConversionType": "DRW"}, "a drawing"),
        ({"ConversionType": "SYN"}, "a synthetic image"),
        ({"SeriesDescription": "Radiology Report"}, "a document (SeriesDescription has the word 'report')"),
        ({"SeriesDescription": "BEFUND_Müller"}, "a document (SeriesDescription has the word 'befund')"),
        ({"SeriesDescription": "Compte-rendu"}, "a document (SeriesDescription has the word 'compte rendu')"),
        ({"ProtocolName": "Hasta Rapor"}, "a document (ProtocolName has the word 'rapor')"),
        ({"DocumentTitle": "Informe médico"}, "a document (DocumentTitle has the word 'informe')"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "a document (ImageType has the word 'screen save')"),
    ],
)
@pytest.mark.parametrize("modality", ["OT", "CR"])
def test_a_secondary_capture_of_a_document_is_a_doubt(tags: dict[str, Any], document: str, modality: str) -> None:
    assert doubt(SC, Modality=modality, **tags) == f"secondary capture of {document}, no radiograph"
    assert doubt("1.2.840.10008.5.1.4.1.1.7.2", Modality=modality, **tags) == doubt(SC, Modality=modality, **tags)


@pytest.mark.parametrize(
    "tags",
    [
        {"ConversionType": "DF"},  # a film that was scanned
        {"ConversionType": "WSD", "SeriesDescription": "Wrist ap"},  # a film that a workstation sent
        {"ConversionType": "DI"},
        {"ImageType": ["DERIVED", "SECONDARY"]},
        {"SeriesDescription": "Reportable wrist"},  # a whole word only
        {},
    ],
)
def test_a_film_that_was_captured_is_no_doubt(tags: dict[str, Any]) -> None:
    assert doubt(SC, Modality="OT", **tags) is None


def test_a_radiograph_may_be_described_by_any_word() -> None:
    """Technicians write what they like; the class says that it comes from the detector."""
    assert doubt(DX, Modality="DX", SeriesDescription="for report, see letter") is None


def test_all_reasons_are_given() -> None:
    text = doubt(Modality="US", BurnedInAnnotation="YES")
    assert text == f"Modality is US (ultrasound), no radiograph; {BURNED_IN}"


def test_of_several_modalities_a_radiographs_is_enough() -> None:
    assert doubt(Modality=["CT", "CR"]) is None
