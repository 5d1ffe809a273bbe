import numpy as np
import pytest

from osteon.films.copies.keypoints import (
    DESCRIPTOR,
    MOST_FEATURES,
    Change,
    Features,
    changed,
    find_features,
    local_contrast,
)
from tests.making import phantom_films, squared


def mirrored(features: Features, side: int) -> Features:
    return changed(features, Change(mirrored=True, inverted=False), side)


@pytest.mark.parametrize("number", [0, 4, 6])
def test_the_features_of_the_mirror_image_are_the_mirrored_features(number: int) -> None:
    """SIFT itself, asked about the mirror image, is the judge of the permutation."""
    film = squared(phantom_films(4)[number])
    message, result = mirrored(find_features(film), 256), find_features(np.ascontiguousarray(film[:, ::-1]))
    apart = np.hypot(*(message.places[:, None, :2] - result.places[None, :, :2]).transpose(2, 0, 1))
    turned = np.abs((message.places[:, None, 2] - result.places[None, :, 2] + 180) % 360 - 180)
    sized = np.abs(message.places[:, None, 3] / result.places[None, :, 3] - 1)
    item, other = np.nonzero((apart < 0.7) & (turned < 5) & (sized < 0.05))
    assert len(set(item)) > 0.85 * len(message.places)
    # All descriptors have the length 512: the product tells how alike two are.
    alike = (message.descriptors[item].astype(float) * result.descriptors[other]).sum(axis=1) / 512**2
    assert np.median(alike) > 0.98
    plain = find_features(film).descriptors[item].astype(float)
    assert np.median((plain * result.descriptors[other]).sum(axis=1) / 512**2) < 0.95


def test_mirrored_twice_is_as_before() -> None:
    features = find_features(squared(phantom_films(4)[2]))
    again = mirrored(mirrored(features, 256), 256)
    np.testing.assert_array_equal(again.descriptors, features.descriptors)
    np.testing.assert_allclose(again.places, features.places, atol=1e-4)


def test_one_histogram_mirrored_by_hand() -> None:
    """Eight directions in each of 4 × 4 cells; mirrored, the rows of cells and the directions' sense are reversed."""
    features = find_features(squared(phantom_films(4)[0]))._replace(
        places=np.array([[10, 20, 30, 5]], np.float32), descriptors=np.arange(128, dtype=np.uint8)[None]
    )
    message = mirrored(features, 256)
    assert message.places.tolist() == [[245, 20, 150, 5]]
    cells = message.descriptors.reshape(4, 4, 8)
    assert cells[0, 1].tolist() == [3 * 32 + 8 + n for n in (0, 7, 6, 5, 4, 3, 2, 1)]
    assert cells[3, 0].tolist() == [0, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("grey", [0, 90, 255])
def test_a_blank_film_has_no_features(grey: int) -> None:
    features = find_features(np.full((256, 256), grey, np.uint8))
    assert features.places.shape == (0, 4)
    assert features.descriptors.shape == (0, DESCRIPTOR)
    assert (features.places.dtype, features.descriptors.dtype) == (np.float32, np.uint8)


def test_features_come_in_one_type_and_not_too_many() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    for film in (noise, *map(squared, phantom_films(4))):
        features = find_features(film)
        assert features.places.dtype == np.float32
        assert features.descriptors.dtype == np.uint8
        assert 3 < len(features.places) == len(features.descriptors) <= MOST_FEATURES
        lengths = np.linalg.norm(features.descriptors.astype(float), axis=1)
        np.testing.assert_allclose(lengths, 512, rtol=0.02)
    assert len(find_features(squared(phantom_films(4)[0])).places) == MOST_FEATURES


def test_the_same_film_has_the_same_features_again() -> None:
    film = squared(phantom_films(4)[3])
    item, other = find_features(film), find_features(film.copy())
    assert item.places.tobytes() == other.places.tobytes()
    assert item.descriptors.tobytes() == other.descriptors.tobytes()


def test_local_contrast_of_one_grey_is_the_middle() -> None:
    for grey in (0, 77, 255):
        lit = local_contrast(np.full((64, 64), grey, np.uint8))
        assert lit.dtype == np.uint8
        assert set(np.unique(lit)) <= {127, 128}


def test_local_contrast_does_not_see_how_bright_a_film_is() -> None:
    film = squared(phantom_films(4)[1])
    darker = (film // 2).astype(np.uint8)
    lit, lit_darker = local_contrast(film).astype(int), local_contrast(darker + np.uint8(100)).astype(int)
    assert np.corrcoef(lit.ravel(), lit_darker.ravel())[0, 1] > 0.95
    assert lit[film > 0].std() > 15
