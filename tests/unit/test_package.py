"""The packaged model: what it answers, and what it does when it is not whole. A tiny network, not trained."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from components.errors import OsteonError
from components.films.decoding import decode, letterbox
from components.models.backend import load_keras
from components.models.calibration import Calibration, probabilities_of
from components.models.classical import load_classical, probabilities, save_classical
from components.models.film_features import features_of
from components.models.package import (
    INFO,
    Package,
    PackageInfo,
    classical_file,
    example_film,
    load_network,
    logits_of,
    maps_of,
    network_file,
    open_package,
    requirements,
    save_network,
)
from tests.making import dicom, dicom_bytes, encoded, packaged, points_at, ramp, write

NETWORK, SVM = network_file(0), classical_file("svm")

keras = load_keras()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaged(tmp_path_factory.mktemp("package") / "model")


@pytest.fixture(scope="module")
def package(folder: Path) -> Package:
    return open_package(folder)


@pytest.fixture(scope="module")
def vote_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks and two classical models."""
    folder = tmp_path_factory.mktemp("vote") / "model"
    return packaged(folder, networks=2, classical=("svm", "logistic_regression"))


@pytest.fixture(scope="module")
def vote(vote_folder: Path) -> Package:
    return open_package(vote_folder)


def films(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, 64, 64)).astype(np.uint8)


def with_info(package: Package, **changes: Any) -> Package:
    return dataclasses.replace(package, info=package.info.model_copy(update=changes))


# ---------------------------------------------------------------- probabilities


@pytest.mark.parametrize("prevalence", [0.01, 0.3, 0.5, 0.9])
def test_a_film_that_speaks_for_neither_class_has_the_prevalence(prevalence: float) -> None:
    assert probabilities_of(np.zeros(1), prevalence) == pytest.approx([prevalence])


def test_probabilities_by_bayes_rule() -> None:
    """Logit ln 4 is 4:1 where half are positive; among 1:3 it is 4:3. Logit −ln 4 is 1:12."""
    assert probabilities_of(np.log([4, 1 / 4]), 0.25) == pytest.approx([4 / 7, 1 / 13])


@pytest.mark.filterwarnings("error")
def test_extreme_logits() -> None:
    found = probabilities_of(np.array([-1e9, -800.0, -30.0, 30.0, 800.0, 1e9]), 0.5)
    assert found[[0, -1]].tolist() == [0.0, 1.0]
    assert found[2] == pytest.approx(np.exp(-30), rel=1e-6)
    assert np.isfinite(found).all()


@settings(deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=20), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_probabilities_rise_with_the_logit_and_with_the_prevalence(logits: list[float], one: float, two: float) -> None:
    low, high = sorted((one, two))
    found = probabilities_of(np.sort(logits), low)
    assert (np.diff(found) >= 0).all()
    assert (probabilities_of(np.sort(logits), high) >= found).all()


# ---------------------------------------------------------------- logits


def test_a_films_logit_is_the_mean_of_its_own_and_its_mirror_images(package: Package) -> None:
    squares = films(3)
    alone = [package.networks[0].predict_on_batch(one[None, ..., None])["finding"].item() for one in squares]
    mirrored = [package.networks[0].predict_on_batch(one[None, :, ::-1, None])["finding"].item() for one in squares]
    np.testing.assert_allclose(logits_of(package.networks[0], squares), np.mean([alone, mirrored], axis=0), atol=1e-5)
    assert np.abs(np.subtract(alone, mirrored)).min() > 1e-3  # or the test would show nothing


def test_a_film_and_its_mirror_image_have_one_answer(package: Package) -> None:
    squares = films(4)
    np.testing.assert_allclose(
        logits_of(package.networks[0], squares), logits_of(package.networks[0], squares[:, :, ::-1]), atol=1e-5
    )


@pytest.mark.parametrize("block", [1, 3, 7, 8])
def test_the_block_size_changes_nothing(package: Package, block: int) -> None:
    squares = films(7)
    np.testing.assert_allclose(
        logits_of(package.networks[0], squares, block), logits_of(package.networks[0], squares), atol=1e-5
    )


def test_a_memory_map_is_as_good(package: Package, tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", films(5))
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    np.testing.assert_array_equal(package.probabilities(mapped), package.probabilities(films(5)))
    assert package.probabilities(films(0)).shape == (0,)


# ---------------------------------------------------------------- scores of several models


def test_several_networks_have_the_mean_of_their_logits(vote: Package) -> None:
    squares = films(4)
    first, second = (logits_of(network, squares) for network in vote.networks)
    assert np.abs(first - second).min() > 1e-3  # or the test would show nothing
    together = dataclasses.replace(with_info(vote, model="network"), estimators={})
    np.testing.assert_allclose(together.scores(squares), probabilities_of((first + second) / 2, 0.4), atol=1e-9)


def test_a_classical_model_is_shown_the_films_at_its_own_size(vote: Package, vote_folder: Path) -> None:
    squares = films(4)
    estimator = load_classical(vote_folder / SVM)
    alone = dataclasses.replace(
        with_info(vote, model="svm", prevalence=0.1), networks=[], estimators={"svm": estimator}
    )
    for size in (32, 64):
        expected = probabilities(estimator, features_of(squares, size), 0.1)
        np.testing.assert_allclose(with_info(alone, feature_size=size).scores(squares), expected, atol=1e-9)


def test_in_a_vote_the_networks_are_one_voice_and_every_classical_model_another(vote: Package) -> None:
    squares = films(4)
    logits = np.mean([logits_of(network, squares) for network in vote.networks], axis=0)
    features = features_of(squares, 64)
    others = [probabilities(estimator, features, 0.4) for estimator in vote.estimators.values()]
    assert len(others) == 2
    np.testing.assert_allclose(vote.scores(squares), (probabilities_of(logits, 0.4) + sum(others)) / 3, atol=1e-9)


def test_the_calibration_comes_after_the_scores(package: Package) -> None:
    """A temperature of 2 takes the square root of the odds."""
    scores = package.scores(films(4))
    np.testing.assert_array_equal(package.probabilities(films(4)), scores)  # 'none'
    warm = with_info(package, calibration=Calibration(method="temperature", temperature=2.0))
    odds = np.sqrt(scores / (1 - scores))
    np.testing.assert_allclose(warm.probabilities(films(4)), odds / (1 + odds), atol=1e-9)
    np.testing.assert_array_equal(warm.scores(films(4)), scores)


def test_the_map_of_a_mirror_image_is_the_maps_mirror_image_and_several_networks_have_the_mean(vote: Package) -> None:
    squares = films(3)
    found = vote.maps(squares)
    assert found.shape == (3, 4, 4)
    np.testing.assert_allclose(found, vote.maps(squares[:, :, ::-1])[:, :, ::-1], atol=1e-6)
    one, two = (maps_of(network, squares) for network in vote.networks)
    np.testing.assert_allclose(found, (one + two) / 2, atol=1e-9)
    logits = [
        np.asarray(vote.networks[0].predict_on_batch(seen)["map"][..., 0], float)
        for seen in (squares[..., None], squares[:, :, ::-1, None])
    ]
    np.testing.assert_allclose(one, 1 / (1 + np.exp(-(logits[0] + logits[1][:, :, ::-1]) / 2)), atol=1e-6)
    assert np.ptp(one) > 1e-3  # or the test would show nothing


# ---------------------------------------------------------------- saving and opening


def test_a_package_that_was_saved_and_opened_answers_the_same(vote: Package, tmp_path: Path) -> None:
    for number, network in enumerate(vote.networks):
        save_network(tmp_path / network_file(number), network)
    for name, estimator in vote.estimators.items():
        save_classical(tmp_path / classical_file(name), estimator)
    (tmp_path / INFO).write_text(vote.info.model_dump_json())
    again = open_package(tmp_path)
    assert again.info == vote.info
    np.testing.assert_array_equal(again.probabilities(films(5)), vote.probabilities(films(5)))


def test_a_saved_network_answers_alike_and_has_no_optimiser(package: Package, tmp_path: Path) -> None:
    network = keras.models.clone_model(package.networks[0])
    network.set_weights(package.networks[0].get_weights())
    network.compile("adam", loss={"finding": "mse"})
    network.optimizer.build(network.trainable_variables)
    network.save(tmp_path / "whole.keras")
    save_network(tmp_path / NETWORK, network)
    assert (tmp_path / NETWORK).stat().st_size < 0.6 * (tmp_path / "whole.keras").stat().st_size
    again = load_network(tmp_path / NETWORK)
    np.testing.assert_array_equal(logits_of(again, films(3)), logits_of(package.networks[0], films(3)))


def test_the_prevalence_of_the_package_counts(package: Package) -> None:
    logits = logits_of(package.networks[0], films(3))
    for prevalence in (0.1, 0.6):
        expected = probabilities_of(logits, prevalence)
        np.testing.assert_allclose(with_info(package, prevalence=prevalence).probabilities(films(3)), expected)


def test_a_package_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match=r"nowhere: no packaged model \(package\.json is missing\); run the step tra"):
        open_package(tmp_path / "nowhere")
    shutil.copy(folder / INFO, tmp_path)
    with pytest.raises(OsteonError, match=r"no packaged model \(network-0\.keras is missing\)"):
        open_package(tmp_path)


def test_a_package_without_its_classical_model_or_with_half_of_it(vote_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(vote_folder, tmp_path / "model")
    path = tmp_path / "model" / SVM
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(OsteonError, match=r"svm\.skops: damaged model \(.*\); run the step train again$"):
        open_package(tmp_path / "model")
    path.unlink()
    with pytest.raises(OsteonError, match=r"svm\.skops: no such model; run the step train$"):
        open_package(tmp_path / "model")


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (NETWORK, lambda data: b""),
        (NETWORK, lambda data: b"no zip"),
        (NETWORK, lambda data: data[: len(data) // 2]),
        (NETWORK, lambda data: data[:-5]),
        (NETWORK, lambda data: changed(data, 1000)),  # config.json
        (NETWORK, lambda data: changed(data, len(data) // 2)),  # weights
        (NETWORK, lambda data: data.replace(b"config.json", b"konfig.json")),
        (INFO, lambda data: b""),
        (INFO, lambda data: b"\xff\xfe"),
        (INFO, lambda data: data[:40]),
        (INFO, lambda data: data.replace(b'"threshold"', b'"treshold"')),
        (INFO, lambda data: data.replace(b'"image_size": 64', b'"image_size": "big"')),
    ],
)
def test_a_damaged_package_is_named(folder: Path, tmp_path: Path, name: str, damage: Any) -> None:
    broken = tmp_path / "my model"
    shutil.copytree(folder, broken)
    whole = (broken / name).read_bytes()
    (broken / name).write_bytes(damage(whole))
    assert (broken / name).read_bytes() != whole
    with pytest.raises(OsteonError) as caught:
        open_package(broken)
    text = str(caught.value)
    assert text.startswith(f"{broken}: damaged model (")
    assert text.endswith("); run the step train again")
    assert len(text.splitlines()) == 1


def test_a_damaged_description_names_its_key(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    path = write(
        tmp_path / "model" / INFO, (folder / INFO).read_bytes().replace(b'"threshold": 0.5', b'"threshold": "x"')
    )
    with pytest.raises(OsteonError, match=r"\(package\.json threshold: Input should be a valid number"):
        open_package(path.parent)


def test_the_description_takes_no_other_keys(package: Package) -> None:
    with pytest.raises(ValueError, match="extra"):
        PackageInfo.model_validate({**package.info.model_dump(), "classes": ["a"]})


# ---------------------------------------------------------------- answers


def test_answers_for_files_of_several_kinds(package: Package) -> None:
    film = ramp(80, 100)
    files = [
        encoded(film, "PNG"),
        encoded(film, "JPEG", quality=95),
        encoded(film.astype(np.uint16) * 257, "PNG"),
        dicom_bytes(dicom(film.astype(np.uint16) * 16)),
        example_film(),
    ]
    found = package.answers(files)
    assert list(found.columns) == ["probability", "answer"]
    assert len(found) == 5
    squares = np.stack([letterbox(decode(data, max_megapixels=80), 64) for data in files])
    np.testing.assert_allclose(found["probability"], package.probabilities(squares), atol=1e-6)
    # The same film, whatever the file.
    np.testing.assert_allclose(found["probability"][:4], found["probability"][0], atol=0.02)


def test_below_rule_out_it_is_not_the_finding_from_rule_in_on_it_is_and_between_them_uncertain(
    package: Package,
) -> None:
    files = [encoded(film, "PNG") for film in films(4)]
    lowest, second, third, _ = np.sort(package.answers(files)["probability"])

    def said(rule_out: float, rule_in: float) -> list[str]:
        asked = with_info(package, points=points_at(rule_out, rule_in), finding="abnormal")
        return asked.answers(files).sort_values("probability")["answer"].tolist()

    assert said(second, third) == ["not abnormal", "uncertain", "abnormal", "abnormal"]
    assert said(np.nextafter(second, 1), np.nextafter(third, 1)) == [
        "not abnormal",
        "not abnormal",
        "uncertain",
        "abnormal",
    ]
    assert said(second, second) == ["not abnormal", "abnormal", "abnormal", "abnormal"]
    assert said(lowest, 1.0) == ["uncertain"] * 4


def test_no_film_no_answer(package: Package) -> None:
    found = package.answers([])
    assert list(found.columns) == ["probability", "answer"]
    assert len(found) == 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello", "film 1: no picture that can be read"),
        (b"", r"film 1: empty file"),
        (encoded(ramp(), "JPEG")[:-200], "film 1: truncated or damaged"),
        (encoded(np.zeros((9000, 9000), np.uint8), "PNG"), "film 1: .*80"),
    ],
)
def test_a_file_that_is_no_film_is_named_by_its_position(package: Package, data: bytes, reason: str) -> None:
    with pytest.raises(OsteonError, match=reason):
        package.answers([example_film(), data, example_film()])


def test_the_example_is_a_film() -> None:
    film = decode(example_film(), max_megapixels=1)
    assert film.pixels.shape == (96, 96)
    assert np.ptp(film.pixels) > 100


def test_every_requirement_is_pinned_to_what_is_installed() -> None:
    from importlib.metadata import version

    found = dict(one.split("==") for one in requirements())
    assert {"mlflow", "keras", "tensorflow", "numpy", "pandas", "pydicom", "scikit-image", "skops"} <= set(found)
    assert found == {name: version(name) for name in found}
