"""Work on many items in threads, results in order, only a few blocks in memory at a time."""

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from joblib import cpu_count

T = TypeVar("T")
R = TypeVar("R")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def over_cores(
    work: Callable[[Sequence[T]], list[R]], items: Sequence[T], cores: int, *, block: int = 16
) -> Iterator[R]:
    """Apply `work` to blocks of items in threads, results in order, only a few blocks in memory at a time.

    Decoding and resizing happen in C with Python's lock released, so threads use every core. No new block is begun
    while two for each thread wait to be taken: joblib's generator would go on, and hold all there is in memory where
    the caller is the slower one.
    """
    threads = cores or cpu_count()
    waiting: deque[Future[list[R]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), block):
            waiting.append(pool.submit(work, items[start : start + block]))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB that were freed, and blocks of less than 4 MiB, for the next film.

    By default it hands the arrays of one film back to the kernel and asks for the same memory again for the next:
    850 page faults a film, a fifth of the time in which its features are found. Without glibc nothing is done.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_MMAP_THRESHOLD, 4 << 20)
        mallopt(M_TRIM_THRESHOLD, 64 << 20)
