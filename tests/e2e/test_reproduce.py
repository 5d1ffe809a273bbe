"""A promoted version made again by all the real steps, and what is told of where it comes from."""

import json
import platform
import shutil
from pathlib import Path

import pandas as pd
import pytest

from components.steps import STEPS
from tests.e2e.conftest import Project, lenient_policy

# One worker runs all tests that need the finished project, so that it is made once.
pytestmark = pytest.mark.xdist_group("finished")


def contents(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_promoted_version_is_reproduced_and_the_project_stays_as_it_is(finished: Project, tmp_path: Path) -> None:
    # A copy of the store: the finished project is others' too.
    store, policy = tmp_path / "mlflow.db", tmp_path / "policy.yaml"
    shutil.copy(finished.folder / "mlflow" / "store" / "mlflow.db", store)
    policy.write_text(lenient_policy(), encoding="utf-8")
    here = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}", "TMPDIR": str(tmp_path)}
    promoted = finished.run("osteon", "promote", "--policy", str(policy), "--decision", str(tmp_path / "why"), **here)
    assert promoted.returncode == 0, promoted.stderr

    shown = json.loads(finished.run("osteon", "lineage", "models:/osteon-fracture@champion", "--json", **here).stdout)
    assert [step["step"] for step in shown["steps"]] == list(STEPS)[:-1]
    films = pd.read_parquet(finished.folder / "data/prepared/films.parquet")
    assert {film["sha256"]: film["role"] for film in shown["films"]} == {
        film.sha256: "test" if film.test else "train" for film in films.itertuples()
    }
    (decision,) = shown["decisions"]
    assert decision["action"] == "promoted"
    (environment,) = shown["environments"].values()
    assert environment["python"] == platform.python_version()
    assert environment["packages"]["dvc"]

    before = (
        contents(finished.folder / ".dvc" / "cache"),
        finished.done("git", "status", "--porcelain"),
        store.read_bytes(),
    )
    done = finished.run("osteon", "reproduce", "champion", **here)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    for name in STEPS:
        assert f"\n{name}: " in done.stdout
    assert done.stdout.splitlines()[-1] == "reproduced: no figure differs by more than 0.001"
    # It ran where the version was made, with the same packages.
    assert "other than then" not in done.stdout
    after = (
        contents(finished.folder / ".dvc" / "cache"),
        finished.done("git", "status", "--porcelain"),
        store.read_bytes(),
    )
    assert after == before
    assert not list(tmp_path.glob("osteon-reproduce-*"))
