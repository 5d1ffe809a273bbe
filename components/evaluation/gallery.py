"""Right and wrong films on one picture, each beside itself with the heat of its explanation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from components.evaluation.explanations import EACH, KINDS, peak_of
from components.evaluation.figures import save_figure
from osteon.films.manifest import Box
from osteon.pages.style import ORANGE, STYLE
from osteon.statistics.estimate import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREDICTED = "#63b3ed"
LONGEST = 26  # characters of a film's id that fit above it


@dataclass(frozen=True)
class Picture:
    """A film to show: its square, its map (h × w, 0 … 1; None where the model gives none) and its true boxes.

    predicted: boxes of the model that a user sees, with their scores.
    """

    film_id: str
    score: float
    square: NDArray[np.uint8]
    heat: Floats | None
    boxes: Sequence[Box]
    predicted: Sequence[tuple[Box, float]] = ()


def draw_gallery(path: Path, pictures: dict[str, list[Picture]]) -> None:
    """Write one PNG: a row for each of KINDS that has films, the film on the left, with its heat on the right.

    Args:
        path: PNG to write.
        pictures: kind → films, at most EACH; all have a map, or none has.

    """
    shown = {kind: films for kind, films in pictures.items() if films}
    wide = 2 if any(film.heat is not None for films in shown.values() for film in films) else 1
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            len(shown), EACH * wide, figsize=(1.9 * EACH * wide, 2.25 * len(shown)), squeeze=False, layout="constrained"
        )
        for axes in grid.ravel():
            axes.axis("off")
        for row, (kind, films) in zip(grid, shown.items(), strict=True):
            for number, film in enumerate(films):
                places = row[number * wide : (number + 1) * wide]
                for axes in places:
                    axes.imshow(film.square, cmap="gray", vmin=0, vmax=255)
                    for x, y, width, height in film.boxes:
                        axes.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, color=ORANGE, lw=1.2))
                _draw_predicted(places[0], film.predicted)
                # Ids are other people's: a $ in one is no formula.
                places[0].set_title(
                    f"{KINDS[kind]} · {film.score:.2f}\n{_cut(film.film_id)}", fontsize=8, loc="left", parse_math=False
                )
                if film.heat is not None:
                    _lay_over(places[1], film.heat, len(film.square))
        save_figure(figure, path)


def _draw_predicted(axes: "Axes", predicted: Sequence[tuple[Box, float]]) -> None:
    for (x, y, width, height), score in predicted:
        place = Rectangle((x - 0.5, y - 0.5), width, height, fill=False, color=PREDICTED, lw=1.5, ls=(0, (3, 1.5)))
        axes.add_patch(place)
        text = axes.text(x, y, f"{score:.2f}", color=PREDICTED, fontsize=7, va="bottom", clip_on=True)
        text.set_path_effects([withStroke(linewidth=1.5, foreground="black")])  # readable on bone too


def _lay_over(axes: "Axes", heat: Floats, side: int) -> None:
    smooth = np.clip(cv2.resize(heat.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR), 0, 1)
    axes.imshow(smooth, cmap="inferno", vmin=0, vmax=1, alpha=0.6 * np.sqrt(smooth))
    x, y = peak_of(heat, side)
    axes.plot(x - 0.5, y - 0.5, "+", color=PREDICTED, markersize=9, markeredgewidth=1.5)


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"
