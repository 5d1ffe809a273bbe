"""What the search found, written, read and laid over the parameters."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from osteon.errors import OsteonError
from osteon.models.best_hyperparameters import (
    BEST,
    BestHyperparameters,
    read_best_hyperparameters,
    write_best_hyperparameters,
)
from osteon.params import AugmentationParams, ClassicalParams, TrainingParams

FOUND = BestHyperparameters(
    training={"width": 24, "learning_rate": 0.004},
    augmentation={"rotation": 3.5},
    classical={"svm": {"c": 7.0}, "k_nearest": {"neighbours": 9}},
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_best_hyperparameters(tmp_path, FOUND)
    assert read_best_hyperparameters(tmp_path) == FOUND


def test_only_what_was_found_changes() -> None:
    training = FOUND.over_training(TrainingParams(epochs=7))
    assert training == TrainingParams(epochs=7, width=24, learning_rate=0.004)
    assert FOUND.over_augmentation(AugmentationParams()) == AugmentationParams(rotation=3.5)
    classical = FOUND.over_classical(ClassicalParams(components=8))
    assert (classical.svm.c, classical.k_nearest.neighbours, classical.components) == (7.0, 9, 8)
    assert classical.random_forest == ClassicalParams().random_forest


def test_nothing_found_changes_nothing(tmp_path: Path) -> None:
    write_best_hyperparameters(tmp_path, BestHyperparameters())
    assert read_best_hyperparameters(tmp_path).over_training(TrainingParams(width=32)) == TrainingParams(width=32)


def test_values_have_names_for_a_person() -> None:
    best = BestHyperparameters(
        training={"learning_rate": 0.01}, augmentation={"gamma": 0.2}, classical={"k_nearest": {"neighbours": 3}}
    )
    assert best.named() == {"learning rate": 0.01, "gamma": 0.2, "k nearest neighbours": 3}
    assert BestHyperparameters().named() == {}


def test_a_value_out_of_bounds_is_refused_when_it_is_laid_over() -> None:
    with pytest.raises(ValidationError):
        BestHyperparameters(training={"width": 7}).over_training(TrainingParams())


def test_a_missing_and_a_damaged_file_say_so(tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match=r"best.yaml is missing; run the step search"):
        read_best_hyperparameters(tmp_path)
    (tmp_path / BEST).write_text("training: {width: [", encoding="utf-8")
    with pytest.raises(OsteonError, match="not what the step search writes"):
        read_best_hyperparameters(tmp_path)
    (tmp_path / BEST).write_text("trainning: {width: 8}\n", encoding="utf-8")
    with pytest.raises(OsteonError, match="not what the step search writes"):
        read_best_hyperparameters(tmp_path)
