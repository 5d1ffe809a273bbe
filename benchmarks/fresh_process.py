"""A Python process that has imported nothing yet and is left behind afterwards.

A plain child and none of multiprocessing's: in those, joblib's workers of the step phantoms never end.
"""

import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
CALL, RESULT = "call.pickle", "result.pickle"


def in_fresh_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a module's function in a process of its own: no memory, threads or settings of another measurement."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / CALL).write_bytes(pickle.dumps((function, args, kwargs)))
        subprocess.run([sys.executable, "-m", __name__, str(folder)], cwd=Path(__file__).parents[1], check=True)
        result: T = pickle.loads((folder / RESULT).read_bytes())  # noqa: S301 – written by us, a moment ago
        return result


def peak_memory() -> float:
    """The highest resident memory of this process until now, MiB.

    VmHWM: what ru_maxrss says too, but without the parent's share that ru_maxrss keeps over exec.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    if match is None:
        raise RuntimeError("this system does not say how much memory a process had at most")
    return int(match[1]) / 1024


def main(folder: Path) -> None:
    """What the process does."""
    function, args, kwargs = pickle.loads((folder / CALL).read_bytes())  # noqa: S301 – written by us, a moment ago
    (folder / RESULT).write_bytes(pickle.dumps(function(*args, **kwargs)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
