"""Damaged files of every format are read or refused with a reason; `python -m benchmarks fuzz` looks at many more."""

import time

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame

from benchmarks.fuzz import look, mutated, seeds
from osteon.errors import UnreadableFilmError
from osteon.films.reading.decoding import decode
from tests.making import dicom_bytes

FILES, BLOCKS = 3_000, 6


@pytest.mark.parametrize("block", range(BLOCKS))
def test_damaged_files_are_read_or_refused(block: int) -> None:
    read, slowest = 0, 0.0
    for number in range(block, FILES, BLOCKS):
        start = time.process_time()
        read += look(mutated(number)[1])
        slowest = max(slowest, time.process_time() - start)
    assert 0.1 * FILES / BLOCKS < read < 0.9 * FILES / BLOCKS
    assert slowest < 2


def test_whole_files_are_read() -> None:
    unread = {kind for kind, data in seeds() if kind != "DICOM of pydicom" and not look(data)}
    assert not unread


def test_damage_is_the_same_for_the_same_number() -> None:
    assert mutated(17) == mutated(17)
    assert mutated(17) != mutated(17 + len(seeds()))


def test_a_jpeg_2000_of_another_size_than_the_tags_say_is_refused_at_once() -> None:
    """OpenJPEG works for minutes on a stream that claims 10 million rows."""
    data = dict(seeds())["DICOM, JPEG 2000"]
    place = data.index(b"\xff\x4f\xff\x51") + 12
    with pytest.raises(UnreadableFilmError, match="JPEG 2000 stream is not of the size"):
        decode(data[:place] + (10_000_000).to_bytes(4, "big") + data[place + 4 :], max_megapixels=80)


def test_bytes_between_the_segments_of_a_jpeg_do_not_end_the_process() -> None:
    """Of 12 bits, which GDCM reads: it calls abort."""
    dataset = dcmread(get_testdata_file("JPEG-lossy.dcm"))
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    scan = frame.index(b"\xff\xda")
    dataset.PixelData = encapsulate([frame[:scan] + bytes(60) + frame[scan:]])
    with pytest.raises(UnreadableFilmError, match="damaged DICOM pixels"):
        decode(dicom_bytes(dataset), max_megapixels=80)
