"""A film without salt-and-pepper noise, for the search for copies: nothing is left of a fine structure under it."""

from dataclasses import replace

import cv2
import numpy as np

from osteon.films.reading.film import Film

SPECK = 0.25  # share of the range by which a speck differs from the middle one of its nine pixels


def without_specks(film: Film) -> Film:
    """A film whose black and white pixels that stand alone are as their surroundings; corners of white marks go too."""
    middle = cv2.medianBlur(film.pixels, 3)
    least = SPECK * (film.high - film.low)
    salt = (film.pixels >= film.high) & (middle < film.high - least)
    pepper = (film.pixels <= film.low) & (middle > film.low + least)
    return replace(film, pixels=np.where(salt | pepper, middle, film.pixels))
