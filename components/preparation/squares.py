"""Trusted films → pixels.npy, squares for the search for copies, and the facts of each film.

An interrupted call is continued. The squares are written film by film. When a block of them is on the disk, one line
with the block's facts follows in another file. Only films whose line is whole count as done: whenever a call is killed,
the next one cuts all files back to them and goes on.
"""

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.errors import OsteonError, UnreadableFilmError
from osteon.files import check_space, remove
from osteon.films.copies.keypoints import SIDE
from osteon.films.copies.specks import without_specks
from osteon.films.manifest import depth_or_none, typed_frame
from osteon.films.prepared.array import PIXELS, ROW_BYTES, add_pixels, pixels_end, start_pixels
from osteon.films.reading.decoding import decode
from osteon.films.reading.film import letterbox, pixel_hash
from osteon.fingerprint import Fingerprint, fingerprint, what_changed
from osteon.progress import progress
from osteon.threads import over_cores

log = logging.getLogger(__name__)

FACTS, COMPARED = "facts.jsonl", "compared.npy"
BLOCK = 256  # films between two lines of facts: what a kill costs at most
# What a film's pixels depend on beside its bytes and our own code.
DECODERS = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "pydicom",
    "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
    "python-gdcm",
)


class FilmFacts(NamedTuple):
    """A decoded film's hash, of its pixels before they were fitted, and its size as it is shown, pixels.

    stretch_across, stretch_down: what its file's width and height were multiplied by (Film.stretch).
    """

    pixel_sha256: str
    shown_width: int
    shown_height: int
    stretch_across: float
    stretch_down: float


Square = NDArray[np.uint8]
FACT_TYPES = {
    "pixel_sha256": "string",
    "shown_width": "Int32",
    "shown_height": "Int32",
    "stretch_across": "Float64",
    "stretch_down": "Float64",
}


def standardise_films(films: pd.DataFrame, source: Path, folder: Path, side: int, cores: int) -> pd.DataFrame:
    """Decode films once and fit each into its squares, going on with what an interrupted call left in the folder.

    Args:
        films: columns path (below source), sha256 and, where pictures need it, depth.
        source: folder of films.
        folder: gets PIXELS (uint8, films × side × side); COMPARED (uint8, films × SIDE × SIDE), in which copies are
            searched for, so that groups do not depend on `side`; and FACTS. The caller deletes the last two when
            nothing is left to be done; all else in the folder is deleted.
        side: pixels.
        cores: threads; 0 is one a core.

    Returns:
        The columns of FilmFacts, on the films' index.

    Raises:
        OsteonError: a film cannot be decoded, or the disk has not enough room.

    """
    films = films.reindex(columns=["path", "sha256", "depth"])
    count = len(films)
    files, facts = {folder / PIXELS: side, folder / COMPARED: SIDE}, folder / FACTS
    done = _continued(files, facts, _made_from(films, side), count)
    check_space(folder.parent, (count - done) * (side**2 + SIDE**2 + ROW_BYTES))

    def work(numbers: Sequence[int]) -> list[tuple[Square, Square, FilmFacts]]:
        part = films.iloc[numbers[0] : numbers[-1] + 1]
        return [
            _standardise(source / path, side, depth_or_none(depth))
            for path, depth in zip(part["path"], part["depth"], strict=True)
        ]

    decoded = progress(over_cores(work, range(done, count), cores), "prepare", total=count, done=done)
    with closing(decoded), facts.open("ab") as file:
        while done < count:
            block: list[FilmFacts] = []
            compared: list[Square] = []
            done += add_pixels(folder / PIXELS, _first_squares(islice(decoded, BLOCK), compared, block))
            add_pixels(folder / COMPARED, compared)
            for path in files:
                _until_on_disk(path)
            file.write(json.dumps(block).encode() + b"\n")
            file.flush()
    return typed_frame(_read_facts(facts), FACT_TYPES).set_index(films.index)


def _first_squares(
    decoded: Iterable[tuple[Square, Square, FilmFacts]], compared: list[Square], block: list[FilmFacts]
) -> Iterator[Square]:
    """Each film's first square; the other one and the facts go into the lists."""
    for first, second, facts in decoded:
        compared.append(second)
        block.append(facts)
        yield first


def _standardise(path: Path, side: int, depth: int | None) -> tuple[Square, Square, FilmFacts]:
    """One film as a square of `side`, as the square that is compared, and its facts."""
    try:
        film = decode(path.read_bytes(), max_megapixels=math.inf, depth=depth)  # validate has checked the size
    except (OSError, UnreadableFilmError) as error:
        raise OsteonError(f"{path}: {error}; it was readable before, run the steps ingest and validate again") from None
    height, width = film.pixels.shape
    facts = FilmFacts(pixel_hash(film), width, height, *film.stretch)
    return letterbox(film, side), letterbox(without_specks(film), SIDE), facts


def _made_from(films: pd.DataFrame, side: int) -> Fingerprint:
    """What all lines of facts belong to: the films in their order, the size, and how films are decoded."""
    digest = hashlib.sha256()
    for path, sha256, depth in films.itertuples(index=False, name=None):
        digest.update(f"{sha256} {depth_or_none(depth)} {path}\n".encode())
    return fingerprint(__name__, {"films": digest.hexdigest()}, {"side": side}, packages=DECODERS)


def _continued(files: dict[Path, int], facts: Path, made_from: Fingerprint, count: int) -> int:
    """Films that are done already; the folder is left with them and nothing else.

    Args:
        files: files of squares, and the side of each.
        facts: file of facts, in the same folder.
        made_from: what it must belong to.
        count: films.

    """
    first_line = made_from.model_dump_json().encode() + b"\n"
    done, end = 0, len(first_line)
    if facts.exists():
        with facts.open("rb") as file:
            if (line := file.readline()) != first_line:
                log.info("prepare begins anew: %s", what_changed(line, first_line))
            else:
                room = {path: path.stat().st_size if path.exists() else 0 for path in files}
                for line in file:
                    block = _whole_line(line)
                    if block is None or any(
                        pixels_end(count, side, done + len(block)) > room[path] for path, side in files.items()
                    ):
                        break
                    done, end = done + len(block), end + len(line)
    for left in facts.parent.iterdir():
        if not done or left not in (*files, facts):
            remove(left)
    if done:
        log.info("continues after %s of %s films", f"{done:,}", f"{count:,}")
        os.truncate(facts, end)
        for path, side in files.items():
            os.truncate(path, pixels_end(count, side, done))
    else:
        for path, side in files.items():
            start_pixels(path, count, side)
        facts.write_bytes(first_line)
    return done


def _whole_line(line: bytes) -> list[list[str | int]] | None:
    """A block's facts; None where the line was cut off, or never came to the disk."""
    try:
        block: list[list[str | int]] = json.loads(line)
    except ValueError:
        return None
    return block if line.endswith(b"\n") else None


def _read_facts(path: Path) -> Iterator[tuple[str | int, ...]]:
    with path.open("rb") as file:
        file.readline()
        for line in file:
            yield from map(tuple, json.loads(line))


def _until_on_disk(path: Path) -> None:
    """Return when all of a file is on the disk: no line of facts may outlive a power cut without its squares."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
