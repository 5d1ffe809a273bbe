"""A bar for whatever takes longer than a few seconds, on the terminal only."""

from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


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
