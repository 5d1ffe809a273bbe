"""The steps, in the order a film meets them: those that are stages of dvc.yaml, and promote, which a person starts."""

from collections.abc import Callable

from components.augmentation.step import augment
from components.cross_validation.step import cross_validate
from components.evaluation.step import evaluate
from components.features.step import features
from components.ingestion.step import ingest
from components.phantoms.step import phantoms
from components.preparation.step import prepare
from components.promotion.step import promote
from components.search.step import search
from components.training.step import train
from components.validation.step import validate
from osteon.contract import Step, Summary, describe

FUNCTIONS: tuple[Callable[..., Summary], ...] = (
    phantoms,
    ingest,
    validate,
    prepare,
    augment,
    features,
    search,
    cross_validate,
    train,
    evaluate,
)
STEPS: dict[str, Step] = {function.__name__: describe(function) for function in FUNCTIONS}
PROMOTE: Step = describe(promote)
