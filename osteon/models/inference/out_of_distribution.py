"""Out-of-distribution score: Mahalanobis distance under PPCA of a film's embedding from those of the training films.

The embedding is taken at several depths of the network, not only at its end: a network that was trained to tell broken
bones from whole ones has no need to keep what makes a film a radiograph (docs/model.md).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osteon.errors import OsteonError
from osteon.models.inference.predict import predict_in_blocks

if TYPE_CHECKING:
    from osteon.films.prepared.array import PreparedFilms

Floats = NDArray[np.float64]

EMBEDDING = "embedding"
MOST_FILMS = 2000  # of more training films so many are drawn
COMPONENTS, FILMS_A_COMPONENT = 400, 4
SILENT = 0.03  # deviation below which a channel counts as silent: the logarithm of nothing has no end
LEAST = 1e-4  # of the variance of a dimension: what never varied among the training films may vary a little


@dataclass(frozen=True)
class Embeddings:
    """Where the training films lie: a Gaussian whose variance is the same in all but a few directions.

    middle, scale: of each dimension. directions: dimensions × components, of dimensions that were scaled. variances:
    in these directions; rest: in all others.
    """

    middle: Floats
    scale: Floats
    directions: Floats
    variances: Floats
    rest: float

    def distances(self, embeddings: Floats) -> Floats:
        """Mahalanobis' distance of films from the middle, by the root of the dimensions: of training films about 1.

        Args:
            embeddings: films × dimensions.

        """
        scaled = (embeddings - self.middle) / self.scale
        along = scaled @ self.directions
        beside = np.maximum((scaled**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.asarray(np.sqrt(((along**2 / self.variances).sum(axis=1) + beside / self.rest) / len(self.middle)))


def fit_embeddings(embeddings: Floats) -> Embeddings:
    """Learn where films lie: probabilistic PCA (Tipping & Bishop 1999, J R Stat Soc B 61) of the scaled dimensions.

    Args:
        embeddings: films × dimensions, two films at least.

    """
    films, dimensions = embeddings.shape
    scale = embeddings.std(axis=0)
    scale = np.where(scale > 1e-6 * scale.max(), scale, max(float(scale.max()), 1.0))
    centred = (embeddings - embeddings.mean(axis=0)) / scale
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    variances = singular**2 / (films - 1)
    kept = max(1, min(COMPONENTS, films // FILMS_A_COMPONENT, len(variances)))
    rest = float(variances[kept:].sum()) / max(dimensions - kept, 1)
    return Embeddings(embeddings.mean(axis=0), scale, directions[:kept].T, variances[:kept] + LEAST, rest + LEAST)


def with_embedding(network: Any) -> Any:
    """The same network with one output more.

    For each size that a film has inside the network: each channel's mean over all places and the logarithm of its
    standard deviation, where the last branches of that size are joined, or in the last output of that size where there
    are no branches. Deviations are never negative and skew; their logarithms are nearer to the Gaussian of Embeddings.
    """
    from keras import layers

    from osteon.models.networks.quiet_keras import keras

    last: dict[int, Any] = {}
    joined: dict[int, Any] = {}
    for layer in network.layers:
        shape: tuple[int, ...] = getattr(layer.output, "shape", ())
        if len(shape) == 4 and 1 < shape[1] < network.input_shape[1]:
            last[shape[1]] = layer.output
            if isinstance(layer, layers.Add | layers.Concatenate):
                joined[shape[1]] = layer.output
    # Names of their own: one that Keras makes up may be a layer's of a network that was loaded.
    pooled = [
        layers.Lambda(
            _mean_and_log_deviation, output_shape=(2 * places.shape[-1],), dtype="float32", name=f"{EMBEDDING}_{side}"
        )(places)
        for side, places in (last | joined).items()
    ]
    outputs = {**network.output, EMBEDDING: layers.Concatenate(dtype="float32", name=EMBEDDING)(pooled)}
    return keras.Model(network.inputs, outputs, name=network.name)


def _mean_and_log_deviation(places: Any) -> Any:
    from osteon.models.networks.quiet_keras import keras

    spread = keras.ops.log(keras.ops.std(places, axis=(1, 2)) + SILENT)
    return keras.ops.concatenate([keras.ops.mean(places, axis=(1, 2)), spread], axis=-1)


def embeddings_of(network: Any, prepared: "PreparedFilms", rows: NDArray[np.int64], seed: int) -> Embeddings:
    """Learn where the films lie that a network was trained on.

    Args:
        network: of with_embedding.
        prepared: films.
        rows: of the training films.
        seed: of the draw, where there are more than MOST_FILMS.

    """
    if len(rows) > MOST_FILMS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_FILMS, replace=False))
    return fit_embeddings(predict_in_blocks(network, prepared, rows, [EMBEDDING])[EMBEDDING])


def save_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write them without pickle."""
    np.savez(
        path,
        middle=embeddings.middle,
        scale=embeddings.scale,
        directions=embeddings.directions.astype(np.float32),
        variances=embeddings.variances,
        rest=embeddings.rest,
    )


def load_embeddings(path: Path) -> Embeddings:
    """Load what save_embeddings wrote.

    Raises:
        OsteonError: missing or damaged.

    """
    from zipfile import BadZipFile

    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = {name: arrays[name].astype(np.float64) for name in ("middle", "scale", "directions", "variances")}
            return Embeddings(**stored, rest=float(arrays["rest"]))
    except FileNotFoundError:
        raise OsteonError(f"{path.parent}: no packaged model ({path.name} is missing); run the step train") from None
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise OsteonError(f"{path.parent}: damaged model ({path.name}: {error}); run the step train again") from None
