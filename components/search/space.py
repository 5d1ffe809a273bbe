"""The search space of params.yaml as Optuna's distributions, and a trial's values as sections take them.

A parameter's name is SECTION.KEY: training.width, augmentation.rotation, svm.c.
"""

from collections.abc import Mapping
from typing import Any

from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from osteon.errors import OsteonError
from osteon.models.best_hyperparameters import BestHyperparameters
from osteon.params import Range, Section, Space, step_of

Distributions = dict[str, BaseDistribution]


def distributions(name: str, space: Space, section: Section) -> Distributions:
    """What may be tried of one section: the space, and the section's own values, for these are tried first.

    Args:
        name: of the section.
        space: of its keys.
        section: the values of params.yaml.

    Raises:
        OsteonError: a value of the section cannot be in a space by log.

    """
    return {f"{name}.{key}": _distribution(f"{name}.{key}", key, values, section) for key, values in space.items()}


def _distribution(name: str, key: str, values: Any, section: Section) -> BaseDistribution:
    own = getattr(section, key)
    if not isinstance(values, Range):
        return CategoricalDistribution([*values, *([] if own in values else [own])])
    low, high = min(values.low, own), max(values.high, own)
    if values.log and low <= 0:
        raise OsteonError(
            f"search.space.{name}: {own} in params.yaml is tried first and cannot be drawn by log; "
            "write log: false, or give a list of values"
        )
    if type(section).model_fields[key].annotation is int:
        return IntDistribution(int(low), int(high), log=values.log, step=step_of(type(section), key))
    return FloatDistribution(low, high, log=values.log)


def own_values(name: str, space: Space, section: Section) -> dict[str, Any]:
    """What params.yaml says of the searched keys of a section."""
    return {f"{name}.{key}": getattr(section, key) for key in space}


def suggest(trial: Trial, searched: Distributions) -> dict[str, Any]:
    """The values that a trial tries."""
    return {name: _suggest(trial, name, distribution) for name, distribution in searched.items()}


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case FloatDistribution():
            return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
        case IntDistribution():
            return trial.suggest_int(
                name, distribution.low, distribution.high, log=distribution.log, step=distribution.step
            )
        case CategoricalDistribution():
            return trial.suggest_categorical(name, distribution.choices)
    raise TypeError(f"{name}: {distribution}")


def as_best(values: Mapping[str, Any]) -> BestHyperparameters:
    """Values by section and key."""
    by_section: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, key = name.split(".")
        by_section.setdefault(section, {})[key] = value
    return BestHyperparameters(
        training=by_section.pop("training", {}), augmentation=by_section.pop("augmentation", {}), classical=by_section
    )
