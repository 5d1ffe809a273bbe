"""A checkpoint an epoch: all that a killed training needs to end as one that was not killed."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from osteon.files import atomic_dir, partial_path
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
    """Write all that a training is so that a kill at any moment leaves this checkpoint or the last one."""
    with atomic_dir(folder) as partial:
        values = [np.asarray(variable) for variable in variables_of(network)]
        np.savez(partial / VARIABLES, *values)
        np.savez(partial / KEPT, *kept)
        (partial / STATE).write_text(state.model_dump_json(), encoding="utf-8")


def read_state(folder: Path, fingerprint: Fingerprint) -> TrainingState | None:
    """The state of a checkpoint of this very training; None where there is none. What changed is logged."""
    newest = partial_path(folder)
    if not folder.exists() and (newest / STATE).exists():  # killed between the two renames of save_checkpoint
        newest.rename(folder)
    try:
        state = TrainingState.model_validate(json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None
    if state.fingerprint != fingerprint:
        log.info("training begins anew after %d epochs: %s", state.epochs, fingerprint.changes(state.fingerprint))
        return None
    return state


def restore_checkpoint(folder: Path, network: Any) -> Weights:
    """Put a checkpoint's values into a network built and compiled as the one that wrote it; the weights to keep."""
    with np.load(folder / VARIABLES, allow_pickle=False) as stored:
        for variable, name in zip(variables_of(network), stored.files, strict=True):
            variable.assign(stored[name])
    with np.load(folder / KEPT, allow_pickle=False) as stored:
        return [stored[name] for name in stored.files]
