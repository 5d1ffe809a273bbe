import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from osteon.films.copies.alignment import FilmStack, Trimmed, best_alignment
from osteon.films.copies.glances import (
    SIDE_OF_GLANCE,
    UNSEEN,
    Glance,
    changed_glance,
    glance_likeness,
    make_glance,
)
from osteon.films.copies.keypoints import SIDE
from osteon.films.copies.specks import without_specks
from osteon.films.reading.film import Film, Fit
from tests.making import phantom_films, squared, stack_of

WHOLE = (0.0, 0.0, SIDE - 1.0, SIDE - 1.0)
SAME = np.eye(2, 3)


def glance_of(film: NDArray[np.uint8]) -> Glance:
    return make_glance(squared(film), WHOLE)


def texture(seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, 60, (SIDE_OF_GLANCE, SIDE_OF_GLANCE))
    small = np.clip(128 + noise, 1, 254).astype(np.uint8)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST), np.uint8)


# ---------------------------------------------------------------- glances


def test_a_film_is_like_itself_and_not_like_another() -> None:
    one, other = glance_of(texture(1)), glance_of(texture(2))
    assert glance_likeness(one, one, SAME) == 1.0
    assert glance_likeness(one, other, SAME) < 0.01


def test_a_glance_moved_back_is_like_the_film() -> None:
    film = texture(1)
    shifted = np.roll(film, (8, 16), axis=(0, 1))
    matrix = np.array([[1.0, 0, 4], [0, 1, 2]])
    assert glance_likeness(glance_of(film), glance_of(shifted), matrix) > 0.95
    assert glance_likeness(glance_of(film), glance_of(shifted), SAME) < 0.01


def test_the_changed_glance_is_that_of_the_changed_film() -> None:
    film = texture(3)
    mirrored, negative = np.ascontiguousarray(film[:, ::-1]), 255 - film
    np.testing.assert_array_equal(changed_glance(glance_of(film), mirrored=True, inverted=False), glance_of(mirrored))
    made = changed_glance(glance_of(film), mirrored=False, inverted=True)
    assert np.abs(made.astype(int) - glance_of(negative)).max() <= 1
    assert glance_likeness(glance_of(film), glance_of(negative), SAME) < 0.01


def test_what_is_beside_the_film_or_white_is_not_seen() -> None:
    film = texture(4)
    film[:40] = 255
    glance = make_glance(film, (64.0, 0.0, 191.0, 255.0))
    assert (glance[:10] == UNSEEN).all()
    assert (glance[:, :16] == UNSEEN).all()
    assert (glance[:, 50:] == UNSEEN).all()
    assert (glance[12:, 18:46] != UNSEEN).all()
    turned = changed_glance(glance, mirrored=True, inverted=True)
    np.testing.assert_array_equal(turned == UNSEEN, glance[:, ::-1] == UNSEEN)


def test_where_nothing_can_be_compared_a_glance_says_nothing() -> None:
    nothing = np.full((SIDE_OF_GLANCE, SIDE_OF_GLANCE), UNSEEN, np.int8)
    assert glance_likeness(nothing, glance_of(texture(1)), SAME) == 1.0
    assert glance_likeness(glance_of(texture(1)), glance_of(texture(1)), np.array([[1.0, 0, 99], [0, 1, 0]])) == 1.0


# ---------------------------------------------------------------- borders


def trimmed(film: NDArray[np.uint8]) -> Trimmed:
    return stack_of([film]).trimmed(0)


@pytest.mark.parametrize("grey", [0, 30, 235, 255])
def test_a_border_is_taken_off_and_the_film_fills_the_square(grey: int) -> None:
    film = texture(5)
    bordered = cv2.copyMakeBorder(film, 64, 0, 128, 128, cv2.BORDER_CONSTANT, value=grey)
    result = trimmed(np.asarray(bordered, np.uint8))
    # On the square, 512 x 320 pixels come to half their size: the film has 128 x 128 of them, from (64, 80) on.
    assert result.fit == Fit(2.0, pytest.approx(0.5 - 128), pytest.approx(0.5 - 160))
    assert np.corrcoef(result.square.ravel(), film.ravel())[0, 1] > 0.8
    assert result.frame == trimmed(film).frame


@pytest.mark.parametrize(("border", "taken"), [(10, False), (20, True)])
def test_a_narrow_border_stays(border: int, taken: bool) -> None:
    film = cv2.copyMakeBorder(texture(5), *[border] * 4, cv2.BORDER_CONSTANT, value=99)
    result = trimmed(np.asarray(film, np.uint8))
    assert (result.fit != Fit(1.0, 0.0, 0.0)) == taken
    if not taken:
        np.testing.assert_array_equal(result.square, squared(np.asarray(film, np.uint8)))


def test_a_blank_film_and_one_with_a_dot_stay_as_they_are() -> None:
    blank = np.full((SIDE, SIDE), 90, np.uint8)
    dot = blank.copy()
    dot[100:120, 100:120] = 255
    for film in (blank, dot):
        result = trimmed(film)
        assert result.fit == Fit(1.0, 0.0, 0.0)
        np.testing.assert_array_equal(result.square, squared(film))


def test_the_place_on_the_mirror_image_is_the_mirrored_place() -> None:
    fit = Trimmed(np.zeros((SIDE, SIDE), np.uint8), WHOLE, Fit(2.0, -30.0, -50.0))
    x, y = 70.0, 60.0
    here = fit.placed(mirrored=False) @ (x, y, 1)
    there = fit.placed(mirrored=True) @ (SIDE - 1 - x, y, 1)
    assert tuple(here[:2]) == (110.0, 70.0)
    assert tuple(there[:2]) == (SIDE - 1 - 110.0, 70.0)


def test_squares_on_the_disk_are_not_changed() -> None:
    squares = np.stack([squared(phantom_films(4)[0])])
    before = squares.copy()
    FilmStack(squares, [(SIDE, SIDE)]).trimmed(0)
    np.testing.assert_array_equal(squares, before)


def test_a_film_is_read_and_trimmed_once_for_all_its_alignments() -> None:
    squares, read = np.stack([squared(film) for film in phantom_films(2)]), []

    class Counted:
        def __getitem__(self, film: int, /) -> NDArray[np.uint8]:
            read.append(film)
            return np.asarray(squares[film])

    films = FilmStack(Counted(), [(SIDE, SIDE)] * 2)
    for _ in range(2):
        best_alignment(films, 0, 1)
    assert sorted(read) == [0, 1]


# ---------------------------------------------------------------- specks


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 4095), (np.float32, 1.0)])
def test_single_black_and_white_pixels_become_their_surroundings(dtype: type, top: float) -> None:
    film = np.full((9, 9), top / 2).astype(dtype)
    made = film.copy()
    made[2, 3], made[6, 6], made[0, 0] = top, 0, top
    result = without_specks(Film(made, 0.0, float(top), 8))
    np.testing.assert_array_equal(result.pixels, film)
    assert result.pixels.dtype == dtype


def test_what_is_no_speck_stays() -> None:
    film = np.full((12, 12), 128, np.uint8)
    film[3:5, 3:5] = 255  # four of them are a marker's corner
    film[8, 8] = 200  # not as white as can be
    film[6:8] = 0
    np.testing.assert_array_equal(without_specks(Film(film, 0.0, 255.0, 8)).pixels[:, 5:], film[:, 5:])
    bright = np.full((9, 9), 210, np.uint8)
    bright[4, 4] = 255  # nearly as its surroundings
    np.testing.assert_array_equal(without_specks(Film(bright, 0.0, 255.0, 8)).pixels, bright)
