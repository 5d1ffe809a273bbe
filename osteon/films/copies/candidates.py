"""Candidates for near copies: pairs of films whose SIFT features are consistent with one turn, size and shift.

An approximate index (faiss) finds the nearest neighbours of every feature of every film. Descriptors are searched in a
form that mirroring and inverting do not change (keypoints.one_form); which of the two was done shows in each match.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from osteon.films.copies.keypoints import (
    CHANGES,
    DESCRIPTOR,
    MOST_FEATURES,
    SIDE,
    Features,
    changed_places,
    one_form,
)
from osteon.progress import progress

PRINCIPAL = 32  # principal components of a descriptor that are searched
NEIGHBOURS = 6  # nearest neighbours of each feature
LEAST_CONSISTENT = 5  # consistent features, for a candidate
# Candidates of a film that are aligned; one with so many consistent features is aligned beyond that number.
MOST_CANDIDATES, MANY_CONSISTENT = 8, 12
SHIFT, TURN, SIZE = 0.1, 0.35, 0.5  # within which features are consistent: share of the side, radians, octaves
BLOCK = 128  # films of one query
FEWEST_FOR_PRODUCTS = 4096  # features; with fewer an index learns nothing, and all can be compared


class FeatureFile:
    """Features of many films in one file: in memory they would be too many."""

    RECORD = MOST_FEATURES * (DESCRIPTOR + 16)

    def __init__(self, path: Path) -> None:
        """Begin an empty file."""
        self.counts: list[int] = []
        self._file = path.open("w+b")

    def append(self, features: Features) -> None:
        """Add the next film's features."""
        places, descriptors = np.zeros((MOST_FEATURES, 4), np.float32), np.zeros((MOST_FEATURES, DESCRIPTOR), np.uint8)
        places[: len(features.places)], descriptors[: len(features.places)] = features
        self._file.write(places.tobytes() + descriptors.tobytes())
        self.counts.append(len(features.places))

    def flush(self) -> None:
        """End writing; reading begins here."""
        self._file.flush()

    def close(self) -> None:
        """End reading."""
        self._file.close()

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, film: int) -> Features:
        """The features of the film that was appended as number `film`."""
        record = np.frombuffer(os.pread(self._file.fileno(), self.RECORD, int(film) * self.RECORD), np.uint8)
        count = self.counts[film]
        places = record[: MOST_FEATURES * 16].view(np.float32).reshape(MOST_FEATURES, 4)
        return Features(places[:count], record[MOST_FEATURES * 16 :].reshape(MOST_FEATURES, DESCRIPTOR)[:count])


class Index(NamedTuple):
    """All films' features to be searched, in the order of the films.

    search: faiss' index of the descriptors in their one form. owner: number of each feature's film. places: n × 4,
    uint8, as packed_places has them. mirrored, inverted: of one_form.
    """

    search: Any
    owner: NDArray[np.int32]
    places: NDArray[np.uint8]
    mirrored: NDArray[np.bool_]
    inverted: NDArray[np.bool_]


def find_candidates(store: FeatureFile, cores: int) -> Iterator[tuple[int, int, int, int]]:
    """Pairs with the most consistent features, each once.

    Args:
        store: the films' features.
        cores: threads of the index; 0 leaves their number to faiss.

    Returns:
        first < second, place of the change in CHANGES, and rank (0 … MOST_CANDIDATES) among the candidates of a film.

    """
    if not sum(store.counts):
        return
    if cores:
        faiss.omp_set_num_threads(cores)
    index = _filled_index(store)
    seen: set[tuple[int, int, int]] = set()
    starts = range(0, len(store), BLOCK)
    for start in progress(starts, "candidates", total=len(starts)):
        partners: dict[int, list[tuple[int, int, int]]] = {}
        for first, second, change, count in _consistent_with_block(store, start, index):
            partners.setdefault(first, []).append((count, second, change))
        for first, others in partners.items():
            others.sort(reverse=True)
            for rank, (count, second, change) in enumerate(others):
                candidate = (min(first, second), max(first, second), change)
                if (rank < MOST_CANDIDATES or count >= MANY_CONSISTENT) and candidate not in seen:
                    seen.add(candidate)
                    yield *candidate, min(rank, MOST_CANDIDATES)


def _consistent_with_block(store: FeatureFile, start: int, index: Index) -> Iterator[tuple[int, int, int, int]]:
    """First film, of a block; second film; change; and how many features agree."""
    block = [store[film] for film in range(start, min(start + BLOCK, len(store)))]
    owner = np.repeat(np.arange(start, start + len(block)), [len(features.places) for features in block])
    if not len(owner):
        return
    descriptors, mirrored, inverted = one_form(np.concatenate([features.descriptors for features in block]))
    _, neighbours = index.search.search(descriptors.astype(np.float32), NEIGHBOURS)
    feature, slot = np.nonzero(neighbours >= 0)
    neighbour = neighbours[feature, slot]
    kept = index.owner[neighbour] != owner[feature]
    feature, neighbour = feature[kept], neighbour[kept]
    flip, negative = mirrored[feature] ^ index.mirrored[neighbour], inverted[feature] ^ index.inverted[neighbour]
    change = flip + 2 * negative
    places = np.concatenate([features.places for features in block])[feature]
    pairs = consistent_pairs(
        owner[feature] * len(CHANGES) + change,
        index.owner[neighbour],
        feature,
        changed_places(places, flip, negative, SIDE),
        unpacked_places(index.places[neighbour]),
    )
    for first, second, count in pairs:
        yield first // len(CHANGES), second, first % len(CHANGES), count


def packed_places(places: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Places of features, n × 4, to a pixel, 1.4 degrees and 1/16 octave: of 100,000 films they lie in memory."""
    x, y, direction, size = places.T
    octaves = np.log2(np.maximum(size, 1e-3)) * 16 + 32
    whole = np.rint(np.column_stack([x, y, direction * 256 / 360 % 256, octaves]))
    whole[:, 2] %= 256
    packed: NDArray[np.uint8] = np.clip(whole, 0, 255).astype(np.uint8)
    return packed


def unpacked_places(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What packed_places was given, nearly."""
    x, y, direction, octaves = packed.astype(np.float32).T
    return np.column_stack([x, y, direction * np.float32(360 / 256), np.exp2((octaves - 32) / 16)]).astype(np.float32)


def _filled_index(store: FeatureFile) -> Index:
    """All features of all films."""
    counts = np.array(store.counts)
    total = int(counts.sum())
    index = Index(
        _trained_index(store, total),
        np.repeat(np.arange(len(store), dtype=np.int32), counts),
        np.empty((total, 4), np.uint8),
        np.empty(total, np.bool_),
        np.empty(total, np.bool_),
    )
    begin = 0
    for start in range(0, len(store), BLOCK):
        block = [store[film] for film in range(start, min(start + BLOCK, len(store)))]
        descriptors, mirrored, inverted = one_form(np.concatenate([features.descriptors for features in block]))
        rows = slice(begin, begin + len(descriptors))
        index.places[rows] = packed_places(np.concatenate([features.places for features in block]))
        index.mirrored[rows], index.inverted[rows] = mirrored, inverted
        index.search.add(descriptors.astype(np.float32))
        begin = rows.stop
    return index


def _trained_index(store: FeatureFile, total: int) -> Any:
    """An empty index that searches the few lists of features nearest to a query.

    The first PRINCIPAL of the descriptors' principal components (Ke & Sukthankar 2004, CVPR), each in four bits
    (André et al. 2015, VLDB): 16 bytes a feature, compared in the processor's registers. All 128 values took twice the
    time, most of it to choose the lists, and found no more copies.
    """
    lists = max(1, round(np.sqrt(total)))
    rng = np.random.default_rng(0)
    films, wanted, sample = rng.permutation(len(store)), max(32 * lists, 4096), []
    for film in films:
        sample.append(one_form(store[film].descriptors)[0])
        wanted -= len(sample[-1])
        if wanted <= 0:
            break
    trained = np.concatenate(sample).astype(np.float32)
    if total < FEWEST_FOR_PRODUCTS:
        exact: Any = faiss.IndexFlatL2(DESCRIPTOR)
        return exact
    index: Any = faiss.index_factory(DESCRIPTOR, f"PCA{PRINCIPAL},IVF{lists},PQ{PRINCIPAL}x4fs")
    inner = faiss.extract_index_ivf(index)
    inner.cp.niter = 6
    inner.cp.min_points_per_centroid = 1  # it would print a warning for a small set
    inner.nprobe = 4
    index.train(trained)
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
    starts, ends = np.concatenate([[0], bounds]), np.concatenate([bounds, [len(order)]])
    enough = ends - starts >= LEAST_CONSISTENT
    for start, end in zip(starts[enough].tolist(), ends[enough].tolist(), strict=True):
        rows = order[start:end]
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
