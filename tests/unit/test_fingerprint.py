"""What decides whether interrupted work is continued, and the reason that is given where it is not."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from osteon import fingerprint as room
from osteon.fingerprint import ROOT, Fingerprint, code_of, fingerprint, what_changed
from osteon.params import AugmentationParams
from tests.command import ROOT as REPOSITORY
from tests.conftest import Pipeline

MODULE = "osteon.models.heldout.fold"


def usual(backend: str = "jax", **changes: object) -> Fingerprint:
    parameters = {"augmentation": AugmentationParams(**changes)}
    return fingerprint(MODULE, {"films": "a"}, parameters, backend)


def test_the_same_work_has_the_same_fingerprint() -> None:
    assert usual() == usual()
    assert usual().digest == usual().digest
    assert usual().changes(usual()) == ""


def test_data_decide() -> None:
    other = fingerprint(MODULE, {"films": "b"}, {"augmentation": AugmentationParams()}, "jax")
    assert other.digest != usual().digest
    assert other.changes(usual()) == "data changed: films"


def test_parameters_decide_limits_of_augmentation_among_them() -> None:
    other = usual(rotation=1.5)
    assert other.digest != usual().digest
    assert other.changes(usual()) == "parameters changed: augmentation"


def test_the_backend_decides() -> None:
    other = usual("tensorflow")
    assert other.digest != usual().digest
    assert other.changes(usual()) == "backend changed: jax before, tensorflow now"
    without = fingerprint(MODULE, {"films": "a"}, {"augmentation": AugmentationParams()})
    assert without.backend == ""
    assert usual().changes(without) == "backend changed: none before, jax now"


def test_versions_of_libraries_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    before = usual()
    real = room.version
    monkeypatch.setattr(room, "version", lambda name: "0.0" if name == "numpy" else real(name))
    assert usual().digest != before.digest
    assert usual().changes(before) == "versions changed: numpy"


def test_code_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    before = usual()
    changed = {**before.code, "osteon/models/fitting/fit.py": "another", "osteon/new.py": "new"}
    monkeypatch.setattr(room, "code_of", lambda module: changed)
    assert usual().digest != before.digest
    assert usual().changes(before) == "code changed: osteon/models/fitting/fit.py, osteon/new.py"


def test_of_many_changes_some_are_named() -> None:
    before = Fingerprint(code={f"osteon/{name}.py": name for name in "abcdef"}, backend="jax")
    assert Fingerprint().changes(before) == (
        "code changed: osteon/a.py, osteon/b.py, osteon/c.py and 3 more; backend changed: jax before, none now"
    )
    three = Fingerprint(code={f"osteon/{name}.py": name for name in "abc"})
    assert Fingerprint().changes(three) == "code changed: osteon/a.py, osteon/b.py, osteon/c.py"


def test_what_was_left_is_read_as_json() -> None:
    item, other = Fingerprint(data={"films": "a"}).model_dump_json(), Fingerprint().model_dump_json()
    assert what_changed(other, item) == "data changed: films"
    assert what_changed("f", item) == "what was left cannot be read"


def test_the_code_is_what_is_imported_directly_or_not_and_nothing_else(tmp_path: Path) -> None:
    files = {
        "osteon/__init__.py": "",
        "osteon/a.py": "import numpy\nfrom osteon.b import f\nfrom osteon import c\ndef g():\n    import osteon.d\n",
        "osteon/b.py": "from osteon import a\ndef f(): pass\n",
        "osteon/c/__init__.py": "",
        "osteon/d.py": (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import osteon.e\nelse:\n    import components.h\n"
        ),
        "osteon/e.py": "",
        "osteon/alone.py": "",
        "components/h.py": "",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    code = code_of("osteon.a", tmp_path)
    assert sorted(files.keys() - code.keys()) == ["osteon/alone.py", "osteon/e.py"]
    assert len(set(code.values())) > 1


@pytest.mark.parametrize(
    "module",
    ["osteon.models.heldout.fold", "osteon.models.fitting.train_network", "components.search.trials"],
)
def test_the_code_of_what_trains_includes_loss_batches_and_parameters(module: str) -> None:
    fitting = {f"osteon/models/fitting/{name}.py" for name in ("fit", "batches", "checkpoint", "train_network")}
    needed = fitting | {"osteon/params.py", "osteon/films/prepared/warping.py", "osteon/films/prepared/folds.py"}
    assert needed <= code_of(module).keys()
    assert not any(path.startswith("osteon/pages") for path in code_of(module))


# ---------------------------------------------------------------- killed, changed, started again

SCRIPT = """
    import logging, os, signal, sys
    from pathlib import Path
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    from osteon.models.networks.backend import load_keras
    load_keras()
    import osteon.models.fitting.fit as fit
    from osteon.films.prepared.folds import rows_outside
    from osteon.models.best_hyperparameters import BestHyperparameters
    from osteon.models.fitting.train_network import open_training_data, train_network
    from osteon.params import TrainingParams
    from tests.tiny_network import tiny_networks

    dataset, augmented, checkpoint, kill_after = map(str, sys.argv[1:])
    assert Path(fit.__file__).is_relative_to(Path(os.environ["PYTHONPATH"].split(os.pathsep)[0])), fit.__file__
    params = TrainingParams(width=8, epochs=3, patience=0, batch_size=32, precision="float32")
    films = open_training_data(Path(dataset), Path(augmented), params, BestHyperparameters())
    def on_epoch(epoch, entry):
        print(f"epoch {epoch} ended", flush=True)
        if epoch + 1 == int(kill_after):
            os.kill(os.getpid(), signal.SIGKILL)
    rows = rows_outside(films.prepared.films, 0)
    with tiny_networks():
        train_network(films, rows, params, Path(checkpoint), on_epoch=on_epoch)
"""


@pytest.mark.slow
def test_a_killed_training_begins_anew_when_its_loss_has_changed_and_says_why(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    for name in ("osteon", "components"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))

    def run(kill_after: int) -> str:
        finished = subprocess.run(
            [
                sys.executable,
                "-c",
                textwrap.dedent(SCRIPT),
                *map(str, (pipeline.dataset, pipeline.augmented, tmp_path / "checkpoint", kill_after)),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{code}{os.pathsep}{REPOSITORY}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert finished.returncode == (-9 if kill_after else 0), finished.stderr
        return finished.stdout

    run(kill_after=2)
    assert "continuing after epoch 2" in run(kill_after=3)
    loss = code / "osteon" / "models" / "fitting" / "fit.py"
    before = loss.read_text(encoding="utf-8")
    loss.write_text(before.replace("MAP_SCALE = 10.0", "MAP_SCALE = 11.0"), encoding="utf-8")
    assert loss.read_text(encoding="utf-8") != before
    output = run(kill_after=0)
    assert "training begins anew after 3 epochs: code changed: osteon/models/fitting/fit.py" in output
    assert "continuing" not in output
    assert output.count("ended") == 3
