"""What was looked at or done about a remote, a line each."""

from typing import Literal, NamedTuple

State = Literal["was", "made", "missing", "refused", "unsupported", "warning", "note"]
MARKS: dict[State, str] = {
    "was": "✓",
    "made": "✓",
    "missing": "✗",
    "refused": "✗",
    "unsupported": "–",
    "warning": "!",
    "note": " ",
}
WRONG: tuple[State, ...] = ("missing", "refused")


class Finding(NamedTuple):
    """What was found or done about one thing."""

    state: State
    text: str

    def line(self) -> str:
        """For a person."""
        return f"{MARKS[self.state]} {self.text}"
