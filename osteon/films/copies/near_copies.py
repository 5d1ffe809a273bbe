"""Near copies: one film turned, mirrored, rescaled, cropped, brightened or encoded again, found among many.

Comparing each film with each would take for ever. Instead every feature of every film asks an index for its nearest
neighbours, mirrored and not. Two films whose features agree on one turn, size and shift are candidates. Each
candidate is then judged on the pixels: points of one film are followed to a fraction of a pixel on the other, one
affine map is fitted to where they went, and what counts is the share of points around which the films, laid over each
other, show the same fine structure.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.films.copies.keypoints import DESCRIPTOR, MOST_FEATURES, Features, find_features, local_contrast, mirrored
from osteon.films.groups import components
from osteon.films.reading.decoding import fit_into_square, over_cores
from osteon.progress import progress

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Frame = tuple[float, float, float, float]  # left, top, right, bottom

SURE = 0.66  # score from which two films are one; benchmarks/near_copies.py measures both sides of it
WITH_NAME = 0.5  # score from which two films of one name are one
DOUBTFUL = 0.6  # pairs from here on are shown to a person

SIDE = 256  # pixels; all films are compared at this size, whatever theirs is

# Of the search.
NEIGHBOURS = 6  # that each feature asks for
LEAST_AGREEING = 4  # features that agree, for a candidate
BEST, MANY_AGREEING = 8, 12  # candidates of a film that are judged, unless so many features agree
SHIFT, TURN, SIZE = 0.1, 0.35, 0.5  # within which they agree: share of the side, radians, octaves
BLOCK = 128  # films asked for at once
# Of the judgement.
MATCHED_WITHIN, FOLLOWED_WITHIN = 4.0, 1.0  # pixels; how far a map may miss a point
POINTS, POINT_QUALITY, POINT_DISTANCE = 150, 0.003, 6
FINEST, FINE = 1.0, 4.0  # pixels; finer is noise, and in what is coarser bones of one kind are alike
PATCH = 8  # pixels around a point that must look alike
ALIKE = 0.85  # correlation of two patches that look alike
MOST_WEIGHT = 6.0  # grey levels of fine structure from which a patch counts fully; noise counts for little
EDGE = 10  # pixels; what is nearer to a film's edge is not judged
FEWEST_POINTS = 12
LEAST_SHARED = 0.5  # share of the smaller film that must lie on the other: one plate or marker in two films is little
HOPELESS = 0.15  # score after the first look at which no second is taken
SMALLEST, LARGEST = 1 / 3, 3.0  # size of a copy, beside its film's


class Overlay(NamedTuple):
    """How one film lies on another, and how sure it is that they are one.

    score: 0 … 1. mirrored: whether the first film was mirrored before `matrix` (2 × 3, positions on the first film's
    square to positions on the second's) was applied.
    """

    score: float
    mirrored: bool
    matrix: Floats

    @property
    def rotation(self) -> float:
        """Degrees, clockwise as seen."""
        return float(np.rad2deg(np.arctan2(self.matrix[1, 0], self.matrix[0, 0])))

    @property
    def scale(self) -> float:
        """Size on the second film beside that on the first."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    @property
    def shift(self) -> tuple[float, float]:
        """How far the middle goes to the right and down, share of the square's side."""
        middle = np.full(2, (SIDE - 1) / 2)
        x, y = (self.matrix[:, :2] @ middle + self.matrix[:, 2] - middle) / SIDE
        return float(x), float(y)


class Pair(NamedTuple):
    """Two films, by their numbers, and how one lies on the other."""

    first: int
    second: int
    overlay: Overlay


class Squares(Protocol):
    """Films fitted into squares: an array, or a file that is read like one."""

    def __getitem__(self, film: int, /) -> Pixels: ...


class Look(NamedTuple):
    """What judging a film needs of it.

    lit: evenly lit, SIDE × SIDE. fine: the film without noise and coarse structure, grey levels, SIDE × SIDE. white:
    where it is as white as can be, 255, else 0, SIDE × SIDE. points: n × 2, x and y, that can be followed. frame: left,
    top, right, bottom of the film in its square, without its edge.
    """

    lit: Pixels
    fine: NDArray[np.float16]
    white: Pixels
    points: NDArray[np.float32]
    frame: Frame

    def mirrored(self) -> "Look":
        """The same of the mirror image, left for right."""
        last = len(self.lit) - 1
        left, top, right, bottom = self.frame
        return Look(
            np.ascontiguousarray(self.lit[:, ::-1]),
            self.fine[:, ::-1],
            np.ascontiguousarray(self.white[:, ::-1]),
            np.column_stack([last - self.points[:, 0], self.points[:, 1]]).astype(np.float32),
            (last - right, top, last - left, bottom),
        )


class FilmStack:
    """Films as squares, read when they are needed, and what judging them needs of each."""

    def __init__(self, squares: Squares, sizes: Sequence[tuple[int, int]]) -> None:
        """Take films by their numbers.

        Args:
            squares: squares[n] is a film fitted into a square of any one size, as letterbox does it, uint8.
            sizes: width and height of each before.

        """
        self.squares, self.sizes = squares, sizes
        self.look = lru_cache(maxsize=1024)(self._look)

    def read(self, film: int) -> Pixels:
        """A film as a square of SIDE pixels."""
        square = np.asarray(self.squares[film])
        if len(square) == SIDE:
            return square
        how = cv2.INTER_AREA if len(square) > SIDE else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=how), np.uint8)

    def _look(self, film: int) -> Look:
        square = self.read(film)
        lit = local_contrast(square)
        points = cv2.goodFeaturesToTrack(cv2.GaussianBlur(lit, (0, 0), 1), POINTS, POINT_QUALITY, POINT_DISTANCE)
        grey = square.astype(np.float32)
        return Look(
            lit,
            (cv2.GaussianBlur(grey, (0, 0), FINEST) - cv2.GaussianBlur(grey, (0, 0), FINE)).astype(np.float16),
            np.where(square == 255, square, np.uint8(0)),
            np.zeros((0, 2), np.float32) if points is None else points.reshape(-1, 2),
            self._frame(film),
        )

    def _frame(self, film: int) -> Frame:
        """Left, top, right, bottom of the film within its square, without what is too near its edge."""
        width, height = self.sizes[film]
        fit = fit_into_square(width, height, SIDE)
        return (
            fit.left + EDGE,
            fit.top + EDGE,
            fit.left + width * fit.factor - 1 - EDGE,
            fit.top + height * fit.factor - 1 - EDGE,
        )


def find_near_copies(films: FilmStack, distinct: Ints, cores: int) -> list[Pair]:
    """Pairs of films that are one or may be, score from DOUBTFUL on, in order.

    Args:
        films: all films.
        distinct: numbers of the films to look at, in order; of those whose pixels are the same, one is enough.
        cores: worker threads; 0 takes one for each core.

    """
    from threadpoolctl import threadpool_limits

    if len(distinct) < 2:
        return []
    with TemporaryDirectory() as folder:
        store = _FeatureFile(Path(folder) / "features")
        found = over_cores(lambda rows: [find_features(films.read(row)) for row in rows], distinct.tolist(), cores)
        for features in progress(found, "features", total=len(distinct)):
            store.append(features)
        store.close()
        candidates = np.array(list(_candidates(store, cores)), np.int64).reshape(-1, 4)

        def judge(rows: Sequence[int]) -> list[Overlay | None]:
            return [
                overlay(
                    films,
                    (int(distinct[first]), store[first]),
                    (int(distinct[second]), store[second]),
                    bool(flip),
                )
                for first, second, flip, _ in candidates[rows].tolist()
            ]

        judged = progress(
            _one_after_another(candidates, len(distinct), lambda rows: over_cores(judge, rows, cores)),
            "near copies",
            total=len(candidates),
        )
        best: dict[tuple[int, int], Overlay] = {}
        # The matrices are small and there is a thread for each core: BLAS' own threads would stand in each other's way.
        with threadpool_limits(1, "blas"):
            for row, laid in judged:
                first, second = distinct[candidates[row, :2]].tolist()
                if laid is not None and laid.score >= DOUBTFUL:
                    best[first, second] = max(laid, best.get((first, second), laid), key=lambda one: one.score)
    return [Pair(first, second, laid) for (first, second), laid in sorted(best.items(), key=lambda item: item[0])]


def _one_after_another(
    candidates: Ints, count: int, judge: Callable[[list[int]], Iterator[Overlay | None]]
) -> Iterator[tuple[int, Overlay | None]]:
    """Judge each film's best candidates first, and no pair that lower ranks would only join again.

    Where a film is there a hundred times, a hundred judgements join it instead of thousands.

    Args:
        candidates: of _candidates.
        count: films.
        judge: gives the overlay of each row of candidates, in order.

    Returns:
        Every row of candidates once, with its overlay; None where it needed none.

    """
    joined: list[tuple[int, int]] = []
    for rank in range(BEST + 1):
        rows = np.flatnonzero(candidates[:, 3] == rank)
        component = components(count, np.array(joined, np.int64).reshape(-1, 2))
        apart = component[candidates[rows, 0]] != component[candidates[rows, 1]]
        yield from ((row, None) for row in rows[~apart].tolist())
        asked = rows[apart].tolist()
        for row, laid in zip(asked, judge(asked), strict=True):
            if laid is not None and laid.score >= SURE:
                joined.append((int(candidates[row, 0]), int(candidates[row, 1])))
            yield row, laid


def compare(films: FilmStack, first: int, second: int) -> Overlay | None:
    """How one film lies on another, mirrored or not, whichever is surer; None where there is too little to compare."""
    features = [find_features(films.read(film)) for film in (first, second)]
    laid = [overlay(films, (first, features[0]), (second, features[1]), flip) for flip in (False, True)]
    return max((one for one in laid if one is not None), key=lambda one: one.score, default=None)


# ---------------------------------------------------------------- the search


class _FeatureFile:
    """Features of many films in one file: in memory they would be too many."""

    RECORD = MOST_FEATURES * (DESCRIPTOR + 16)

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: list[int] = []
        self._file = path.open("wb")

    def append(self, features: Features) -> None:
        places, descriptors = np.zeros((MOST_FEATURES, 4), np.float32), np.zeros((MOST_FEATURES, DESCRIPTOR), np.uint8)
        places[: len(features.places)], descriptors[: len(features.places)] = features
        self._file.write(places.tobytes() + descriptors.tobytes())
        self.counts.append(len(features.places))

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, film: int) -> Features:
        record = np.fromfile(self.path, np.uint8, self.RECORD, offset=int(film) * self.RECORD)
        count = self.counts[film]
        places = record[: MOST_FEATURES * 16].view(np.float32).reshape(MOST_FEATURES, 4)
        return Features(places[:count], record[MOST_FEATURES * 16 :].reshape(MOST_FEATURES, DESCRIPTOR)[:count])


def _candidates(store: _FeatureFile, cores: int) -> Iterator[tuple[int, int, int, int]]:
    """Pairs whose features agree best, each once: first < second, mirrored, rank (0 … BEST) among a film's."""
    import faiss

    counts = np.array(store.counts)
    total = int(counts.sum())
    if total == 0:
        return
    if cores:
        faiss.omp_set_num_threads(cores)
    owner = np.repeat(np.arange(len(store), dtype=np.int32), counts)
    places = np.empty((total, 4), np.float32)
    index = _index(store, total)
    ends = np.cumsum(counts)
    for start in range(0, len(store), BLOCK):
        block = [store[film] for film in range(start, min(start + BLOCK, len(store)))]
        end = int(ends[min(start + BLOCK, len(store)) - 1])
        places[end - sum(len(one.places) for one in block) : end] = np.concatenate([one.places for one in block])
        index.add(np.concatenate([one.descriptors for one in block]).astype(np.float32))

    seen: set[tuple[int, int, int]] = set()
    starts = range(0, len(store), BLOCK)
    for start in progress(starts, "candidates", total=len(starts)):
        rows = range(start, min(start + BLOCK, len(store)))
        block = [store[film] for film in rows]
        asking = np.repeat(np.arange(rows.start, rows.stop), [len(one.places) for one in block])
        if not len(asking):
            continue
        found_by: dict[int, list[tuple[int, int, int]]] = {}
        for flip in (False, True):
            asked = [mirrored(one, SIDE) if flip else one for one in block]
            _, found = index.search(np.concatenate([one.descriptors for one in asked]).astype(np.float32), NEIGHBOURS)
            feature, slot = np.nonzero(found >= 0)
            there = found[feature, slot]
            other = owner[there]
            kept = other != asking[feature]
            feature, there, other = feature[kept], there[kept], other[kept]
            at = np.concatenate([one.places for one in asked])[feature]
            for first, second, count in agreeing(asking[feature], other, feature, at, places[there]):
                found_by.setdefault(first, []).append((count, second, int(flip)))
        for first, others in found_by.items():
            others.sort(reverse=True)
            for number, (count, second, mirror) in enumerate(others):
                candidate = (min(first, second), max(first, second), mirror)
                if (number < BEST or count >= MANY_AGREEING) and candidate not in seen:
                    seen.add(candidate)
                    yield *candidate, min(number, BEST)


def _index(store: _FeatureFile, total: int) -> Any:
    """An index that looks at the few lists of features nearest to the one asked for.

    Half a byte a value. With a byte the features of 100,000 films took 1.8 GB instead of 1, and found no more copies.
    """
    import faiss

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


def agreeing(
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    feature: NDArray[np.integer],
    here: NDArray[np.float32],
    there: NDArray[np.float32],
) -> Iterator[tuple[int, int, int]]:
    """Pairs of films with LEAST_AGREEING features that tell of one turn, size and shift, and with how many.

    One SIFT feature found again tells all three (Lowe 2004, section 7.3).

    Args:
        first: the asking film of each match.
        second: the film that was found.
        feature: number of the asking feature; one that found several counts once.
        here: matches × 4, the asking features' places.
        there: matches × 4, those of the features found.

    """
    turn = np.deg2rad(there[:, 2] - here[:, 2])
    factor = there[:, 3] / here[:, 3]
    cos, sin = np.cos(turn) * factor, np.sin(turn) * factor
    dx, dy = ((SIDE - 1) / 2 - here[:, axis] for axis in (0, 1))
    # Where the match sends the middle of the first film.
    x, y, size = there[:, 0] + cos * dx - sin * dy, there[:, 1] + sin * dx + cos * dy, np.log2(factor)
    order = np.lexsort((second, first))
    bounds = np.flatnonzero(np.diff(first[order]) | np.diff(second[order])) + 1
    for rows in np.split(order, bounds):
        if len(rows) < LEAST_AGREEING:
            continue
        near = (
            (np.abs(x[rows, None] - x[rows]) < SHIFT * SIDE)
            & (np.abs(y[rows, None] - y[rows]) < SHIFT * SIDE)
            & (np.cos(turn[rows, None] - turn[rows]) > np.cos(TURN))
            & (np.abs(size[rows, None] - size[rows]) < SIZE)
        )
        most = rows[near[near.sum(axis=1).argmax()]]
        count = len(np.unique(feature[most]))
        if count >= LEAST_AGREEING:
            yield int(first[rows[0]]), int(second[rows[0]]), count


# ---------------------------------------------------------------- the judgement


def overlay(films: FilmStack, first: tuple[int, Features], second: tuple[int, Features], flip: bool) -> Overlay | None:
    """Lay one film over another and say how alike they are.

    Args:
        films: the films.
        first: number and features of the film that is laid over …
        second: … this one.
        flip: mirror the first before.

    Returns:
        None where no map was found or too few points lie on both.

    """
    matrix = _matched_map(mirrored(first[1], SIDE) if flip else first[1], second[1])
    if matrix is None:
        return None
    above, below = films.look(first[0]), films.look(second[0])
    if flip:
        above = above.mirrored()
    best = None
    for _ in range(2):
        followed = _followed(above, below, matrix)
        if followed is None:
            break
        matrix, score = followed, _alike(above, below, followed)
        if score is None:
            break
        if best is None or score > best.score:
            best = Overlay(score, flip, matrix)
        if score < HOPELESS:
            break
    return best


def _followed(above: Look, below: Look, matrix: Floats) -> Floats | None:
    """A better map: where the points of the film below are found on the one above, as it lies there (Lucas–Kanade)."""
    laid, back = _laid(above.lit, matrix, beyond=128), cv2.invertAffineTransform(matrix)
    points = _on_both(below.points, below.frame, back, above.frame)
    if len(points) < FEWEST_POINTS:
        return None
    arrived, status, _ = cv2.calcOpticalFlowPyrLK(
        below.lit, laid, points.reshape(-1, 1, 2), None, winSize=(15, 15), maxLevel=2
    )
    kept = status.ravel() == 1
    return _robust_map(_moved(arrived.reshape(-1, 2)[kept], back), points[kept], FOLLOWED_WITHIN, affine=True)


def _laid(film: NDArray[Any], matrix: Floats, *, beyond: int) -> NDArray[Any]:
    """A square film under an affine map."""
    return np.asarray(cv2.warpAffine(film, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderValue=beyond))


def _on_both(
    points: NDArray[np.float32],
    frame: Frame,
    matrix: Floats,
    other: Frame,
) -> NDArray[np.float32]:
    """The points that lie within one film's frame and, moved, within the other's."""
    return points[_inside(points, frame) & _inside(_moved(points, matrix), other)]


def _alike(above: Look, below: Look, matrix: Floats) -> float | None:
    """Share of the squares around both films' points that correlate, weighed by how much there is to see on either.

    Where one film is burnt out, by brightening or beside a turned film, nothing can be compared: it has no weight.
    None where too little of either lies on the other, or too few points on both.
    """
    if _shared(above.frame, below.frame, matrix) < LEAST_SHARED:
        return None
    back = cv2.invertAffineTransform(matrix)
    ours = _on_both(below.points, below.frame, back, above.frame)
    theirs = _moved(_on_both(above.points, above.frame, matrix, below.frame), matrix)
    points = np.concatenate([ours, theirs])
    if len(points) < FEWEST_POINTS:
        return None
    left, right = _laid(above.fine.astype(np.float32), matrix, beyond=0), below.fine.astype(np.float32)
    white = np.maximum(_laid(above.white, matrix, beyond=0), below.white).astype(np.float32) / 255
    x, y = np.rint(points).astype(int).T

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.boxFilter(values, -1, (2 * PATCH + 1, 2 * PATCH + 1))[y, x])

    mean_left, mean_right = mean(left), mean(right)
    # The floor, half a squared grey level, leaves rounding to 8 bits without weight.
    spread_left = np.maximum(mean(left * left) - mean_left**2, 0.5)
    spread_right = np.maximum(mean(right * right) - mean_right**2, 0.5)
    correlation = (mean(left * right) - mean_left * mean_right) / np.sqrt(spread_left * spread_right)
    seen = np.clip(1 - mean(white), 0, 1)
    if seen.sum() < FEWEST_POINTS:
        return None
    weight = np.minimum(np.sqrt(np.maximum(spread_left, spread_right)), MOST_WEIGHT) * seen
    return float(weight[correlation > ALIKE].sum() / weight.sum())


def _matched_map(first: Features, second: Features) -> Floats | None:
    """The turn, size and shift that most pairs of like features agree on."""
    if min(len(first.places), len(second.places)) < 3:
        return None
    left, right = (one.descriptors.astype(np.float32) for one in (first, second))
    likeness = left @ right.T
    best = likeness.argmax(axis=1)
    mutual = likeness.argmax(axis=0)[best] == np.arange(len(left))
    rows = np.flatnonzero(mutual & (likeness[np.arange(len(left)), best] > 0.75 * 512**2))
    return _robust_map(first.places[rows, :2], second.places[best[rows], :2], MATCHED_WITHIN, affine=False)


def _robust_map(
    here: NDArray[np.floating], there: NDArray[np.floating], within: float, *, affine: bool
) -> Floats | None:
    """The map from `here` to `there` (n × 2 each) that most points agree on within some pixels (RANSAC)."""
    if len(here) < 3:
        return None
    cv2.setRNGSeed(0)
    estimate = cv2.estimateAffine2D if affine else cv2.estimateAffinePartial2D
    matrix, _ = estimate(here.astype(np.float64), there.astype(np.float64), ransacReprojThreshold=within, maxIters=1000)
    if matrix is None or not SMALLEST < np.sqrt(abs(np.linalg.det(matrix[:, :2]))) < LARGEST:
        return None
    return np.asarray(matrix, np.float64)


def _moved(points: NDArray[np.floating], matrix: Floats) -> NDArray[np.float32]:
    moved: NDArray[np.float32] = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return moved


def _shared(above: Frame, below: Frame, matrix: Floats) -> float:
    """Area that a film, moved, shares with another, as a share of the smaller of the two."""
    moved, still = _moved(_corners(above), matrix), _corners(below)
    areas = [cv2.contourArea(corners) for corners in (moved, still)]
    return float(cv2.intersectConvexConvex(moved, still)[0] / max(min(areas), 1.0))


def _corners(frame: Frame) -> NDArray[np.float32]:
    left, top, right, bottom = frame
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)


def _inside(points: NDArray[np.floating], frame: Frame) -> NDArray[np.bool_]:
    left, top, right, bottom = frame
    inside: NDArray[np.bool_] = (
        (points[:, 0] >= left) & (points[:, 1] >= top) & (points[:, 0] <= right) & (points[:, 1] <= bottom)
    )
    return inside
