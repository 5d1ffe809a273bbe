"""A fresh clone of HEAD in which commands run, as a user's would: no outputs, store or settings of this one."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Clone:
    """The clone and the environment of its commands."""

    folder: Path
    environment: dict[str, str]

    def run(self, typed: str) -> None:
        """Run what a person types, in bash; it stops at the first command that fails."""
        subprocess.run(["bash", "-ec", typed], cwd=self.folder, env=self.environment, check=True)

    def output(self, typed: str) -> str:
        """The same, and what it printed."""
        done = subprocess.run(
            ["bash", "-ec", typed],
            cwd=self.folder,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout


@contextmanager
def fresh_clone() -> Iterator[Clone]:
    """Clone HEAD into a folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "osteon"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environment["PYTHONPATH"] = str(folder)  # the clone's code, whichever is installed
        if real := os.environ.get("OSTEON_REAL_DATA"):
            environment["OSTEON_REAL_DATA"] = str(Path(real).resolve())
        yield Clone(folder, environment)
