"""What a step is: a plain typed function whose signature says everything its callers need.

    def train(dataset: Annotated[Path, Input("…")], model: Annotated[Path, Output("…")],
              params: TrainingParams, classical: ClassicalParams) -> TrainingSummary: ...

The step's own section of params.yaml comes first after the paths and is called params; what it needs of other
sections follows, each called as the section is. The command line, Kubeflow components and the contract tests are all
made from that signature.
"""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from osteon.params import Section

InputKind = Literal["data", "source", "films", "model", "report"]
OutputKind = Literal["data", "model", "report"]


@dataclass(frozen=True)
class Input:
    """A file or folder a step reads.

    kind: 'source' is a folder of films as published, hashed for the lineage; 'films' is the same folder read
    again through a manifest that already holds every film's hash. default: of the command's option; empty: it must be
    given. param: key of params.yaml that has the path; then it is no option. or_param: the same, where the option is
    left out.
    """

    help: str
    kind: InputKind = "data"
    default: str = ""
    param: str = ""
    or_param: str = ""


@dataclass(frozen=True)
class Output:
    """A file or folder a step writes, whole or not at all. A report or model is also kept in MLflow.

    default: of the command's option; empty: it must be given.
    """

    help: str
    kind: OutputKind = "data"
    default: str = ""


@dataclass(frozen=True)
class Option:
    """What only a person gives, on the command line: no stage, parameter file or cluster does. It has a default."""

    help: str


class Summary(BaseModel):
    """The small result of a step: what it prints as its last line and what MLflow shows as its metrics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def exit_code(self) -> int:
        """What the command ends with."""
        return 0

    def tags(self) -> dict[str, str]:
        """Words that the step's run in MLflow gets as tags."""
        return {}

    def line(self) -> str:
        """The summary for a person, on one line."""
        shown = ((name.replace("_", " "), getattr(self, name)) for name in type(self).model_fields)
        return " · ".join(f"{name} {_short(value)}" for name, value in shown)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items()) or "none"
    return str(value)


@dataclass(frozen=True)
class Step:
    """A step as its signature describes it."""

    function: Callable[..., Summary]
    inputs: dict[str, Input]
    outputs: dict[str, Output]
    sections: dict[str, type[Section]]
    options: dict[str, Option] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The function's own name, which is the subcommand's and the stage's too."""
        return self.function.__name__

    @property
    def help(self) -> str:
        """The docstring's first line."""
        return self.description.split("\n", 1)[0]

    @property
    def description(self) -> str:
        """The whole docstring."""
        return inspect.getdoc(self.function) or ""

    @property
    def params_kind(self) -> type[Section]:
        """Its own section of params.yaml."""
        return self.sections["params"]

    @property
    def paths(self) -> dict[str, Input | Output]:
        """Inputs, then outputs, by the name of their argument."""
        return {**self.inputs, **self.outputs}


def describe(function: Callable[..., Summary]) -> Step:
    """Read a step from its signature: inputs first, outputs next, then its parameters and options, a Summary back.

    Raises:
        TypeError: the signature is of another form.

    """
    hints = typing.get_type_hints(function, include_extras=True)
    returned = hints.pop("return", None)
    if not (isinstance(returned, type) and issubclass(returned, Summary)):
        raise TypeError(f"{function.__name__} must return a Summary")
    inputs: dict[str, Input] = {}
    outputs: dict[str, Output] = {}
    sections: dict[str, type[Section]] = {}
    options: dict[str, Option] = {}
    for name, hint in hints.items():
        marks: tuple[Any, ...] = getattr(hint, "__metadata__", ())
        if isinstance(hint, type) and issubclass(hint, Section):
            if ("params" in sections) != (name != "params"):
                raise TypeError(f"{function.__name__}: its own section is called params and comes before {name}")
            sections[name] = hint
        elif sections and marks and isinstance(marks[0], Option):
            options[name] = marks[0]
        elif sections:
            raise TypeError(f"{function.__name__}: the parameters come last, not before {name}")
        elif marks and typing.get_args(hint)[0] is Path and isinstance(marks[0], Input) and not outputs:
            inputs[name] = marks[0]
        elif marks and typing.get_args(hint)[0] is Path and isinstance(marks[0], Output):
            outputs[name] = marks[0]
        else:
            raise TypeError(f"{function.__name__}: {name} is neither an Input, an Output nor a section of params.yaml")
    return Step(function, inputs, outputs, sections, options)
