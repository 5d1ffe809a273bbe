"""The packaged model: a folder that answers for itself.

network-0.onnx …, the networks that answer, and network-0.keras …, the same as they were trained; embeddings-0.npz …,
how they see their training films; NAME.skops, the classical models; package.json, what all this was made from and how
to read what it says; films.csv, the films behind it, by id and hash.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.errors import OsteonError, UnreadableFilmError
from osteon.films.reading.decoding import decode
from osteon.films.reading.dicom_tags import read_tags
from osteon.films.reading.film import Film, grey_sample, letterbox
from osteon.films.reading.limits import FilmLimits
from osteon.models.classical.classifiers import load_classical, probabilities, soft_vote
from osteon.models.inference.boxes import BoxRule, boxes_of_map, on_film
from osteon.models.inference.onnx_network import OnnxNetwork, in_float32
from osteon.models.inference.out_of_distribution import EMBEDDING, Embeddings, load_embeddings
from osteon.models.inference.predict import logits_with_flip_tta, map_probabilities, predict_with_flip_tta
from osteon.models.networks.network_files import load_network
from osteon.statistics.calibration import Calibration, probabilities_of
from osteon.statistics.operating_points import OperatingPoints, answers

if TYPE_CHECKING:
    from osteon.films.prepared.array import PreparedFilms

INFO, FILMS = "package.json", "films.csv"
REFUSED = "refused"
PARITY, PARITY_FILMS = 1e-3, 500  # what a probability may differ by between Keras and ONNX, on how many films
FEW_GREYS = 32

Shape = tuple[tuple[int, int], tuple[float, float]]  # width and height of a decoded film, and its stretch


class Parity(BaseModel):
    """How the exported networks differ from those that were trained, on films: what export_network may have spoilt.

    largest: difference of a film's probability. changed: answers that are another one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    films: int
    largest: float
    changed: int

    @property
    def kept(self) -> bool:
        """Whether the exported networks stand for the trained ones."""
        return self.films > 0 and self.changed == 0 and self.largest <= PARITY


class PackageInfo(BaseModel):
    """What a packaged model says of itself.

    finding: what probability is of. model: what answers, 'network', a classical model's name or 'soft_vote'.
    image_size: side of the square it takes, pixels; feature_size: side its classical models shrink it to.
    prevalence: share of positive films it was trained among; its probabilities are meant for films with that share.
    map_learnt: boxes taught its networks where the finding is. boxes: how its map becomes boxes; None where it has no
    map that was taught, or was packaged before there were boxes. calibration, points, threshold: from out-of-fold
    scores of models like it. epochs: of each network. regions: those of the films it was trained on, where known.
    limits: what a film must be. max_ood_distance: distance (inference/out_of_distribution.py) above which a film is
    unlike the training films; None: no network knows. parity: of the exported networks; None: there are none.
    files: name → SHA-256 of all others in the package. depth: bits with which pictures of 16 bits that do not say
    theirs are read, as those of the training films; None: there were none, and each is read as it shows itself.
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
    regions: list[str]
    limits: FilmLimits
    max_ood_distance: float | None
    parity: Parity | None
    files: dict[str, str]
    depth: int | None = None
    boxes: BoxRule | None = None


@dataclass(frozen=True)
class Package:
    """A packaged model, loaded. networks: of ONNX, or those of Keras that they were exported from."""

    info: PackageInfo
    networks: list[Any] = field(default_factory=list)
    embeddings: list[Embeddings] = field(default_factory=list)
    estimators: dict[str, Any] = field(default_factory=dict)

    def scores(self, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Probability of the finding before calibration, one a film.

        Args:
            squares: films × image_size × image_size, uint8, as films.decoding.letterbox makes them.

        """
        return self._scores(squares, [logits_with_flip_tta(network, squares) for network in self.networks])

    def _scores(self, squares: NDArray[np.uint8], logits: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        scores_by_model: dict[str, NDArray[np.float64]] = {}
        if logits:
            scores_by_model["network"] = probabilities_of(np.mean(logits, axis=0), self.info.prevalence)
        if self.estimators:
            from osteon.models.classical.film_features import features_of

            features = features_of(squares, self.info.feature_size)
            for name, estimator in self.estimators.items():
                scores_by_model[name] = probabilities(estimator, features, self.info.prevalence)
        return soft_vote(scores_by_model) if self.info.model == "soft_vote" else scores_by_model[self.info.model]

    def probabilities(self, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Calibrated probability of the finding, one a film."""
        return self.info.calibration.apply(self.scores(squares))

    def scores_and_distances(self, squares: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As scores and as distances, from one look at each film; a model without a network gives distances of NaN."""
        seen = [predict_with_flip_tta(network, squares, ["finding", EMBEDDING]) for network in self.networks]
        scores = self._scores(squares, [values["finding"] for values in seen])
        if not seen:
            return scores, np.full(len(squares), np.nan)
        return scores, _mean_distance(self.embeddings, [values[EMBEDDING] for values in seen])

    def maps(self, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Where the networks place the finding: films × h × w, 0 … 1, from the squares that probabilities takes."""
        return _mean_map([predict_with_flip_tta(network, squares, ["map"])["map"] for network in self.networks])

    def boxes(
        self, squares: NDArray[np.uint8], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Boxes of the finding, of each film n × 4 (x, y, width, height) in pixels of the square, and their scores.

        All boxes, highest score first; those from info.boxes.threshold on are shown.

        Args:
            squares: as probabilities takes them.
            sizes: width and height of each film before it was fitted into the square.

        Raises:
            ValueError: the model has no rule for boxes.

        """
        if self.info.boxes is None:
            raise ValueError("a model without a map that boxes have taught has no boxes")
        depth, side = self.info.boxes.depth, self.info.image_size
        return [boxes_of_map(heat, depth, side, size) for heat, size in zip(self.maps(squares), sizes, strict=True)]

    def type_probabilities(self, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Of each type of fracture in info.types, if the film is fractured: films × types, the networks' mean."""
        logits = [predict_with_flip_tta(network, squares, ["type"])["type"] for network in self.networks]
        return np.asarray(np.mean([_softmax(values) for values in logits], axis=0))

    def distances(self, squares: NDArray[np.uint8]) -> NDArray[np.float64]:
        """How far films are from the training films, one number a film; compare with info.max_ood_distance.

        Raises:
            ValueError: the model has no network.

        """
        if not self.networks:
            raise ValueError("a model without a network has no out-of-distribution score")
        seen = [predict_with_flip_tta(network, squares, [EMBEDDING])[EMBEDDING] for network in self.networks]
        return _mean_distance(self.embeddings, seen)

    def predict(
        self, files: Sequence[bytes], *, maps: bool = False, boxes: bool = False, distances: bool = False
    ) -> "pd.DataFrame":
        """Probability and answer for films as files (JPEG, PNG, TIFF, DICOM, …).

        Args:
            files: the bytes of each.
            maps: also give where the finding is.
            boxes: also give the boxes of the finding.
            distances: also give whether a file could be read, and how far it is from the training films.

        Returns:
            One row a file. probability (calibrated; not a number where the file is refused), answer ('FINDING',
            'uncertain', 'not FINDING' or 'refused'), warnings (list of texts; of a refused file, why) and, if asked
            for, map (h × w, 0 … 1) and boxes (list of [x, y, width, height, score], highest score first, in pixels of
            the film as it is shown); both None where the model has no map or the file is refused; read, and distance
            (NaN where the file could not be read or the model knows none).

        """
        count, side = len(files), self.info.image_size
        warnings: list[list[str]] = [[] for _ in files]
        squares = np.zeros((count, side, side), np.uint8)
        accepted = np.ones(count, bool)
        shapes: list[Shape] = [((side, side), (1.0, 1.0)) for _ in files]
        for number, data in enumerate(files):
            try:
                film = decode(data, max_megapixels=self.info.limits.max_megapixels, colour=True, depth=self.info.depth)
                self.info.limits.check(film)
            except UnreadableFilmError as error:
                warnings[number], accepted[number] = [str(error)], False
                continue
            squares[number] = letterbox(film, side)
            shapes[number] = (film.pixels.shape[1], film.pixels.shape[0]), film.stretch
            warnings[number] = self._doubts(film, data)

        mapped = (maps and self.info.map_learnt) or (boxes and self.info.boxes is not None)
        outputs = ["finding", EMBEDDING, *(["map"] if mapped else [])]
        seen = [predict_with_flip_tta(network, squares[accepted], outputs) for network in self.networks]
        probability = np.full(count, np.nan)
        scores = self._scores(squares[accepted], [values["finding"] for values in seen])
        probability[accepted] = self.info.calibration.apply(scores)
        heats: list[NDArray[np.float64] | None] = [None] * count
        if mapped:
            for number, heat in zip(
                np.flatnonzero(accepted).tolist(), _mean_map([values["map"] for values in seen]), strict=True
            ):
                heats[number] = heat
        readable, away = accepted.copy(), np.full(count, np.nan)
        if seen and self.info.max_ood_distance is not None:
            away[readable] = _mean_distance(self.embeddings, [values[EMBEDDING] for values in seen])
            for number in np.flatnonzero(readable).tolist():
                distance = away[number]
                if not distance <= self.info.max_ood_distance:
                    reason = (
                        f"unlike the training films: {distance:.2f} from them, {self.info.max_ood_distance:.2f} at most"
                    )
                    warnings[number], accepted[number] = [reason], False
                    probability[number], heats[number] = np.nan, None

        texts = answers(probability, self.info.points, self.info.finding)
        table = {"probability": probability, "answer": np.where(accepted, texts, REFUSED), "warnings": warnings}
        if distances:
            table |= {"read": readable, "distance": away}
        if maps:
            table["map"] = heats if self.info.map_learnt else [None] * count
        if boxes:
            table["boxes"] = [self._shown_boxes(heat, *shape) for heat, shape in zip(heats, shapes, strict=True)]
        return pd.DataFrame(table)

    def _shown_boxes(
        self, heat: NDArray[np.float64] | None, size: tuple[int, int], stretch: tuple[float, float]
    ) -> list[list[float]] | None:
        """[x, y, width, height, score] in pixels of the film, of the boxes that are shown; None: nothing is known."""
        if heat is None or self.info.boxes is None:
            return None
        found_boxes, scores = boxes_of_map(heat, self.info.boxes.depth, self.info.image_size, size)
        shown = scores >= self.info.boxes.threshold
        moved = on_film(found_boxes[shown], self.info.image_size, size, stretch).round(1)
        return np.column_stack([moved, scores[shown].round(4)]).tolist()  # type: ignore[no-any-return]

    def _doubts(self, film: Film, data: bytes) -> list[str]:
        """What makes the answer for a film less sure than for others."""
        doubts = []
        height, width = film.pixels.shape
        if max(height, width) < self.info.image_size:
            doubts.append(f"low quality: {width} × {height} pixels, magnified to {self.info.image_size}")
        if (greys := len(np.unique(grey_sample(film)))) < FEW_GREYS:
            doubts.append(f"low quality: {greys} grey levels")
        region = read_tags(data).region
        if region and self.info.regions and region not in self.info.regions:
            doubts.append(f"a region never seen: {region}; it was trained on {', '.join(self.info.regions)}")
        return doubts


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row. SciPy's is the same, and takes longer to import than a film to answer."""
    return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def _mean_map(logits: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.mean([map_probabilities(values) for values in logits], axis=0))


def _mean_distance(embeddings: list[Embeddings], seen: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(
        np.mean([known.distances(values) for known, values in zip(embeddings, seen, strict=True)], axis=0)
    )


def network_file(number: int) -> str:
    """Name of a network's file in a package, as it was trained."""
    return f"network-{number}.keras"


def onnx_file(number: int) -> str:
    """Name of the file of a network that answers."""
    return f"network-{number}.onnx"


def embeddings_file(number: int) -> str:
    """Name of the file of how a network sees the training films."""
    return f"embeddings-{number}.npz"


def classical_file(name: str) -> str:
    """Name of a classical model's file in a package."""
    return f"{name}.skops"


def open_package(folder: Path, threads: int = 0) -> Package:
    """Load a packaged model, without Keras. Every file's hash is checked before it is read.

    Args:
        folder: that the step train wrote.
        threads: of each answer; 0: as many as there are cores.

    Raises:
        OsteonError: missing or damaged.

    """
    info = read_info(folder)
    check_files(folder, info)
    return Package(
        info,
        [OnnxNetwork(folder / onnx_file(number), threads) for number in range(info.networks)],
        [load_embeddings(folder / embeddings_file(number)) for number in range(info.networks)],
        {name: load_classical(folder / classical_file(name)) for name in info.classical},
    )


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a package but the one that says so."""
    return {
        path.name: sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != INFO
    }


def check_files(folder: Path, info: PackageInfo) -> None:
    """See that a package's files are those it was made of.

    Raises:
        OsteonError: one is missing or altered.

    """
    hashes = hashes_of(folder)
    if missing := sorted(info.files.keys() - hashes.keys()):
        raise OsteonError(f"{folder}: no packaged model ({missing[0]} is missing); run the step train")
    if altered := sorted(name for name, digest in info.files.items() if hashes[name] != digest):
        raise OsteonError(f"{folder}: damaged model ({altered[0]} was altered); run the step train again")


def read_info(folder: Path) -> PackageInfo:
    """What a packaged model says of itself.

    Raises:
        OsteonError: missing or damaged.

    """
    if not (folder / INFO).is_file():
        raise OsteonError(f"{folder}: no packaged model ({INFO} is missing); run the step train")
    try:
        return PackageInfo.model_validate_json((folder / INFO).read_bytes())
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        reason = " ".join((INFO, *map(str, fault["loc"]))) + f": {fault['msg']}"
        raise OsteonError(f"{folder}: damaged model ({reason}); run the step train again") from None


def measure_parity(folder: Path, prepared: "PreparedFilms", rows: NDArray[np.int64], seed: int) -> Parity:
    """Ask the networks as they were trained and as they were exported about the same films.

    Args:
        folder: of the package.
        prepared: films.
        rows: of those to ask about; of more than PARITY_FILMS so many are drawn.
        seed: of the draw.

    """
    if len(rows) > PARITY_FILMS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, PARITY_FILMS, replace=False))
    squares = prepared.pixels[rows]
    exported = open_package(folder)
    trained = replace(exported, networks=load_networks(folder))
    probabilities = [package.probabilities(squares) for package in (trained, exported)]
    texts = [answers(values, exported.info.points, exported.info.finding) for values in probabilities]
    return Parity(
        films=len(rows),
        largest=float(np.abs(probabilities[0] - probabilities[1]).max()),
        changed=int((texts[0] != texts[1]).sum()),
    )


def load_networks(folder: Path) -> list[Any]:
    """The networks of a packaged model as they were trained, in float32, for what needs Keras: gradients, parity.

    Raises:
        OsteonError: missing or damaged.

    """
    return [in_float32(load_network(folder / network_file(number))) for number in range(read_info(folder).networks)]


def example_film() -> bytes:
    """A film of nobody: a soft grey bar with a gap, as PNG; the example that is stored with a model."""
    film = np.full((96, 96), 30, np.uint8)
    film[:, 38:58] = 190
    film[46:49] = 40
    buffer = io.BytesIO()
    Image.fromarray(cv2.GaussianBlur(film, (0, 0), 3)).save(buffer, format="PNG")
    return buffer.getvalue()


def requirements(info: PackageInfo) -> list[str]:
    """What a packaged model needs to answer, pinned to what is installed now."""
    needed = [
        "mlflow",
        "numpy",
        "onnxruntime",
        "opencv-python-headless",
        "pandas",
        "pillow",
        "pydantic",
        "pydicom",
        "pylibjpeg",
        "pylibjpeg-openjpeg",
        "pylibjpeg-rle",
        "python-gdcm",
        "scipy",
    ]
    if info.classical:
        needed += ["scikit-image", "scikit-learn", "skops"]
    return [f"{name}=={version(name)}" for name in needed]
