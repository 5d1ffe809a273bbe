"""The command `osteon` in a process of its own, as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What a person or a CI may have set, and what changes what is printed.
UNSET = ("OSTEON_DEBUG", "FORCE_COLOR", "GITHUB_ACTIONS")


def python(
    folder: Path, *arguments: str, columns: int = 110, unset: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Python with some arguments, in a folder, on a terminal of so many columns; this working tree's code."""
    inherited = {name: value for name, value in os.environ.items() if name not in (*UNSET, *unset)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def osteon(
    folder: Path, *words: str, columns: int = 110, unset: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """A command of osteon."""
    return python(folder, "-m", "components.cli", *words, columns=columns, unset=unset)
