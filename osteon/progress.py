"""What a user sees of long work: log lines, and a bar on the terminal for whatever takes longer than a few seconds."""

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from osteon.redaction import RedactingFormatter

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")


def configure_logging(form: str = "%(message)s", *, anew: bool = False) -> None:
    """Log to stderr, redacted: what Osteon logs from INFO on, other libraries from WARNING on.

    Args:
        form: of a line, as logging.Formatter takes it.
        anew: replace the handlers that are there; otherwise they stay.

    """
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter(form))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=anew)
    for name in ("osteon", "components"):
        logging.getLogger(name).setLevel(logging.INFO)


def progress(items: Iterable[T], what: str, total: int, done: int = 0) -> Generator[T, None, None]:
    """Pass items on and show how many have come, how fast, and how long it still takes.

    Written to stderr; into a file or a log goes nothing.

    done: how many an earlier call has dealt with.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task)


class ByteBar:
    """A bar for bytes that come from elsewhere, in the form in which pooch drives one."""

    def __init__(self, bar: "Progress", task: "TaskID") -> None:
        self._bar, self._task = bar, task
        self._total = 0

    @property
    def total(self) -> int:
        """Bytes to come; 0 where it is not known."""
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self._bar.update(self._task, total=total or None)

    def update(self, count: int) -> None:
        """So many bytes more."""
        self._bar.advance(self._task, count)

    def reset(self) -> None:
        """Begin again."""
        self._bar.reset(self._task)

    def close(self) -> None:
        """Nothing more comes; the bar goes when its block ends."""


@contextmanager
def byte_bar(what: str) -> Iterator[ByteBar]:
    """A bar for one download, on the terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield ByteBar(bar, bar.add_task(what, total=None))
