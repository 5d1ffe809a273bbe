"""The packaged model: a folder that answers for itself.

network.keras, the weights; package.json, what they were made from and how to read what they say; films.csv, the
films they were trained and chosen on, by id and hash.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from components.errors import OsteonError

if TYPE_CHECKING:
    import pandas as pd

NETWORK, INFO, FILMS = "network.keras", "package.json", "films.csv"


class PackageInfo(BaseModel):
    """What a packaged model says of itself.

    finding: what probability is of. image_size: side of the square it takes, pixels. threshold: probability at
    and above which its answer is the finding. prevalence: share of positive films it was trained among; its
    probabilities are meant for films with that share. map_learnt: boxes taught its map where the finding is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    finding: str
    network: str
    image_size: int
    threshold: float
    prevalence: float
    films: int
    copies: int
    epochs: int
    best_epoch: int
    validation_fold: int
    validation_auroc: float
    fingerprint: str
    precision: str
    backend: str
    versions: dict[str, str]
    map_learnt: bool = False


@dataclass(frozen=True)
class Package:
    """A packaged model, loaded."""

    info: PackageInfo
    network: Any

    def probabilities(self, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Probability of the finding, one a film.

        Args:
            squares: films × image_size × image_size, uint8, as films.decoding.letterbox makes them.

        """
        return probabilities_of(logits_of(self.network, squares), self.info.prevalence)

    def maps(self, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Where the network places the finding: films × h × w, 0 … 1, from the squares that probabilities takes."""
        return maps_of(self.network, squares)

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
        names = np.array([f"not {self.info.finding}", self.info.finding])
        return pd.DataFrame(
            {"probability": probability, "answer": names[(probability >= self.info.threshold).astype(int)]}
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


def probabilities_of(logits: NDArray[np.float64], prevalence: float) -> NDArray[np.float64]:
    """Probabilities for films of which a share of `prevalence` is positive.

    The network was trained on batches half of which are positive; by Bayes' rule the log odds of the prevalence
    are added to its logits (Saerens et al. 2002, Neural Computation 14).
    """
    shifted = logits + np.log(prevalence / (1 - prevalence))
    # 1/(1 + e^−x) without overflow.
    return np.asarray(np.exp(-np.logaddexp(0.0, -shifted)), dtype=np.float64)


def save_package(folder: Path, network: Any, info: PackageInfo) -> None:
    """Write a package into a folder that exists; the caller gives it its final name."""
    import keras

    # Without losses and optimiser: to answer needs neither, and the file is a third of the size.
    bare = keras.Model(network.inputs, network.output, name=network.name)
    bare.save(folder / NETWORK)
    (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")


def open_package(folder: Path) -> Package:
    """Load a packaged model.

    Raises:
        OsteonError: missing or damaged.

    """
    from zipfile import BadZipFile

    from components.models.backend import load_keras

    for name in (INFO, NETWORK):
        if not (folder / name).is_file():
            raise OsteonError(f"{folder}: no packaged model ({name} is missing); run the step train")
    keras = load_keras()
    try:
        info = PackageInfo.model_validate_json((folder / INFO).read_text(encoding="utf-8"))
        network = keras.saving.load_model(folder / NETWORK, compile=False, safe_mode=True)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        reason = " ".join((INFO, *map(str, fault["loc"]))) + f": {fault['msg']}"
        raise OsteonError(f"{folder}: damaged model ({reason}); run the step train again") from None
    # What zipfile and Keras raise, one byte changed here or there.
    except (ValueError, OSError, KeyError, TypeError, NotImplementedError, BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OsteonError(f"{folder}: damaged model ({reason}); run the step train again") from None
    return Package(info, network)


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
    """What a packaged model needs to answer, pinned to what is installed now."""
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
    )
    return [f"{name}=={version(name)}" for name in ("mlflow", *needed)]
