"""Which stages DVC runs again when a file changes: asked of DVC, in a copy of the project with made-up outputs."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from tests.dvc_stages import outs_of

ROOT = Path(__file__).parents[2]
STAGES = list(YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])

# A file, the first stage that runs again for it, and stages that must not run again for it alone. What comes after a
# stage that did run again runs if the stage wrote something else than before: DVC sees that only then.
TOUCHED = [
    ("components/phantoms/anatomy.py", "phantoms", {*STAGES} - {"phantoms"}),
    ("osteon/films/reading/decoding.py", "ingest", {"phantoms", "augment", "features"}),
    ("osteon/films/layouts/mura.py", "ingest", {*STAGES} - {"ingest"}),
    ("osteon/films/groups.py", "ingest", {"phantoms"}),
    ("components/preparation/splits.py", "prepare", {*STAGES} - {"prepare"}),
    ("osteon/films/prepared/warping.py", "augment", {"phantoms", "ingest", "validate", "prepare"}),
    (
        "osteon/models/fitting/batches.py",
        "search",
        {"phantoms", "ingest", "validate", "prepare", "augment", "features"},
    ),
    ("osteon/models/fitting/fit.py", "search", {"phantoms", "ingest", "validate", "prepare", "augment", "features"}),
    ("components/search/space.py", "search", {*STAGES} - {"search"}),
    ("osteon/statistics/calibration.py", "", {"phantoms", "ingest", "validate", "prepare", "augment", "features"}),
    ("components/evaluation/subgroups.py", "evaluate", {*STAGES} - {"evaluate"}),
    ("components/evaluation/report.html.j2", "evaluate", {*STAGES} - {"evaluate"}),
    # Of those that follow, none is worth a search or a training.
    ("osteon/models/package/mlflow_model.py", "", {*STAGES} - {"evaluate"}),
    ("osteon/pages/page.html.j2", "", {"prepare", "augment", "features", "search", "cross_validate", "train"}),
    ("components/cli/show_films.py", "", {*STAGES}),
    ("osteon/records/registry.py", "", {*STAGES}),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project as after a whole run: every output is there, and dvc.lock has the hashes of all."""
    folder = tmp_path_factory.mktemp("stages") / "project"
    names = subprocess.run(
        ["git", "ls-files", "osteon", "components"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in (*names, "params.yaml", "dvc.yaml", ".dvc/config", ".dvcignore"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    stages = YAML(typ="safe").load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for out in (out for stage in stages.values() for out in outs_of(stage)):
        if not Path(out).suffix:
            (folder / out).mkdir(parents=True, exist_ok=True)
            (folder / out / "something").write_text(out)
        elif not (folder / out).exists():
            (folder / out).parent.mkdir(parents=True, exist_ok=True)
            (folder / out).write_text(out)
    for name in ("metrics.json", "plots/roc.csv"):
        (folder / "reports" / "evaluation" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "reports" / "evaluation" / name).write_text("{}")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with Repo(str(folder)) as repo:
            repo.commit(force=True)
        yield folder


def stages_that_run(folder: Path) -> list[str]:
    """In the order of dvc.yaml."""
    with Repo(str(folder)) as repo:
        status = repo.status()
    return [stage for stage in STAGES if stage in status]


def test_after_a_run_there_is_nothing_to_do(copy: Path) -> None:
    assert stages_that_run(copy) == []


@pytest.mark.parametrize(("name", "first", "never"), TOUCHED, ids=[name for name, _, _ in TOUCHED])
def test_a_comment_in_a_file_runs_the_stages_again_that_use_it(
    copy: Path, name: str, first: str, never: set[str]
) -> None:
    file = copy / name
    before = file.read_bytes()
    file.write_bytes(before + (b"\n<!-- -->\n" if file.suffix == ".j2" else b"\n# A comment.\n"))
    try:
        stages = stages_that_run(copy)
    finally:
        file.write_bytes(before)
    if first:
        assert stages[:1] == [first]
    assert not set(stages) & never
