"""A Python process that has imported nothing yet and is left behind afterwards.

A plain child and none of multiprocessing's: in those, joblib's workers of the step phantoms never end.
"""

import pickle
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
        return pickle.loads((folder / RESULT).read_bytes())  # noqa: S301 – written by us, a moment ago


def main(folder: Path) -> None:
    """What the process does."""
    function, args, kwargs = pickle.loads((folder / CALL).read_bytes())  # noqa: S301 – written by us, a moment ago
    (folder / RESULT).write_bytes(pickle.dumps(function(*args, **kwargs)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
