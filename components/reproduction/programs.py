"""Other programs that a reproduction runs: git, DVC and the commands of the clone."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from osteon.errors import OsteonError


def has_commit(commit: str) -> bool:
    """Whether this repository has a commit."""
    try:
        run_git("cat-file", "-e", f"{commit}^{{commit}}")
    except OsteonError:
        return False
    return True


def run_git(*words: str) -> str:
    """The output of git in the current folder.

    Raises:
        OsteonError: it failed.

    """
    return output_of(["git", *words], Path.cwd(), dict(os.environ)).strip()


def output_of(words: Sequence[str | Path], folder: Path, environment: dict[str, str]) -> str:
    """What a short command prints.

    Raises:
        OsteonError: it failed; the text ends with the last line that it printed.

    """
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise OsteonError(f"{Path(words[0]).name} {words[1]}: {lines[-1]}")
    return done.stdout


def run(words: Sequence[str | Path], folder: Path, environment: dict[str, str]) -> None:
    """Run a long command, whose output streams through. All its processes end when this one is interrupted.

    Raises:
        OsteonError: it failed.

    """
    process = subprocess.Popen(words, cwd=folder, env=environment)  # noqa: S603
    try:
        code = process.wait()
    except BaseException:
        # They write into the folder that is about to be removed.
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(process.pid)
            left = [first, *first.children(recursive=True)]
            for child in left:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            psutil.wait_procs(left, timeout=10)
        process.wait()
        raise
    if code:
        raise OsteonError(f"{Path(words[0]).name} {words[1]} ended with exit code {code}; its output stands above")
