"""Batches for training: half positive, half negative, varied on the way, the same for one seed and epoch.

numpy only; every Keras backend takes them.
"""

import logging
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.errors import OsteonError
from osteon.films.manifest import text_to_boxes
from osteon.films.prepared.array import PreparedFilms
from osteon.films.prepared.warping import draw_variation, vary, vary_boxes
from osteon.models.networks.architectures import MAP_STRIDE
from osteon.models.networks.quiet_keras import keras
from osteon.params import AugmentationParams

log = logging.getLogger(__name__)

# With five folds each has two on average: fewer would be memorised and could not be measured.
FEWEST_OF_A_TYPE = 10

Batch = tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]


class TrainingBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """One epoch after the other of class-balanced batches.

    A batch depends on the seed, the epoch and its number, on nothing that came before: an interrupted training
    continues with the batches it would have had. Each class is gone through in shuffled rounds, so that no film
    is left out and the rarer class comes around more often.
    """

    def __init__(
        self,
        sets: list[tuple[PreparedFilms, NDArray[np.int64]]],
        batch_size: int,
        augmentation: AugmentationParams | None,
        seed: int,
        first_epoch: int = 0,
        types: Sequence[str] = (),
    ) -> None:
        """Take films from several sets, each with the rows to use.

        Args:
            sets: prepared films, augmented copies, …; pixels of one size.
            batch_size: even.
            augmentation: limits of the variation; None shows films as they are.
            seed: of order and variation.
            first_epoch: epoch that the first pass is, when a training continues.
            types: of fractures, in the order of the network's output 'type'; without any there is no such target.

        """
        super().__init__()
        self.batch_size, self.augmentation, self.seed = batch_size, augmentation, seed
        self.epoch = first_epoch - 1
        self.side = sets[0][0].side
        self.pixels = [prepared.pixels for prepared, _ in sets]
        self.places = np.concatenate(
            [np.column_stack([np.full(len(rows), number), rows]) for number, (_, rows) in enumerate(sets)]
        )
        tables = [prepared.films.iloc[rows] for prepared, rows in sets]
        self.labels = np.concatenate([table["label"].to_numpy(np.float32) for table in tables])
        self.boxes = [text_to_boxes(text) for table in tables for text in table["boxes"]]
        self.boxes_known = any(self.boxes)
        self.types = np.concatenate([type_targets(table, types) for table in tables])
        self.of_class = [np.flatnonzero(self.labels == label) for label in (0, 1)]

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def on_epoch_begin(self) -> None:
        """Keras calls this before each epoch."""
        self.epoch += 1

    def __getitem__(self, number: int) -> Batch:
        epoch = max(self.epoch, 0)  # Keras looks at the first batches before the first epoch begins
        chosen = np.concatenate([self._chosen(label, epoch, number) for label in (0, 1)])
        films = self._films(chosen)
        maps = np.zeros((len(chosen), self.side // MAP_STRIDE, self.side // MAP_STRIDE, 1), np.float32)
        for slot, film in enumerate(chosen):
            boxes = self.boxes[film]
            if self.augmentation is not None:
                rng = np.random.default_rng([self.seed, epoch, number, slot])
                variation = draw_variation(rng, self.augmentation, self.side)
                films[slot, :, :, 0] = vary(films[slot, :, :, 0], variation)
                boxes = vary_boxes(boxes, variation, self.side)
            maps[slot, :, :, 0] = map_of(boxes, self.side)
        labels = self.labels[chosen]
        # A positive film without boxes says nothing about where; in a set without any box no film does.
        known = np.array([self.boxes_known and (not self.labels[film] or bool(self.boxes[film])) for film in chosen])
        targets = {"finding": labels[:, None], "map": maps}
        weights = {"finding": np.ones(len(chosen), np.float32), "map": known.astype(np.float32)}
        return _with_types((films, targets, weights), self.types[chosen])

    def _films(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Films as they are, those of one set read together: n × side × side × 1."""
        films = np.empty((len(chosen), self.side, self.side, 1), np.uint8)
        source, row = self.places[chosen].T
        for number in np.unique(source):
            films[source == number, :, :, 0] = self.pixels[number][row[source == number]]
        return films

    def _chosen(self, label: int, epoch: int, number: int) -> NDArray[np.int64]:
        """The batch's half of one class: a window of the class's endless row of shuffled rounds."""
        members, half = self.of_class[label], self.batch_size // 2
        start = (epoch * len(self) + number) * half
        rounds = range(start // len(members), (start + half - 1) // len(members) + 1)
        row = np.concatenate([_shuffled(self.seed, label, turn, len(members)) for turn in rounds])
        offset = start - rounds[0] * len(members)
        chosen: NDArray[np.int64] = members[row[offset : offset + half]]
        return chosen


@lru_cache(maxsize=8)
def _shuffled(seed: int, label: int, turn: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, label, turn]).permutation(count)


class FilmBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Films as they are, in their order, with their labels: to measure on."""

    def __init__(
        self, prepared: PreparedFilms, rows: NDArray[np.int64], batch_size: int = 64, types: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.prepared, self.rows, self.batch_size = prepared, rows, batch_size
        self.labels = prepared.films["label"].to_numpy(np.float32)[rows]
        self.types = type_targets(prepared.films.iloc[rows], types)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, number: int) -> Batch:
        part = slice(number * self.batch_size, (number + 1) * self.batch_size)
        labels = self.labels[part, None].copy()  # TensorFlow takes arrays over without a copy and writes into them
        cells = self.prepared.side // MAP_STRIDE
        nowhere, nothing = (
            np.zeros((len(labels), cells, cells, 1), np.float32),
            np.zeros(len(labels), np.float32),
        )
        films = self.prepared.pixels[self.rows[part]][..., None]
        targets = {"finding": labels, "map": nowhere}
        weights = {"finding": np.ones(len(labels), np.float32), "map": nothing}
        return _with_types((films, targets, weights), self.types[part].copy())


def _with_types(batch: Batch, types: NDArray[np.float32]) -> Batch:
    """A batch with the target 'type' (films × types, as type_targets makes it); without types as it was."""
    films, targets, weights = batch
    if not types.shape[1]:
        return batch
    return films, {**targets, "type": types}, {**weights, "type": types.sum(axis=1)}


def type_targets(films: pd.DataFrame, types: Sequence[str]) -> NDArray[np.float32]:
    """Films × types: 1 at a fractured film's type, the rest 0.

    A row of zeros is a film that says nothing about types: not fractured, of no known type, or of one not in the list.
    Such a film has the weight 0 in the loss.
    """
    fractured = films["label"].to_numpy(np.float32) == 1
    columns = [fractured & films["fracture_type"].eq(name).fillna(False).to_numpy(bool) for name in types]
    return np.column_stack(columns).astype(np.float32) if columns else np.zeros((len(films), 0), np.float32)


def types_to_learn(films: pd.DataFrame, fewest: int = FEWEST_OF_A_TYPE) -> list[str]:
    """The types that these films suffice to train, in alphabetical order; it is logged which are too rare.

    Args:
        films: rows of a prepared set; training films, no test films and no copies.
        fewest: fractured films that a type must have.

    Raises:
        OsteonError: fewer than two types have so many.

    """
    counts = films.loc[films["label"] == 1, "fracture_type"].value_counts().sort_index()
    enough, rare = counts[counts >= fewest], counts[counts < fewest]
    if len(enough) < 2:
        counted = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "no type at all"
        raise OsteonError(
            f"training.task = fracture_type: two types with at least {fewest} training films are needed; there is "
            f"{counted}; set it to fracture, or name the column with the types in data.columns.fracture_type"
        )
    log.info(
        "types: %s%s",
        ", ".join(f"{name} ({count})" for name, count in enough.items()),
        f" · too rare to train: {', '.join(f'{name} ({count})' for name, count in rare.items())}" if len(rare) else "",
    )
    return [str(name) for name in enough.index]


def map_of(boxes: list[tuple[float, float, float, float]], side: int) -> NDArray[np.float32]:
    """The cells of the map (side/16 × side/16) that a box touches are 1."""
    cells = np.zeros((side // MAP_STRIDE, side // MAP_STRIDE), np.float32)
    for x, y, width, height in boxes:
        left, top = int(x // MAP_STRIDE), int(y // MAP_STRIDE)
        right, bottom = -int(-(x + width) // MAP_STRIDE), -int(-(y + height) // MAP_STRIDE)
        cells[top:bottom, left:right] = 1.0
    return cells
