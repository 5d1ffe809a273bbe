"""What is searched: the space of params.yaml, what is drawn from it, and where it goes back to."""

from typing import Any

import optuna
import pytest
from pydantic import ValidationError

from components.search.space import Distributions, as_best, distributions, own_values, suggest
from osteon.errors import OsteonError
from osteon.models.best_hyperparameters import BestHyperparameters
from osteon.params import AugmentationParams, Range, TrainingParams
from tests.making import search_space


def drawn(searched: Distributions, trials: int = 60) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [suggest(study.ask(), searched) for _ in range(trials)]


def test_whole_keys_are_drawn_whole_and_multiples_as_multiples() -> None:
    searched = distributions(
        "training",
        {"width": Range(low=8, high=40), "learning_rate": Range(low=1e-4, high=1e-1, log=True)},
        TrainingParams(),
    )
    tried = drawn(searched)
    assert {item["training.width"] for item in tried} == {8, 16, 24, 32, 40}
    assert {type(item["training.width"]) for item in tried} == {int}
    rates = [item["training.learning_rate"] for item in tried]
    assert {type(rate) for rate in rates} == {float}
    # By log a third of the draws lies in each decade; evenly, nine of ten would lie in the last.
    assert 10 < sum(rate < 1e-3 for rate in rates) < 30
    for item in tried:
        as_best(item).over_training(TrainingParams())


def test_choices_keep_their_types() -> None:
    searched = distributions(
        "training", {"network": ["compact", "plain"], "dropout": [0.1, 0.2, 0.5]}, TrainingParams()
    )
    tried = drawn(searched)
    assert {item["training.network"] for item in tried} == {"compact", "plain"}
    assert {item["training.dropout"] for item in tried} == {0.1, 0.2, 0.5}
    mirror = distributions("augmentation", {"mirror": [False]}, AugmentationParams())
    assert {item["augmentation.mirror"] for item in drawn(mirror)} == {True, False}


def test_the_space_reaches_to_the_values_of_the_file() -> None:
    """They are tried first, so they must be in it."""
    params = TrainingParams(width=64, weight_decay=0.9)
    searched = distributions("training", {"width": [8, 16], "weight_decay": Range(low=0.1, high=0.2)}, params)
    assert searched["training.width"] == optuna.distributions.CategoricalDistribution([8, 16, 64])
    assert searched["training.weight_decay"] == optuna.distributions.FloatDistribution(0.1, 0.9)
    assert own_values("training", {"width": [8]}, params) == {"training.width": 64}


def test_zero_cannot_be_reached_by_log() -> None:
    with pytest.raises(OsteonError, match=r"search\.space\.training\.weight_decay: 0.* cannot be drawn by log"):
        distributions("training", {"weight_decay": Range(low=0.1, high=0.2, log=True)}, TrainingParams(weight_decay=0))


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({"training": {"width": [16, 20]}}, "training.width = 20: .*multiple of 8"),
        ({"training": {"learning_rate": {"low": 0.1, "high": 2.0}}}, "training.learning_rate = 2.0"),
        ({"training": {"rate": [1.0]}}, "training.rate: no key that can be searched"),
        ({"training": {"epochs": [5, 10]}}, "training.epochs: no key that can be searched"),
        ({"training": {"seed": [1, 2]}}, "training.seed: no key that can be searched"),
        ({"augmentation": {"copies": [0, 1]}}, "augmentation.copies: no key that can be searched"),
        ({"training": {"network": ["compakt"]}}, "training.network = 'compakt'"),
        ({"training": {"width": {"low": 8.5, "high": 16}}}, "low and high must be whole"),
        ({"training": {"width": {"low": 8, "high": 64, "log": True}}}, "multiples of 8 cannot be drawn by log"),
        ({"augmentation": {"mirror": {"low": 0, "high": 1}}}, "augmentation.mirror = 0.0"),
        ({"svm": {"c": {"low": 3.0, "high": 1.0}}}, "low must be less than high"),
    ],
)
def test_a_space_that_cannot_be_tried_is_refused(part: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        search_space(**part)


def test_a_trials_values_go_back_to_their_sections() -> None:
    assert as_best(
        {"training.width": 8, "augmentation.gamma": 0.1, "svm.c": 2.0, "svm.gamma": 1.0}
    ) == BestHyperparameters(
        training={"width": 8}, augmentation={"gamma": 0.1}, classical={"svm": {"c": 2.0, "gamma": 1.0}}
    )
