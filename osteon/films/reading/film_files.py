"""Which files of a folder are films."""

from collections.abc import Iterator
from pathlib import Path

from osteon.files import files_under

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".gif", ".bmp", ".dcm", ".dicom"})


def film_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that has a film's extension, in order, as a path relative to the folder."""
    return (path.relative_to(folder) for path in files_under(folder) if path.suffix.lower() in EXTENSIONS)
