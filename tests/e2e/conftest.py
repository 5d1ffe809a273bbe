"""A copy of the project in a folder of its own, with few and small films."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipelines.rehearsal import FEW as REHEARSED
from tests.image import Image, build_image

ROOT = Path(__file__).parents[2]
# One fold after the other, so that a test knows which one it kills.
FEW = {**REHEARSED, "cross_validation": {**REHEARSED["cross_validation"], "at_once": 1}}


@dataclass(frozen=True)
class Project:
    """A clone in which commands run as a user would run them."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        # The clone's code, whichever is installed; the environment's commands, whether it is activated or not.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        inherited = {name: value for name, value in os.environ.items() if name != "OSTEON_IDENTITY_KEY"}
        return {**inherited, "PYTHONPATH": str(self.folder), "PATH": path, "COLUMNS": "120"}

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **variables}
        return subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=900
        )

    def done(self, *words: str, **variables: str) -> str:
        """Standard output and error of a command that must succeed."""
        result = self.run(*words, **variables)
        assert result.returncode == 0, f"{' '.join(words)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
        return result.stdout + result.stderr

    def set(self, **sections: dict[str, object]) -> None:
        """Change params.yaml and nothing else in it."""
        yaml, path = YAML(), self.folder / "params.yaml"
        content = yaml.load(path.read_text(encoding="utf-8"))
        for name, values in sections.items():
            content[name].update(values)
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(content, file)


def make_project(folder: Path) -> Project:
    """The working tree's tracked files as a repository with one commit; no dvc.lock, no films."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if name != "dvc.lock" and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    project = Project(folder)
    project.set(**FEW)
    project.done("git", "init", "-q")
    project.done("git", "add", "-A")
    project.done(
        "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "--no-verify", "-m", "test"
    )
    return project


def lenient_policy() -> str:
    """The policy with floors that two epochs cannot miss; where a model comes from is judged as it is shipped."""
    text = (ROOT / "mlflow" / "promotion.yaml").read_text(encoding="utf-8")
    for old, new in {
        "auroc: 0.55": "auroc: 0",
        "sensitivity: 0.50": "sensitivity: 0",
        "  sensitivity: 0.10": "  sensitivity: 0",
        "calibration: 0.20": "calibration: 1",
        "robustness: 0.30": "robustness: 1",
        "refused: 0.10": "refused: 1",
    }.items():
        assert old in text
        text = text.replace(old, new, 1)
    return text


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after `dvc repro`, in a folder whose name has spaces and letters beyond ASCII."""
    project = make_project(tmp_path_factory.mktemp("e2e") / "Röntgen – 骨 films")
    (project.folder / "repro.log").write_text(project.done("dvc", "repro"), encoding="utf-8")
    return project


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The cpu image, of this working tree; a test that asks for it is skipped where there is no engine to build it."""
    return build_image(tmp_path_factory.getbasetemp().parent / "image.lock")
