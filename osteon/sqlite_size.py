"""Whether an SQLite file has all its pages. SQLite reads what is missing of the last page as zeros and says nothing."""

from pathlib import Path

HEADER_BYTES = 100


def is_cut_short(file: Path) -> bool:
    """Whether a file has fewer bytes than its header says (sqlite.org/fileformat2.html, 1.3).

    An empty file is whole: SQLite makes it when it connects. A file that another process is writing may be longer than
    its header says, never shorter.

    Raises:
        OSError: it cannot be read.

    """
    with file.open("rb") as content:
        header = content.read(HEADER_BYTES)
        size = content.seek(0, 2)
    if len(header) < HEADER_BYTES:
        return bool(header)
    page = int.from_bytes(header[16:18]) or 1
    page = 65536 if page == 1 else page
    return size < page * int.from_bytes(header[28:32])
