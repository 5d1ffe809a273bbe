"""The command osteon with a clock on its imports: python -m benchmarks.import_clock FILE STEP … writes their seconds.

Every import of a module that is not loaded yet goes through importlib's _find_and_load. The outermost calls in the
main thread are timed; what a module imports while it is loaded is part of them. `python -X importtime` would say the
same on stderr, but TensorFlow's part would be lost: Osteon holds stderr back while it loads it.
"""

import sys
import threading
import time
from importlib import _bootstrap
from pathlib import Path
from typing import Any

bootstrap: Any = _bootstrap
find_and_load = bootstrap._find_and_load
together, depth = 0.0, 0


def timed(name: str, import_: Any) -> Any:
    """Load a module, and count the seconds where nothing else is being loaded."""
    global together, depth
    if threading.current_thread() is not threading.main_thread():
        return find_and_load(name, import_)
    depth += 1
    start = time.perf_counter()
    try:
        return find_and_load(name, import_)
    finally:
        depth -= 1
        if not depth:
            together += time.perf_counter() - start


if __name__ == "__main__":
    file = Path(sys.argv.pop(1))
    bootstrap._find_and_load = timed
    try:
        from components.cli.main import main

        main()
    finally:
        file.write_text(str(together), encoding="utf-8")
