"""What the search found best, as the steps after it take it: values that go over those of params.yaml."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from osteon.errors import OsteonError
from osteon.params import AugmentationParams, ClassicalParams, Section, TrainingParams

BEST, TRIALS, PLOTS = "best.yaml", "trials.csv", "plots"
Kind = TypeVar("Kind", bound=Section)


class BestHyperparameters(BaseModel):
    """Values by section and key; what was not searched is not there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: dict[str, Any] = {}
    augmentation: dict[str, Any] = {}
    classical: dict[str, dict[str, Any]] = {}

    def named(self) -> dict[str, Any]:
        """All values, under names for a person, as 'learning rate' or 'svm c'."""
        classical = {
            f"{model} {key}": value for model, values in self.classical.items() for key, value in values.items()
        }
        return {
            name.replace("_", " "): value for name, value in (self.training | self.augmentation | classical).items()
        }

    def over_training(self, params: TrainingParams) -> TrainingParams:
        """The section training with the best values."""
        return _over(params, self.training)

    def over_augmentation(self, params: AugmentationParams) -> AugmentationParams:
        """The limits of variation with the best values."""
        return _over(params, self.augmentation)

    def over_classical(self, params: ClassicalParams) -> ClassicalParams:
        """The section classical with the best values."""
        return _over(params, {name: _over(getattr(params, name), values) for name, values in self.classical.items()})


def _over(params: Kind, values: dict[str, Any]) -> Kind:
    # model_copy would not check them.
    return type(params).model_validate({**{key: getattr(params, key) for key in type(params).model_fields}, **values})


def read_best_hyperparameters(folder: Path) -> BestHyperparameters:
    """What the step search wrote.

    Raises:
        OsteonError: missing or damaged.

    """
    try:
        content = YAML(typ="safe", pure=True).load((folder / BEST).read_text(encoding="utf-8"))
        return BestHyperparameters.model_validate(content or {})
    except FileNotFoundError:
        raise OsteonError(f"{folder}: {BEST} is missing; run the step search") from None
    except (YAMLError, ValidationError) as error:
        raise OsteonError(f"{folder / BEST}: not what the step search writes ({str(error).splitlines()[0]})") from None


@dataclass(frozen=True)
class SearchReport:
    """A search for a reader. pictures: name → PNG of the search's plots; empty where nothing was searched."""

    best: BestHyperparameters
    trials: int
    pictures: dict[str, bytes]


def read_search(folder: Path) -> SearchReport:
    """All that the step search wrote.

    Raises:
        OsteonError: missing or damaged.

    """
    trials = folder / TRIALS
    return SearchReport(
        read_best_hyperparameters(folder),
        len(pd.read_csv(trials)) if trials.is_file() else 0,
        {path.stem: path.read_bytes() for path in sorted((folder / PLOTS).glob("*.png"))},
    )


def write_best_hyperparameters(folder: Path, best: BestHyperparameters) -> None:
    """Write best.yaml into a folder that exists."""
    yaml = YAML()
    yaml.default_flow_style = False
    with (folder / BEST).open("w", encoding="utf-8") as file:
        file.write(
            "# Found by the step search; cross_validate and train take these values over those of params.yaml.\n"
        )
        yaml.dump(best.model_dump(), file)
