"""A film's bytes → grey pixels, bone bright, in the depth they were stored with."""

from dataclasses import dataclass

from osteon.errors import UnreadableFilmError
from osteon.films.reading.depth import white_of
from osteon.films.reading.dicom_grey import decode_dicom
from osteon.films.reading.dicom_pixels import is_dicom, photometric, read_dicom, reading_dicom
from osteon.films.reading.film import Film
from osteon.films.reading.pictures import decode_picture, open_picture, untagged_values


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded."""

    width: int
    height: int
    mode: str


def read_header(data: bytes) -> Header:
    """Width, height and pixel format without decoding the pixels.

    Raises:
        UnreadableFilmError: the bytes are no film; the text is the reason.

    """
    _check_not_empty(data)
    if is_dicom(data):
        dataset = read_dicom(data)
        with reading_dicom("damaged DICOM"):
            mode = f"{photometric(dataset)};{int(dataset.BitsStored)}"
            return Header(int(dataset.Columns), int(dataset.Rows), mode)
    with open_picture(data) as picture:
        return Header(picture.width, picture.height, picture.mode)


def decode(data: bytes, *, max_megapixels: float, colour: bool = False, depth: int | None = None) -> Film:
    """Decode one film completely.

    Pictures through Pillow, EXIF orientation applied; DICOM through pydicom in the order modality LUT → VOI LUT or
    window → polarity (PS3.4, N.2). Pixels that are not square are resampled.

    Args:
        data: the file.
        max_megapixels: larger films are refused before they are decoded (a decompression bomb).
        colour: also measure the chroma.
        depth: bits of the set's pictures of 16 bits that do not say their depth (depth.depth_of_set); None: what the
            picture itself uses.

    Raises:
        UnreadableFilmError: the bytes are no whole, single, grey film; the text is the reason.

    """
    header = read_header(data)
    _check_size(header, max_megapixels)
    return decode_dicom(data) if is_dicom(data) else decode_picture(data, colour=colour, depth=depth)


def untagged_white(data: bytes) -> int | None:
    """The white of a picture of 16 bits that does not say its depth, for depth.depth_of_set; None for other files."""
    try:
        if is_dicom(data):
            return None
        values = untagged_values(data)
    except UnreadableFilmError:
        return None  # decode says why
    return None if values is None else white_of(values)


def _check_not_empty(data: bytes) -> None:
    if not data:
        raise UnreadableFilmError("empty file (0 bytes)")


def _check_size(header: Header, max_megapixels: float) -> None:
    if header.width * header.height > max_megapixels * 1e6:
        raise UnreadableFilmError(
            f"{header.width} × {header.height} pixels is more than max_megapixels = {max_megapixels:g} allows"
        )
