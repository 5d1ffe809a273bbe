"""params.yaml as types: every parameter of every step, with its unit and its bounds.

An unknown key, a wrong type or a value out of range stops before anything runs, with an error that names
the file, the key, the value and what is allowed.
"""

import difflib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from osteon.errors import OsteonError
from osteon.folding import class_word
from osteon.redaction import redact, redact_url

Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="seed of every random choice of this step")]
Cores = Annotated[int, Field(ge=0, description="worker threads; 0: one for each core")]


class Section(BaseModel):
    """One step's parameters: frozen, and closed to unknown keys."""

    # validate_default: a section left out of the file is checked like one that is there.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


def layout_names() -> tuple[str, ...]:
    """Names of the layouts, one for each file in osteon/films/layouts."""
    folder = Path(__file__).parent / "films" / "layouts"
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(folder)])))


class ClassNames(Section):
    """The words a set uses for its two classes; never guessed from their alphabetical order."""

    fractured: Annotated[list[str], Field(min_length=1, description="words that mean fractured")] = [
        "fractured",
        "fracture",
        "positive",
        "yes",
        "true",
        "1",
    ]
    not_fractured: Annotated[list[str], Field(min_length=1, description="words that mean not fractured")] = [
        "not fractured",
        "non fractured",
        "nonfractured",
        "no fracture",
        "normal",
        "negative",
        "no",
        "false",
        "0",
    ]

    @field_validator("fractured", "not_fractured", mode="before")
    @classmethod
    def _words(cls, words: object) -> object:
        """Numbers and true, false without quotes are the words that they look like."""
        if not isinstance(words, list):
            return words
        return [str(word) if isinstance(word, bool | int | float) else word for word in words]

    @model_validator(mode="after")
    def _apart(self) -> "ClassNames":
        both = {class_word(name) for name in self.fractured} & {class_word(name) for name in self.not_fractured}
        if both:
            raise ValueError(f"{sorted(both)} cannot mean both fractured and not fractured")
        return self


class Columns(Section):
    """Names of the columns in a table of labels."""

    film: Annotated[str, Field(description="file name, path, or SOPInstanceUID")] = "filename"
    label: Annotated[str, Field(description="column with yes or no")] = "fractured"
    fracture_type: Annotated[str, Field(description="column with the fracture type; optional")] = "fracture_type"
    region: Annotated[str, Field(description="column with the body region; optional")] = "region"
    view: Annotated[str, Field(description="column with the view; optional")] = "view"
    patient: Annotated[
        str, Field(description="column with the patient's id, in any table; empty: patient_id, PatientID, pat_id, …")
    ] = ""
    study: Annotated[
        str, Field(description="column with the study's id, in any table; empty: study_id, accession, exam_id, …")
    ] = ""


class DataParams(Section):
    """Where the films are and how they are laid out."""

    root: Annotated[str, Field(min_length=1, description="folder with the films")] = "data/phantoms"
    layout: Annotated[
        str, Field(description="how the folder arranges films and labels: a file name in osteon/films/layouts")
    ] = "manifest"
    classes: ClassNames = ClassNames()
    label_file: Annotated[str, Field(min_length=1, description="label file of the layout dicom")] = "labels.csv"
    label_unit: Annotated[
        Literal["film", "study"],
        Field(description="what a row of a label file labels: a film, or all films of a study, as a report does"),
    ] = "film"
    columns: Columns = Columns()
    empty_annotation: Annotated[
        Literal["negative", "doubt"],
        Field(description="layouts yolo, coco and voc: what a film is whose annotation has no box"),
    ] = "negative"
    missing_annotation: Annotated[
        Literal["negative", "doubt"],
        Field(description="layouts yolo, coco and voc: what a film is that has no annotation"),
    ] = "doubt"
    patient_pattern: Annotated[
        str,
        Field(
            description="regular expression on a film's path; its first group, or the group named patient, is the "
            "patient; empty: none"
        ),
    ] = ""
    cores: Cores = 0

    @field_validator("patient_pattern")
    @classmethod
    def _has_a_group(cls, pattern: str) -> str:
        if not pattern:
            return pattern
        try:
            groups = re.compile(pattern).groups
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"is no regular expression ({error})") from None
        if not groups:
            raise ValueError(
                "has no group: put brackets around the part of the path that names the patient, as in '(P[0-9]+)-'"
            )
        return pattern

    @field_validator("layout")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in layout_names():
            raise ValueError(f"must be one of {', '.join(layout_names())}")
        return name


class PhantomParams(Section):
    """The embedded data: radiograph-like films made from a seed."""

    films: Annotated[int, Field(ge=12, le=1_000_000, description="number of films, two views a study")] = 2400
    size: Annotated[int, Field(ge=64, le=2048, description="longer side of a film, pixels")] = 256
    fractured: Annotated[Share, Field(description="share of studies with a fracture")] = 0.4
    obvious: Annotated[
        Share, Field(description="share of the fractures that anybody sees; of the others many are hard to see")
    ] = 0.75
    seed: Seed = 20
    cores: Cores = 0


class ValidationParams(Section):
    """What a film must be to be trusted."""

    finding: Annotated[
        Literal["fractured", "abnormal"],
        Field(description="what label 1 must mean; a set with another finding is refused"),
    ] = "fractured"
    min_side: Annotated[int, Field(ge=1, description="shorter side of a film at least, pixels")] = 64
    max_megapixels: Annotated[float, Field(gt=0, le=1000, description="size of a film at most, million pixels")] = 80.0
    max_aspect: Annotated[float, Field(ge=1, description="longer side / shorter side at most")] = 6.0
    min_contrast: Annotated[
        float,
        Field(
            ge=0,
            lt=256,
            description="grey levels of 256 between percentiles 1 and 99 at least; with fewer the film is blank",
        ),
    ] = 10.0
    max_chroma: Annotated[
        float, Field(ge=0, le=255, description="colour left after an even tint is removed, at most, grey levels of 256")
    ] = 12.0
    max_quarantined: Annotated[Share, Field(description="a larger share of films in quarantine stops the run")] = 0.1
    min_positive: Annotated[Share, Field(description="share of positive films at least")] = 0.02
    max_positive: Annotated[Share, Field(description="share of positive films at most")] = 0.98
    max_shortcut: Annotated[
        float,
        Field(
            ge=0.5,
            le=1,
            description="AUROC of attributes other than bone; if its whole interval lies above, every report warns",
        ),
    ] = 0.6
    seed: Seed = 20
    cores: Cores = 0


class PreparationParams(Section):
    """Groups, split and the pixel array."""

    image_size: Annotated[int, Field(ge=32, le=1024, multiple_of=32, description="side of a prepared film, pixels")] = (
        128
    )
    test_share: Annotated[float, Field(gt=0, le=0.5, description="share of films that become test films")] = 0.2
    folds: Annotated[int, Field(ge=2, le=20, description="number of folds of the development films")] = 3
    seed: Seed = 20
    cores: Cores = 0


class AugmentationParams(Section):
    """Random changes that keep a film's label. Ranges are ± around no change, drawn evenly."""

    copies: Annotated[int, Field(ge=0, le=100, description="varied copies of each film of the commoner class")] = 0
    copies_rarer: Annotated[int, Field(ge=0, le=100, description="varied copies of each film of the rarer class")] = 0
    online: Annotated[bool, Field(description="vary every film again each time training uses it")] = True
    rotation: Annotated[float, Field(ge=0, le=180, description="± degrees")] = 10.0
    scale: Annotated[float, Field(ge=0, lt=0.9, description="± share of the size")] = 0.1
    shift: Annotated[float, Field(ge=0, lt=0.5, description="± share of the side")] = 0.05
    shear: Annotated[float, Field(ge=0, le=45, description="± degrees")] = 4.0
    mirror: Annotated[bool, Field(description="mirror left and right, half of the time")] = True
    gamma: Annotated[float, Field(ge=0, lt=0.9, description="± on the exponent of the grey levels, around 1")] = 0.15
    gain: Annotated[float, Field(ge=0, lt=0.9, description="± share of the contrast")] = 0.15
    noise: Annotated[
        float, Field(ge=0, le=64, description="standard deviation of the noise at most, grey levels of 256")
    ] = 3.0
    seed: Seed = 20
    cores: Cores = 0


class FeatureParams(Section):
    """The features of the classical models."""

    image_size: Annotated[
        int, Field(ge=32, le=512, multiple_of=16, description="films are resized to this side first, pixels")
    ] = 128
    cores: Cores = 0


IMAGENET = "imagenet"  # of training.weights
NetworkName = Literal[
    "compact",
    "plain",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "resnet18",
    "resnet34",
    "vgg",
    "resnet50",
    "densenet121",
    "efficientnetv2b0",
    "mobilenetv3",
]
ClassicalName = Literal["svm", "random_forest", "k_nearest", "logistic_regression"]


class TrainingParams(Section):
    """A network and its training."""

    network: Annotated[NetworkName, Field(description="one of the networks of docs/training.md")] = "compact"
    width: Annotated[int, Field(ge=8, le=128, multiple_of=8, description="channels of the first block of compact")] = 8
    dropout: Annotated[float, Field(ge=0, lt=1, description="share of features dropped before the last layer")] = 0.2
    weights: Annotated[
        str,
        Field(
            description="starting weights: imagenet, or a file (.weights.h5, .h5 or .keras); empty: none. imagenet: "
            "from a package (extra 'weights') for efficientnet_lite0 to 2, as Keras publishes them for the others"
        ),
    ] = ""
    head_epochs: Annotated[
        int,
        Field(
            ge=0, description="with starting weights: epochs in which only the heads are trained, before all layers are"
        ),
    ] = 2
    fine_tuning: Annotated[
        float,
        Field(gt=0, le=1, description="with starting weights: share of learning_rate when all layers are trained"),
    ] = 0.2
    frozen_stages: Annotated[
        int,
        Field(
            ge=0,
            le=5,
            description="with starting weights: the first stages of the body that are not trained; a stage is all "
            "layers of one resolution; 5: the whole body",
        ),
    ] = 0
    frozen_statistics: Annotated[
        bool,
        Field(
            description="with starting weights: batch normalisation goes by the averages that come with them, and "
            "leaves these as they are"
        ),
    ] = False
    layer_decay: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="each stage of the body is trained at this share of the rate of the one behind it, the last "
            "at this share of the heads'; 1: all at one rate",
        ),
    ] = 1.0
    task: Annotated[
        Literal["fracture", "fracture_type"], Field(description="fracture_type: predict the type of fracture too")
    ] = "fracture"
    type_weight: Annotated[float, Field(ge=0, description="weight of the type's loss beside the finding's")] = 0.5
    map_weight: Annotated[
        float, Field(ge=0, description="weight of the map's loss (boxes) beside the finding's; 0 ignores boxes")
    ] = 1.0
    epochs: Annotated[int, Field(ge=1, le=10_000, description="epochs at most")] = 24
    patience: Annotated[
        int,
        Field(
            ge=0, description="stop after so many epochs without a better AUROC on validation films; 0: run all epochs"
        ),
    ] = 0
    stopping_share: Annotated[
        float,
        Field(gt=0, lt=0.5, description="with patience: share of the training films that become validation films"),
    ] = 0.125
    batch_size: Annotated[
        int, Field(ge=2, le=4096, multiple_of=2, description="films in a batch; half of them are positive")
    ] = 32
    learning_rate: Annotated[float, Field(gt=0, le=1, description="highest learning rate of AdamW")] = 8e-3
    weight_decay: Annotated[float, Field(ge=0, le=1, description="weight decay of AdamW")] = 0.05
    warmup_epochs: Annotated[float, Field(ge=0, description="epochs until the highest learning rate is reached")] = 2.0
    label_smoothing: Annotated[
        float, Field(ge=0, lt=0.5, description="share of certainty that is taken off the labels")
    ] = 0.05
    focal: Annotated[
        float,
        Field(
            ge=0,
            le=5,
            description="exponent of the finding's focal loss: the larger, the less a film counts that is answered "
            "well already; 0: cross-entropy",
        ),
    ] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1, description="momentum of the averaged weights; 0: no averaging")] = 0.98
    precision: Annotated[
        Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"],
        Field(description="auto: time float32 and mixed_bfloat16 for a few steps and take the faster"),
    ] = "float32"
    seed: Seed = 20

    @model_validator(mode="after")
    def _something_to_keep(self) -> "TrainingParams":
        if not self.weights and (self.frozen_stages or self.frozen_statistics):
            key = "frozen_stages" if self.frozen_stages else "frozen_statistics"
            raise ValueError(f"{key} keeps what starting weights know; set weights too, or leave {key} out")
        return self


class PackageParams(Section):
    """What is packaged, of all that was cross-validated."""

    model: Annotated[
        Literal["network", "svm", "random_forest", "k_nearest", "logistic_regression", "soft_vote"],
        Field(description="soft_vote: the mean of the probabilities of the network and the classical models"),
    ] = "network"
    final: Annotated[
        Literal["all_films", "ensemble"],
        Field(description="all_films: one network trained on all development films; ensemble: the mean of the folds'"),
    ] = "all_films"


class SvmParams(Section):
    """A support vector machine with a radial kernel."""

    c: Annotated[float, Field(gt=0, description="cost of a film on the wrong side")] = 1.0
    gamma: Annotated[float, Field(gt=0, description="of the kernel, times 1 / (components × variance)")] = 1.0


class RandomForestParams(Section):
    """A forest of decision trees."""

    trees: Annotated[int, Field(ge=1, le=10_000, description="number of trees")] = 100
    min_leaf: Annotated[int, Field(ge=1, description="films in a leaf at least")] = 3


class KNearestParams(Section):
    """The nearest films' labels."""

    neighbours: Annotated[int, Field(ge=1, description="number of nearest films that vote, weighted by nearness")] = 25


class LogisticRegressionParams(Section):
    """Logistic regression with a quadratic penalty."""

    c: Annotated[float, Field(gt=0, description="inverse of the penalty")] = 0.01


class ClassicalParams(Section):
    """The classical models: PCA of the features, then one of four."""

    components: Annotated[int, Field(ge=2, le=2048, description="components of the PCA of the features")] = 64
    svm: Annotated[SvmParams, Field(description="keys of the support vector machine")] = SvmParams()
    random_forest: Annotated[RandomForestParams, Field(description="keys of the forest")] = RandomForestParams()
    k_nearest: Annotated[KNearestParams, Field(description="key of the nearest neighbours")] = KNearestParams()
    logistic_regression: Annotated[LogisticRegressionParams, Field(description="key of logistic regression")] = (
        LogisticRegressionParams()
    )
    max_films: Annotated[
        int,
        Field(
            ge=100,
            description="training films and copies at most, drawn at random from more; an SVM's time is quadratic",
        ),
    ] = 20_000
    seed: Seed = 20
    cores: Cores = 0


class Range(Section):
    """Values between two, both included."""

    low: Annotated[float, Field(description="lowest value")]
    high: Annotated[float, Field(description="highest value")]
    log: Annotated[bool, Field(description="as many values between 0.1 and 1 as between 1 and 10")] = False

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low must be less than high, and above 0 where log is true")
        return self


Choice = Annotated[list[bool | int | float | str], Field(min_length=1)]
Space = dict[str, Range | Choice]


def step_of(section: type[Section], key: str) -> int:
    """What the values of a whole-numbered key are multiples of."""
    steps = (getattr(bound, "multiple_of", None) for bound in section.model_fields[key].metadata)
    return int(next((step for step in steps if step), 1))


_SEARCHED: dict[str, type[Section]] = {
    "training": TrainingParams,
    "augmentation": AugmentationParams,
    "svm": SvmParams,
    "random_forest": RandomForestParams,
    "k_nearest": KNearestParams,
    "logistic_regression": LogisticRegressionParams,
}
# These say how to measure, or are used before the search begins.
_NOT_SEARCHED: dict[str, tuple[str, ...]] = {
    "training": ("task", "epochs", "patience", "stopping_share", "precision", "seed"),
    "augmentation": ("copies", "copies_rarer", "seed", "cores"),
}


class SearchSpace(Section):
    """What is searched: keys of other sections, each with a range or a list of values."""

    training: Annotated[Space, Field(description="keys of training")] = {
        "learning_rate": Range(low=2e-3, high=2e-2, log=True),
        "weight_decay": Range(low=1e-3, high=0.3, log=True),
        "map_weight": Range(low=0.3, high=3.0, log=True),
    }
    augmentation: Annotated[Space, Field(description="keys of augmentation, for the online augmentation")] = {
        "rotation": Range(low=0.0, high=20.0),
        "gamma": Range(low=0.0, high=0.4),
    }
    svm: Annotated[Space, Field(description="keys of classical.svm")] = {
        "c": Range(low=0.1, high=30.0, log=True),
        "gamma": Range(low=0.1, high=10.0, log=True),
    }
    random_forest: Annotated[Space, Field(description="keys of classical.random_forest")] = {
        "min_leaf": Range(low=1, high=10)
    }
    k_nearest: Annotated[Space, Field(description="keys of classical.k_nearest")] = {
        "neighbours": Range(low=3, high=60, log=True)
    }
    logistic_regression: Annotated[Space, Field(description="keys of classical.logistic_regression")] = {
        "c": Range(low=1e-4, high=1.0, log=True)
    }

    @model_validator(mode="after")
    def _possible(self) -> "SearchSpace":
        for name, section in _SEARCHED.items():
            known = [key for key in section.model_fields if key not in _NOT_SEARCHED.get(name, ())]
            for key, values in getattr(self, name).items():
                if key not in known:
                    raise ValueError(f"{name}.{key}: no key that can be searched; those are {', '.join(known)}")
                _check_values(f"{name}.{key}", section, key, values)
        return self


def _check_values(name: str, section: type[Section], key: str, values: "Range | Choice") -> None:
    ends: list[Any] = [values.low, values.high] if isinstance(values, Range) else list(values)
    if isinstance(values, Range) and section.model_fields[key].annotation is int:
        if not all(end.is_integer() for end in (values.low, values.high)):
            raise ValueError(f"{name}: low and high must be whole numbers")
        if values.log and step_of(section, key) > 1:
            raise ValueError(f"{name}: multiples of {step_of(section, key)} cannot be drawn by log; give a list")
        ends = [int(values.low), int(values.high)]
    for value in ends:
        try:
            section.model_validate({key: value})
        except ValidationError as error:
            raise ValueError(f"{name} = {value!r}: {error.errors()[0]['msg']}") from None


class SearchParams(Section):
    """How the search looks for better hyperparameters."""

    trials: Annotated[
        int, Field(ge=0, description="trials of the network; 0: no search, use the values of this file")
    ] = 2
    classical_trials: Annotated[
        int, Field(ge=0, description="trials of each classical model; 0: no search, use the values of this file")
    ] = 2
    folds: Annotated[
        int, Field(ge=1, le=20, description="folds on which a network's trial is measured, unless it is pruned")
    ] = 1
    epochs: Annotated[
        int, Field(ge=0, description="epochs of a network's trial on each fold; 0: as many as training.epochs")
    ] = 4
    storage: Annotated[
        str,
        Field(
            description="SQLAlchemy URL of a PostgreSQL or MySQL database in which several workers share the study; "
            "empty: a file of this process (SQLite cannot be shared)"
        ),
    ] = ""
    study: Annotated[str, Field(min_length=1, description="name of the study in the database")] = "osteon"
    space: Annotated[SearchSpace, Field(description="keys and values to try")] = SearchSpace()
    seed: Seed = 20


class CrossValidationParams(Section):
    """Which models are compared on the same folds."""

    models: Annotated[
        list[ClassicalName],
        Field(description="classical models to compare with the network; they are in the soft vote too"),
    ] = ["svm", "random_forest", "k_nearest", "logistic_regression"]
    confidence: Annotated[float, Field(gt=0.5, lt=1, description="confidence of every interval")] = 0.95
    at_once: Annotated[
        int,
        Field(
            ge=0,
            description="folds computed side by side; 0: one on a GPU, else as many as cores and memory allow",
        ),
    ] = 0


class CertaintyParams(Section):
    """Calibration, operating points and the out-of-distribution limit, from held-out films."""

    calibration: Annotated[
        Literal["auto", "temperature", "isotonic", "none"],
        Field(description="auto: temperature or isotonic, the better by log loss"),
    ] = "auto"
    sensitivity: Annotated[
        float, Field(gt=0.5, lt=1, description="target of rule-out: below this point the answer is not fractured")
    ] = 0.95
    specificity: Annotated[
        float, Field(gt=0.5, lt=1, description="target of rule-in: from this point on the answer is fractured")
    ] = 0.95
    confidence: Annotated[
        float, Field(gt=0.5, lt=1, description="confidence with which each point keeps its target")
    ] = 0.9
    in_distribution_quantile: Annotated[
        float,
        Field(
            gt=0.5,
            lt=1,
            description="share of held-out development films below the out-of-distribution limit",
        ),
    ] = 0.985


class EvaluationParams(Section):
    """The figures and their intervals."""

    confidence: Annotated[float, Field(gt=0.5, lt=1, description="confidence of every interval")] = 0.95
    resamples: Annotated[int, Field(ge=100, le=100_000, description="bootstrap resamples of groups")] = 2000
    fusion: Annotated[
        Literal["max", "mean", "noisy_or"], Field(description="how a study's probability comes from those of its films")
    ] = "max"
    seed: Seed = 20


class StepResources(Section):
    """A step's resources on a cluster."""

    cpu: Annotated[float, Field(gt=0, le=1024, description="cores")] = 2.0
    memory: Annotated[str, Field(pattern=r"^[1-9][0-9]*(M|G|Mi|Gi)$", description="such as 4G")] = "4G"
    gpu: Annotated[int, Field(ge=0, le=64, description="GPUs; with more than 0 the step runs on a GPU node")] = 0
    hours: Annotated[float, Field(gt=0, le=10_000, description="the step is stopped after this time")] = 4.0


class GpuNodes(Section):
    """Which nodes have GPUs."""

    kind: Annotated[str, Field(min_length=1, description="resource name of their GPUs")] = "nvidia.com/gpu"
    selector: Annotated[dict[str, str], Field(description="labels that a GPU node must have")] = {}
    tolerations: Annotated[list[str], Field(description="keys of taints on these nodes that the steps tolerate")] = [
        "nvidia.com/gpu"
    ]


class ResourceParams(Section):
    """The steps' resources on Kubeflow; on one machine they use what it has."""

    finding: StepResources = StepResources(cpu=1.0, memory="2G", hours=0.5)
    ingestion: StepResources = StepResources()
    validation: StepResources = StepResources()
    preparation: StepResources = StepResources(cpu=4.0, hours=12.0)
    augmentation: StepResources = StepResources(cpu=4.0)
    features: StepResources = StepResources(cpu=4.0)
    search: StepResources = StepResources(cpu=4.0, memory="8G", gpu=1, hours=24.0)
    cross_validation: StepResources = StepResources(cpu=4.0, memory="8G", gpu=1, hours=24.0)
    training: StepResources = StepResources(cpu=4.0, memory="8G", gpu=1, hours=24.0)
    evaluation: StepResources = StepResources(cpu=4.0)
    promotion: StepResources = StepResources()
    gpu_nodes: GpuNodes = GpuNodes()
    shared_memory: Annotated[str, Field(pattern=r"^[1-9][0-9]*(M|G|Mi|Gi)$", description="shared memory of a step")] = (
        "1G"
    )
    search_workers: Annotated[
        int, Field(ge=1, le=1000, description="workers of one search, side by side; more than one need search.storage")
    ] = 1
    folds_at_once: Annotated[int, Field(ge=0, le=100, description="folds side by side; 0: all")] = 0
    retries: Annotated[int, Field(ge=0, le=10, description="retries of a step that reads films or the registry")] = 3
    secret: Annotated[
        str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", description="Kubernetes secret with addresses and keys")
    ] = "osteon"  # noqa: S105 – its name


class RetrainingParams(Section):
    """Reasons to train again, besides new films."""

    max_age_days: Annotated[float, Field(gt=0, description="age of the model in use at most, days")] = 90.0
    max_drift: Annotated[
        float, Field(ge=0, le=1, description="share of drifted figures in a drift report that is tolerated")
    ] = 0.3


class Params(Section):
    """The whole of params.yaml."""

    data: DataParams = DataParams()
    phantoms: PhantomParams = PhantomParams()
    validation: ValidationParams = ValidationParams()
    preparation: PreparationParams = PreparationParams()
    augmentation: AugmentationParams = AugmentationParams()
    features: FeatureParams = FeatureParams()
    search: SearchParams = SearchParams()
    cross_validation: CrossValidationParams = CrossValidationParams()
    training: TrainingParams = TrainingParams()
    classical: ClassicalParams = ClassicalParams()
    package: PackageParams = PackageParams()
    certainty: CertaintyParams = CertaintyParams()
    evaluation: EvaluationParams = EvaluationParams()
    resources: ResourceParams = ResourceParams()
    retraining: RetrainingParams = RetrainingParams()


def load_params(path: Path) -> Params:
    """Read and check a parameter file.

    Raises:
        OsteonError: as read_section.

    """
    return read_section(path, Params)


S = TypeVar("S", bound=Section)


def read_section(path: Path, kind: type[S]) -> S:
    """Read and check a YAML file.

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
    return checked(content, kind, str(path))


# A quotation mark takes eight characters in what Kubeflow keeps of a run, text in a text in a text; an apostrophe one.
_SWAPPED = str.maketrans({'"': "'", "'": '"'})


def one_line(content: dict[str, Any]) -> str:
    """Keys and values as one line: JSON whose quotation marks and apostrophes have changed places."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).translate(_SWAPPED)


def read_one_line(text: str, source: str) -> dict[str, Any]:
    """What one_line wrote, or JSON.

    Raises:
        OsteonError: it is neither; it names the source.

    """
    is_json = text.lstrip()[1:].lstrip().startswith('"')
    try:
        content = json.loads(text if is_json else text.translate(_SWAPPED))
    except ValueError as error:
        raise OsteonError(f"{source}: no JSON ({error})") from None
    if not isinstance(content, dict):
        raise OsteonError(f"{source}: must hold keys and values")
    return content


def checked(content: dict[str, Any], kind: type[S], source: str) -> S:
    """A section made from what was read from anywhere.

    Args:
        content: its keys and values.
        kind: of section.
        source: where they come from, as the errors name it.

    Raises:
        OsteonError: a key or value that is not allowed; as read_section.

    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise OsteonError("\n".join(f"{source}: {fault}" for fault in _faults(error, kind))) from None


def _faults(error: ValidationError, kind: type[BaseModel]) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            allowed = _keys_beside(fault["loc"], kind)
            near = difflib.get_close_matches(str(fault["loc"][-1]), allowed, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            yield f"{key}: unknown key{hint}; allowed: {', '.join(allowed)}"
        elif fault["type"] == "missing":
            yield f"{key} is missing"
        elif key:
            message = fault["msg"].removeprefix("Value error, ")
            yield f"{key} = {fault['input']!r}: {message[0].lower()}{message[1:]}"
        else:
            yield fault["msg"].removeprefix("Value error, ")


def _keys_beside(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
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
    """A section as flat 'key.subkey' → value, the form MLflow's page shows; redacted.

    Keys that stand in the file alone (those of a search space) stay together, as JSON.
    """
    flat: dict[str, Any] = {}
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, dict):
            flat[f"{prefix}{key}"] = json.dumps(redact(value), default=dict)
        else:
            flat[f"{prefix}{key}"] = redact_url(value) if isinstance(value, str) else redact(value)
    return flat
