"""A version in the registry for a model that was set anew."""

from pathlib import Path

from components.external_test.step import RecalibrationSummary
from components.promotion.registration import register_candidate
from osteon.contract import Summary
from osteon.models.package.package import read_info
from osteon.records.lineage import lineage_of_file
from osteon.records.registry import Registry


def register_recalibrated(package: Path, model: str, summary: Summary) -> str:
    """Make a version of a package that the step recalibrate wrote, and say on its page where it comes from; its number.

    Args:
        package: the folder.
        model: the address of the model that it was made from.
        summary: of the step.

    """
    registry = Registry.connect()
    version = register_candidate(registry, package, lineage_of_file(package), read_info(package))
    if isinstance(summary, RecalibrationSummary):
        text = f"Set anew on {summary.set_on} films of another folder, from {model}: {summary.why}"
        registry.describe(version, text)
    return version
