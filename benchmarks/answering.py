"""Answering: one film's time in the packaged model and in Keras, and which pictures it refuses as unlike its films.

The model is learnt from FracAtlas where OSTEON_REAL_DATA names it, else from phantoms, by the pipeline's own steps.
What is refused is counted on files that go in as any film does: photographs (grey, random cuts of those that come
with scikit-image and scikit-learn), noise of five kinds, pages of text (dark on light, light on dark), cuts of a
chest film, a little turned and of other exposure (of one film: no more than examples), and the test films, which should
not be.
Times are of one film of the square's size after another, the median of many, in processes of their own.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.findings import Findings, Goal
from benchmarks.fresh_process import in_fresh_process
from osteon.params import CertaintyParams
from osteon.statistics.estimate import Estimate
from osteon.statistics.proportions import wilson, wilson_in_groups

Pixels = NDArray[np.uint8]

FILMS, SIDE, EPOCHS, STRANGERS = 1_200, 192, 12, 500  # films: of phantoms; strangers: of each kind
QUICK_FILMS, QUICK_SIDE, QUICK_EPOCHS, QUICK_STRANGERS = 200, 64, 2, 20
TIMES, QUICK_TIMES = 300, 20
LEAST_REFUSED, MOST_REFUSED, LEAST_FASTER = 0.99, 0.02, 9
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
    "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg",
    "rocket.jpg",
)  # fmt: skip


def measure(quick: bool) -> Findings:
    """Learn, ask for times, ask about strangers."""
    given = os.environ.get("OSTEON_REAL_DATA")
    real = Path(given) if given and not quick else None
    side, times = (QUICK_SIDE, QUICK_TIMES) if quick else (SIDE, TIMES)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        learnt, epochs, max_ood_distance = in_fresh_process(make_model, folder, real, quick)
        predict = in_fresh_process(time_keras, folder, times)
        network, whole = in_fresh_process(time_package, folder, times)
        refused = in_fresh_process(ask_about_strangers, folder, real, QUICK_STRANGERS if quick else STRANGERS)
    faster = predict / network
    rows = [
        ["one film, model.predict, ms", f"{predict:.1f}"],
        ["one film and its mirror image, ONNX Runtime, ms", f"{network:.2f}"],
        ["from a PNG's bytes to the answer, ms", f"{whole:.2f}"],
        *([f"{kind} refused", _share(share)] for kind, share in refused.items()),
    ]
    unlike = 1 - CertaintyParams().in_distribution_quantile
    strange = {kind: share for kind, share in refused.items() if kind != "test films"}
    return Findings(
        n=f"{learnt:,} films of {side} pixels {'of FracAtlas' if real else '(phantoms)'} learnt for {epochs} epochs",
        columns=["what", "found"],
        rows=rows,
        goals=[
            Goal(f"≥ {LEAST_FASTER} times as fast as model.predict: {faster:.0f}", faster >= LEAST_FASTER),
            *(
                Goal(f"{kind}: ≥ {LEAST_REFUSED:.0%} refused: {share.value:.1%}", share.value >= LEAST_REFUSED)
                for kind, share in strange.items()
                if share.value is not None
            ),
            *(
                Goal(f"test films: ≤ {MOST_REFUSED:.0%} refused: {share.value:.1%}", share.value <= MOST_REFUSED)
                for share in [refused["test films"]]
                if share.value is not None
            ),
        ],
        notes=[
            f"Beyond {max_ood_distance:.2f} is unlike: what {unlike:.1%} of the films were from their fold's network."
        ],
    )


def _share(share: Estimate) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def make_model(folder: Path, real: Path | None, quick: bool) -> tuple[int, int, float]:
    """The steps up to train; films learnt from, epochs, and the distance above which a film is unlike them."""
    from components.augmentation.step import augment
    from components.cross_validation.step import cross_validate
    from components.features.step import features
    from components.ingestion.step import ingest
    from components.phantoms.step import phantoms
    from components.preparation.step import prepare
    from components.training.step import train
    from components.validation.step import validate
    from osteon.models.best_hyperparameters import BestHyperparameters, write_best_hyperparameters
    from osteon.models.package.package import read_info
    from osteon.params import (
        AugmentationParams,
        ClassicalParams,
        CrossValidationParams,
        DataParams,
        FeatureParams,
        PackageParams,
        PhantomParams,
        PreparationParams,
        TrainingParams,
        ValidationParams,
    )

    films = real / "fracatlas" if real else folder / "films"
    if not real:
        phantoms(films, folder / "films.png", PhantomParams(films=QUICK_FILMS if quick else FILMS))
    manifest, trusted, dataset = folder / "manifest.parquet", folder / "trusted.parquet", folder / "dataset"
    augmented, described, best, folds = (folder / name for name in ("augmented", "features", "best", "folds"))
    training = TrainingParams(epochs=QUICK_EPOCHS if quick else EPOCHS, patience=0)
    sections = (training, ClassicalParams())
    ingest(films, manifest, DataParams(layout="fracatlas" if real else "manifest"))
    validate(films, manifest, trusted, folder / "validation", ValidationParams())
    side = QUICK_SIDE if quick else SIDE
    prepare(films, trusted, dataset, folder / "leaks", folder / "sides", PreparationParams(image_size=side))
    augment(dataset, augmented, folder / "copies.png", AugmentationParams(copies=0, copies_rarer=0))
    features(dataset, augmented, described, FeatureParams(image_size=32))
    best.mkdir()
    write_best_hyperparameters(best, BestHyperparameters())
    given = (dataset, augmented, described, best)
    cross_validate(*given, folds, folder / "comparison", CrossValidationParams(models=[]), *sections)
    train(*given, folds, folder / "model", *sections, PackageParams(), CertaintyParams(), ValidationParams())
    info = read_info(folder / "model")
    return info.films, max(info.epochs), float(info.max_ood_distance or 0)


def time_keras(folder: Path, times: int) -> float:
    """Median milliseconds of model.predict for one film, as a notebook asks."""
    from osteon.models.package.package import load_networks

    (network,) = load_networks(folder / "model")
    film = np.zeros((1, *network.input_shape[1:]), np.uint8)
    return _median(lambda: network.predict(film, verbose=0), times)


def time_package(folder: Path, times: int) -> tuple[float, float]:
    """Median milliseconds of the exported network for a film and its mirror image, and of the whole answer."""
    from osteon.models.package.package import open_package

    package = open_package(folder / "model")
    side = package.info.image_size
    both = np.zeros((2, side, side, 1), np.uint8)
    film = _png(np.random.default_rng(0).integers(0, 256, (side, side), np.uint8))
    return (
        _median(lambda: package.networks[0].predict_on_batch(both), times),
        _median(lambda: package.predict([film]), times),
    )


def _median(ask: Any, times: int) -> float:
    for _ in range(5):
        ask()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * 1e3


def ask_about_strangers(folder: Path, real: Path | None, count: int) -> dict[str, Estimate]:
    """The share of each kind of picture that is refused."""
    import pandas as pd

    from osteon.films.prepared.array import open_prepared
    from osteon.models.package.package import REFUSED, open_package

    package = open_package(folder / "model")
    kinds: dict[str, Iterator[Pixels]] = {
        "photographs": photographs(count),
        "noise": noise(count),
        "pages of text": pages(count),
    }
    if real:
        kinds["cuts of a chest film"] = chest(real / "dicom" / "RG1_J2KI.dcm", count)
    shares = {}
    for kind, pictures in kinds.items():
        refused = sum(package.predict([_png(picture)])["answer"][0] == REFUSED for picture in pictures)
        shares[kind] = wilson(int(refused), count, 0.95)
    prepared = open_prepared(folder / "dataset")
    test = np.flatnonzero(prepared.films["test"].to_numpy(bool))
    far = package.distances(prepared.pixels[test]) > (package.info.max_ood_distance or np.inf)
    groups = pd.factorize(prepared.films["group"].iloc[test])[0].astype(np.int64)
    return shares | {"test films": wilson_in_groups(far, groups, 0.95)}


def _png(picture: Pixels) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def photographs(count: int) -> Iterator[Pixels]:
    """Cuts of photographs, 40 to 100 % of each side."""
    import skimage.data
    from PIL import Image
    from sklearn.datasets import load_sample_images

    place = Path(skimage.data.__file__).parent
    known = [np.asarray(Image.open(place / name).convert("L")) for name in PHOTOGRAPHS]
    known += [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in load_sample_images().images]
    draw = np.random.default_rng(1)
    for number in range(count):
        picture = known[number % len(known)]
        height, width = (int(length * draw.uniform(0.4, 1)) for length in picture.shape)
        top, left = (
            draw.integers(0, whole - part + 1) for whole, part in zip(picture.shape, (height, width), strict=True)
        )
        yield np.ascontiguousarray(picture[top : top + height, left : left + width])


def noise(count: int) -> Iterator[Pixels]:
    """Even, Gaussian, cloudy, salt, and soft squares."""
    draw = np.random.default_rng(2)
    values: NDArray[Any]
    for number in range(count):
        height, width = draw.integers(200, 600, 2)
        size = (int(height), int(width))
        match number % 5:
            case 0:
                values = draw.uniform(0, 255, size)
            case 1:
                values = draw.normal(128, 40, size)
            case 2:
                values = cv2.GaussianBlur(draw.normal(0, 1, size), (0, 0), draw.uniform(2, 20))
                values = (values - values.min()) / np.ptp(values) * 255
            case 3:
                values = (draw.random(size) < 0.05) * 255.0
            case _:
                values = cv2.resize(draw.uniform(0, 255, (8, 8)), size[::-1], interpolation=cv2.INTER_CUBIC)
        yield np.clip(values, 0, 255).astype(np.uint8)


def pages(count: int) -> Iterator[Pixels]:
    """Pages of this project's README in many sizes; every third is light on dark."""
    from PIL import Image, ImageDraw, ImageFont

    words = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").split()
    draw = np.random.default_rng(3)
    for number in range(count):
        width, height = (int(length) for length in draw.integers((500, 600), (1200, 1600)))
        size = int(draw.integers(10, 40))
        page = Image.new("L", (width, height), 255)
        pen, font = ImageDraw.Draw(page), ImageFont.load_default(size)
        for y in range(size, height - size, int(size * 1.4)):
            start = int(draw.integers(0, len(words) - 30))
            pen.text((size, y), " ".join(words[start : start + 30]), fill=int(draw.integers(0, 60)), font=font)
        pixels = np.asarray(page)
        yield 255 - pixels if number % 3 == 0 else pixels


def chest(path: Path, count: int) -> Iterator[Pixels]:
    """Cuts of one film, 70 to 100 % of each side, turned by up to 10°, gamma 0.7 to 1.4, half of them mirrored."""
    from osteon.films.reading.decoding import decode
    from osteon.films.reading.film import to_8_bit

    film = to_8_bit(decode(path.read_bytes(), max_megapixels=80))
    film = cv2.resize(film, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    draw = np.random.default_rng(4)
    for number in range(count):
        height, width = (int(length * draw.uniform(0.7, 1)) for length in film.shape)
        top, left = (
            draw.integers(0, whole - part + 1) for whole, part in zip(film.shape, (height, width), strict=True)
        )
        cut = film[top : top + height, left : left + width]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), draw.uniform(-10, 10), 1)
        turned = cv2.warpAffine(cut, turn, (width, height)) / 255
        seen = np.rint(turned ** draw.uniform(0.7, 1.4) * 255).astype(np.uint8)
        yield np.ascontiguousarray(seen[:, ::-1] if number % 2 else seen)
