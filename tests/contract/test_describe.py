"""A step is its signature: what is read from it, and which signatures are no step's."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest

from osteon.contract import Input, Output, Summary, describe
from osteon.params import ClassicalParams, TrainingParams

Films = Annotated[Path, Input("films")]
Model = Annotated[Path, Output("a model", "model")]


class Done(Summary):
    """Nothing."""


def whole(films: Films, model: Model, params: TrainingParams, classical: ClassicalParams) -> Done:
    """Learn from films.

    The rest is for who reads the code.
    """
    return Done()


def test_paths_and_sections_are_read_in_their_order() -> None:
    step = describe(whole)
    assert (step.name, step.help) == ("whole", "Learn from films.")
    assert step.inputs == {"films": Input("films", "data")}
    assert step.outputs == {"model": Output("a model", "model")}
    assert list(step.paths) == ["films", "model"]
    assert step.sections == {"params": TrainingParams, "classical": ClassicalParams}
    assert list(step.sections) == ["params", "classical"]
    assert step.params_kind is TrainingParams
    assert step.function is whole


def no_summary(films: Films, params: TrainingParams) -> None: ...
def no_return(films: Films, params: TrainingParams): ...  # type: ignore[no-untyped-def]
def other_first(films: Films, classical: ClassicalParams, params: TrainingParams) -> Done: ...  # type: ignore[empty-body]
def none_its_own(films: Films, training: TrainingParams) -> Done: ...  # type: ignore[empty-body]
def path_last(films: Films, params: TrainingParams, model: Model) -> Done: ...  # type: ignore[empty-body]
def path_between(params: TrainingParams, films: Films, classical: ClassicalParams) -> Done: ...  # type: ignore[empty-body]
def output_first(model: Model, films: Films, params: TrainingParams) -> Done: ...  # type: ignore[empty-body]
def plain_path(films: Path, params: TrainingParams) -> Done: ...  # type: ignore[empty-body]
def marked_text(films: Annotated[str, Input("films")], params: TrainingParams) -> Done: ...  # type: ignore[empty-body]
def other_mark(films: Annotated[Path, "films"], params: TrainingParams) -> Done: ...  # type: ignore[empty-body]
def number(films: Films, count: int, params: TrainingParams) -> Done: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_summary, "no_summary must return a Summary"),
        (no_return, "no_return must return a Summary"),
        (other_first, "other_first: its own section is called params and comes before classical"),
        (none_its_own, "none_its_own: its own section is called params and comes before training"),
        (path_last, "path_last: the parameters come last, not before model"),
        (path_between, "path_between: the parameters come last, not before films"),
        (output_first, "output_first: films is neither an Input, an Output nor a section of params.yaml"),
        (plain_path, "plain_path: films is neither an Input, an Output nor a section of params.yaml"),
        (marked_text, "marked_text: films is neither an Input, an Output nor a section of params.yaml"),
        (other_mark, "other_mark: films is neither an Input, an Output nor a section of params.yaml"),
        (number, "number: count is neither an Input, an Output nor a section of params.yaml"),
    ],
)
def test_a_signature_of_another_form_is_refused_by_name(function: Callable[..., Summary], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        describe(function)
    assert str(caught.value) == message


def test_a_summary_is_one_line_of_small_figures() -> None:
    class Found(Summary):
        films: int
        out_of_fold_auroc: float
        auroc: dict[str, float]
        by_region: dict[str, int]
        place: str

    result = Found(films=12_000, out_of_fold_auroc=0.876543, auroc={"a": 0.5, "b": 0.25}, by_region={}, place="here")
    assert result.line() == (
        "films 12,000 · out of fold auroc 0.8765 · auroc a 0.5, b 0.25 · by region none · place here"
    )
