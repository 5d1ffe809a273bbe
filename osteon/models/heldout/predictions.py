"""What a cross-validation leaves: a folder a fold, and every model's scores of held-out films."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.errors import OsteonError
from osteon.files import damage_of
from osteon.fingerprint import Fingerprint
from osteon.params import ClassicalName

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLD, PREDICTIONS = "fold-{}", "predictions.parquet"
NETWORK, HISTORY, INFO = "network.keras", "history.csv", "fold.json"
EMBEDDINGS, DISTANCES, MAPS = "embeddings.npz", "distances.npy", "maps.npy"


class FoldInfo(BaseModel):
    """How a fold was computed. fingerprint: of all it was computed from. epochs: that its network is kept from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fold: int
    fingerprint: Fingerprint
    models: list[ClassicalName]
    films: int
    copies: int
    set_aside: int
    epochs: int
    precision: str
    seconds: dict[str, float]


def read_folds(folder: Path) -> list[FoldInfo]:
    """What the folds of a cross-validation say of themselves, in their order.

    Raises:
        OsteonError: there is none, or one is damaged.

    """
    for path in sorted(folder.glob(FOLD.format("*"))):
        if damage := damage_of(path):
            raise OsteonError(f"{path}: damaged ({damage}); run the step cross_validate again")
    try:
        infos = [FoldInfo.model_validate_json(path.read_bytes()) for path in folder.glob(f"{FOLD.format('*')}/{INFO}")]
    except ValidationError as error:
        raise OsteonError(
            f"{folder}: damaged ({str(error).splitlines()[0]}); run the step cross_validate again"
        ) from None
    if not infos:
        raise OsteonError(f"{folder}: no folds there; run the step cross_validate")
    return sorted(infos, key=lambda info: info.fold)


def read_predictions(folder: Path, model: str) -> "pd.DataFrame":
    """Out-of-fold scores of one model: film_id, group, label, fold, score.

    Raises:
        OsteonError: missing, damaged, or the model was not among those of the cross-validation.

    """
    try:
        scores = pd.read_parquet(folder / PREDICTIONS)
    except (OSError, ValueError) as error:
        raise OsteonError(
            f"{folder / PREDICTIONS}: no scores there ({str(error).splitlines()[0]}); run the step cross_validate again"
        ) from None
    chosen = scores[scores["model"] == model].drop(columns="model").reset_index(drop=True)
    if chosen.empty:
        models = ", ".join(scores["model"].unique())
        raise OsteonError(f"{folder}: no out-of-fold scores of {model}, only of {models}; see cross_validation.models")
    return chosen


def read_distances(folder: Path) -> "NDArray[np.float64]":
    """Out-of-distribution distance of every held-out film from the training films of its fold's network.

    Raises:
        OsteonError: missing or damaged.

    """
    try:
        return np.concatenate([np.load(path) for path in sorted(folder.glob(f"{FOLD.format('*')}/{DISTANCES}"))])
    except (OSError, ValueError, EOFError) as error:
        raise OsteonError(f"{folder}: no distances of films ({error}); run the step cross_validate again") from None


def read_maps(folder: Path, folds: list[int]) -> "NDArray[np.float16]":
    """The maps of all held-out films, films × h × w, logits: fold by fold, each in the order of its rows.

    Raises:
        OsteonError: missing or damaged.

    """
    try:
        maps = [np.load(folder / FOLD.format(fold) / MAPS) for fold in folds]
    except (OSError, ValueError, EOFError) as error:
        raise OsteonError(f"{folder}: no maps of films ({error}); run the step cross_validate again") from None
    return np.concatenate(maps)
