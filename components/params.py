"""params.yaml as types: every knob of every step, with its unit and its bounds.

An unknown key, a wrong type or a value out of range stops before anything runs, with an error that names
the file, the key, the value and what is allowed.
"""

import difflib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from components.errors import OsteonError

Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="seed of every random choice in this step")]
Cores = Annotated[int, Field(ge=0, description="worker threads; 0 takes one for each core")]


class Section(BaseModel):
    """One step's parameters: unchangeable, and closed to keys nobody reads."""

    # validate_default: a section left out of the file is checked like one that is there.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


def layout_names() -> tuple[str, ...]:
    """Names of the layouts, one for each file in components/films/layouts."""
    folder = Path(__file__).parent / "films" / "layouts"
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(folder)])))


class ClassNames(Section):
    """The words a set uses for its two classes; never guessed from their alphabetical order."""

    fractured: Annotated[list[str], Field(min_length=1, description="words that mean fractured")] = [
        "fractured",
        "fracture",
        "yes",
        "1",
    ]
    not_fractured: Annotated[list[str], Field(min_length=1, description="words that mean not fractured")] = [
        "not fractured",
        "not_fractured",
        "normal",
        "no",
        "0",
    ]

    @model_validator(mode="after")
    def _apart(self) -> "ClassNames":
        both = {name.casefold() for name in self.fractured} & {name.casefold() for name in self.not_fractured}
        if both:
            raise ValueError(f"{sorted(both)} cannot mean both fractured and not fractured")
        return self


class Columns(Section):
    """Names of the columns in a label file (layouts annotations and dicom)."""

    film: Annotated[str, Field(description="file name, path, or SOPInstanceUID")] = "filename"
    label: Annotated[str, Field(description="the yes/no column")] = "fractured"
    fracture_type: Annotated[str, Field(description="column with the type; may be absent from the file")] = (
        "fracture_type"
    )
    region: Annotated[str, Field(description="column with the body region; may be absent")] = "region"
    view: Annotated[str, Field(description="column with the view; may be absent")] = "view"


class DataParams(Section):
    """Where the films are and how they are laid out."""

    root: Annotated[str, Field(min_length=1, description="folder with the films")] = "data/phantoms"
    layout: Annotated[str, Field(description="how the folder is laid out; one of components/films/layouts")] = (
        "manifest"
    )
    classes: ClassNames = ClassNames()
    label_file: Annotated[str, Field(min_length=1, description="label file of the layout dicom")] = "labels.csv"
    columns: Columns = Columns()
    cores: Cores = 0

    @field_validator("layout")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in layout_names():
            raise ValueError(f"must be one of {', '.join(layout_names())}")
        return name


class PhantomParams(Section):
    """The embedded data: radiograph-like films made from a seed."""

    films: Annotated[int, Field(ge=12, le=1_000_000, description="number of films, two views a study")] = 600
    size: Annotated[int, Field(ge=64, le=2048, description="longer side of a film, pixels")] = 256
    fractured: Annotated[Share, Field(description="share of studies with a fracture")] = 0.4
    seed: Seed = 20
    cores: Cores = 0


class ValidationParams(Section):
    """What a film must be to be trusted."""

    finding: Annotated[
        Literal["fractured", "abnormal"],
        Field(description="what label 1 must mean; a set labelled for another finding is refused"),
    ] = "fractured"
    min_side: Annotated[int, Field(ge=1, description="shorter side at least, pixels")] = 64
    max_megapixels: Annotated[float, Field(gt=0, le=1000, description="no film larger, million pixels")] = 80.0
    max_aspect: Annotated[float, Field(ge=1, description="longer side / shorter side at most")] = 6.0
    min_contrast: Annotated[
        float,
        Field(ge=0, lt=256, description="grey levels of 256 between percentile 1 and 99; less is blank"),
    ] = 10.0
    max_chroma: Annotated[
        float, Field(ge=0, le=255, description="colour left after removing an even tint, grey levels of 256")
    ] = 12.0
    max_quarantined: Annotated[Share, Field(description="share of films in quarantine that stops the run")] = 0.1
    min_positive: Annotated[Share, Field(description="share of positive films at least")] = 0.02
    max_positive: Annotated[Share, Field(description="share of positive films at most")] = 0.98
    max_shortcut: Annotated[
        float,
        Field(
            ge=0.5,
            le=1,
            description="AUROC of attributes without bone; where its interval lies above, every report warns",
        ),
    ] = 0.6
    seed: Seed = 20
    cores: Cores = 0


class PreparationParams(Section):
    """Groups, split and the pixel array."""

    image_size: Annotated[int, Field(ge=32, le=1024, multiple_of=32, description="side of a film, pixels")] = 192
    test_share: Annotated[float, Field(gt=0, le=0.5, description="share of films in the test set")] = 0.2
    folds: Annotated[int, Field(ge=2, le=20, description="folds of the development films")] = 5
    seed: Seed = 20
    cores: Cores = 0


class AugmentationParams(Section):
    """How a film may be varied and stay the same film. Ranges are ± around no change, drawn evenly."""

    copies: Annotated[int, Field(ge=0, le=100, description="copies of a film of the commoner class")] = 0
    copies_rarer: Annotated[int, Field(ge=0, le=100, description="copies of a film of the rarer class")] = 1
    online: Annotated[bool, Field(description="vary every film anew each time the training sees it")] = True
    rotation: Annotated[float, Field(ge=0, le=180, description="± degrees")] = 10.0
    scale: Annotated[float, Field(ge=0, lt=0.9, description="± share of the size")] = 0.1
    shift: Annotated[float, Field(ge=0, lt=0.5, description="± share of the side")] = 0.05
    shear: Annotated[float, Field(ge=0, le=45, description="± degrees")] = 4.0
    mirror: Annotated[bool, Field(description="left–right mirror image, half of the time")] = True
    gamma: Annotated[float, Field(ge=0, lt=0.9, description="± on the exponent, around 1")] = 0.15
    gain: Annotated[float, Field(ge=0, lt=0.9, description="± share of the contrast")] = 0.15
    noise: Annotated[float, Field(ge=0, le=64, description="standard deviation at most, grey levels of 256")] = 3.0
    seed: Seed = 20
    cores: Cores = 0


class TrainingParams(Section):
    """The network and how it learns."""

    network: Annotated[Literal["compact"], Field(description="a name in components/models/networks.py")] = "compact"
    width: Annotated[int, Field(ge=8, le=128, multiple_of=8, description="channels of the first block")] = 16
    dropout: Annotated[float, Field(ge=0, lt=1, description="share dropped before the last layer")] = 0.2
    map_weight: Annotated[
        float, Field(ge=0, description="how much where the boxes are counts beside whether; 0 ignores boxes")
    ] = 1.0
    epochs: Annotated[int, Field(ge=1, le=10_000, description="at most")] = 50
    patience: Annotated[int, Field(ge=1, description="epochs without a better AUROC before it stops")] = 25
    batch_size: Annotated[int, Field(ge=2, le=4096, multiple_of=2, description="half of it is positive")] = 16
    learning_rate: Annotated[float, Field(gt=0, le=1, description="highest rate of AdamW")] = 2e-3
    weight_decay: Annotated[float, Field(ge=0, le=1, description="of AdamW")] = 0.05
    warmup_epochs: Annotated[float, Field(ge=0, description="epochs until the highest rate is reached")] = 2.0
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5, description="share of certainty taken off the labels")] = 0.05
    ema: Annotated[float, Field(ge=0, lt=1, description="momentum of the averaged weights; 0 averages none")] = 0.98
    precision: Annotated[
        Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"],
        Field(description="auto tries float32 and mixed_bfloat16 for a few steps and takes the faster"),
    ] = "auto"
    validation_fold: Annotated[int, Field(ge=0, description="fold that early stopping looks at")] = 0
    seed: Seed = 20


class EvaluationParams(Section):
    """How sure the figures must be."""

    confidence: Annotated[float, Field(gt=0.5, lt=1, description="of every interval")] = 0.95
    resamples: Annotated[int, Field(ge=100, le=100_000, description="bootstrap resamples of groups")] = 2000
    seed: Seed = 20


class Params(Section):
    """The whole of params.yaml."""

    data: DataParams = DataParams()
    phantoms: PhantomParams = PhantomParams()
    validation: ValidationParams = ValidationParams()
    preparation: PreparationParams = PreparationParams()
    augmentation: AugmentationParams = AugmentationParams()
    training: TrainingParams = TrainingParams()
    evaluation: EvaluationParams = EvaluationParams()

    @model_validator(mode="after")
    def _fold_exists(self) -> "Params":
        if self.training.validation_fold >= self.preparation.folds:
            raise ValueError(
                f"training.validation_fold is {self.training.validation_fold}, but preparation.folds makes only "
                f"folds 0 to {self.preparation.folds - 1}"
            )
        return self


def load_params(path: Path) -> Params:
    """Read and check a parameter file.

    Raises:
        OsteonError: the file is missing, is no YAML, or holds a key or value that is not allowed; the text
            names file, key, value and what is allowed, one line a fault.

    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    try:
        # DVC reads the same file with the same reader, so both see the same values.
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OsteonError(f"{path}: no such file; run in the project's folder or name it with --params") from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise OsteonError(f"{path}{line}: not valid YAML: {error.problem}") from None
    if not isinstance(content, dict):
        raise OsteonError(f"{path}: must hold sections with keys (data:, training:, …)")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise OsteonError("\n".join(f"{path}: {fault}" for fault in _faults(error))) from None


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            allowed = _keys_beside(fault["loc"])
            near = difflib.get_close_matches(str(fault["loc"][-1]), allowed, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            yield f"{key}: unknown key{hint}; allowed: {', '.join(allowed)}"
        elif key:
            message = fault["msg"].removeprefix("Value error, ")
            yield f"{key} = {fault['input']!r}: {message[0].lower()}{message[1:]}"
        else:
            yield fault["msg"].removeprefix("Value error, ")


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Params
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return list(model.model_fields)


def section_of(params: Params, kind: type[Section]) -> tuple[str, Section]:
    """Name and content of the section that has the given type."""
    for name in Params.model_fields:
        section = getattr(params, name)
        if type(section) is kind:
            return name, section
    raise TypeError(f"{kind.__name__} is no section of params.yaml")


def describe_keys(kind: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """What each key of a section means, by the same flat names as flatten gives."""
    flat: dict[str, str] = {}
    for key, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            flat |= describe_keys(field.annotation, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = field.description or ""
    return flat


def flatten(section: BaseModel, prefix: str = "") -> dict[str, Any]:
    """A section as flat 'key.subkey' → value, the form MLflow's page shows."""
    flat: dict[str, Any] = {}
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
