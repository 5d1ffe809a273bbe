"""What reaches a network at once, and what becomes of its outputs."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from osteon.models.inference.predict import films_at_once, predict_with_flip_tta


class Brightness:
    """Finds how bright the left half of a film is; its map is the film."""

    def __init__(self) -> None:
        self.films: list[int] = []

    def predict_on_batch(self, films: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        self.films.append(len(films))
        half = films.shape[2] // 2
        return {"finding": films[:, :, :half].mean(axis=(1, 2)), "map": films.astype(np.float64)}


@pytest.mark.parametrize(("side", "films"), [(64, 64), (128, 64), (160, 40), (256, 16), (320, 10), (512, 4), (4096, 1)])
def test_as_many_films_at_once_as_fit_into_the_same_memory(side: int, films: int) -> None:
    assert films_at_once(side) == films


def test_films_come_in_blocks_and_leave_in_order() -> None:
    squares = np.random.default_rng(1).integers(0, 256, (11, 512, 512), np.uint8)
    network = Brightness()
    outputs = predict_with_flip_tta(network, squares, ["finding", "map"])
    assert network.films == [8, 8, 6]  # each beside its mirror image
    np.testing.assert_allclose(outputs["finding"], squares.mean(axis=(1, 2)))
    np.testing.assert_array_equal(outputs["map"], squares)


def test_no_film_has_no_outputs() -> None:
    outputs = predict_with_flip_tta(Brightness(), np.zeros((0, 64, 64), np.uint8), ["finding"])
    assert outputs["finding"].shape == (0,)
