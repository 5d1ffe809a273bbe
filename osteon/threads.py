"""Work on many items in threads, results in order, only a few blocks in memory at a time."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from joblib import cpu_count

T = TypeVar("T")
R = TypeVar("R")


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
