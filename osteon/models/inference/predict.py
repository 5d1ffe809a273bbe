"""What a network says of films: of each and its mirror image, which are one film to us."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from osteon.films.prepared.array import PreparedFilms


def films_at_once(side: int) -> int:
    """How many films a network looks at together, each beside its mirror image: their pixels and layers have to fit.

    64 of 128 pixels, and fewer of larger ones. Of 320 pixels, 64 for three EfficientNet-Lite0 took 23 GB: ONNX Runtime
    keeps the memory that each network has once used.
    """
    return max(1, 64 * 128**2 // max(side, 128) ** 2)


def predict_with_flip_tta(
    network: Any, squares: NDArray[np.uint8], outputs: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """What a network says of films, the mean of each film and its mirror image (whose map is mirrored back).

    Args:
        network: a keras.Model or an OnnxNetwork.
        squares: films × side × side.
        outputs: their names; 'finding' comes as films, 'map' as films × h × w.

    """
    block = films_at_once(squares.shape[1])
    parts_by_name: dict[str, list[NDArray[np.float64]]] = {name: [] for name in outputs}
    for start in range(0, max(len(squares), 1), block):
        films = np.asarray(squares[start : start + block])[..., None]
        predictions = network.predict_on_batch(np.concatenate([films, films[:, :, ::-1]]))
        for name in outputs:
            straight, mirrored = np.split(np.asarray(predictions[name], np.float64), 2)
            parts_by_name[name].append((straight + (mirrored[:, :, ::-1] if name == "map" else mirrored)) / 2)
    together = {name: np.concatenate(parts) for name, parts in parts_by_name.items()}
    return {name: values[..., 0] if name in ("finding", "map") else values for name, values in together.items()}


def map_probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The network's 'map' as probabilities: of each cell, that the finding touches it."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))


def logits_with_flip_tta(network: Any, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The network's 'finding' for films, the mean of each film's and its mirror image's."""
    return predict_with_flip_tta(network, squares, ["finding"])["finding"]


def predict_in_blocks(
    network: Any, prepared: "PreparedFilms", rows: NDArray[np.int64], outputs: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """As predict_with_flip_tta, for some rows of the prepared films; one block of pixels at a time is in memory."""
    blocks = [predict_with_flip_tta(network, squares, outputs) for squares in prepared.blocks(rows)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in outputs}
