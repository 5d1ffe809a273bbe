"""The packaged model: what it answers, and what it does when it is not whole. A tiny network, not trained."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from osteon.errors import OsteonError
from osteon.films.prepared.array import PreparedFilms
from osteon.films.reading.decoding import decode
from osteon.films.reading.film import letterbox
from osteon.models.classical.classifiers import load_classical, probabilities
from osteon.models.classical.film_features import features_of
from osteon.models.inference import predict
from osteon.models.inference.onnx_network import OnnxNetwork
from osteon.models.inference.out_of_distribution import Embeddings, load_embeddings
from osteon.models.inference.predict import logits_with_flip_tta, predict_with_flip_tta
from osteon.models.networks.backend import load_keras
from osteon.models.networks.network_files import load_network, save_network
from osteon.models.package.package import (
    INFO,
    REFUSED,
    Package,
    PackageInfo,
    Parity,
    embeddings_file,
    example_film,
    load_networks,
    measure_parity,
    network_file,
    onnx_file,
    open_package,
    read_info,
    requirements,
)
from osteon.statistics.calibration import Calibration, probabilities_of
from tests.making import dicom, dicom_bytes, encoded, packaged, points_at, ramp, write

NETWORK, SVM = network_file(0), "svm.skops"

keras = load_keras()

# One worker makes the packages for all tests that ask them.
pytestmark = pytest.mark.xdist_group("package")


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


# ---------------------------------------------------------------- logits


@pytest.fixture(params=["onnx", "keras"])
def network(request: pytest.FixtureRequest, folder: Path, package: Package) -> Any:
    """As it answers, and as it was trained."""
    return package.networks[0] if request.param == "onnx" else load_networks(folder)[0]


def test_a_films_logit_is_the_mean_of_its_own_and_its_mirror_images(network: Any) -> None:
    squares = films(3)
    alone = [network.predict_on_batch(item[None, ..., None])["finding"].item() for item in squares]
    mirrored = [network.predict_on_batch(item[None, :, ::-1, None])["finding"].item() for item in squares]
    np.testing.assert_allclose(logits_with_flip_tta(network, squares), np.mean([alone, mirrored], axis=0), atol=1e-5)
    assert np.abs(np.subtract(alone, mirrored)).min() > 1e-3  # or the test would show nothing


def test_a_film_and_its_mirror_image_have_one_answer(package: Package) -> None:
    squares = films(4)
    np.testing.assert_allclose(
        logits_with_flip_tta(package.networks[0], squares),
        logits_with_flip_tta(package.networks[0], squares[:, :, ::-1]),
        atol=1e-5,
    )


@pytest.mark.parametrize("block", [1, 3, 7, 8])
def test_the_block_size_changes_nothing(package: Package, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    squares = films(7)
    expected = predict_with_flip_tta(package.networks[0], squares, ["finding", "map"])
    monkeypatch.setattr(predict, "films_at_once", lambda side: block)
    result = predict_with_flip_tta(package.networks[0], squares, ["finding", "map"])
    for name in expected:
        np.testing.assert_allclose(result[name], expected[name], atol=1e-5)


def test_a_memory_map_is_as_good(package: Package, tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", films(5))
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    np.testing.assert_array_equal(package.probabilities(mapped), package.probabilities(films(5)))
    assert package.probabilities(films(0)).shape == (0,)


# ---------------------------------------------------------------- scores of several models


def test_several_networks_have_the_mean_of_their_logits(vote: Package) -> None:
    squares = films(4)
    first, second = (logits_with_flip_tta(network, squares) for network in vote.networks)
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
    logits = np.mean([logits_with_flip_tta(network, squares) for network in vote.networks], axis=0)
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
    result = vote.maps(squares)
    assert result.shape == (3, 4, 4)
    np.testing.assert_allclose(result, vote.maps(squares[:, :, ::-1])[:, :, ::-1], atol=1e-6)
    first, second = (
        1 / (1 + np.exp(-predict_with_flip_tta(network, squares, ["map"])["map"])) for network in vote.networks
    )
    np.testing.assert_allclose(result, (first + second) / 2, atol=1e-9)
    logits = [
        np.asarray(vote.networks[0].predict_on_batch(seen)["map"][..., 0], float)
        for seen in (squares[..., None], squares[:, :, ::-1, None])
    ]
    np.testing.assert_allclose(first, 1 / (1 + np.exp(-(logits[0] + logits[1][:, :, ::-1]) / 2)), atol=1e-6)
    assert np.ptp(first) > 1e-3  # or the test would show nothing


# ---------------------------------------------------------------- saving and opening


def test_a_saved_network_answers_alike_and_has_no_optimiser(folder: Path, tmp_path: Path) -> None:
    (packed,) = load_networks(folder)
    network = keras.models.clone_model(packed)
    network.set_weights(packed.get_weights())
    network.compile("adam", loss={"finding": "mse"})
    network.optimizer.build(network.trainable_variables)
    network.save(tmp_path / "whole.keras")
    save_network(tmp_path / NETWORK, network)
    assert (tmp_path / NETWORK).stat().st_size < 0.6 * (tmp_path / "whole.keras").stat().st_size
    again = load_network(tmp_path / NETWORK)
    np.testing.assert_array_equal(logits_with_flip_tta(again, films(3)), logits_with_flip_tta(packed, films(3)))


def test_the_prevalence_of_the_package_counts(package: Package) -> None:
    logits = logits_with_flip_tta(package.networks[0], films(3))
    for prevalence in (0.1, 0.6):
        expected = probabilities_of(logits, prevalence)
        np.testing.assert_allclose(with_info(package, prevalence=prevalence).probabilities(films(3)), expected)


def test_a_package_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match=r"nowhere: no packaged model \(package\.json is missing\); run the step tra"):
        open_package(tmp_path / "nowhere")
    shutil.copy(folder / INFO, tmp_path)
    with pytest.raises(OsteonError, match=r"no packaged model \(embeddings-0\.npz is missing\)"):
        open_package(tmp_path)


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


@pytest.mark.parametrize("name", ["network-1.onnx", "network-0.keras", "embeddings-0.npz", SVM])
def test_a_file_that_is_missing_or_altered_by_one_bit_is_named_before_it_is_read(
    vote_folder: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(vote_folder, tmp_path / "model")
    path = tmp_path / "model" / name
    whole = path.read_bytes()
    path.write_bytes(changed(whole, len(whole) // 2))
    with pytest.raises(OsteonError, match=rf"model: damaged model \({name} was altered\); run the step train again$"):
        open_package(tmp_path / "model")
    path.unlink()
    with pytest.raises(OsteonError, match=rf"model: no packaged model \({name} is missing\); run the step train$"):
        open_package(tmp_path / "model")


def test_a_file_that_no_package_has_is_none_of_its_business(folder: Path, tmp_path: Path) -> None:
    """MLflow puts files of its own beside ours."""
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    assert open_package(tmp_path / "model").info == read_info(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"\xff\xfe",
        lambda data: data[:40],
        lambda data: data.replace(b'"threshold"', b'"treshold"'),
        lambda data: data.replace(b'"image_size": 64', b'"image_size": "big"'),
    ],
)
def test_a_damaged_description_is_named(folder: Path, tmp_path: Path, damage: Any) -> None:
    broken = tmp_path / "my model"
    shutil.copytree(folder, broken)
    whole = (broken / INFO).read_bytes()
    (broken / INFO).write_bytes(damage(whole))
    assert (broken / INFO).read_bytes() != whole
    with pytest.raises(OsteonError) as caught:
        open_package(broken)
    damaged(str(caught.value), broken)


def damaged(text: str, folder: Path) -> None:
    assert text.startswith(f"{folder}: damaged model (")
    assert text.endswith("); run the step train again")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "load", "damage"),
    [
        *(
            (NETWORK, load_network, damage)
            for damage in (
                lambda data: b"",
                lambda data: b"no zip",
                lambda data: data[: len(data) // 2],
                lambda data: data[:-5],
                lambda data: changed(data, 1000),  # config.json
                lambda data: changed(data, len(data) // 2),  # weights
                lambda data: data.replace(b"config.json", b"konfig.json"),
            )
        ),
        *(
            (onnx_file(0), OnnxNetwork, damage)
            for damage in (lambda data: b"", lambda data: b"no graph", lambda data: data[: len(data) // 2])
        ),
        *(
            (embeddings_file(0), load_embeddings, damage)
            for damage in (lambda data: b"", lambda data: data[:-30], lambda data: changed(data, len(data) // 2))
        ),
    ],
)
def test_a_damaged_file_is_named_even_where_no_hash_is_known(
    folder: Path, tmp_path: Path, name: str, load: Any, damage: Any
) -> None:
    path = write(tmp_path / "my model" / name, damage((folder / name).read_bytes()))
    with pytest.raises(OsteonError) as caught:
        load(path)
    damaged(str(caught.value), path.parent)


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
    result = package.predict(files)
    assert list(result.columns) == ["probability", "answer", "warnings"]
    assert len(result) == 5
    assert result["warnings"].tolist() == [[]] * 5
    squares = np.stack([letterbox(decode(data, max_megapixels=80), 64) for data in files])
    np.testing.assert_allclose(result["probability"], package.probabilities(squares), atol=1e-6)
    # The same film, whatever the file.
    np.testing.assert_allclose(result["probability"][:4], result["probability"][0], atol=0.02)


def test_below_rule_out_it_is_not_the_finding_from_rule_in_on_it_is_and_between_them_uncertain(
    package: Package,
) -> None:
    files = [encoded(film, "PNG") for film in films(4)]
    lowest, second, third, _ = np.sort(package.predict(files)["probability"])

    def said(rule_out: float, rule_in: float) -> list[str]:
        requested = with_info(package, points=points_at(rule_out, rule_in), finding="abnormal")
        return requested.predict(files).sort_values("probability")["answer"].tolist()

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
    result = package.predict([])
    assert list(result.columns) == ["probability", "answer", "warnings"]
    assert len(result) == 0


NOISE = encoded(films(1)[0], "PNG")


@pytest.mark.parametrize(
    ("data", "limits", "reason"),
    [
        (b"hello", {}, "no picture that can be read"),
        (b"", {}, "empty file"),
        (encoded(ramp(), "JPEG")[:-200], {}, "truncated or damaged"),
        (encoded(np.zeros((9000, 9000), np.uint8), "PNG"), {}, "9000 × 9000 pixels is more than"),
        (encoded(np.full((1, 1), 7, np.uint8), "PNG"), {"min_side": 2}, "its shorter side is 1 pixels, 2 at least"),
        (encoded(ramp(10, 62), "PNG"), {"max_aspect": 6.1}, "its aspect ratio is 6.2, 6.1 at most"),
        (
            encoded(np.full((80, 80), 9, np.uint8), "PNG"),
            {"min_contrast": 1.0},
            "blank: contrast 0.0 of 256 grey levels",
        ),
        (encoded(np.dstack([ramp(), 255 - ramp(), ramp()]), "PNG"), {"max_chroma": 12}, "not a radiograph: in colour"),
    ],
)
def test_a_file_that_is_no_film_is_refused_with_its_reason_and_the_others_are_answered(
    package: Package, data: bytes, limits: dict[str, float], reason: str
) -> None:
    strict = with_info(package, limits=package.info.limits.model_copy(update=limits), map_learnt=True)
    result = strict.predict([NOISE, data, NOISE], maps=True)
    alone = strict.predict([NOISE], maps=True)
    for row in (0, 2):
        assert result["probability"][row] == pytest.approx(alone["probability"][0], abs=1e-6)
        assert result["answer"][row] == alone["answer"][0] != REFUSED
        np.testing.assert_allclose(result["map"][row], alone["map"][0], atol=1e-6)
    assert np.isnan(result["probability"][1])
    assert (result["answer"][1], result["map"][1]) == ("refused", None)
    (output,) = result["warnings"][1]
    assert output.startswith(reason)


def test_a_film_of_one_pixel_is_answered_where_the_limits_allow_it(package: Package) -> None:
    result = package.predict([encoded(np.full((1, 1), 7, np.uint8), "PNG")])
    assert np.isfinite(result["probability"][0])
    assert result["warnings"][0] == ["low quality: 1 × 1 pixels, magnified to 64", "low quality: 1 grey levels"]


def test_a_film_farther_from_the_training_films_than_allowed_is_refused(package: Package) -> None:
    """The networks of these tests have seen noise; a ramp is farther from it."""
    files = [NOISE, encoded(ramp(), "PNG")]
    squares = np.stack([letterbox(decode(data, max_megapixels=1), 64) for data in files])
    near, far = package.distances(squares)
    assert near < far
    result = with_info(package, max_ood_distance=float(near)).predict(files)
    assert result["answer"].tolist() == [package.predict(files)["answer"][0], "refused"]
    assert np.isnan(result["probability"].to_numpy()).tolist() == [False, True]
    assert result["warnings"].tolist() == [
        [],
        [f"unlike the training films: {far:.2f} from them, {near:.2f} at most"],
    ]
    assert REFUSED not in with_info(package, max_ood_distance=float(far)).predict(files)["answer"].tolist()


def test_a_film_whose_distance_is_nan_is_refused(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that overflows says nothing of how near a film is."""
    assert with_info(package, max_ood_distance=1e9).predict([NOISE])["answer"][0] != REFUSED
    monkeypatch.setattr(Embeddings, "distances", lambda _, films: np.full(len(films), np.nan))
    result = with_info(package, map_learnt=True, max_ood_distance=1e9).predict([NOISE], maps=True)
    assert result["answer"].tolist() == [REFUSED]
    assert np.isnan(result["probability"][0])
    assert result["map"][0] is None
    assert result["warnings"][0][0].startswith("unlike the training films: nan from them")


def test_a_model_without_networks_knows_no_distances(tmp_path: Path) -> None:
    alone = open_package(packaged(tmp_path / "model", networks=0, classical=("svm",)))
    with pytest.raises(ValueError, match="has no out-of-distribution score"):
        alone.distances(films(1))
    assert alone.predict([NOISE])["answer"].tolist() != [REFUSED]


def test_doubts_do_not_refuse(package: Package) -> None:
    seen, unseen = (dicom(ramp().astype(np.uint16) * 16, BodyPartExamined=part) for part in ("HAND", "KNEE"))
    files = [
        encoded(ramp(40, 63), "PNG"),
        encoded(ramp() // 10 * 10, "PNG"),
        dicom_bytes(seen),
        dicom_bytes(unseen),
    ]
    result = package.predict(files)
    assert result["warnings"].tolist() == [
        ["low quality: 63 × 40 pixels, magnified to 64"],
        ["low quality: 26 grey levels"],
        [],
        ["a region never seen: knee; it was trained on hand, wrist"],
    ]
    assert result["probability"].notna().all()
    assert with_info(package, regions=[]).predict(files)["warnings"][3] == []  # nothing is known of regions


def test_a_map_only_where_one_was_learnt_and_asked_for(package: Package) -> None:
    assert package.predict([NOISE], maps=True)["map"].tolist() == [None]
    taught = with_info(package, map_learnt=True)
    np.testing.assert_allclose(taught.predict([NOISE], maps=True)["map"][0], taught.maps(films(1))[0], atol=1e-6)
    assert "map" not in taught.predict([NOISE])


# ---------------------------------------------------------------- parity


def test_parity_of_networks_that_were_exported_rightly_and_of_one_that_was_not(
    vote_folder: Path, tmp_path: Path
) -> None:
    prepared = PreparedFilms(films(9), pd.DataFrame())
    result = measure_parity(vote_folder, prepared, np.arange(9), 0)
    assert (result.films, result.changed) == (9, 0)
    assert result.largest < 1e-4
    assert result.kept

    other = packaged(tmp_path / "other", seed=6)
    wrong = packaged(tmp_path / "wrong", points=points_at(0.5, 0.5))
    (wrong / onnx_file(0)).write_bytes((other / onnx_file(0)).read_bytes())
    info = read_info(wrong).model_copy(update={"files": {}})
    (wrong / INFO).write_text(info.model_dump_json())
    expected = [open_package(folder).probabilities(films(9)) for folder in (packaged(tmp_path / "right"), wrong)]
    result = measure_parity(wrong, prepared, np.arange(9), 0)
    assert result.largest == pytest.approx(np.abs(expected[0] - expected[1]).max(), abs=1e-5)
    assert result.changed == ((expected[0] >= 0.5) != (expected[1] >= 0.5)).sum()
    assert not result.kept


@pytest.mark.parametrize(
    ("films", "largest", "changed", "kept"),
    [(9, 1e-3, 0, True), (9, 1.1e-3, 0, False), (9, 0.0, 1, False), (0, 0.0, 0, False), (9, float("nan"), 0, False)],
)
def test_what_parity_asks(films: int, largest: float, changed: int, kept: bool) -> None:
    assert Parity(films=films, largest=largest, changed=changed).kept is kept


def test_the_example_is_a_film() -> None:
    film = decode(example_film(), max_megapixels=1)
    assert film.pixels.shape == (96, 96)
    assert np.ptp(film.pixels) > 100


def test_every_requirement_is_pinned_to_what_is_installed(package: Package, vote: Package) -> None:
    from importlib.metadata import version

    for item, classical in ((package, False), (vote, True)):
        result = dict(line.split("==") for line in requirements(item.info))
        assert {"mlflow", "onnxruntime", "numpy", "pandas", "pydicom"} <= set(result)
        assert not {"keras", "tensorflow", "jax"} & set(result)
        assert ({"scikit-image", "skops"} <= set(result)) is classical
        assert result == {name: version(name) for name in result}
