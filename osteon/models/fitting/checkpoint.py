"""A checkpoint an epoch: all that a killed training needs to end as one that was not killed."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from osteon.errors import OsteonError
from osteon.files import (
    damage_of,
    full_disk_explained,
    old_path,
    partial_path,
    remove,
    replace_dir,
    sync,
    write_checksums,
)
from osteon.fingerprint import Fingerprint

log = logging.getLogger(__name__)

VARIABLES, KEPT, STATE = "variables.npz", "kept.npz", "state.json"
Weights = list[NDArray[Any]]


class TrainingState(BaseModel):
    """How far a training has come.

    fingerprint: of all that it is made from; another training's checkpoint is not continued.
    precision: what was chosen at the start, so that it is not chosen again. history: one entry an epoch, with
    watched_auroc where films were watched. stopping: whether these films decide which epoch is kept.
    """

    fingerprint: Fingerprint
    precision: str
    stopping: bool = False
    history: list[dict[str, float]] = []

    @property
    def epochs(self) -> int:
        """How many are done."""
        return len(self.history)

    def kept_epoch(self) -> int:
        """The epoch (from 0) whose weights are kept: the first with the highest AUROC, or the last."""
        if not self.stopping:
            return self.epochs - 1
        return int(np.argmax([epoch["watched_auroc"] for epoch in self.history]))

    def write_history(self, path: Path) -> None:
        """One row an epoch, as CSV. Speed differs from run to run; everything else here is the training's."""
        frame = pd.DataFrame(self.history).drop(columns="films_per_second")
        frame.insert(0, "epoch", range(1, len(frame) + 1))
        frame.to_csv(path, index=False, lineterminator="\n")

    def epochs_since_best(self) -> int:
        """How many came after the one that is kept."""
        return self.epochs - 1 - self.kept_epoch()


def variables_of(network: Any) -> list[Any]:
    """Everything that changes while a network trains: weights, running statistics, random states, optimiser."""
    return [*network.variables, *network.optimizer.variables]


def save_checkpoint(folder: Path, network: Any, kept: Weights, state: TrainingState) -> None:
    """Write all that a training is so that a kill at any moment leaves this checkpoint or the last one.

    The last one is kept beside it, for a disk may lose what it took.

    Raises:
        OsteonError: what was written does not read back.

    """
    partial = partial_path(folder)
    remove(partial)
    partial.mkdir(parents=True)
    values = [np.asarray(variable) for variable in variables_of(network)]
    with full_disk_explained(folder, "run again; it continues where it was"):
        np.savez(partial / VARIABLES, *values)
        np.savez(partial / KEPT, *kept)
        (partial / STATE).write_text(state.model_dump_json(), encoding="utf-8")
        write_checksums(partial)
        sync(partial)
    if damage := damage_of(partial):
        raise OsteonError(f"{folder}: {damage}; check the disk, then run the command again")
    replace_dir(partial, folder)


def read_state(folder: Path, fingerprint: Fingerprint) -> TrainingState | None:
    """The state of the newest whole checkpoint of this very training; None where there is none.

    A damaged one is logged and deleted, and so is what changed since one of another training.
    """
    # A kill between the two renames of save_checkpoint leaves the newest one under its first name.
    for place in (folder, partial_path(folder), old_path(folder)):
        if not place.exists() or (place == partial_path(folder) and folder.exists()):
            continue
        if damage := damage_of(place):
            log.warning("the checkpoint %s is damaged (%s) and is not used", folder.name, damage)
            remove(place)
            continue
        try:
            state = TrainingState.model_validate_json((place / STATE).read_bytes())
        except ValueError:  # of another version
            return None
        if state.fingerprint != fingerprint:
            log.info("training begins anew after %d epochs: %s", state.epochs, fingerprint.changes(state.fingerprint))
            return None
        if place != folder:
            place.rename(folder)
            log.info("training goes on from the checkpoint after epoch %d", state.epochs)
        return state
    return None


def restore_checkpoint(folder: Path, network: Any) -> Weights:
    """Put a checkpoint's values into a network built and compiled as the one that wrote it; the weights to keep."""
    with np.load(folder / VARIABLES, allow_pickle=False) as stored:
        for variable, name in zip(variables_of(network), stored.files, strict=True):
            variable.assign(stored[name])
    with np.load(folder / KEPT, allow_pickle=False) as stored:
        return [stored[name] for name in stored.files]
