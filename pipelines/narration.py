"""What a person wants to read of what kfp's local runner prints: a line a task, and why one failed."""

import io
import re
from typing import TextIO

SAID = re.compile(r"\[KFP Executor [^\]]*\]: (?P<text>(?P<step>[a-z_]+|fold \d+|search, worker \d+): .*)")
CACHED = re.compile(r"Task (?P<task>\S+) cache hit")
FAILED = re.compile(r"(?:[A-Za-z_]\w*\.)*(?P<error>[A-Z]\w*(?:Error|Exception|Interrupt)): (?P<why>.+)")
COLOUR = re.compile(r"\x1b\[\d+m")


class Narrator(io.TextIOBase):
    """Takes what kfp prints: all goes to a file, one line a task to a person."""

    def __init__(self, file: TextIO, person: TextIO, steps: frozenset[str]) -> None:
        self.file, self.person, self.steps = file, person, steps
        self.reasons: list[str] = []
        self._begun = ""

    def write(self, text: str) -> int:
        """As any text file."""
        self.file.write(text)
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._look(COLOUR.sub("", line))
        return len(text)

    def flush(self) -> None:
        """As any text file."""
        self.file.flush()

    def _look(self, line: str) -> None:
        if (said := SAID.search(line)) and said["step"].split(",")[0].split()[0] in self.steps:
            self.person.write(f"{said['text']}\n")
        elif found := CACHED.search(line):
            self.person.write(f"{found['task'].replace('-', '_')}: nothing has changed\n")
        elif failed := FAILED.match(line.strip()):
            self.reasons.append(failed["why"] if failed["error"] == "OsteonError" else failed[0])
        self.person.flush()
