"""What a model must show before it is used: mlflow/promotion.yaml as types."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from osteon.params import Section, Seed, Share, read_section

Mode = Literal["off", "dry_run", "enforce"]


class NonInferiority(Section):
    """Against the model in use."""

    margin: Annotated[float, Field(ge=0, le=0.5, description="AUROC may be lower by less than this")]
    films: Annotated[int, Field(ge=10, description="test films that neither was trained on, at least")]


class Subgroups(Section):
    """In every region, view, … of the report."""

    sensitivity: Annotated[Share, Field(description="at the threshold, at least")]
    positive: Annotated[int, Field(ge=1, description="positive films without which a subgroup is not judged")]


class ExternalTests(Section):
    """Of tests on other people's films, by `osteon test`."""

    required: Annotated[bool, Field(description="without such a test the candidate is refused")] = False
    films: Annotated[int, Field(ge=2, description="a test on fewer films is none")] = 100
    auroc: Annotated[Share, Field(description="floor under the lower end of its interval, in every test")] = 0.7
    sensitivity: Annotated[Share, Field(description="floor under the lower end, at the point 'rule out'")] = 0.8
    refused: Annotated[Share, Field(description="share of films taken for something else, at most")] = 0.3


class Policy(Section):
    """Every rule; none that can be left out has a default, so that none is forgotten.

    unknown_patients and external have one: a file of before these keys still means what it says.
    """

    mode: Annotated[Mode, Field(description="off, dry_run (judged, nothing changed) or enforce")]
    confidence: Annotated[float, Field(gt=0.5, lt=1, description="of every interval")]
    resamples: Annotated[int, Field(ge=100, le=100_000, description="of groups")]
    seed: Seed
    auroc: Annotated[Share, Field(description="floor under the lower end of its interval")]
    sensitivity: Annotated[Share, Field(description="floor under the lower end, at the point 'rule out'")]
    non_inferiority: NonInferiority
    subgroups: Subgroups
    calibration: Annotated[Share, Field(description="expected calibration error at most")]
    robustness: Annotated[Share, Field(description="share of answers that a small change flips, at most")]
    refused: Annotated[Share, Field(description="share of test films taken for something else, at most")]
    external: ExternalTests = ExternalTests()
    latency: Annotated[float, Field(gt=0, description="milliseconds for one film, median, at most")]
    lineage: Annotated[bool, Field(description="every run and the data's hash must be known")]
    clean: Annotated[bool, Field(description="made with the code of a commit")]
    leaks: Annotated[bool, Field(description="copies were searched for, no group in test and development films")]
    unknown_patients: Annotated[
        Literal["refused", "allowed"],
        Field(description="of the rule leaks: whether films may be in it whose patient is unknown"),
    ] = "refused"
    parity: Annotated[bool, Field(description="exported networks say what the trained ones say")]


def read_policy(path: Path) -> Policy:
    """Read and check a policy.

    Raises:
        OsteonError: missing, no YAML, a rule that is misspelt, missing or out of bounds; the text names it.

    """
    return read_section(path, Policy)
