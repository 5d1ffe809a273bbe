"""Whether a DICOM picture is a radiograph for reading, by its tags, and why not.

A doubt is what the standard's own terms say (PS3.3, C.7.3.1.1.1, C.7.6.1.1.2, C.8.6.1, C.8.11.1) or, for a secondary
capture, a word for a document. A picture whose tags say nothing is no doubt: many archives leave them empty.
"""

import re
import unicodedata

from pydicom import Dataset
from pydicom.uid import UID

from osteon.films.reading.dicom_values import texts

# Projection radiography. DR is no term of the standard, and makers write it.
RADIOGRAPHS = frozenset({"CR", "DX", "DR", "RG", "IO", "PX"})
# They say nothing of the picture: a film that was scanned or sent by a workstation has them too.
UNSPECIFIC = frozenset({"OT", "SC", ""})
MODALITIES = {
    "CT": "computed tomography",
    "MR": "magnetic resonance",
    "MG": "mammography",
    "US": "ultrasound",
    "IVUS": "ultrasound in vessels",
    "NM": "nuclear medicine",
    "PT": "positron emission tomography",
    "RF": "fluoroscopy",
    "XA": "angiography",
    "BMD": "bone densitometry",
    "ES": "endoscopy",
    "XC": "photography",
    "GM": "microscopy",
    "SM": "slide microscopy",
    "OP": "ophthalmic photography",
    "OPT": "ophthalmic tomography",
    "OCT": "optical coherence tomography",
    "TG": "thermography",
    "LS": "laser scan",
    "BI": "biomagnetic imaging",
    "DG": "diaphanography",
    "ECG": "electrocardiogram",
    "HD": "haemodynamics",
    "EPS": "electrophysiology",
    "RTIMAGE": "image of a radiotherapy",
    "RTDOSE": "dose of a radiotherapy",
    "RTSTRUCT": "structures of a radiotherapy",
    "RTPLAN": "plan of a radiotherapy",
    "SEG": "segmentation",
    "REG": "registration",
    "DOC": "document",
    "SR": "report",
    "PR": "presentation state",
    "KO": "key objects",
    "PLAN": "plan",
    "HC": "hard copy",
    "DS": "digital subtraction angiography",
    "DF": "digital fluoroscopy",
    "CF": "cinefluorography",
    "VF": "videofluorography",
    "ST": "single-photon emission tomography",
    "MA": "magnetic resonance angiography",
    "MS": "magnetic resonance spectroscopy",
    "CD": "colour flow Doppler",
    "DD": "duplex Doppler",
    "EC": "echocardiography",
}
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
RADIOGRAPH_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, for presentation
    FOR_PROCESSING,
    "1.2.840.10008.5.1.4.1.1.1.3",  # Intra-Oral, for presentation
    "1.2.840.10008.5.1.4.1.1.1.3.1",
)
CONVERSIONS = {"SD": "a scanned document", "DRW": "a drawing", "SYN": "a synthetic image"}
# English, German, French, Spanish, Italian, Turkish; without accents.
DOCUMENTS = re.compile(
    r"\b(reports?|befunde?|befundbericht|arztbrief|bericht|compte rendu|rapport|informe|referto|rapor|documents?"
    r"|dokumente?|documento|belge|requisition|request form|order form|anforderung|consent|questionnaire|worksheet"
    r"|screen ?save|screen ?shot|screen ?capture|dose (?:info|sheet|summary|protocol)|dosisprotokoll"
    r"|patient protocol|scanned document|letter|invoice|summary|text page)\b"
)
SCOUTS = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM"})
TAGS = (
    "SOPClassUID",
    "Modality",
    "PresentationIntentType",
    "ImageType",
    "ConversionType",
    "SeriesDescription",
    "ProtocolName",
    "DocumentTitle",
)


def no_radiograph(dataset: Dataset) -> list[str]:
    """Why a picture is no radiograph for reading; empty where nothing says so. No text of the file is quoted."""
    reasons = [*_other_modality(dataset)]
    kinds = {text.strip().upper() for text in texts(dataset, "ImageType")}
    if SCOUTS & kinds:
        reasons.append("ImageType says that it is a localiser")
    sop_class = "".join(texts(dataset, "SOPClassUID"))
    if "FOR PROCESSING" in _terms(dataset, "PresentationIntentType") or sop_class == FOR_PROCESSING:
        reasons.append("FOR PROCESSING: the detector's raw values; export the picture that is FOR PRESENTATION")
    if not reasons and (document := _document(dataset, sop_class)):
        reasons.append(f"secondary capture of {document}, no radiograph")
    return reasons


def _other_modality(dataset: Dataset) -> list[str]:
    """By the term, else by the class where there is no term that says anything."""
    terms = _terms(dataset, "Modality")
    if RADIOGRAPHS & terms:
        terms = set()
    for term in sorted(terms):
        if term in MODALITIES:
            return [f"Modality is {term} ({MODALITIES[term]}), no radiograph"]
    sop_class = UID("".join(texts(dataset, "SOPClassUID")))
    listed = "Image Storage" in sop_class.name and sop_class.name != sop_class
    if listed and sop_class not in RADIOGRAPH_CLASSES and not sop_class.startswith(SECONDARY_CAPTURE):
        return [f"SOPClassUID is that of {sop_class.name.split(' Image Storage')[0]}, no radiograph"]
    return []


def _document(dataset: Dataset, sop_class: str) -> str:
    """What document a secondary capture is, or a picture without a class and a modality; empty for a film."""
    if not (sop_class.startswith(SECONDARY_CAPTURE) or (not sop_class and _terms(dataset, "Modality") <= UNSPECIFIC)):
        return ""
    for term in _terms(dataset, "ConversionType"):
        if term in CONVERSIONS:
            return CONVERSIONS[term]
    for tag in ("ImageType", "SeriesDescription", "ProtocolName", "DocumentTitle"):
        for text in texts(dataset, tag):
            letters = unicodedata.normalize("NFKD", text.casefold())
            plain = re.sub(r"[\W\d_]+", " ", "".join(letter for letter in letters if not unicodedata.combining(letter)))
            if word := DOCUMENTS.search(plain):
                return f"a document ({tag} has the word {word[0]!r})"
    return ""


def _terms(dataset: Dataset, tag: str) -> set[str]:
    return {text.strip().upper() for text in texts(dataset, tag)}
