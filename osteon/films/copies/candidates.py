"""Candidates for near copies: pairs of films whose SIFT features are consistent with one turn, size and shift.

An approximate index (faiss) finds the nearest neighbours of every feature of every film, mirrored and not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from osteon.films.copies.keypoints import DESCRIPTOR, MOST_FEATURES, SIDE, Features, mirrored
from osteon.progress import progress

NEIGHBOURS = 6  # nearest neighbours of each feature
LEAST_CONSISTENT = 4  # consistent features, for a candidate
# Candidates of a film that are aligned; one with so many consistent features is aligned beyond that number.
MOST_CANDIDATES, MANY_CONSISTENT = 8, 12
SHIFT, TURN, SIZE = 0.1, 0.35, 0.5  # within which features are consistent: share of the side, radians, octaves
BLOCK = 128  # films of one query


class FeatureFile:
    """Features of many films in one file: in memory they would be too many."""

    RECORD = MOST_FEATURES * (DESCRIPTOR + 16)

    def __init__(self, path: Path) -> None:
        """Begin an empty file."""
        self.path = path
        self.counts: list[int] = []
        self._file = path.open("wb")

    def append(self, features: Features) -> None:
        """Add the next film's features."""
        places, descriptors = np.zeros((MOST_FEATURES, 4), np.float32), np.zeros((MOST_FEATURES, DESCRIPTOR), np.uint8)
        places[: len(features.places)], descriptors[: len(features.places)] = features
        self._file.write(places.tobytes() + descriptors.tobytes())
        self.counts.append(len(features.places))

    def close(self) -> None:
        """End writing; reading begins here."""
        self._file.close()

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, film: int) -> Features:
        """The features of the film that was appended as number `film`."""
        record = np.fromfile(self.path, np.uint8, self.RECORD, offset=int(film) * self.RECORD)
        count = self.counts[film]
        places = record[: MOST_FEATURES * 16].view(np.float32).reshape(MOST_FEATURES, 4)
        return Features(places[:count], record[MOST_FEATURES * 16 :].reshape(MOST_FEATURES, DESCRIPTOR)[:count])


def find_candidates(store: FeatureFile, cores: int) -> Iterator[tuple[int, int, int, int]]:
    """Pairs with the most consistent features, each once.

    Args:
        store: the films' features.
        cores: threads of the index; 0 leaves their number to faiss.

    Returns:
        first < second, mirrored (0, 1), and rank (0 … MOST_CANDIDATES) among the candidates of a film.

    """
    if not sum(store.counts):
        return
    if cores:
        faiss.omp_set_num_threads(cores)
    index, owner, places = _filled_index(store)
    seen: set[tuple[int, int, int]] = set()
    starts = range(0, len(store), BLOCK)
    for start in progress(starts, "candidates", total=len(starts)):
        rows = range(start, min(start + BLOCK, len(store)))
        block = [store[film] for film in rows]
        query_film = np.repeat(np.arange(rows.start, rows.stop), [len(features.places) for features in block])
        if not len(query_film):
            continue
        partners: dict[int, list[tuple[int, int, int]]] = {}
        for flip in (False, True):
            queries = [mirrored(features, SIDE) if flip else features for features in block]
            descriptors = np.concatenate([features.descriptors for features in queries]).astype(np.float32)
            _, neighbours = index.search(descriptors, NEIGHBOURS)
            feature, slot = np.nonzero(neighbours >= 0)
            neighbour = neighbours[feature, slot]
            film = owner[neighbour]
            kept = film != query_film[feature]
            feature, neighbour, film = feature[kept], neighbour[kept], film[kept]
            query_places = np.concatenate([features.places for features in queries])[feature]
            consistent = consistent_pairs(query_film[feature], film, feature, query_places, places[neighbour])
            for first, second, count in consistent:
                partners.setdefault(first, []).append((count, second, int(flip)))
        for first, others in partners.items():
            others.sort(reverse=True)
            for rank, (count, second, flipped) in enumerate(others):
                candidate = (min(first, second), max(first, second), flipped)
                if (rank < MOST_CANDIDATES or count >= MANY_CONSISTENT) and candidate not in seen:
                    seen.add(candidate)
                    yield *candidate, min(rank, MOST_CANDIDATES)


def _filled_index(store: FeatureFile) -> tuple[Any, NDArray[np.int32], NDArray[np.float32]]:
    """The index with all features, and of each feature the number of its film and its place (n × 4)."""
    counts = np.array(store.counts)
    total = int(counts.sum())
    owner = np.repeat(np.arange(len(store), dtype=np.int32), counts)
    places = np.empty((total, 4), np.float32)
    index = _trained_index(store, total)
    ends = np.cumsum(counts)
    for start in range(0, len(store), BLOCK):
        block = [store[film] for film in range(start, min(start + BLOCK, len(store)))]
        end = int(ends[min(start + BLOCK, len(store)) - 1])
        begin = end - sum(len(features.places) for features in block)
        places[begin:end] = np.concatenate([features.places for features in block])
        index.add(np.concatenate([features.descriptors for features in block]).astype(np.float32))
    return index, owner, places


def _trained_index(store: FeatureFile, total: int) -> Any:
    """An empty index that searches the few lists of features nearest to a query.

    Half a byte a value. With a byte the features of 100,000 films took 1.8 GB instead of 1, and found no more copies.
    """
    lists = max(1, round(4 * np.sqrt(total)))
    rng = np.random.default_rng(0)
    films, wanted, sample = rng.permutation(len(store)), 32 * lists, []
    for film in films:
        sample.append(store[film].descriptors)
        wanted -= len(sample[-1])
        if wanted <= 0:
            break
    index: Any = faiss.index_factory(DESCRIPTOR, f"IVF{min(lists, total)},SQ4")
    index.cp.niter = 6
    index.cp.min_points_per_centroid = 1  # it would print a warning for a small set
    index.nprobe = 4
    index.train(np.concatenate(sample).astype(np.float32))
    return index


def consistent_pairs(
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    feature: NDArray[np.integer],
    first_places: NDArray[np.float32],
    second_places: NDArray[np.float32],
) -> Iterator[tuple[int, int, int]]:
    """Pairs of films with LEAST_CONSISTENT features that agree on one turn, size and shift, and how many agree.

    One match of two SIFT features gives all three (Lowe 2004, section 7.3).

    Args:
        first: film of the query feature of each match.
        second: film of its neighbour.
        feature: number of the query feature; one with several neighbours counts once.
        first_places: matches × 4, places of the query features.
        second_places: matches × 4, places of their neighbours.

    """
    turn = np.deg2rad(second_places[:, 2] - first_places[:, 2])
    factor = second_places[:, 3] / first_places[:, 3]
    cos, sin = np.cos(turn) * factor, np.sin(turn) * factor
    dx, dy = ((SIDE - 1) / 2 - first_places[:, axis] for axis in (0, 1))
    # Where the match sends the middle of the first film.
    x, y = second_places[:, 0] + cos * dx - sin * dy, second_places[:, 1] + sin * dx + cos * dy
    size = np.log2(factor)
    order = np.lexsort((second, first))
    bounds = np.flatnonzero(np.diff(first[order]) | np.diff(second[order])) + 1
    for rows in np.split(order, bounds):
        if len(rows) < LEAST_CONSISTENT:
            continue
        near = (
            (np.abs(x[rows, None] - x[rows]) < SHIFT * SIDE)
            & (np.abs(y[rows, None] - y[rows]) < SHIFT * SIDE)
            & (np.cos(turn[rows, None] - turn[rows]) > np.cos(TURN))
            & (np.abs(size[rows, None] - size[rows]) < SIZE)
        )
        most = rows[near[near.sum(axis=1).argmax()]]
        count = len(np.unique(feature[most]))
        if count >= LEAST_CONSISTENT:
            yield int(first[rows[0]]), int(second[rows[0]]), count
