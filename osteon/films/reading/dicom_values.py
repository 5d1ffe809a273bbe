"""The values of a DICOM tag, whatever is in it."""

from typing import Any

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from osteon.errors import UnreadableFilmError
from osteon.films.reading.dicom_pixels import reading_dicom


def texts(dataset: Dataset, tag: str) -> list[str]:
    """A tag's values as text."""
    return [str(value) for value in values(dataset, tag)]


def values(dataset: Dataset, tag: str) -> list[Any]:
    """A tag's values; none where they make no sense, so that one bad tag does not hide the others."""
    try:
        with reading_dicom("damaged tag"):
            value = dataset.get(tag)
            return list(value) if isinstance(value, MultiValue | Sequence) else [] if value is None else [value]
    except UnreadableFilmError:
        return []
