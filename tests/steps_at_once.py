"""Several processes that each run a step at one moment, as the folds of a pipeline run do on a cluster.

python -m tests.steps_at_once NUMBER FOLDER: each reads the same nine files of FOLDER, and writes one of its own there.
"""

import multiprocessing
import sys
from pathlib import Path
from threading import Barrier  # of threads, for its type: that of processes is made like it
from typing import Annotated, cast

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 – before the processes part, so that none is late

from osteon.contract import Input, Output, Step, Summary, describe
from osteon.params import DataParams, Params
from osteon.records import runs

GIVEN = tuple("abcdefghi")


class Whole(Summary):
    films: int = 7


def fold(
    a: Annotated[Path, Input("rows")],
    b: Annotated[Path, Input("rows")],
    c: Annotated[Path, Input("rows")],
    d: Annotated[Path, Input("rows")],
    e: Annotated[Path, Input("rows")],
    f: Annotated[Path, Input("rows")],
    g: Annotated[Path, Input("rows")],
    h: Annotated[Path, Input("rows")],
    i: Annotated[Path, Input("rows")],
    answers: Annotated[Path, Output("rows")],
    params: DataParams,
) -> Whole:
    """It reads much and does little: each input is a dataset at which the processes may meet."""
    answers.write_text(answers.name)
    return Whole()


def begin(barrier: Barrier, step: Step, folder: Path, number: int) -> None:
    paths = {name: folder / name for name in GIVEN} | {"answers": folder / f"answers {number}"}
    barrier.wait()
    runs.run_step(step, paths, Params(), name=f"fold {number}")


if __name__ == "__main__":
    number, folder = int(sys.argv[1]), Path(sys.argv[2])
    forked = multiprocessing.get_context("fork")
    there, step = cast("Barrier", forked.Barrier(number)), describe(fold)
    processes = [forked.Process(target=begin, args=(there, step, folder, one)) for one in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(sum(process.exitcode != 0 for process in processes))
