"""A project to send from, a server to send to, and the command in this process."""

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines import cli, run_status
from tests.pipelines.kfp_server import Kfp, kfp_server
from tests.unit.conftest import empty_store as empty_store

ROOT = Path(__file__).parents[2]
IMAGE = f"registry.example/osteon@sha256:{'a' * 64}"
TRAINING = Path("pipelines/compiled/training.yaml")
UNSET = (
    "OSTEON_KFP_HOST",
    "OSTEON_KFP_TOKEN_FILE",
    "OSTEON_KFP_COOKIE",
    "OSTEON_DEBUG",
    "KF_PIPELINES_ENDPOINT",
    "KF_PIPELINES_UI_ENDPOINT",
    "KF_PIPELINES_SA_TOKEN_PATH",
    "KUBERNETES_SERVICE_HOST",
)


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Osteon = Callable[..., Done]


def compile_to(path: Path, name: str, image: str) -> None:
    """A pipeline with one step and the arguments that Osteon's have."""
    from kfp import compiler, dsl

    @dsl.container_component
    def step(params: str, policy: str) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image=image, command=["osteon"], args=[params, policy])

    def training(
        params: str, policy: str, repository: str, revision: str = "main", mode: str = "off", reason: str = "asked for"
    ) -> None:
        step(params=params, policy=policy)

    def retraining(params: str, policy: str, repository: str, revision: str = "main", mode: str = "off") -> None:
        step(params=params, policy=policy)

    pipeline = dsl.pipeline(name=name)(training if name == "osteon-training" else retraining)
    compiler.Compiler().compile(pipeline, str(path))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with training.yaml and retraining.yaml."""
    folder = tmp_path_factory.mktemp("compiled")
    for name in ("training", "retraining"):
        compile_to(folder / f"{name}.yaml", f"osteon-{name}", IMAGE)
    return folder


@pytest.fixture
def project(tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: parameters, rules and compiled pipelines; nothing of the user's own is in sight."""
    import kfp.client

    folder = tmp_path / "project"
    (folder / "mlflow").mkdir(parents=True)
    (folder / "pipelines" / "compiled").mkdir(parents=True)
    for name in ("params.yaml", "mlflow/promotion.yaml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for file in compiled.iterdir():
        (folder / "pipelines" / "compiled" / file.name).write_bytes(file.read_bytes())
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # Read from HOME when the library was loaded.
    monkeypatch.setattr(kfp.client.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "home" / "context.json"))
    monkeypatch.setattr(kfp.client.Client, "_NAMESPACE_PATH", str(tmp_path / "no pod" / "namespace"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def kfp_there(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kfp]:
    """A server that the command finds."""
    with kfp_server() as server:
        monkeypatch.setenv("OSTEON_KFP_HOST", server.address)
        yield server


@pytest.fixture
def server(kfp_there: Kfp, monkeypatch: pytest.MonkeyPatch) -> Kfp:
    """The same; whoever follows a run asks it often."""
    monkeypatch.setattr(run_status, "POLL", 0.01)
    return kfp_there


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the token is read from; it is not there yet."""
    file = tmp_path / "token"
    monkeypatch.setenv("OSTEON_KFP_TOKEN_FILE", str(file))
    return file


def version_of(path: Path) -> str:
    """The name of a compiled pipeline's version."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@pytest.fixture
def osteon(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Osteon:
    """`osteon pipeline …` as its entry point runs it."""

    def run(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["osteon", "pipeline", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        assert "Traceback" not in output.err
        return Done(int(ended.value.code or 0), output.out, output.err)

    return run


@pytest.fixture
def mlflow(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of an empty store, and the experiment's id."""
    from osteon.records.store import connect

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return connect()
