"""Sets of films that many tests look at, made once."""

import fcntl
import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from osteon.environment import collect_garbage_rarely
from osteon.params import (
    AugmentationParams,
    ClassicalParams,
    CrossValidationParams,
    DataParams,
    FeatureParams,
    PhantomParams,
    PreparationParams,
    TrainingParams,
    ValidationParams,
)

# How long an example takes says how busy the machine is.
settings.register_profile("osteon", deadline=None)
settings.load_profile("osteon")
TESTS = Path(__file__).parent

# A worker comes to hold millions of objects, networks and all that was imported.
collect_garbage_rarely()
# Nothing a test does may land in the project's own store, or at a server the user has set.
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "OSTEON_PASS", "DVC_STAGE", "DVC_ROOT"):
    os.environ.pop(name, None)
# Nor may a random key of patient ids.
os.environ["OSTEON_IDENTITY_KEY"] = "the tests' own key"


# What a test needs that a newcomer's `make test` goes without, by the folder it is in and by the fixtures it asks for.
MARK_OF_FOLDER = {"e2e": "e2e", "real": "real"}
MARK_OF_FIXTURE = {
    "image": "container",
    "real_data": "real",
    # Programs of their own: MLflow's server, PostgreSQL, moto's S3.
    "mlflow_address": "slow",
    "shared_store": "slow",
    "shared_bench": "slow",
    "s3": "slow",
    "postgres_database": "slow",
}
# What a test or its fixture is run with: a store on a server, a network that takes long to build and to compile.
SLOW_PARAMS = {
    "server",
    "PostgreSQL",
    "vgg",
    "resnet18",
    "resnet34",
    "resnet50",
    "densenet121",
    "efficientnetv2b0",
    "mobilenetv3",
    "efficientnet_lite0",
}


def marks_of(item: pytest.Item) -> set[str]:
    """The marks that follow from where a test is and what it asks for; pyproject.toml says what each means."""
    fixtures = set(getattr(item, "fixturenames", ()))
    params = getattr(getattr(item, "callspec", None), "params", {}).values()
    marks = {mark for name, mark in MARK_OF_FIXTURE.items() if name in fixtures}
    marks |= {mark for folder, mark in MARK_OF_FOLDER.items() if folder in item.path.relative_to(TESTS).parts}
    return marks | ({"slow"} if any(isinstance(param, str) and param in SLOW_PARAMS for param in params) else set())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in marks_of(item):
            item.add_marker(mark)


def pytest_collection_finish() -> None:
    """What was collected, and imported for it, stays: half a second less wherever networks are cleared away."""
    gc.freeze()


@dataclass(frozen=True)
class Pipeline:
    """A folder in which the data steps have run on a few phantoms."""

    source: Path
    manifest: Path
    trusted: Path
    validation: Path
    dataset: Path
    leaks: Path
    augmented: Path


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first worker to ask makes; all of them read it, and no test writes there."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all workers
    folder, made = base / name, base / f"{name}.made"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 films of 96 pixels in Osteon's own layout."""

    def make(folder: Path) -> None:
        from components.phantoms.step import phantoms

        params = PhantomParams(films=120, size=96, fractured=0.5, obvious=0.0, seed=3)
        phantoms(folder / "films", folder / "sheet.png", params)

    return made_once(tmp_path_factory, "phantoms", make) / "films"


@pytest.fixture(scope="session")
def pipeline(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The data steps' outputs for those films, at 64 pixels, three folds."""

    def inside(folder: Path) -> Pipeline:
        names = ("m.parquet", "t.parquet", "report", "prepared", "leaks", "augmented")
        return Pipeline(phantoms, *(folder / name for name in names))

    def make(folder: Path) -> None:
        from components.augmentation.step import augment
        from components.ingestion.step import ingest
        from components.preparation.step import prepare
        from components.validation.step import validate

        made = inside(folder)
        ingest(phantoms, made.manifest, DataParams())
        validate(phantoms, made.manifest, made.trusted, made.validation, ValidationParams(min_side=32))
        out = made.dataset, made.leaks, folder / "sides.parquet"
        prepare(phantoms, made.trusted, *out, PreparationParams(image_size=64, folds=3))
        augment(made.dataset, made.augmented, folder / "sheet.png", AugmentationParams(copies=1, copies_rarer=1))

    return inside(made_once(tmp_path_factory, "pipeline", make))


@pytest.fixture(scope="session")
def beside(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the step evaluate reads beside model and films: no search, and out-of-fold scores that nobody learnt."""
    from osteon.films.prepared.array import open_prepared
    from osteon.models.best_hyperparameters import BestHyperparameters, write_best_hyperparameters
    from tests.making import cross_validated

    folder = tmp_path_factory.mktemp("beside")
    best = folder / "search"
    best.mkdir()
    write_best_hyperparameters(best, BestHyperparameters())
    folds = cross_validated(folder / "folds", open_prepared(pipeline.dataset).films)
    return {"best": best, "folds": folds, "validation": pipeline.validation, "leaks": pipeline.leaks}


@dataclass(frozen=True)
class Experiment:
    """A pipeline after search (of nothing) and cross-validation: two epochs a network, two classical models."""

    pipeline: Pipeline
    features: Path
    best: Path
    folds: Path
    report: Path
    training: TrainingParams


@pytest.fixture(scope="session")
def experiment(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """What the step train reads, for the films of `pipeline`; its networks are tiny ones."""
    from components.cross_validation.step import cross_validate
    from components.features.step import features
    from osteon.models.best_hyperparameters import BestHyperparameters, write_best_hyperparameters
    from tests.tiny_network import tiny_networks

    folder = tmp_path_factory.mktemp("experiment")
    made = Experiment(
        pipeline,
        *(folder / name for name in ("features", "search", "folds", "report")),
        TrainingParams(width=8, epochs=2, patience=0, batch_size=8, precision="float32"),
    )
    features(pipeline.dataset, pipeline.augmented, made.features, FeatureParams(image_size=64))
    made.best.mkdir()
    write_best_hyperparameters(made.best, BestHyperparameters())
    with tiny_networks():
        cross_validate(
            pipeline.dataset,
            pipeline.augmented,
            made.features,
            made.best,
            made.folds,
            made.report,
            CrossValidationParams(models=["svm", "logistic_regression"], at_once=1),
            made.training,
            ClassicalParams(components=8),
        )
    return made


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real films; a test that asks for it is skipped where there is none."""
    folder = os.environ.get("OSTEON_REAL_DATA")
    if not folder:
        pytest.skip("OSTEON_REAL_DATA is not set: it names a folder with fracatlas/ and dicom/")
    return Path(folder).resolve()
