"""The notebook runs from its first cell to its last, on a few films and a model that nobody trained."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import Pipeline
from tests.making import packaged

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture
def project(pipeline: Pipeline, tmp_path: Path) -> Path:
    """What a pipeline run leaves, at the places where the notebook looks for it."""
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prepared").symlink_to(pipeline.dataset)
    (tmp_path / "data" / "phantoms").symlink_to(pipeline.source)
    (tmp_path / "data" / "manifest.parquet").symlink_to(pipeline.manifest)
    (tmp_path / "artifacts").mkdir()
    packaged(tmp_path / "artifacts" / "model", map_learnt=True)
    return tmp_path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("IPYTHONDIR", str(project / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(project)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(str(output.get("text", output.get("data"))) for output in outputs)
    for expected in ("films of 64 × 64 pixels", "network: 1 networks", "refused", "image/png"):
        assert expected in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_output_in_git(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


def test_there_is_a_notebook() -> None:
    assert [path.name for path in NOTEBOOKS] == ["first_look.ipynb"]
