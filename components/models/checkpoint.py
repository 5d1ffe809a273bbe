"""A checkpoint an epoch: all that a killed training needs to end as one that was not killed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from components.outputs import partial_path, whole_folder

VARIABLES, BEST, STATE = "variables.npz", "best.npz", "state.json"
Weights = list[NDArray[Any]]


class TrainingState(BaseModel):
    """How far a training has come.

    fingerprint: of the data, the parameters and the backend; another one's checkpoint is not continued.
    precision: what was chosen at the start, so that it is not chosen again. history: one entry an epoch.
    """

    fingerprint: str
    precision: str
    history: list[dict[str, float]] = []

    @property
    def epochs(self) -> int:
        """How many are done."""
        return len(self.history)

    def best_epoch(self) -> int:
        """The first epoch (from 0) with the highest AUROC on the validation fold."""
        return int(np.argmax([epoch["val_auroc"] for epoch in self.history]))

    def epochs_since_best(self) -> int:
        """How many came after the best one."""
        return self.epochs - 1 - self.best_epoch()


def variables_of(network: Any) -> list[Any]:
    """Everything that changes while a network trains: weights, running statistics, random states, optimiser."""
    return [*network.variables, *network.optimizer.variables]


def save_checkpoint(folder: Path, network: Any, best: Weights, state: TrainingState) -> None:
    """Write network, optimiser, best weights and state so that a kill at any moment leaves this one or the last."""
    with whole_folder(folder) as partial:
        values = [np.asarray(variable) for variable in variables_of(network)]
        np.savez(partial / VARIABLES, *values)
        np.savez(partial / BEST, *best)
        (partial / STATE).write_text(state.model_dump_json(), encoding="utf-8")


def read_state(folder: Path, fingerprint: str) -> TrainingState | None:
    """The state of a checkpoint of this very training; None where there is none."""
    newest = partial_path(folder)
    if not folder.exists() and (newest / STATE).exists():  # killed between the two renames of save_checkpoint
        newest.rename(folder)
    try:
        state = TrainingState.model_validate(json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None
    return state if state.fingerprint == fingerprint else None


def restore_checkpoint(folder: Path, network: Any) -> Weights:
    """Put a checkpoint's values into a network built and compiled as the one that wrote it; the best weights."""
    with np.load(folder / VARIABLES, allow_pickle=False) as stored:
        for variable, name in zip(variables_of(network), stored.files, strict=True):
            variable.assign(stored[name])
    with np.load(folder / BEST, allow_pickle=False) as stored:
        return [stored[name] for name in stored.files]
