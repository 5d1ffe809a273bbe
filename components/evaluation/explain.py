"""Where the model looked at: maps or Grad-CAM of test films, the pointing game, and the films to show."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.evaluation.explanations import Pointing, failure_of, most_certain, pointing_game
from components.evaluation.gallery import Picture
from osteon.films.manifest import Box, text_to_boxes
from osteon.films.prepared.array import PreparedFilms, shown_sizes
from osteon.models.inference.boxes import BoxRule, boxes_of_map
from osteon.models.package.package import Package, PackageInfo

Maps = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


@dataclass(frozen=True)
class Explanations:
    """What the maps of test films show.

    method: 'map', 'Grad-CAM', or None where the model has no maps. pointing: the pointing game; None where no
    fractured test film has a box, or the model has no maps. gallery: kind → films to show; without maps they are shown
    all the same. failed: film_id → why its map explains nothing.
    """

    method: str | None
    pointing: Pointing | None
    gallery: dict[str, list[Picture]]
    failed: dict[str, str]


def explanation_method(package: Package, folder: Path) -> tuple[str | None, Maps | None]:
    """How a folder's model is explained, and the function from squares to maps (None: not at all)."""
    if package.info.map_learnt:
        return "map", package.maps
    if package.networks:
        # Only Grad-CAM needs Keras: a model with maps of its own is evaluated without.
        from osteon.models.inference.grad_cam import grad_cam
        from osteon.models.package.package import load_networks

        networks = load_networks(folder)
        return "Grad-CAM", lambda squares: np.mean([grad_cam(network, squares) for network in networks], axis=0)
    return None, None


def explain_films(
    method: str | None,
    maps: Maps | None,
    prepared: PreparedFilms,
    films: pd.DataFrame,
    groups: NDArray[np.int64],
    info: PackageInfo,
    confidence: float,
) -> Explanations:
    """Explain the most certain test films, and play the pointing game on all that have a box."""
    labels, scores = films["label"].to_numpy(np.int64), films["score"].to_numpy(np.float64)
    boxes = [text_to_boxes(text) for text in films["boxes"]]
    boxed = [number for number, marks in enumerate(boxes) if marks and labels[number]]
    chosen = most_certain(labels, scores, info.threshold)
    needed = sorted({*boxed, *(number for numbers in chosen.values() for number in numbers)})
    heat_of = _heat_of(maps, prepared, films, needed) if maps else {}

    pointing = None
    if boxed and heat_of:
        pointing = pointing_game(
            np.stack([heat_of[number] for number in boxed]),
            [boxes[number] for number in boxed],
            shown_sizes(films.iloc[boxed]),
            np.unique(groups[boxed], return_inverse=True)[1],
            prepared.side,
            confidence,
        )
    gallery, failed = _gallery(chosen, heat_of, prepared, films, boxes, info.boxes)
    return Explanations(method, pointing, gallery, failed)


def _heat_of(
    maps: Maps, prepared: PreparedFilms, films: pd.DataFrame, needed: list[int]
) -> dict[int, NDArray[np.float64]]:
    """Number of a test film → its map, h × w."""
    rows = films.index.to_numpy(np.int64)
    heats = np.concatenate([maps(squares) for squares in prepared.blocks(rows[needed])])
    return dict(zip(needed, heats, strict=True))


def _gallery(
    chosen: dict[str, list[int]],
    heat_of: dict[int, NDArray[np.float64]],
    prepared: PreparedFilms,
    films: pd.DataFrame,
    boxes: list[list[Box]],
    rule: BoxRule | None,
) -> tuple[dict[str, list[Picture]], dict[str, str]]:
    """The films to show by kind, and film_id → reason of those whose map explains nothing."""
    gallery: dict[str, list[Picture]] = {kind: [] for kind in chosen}
    failed: dict[str, str] = {}
    sizes = shown_sizes(films)
    for kind, numbers in chosen.items():
        for number in numbers:
            film_id, heat = str(films["film_id"].iloc[number]), heat_of.get(number)
            reason = None if heat is None else failure_of(heat)
            if reason:
                failed[film_id] = reason
            else:
                square = prepared.pixels[int(films.index[number])]
                score = float(films["score"].iloc[number])
                predicted = _shown_boxes(heat, rule, prepared.side, sizes[number])
                gallery[kind].append(Picture(film_id, score, square, heat, boxes[number], predicted))
    return gallery, failed


def _shown_boxes(
    heat: NDArray[np.float64] | None, rule: BoxRule | None, side: int, size: tuple[int, int]
) -> list[tuple[Box, float]]:
    """The predicted boxes of a film that a user sees, in pixels of the square, each with its score."""
    if heat is None or rule is None:
        return []
    boxes, scores = boxes_of_map(heat, rule.depth, side, size)
    return [
        (tuple(box), score)
        for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)
        if score >= rule.threshold
    ]
