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
from components.models.package import (
    INFO,
    NETWORK,
    Package,
    PackageInfo,
    example_film,
    logits_of,
    open_package,
    probabilities_of,
    requirements,
    save_package,
)
from tests.making import dicom, dicom_bytes, encoded, packaged, ramp, write

load_keras()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaged(tmp_path_factory.mktemp("package") / "model")


@pytest.fixture(scope="module")
def package(folder: Path) -> Package:
    return open_package(folder)


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
    alone = [package.network.predict_on_batch(one[None, ..., None])["finding"].item() for one in squares]
    mirrored = [package.network.predict_on_batch(one[None, :, ::-1, None])["finding"].item() for one in squares]
    np.testing.assert_allclose(logits_of(package.network, squares), np.mean([alone, mirrored], axis=0), atol=1e-5)
    assert np.abs(np.subtract(alone, mirrored)).min() > 1e-3  # or the test would show nothing


def test_a_film_and_its_mirror_image_have_one_answer(package: Package) -> None:
    squares = films(4)
    np.testing.assert_allclose(
        logits_of(package.network, squares), logits_of(package.network, squares[:, :, ::-1]), atol=1e-5
    )


@pytest.mark.parametrize("block", [1, 3, 7, 8])
def test_the_block_size_changes_nothing(package: Package, block: int) -> None:
    squares = films(7)
    np.testing.assert_allclose(
        logits_of(package.network, squares, block), logits_of(package.network, squares), atol=1e-5
    )


def test_a_memory_map_is_as_good(package: Package, tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", films(5))
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    np.testing.assert_array_equal(package.probabilities(mapped), package.probabilities(films(5)))
    assert package.probabilities(films(0)).shape == (0,)


# ---------------------------------------------------------------- saving and opening


def test_a_package_that_was_saved_and_opened_answers_the_same(folder: Path, package: Package, tmp_path: Path) -> None:
    save_package(tmp_path, package.network, package.info)
    again = open_package(tmp_path)
    assert again.info == package.info
    np.testing.assert_array_equal(again.probabilities(films(5)), package.probabilities(films(5)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [NETWORK, INFO]


def test_the_prevalence_of_the_package_counts(package: Package) -> None:
    logits = logits_of(package.network, films(3))
    for prevalence in (0.1, 0.6):
        expected = probabilities_of(logits, prevalence)
        np.testing.assert_allclose(with_info(package, prevalence=prevalence).probabilities(films(3)), expected)


def test_a_package_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match=r"nowhere: no packaged model \(package\.json is missing\); run the step tra"):
        open_package(tmp_path / "nowhere")
    shutil.copy(folder / INFO, tmp_path)
    with pytest.raises(OsteonError, match=r"no packaged model \(network\.keras is missing\)"):
        open_package(tmp_path)


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


def test_a_probability_at_the_threshold_is_the_finding(package: Package) -> None:
    files = [encoded(film, "PNG") for film in films(4)]
    probabilities = np.sort(package.answers(files)["probability"])
    between = with_info(package, threshold=float(probabilities[2]), finding="abnormal")
    found = between.answers(files).sort_values("probability")
    assert found["answer"].tolist() == ["not abnormal", "not abnormal", "abnormal", "abnormal"]
    above = with_info(package, threshold=float(np.nextafter(probabilities[2], 1)))
    assert above.answers(files)["answer"].value_counts().to_dict() == {"not fractured": 3, "fractured": 1}


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
    assert {"mlflow", "keras", "tensorflow", "numpy", "pandas", "pydicom"} <= set(found)
    assert found == {name: version(name) for name in found}
