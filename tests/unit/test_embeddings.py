"""How far a film is from the training films, by hand and beside scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA

from osteon.errors import OsteonError
from osteon.models.inference import out_of_distribution
from osteon.models.inference.out_of_distribution import Embeddings, fit_embeddings, load_embeddings, save_embeddings
from tests.command import python


def seen(films: int = 500, dimensions: int = 6) -> np.ndarray:
    """Embeddings whose dimensions differ in scale and depend on one another."""
    rng = np.random.default_rng(films)
    return rng.standard_normal((films, dimensions)) @ rng.uniform(-3, 3, (dimensions, dimensions)) + 5


def test_by_hand() -> None:
    """Scaled, a film at (4, 2, 11) is (3, 0, 2) from the middle; the variance is 9 along x and 2 elsewhere."""
    known = Embeddings(
        middle=np.array([1.0, 2.0, 3.0]),
        scale=np.array([1.0, 2.0, 4.0]),
        directions=np.array([[1.0], [0.0], [0.0]]),
        variances=np.array([9.0]),
        rest=2.0,
    )
    result = known.distances(np.array([[1.0, 2.0, 3.0], [4.0, 2.0, 11.0]]))
    np.testing.assert_allclose(result, [0.0, np.sqrt((9 / 9 + 4 / 2) / 3)])


def test_with_all_directions_it_is_mahalanobis_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_distribution, "LEAST", 1e-12)
    films = seen()
    # scikit-learn divides by n, not n - 1.
    expected = EmpiricalCovariance().fit(films).mahalanobis(films[:9] * 2) * (499 / 500) / 6
    np.testing.assert_allclose(fit_embeddings(films).distances(films[:9] * 2) ** 2, expected)


def test_with_some_directions_the_variance_of_the_others_is_that_of_probabilistic_pca(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(out_of_distribution, "LEAST", 0.0)
    monkeypatch.setattr(out_of_distribution, "COMPONENTS", 2)
    films = seen()
    scaled = (films - films.mean(axis=0)) / films.std(axis=0)
    precision = PCA(2).fit(scaled).get_precision()
    expected = np.einsum("ij,jk,ik->i", scaled[:9], precision, scaled[:9]) / 6
    np.testing.assert_allclose(fit_embeddings(films).distances(films[:9]) ** 2, expected)


def test_the_scale_of_a_dimension_is_of_no_account() -> None:
    films = seen()
    factors = np.array([0.1, 1, 5, 10, 20, 50])
    requested = films[:9] * 3
    result = fit_embeddings(films * factors).distances(requested * factors)
    np.testing.assert_allclose(result, fit_embeddings(films).distances(requested))


def test_training_films_are_about_one_away_and_what_lies_elsewhere_is_farther() -> None:
    films = seen()
    known = fit_embeddings(films)
    assert known.distances(films).mean() == pytest.approx(1, abs=0.1)
    far = films.mean(axis=0) + 20 * films.std(axis=0)
    assert known.distances(far[None])[0] > known.distances(films).max()


def test_dimensions_that_never_vary_and_more_dimensions_than_films() -> None:
    films = np.hstack([seen(20, 6), np.zeros((20, 30))])
    known = fit_embeddings(films)
    assert np.isfinite(known.distances(films)).all()
    # A dimension that never varied and does now says that the film is another kind of film.
    strange = films.copy()
    strange[:, 10] = 50
    assert known.distances(strange).min() > 2 * known.distances(films).max()


def test_two_films_that_are_one() -> None:
    assert np.isfinite(fit_embeddings(np.ones((2, 5))).distances(np.zeros((1, 5)))).all()


def test_saved_and_loaded(tmp_path: Path) -> None:
    known = fit_embeddings(seen())
    save_embeddings(tmp_path / "embeddings-0.npz", known)
    again = load_embeddings(tmp_path / "embeddings-0.npz")
    np.testing.assert_allclose(again.distances(seen(9)), known.distances(seen(9)), rtol=1e-3)


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "embeddings-0.npz", middle=np.array([object()]), whitening=np.eye(2), allow_pickle=True)
    with pytest.raises(OsteonError, match=r"damaged model \(embeddings-0\.npz: .*allow_pickle=False"):
        load_embeddings(tmp_path / "embeddings-0.npz")


NAMED_ANEW = """
from pathlib import Path
from osteon.models.networks.backend import load_keras
keras = load_keras()
from osteon.models.inference.out_of_distribution import EMBEDDING, with_embedding
from osteon.models.networks.network_files import load_network, save_network
from osteon.models.networks.architectures import build_network
from osteon.params import TrainingParams
build_network(64, TrainingParams(width=8))
save_network(Path("network.keras"), build_network(64, TrainingParams(width=8)))
keras.utils.clear_session()
build_network(64, TrainingParams(width=8))
assert EMBEDDING in with_embedding(load_network(Path("network.keras"))).output
"""


@pytest.mark.slow
def test_the_names_of_its_layers_are_no_other_layers(tmp_path: Path) -> None:
    """Keras counts anew after clear_session, as in a new process, and a network that is loaded keeps its names.

    In a process of its own: to clear a worker's session takes a minute, and what others have compiled is gone with it.
    """
    done = python(tmp_path, "-c", NAMED_ANEW)
    assert done.returncode == 0, done.stderr
