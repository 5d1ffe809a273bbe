"""What a DICOM file's tags say of its film beside the pixels: region, view, pixel spacing, text burned in.

Tags that name people are not read here. Of a text that a person has typed only a word of the lists below comes out:
a description may hold a name.
"""

import io
import json
import math
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from pydicom import Dataset, dcmread

from osteon.errors import UnreadableFilmError
from osteon.films.reading import radiograph_tags
from osteon.films.reading.dicom_pixels import is_dicom, reading_dicom
from osteon.films.reading.dicom_values import texts, values

# Region → how it is spelled: the standard's BodyPartExamined (PS3.16, annex L), English, German, Spanish and Latin.
# In lower case, accents and dots left out; a plural in -s is found too.
REGIONS = {
    "abdomen": "abdomen",
    "ankle": "ankle, sprunggelenk, osg, tobillo",
    "chest": "chest, thorax, torax, brustkorb",
    "clavicle": "clavicle, clavicula, klavikula, schlusselbein, schluesselbein",
    "elbow": "elbow, ellenbogen, ellbogen, ellenbogengelenk, codo",
    "femur": "femur, thigh, upper leg, oberschenkel, muslo",
    "finger": "finger, thumb, daumen, dedo de la mano, dedos de la mano, pulgar",
    "foot": "foot, feet, fuss, fusse, fuesse, vorfuss, mittelfuss, metatarsus, calcaneus, heel, fersenbein, pie",
    "forearm": "forearm, lower arm, radius, ulna, radiusulna, unterarm, antebrazo",
    "hand": "hand, hande, haende, mittelhand, metacarpus, mano",
    "hip": "hip, hufte, huefte, huftgelenk, hueftgelenk, cadera",
    "humerus": "humerus, upper arm, upperarm, oberarm, humero",
    "knee": "knee, knie, kniegelenk, patella, rodilla",
    "lower leg": "lower leg, leg, calf, tibia, fibula, tibiafibula, tib, fib, tibfib, unterschenkel, pierna",
    "pelvis": "pelvis, becken",
    "rib": "rib, rippe, rippen, costilla",
    "scapula": "scapula, skapula, schulterblatt, escapula",
    "shoulder": "shoulder, schulter, schultergelenk, hombro",
    "skull": "skull, schadel, schaedel, craneo",
    "spine": "spine, cspine, tspine, lspine, sspine, coccyx, sacrum, wirbelsaule, wirbelsaeule, hws, bws, lws, columna",
    "sternum": "sternum, brustbein, esternon",
    "toe": "toe, hallux, zehe, zehen, grosszehe, dedo del pie, dedos del pie",
    "wrist": "wrist, distal radius, distaler radius, handgelenk, carpus, muneca",
}
VIEWS = {
    "frontal": "ap, pa, a p, p a, frontal, anteroposterior, antero posterior, anterior posterior, posteroanterior, "
    "postero anterior, posterior anterior, dorsopalmar, dorsovolar, dorsoplantar",
    "lateral": "lateral, lat, mediolateral, medio lateral, lateromedial, latero medial, seitlich, seitl, perfil",
    "oblique": "oblique, obl, schrag, schraeg, schragaufnahme, schraegaufnahme, oblicua, oblicuo",
    "axial": "axial, axillary, tangential",
}
# ViewPosition is a code: 'LL' is a left lateral there and anything in a description.
VIEW_CODES = {"LL": "lateral", "RL": "lateral", "LLO": "oblique", "RLO": "oblique"} | dict.fromkeys(
    ("RAO", "LAO", "RPO", "LPO"), "oblique"
)
CALIBRATED, AT_THE_DETECTOR = "PixelSpacing", "ImagerPixelSpacing"
BURNED_IN = "BurnedInAnnotation = YES: names may be written into its pixels; export it again without them"
TAGS = (
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "ViewPosition",
    "ViewCodeSequence",
    "SeriesDescription",
    "ProtocolName",
    "StudyDescription",
    CALIBRATED,
    AT_THE_DETECTOR,
    "BurnedInAnnotation",
)


class FilmTags(NamedTuple):
    """Region and view as words of ours, pixel spacing as the manifest has it, and why the film cannot be trusted."""

    region: str | None = None
    view: str | None = None
    pixel_spacing: str | None = None
    doubt: str | None = None


def read_tags(data: bytes) -> FilmTags:
    """What the tags of a file say; nothing for another format, and no more than a doubt where it is damaged."""
    if not is_dicom(data):
        return FilmTags()
    try:
        with reading_dicom("damaged DICOM"):
            keywords = [*TAGS, *radiograph_tags.TAGS]
            dataset = dcmread(io.BytesIO(data), stop_before_pixels=True, force=True, specific_tags=keywords)
    except UnreadableFilmError as error:
        return FilmTags(doubt=str(error))
    burned_in = "yes" in (text.strip().casefold() for text in texts(dataset, "BurnedInAnnotation"))
    doubts = radiograph_tags.no_radiograph(dataset) + ([BURNED_IN] if burned_in else [])
    return FilmTags(_region(dataset), _view(dataset), _pixel_spacing(dataset), "; ".join(doubts) or None)


def _region(dataset: Dataset) -> str | None:
    """The first text that names one region; one that names two says nothing of this film."""
    spoken = [
        *texts(dataset, "BodyPartExamined"),
        *_meanings(dataset, "AnatomicRegionSequence"),
        *(text for tag in ("SeriesDescription", "ProtocolName", "StudyDescription") for text in texts(dataset, tag)),
    ]
    return _first(word_in(text, "region") for text in spoken)


def _view(dataset: Dataset) -> str | None:
    """As the region, but a study's description is of all its films."""
    positions = texts(dataset, "ViewPosition")
    spoken = [
        *positions,
        *_meanings(dataset, "ViewCodeSequence"),
        *(text for tag in ("SeriesDescription", "ProtocolName") for text in texts(dataset, tag)),
    ]
    codes = (VIEW_CODES.get(text.strip().upper()) for text in positions)
    return _first([*codes, *(word_in(text, "view") for text in spoken)])


def _first(words: Iterable[str | None]) -> str | None:
    return next((word for word in words if word), None)


@cache
def _spellings(kind: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """A pattern that finds every spelling as a whole word, the longest first, and the word that each stands for."""
    words = REGIONS if kind == "region" else VIEWS
    meaning = {spelling: word for word, text in words.items() for spelling in text.split(", ")}
    longest_first = sorted(meaning, key=lambda spelling: -len(spelling))
    return re.compile(rf"\b({'|'.join(longest_first)})s?\b"), meaning


def word_in(text: str, kind: str) -> str | None:
    """The one region or view ('region', 'view') that a text names; None for none or more than one.

    Whole words only, in any case, with or without accents; whatever is no letter parts words.
    """
    letters = unicodedata.normalize("NFKD", text.casefold())
    plain = re.sub(r"[\W\d_]+", " ", "".join(letter for letter in letters if not unicodedata.combining(letter)))
    pattern, meaning = _spellings(kind)
    words_named = {meaning[spelling] for spelling in pattern.findall(plain)}
    return words_named.pop() if len(words_named) == 1 else None


def _pixel_spacing(dataset: Dataset) -> str | None:
    """PixelSpacing, else ImagerPixelSpacing, which is not corrected for magnification, as JSON [row, column], mm."""
    for tag in (CALIBRATED, AT_THE_DETECTOR):
        try:
            spacing = [float(text) for text in texts(dataset, tag)]
        except ValueError:
            continue
        if len(spacing) == 2 and all(math.isfinite(step) and step > 0 for step in spacing):
            return json.dumps(spacing)
    return None


def _meanings(dataset: Dataset, tag: str) -> list[str]:
    """What the codes of a sequence are called."""
    return [text for item in values(dataset, tag) for text in texts(item, "CodeMeaning")]
