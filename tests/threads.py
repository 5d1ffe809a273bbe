"""The same in several threads, begun at one moment: what two processes might do to one another. Or in one, alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

T = TypeVar("T")


def in_threads(number: int, do: Callable[[], object]) -> None:
    """Raises what the first that failed raised."""
    barrier = Barrier(number)

    def begin() -> None:
        barrier.wait()
        do()

    with ThreadPoolExecutor(number) as threads:
        for item in [threads.submit(begin) for _ in range(number)]:
            item.result()


def in_own_thread(do: Callable[[], T]) -> T:
    """What it returns, or raises, with nothing of pytest below it on the stack.

    kfp lists the whole stack several times a task. pytest's is deep, and what xdist has sent to its workers belongs to
    no file, so that every module there is is looked through for it: ten seconds, for what takes a fifth of one.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(do).result()
