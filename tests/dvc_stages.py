"""What dvc.yaml says of a stage."""

from typing import Any


def outs_of(stage: dict[str, Any]) -> list[str]:
    """The paths of a stage's outputs; one with flags of its own (`persist`) is a mapping there."""
    return [out if isinstance(out, str) else next(iter(out)) for out in stage["outs"]]
