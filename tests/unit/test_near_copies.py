from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from osteon.films.copies import candidates
from osteon.films.copies.alignment import Appearance, FilmStack, best_alignment, likeness
from osteon.films.copies.candidates import (
    LEAST_CONSISTENT,
    FeatureFile,
    consistent_pairs,
    find_candidates,
    packed_places,
    unpacked_places,
)
from osteon.films.copies.keypoints import (
    CHANGES,
    DESCRIPTOR,
    SIDE,
    Change,
    Features,
    changed,
    find_features,
    one_form,
)
from osteon.films.copies.near_copies import DOUBTFUL, SURE, Pair, find_near_copies
from osteon.films.groups import connected_components
from osteon.films.reading.film import fit_into_square
from tests.making import phantom_films, squared, stack_of

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Copy = tuple[Pixels, Floats]  # and where the film's pixels went, 3 × 3


# ---------------------------------------------------------------- ways to copy a film


def moved(film: Pixels, matrix: Floats, width: int, height: int, beyond: int) -> Copy:
    return np.asarray(cv2.warpAffine(film, matrix[:2], (width, height), borderValue=beyond), np.uint8), matrix


def turned(film: Pixels, degrees: float, beyond: int = 0, expand: bool = False, cut: float = 0) -> Copy:
    """Turned clockwise about the middle; `cut` of each side taken off then."""
    height, width = film.shape
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    x, y = (width - 1) / 2, (height - 1) / 2
    if expand:
        width, height = (
            round(width * abs(cos) + height * abs(sin)),
            round(width * abs(sin) + height * abs(cos)),
        )
    left, top = round(width * cut), round(height * cut)
    middle = (width - 1) / 2 - left, (height - 1) / 2 - top
    linear = np.array([[cos, -sin], [sin, cos]])
    matrix = np.eye(3)
    matrix[:2] = np.column_stack([linear, middle - linear @ (x, y)])
    return moved(film, matrix, width - 2 * left, height - 2 * top, beyond)


def mirrored(film: Pixels) -> Copy:
    matrix = np.array([[-1.0, 0, film.shape[1] - 1], [0, 1, 0], [0, 0, 1]])
    return np.ascontiguousarray(film[:, ::-1]), matrix


def rescaled(film: Pixels, factor: float) -> Copy:
    height, width = (round(side * factor) for side in film.shape)
    fx, fy = width / film.shape[1], height / film.shape[0]
    matrix = np.array([[fx, 0, fx / 2 - 0.5], [0, fy, fy / 2 - 0.5], [0, 0, 1]])
    return np.asarray(cv2.resize(film, (width, height), interpolation=cv2.INTER_AREA), np.uint8), matrix


def cropped(film: Pixels, left: float, top: float, right: float, bottom: float) -> Copy:
    height, width = film.shape
    x, y = round(left * width), round(top * height)
    matrix = np.array([[1.0, 0, -x], [0, 1, -y], [0, 0, 1]])
    return film[y : height - round(bottom * height), x : width - round(right * width)], matrix


def encoded_again(film: Pixels, quality: int) -> Copy:
    data = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8), np.eye(3)


def brighter(film: Pixels, gain: float, more: float) -> Copy:
    return np.clip(film * gain + more, 0, 255).astype(np.uint8), np.eye(3)


def negative(film: Pixels) -> Copy:
    return 255 - film, np.eye(3)


def equalised_in_tiles(film: Pixels) -> Copy:
    return np.asarray(cv2.createCLAHE(4.0, (8, 8)).apply(film), np.uint8), np.eye(3)


def speckled(film: Pixels, share: float) -> Copy:
    """Salt-and-pepper noise."""
    chance = np.random.default_rng(0).random(film.shape)
    return np.where(chance < share / 2, 0, np.where(chance < share, 255, film)).astype(np.uint8), np.eye(3)


def bordered(film: Pixels, grey: int) -> Copy:
    """A screenshot: the film somewhere on a larger even ground."""
    matrix = np.array([[1.0, 0, 120], [0, 1, 40], [0, 0, 1]])
    return cv2.copyMakeBorder(film, 40, 60, 120, 150, cv2.BORDER_CONSTANT, value=grey), matrix


def both(film: Pixels, *ways: Callable[[Pixels], Copy]) -> Copy:
    matrix = np.eye(3)
    for way in ways:
        film, step = way(film)
        matrix = step @ matrix
    return film, matrix


WAYS: dict[str, Callable[[Pixels], Copy]] = {
    "turned 7°, black wedges": lambda film: turned(film, 7),
    "turned 7°, white wedges": lambda film: turned(film, 7, beyond=255),
    "turned −20°, cropped to fit": lambda film: turned(film, -20, cut=0.17),
    "turned 45°, black wedges": lambda film: turned(film, 45),
    "turned 45°, white, on a larger canvas": lambda film: turned(film, 45, beyond=255, expand=True),
    "turned 90°": lambda film: turned(film, 90, expand=True),
    "turned 180°": lambda film: turned(film, 180),
    "mirrored": mirrored,
    "mirrored and turned 30°": lambda film: both(film, mirrored, lambda one: turned(one, 30)),
    "upside down": lambda film: both(film, mirrored, lambda one: turned(one, 180)),
    "rescaled to 0.4": lambda film: rescaled(film, 0.4),
    "JPEG of quality 30": lambda film: encoded_again(film, 30),
    "brighter": lambda film: brighter(film, 1.3, 20),
    "darker": lambda film: brighter(film, 0.6, 0),
    "negative": negative,
    "negative, turned 30°, black wedges": lambda film: both(film, negative, lambda one: turned(one, 30)),
    "negative, mirrored, 15 % cropped": lambda film: both(
        film, negative, mirrored, lambda one: cropped(one, 0.05, 0.1, 0.1, 0.05)
    ),
    "contrast equalised in tiles": equalised_in_tiles,
    "15 % cropped": lambda film: cropped(film, 0.05, 0.1, 0.1, 0.05),
    "15 % of the left cropped": lambda film: cropped(film, 0.15, 0, 0, 0),
    "salt-and-pepper noise": lambda film: speckled(film, 0.03),
    "screenshot, bright border": lambda film: both(
        film, lambda one: rescaled(one, 0.6), lambda one: bordered(one, 235)
    ),
    "screenshot, dark border, mirrored": lambda film: both(film, mirrored, lambda one: bordered(one, 30)),
    "all at once": lambda film: both(
        film,
        mirrored,
        lambda one: turned(one, 12, cut=0.05),
        lambda one: rescaled(one, 0.7),
        lambda one: brighter(one, 1.1, 5),
        lambda one: encoded_again(one, 50),
    ),
}


def originals() -> list[Pixels]:
    """A wrist, an ankle, a lower leg and a hip: of a finger, a JPEG of quality 30 leaves less."""
    films = phantom_films(12)
    return [films[number] for number in CHOSEN]


CHOSEN = (18, 22, 11, 16)


def on_squares(film: Pixels, copy: Pixels, matrix: Floats) -> tuple[bool, Floats]:
    """Whether mirrored, and the map from the first's square (mirrored if so) to the second's, 3 × 3."""

    def fitted(shape: tuple[int, ...]) -> Floats:
        fit = fit_into_square(shape[1], shape[0], SIDE)
        x, y = (place + fit.factor / 2 - 0.5 for place in (fit.left, fit.top))
        return np.array([[fit.factor, 0, x], [0, fit.factor, y], [0, 0, 1]])

    laid = fitted(copy.shape) @ matrix @ np.linalg.inv(fitted(film.shape))
    flip = bool(np.linalg.det(laid[:2, :2]) < 0)
    return flip, laid @ np.array([[-1.0, 0, SIDE - 1], [0, 1, 0], [0, 0, 1]]) if flip else laid


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_found_and_told_how_it_was_made(way: str) -> None:
    films = originals()
    made = [WAYS[way](film) for film in films]
    stack = stack_of([*films, *(copy for copy, _ in made)])
    pairs = find_near_copies(stack, np.arange(2 * len(films)), 2)
    sure = {(item.first, item.second): item.alignment for item in pairs if item.alignment.score >= SURE}
    assert list(sure) == [(n, n + len(films)) for n in range(len(films))]
    for film, (copy, matrix), laid in zip(films, made, sure.values(), strict=True):
        flip, expected = on_squares(film, copy, matrix)
        assert laid.mirrored == flip
        assert laid.inverted == way.startswith("negative")
        rotation = np.rad2deg(np.arctan2(expected[1, 0], expected[0, 0]))
        assert (laid.rotation - rotation + 180) % 360 - 180 == pytest.approx(0, abs=1)
        assert laid.scale == pytest.approx(np.sqrt(abs(np.linalg.det(expected[:2, :2]))), rel=0.02)
        middle = (SIDE - 1) / 2
        x, y = ((expected @ (middle, middle, 1))[:2] - middle) / SIDE
        assert laid.shift == pytest.approx((x, y), abs=0.015)


def test_the_other_way_round_the_map_is_the_other_way_round() -> None:
    film = originals()[0]
    copy = turned(film, 30, expand=True)[0]
    forth, back = best_alignment(stack_of([film, copy]), 0, 1), best_alignment(stack_of([copy, film]), 0, 1)
    assert forth is not None
    assert back is not None
    assert forth.rotation == pytest.approx(30, abs=1)
    assert back.rotation == pytest.approx(-30, abs=1)
    assert forth.scale * back.scale == pytest.approx(1, rel=0.01)
    assert forth.scale < 0.85
    item = np.vstack([forth.matrix, [0, 0, 1]]) @ np.vstack([back.matrix, [0, 0, 1]])
    np.testing.assert_allclose(item[:2] @ (128, 128, 1), (128, 128), atol=1.5)


# ---------------------------------------------------------------- what is no copy


def test_films_of_different_studies_and_two_views_of_one_are_not_one() -> None:
    films = phantom_films(9)
    pairs = find_near_copies(stack_of(films), np.arange(len(films)), 2)
    assert [item for item in pairs if item.alignment.score >= SURE] == []


def test_a_film_is_itself() -> None:
    film = originals()[1]
    laid = best_alignment(stack_of([film, film]), 0, 1)
    assert laid is not None
    assert laid.score == pytest.approx(1, abs=0.005)
    assert not laid.mirrored
    np.testing.assert_allclose(laid.matrix, [[1, 0, 0], [0, 1, 0]], atol=0.01)


# ---------------------------------------------------------------- few films, and films with little on them


def disc(radius: int) -> Pixels:
    film = np.full((256, 256), 40, np.uint8)
    cv2.circle(film, (128, 128), radius, 200, -1)
    return film


def test_no_film_one_film_and_films_with_nothing_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    film, black = originals()[0], np.zeros((256, 200), np.uint8)
    assert find_near_copies(stack_of([film]), np.arange(0), 1) == []
    assert find_near_copies(stack_of([film]), np.arange(1), 1) == []
    assert find_near_copies(stack_of([black] * 3), np.arange(3), 1) == []
    assert best_alignment(stack_of([film, black]), 0, 1) is None
    monkeypatch.setattr(candidates, "BLOCK", 4)
    pairs = find_near_copies(stack_of([film, *[black] * 10, mirrored(film)[0]]), np.arange(12), 2)
    assert [(item.first, item.second) for item in pairs] == [(0, 11)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_fewer_features_than_the_index_would_have_lists(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    store = FeatureFile(tmp_path / "features")
    for _ in range(2):
        store.append(
            Features(rng.random((count, 4)).astype(np.float32), rng.integers(0, 256, (count, DESCRIPTOR), np.uint8))
        )
    store.flush()
    list(find_candidates(store, 1))
    store.close()


def test_two_nearly_blank_films() -> None:
    assert 0 < len(find_features(disc(9)).places) < 12
    find_near_copies(stack_of([disc(9), disc(14)]), np.arange(2), 1)


# ---------------------------------------------------------------- the same again


@pytest.fixture(scope="module")
def mixture() -> tuple[list[Pixels], list[tuple[int, int]]]:
    """Films of nine studies, six copies among them, and which belong together."""
    films = phantom_films(9)[:18:2]
    ways = [
        "turned 7°, white wedges",
        "mirrored",
        "15 % cropped",
        "JPEG of quality 30",
        "turned 90°",
        "rescaled to 0.4",
    ]
    originals_of = [1, 3, 3, 7, 7, 1]
    copies = [WAYS[way](films[number])[0] for way, number in zip(ways, originals_of, strict=True)]
    return [*films, *copies], [(number, len(films) + place) for place, number in enumerate(originals_of)]


def written(pairs: list[Pair]) -> list[tuple[int, int, float, tuple[bool, bool], bytes]]:
    return [(a, b, laid.score, (laid.mirrored, laid.inverted), laid.matrix.tobytes()) for a, b, laid in pairs]


def together(pairs: list[Pair], count: int) -> set[frozenset[int]]:
    joined = [(item.first, item.second) for item in pairs if item.alignment.score >= SURE]
    component = connected_components(count, np.array(joined, np.int64).reshape(-1, 2))
    return {frozenset(np.flatnonzero(component == number).tolist()) for number in set(component.tolist())}


def test_a_second_call_and_another_number_of_cores_find_the_same_to_the_bit(
    mixture: tuple[list[Pixels], list[tuple[int, int]]],
) -> None:
    films, _ = mixture
    once = written(find_near_copies(stack_of(films), np.arange(len(films)), 1))
    assert once
    assert once == sorted(once)
    assert written(find_near_copies(stack_of(films), np.arange(len(films)), 1)) == once
    assert written(find_near_copies(stack_of(films), np.arange(len(films)), 3)) == once


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_the_films_does_not_matter(mixture: tuple[list[Pixels], list[tuple[int, int]]], seed: int) -> None:
    films, planted = mixture
    expected = {frozenset({n}) for n in (0, 2, 4, 5, 6, 8)}
    expected |= {frozenset({number, *(copy for first, copy in planted if first == number)}) for number in (1, 3, 7)}
    order = np.random.default_rng(seed).permutation(len(films))
    pairs = find_near_copies(stack_of([films[number] for number in order]), np.arange(len(films)), 2)
    result = together(pairs, len(films))
    assert {frozenset(int(order[place]) for place in item) for item in result} == expected


def test_only_the_films_asked_for_are_looked_at(mixture: tuple[list[Pixels], list[tuple[int, int]]]) -> None:
    films, planted = mixture
    requested = np.array([0, *planted[0], 8])
    sure = [item for item in find_near_copies(stack_of(films), np.sort(requested), 1) if item.alignment.score >= SURE]
    assert [(item.first, item.second) for item in sure] == [planted[0]]


@pytest.mark.parametrize("side", [64, 192, 512])
def test_squares_of_another_size(side: int) -> None:
    """Of 64 pixels little is left; a turned copy of such a film is one to be doubted at least."""
    films = originals()
    copies = [turned(film, 10)[0] for film in films]
    pairs = find_near_copies(stack_of([*films, *copies], side), np.arange(8), 2)
    result = [item for item in pairs if item.second == item.first + 4]
    assert len(result) == 4
    least = SURE if side > 64 else DOUBTFUL
    for item in result:
        assert item.alignment.score >= least
        assert item.alignment.rotation == pytest.approx(10, abs=1)
        assert item.alignment.scale == pytest.approx(1, rel=0.02)


# ---------------------------------------------------------------- parts


def test_what_was_looked_at_does_not_stay_in_memory_for_ever() -> None:
    film = stack_of([originals()[0]]).squares[0]

    class Many:
        def __getitem__(self, number: int, /) -> Pixels:
            return film

    stack = FilmStack(Many(), [(SIDE, SIDE)] * 2000)
    most = stack.appearance.cache_info().maxsize
    assert most is not None
    look = stack.appearance(0)
    size = look.lit.nbytes + look.fine.nbytes + look.white.nbytes + look.points.nbytes
    assert most * size < 300e6


def test_features_come_back_from_their_file(tmp_path: Path) -> None:
    result = [find_features(np.zeros((64, 64), np.uint8)), *map(find_features, stack_of(originals()).squares)]  # type: ignore[call-overload]
    store = FeatureFile(tmp_path / "features")
    for features in result:
        store.append(features)
    store.flush()
    assert len(store) == len(result)
    for number in (4, 0, 2, 1, 3):
        np.testing.assert_array_equal(store[number].places, result[number].places, strict=True)
        np.testing.assert_array_equal(store[number].descriptors, result[number].descriptors, strict=True)
    store.close()


def agreed(matches: list[tuple[int, int, int, tuple[float, ...], tuple[float, ...]]]) -> list[tuple[int, int, int]]:
    first, second, feature, here, places = zip(*matches, strict=True)
    return list(
        consistent_pairs(
            np.array(first),
            np.array(second),
            np.array(feature),
            np.array(here, np.float32),
            np.array(places, np.float32),
        )
    )


def test_matches_agree_that_tell_of_one_turn_size_and_shift() -> None:
    """A quarter turn about the middle (127.5, 127.5), clockwise: (x, y) → (255 − y, x)."""
    places = [(30, 40), (200, 50), (100, 150), (60, 220), (180, 200), (127, 128)]
    good = [(0, 7, n, (x, y, 10 * n, 4), (255 - y, x, 10 * n + 90, 4)) for n, (x, y) in enumerate(places)]
    assert len(good) > LEAST_CONSISTENT
    assert agreed(good) == [(0, 7, 6)]
    # The last, in the middle of the film, is of another direction, size or place.
    x, y = places[-1]
    for wrong in ((255 - y, x, 185, 4), (255 - y, x, 140, 8), (255 - y + 60, x, 140, 4)):
        assert agreed([*good[:-1], (0, 7, 5, (x, y, 50, 4), wrong)]) == [(0, 7, 5)]
    # Directions go round.
    round_about = [(*match[:3], (*match[3][:2], 350, 4), (*match[4][:2], 80, 4)) for match in good]
    assert agreed(round_about) == [(0, 7, 6)]


def test_too_few_matches_and_one_feature_that_found_several_say_nothing() -> None:
    match = (0, 7, 0, (30.0, 40.0, 0.0, 4.0), (30.0, 40.0, 0.0, 4.0))
    few = [(0, 7, n, *match[3:]) for n in range(LEAST_CONSISTENT - 1)]
    assert agreed(few) == []
    assert agreed([*few, few[0]]) == []
    assert agreed([*few, (0, 7, 99, *match[3:])]) == [(0, 7, LEAST_CONSISTENT)]
    assert agreed([*few, (0, 8, 99, *match[3:]), (1, 7, 99, *match[3:])]) == []


def test_matches_of_many_films_in_any_order_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    matches = []
    for first, second, count in [(0, 1, 7), (0, 2, 5), (3, 1, 6), (3, 2, 4)]:
        for n in range(count):
            x, y = rng.uniform(20, 230, 2)
            matches.append((first, second, 100 * first + n, (x, y, 15, 3), (x + 5, y - 5, 25, 3)))
    shuffled = [matches[n] for n in rng.permutation(len(matches))]
    assert sorted(agreed(shuffled)) == [(0, 1, 7), (0, 2, 5), (3, 1, 6)]


# ---------------------------------------------------------------- likeness by hand


def board(contrast: float, *, columns: slice = slice(None)) -> NDArray[np.float32]:
    """A chessboard of ±contrast in some columns, 0 elsewhere: a patch on it has the variance contrast²."""
    signs = np.where(np.add.outer(np.arange(SIDE), np.arange(SIDE)) % 2, 1.0, -1.0)
    fine = np.zeros((SIDE, SIDE), np.float32)
    fine[:, columns] = contrast * signs[:, columns]
    return fine


def appearance(fine: NDArray[np.float32], points: list[tuple[int, int]]) -> Appearance:
    lit, white = np.full((SIDE, SIDE), 128, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    return Appearance(lit, fine.astype(np.float16), white, np.array(points, np.float32), (10, 10, 245, 245))


def likeness_of(fine: NDArray[np.float32], points: list[tuple[int, int]]) -> float | None:
    film = appearance(fine, points)
    return likeness(film, film, np.eye(2, 3))


POINTS = [(x, y) for x in (40, 60, 80) for y in (40, 80, 120, 160)]


@pytest.mark.parametrize(("contrast", "expected"), [(0.64, 0.0), (0.645, 0.0), (0.66, 1.0), (0.7, 1.0), (2.0, 1.0)])
def test_a_patch_of_less_variance_than_rounding_makes_does_not_correlate(contrast: float, expected: float) -> None:
    """With itself it correlates by contrast² / max(contrast², 0.5), which reaches 0.85 at a contrast of 0.652."""
    assert likeness_of(board(contrast), POINTS) == expected


@pytest.mark.parametrize(("contrast", "weight"), [(2.0, 2.0), (5.0, 5.0), (6.0, 6.0), (8.0, 6.0)])
def test_a_flat_patch_weighs_as_much_as_rounding_and_a_rich_one_no_more_than_six_levels(
    contrast: float, weight: float
) -> None:
    """Of three columns of points two are on the board and one beside it, where nothing correlates."""
    score = likeness_of(
        board(contrast, columns=slice(0, 100)), [(x, y) for x in (40, 60, 140) for y in (40, 80, 120, 160)]
    )
    assert score == pytest.approx(2 * weight / (2 * weight + np.sqrt(0.5)), abs=1e-4)


# ---------------------------------------------------------------- one form for a film, its mirror image, its negative


def test_a_descriptor_has_one_form_whatever_was_done_to_its_film() -> None:
    features = find_features(squared(originals()[0]))
    form, mirror, invert = one_form(features.descriptors)
    for change in CHANGES:
        again, mirror_again, invert_again = one_form(changed(features, change, SIDE).descriptors)
        np.testing.assert_array_equal(again, form)
        assert (mirror ^ mirror_again == change.mirrored).all()
        assert (invert ^ invert_again == change.inverted).all()


@pytest.mark.parametrize("change", CHANGES)
def test_features_of_a_changed_film_are_the_changed_features(change: Change) -> None:
    film = squared(originals()[0])
    made = film[:, ::-1] if change.mirrored else film
    result = find_features(np.ascontiguousarray(255 - made if change.inverted else made))
    expected = changed(find_features(film), change, SIDE)
    apart = np.abs(result.places[:, None, :2] - expected.places[:, :2]).max(axis=2)
    turns = np.abs((result.places[:, None, 2] - expected.places[:, 2] + 180) % 360 - 180)
    differ = np.abs(result.descriptors[:, None].astype(int) - expected.descriptors).mean(axis=2)
    near = (apart < 1) & (turns < 5)
    assert near.any(axis=1).mean() > 0.8
    assert np.where(near, differ, 99).min(axis=1)[near.any(axis=1)].mean() < 4


def test_places_are_packed_to_a_pixel_and_a_degree_or_two() -> None:
    rng = np.random.default_rng(0)
    places = np.column_stack(
        [rng.uniform(0, 255, (200, 2)), rng.uniform(0, 360, 200), np.exp2(rng.uniform(0, 7, 200))]
    ).astype(np.float32)
    places[0, 2] = 359.9
    x, y, direction, size = np.abs(unpacked_places(packed_places(places)) - places).T
    assert max(x.max(), y.max()) <= 0.5
    assert np.minimum(direction, 360 - direction).max() < 0.75
    assert (size / places[:, 3]).max() < 0.023
