"""What a model answers for films, one after the other, and for the studies they are of."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.answers.answer_tables import number_or_null
from osteon.answers.film_sources import FilmSource
from osteon.errors import UnreadableFilmError
from osteon.films.reading.dicom_ids import study_of
from osteon.models.package.package import REFUSED, Package, PackageInfo
from osteon.statistics.operating_points import answers
from osteon.threads import over_cores

# Decoded together and given to the networks at once; what a thread holds in memory.
BLOCK = 16


@dataclass(frozen=True)
class FilmAnswer:
    """What a model answers for a film, or for a study.

    name: of the film, as it was named; of a study, 'study 3'. sha256: of the film's file. probability: calibrated;
    NaN without an answer. answer: 'FINDING', 'uncertain', 'not FINDING' or 'refused'. distance: from the training
    films; NaN where the model knows none. boxes: x, y, width, height in pixels of the film, and score; None where the
    model has none. reason: why there is no answer. unread: the file is no film that can be read. study: its number,
    from 1 on. films: of a study. heat: the map, h × w, 0 … 1, and data: the film's bytes, where maps are wanted.
    """

    name: str
    sha256: str = ""
    probability: float = math.nan
    answer: str = REFUSED
    distance: float = math.nan
    boxes: list[list[float]] | None = None
    warnings: list[str] = field(default_factory=list)
    reason: str = ""
    unread: bool = False
    study: int | None = None
    films: int = 1
    heat: NDArray[np.float64] | None = field(default=None, compare=False)
    data: bytes = field(default=b"", compare=False, repr=False)


def answer_films(
    package: Package, sources: Sequence[FilmSource], *, cores: int = 0, maps: bool = False, studies: bool = False
) -> Iterator[FilmAnswer]:
    """What a model answers for each film, in their order; only a few films are in memory at a time.

    Args:
        package: opened with one thread, for each core takes a block of films.
        sources: the films.
        cores: 0: all.
        maps: also give the maps and the films' bytes.
        studies: number the studies, by StudyInstanceUID; a film without one is a study of its own.

    """

    def answer(block: Sequence[FilmSource]) -> list[tuple[FilmAnswer, str]]:
        return _answer_block(package, block, maps=maps, studies=studies)

    numbers: dict[str, int] = {}
    for given, study in over_cores(answer, sources, cores, block=min(BLOCK, -(-len(sources) // (cores or 1)))):
        if not studies:
            yield given
            continue
        # An id of a study tells whose it is: it stays here.
        number = numbers.setdefault(study or f"film {len(numbers)}", len(numbers) + 1)
        yield replace(given, study=number)


def _answer_block(
    package: Package, block: Sequence[FilmSource], *, maps: bool, studies: bool
) -> list[tuple[FilmAnswer, str]]:
    files: list[bytes | None] = []
    given = []
    for source in block:
        try:
            data = source.fetch()
            files.append(data)
            given.append(FilmAnswer(source.name, hashlib.sha256(data).hexdigest()))
        except UnreadableFilmError as error:
            files.append(None)
            given.append(FilmAnswer(source.name, reason=str(error), unread=True))
    known = [(number, data) for number, data in enumerate(files) if data is not None]
    table = package.predict([data for _, data in known], maps=maps, boxes=True, distances=True)
    for (number, data), row in zip(known, table.to_dict("records"), strict=True):
        refused = row["answer"] == REFUSED
        given[number] = replace(
            given[number],
            probability=row["probability"],
            answer=row["answer"],
            distance=row["distance"],
            boxes=row["boxes"],
            warnings=[] if refused else row["warnings"],
            reason="; ".join(row["warnings"]) if refused else "",
            unread=not row["read"],
            heat=row.get("map"),
            data=data if maps else b"",
        )
    ids = [study_of(data) if studies and data else "" for data in files]
    return list(zip(given, ids, strict=True))


def fuse_films(films: Sequence[FilmAnswer], info: PackageInfo) -> list[FilmAnswer]:
    """One answer a study, from the highest of its films' probabilities; films without an answer have no part in it.

    Args:
        films: with numbers of their studies; maps and bytes are not needed.
        info: of the model.

    """
    of_study: dict[int, list[FilmAnswer]] = {}
    for film in films:
        if film.study is not None:
            of_study.setdefault(film.study, []).append(film)
    fused = []
    for number, members in of_study.items():
        probabilities = [film.probability for film in members if not math.isnan(film.probability)]
        probability = max(probabilities, default=math.nan)
        (text,) = answers(np.array([probability]), info.points, info.finding)
        left = len(members) - len(probabilities)
        fused.append(
            FilmAnswer(
                f"study {number}",
                probability=probability,
                answer=str(text) if probabilities else REFUSED,
                warnings=[f"{left} of its {len(members)} films have no answer"] if left and probabilities else [],
                reason="" if probabilities else "none of its films has an answer",
                study=number,
                films=len(members),
            )
        )
    return fused


def row_of(given: FilmAnswer, unit: str, info: PackageInfo, model: str, picture: str = "") -> dict[str, Any]:
    """A row of the table of answers.

    Args:
        given: of a film or a study.
        unit: film or study.
        info: of the model.
        model: its address and version.
        picture: file with the map.

    """
    answered = not math.isnan(given.probability)
    names = ("x", "y", "width", "height", "score")
    return {
        "unit": unit,
        "name": given.name,
        "sha256": given.sha256 or None,
        "study": given.study,
        "films": given.films,
        "probability": number_or_null(given.probability),
        "answer": given.answer,
        "ruled_out": given.probability < info.points.rule_out.threshold if answered else None,
        "ruled_in": given.probability >= info.points.rule_in.threshold if answered else None,
        "ood_score": number_or_null(given.distance),
        "ood_limit": info.max_ood_distance,
        "boxes": [dict(zip(names, box, strict=True)) for box in given.boxes or []],
        "warnings": given.warnings,
        "reason": given.reason or None,
        "map": picture or None,
        "model": model,
    }
