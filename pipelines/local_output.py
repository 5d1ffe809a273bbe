"""The output of kfp's local runner, made short: a line for each task, and why a task failed."""

import io
import re
from typing import TextIO

STEP_LINE = re.compile(r"\[KFP Executor [^\]]*\]: (?P<text>(?P<step>[a-z_]+|fold \d+|search, worker \d+): .*)")
CACHED = re.compile(r"Task (?P<task>\S+) cache hit")
FAILED = re.compile(r"(?:[A-Za-z_]\w*\.)*(?P<error>[A-Z]\w*(?:Error|Exception|Interrupt)): (?P<why>.+)")
COLOUR = re.compile(r"\x1b\[\d+m")


class LocalOutput(io.TextIOBase):
    """Takes what kfp prints: everything goes to a file, one line for each task to the terminal."""

    def __init__(self, file: TextIO, terminal: TextIO, steps: frozenset[str]) -> None:
        self.file, self.terminal, self.steps = file, terminal, steps
        self.reasons: list[str] = []
        self._unfinished = ""

    def write(self, text: str) -> int:
        """As any text file."""
        self.file.write(text)
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            self._read_line(COLOUR.sub("", line))
        return len(text)

    def flush(self) -> None:
        """As any text file."""
        self.file.flush()

    def _read_line(self, line: str) -> None:
        if (step_line := STEP_LINE.search(line)) and step_line["step"].split(",")[0].split()[0] in self.steps:
            self.terminal.write(f"{step_line['text']}\n")
        elif cached := CACHED.search(line):
            self.terminal.write(f"{cached['task'].replace('-', '_')}: nothing has changed\n")
        elif failed := FAILED.match(line.strip()):
            self.reasons.append(failed["why"] if failed["error"] == "OsteonError" else failed[0])
        self.terminal.flush()
