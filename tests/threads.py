"""The same in several threads, begun at one moment: what two processes might do to one another."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier


def in_threads(number: int, do: Callable[[], object]) -> None:
    """Raises what the first that failed raised."""
    there = Barrier(number)

    def begin() -> None:
        there.wait()
        do()

    with ThreadPoolExecutor(number) as threads:
        for one in [threads.submit(begin) for _ in range(number)]:
            one.result()
