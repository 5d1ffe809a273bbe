"""Near copies: a film turned, mirrored, inverted, rescaled, cropped, brightened or encoded again, among many.

Comparing each film with each would take for ever. candidates.py proposes pairs whose SIFT features are consistent
with one turn, size and shift; alignment.py aligns the two films of a pair and measures their likeness.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from osteon.films.copies.alignment import Alignment, FilmStack, align
from osteon.films.copies.candidates import MOST_CANDIDATES, FeatureFile, find_candidates
from osteon.films.copies.keypoints import CHANGES, find_features
from osteon.films.groups import connected_components
from osteon.progress import progress
from osteon.threads import keep_freed_memory, over_cores

Ints = NDArray[np.int64]

SURE = 0.66  # score from which two films are one; benchmarks/near_copies.py measures both sides of it
WITH_NAME = 0.5  # score from which two films of one name are one
DOUBTFUL = 0.6  # pairs from here on are shown to a person


class Pair(NamedTuple):
    """Two films, by their numbers, and how one lies on the other."""

    first: int
    second: int
    alignment: Alignment


def find_near_copies(films: FilmStack, distinct: Ints, cores: int) -> list[Pair]:
    """Pairs of films that are one or may be, score from DOUBTFUL on, in order.

    Args:
        films: all films.
        distinct: numbers of the films to compare, in order; of those whose pixels are the same, one is enough.
        cores: worker threads; 0 takes one for each core.

    """
    if len(distinct) < 2:
        return []
    keep_freed_memory()
    with TemporaryDirectory() as folder, closing(FeatureFile(Path(folder) / "features")) as store:
        computed = over_cores(
            lambda rows: [find_features(films.trimmed(row).square) for row in rows], distinct.tolist(), cores
        )
        for features in progress(computed, "features", total=len(distinct)):
            store.append(features)
        store.flush()
        candidates = np.array(list(find_candidates(store, cores)), np.int64).reshape(-1, 4)

        def align_rows(rows: Sequence[int]) -> list[Alignment | None]:
            return [
                align(
                    films,
                    (int(distinct[first]), store[first]),
                    (int(distinct[second]), store[second]),
                    CHANGES[change],
                )
                for first, second, change, _ in candidates[rows].tolist()
            ]

        aligned = progress(
            _align_by_rank(candidates, len(distinct), lambda rows: over_cores(align_rows, rows, cores)),
            "near copies",
            total=len(candidates),
        )
        best: dict[tuple[int, int], Alignment] = {}
        # The matrices are small and there is a thread for each core: BLAS' own threads would stand in each other's way.
        with threadpool_limits(1, "blas"):
            for row, alignment in aligned:
                first, second = distinct[candidates[row, :2]].tolist()
                if alignment is not None and alignment.score >= DOUBTFUL:
                    known = best.get((first, second), alignment)
                    best[first, second] = max(alignment, known, key=lambda each: each.score)
    return [Pair(first, second, alignment) for (first, second), alignment in sorted(best.items(), key=lambda p: p[0])]


def _align_by_rank(
    candidates: Ints, count: int, align_rows: Callable[[list[int]], Iterator[Alignment | None]]
) -> Iterator[tuple[int, Alignment | None]]:
    """Align each film's best candidates first, and skip pairs of lower rank that better ones have joined already.

    A film that comes a hundred times is joined by a hundred alignments instead of thousands.

    Args:
        candidates: of find_candidates.
        count: films.
        align_rows: gives the alignment of each row of candidates, in order.

    Returns:
        Every row of candidates once, with its alignment; None where it was skipped or its films do not align.

    """
    joined: list[tuple[int, int]] = []
    for rank in range(MOST_CANDIDATES + 1):
        rows = np.flatnonzero(candidates[:, 3] == rank)
        component = connected_components(count, np.array(joined, np.int64).reshape(-1, 2))
        apart = component[candidates[rows, 0]] != component[candidates[rows, 1]]
        yield from ((row, None) for row in rows[~apart].tolist())
        unjoined = rows[apart].tolist()
        for row, alignment in zip(unjoined, align_rows(unjoined), strict=True):
            if alignment is not None and alignment.score >= SURE:
                joined.append((int(candidates[row, 0]), int(candidates[row, 1])))
            yield row, alignment
