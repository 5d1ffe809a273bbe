"""The default `dvc repro`, all of it, then once more with nothing to do; and how much of it is imports.

A git clone of HEAD in a temporary folder, with a DVC cache and an MLflow store of its own; the packages are those of
the environment that runs this. A stage's seconds go from DVC saying that it runs it to DVC saying that it runs the
next: the command, and DVC's hashing and caching of what it wrote.

Imports are measured afterwards: each stage's own command runs once more on a few films with a clock on every import
(import_clock.py), late ones in the middle of the work included. What a step imports does not depend on how many films
there are. The worker processes of the step phantoms, which import at the same time, are not in it.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

from benchmarks.findings import Findings, Goal

ROOT = Path(__file__).parents[1]
MOST_SECONDS, MOST_SECONDS_IDLE = 300, 3
RUNNING = re.compile(r"Running stage '(\w+)'")
# One worker, so that the step imports what its workers would; one trial, for a search of none imports less.
FEW = {
    **{section: {"cores": 1} for section in ("data", "validation", "augmentation", "features", "classical")},
    "phantoms": {"cores": 1, "films": 60},
    "preparation": {"cores": 1, "folds": 2},
    "search": {"trials": 1, "classical_trials": 1, "epochs": 1},
    "training": {"epochs": 1, "patience": 0},
}


def measure(quick: bool) -> Findings:
    """Clone, run, run again, and look at the imports."""
    with TemporaryDirectory() as temporary:
        clone = Path(temporary) / "osteon"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = clean_environment(clone, Path(temporary))
        few = write_few(clone)
        if quick:
            few.replace(clone / "params.yaml")
            few = clone / "params.yaml"
        stages, together = timed_repro(clone, environment)
        again, idle = timed_repro(clone, environment)
        if again:
            raise RuntimeError(f"the second dvc repro ran {', '.join(again)} again")
        locked = YAML(typ="safe").load(clone / "dvc.lock")["stages"]
        imports = {stage: import_seconds(locked[stage]["cmd"], few, clone, environment) for stage in stages}
    own = together - sum(stages.values())

    def row(name: str, seconds: float, importing: float) -> list[str]:
        return [name, f"{seconds:.1f}", f"{importing:.1f}", f"{importing / seconds:.0%}"]

    return Findings(
        n="the embedded films, params.yaml as it is" if not quick else "60 films, one epoch",
        columns=["stage", "seconds", "of which imports", "share"],
        rows=[
            ["dvc, until the first stage", f"{own:.1f}", "", ""],
            *(row(stage, stages[stage], imports[stage]) for stage in stages),
            row("together", together, sum(imports.values())),
            ["again, nothing to do", f"{idle:.1f}", "", ""],
        ],
        goals=[
            Goal(f"the default dvc repro in ≤ {MOST_SECONDS} s: {together:.0f} s", together <= MOST_SECONDS),
            Goal(f"nothing to do in ≤ {MOST_SECONDS_IDLE} s: {idle:.1f} s", idle <= MOST_SECONDS_IDLE),
        ],
    )


def clean_environment(clone: Path, temporary: Path) -> dict[str, str]:
    """The environment of a newcomer: this Python first on the path, the clone's code, nobody's settings or caches."""
    ours = ("DVC_", "KERAS_", "MLFLOW_", "OSTEON_", "PYTHON", "TF_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    folders = ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR")
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(clone),
        "PYTHONUNBUFFERED": "1",
        **{name: str(temporary / name.lower()) for name in folders},
    }


def write_few(clone: Path) -> Path:
    """The clone's parameters, for a few films and one epoch."""
    yaml = YAML()
    params: dict[str, Any] = yaml.load(clone / "params.yaml")
    for section, values in FEW.items():
        params[section].update(values)
    few = clone / "few.yaml"
    yaml.dump(params, few)
    return few


def timed_repro(clone: Path, environment: dict[str, str]) -> tuple[dict[str, float], float]:
    """Run `dvc repro`; seconds of each stage that ran, and of all."""
    begun: dict[str, float] = {}
    start = time.perf_counter()
    with subprocess.Popen(
        ["dvc", "repro"], cwd=clone, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if match := RUNNING.search(line):
                begun[match[1]] = time.perf_counter()
    end = time.perf_counter()
    if process.returncode:
        raise RuntimeError(f"dvc repro failed:\n{''.join(lines[-40:])}")
    times = [*begun.values(), end]
    return {stage: until - since for stage, (since, until) in zip(begun, pairwise(times), strict=True)}, end - start


def import_seconds(command: str, params: Path, clone: Path, environment: dict[str, str]) -> float:
    """Seconds that the imports of one stage's command take."""
    osteon, *words = shlex.split(command)
    if osteon != "osteon":
        raise RuntimeError(f"dvc.lock: {command!r} is no osteon command")
    seconds = clone / "import_seconds.txt"
    clocked = [sys.executable, "-m", "benchmarks.import_clock", str(seconds), *words, "--params", str(params)]
    done = subprocess.run(clocked, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stderr[-2000:]}")
    return float(seconds.read_text(encoding="utf-8"))
