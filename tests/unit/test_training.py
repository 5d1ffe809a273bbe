"""The step train: what is packed for each kind of model, and from what; a killed call; other backends and devices."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from components.training.step import TrainingSummary, train
from osteon.errors import OsteonError
from osteon.files import dvc_hash, write_checksums
from osteon.films.manifest import text_to_boxes
from osteon.films.prepared.array import PreparedFilms, open_prepared, shown_sizes
from osteon.fingerprint import Fingerprint
from osteon.models.networks.backend import load_keras
from osteon.params import CertaintyParams, ClassicalParams, PackageParams, TrainingParams, ValidationParams
from osteon.records import runs
from tests.conftest import Experiment
from tests.tiny_network import tiny_networks

keras = load_keras()

from osteon.models.best_hyperparameters import BestHyperparameters, write_best_hyperparameters  # noqa: E402
from osteon.models.classical.classifiers import fit_classical, load_classical, probabilities  # noqa: E402
from osteon.models.classical.film_features import features_of  # noqa: E402
from osteon.models.fitting.checkpoint import TrainingState, save_checkpoint  # noqa: E402
from osteon.models.fitting.fit import compile_network  # noqa: E402
from osteon.models.heldout.predictions import read_distances, read_folds, read_predictions  # noqa: E402
from osteon.models.inference.boxes import choose_rule  # noqa: E402
from osteon.models.inference.onnx_network import export_network  # noqa: E402
from osteon.models.inference.predict import logits_with_flip_tta  # noqa: E402
from osteon.models.networks.architectures import build_network  # noqa: E402
from osteon.models.networks.network_files import load_network  # noqa: E402
from osteon.models.package.package import PackageInfo, classical_file, load_networks, open_package  # noqa: E402
from osteon.statistics.calibration import fit_calibration, probabilities_of  # noqa: E402
from osteon.statistics.point_search import find_operating_points  # noqa: E402

# One worker makes the experiment's folds for all tests that look at them.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("experiment")]  # minutes of training

CLASSICAL = ClassicalParams(components=8)
PACKAGE = PackageParams()
CERTAINTY = CertaintyParams(
    calibration="isotonic", sensitivity=0.9, specificity=0.8, confidence=0.85, in_distribution_quantile=0.8
)
VALIDATION = ValidationParams(max_chroma=33)


@pytest.fixture(autouse=True)
def no_network_of_a_size() -> Iterator[None]:
    """In this process; other backends and devices have processes of their own."""
    with tiny_networks():
        yield


def pack(
    experiment: Experiment,
    folder: Path,
    *,
    folds: Path | None = None,
    best: Path | None = None,
    certainty: CertaintyParams = CERTAINTY,
    validation: ValidationParams = VALIDATION,
    package: PackageParams = PACKAGE,
    **changes: Any,
) -> TrainingSummary:
    return train(
        experiment.pipeline.dataset,
        experiment.pipeline.augmented,
        experiment.features,
        best or experiment.best,
        folds or experiment.folds,
        folder,
        experiment.training.model_copy(update=changes),
        CLASSICAL,
        package,
        certainty,
        validation,
    )


def info_of(model: Path) -> PackageInfo:
    return PackageInfo.model_validate_json((model / "package.json").read_bytes())


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def files_of_networks(count: int) -> list[str]:
    kinds = ("embeddings-{}.npz", "network-{}.keras", "network-{}.onnx")
    return [kind.format(number) for kind in kinds for number in range(count)]


@pytest.fixture(scope="module")
def prepared(experiment: Experiment) -> PreparedFilms:
    return open_prepared(experiment.pipeline.dataset)


@pytest.fixture(scope="module")
def development(prepared: PreparedFilms) -> pd.DataFrame:
    return prepared.films[~prepared.films["test"]]


@pytest.fixture(scope="module")
def ensemble(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("ensemble") / "model"
    pack(experiment, model, package=PackageParams(final="ensemble"))
    return model


@pytest.fixture(scope="module")
def svm(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("svm") / "model"
    pack(experiment, model, package=PackageParams(model="svm"))
    return model


@pytest.fixture(scope="module")
def vote(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("vote") / "model"
    pack(experiment, model, package=PackageParams(model="soft_vote", final="ensemble"), certainty=CertaintyParams())
    return model


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    write_best_hyperparameters(folder, BestHyperparameters(training={"width": 16}, classical={"svm": {"c": 0.05}}))
    return folder


@pytest.fixture(scope="module")
def folds_122(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folds whose networks are of epochs 1, 2 and 2: 1.67 on average."""
    folder = tmp_path_factory.mktemp("folds") / "folds"
    shutil.copytree(experiment.folds, folder)
    path = folder / "fold-0" / "fold.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "epochs": 1}))
    write_checksums(path.parent)
    return folder


@pytest.fixture(scope="module")
def alone(
    experiment: Experiment, folds_122: Path, searched: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainingSummary]:
    """One network from all films. Where it is made lie the checkpoint and the files of a call for another model."""
    model = tmp_path_factory.mktemp("alone") / "model"
    partial = model.with_name(".model.partial")
    with tiny_networks():
        network = build_network(64, experiment.training)
    compile_network(network, experiment.training, 5)
    state = TrainingState(
        fingerprint=Fingerprint(data={"films": "another"}), precision="float32", history=[{"loss": 1.0}] * 50
    )
    partial.mkdir()
    save_checkpoint(partial / "checkpoint", network, network.get_weights(), state)
    for name in ("svm.skops", "network-1.keras", "notes.txt"):
        (partial / name).write_text("left over")
    with tiny_networks():
        return model, pack(experiment, model, folds=folds_122, best=searched, epochs=4)


# ---------------------------------------------------------------- what is packed


def test_an_ensemble_answers_with_the_mean_of_the_folds_networks(
    experiment: Experiment, ensemble: Path, prepared: PreparedFilms, development: pd.DataFrame
) -> None:
    assert files_of(ensemble) == sorted(["films.csv", "package.json", *files_of_networks(3)])
    squares = prepared.pixels[prepared.films["test"].to_numpy(bool)]
    networks = [load_network(experiment.folds / f"fold-{fold}" / "network.keras") for fold in range(3)]
    logits = [logits_with_flip_tta(network, squares) for network in networks]
    assert np.abs(logits[0] - logits[1]).max() > 1e-3  # or the test would show nothing
    expected = probabilities_of(np.mean(logits, axis=0), development["label"].mean())
    np.testing.assert_allclose(open_package(ensemble).scores(squares), expected, atol=1e-5)
    assert info_of(ensemble).epochs == [item.epochs for item in read_folds(experiment.folds)] == [2, 2, 2]


def estimated(
    experiment: Experiment, name: Any, prepared: PreparedFilms, params: ClassicalParams = CLASSICAL
) -> np.ndarray:
    """What a classical model says of the test films that has learnt from all others and their copies."""
    copies = open_prepared(experiment.pipeline.augmented)
    learnt = ~prepared.films["test"].to_numpy(bool)
    tables = (prepared.films[learnt], copies.films)
    estimator = fit_classical(
        name,
        np.concatenate([features_of(prepared.pixels[learnt], 64), features_of(copies.pixels[:], 64)]),
        np.concatenate([table["label"].to_numpy(np.int64) for table in tables]),
        np.concatenate([table["group"].to_numpy(object) for table in tables]),
        params,
    )
    return probabilities(estimator, features_of(prepared.pixels[~learnt], 64), tables[0]["label"].mean())


def test_a_classical_package_answers_as_its_model_learnt_from_all_films_and_copies(
    experiment: Experiment, svm: Path, prepared: PreparedFilms
) -> None:
    assert files_of(svm) == ["films.csv", "package.json", "svm.skops"]
    squares = prepared.pixels[prepared.films["test"].to_numpy(bool)]
    np.testing.assert_allclose(open_package(svm).scores(squares), estimated(experiment, "svm", prepared), atol=1e-9)


def test_a_soft_vote_is_the_mean_of_all_that_were_cross_validated(
    experiment: Experiment, vote: Path, ensemble: Path, prepared: PreparedFilms
) -> None:
    others = ["films.csv", "logistic_regression.skops", "package.json", "svm.skops"]
    assert files_of(vote) == sorted([*others, *files_of_networks(3)])
    squares = prepared.pixels[prepared.films["test"].to_numpy(bool)]
    scores = [
        open_package(ensemble).scores(squares),
        *(estimated(experiment, name, prepared) for name in ("svm", "logistic_regression")),
    ]
    np.testing.assert_allclose(open_package(vote).scores(squares), np.mean(scores, axis=0), atol=1e-9)


def test_one_network_learns_from_all_films_for_as_many_epochs_as_the_folds_found(
    alone: tuple[Path, TrainingSummary], development: pd.DataFrame
) -> None:
    """1.67 is 2, though four were allowed; the checkpoint of another training lay there with 50."""
    model, summary = alone
    assert summary.epochs == 2
    assert info_of(model).epochs == [2]
    history = pd.read_csv(model / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert "watched_auroc" not in history  # no film was left to watch
    assert summary.films == len(development)


def test_what_an_interrupted_call_left_is_not_shipped(alone: tuple[Path, TrainingSummary]) -> None:
    model, _ = alone
    assert files_of(model) == sorted(["films.csv", "history.csv", "package.json", *files_of_networks(1)])
    assert files_of(model.parent) == ["model"]


def test_what_the_search_found_goes_over_the_parameters(
    alone: tuple[Path, TrainingSummary], experiment: Experiment, searched: Path, prepared: PreparedFilms, tmp_path: Path
) -> None:
    (network,) = load_networks(alone[0])
    widths = [build_network(64, TrainingParams(width=width)).count_params() for width in (8, 16)]
    assert widths[0] < widths[1] == network.count_params()
    assert experiment.training.width == 8
    pack(experiment, tmp_path / "model", package=PackageParams(model="svm"), best=searched)
    squares = prepared.pixels[prepared.films["test"].to_numpy(bool)]
    result = open_package(tmp_path / "model").scores(squares)
    soft = CLASSICAL.model_copy(update={"svm": CLASSICAL.svm.model_copy(update={"c": 0.05})})
    np.testing.assert_allclose(result, estimated(experiment, "svm", prepared, soft), atol=1e-9)
    (fitted,) = load_classical(tmp_path / "model" / classical_file("svm"))[-1].calibrated_classifiers_
    assert fitted.estimator.C == 0.05 != CLASSICAL.svm.c


# ---------------------------------------------------------------- what the package says of itself


@pytest.fixture(params=["ensemble", "svm", "vote", "alone"])
def packed(request: pytest.FixtureRequest) -> tuple[str, Path, CertaintyParams]:
    """Each package, the model whose scores it is calibrated on, and how."""
    made = request.getfixturevalue(request.param)
    name = {"svm": "svm", "vote": "soft_vote"}.get(request.param, "network")
    return name, made[0] if request.param == "alone" else made, CertaintyParams() if name == "soft_vote" else CERTAINTY


def test_calibration_and_points_are_those_of_the_models_own_out_of_fold_scores(
    experiment: Experiment, packed: tuple[str, Path, CertaintyParams]
) -> None:
    name, model, certainty = packed
    info = info_of(model)
    requested = read_predictions(experiment.folds, name)
    labels, scores = requested["label"].to_numpy(np.int64), requested["score"].to_numpy(np.float64)
    calibration = fit_calibration(scores, labels, requested["fold"].to_numpy(np.int64), certainty.calibration)
    assert info.calibration == calibration
    assert info.calibration.films == len(scores)
    if certainty is CERTAINTY:
        assert calibration.method == "isotonic"
    groups = pd.factorize(requested["group"])[0].astype(np.int64)
    expected = find_operating_points(
        labels, calibration.apply(scores), groups, certainty.sensitivity, certainty.specificity, certainty.confidence
    )
    assert info.points == expected
    assert (expected.rule_out.target, expected.rule_in.target, expected.rule_in.confidence) == (
        certainty.sensitivity,
        certainty.specificity,
        certainty.confidence,
    )
    assert info.out_of_fold_auroc == pytest.approx(roc_auc_score(labels, scores))


def test_the_threshold_is_youdens_on_the_calibrated_scores(
    experiment: Experiment, packed: tuple[str, Path, CertaintyParams]
) -> None:
    """By trying all of them."""
    name, model, _ = packed
    info = info_of(model)
    requested = read_predictions(experiment.folds, name)
    labels, calibrated = requested["label"].to_numpy(int), info.calibration.apply(requested["score"].to_numpy(float))

    def youden(threshold: float) -> float:
        output = calibrated >= threshold
        return float(output[labels == 1].mean() + (~output)[labels == 0].mean() - 1)

    assert info.threshold in calibrated
    assert youden(info.threshold) == pytest.approx(max(youden(item) for item in np.unique(calibrated)))


def test_every_development_film_is_listed_and_no_test_film(
    packed: tuple[str, Path, CertaintyParams], development: pd.DataFrame
) -> None:
    written = pd.read_csv(packed[1] / "films.csv", dtype=str)
    assert list(written.columns) == ["film_id", "sha256", "md5", "role"]
    for column in ("film_id", "sha256", "md5"):
        assert written[column].tolist() == development[column].tolist()
    assert set(written["role"]) == {"train"}


def test_the_description_says_what_is_in_the_package(
    experiment: Experiment, packed: tuple[str, Path, CertaintyParams], development: pd.DataFrame
) -> None:
    name, model, _ = packed
    info, package = info_of(model), open_package(model)
    copies = open_prepared(experiment.pipeline.augmented).films
    assert (info.model, info.finding, info.image_size, info.feature_size) == (name, "fractured", 64, 64)
    assert len(package.networks) == info.networks == len(info.epochs)
    assert list(package.estimators) == info.classical
    assert info.prevalence == pytest.approx(development["label"].mean())
    assert (info.films, info.copies) == (len(development), len(copies))
    assert info.map_learnt == bool(info.networks)  # phantoms have boxes
    assert (info.types, info.precision, info.backend) == ([], "float32", "tensorflow")
    assert set(info.versions) == {"keras", "tensorflow", "scikit-learn", "onnxruntime"}
    assert info.regions == sorted(development["region"].unique())
    assert info.limits.model_dump() == {
        "min_side": 64,
        "max_megapixels": 80,
        "max_aspect": 6,
        "min_contrast": 10,
        "max_chroma": 33,
    }
    assert set(info.files) == set(files_of(model)) - {"package.json"}


def test_the_summary_says_what_the_package_says(alone: tuple[Path, TrainingSummary]) -> None:
    model, summary = alone
    info = info_of(model)
    assert summary == TrainingSummary(
        films=info.films,
        copies=info.copies,
        epochs=2,
        out_of_fold_auroc=info.out_of_fold_auroc,
        threshold=info.threshold,
        rule_out=info.points.rule_out.threshold,
        rule_in=info.points.rule_in.threshold,
    )


def test_a_second_packing_is_the_same_and_another_target_gives_it_another_fingerprint(
    experiment: Experiment, ensemble: Path, svm: Path, tmp_path: Path
) -> None:
    pack(experiment, tmp_path / "again", package=PackageParams(final="ensemble"))
    assert dvc_hash(tmp_path / "again") == dvc_hash(ensemble)
    for name, sensitivity in (("the same", CERTAINTY.sensitivity), ("other", 0.91)):
        certainty = CERTAINTY.model_copy(update={"sensitivity": sensitivity})
        pack(experiment, tmp_path / name, package=PackageParams(model="svm"), certainty=certainty)
    assert info_of(tmp_path / "the same").fingerprint == info_of(svm).fingerprint
    assert info_of(tmp_path / "other").fingerprint != info_of(svm).fingerprint


def test_boxes_that_count_for_nothing_have_taught_no_map(experiment: Experiment, tmp_path: Path) -> None:
    pack(experiment, tmp_path / "model", package=PackageParams(final="ensemble"), map_weight=0.0)
    info = info_of(tmp_path / "model")
    assert (info.map_learnt, info.boxes) == (False, None)


def test_how_maps_become_boxes_is_chosen_on_the_maps_of_held_out_films(
    experiment: Experiment, ensemble: Path, svm: Path, prepared: PreparedFilms
) -> None:
    """A fold's maps are those of its own films by its own network; the rule is that of all of them."""
    films, whole = prepared.films, open_package(ensemble)
    rows, heats = [], []
    for fold in range(3):
        of_fold = np.flatnonzero(films["fold"].eq(fold).to_numpy(bool, na_value=False))
        alone = dataclasses.replace(whole, networks=whole.networks[fold : fold + 1])
        maps = np.load(experiment.folds / f"fold-{fold}" / "maps.npy")
        np.testing.assert_allclose(expit(maps.astype(float)), alone.maps(prepared.pixels[of_fold]), atol=2e-3)
        rows.append(of_fold)
        heats.append(maps)
    heldout = films.iloc[np.concatenate(rows)]
    known = (heldout["label"].eq(0) | heldout["boxes"].ne("[]")).to_numpy(bool)
    lesions = [text_to_boxes(text) for text in heldout["boxes"][known]]
    rule = choose_rule(np.concatenate(heats)[known], lesions, shown_sizes(heldout[known]), prepared.side)
    assert info_of(ensemble).boxes == rule
    assert (rule.films, rule.lesions) == (known.sum(), sum(map(len, lesions)))
    assert info_of(svm).boxes is None


def test_folds_without_maps_are_an_error(experiment: Experiment, tmp_path: Path) -> None:
    folds = shutil.copytree(experiment.folds, tmp_path / "folds")
    (folds / "fold-1" / "maps.npy").unlink()
    write_checksums(folds / "fold-1")
    with pytest.raises(OsteonError, match=r"no maps of films .*; run the step cross_validate again"):
        pack(experiment, tmp_path / "model", folds=folds, package=PackageParams(final="ensemble"))


def test_a_film_is_unlike_if_it_is_farther_than_a_share_of_the_films_was_from_their_folds_network(
    experiment: Experiment, ensemble: Path, svm: Path, prepared: PreparedFilms, development: pd.DataFrame
) -> None:
    distances = read_distances(experiment.folds)
    assert len(distances) == len(development)
    info = info_of(ensemble)
    assert info.max_ood_distance == pytest.approx(np.quantile(distances, 0.8))
    assert info_of(svm).max_ood_distance is None
    # An ensemble's distance is the mean of its networks'.
    squares = prepared.pixels[prepared.films["test"].to_numpy(bool)]
    whole = open_package(ensemble)
    alone = [
        dataclasses.replace(whole, networks=[network], embeddings=[known]).distances(squares)
        for network, known in zip(whole.networks, whole.embeddings, strict=True)
    ]
    np.testing.assert_allclose(whole.distances(squares), np.mean(alone, axis=0))
    # And a fold's are those of its own films by its own network.
    fold = prepared.films["fold"].eq(1).to_numpy(bool, na_value=False)
    result = dataclasses.replace(whole, networks=whole.networks[1:2], embeddings=whole.embeddings[1:2])
    requested = np.load(experiment.folds / "fold-1" / "distances.npy")
    np.testing.assert_allclose(result.distances(prepared.pixels[fold]), requested, rtol=1e-3)


def test_the_exported_networks_were_compared_with_the_trained_ones(packed: tuple[str, Path, CertaintyParams]) -> None:
    _, model, _ = packed
    info = info_of(model)
    if not info.networks:
        assert info.parity is None
        return
    assert info.parity
    assert info.parity.kept
    assert info.parity.films == info.films


def test_an_export_that_says_something_else_is_said_aloud(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another network's file stands for what a faulty converter may write."""

    def faulty(source: Path, path: Path) -> None:
        whole(source.with_name("network-0.keras"), path)

    whole = export_network
    monkeypatch.setattr("components.training.run.export_network", faulty)
    pack(experiment, tmp_path / "model", package=PackageParams(final="ensemble"))
    parity = info_of(tmp_path / "model").parity
    assert parity
    assert not parity.kept
    assert "the exported model predicts otherwise" in caplog.text


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("model", ["k_nearest", "random_forest"])
def test_a_model_that_was_not_cross_validated(experiment: Experiment, tmp_path: Path, model: str) -> None:
    with pytest.raises(OsteonError, match=f"no out-of-fold scores of {model}, only of .*; see cross_validation.models"):
        pack(experiment, tmp_path / "model", package=PackageParams.model_validate({"model": model}))
    assert list(tmp_path.iterdir()) == []


def test_folds_and_search_that_are_not_there(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OsteonError, match="no folds there; run the step cross_validate"):
        pack(experiment, tmp_path / "model", folds=tmp_path / "empty")
    with pytest.raises(OsteonError, match=r"best\.yaml is missing; run the step search"):
        pack(experiment, tmp_path / "model", best=tmp_path / "empty")


# ---------------------------------------------------------------- a killed call


def test_a_killed_training_goes_on_and_ends_as_one_that_was_not(
    alone: tuple[Path, TrainingSummary],
    experiment: Experiment,
    folds_122: Path,
    searched: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shown: list[int | None] = []

    def killed_after_the_first_epoch(figures: dict[str, float], step: int | None = None) -> None:
        shown.append(step)
        if len(shown) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(runs, "log_metrics", killed_after_the_first_epoch)
    model = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt):
        pack(experiment, model, folds=folds_122, best=searched, epochs=4)
    assert not model.exists()
    assert (tmp_path / ".model.partial" / "checkpoint" / "state.json").exists()
    with caplog.at_level("INFO"):
        pack(experiment, model, folds=folds_122, best=searched, epochs=4)
    assert "continuing after epoch 1" in caplog.text
    assert caplog.text.count("images/s") == 1
    assert shown[-1] == 2
    assert files_of(tmp_path) == ["model"]
    assert files_of(model) == files_of(alone[0])
    # Weights differ in their last digits, as sums do that were added up in another order.
    made, expected = (info_of(folder).model_copy(update={"files": {}, "parity": None}) for folder in (model, alone[0]))
    assert made == expected
    histories = [pd.read_csv(folder / "history.csv").to_numpy(float) for folder in (model, alone[0])]
    np.testing.assert_allclose(*histories, rtol=1e-3, atol=1e-4)
    weights = [load_networks(folder)[0].get_weights() for folder in (model, alone[0])]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------- other backends and devices

SCRIPT = """
    import json, sys
    from pathlib import Path
    from osteon.params import CertaintyParams, ClassicalParams, PackageParams, TrainingParams, ValidationParams
    {before}
    from components.training.step import train
    params = TrainingParams(width=8, epochs=1, patience=0, batch_size=8, precision="float32")
    paths = {{name: Path(path) for name, path in json.loads(sys.argv[1]).items()}}
    others = {{"classical": ClassicalParams(), "package": PackageParams(), "certainty": CertaintyParams()}}
    print(train(**paths, params=params, **others, validation=ValidationParams()).line())
    {after}
"""


def in_process(experiment: Experiment, model: Path, before: str = "", after: str = "", **environment: str) -> str:
    code = textwrap.dedent(SCRIPT).format(before=before, after=after)
    paths = {
        "dataset": experiment.pipeline.dataset,
        "augmented": experiment.pipeline.augmented,
        "features": experiment.features,
        "best": experiment.best,
        "folds": experiment.folds,
        "model": model,
    }
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps({name: str(path) for name, path in paths.items()})],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_same_code_trains_on_another_backend(experiment: Experiment, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    out = in_process(
        experiment,
        tmp_path / "model",
        KERAS_BACKEND="jax",
        before="sys.modules['tensorflow'] = None",  # any import of it raises
    )
    assert "epochs 1" in out
    info = info_of(tmp_path / "model")
    assert info.backend == "jax"
    assert "jax" in info.versions
    # And here, under TensorFlow, it answers.
    assert load_networks(tmp_path / "model")[0].count_params() > 1000
    assert info.parity
    assert info.parity.kept


@pytest.mark.slow
def test_training_spreads_over_several_devices(experiment: Experiment, tmp_path: Path) -> None:
    """Two logical CPUs stand in for two GPUs: the same strategy, the same code path."""
    before = (
        "import tensorflow as tf; cpu = tf.config.list_physical_devices('CPU')[0]; "
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2); "
        "from osteon.models.fitting import fit; from osteon.models.networks import devices; scopes = []; "
        "fit.distribution = lambda: scopes.append(devices._mirrored(['CPU:0', 'CPU:1'])) or scopes[0]"
    )
    out = in_process(experiment, tmp_path / "model", before=before, after="print(len(scopes))")
    assert out.splitlines()[-1] == "1"
    assert "epochs 1" in out


def test_nothing_here_needs_a_gpu() -> None:
    from osteon.models.networks.devices import describe_devices, distribution

    with distribution():
        pass
    assert describe_devices().startswith("tensorflow on ")
