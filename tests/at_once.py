"""A command of osteon that waits just before it writes its decision, until a file is there.

python -m tests.at_once SIGNAL WORDS…: SIGNAL.PID says that it waits, SIGNAL lets it go on. So a test can have two
processes that have both read one state, or take away the server from under one.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from components.cli.main import main
from osteon.records.registry import Registry

whole, signal = Registry.append, Path(sys.argv.pop(1))


def append(*words: Any) -> bool:
    signal.with_suffix(f".{os.getpid()}").touch()
    while not signal.exists():
        time.sleep(0.01)
    return whole(*words)


if __name__ == "__main__":
    Registry.append = append  # type: ignore[method-assign]
    main()
