"""The classical models: features on one scale, their PCA, then a support vector machine, a forest or the like.

Each ends in a sigmoid that turns its scores into probabilities, fitted on films of held-out groups.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from osteon.errors import OsteonError
from osteon.params import ClassicalName, ClassicalParams
from osteon.statistics.calibration import probabilities_of

if TYPE_CHECKING:
    from sklearn.decomposition import PCA
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

log = logging.getLogger(__name__)

FOLDS = 5  # for the sigmoid
BLOCK = 4096  # films whose scores are computed together
SVM_CACHE = 300  # MiB


class Reduced(NamedTuple):
    """Films as the models see them, rows × components, with the scaling and PCA that were fitted on them alone."""

    scale: "StandardScaler"
    pca: "PCA"
    films: NDArray[np.float32]


def reduce_features(features: NDArray[np.float32], params: ClassicalParams) -> Reduced:
    """Bring features to one scale and take their principal components; the same for every model.

    Args:
        features: films × features.
        params: the section `classical`.

    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    scale = StandardScaler()
    # What comes out of scaling is nobody's: PCA may work in it.
    pca = PCA(min(params.components, *features.shape), copy=False, random_state=params.seed)
    return Reduced(scale, pca, pca.fit_transform(scale.fit_transform(features)))


def fit_classical(
    name: ClassicalName,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[Any],
    params: ClassicalParams,
) -> "Pipeline":
    """Learn one model: scale and PCA from these films alone, the model, and its sigmoid; see fit_reduced."""
    return fit_reduced(name, reduce_features(features, params), labels, groups, params)


def fit_reduced(
    name: ClassicalName,
    reduced: Reduced,
    labels: NDArray[np.int64],
    groups: NDArray[Any],
    params: ClassicalParams,
) -> "Pipeline":
    """Learn one model and its sigmoid from films that are reduced already, as several models can share them.

    Both classes weigh the same, however many films of each there are, so `probabilities` can answer for any
    prevalence. The sigmoid (Platt 1999) is fitted on the scores of films of held-out groups:
    a film's copies, and the other films of its patient, are never on both sides.

    Args:
        name: of the model.
        reduced: training films. With copies of one class only, a model learns to separate copies from films
            (docs/training.md): give both classes' or none.
        labels: 0 or 1, of each.
        groups: of each; copies have their film's.
        params: the section `classical`.

    Raises:
        OsteonError: a class is in fewer than two groups.

    """
    from joblib import cpu_count, parallel_config
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import Pipeline
    from sklearn.utils.class_weight import compute_sample_weight
    from threadpoolctl import threadpool_limits

    fewest = min(len(np.unique(groups[labels == label])) for label in (0, 1))
    if fewest < 2:
        raise OsteonError(f"{name}: each class needs training films of two groups at least; add films")

    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=params.seed)
    splits = list(folds.split(reduced.films, labels, groups))
    cores = params.cores or cpu_count()
    model = _unfitted(name, reduced.films, min(len(taught) for taught, _ in splits), params, min(cores, len(splits)))
    calibrated = CalibratedClassifierCV(model, method="sigmoid", cv=splits, ensemble=False)
    # Threads: the models compute in C with Python's lock released, and a process would take seconds to start.
    # Here and not as the forest's n_jobs: its answers would then be sums in whatever order its threads end.
    # One thread of BLAS in each: together they would be more than there are cores, and wait for one another.
    with parallel_config("threading", n_jobs=cores), threadpool_limits(1, "blas"), _weights_in_the_sigmoid_alone():
        calibrated.fit(reduced.films, labels, sample_weight=compute_sample_weight("balanced", labels))
    for sigmoid in calibrated.calibrated_classifiers_[0].calibrators:
        if sigmoid.a_ > 0:
            # On held-out films, higher scores meant less. Of the sigmoids that do not fall the level one fits best.
            log.warning("%s: its scores do not rank held-out films; every film gets the prevalence", name)
            sigmoid.a_ = sigmoid.b_ = 0.0
    calibrated.cv = None  # the rows of the folds: of no use any more, and they would be written with the model
    return Pipeline([("scale", reduced.scale), ("pca", reduced.pca), (name, calibrated)])


def _unfitted(
    name: ClassicalName, reduced: NDArray[np.float32], fewest: int, params: ClassicalParams, at_once: int
) -> Any:
    """The model, for features after the PCA.

    fewest: films that it is shown at once at least. at_once: how many of it are fitted at the same time.
    """
    if name == "svm":
        from sklearn.svm import SVC

        # By the variance there is, so that 1 suits any number of components and any features.
        gamma = params.svm.gamma / (reduced.shape[1] * float(reduced.var()))
        # The kernel's cache, MiB, fills up with 20,000 films: all that are fitted at once share it.
        return SVC(C=params.svm.c, gamma=gamma, cache_size=SVM_CACHE / at_once)
    if name == "random_forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(
            params.random_forest.trees,
            min_samples_leaf=params.random_forest.min_leaf,
            random_state=params.seed,
        )
    if name == "k_nearest":
        from sklearn.neighbors import KNeighborsClassifier

        # A tree of the films helps up to some 15 components.
        return KNeighborsClassifier(min(params.k_nearest.neighbours, fewest), weights="distance", algorithm="brute")
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=params.logistic_regression.c, max_iter=1000)


@contextmanager
def _weights_in_the_sigmoid_alone() -> Iterator[None]:
    """Silence the warning that nearest neighbours take no weights: the sigmoid takes them, which is what counts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Since KNeighborsClassifier does not appear to accept sample_weight")
        yield


def probabilities(estimator: "Pipeline", features: NDArray[np.float32], prevalence: float) -> NDArray[np.float64]:
    """Probability of label 1, one a film.

    The models were taught as if half of the films were positive; the log odds of the prevalence are added, as for
    the network (`calibration.probabilities_of`).

    Args:
        estimator: of fit_classical.
        features: films × features.
        prevalence: share of positive films among the films to predict.

    """
    from scipy.special import logit

    positive = np.empty(len(features))
    for start in range(0, len(features), BLOCK):
        positive[start : start + BLOCK] = estimator.predict_proba(features[start : start + BLOCK])[:, 1]
    return probabilities_of(logit(positive), prevalence)


def soft_vote(scores: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean of the models' probabilities, film by film; every model counts the same.

    Args:
        scores: of each model, of the same films in the same order.

    """
    return np.asarray(np.mean(np.stack(list(scores.values())), axis=0), dtype=np.float64)


# Beside scikit-learn's public estimators, which skops trusts by itself: what they hold within.
TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.tree._tree.Tree",
)


def save_classical(path: Path, estimator: "Pipeline") -> None:
    """Write a fitted model without pickle: a zip file of arrays, and JSON that names the classes they belong to."""
    from zipfile import ZIP_DEFLATED

    from skops.io import dump

    dump(estimator, path, compression=ZIP_DEFLATED)


def load_classical(path: Path) -> "Pipeline":
    """Load what save_classical wrote; a file that names any class but the expected is refused before it is loaded.

    Raises:
        OsteonError: missing, damaged, or not to be trusted.

    """
    from sklearn.pipeline import Pipeline
    from skops.io import get_untrusted_types, load

    try:
        strange = sorted(set(get_untrusted_types(file=path)) - set(TRUSTED))
        estimator = None if strange else load(path, trusted=list(TRUSTED))
    except FileNotFoundError:
        raise OsteonError(f"{path}: no such model; run the step train") from None
    # What zipfile, json, numpy and skops raise, one byte changed here or there, is not documented.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OsteonError(f"{path}: damaged model ({reason}); run the step train again") from None
    if strange:
        raise OsteonError(
            f"{path}: holds {', '.join(strange)}, which no model of Osteon does; do not use the file, run "
            "the step train again"
        )
    if not isinstance(estimator, Pipeline):
        raise OsteonError(f"{path}: holds {type(estimator).__name__}, not a classical model; run the step train again")
    return estimator
