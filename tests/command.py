"""The command `osteon` in a process of its own, as a user starts it."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Waiting:
    """Commands of osteon that have read what is in use, and wait before they write their decision."""

    folder: Path
    processes: list["subprocess.Popen[str]"]

    def go(self) -> list[tuple[int, str, str]]:
        """Let them go on, all at once: exit code, output and errors of each."""
        (self.folder / "go").touch()
        output = [process.communicate(timeout=120) for process in self.processes]
        return [(process.returncode, *texts) for process, texts in zip(self.processes, output, strict=True)]


def waiting(folder: Path, *commands: Sequence[str], **variables: str) -> Waiting:
    """Start commands, each in a process of its own, and return when all of them wait."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.at_once", str(folder / "go"), *words],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in commands
    ]
    started = time.monotonic()
    try:
        while len(list(folder.glob("go.*"))) < len(commands):
            for process in processes:
                assert process.poll() is None, process.communicate()
            assert time.monotonic() - started < 120
            time.sleep(0.05)
    except AssertionError:
        for process in processes:
            process.kill()
        raise
    return Waiting(folder, processes)


def osteon(
    folder: Path, *words: str, columns: int = 110, unset: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """A command of osteon."""
    return python(folder, "-m", "pipelines.cli", *words, columns=columns, unset=unset)
