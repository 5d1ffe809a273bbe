"""The tags of a DICOM file that say whose film it is. They go to identity.py, which hashes them, and nowhere else."""

import io
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread

from osteon.errors import UnreadableFilmError
from osteon.films.reading.dicom_pixels import is_dicom, reading_dicom
from osteon.hash_cache import file_state

PATIENT, STUDY, OBJECT = "PatientID", "StudyInstanceUID", "SOPInstanceUID"
TAGS = (PATIENT, STUDY, OBJECT)
HEAD = 1024  # bytes that tell whether a file is DICOM


def identifying_tags(path: Path) -> dict[str, str]:
    """The TAGS of a file that has them; none of a file of another kind, or one that cannot be read (validate says why).

    The name does not matter: an export calls its files 1.dcm, 1.IMA, IM0001 or 1.2.840.113619.
    """
    if path.is_fifo():  # one would wait at it without an end
        return {}
    try:
        return dict(_tags_of(path, file_state(path)))
    except OSError:
        return {}


# The layout dicom asks for them, and then whoever joins the ids of all sources.
@lru_cache(maxsize=1 << 17)
def _tags_of(path: Path, _state: str | None) -> dict[str, str]:
    with path.open("rb") as file:
        return _read_tags(file)


def study_of(data: bytes) -> str:
    """The StudyInstanceUID of a file's bytes; empty where there is none. It is for comparing, and goes no further."""
    return _read_tags(io.BytesIO(data)).get(STUDY, "")


def _read_tags(file: BinaryIO) -> dict[str, str]:
    if not is_dicom(file.read(HEAD)):
        return {}
    file.seek(0)
    try:
        with reading_dicom("damaged DICOM"):
            dataset = dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
            return {tag: str(dataset.get(tag)) for tag in TAGS if dataset.get(tag)}
    except UnreadableFilmError:
        return {}
