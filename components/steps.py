"""The steps, in the order a film meets them."""

from components.augmentation.step import augment
from components.contract import describe
from components.evaluation.step import evaluate
from components.ingestion.step import ingest
from components.phantoms.step import phantoms
from components.preparation.step import prepare
from components.training.step import train
from components.validation.step import validate

STEPS = {step.name: step for step in map(describe, (phantoms, ingest, validate, prepare, augment, train, evaluate))}
