"""The packaged model: a folder that answers for itself.

network-0.keras …, the networks; NAME.skops, the classical models; package.json, what they were made from and how to
read what they say; films.csv, the films they were trained and chosen on, by id and hash.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from components.errors import OsteonError
from components.models.calibration import Calibration, probabilities_of
from components.models.classical import load_classical, probabilities, soft_vote
from components.models.operating_points import OperatingPoints, answers

if TYPE_CHECKING:
    import pandas as pd

INFO, FILMS = "package.json", "films.csv"


class PackageInfo(BaseModel):
    """What a packaged model says of itself.

    finding: what probability is of. model: what answers, 'network', a classical model's name or 'soft_vote'.
    image_size: side of the square it takes, pixels; feature_size: side its classical models shrink it to.
    prevalence: share of positive films it was trained among; its probabilities are meant for films with that share.
    map_learnt: boxes taught its networks where the finding is. calibration, points, threshold: from out-of-fold
    scores of models like it. epochs: of each network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    finding: str
    model: str
    network: str
    networks: int
    classical: list[str]
    types: list[str]
    image_size: int
    feature_size: int
    prevalence: float
    calibration: Calibration
    points: OperatingPoints
    threshold: float
    films: int
    copies: int
    epochs: list[int]
    out_of_fold_auroc: float
    fingerprint: str
    precision: str
    backend: str
    versions: dict[str, str]
    map_learnt: bool


@dataclass(frozen=True)
class Package:
    """A packaged model, loaded."""

    info: PackageInfo
    networks: list[Any] = field(default_factory=list)
    estimators: dict[str, Any] = field(default_factory=dict)

    def scores(self, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Probability of the finding before calibration, one a film.

        Args:
            squares: films × image_size × image_size, uint8, as films.decoding.letterbox makes them.

        """
        found: dict[str, NDArray[np.float64]] = {}
        if self.networks:
            logits = np.mean([logits_of(network, squares) for network in self.networks], axis=0)
            found["network"] = probabilities_of(logits, self.info.prevalence)
        if self.estimators:
            from components.models.film_features import features_of

            features = features_of(squares, self.info.feature_size)
            for name, estimator in self.estimators.items():
                found[name] = probabilities(estimator, features, self.info.prevalence)
        return soft_vote(found) if self.info.model == "soft_vote" else found[self.info.model]

    def probabilities(self, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Calibrated probability of the finding, one a film."""
        return self.info.calibration.apply(self.scores(squares))

    def maps(self, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Where the networks place the finding: films × h × w, 0 … 1, from the squares that probabilities takes."""
        return np.asarray(np.mean([maps_of(network, squares) for network in self.networks], axis=0))

    def type_probabilities(self, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Of each type of fracture in info.types, if the film is fractured: films × types, the networks' mean."""
        return np.asarray(np.mean([types_of(network, squares) for network in self.networks], axis=0))

    def answers(self, files: Sequence[bytes]) -> "pd.DataFrame":
        """Probability and answer for films as files (JPEG, PNG, TIFF, DICOM, …).

        Raises:
            OsteonError: a file that is no film; the text gives its position and the reason.

        """
        import pandas as pd

        from components.errors import UnreadableFilmError
        from components.films.decoding import decode, letterbox

        squares = np.empty((len(files), self.info.image_size, self.info.image_size), np.uint8)
        for number, data in enumerate(files):
            try:
                squares[number] = letterbox(decode(data, max_megapixels=80), self.info.image_size)
            except UnreadableFilmError as error:
                raise OsteonError(f"film {number}: {error}") from None
        probability = self.probabilities(squares)
        return pd.DataFrame(
            {"probability": probability, "answer": answers(probability, self.info.points, self.info.finding)}
        )


def logits_of(network: Any, squares: NDArray[np.uint8], block: int = 64) -> NDArray[np.float64]:
    """The network's 'finding' for films, the mean of each film's and its mirror image's."""
    logits = np.empty(len(squares))
    for start in range(0, len(squares), block):
        films = np.ascontiguousarray(squares[start : start + block])[..., None]
        both = [network.predict_on_batch(seen)["finding"][:, 0] for seen in (films, films[:, :, ::-1])]
        logits[start : start + block] = np.mean(both, axis=0, dtype=np.float64)
    return logits


def maps_of(network: Any, squares: NDArray[np.uint8], block: int = 64) -> NDArray[np.float64]:
    """The network's 'map' as probabilities of its cells, the mean of each film's and its mirror image's logits."""
    maps = []
    for start in range(0, len(squares), block):
        films = np.ascontiguousarray(squares[start : start + block])[..., None]
        logits, mirrored = (network.predict_on_batch(seen)["map"][..., 0] for seen in (films, films[:, :, ::-1]))
        mean = np.mean([logits, mirrored[:, :, ::-1]], axis=0, dtype=np.float64)
        maps.append(np.exp(-np.logaddexp(0.0, -mean)))
    return np.concatenate(maps)


def types_of(network: Any, squares: NDArray[np.uint8], block: int = 64) -> NDArray[np.float64]:
    """The network's 'type' as probabilities (films × types), from the mean of each film's and its mirror image's."""
    from scipy.special import softmax

    logits = []
    for start in range(0, len(squares), block):
        films = np.ascontiguousarray(squares[start : start + block])[..., None]
        both = [network.predict_on_batch(seen)["type"] for seen in (films, films[:, :, ::-1])]
        logits.append(np.mean(both, axis=0, dtype=np.float64))
    return np.asarray(softmax(np.concatenate(logits), axis=1))


def network_file(number: int) -> str:
    """Name of a network's file in a package."""
    return f"network-{number}.keras"


def classical_file(name: str) -> str:
    """Name of a classical model's file in a package."""
    return f"{name}.skops"


def save_network(path: Path, network: Any) -> None:
    """Write a network alone: to answer it needs neither losses nor optimiser, and is a third of the size."""
    import keras

    keras.Model(network.inputs, network.output, name=network.name).save(path)


def open_package(folder: Path) -> Package:
    """Load a packaged model.

    Raises:
        OsteonError: missing or damaged.

    """
    if not (folder / INFO).is_file():
        raise OsteonError(f"{folder}: no packaged model ({INFO} is missing); run the step train")
    try:
        info = PackageInfo.model_validate_json((folder / INFO).read_bytes())
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        reason = " ".join((INFO, *map(str, fault["loc"]))) + f": {fault['msg']}"
        raise OsteonError(f"{folder}: damaged model ({reason}); run the step train again") from None
    return Package(
        info,
        [load_network(folder / network_file(number)) for number in range(info.networks)],
        {name: load_classical(folder / classical_file(name)) for name in info.classical},
    )


def load_network(path: Path) -> Any:
    """Load a network.

    Raises:
        OsteonError: missing or damaged.

    """
    from zipfile import BadZipFile

    from components.models.backend import load_keras

    if not path.is_file():
        raise OsteonError(f"{path.parent}: no packaged model ({path.name} is missing); run the step train")
    keras = load_keras()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    # What zipfile and Keras raise, one byte changed here or there.
    except (ValueError, OSError, KeyError, TypeError, NotImplementedError, BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OsteonError(f"{path.parent}: damaged model ({reason}); run the step train again") from None


def example_film() -> bytes:
    """A film of nobody: a grey bar with a gap, as PNG; the example that is stored with a model."""
    import io

    from PIL import Image

    film = np.full((96, 96), 30, np.uint8)
    film[:, 38:58] = 190
    film[46:49] = 40
    buffer = io.BytesIO()
    Image.fromarray(film).save(buffer, format="PNG")
    return buffer.getvalue()


def requirements() -> list[str]:
    """What a packaged model needs to answer, of whichever kind it is, pinned to what is installed now."""
    from importlib.metadata import version

    import keras

    needed = (
        "keras",
        keras.backend.backend(),
        "numpy",
        "opencv-python-headless",
        "pandas",
        "pillow",
        "pydantic",
        "pydicom",
        "pylibjpeg",
        "pylibjpeg-openjpeg",
        "pylibjpeg-rle",
        "python-gdcm",
        "scikit-image",
        "scikit-learn",
        "scipy",
        "skops",
    )
    return [f"{name}=={version(name)}" for name in ("mlflow", *needed)]
