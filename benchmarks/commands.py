"""What a person waits for: `osteon --help`, `make test` and `make test-all`, by the clock.

The help is started five times, and its median counts. The tests run once, in this folder, with what this machine has:
real films, an engine for containers, PostgreSQL. The table says how many tests passed and how many were skipped.
"""

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.findings import Findings, Goal

ROOT = Path(__file__).parents[1]
TIMES = 5
MOST_SECONDS = {"osteon --help": 0.5, "make test": 6 * 60.0, "make test-all": 22 * 60.0}


def measure(quick: bool) -> Findings:
    """Seconds of each command."""
    help_words = [str(Path(sys.executable).with_name("osteon")), "--help"]
    seconds = {"osteon --help": statistics.median(seconds_of(help_words)[0] for _ in range(TIMES))}
    tests = {"osteon --help": ""}
    for command in () if quick else ("make test", "make test-all"):
        seconds[command], output = seconds_of(command.split())
        tests[command] = tests_of(output)
    return Findings(
        n=f"the help {TIMES} times, the tests once",
        columns=["command", "seconds", "tests"],
        rows=[
            [f"`{command}`", f"{taken:.2f}" if taken < 10 else f"{taken:.0f}", tests[command]]
            for command, taken in seconds.items()
        ],
        goals=[
            Goal(f"{command} in at most {MOST_SECONDS[command]:g} s: {taken:.3g}", taken <= MOST_SECONDS[command])
            for command, taken in seconds.items()
        ],
    )


def seconds_of(words: list[str]) -> tuple[float, str]:
    """Seconds of a command by the clock, and what it printed.

    Raises:
        RuntimeError: it failed; the text ends with its last lines.

    """
    began = time.perf_counter()
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{''.join(done.stdout.splitlines(keepends=True)[-40:])}")
    return taken, done.stdout


def tests_of(output: str) -> str:
    r"""'1,788 passed, 2 skipped', from pytest's last line.

    >>> tests_of("…\n===== 1788 passed, 2 skipped, 5 warnings in 420.64s (0:07:00) =====")
    '1,788 passed, 2 skipped'
    """
    counts = re.findall(r"(\d+) (passed|skipped)", output.rstrip().splitlines()[-1])
    return ", ".join(f"{int(count):,} {what}" for count, what in counts)
