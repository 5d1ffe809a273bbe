"""Many films on one picture, for a person to look over."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Box = tuple[float, float, float, float]

CAPTION_HEIGHT = 14
BOX_COLOUR, CAPTION_COLOUR, BACKGROUND = (255, 92, 56), (214, 226, 236), (18, 22, 26)


def draw_contact_sheet(
    path: Path,
    films: Sequence[NDArray[np.uint8]],
    captions: Sequence[str],
    boxes: Sequence[Sequence[Box]],
    *,
    columns: int = 8,
    side: int = 160,
) -> None:
    """Write films in rows, each fitted into a square with its caption below and its boxes drawn.

    Args:
        path: PNG to write.
        films: height × width uint8 each, of any size.
        captions: one a film; cut where it does not fit.
        boxes: for each film its boxes (x, y, width, height) in that film's pixels.
        columns: films in a row.
        side: of a square, pixels.

    """
    rows = -(-len(films) // columns)
    sheet = Image.new("RGB", (columns * side, rows * (side + CAPTION_HEIGHT)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (film, caption, marks) in enumerate(zip(films, captions, boxes, strict=True)):
        left, top = (number % columns) * side, (number // columns) * (side + CAPTION_HEIGHT)
        factor = side / max(film.shape)
        fitted = Image.fromarray(film).resize(
            (max(1, round(film.shape[1] * factor)), max(1, round(film.shape[0] * factor))),
            Image.Resampling.LANCZOS,
        )
        left_film, top_film = left + (side - fitted.width) // 2, top + (side - fitted.height) // 2
        sheet.paste(fitted, (left_film, top_film))
        for x, y, width, height in marks:
            corner = (left_film + x * factor, top_film + y * factor)
            draw.rectangle((*corner, corner[0] + width * factor, corner[1] + height * factor), outline=BOX_COLOUR)
        draw.text((left + 3, top + side + 1), caption[: side // 6], fill=CAPTION_COLOUR)
    # To zlib films are noise: harder work on them takes twenty times as long and leaves nine tenths of the bytes.
    sheet.save(path, format="PNG", compress_level=3)
