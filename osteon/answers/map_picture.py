"""A film with what the model marks on it: outlines of its map and its boxes, so that the bone stays visible."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.films.reading.film import Film, fit_into_square, to_8_bit

LONGEST = 1024  # pixels of the picture's longer side, at most; at least half of them
LEVELS = {0.25: (255, 170, 60), 0.5: (60, 170, 255), 0.75: (60, 60, 255)}  # of the map → colour, blue green red
BOX = (80, 255, 80)


def map_picture(
    film: Film, heat: NDArray[np.float64] | None, boxes: Sequence[Sequence[float]] | None, side: int
) -> bytes:
    """PNG of a film with outlines where its map reaches LEVELS, and its boxes with their scores.

    Args:
        film: decoded.
        heat: map of the square that the film was fitted into, h × w, 0 … 1; None: none is known.
        boxes: x, y, width, height in pixels of the film's file, and score.
        side: of the square, pixels.

    """
    height, width = film.pixels.shape
    longer = max(height, width)
    zoom = min(LONGEST / longer, 1) if longer > LONGEST / 2 else LONGEST / 2 / longer
    shown = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    picture = cv2.cvtColor(cv2.resize(to_8_bit(film), shown, interpolation=how), cv2.COLOR_GRAY2BGR)
    if heat is not None:
        on_picture = heat_on_film(heat, side, (width, height), shown)
        for level, colour in LEVELS.items():
            outlines, _ = cv2.findContours(
                (on_picture >= level).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(picture, outlines, -1, colour, 1, cv2.LINE_AA)
    across, down = (length / file for length, file in zip(shown, _file_size(film), strict=True))
    for x, y, wide, high, score in boxes or []:
        first, last = (round(x * across), round(y * down)), (round((x + wide) * across), round((y + high) * down))
        cv2.rectangle(picture, first, last, BOX, 2)
        place = (first[0], max(first[1] - 6, 14))
        cv2.putText(picture, f"{score:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, BOX, 1, cv2.LINE_AA)
    done, data = cv2.imencode(".png", picture)
    assert done  # noqa: S101 – of an array of bytes
    return data.tobytes()


def heat_on_film(
    heat: NDArray[np.float64], side: int, size: tuple[int, int], shown: tuple[int, int]
) -> NDArray[np.float32]:
    """A square's map on the film alone, without the square's black edges.

    Args:
        heat: h × w, of a square.
        side: of the square, pixels.
        size: width and height of the film.
        shown: width and height of the picture to make.

    """
    fit, cell = fit_into_square(*size, side), side / heat.shape[1]
    # Of each pixel of the picture the place on the square, and from there in cells, whose middles have whole numbers.
    x = ((np.arange(shown[0]) + 0.5) / shown[0] * size[0] * fit.factor + fit.left) / cell - 0.5
    y = ((np.arange(shown[1]) + 0.5) / shown[1] * size[1] * fit.factor + fit.top) / cell - 0.5
    columns, rows = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    levels = heat.astype(np.float32)
    return np.asarray(cv2.remap(levels, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _file_size(film: Film) -> tuple[float, float]:
    """Width and height in the file, whose pixels may not be square."""
    height, width = film.pixels.shape
    return width / film.stretch[0], height / film.stretch[1]
