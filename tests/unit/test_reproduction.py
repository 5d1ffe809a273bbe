"""A version made again: from a small repository with git and DVC of its own, whose steps take no time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from components.cli.show_reproduction import print_reproduction
from components.reproduction.clone import check_code, places_elsewhere
from components.reproduction.original import find_original
from components.reproduction.reproduce import reproduce
from osteon.errors import OsteonError
from osteon.files import dvc_hash
from osteon.films.identity import VARIABLE
from osteon.records import lineage, runs
from osteon.records import store as mlflow_store
from osteon.records.registry import MODEL, PACKAGE, Entry, Registry, timestamp
from tests.command import python
from tests.unit.conftest import use_store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("reproduction")]  # projects with git and DVC of their own

# What stands in for the project's code at that commit: it makes films, and its figures are those of its parameters.
CLI = """
import json, os, sys, time
from pathlib import Path

def params():
    lines = [line.strip() for line in Path("params.yaml").read_text().splitlines()]
    section, values = "", {}
    for line in lines:
        key, _, value = line.partition(":")
        if not value:
            section = key
        elif section:
            values[f"{section}.{key}"] = value.strip().strip("'")
    return values

def main():
    step = sys.argv[1]
    if step == "params":
        print("\\n".join(f"{key}: {value}" for key, value in params().items()))
        return
    if step == "phantoms":
        Path("data/phantoms").mkdir(parents=True)
        Path("data/phantoms/1.png").write_text(params()["phantoms.seed"])
        return
    if os.environ.get("WAIT"):
        Path(os.environ["WAIT"]).write_text(str(os.getpid()))
        time.sleep(120)
    films = sorted(Path(params()["data.root"]).iterdir())
    auroc = float(params()["training.auroc"]) + float(os.environ.get("BY_CHANCE", 0))
    Path("reports/evaluation").mkdir(parents=True)
    figures = {"auroc": {"value": auroc}, "npv": {"value": None}, "n": len(films), "confusion": {"tp": 1}}
    models = {"svm": {"pooled": {"value": 0.6}}}
    Path("reports/evaluation/metrics.json").write_text(json.dumps({"test": figures, "models": models}))
    words = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "OSTEON_IDENTITY_KEY")
    seen = {word: os.environ.get(word) for word in words}
    Path("seen.json").write_text(json.dumps(seen | {"code": __file__, "command": sys.argv[0]}))
"""
STAGES = """
stages:
  phantoms:
    cmd: osteon phantoms
    params: [phantoms]
    outs: [data/phantoms]
  evaluate:
    cmd: osteon evaluate
    params: [training]
    deps: ["${data.root}"]
    outs: [reports/evaluation]
"""
PARAMS = """
data:
  root: data/phantoms
phantoms:
  seed: 20
search:
  storage: ''
training:
  auroc: 0.75
"""
FIRST = {"data.root": "data/phantoms", "phantoms.seed": "20", "search.storage": "", "training.auroc": "0.75"}
MAKEFILE = """
.venv/made: requirements.lock
\tmkdir -p .venv/bin
\tln -s $(dir $(PYTHON))* .venv/bin/
\techo made
"""


@dataclass
class Project:
    """A repository in which the stages have run once, and a store that knows it."""

    folder: Path
    client: MlflowClient

    def done(self, *words: str) -> str:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder)}
        done = subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
        return done.stdout.strip()

    def commit(self, *options: str) -> str:
        self.done("git", "add", "-A")
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        self.done("git", *who, "commit", "-q", "--no-verify", "-m", "x", *options)
        return self.done("git", "rev-parse", "HEAD")

    def state(self) -> dict[str, Any]:
        """All that a user has: files, commits, and what DVC's cache holds."""
        files = {path: path.stat().st_mtime_ns for path in self.folder.rglob("*") if path.is_file()}
        return {str(path): at for path, at in files.items() if not {"tmp", "__pycache__"} & set(path.parts)}

    def version(self, params: dict[str, str] | None = None, **changes: str | None) -> str:
        """A version as the steps and `osteon promote` leave it, made of what lies in the folder now.

        changes: of the tags commit, dirty and data; None leaves one out.
        """
        params = FIRST if params is None else params
        report = self.folder / "reports" / "evaluation"
        root = self.folder / params["data.root"]
        about = {"git.commit": self.done("git", "rev-parse", "HEAD"), "git.dirty": "false", "data": dvc_hash(root)}
        tags = {f"osteon.{key}": value for key, value in (about | changes).items() if value is not None}
        experiment = mlflow_store.connect()[1]
        number = len(self.client.search_model_versions(f"name = '{MODEL}'")) + 1

        def run(step: str, logged: dict[str, str], **linked: str) -> str:
            links = {f"osteon.{key.replace('_', '.')}": value for key, value in linked.items()}
            made = self.client.create_run(experiment, tags={lineage.STEP: step, **tags, **links})
            for key, value in logged.items():
                self.client.log_param(made.info.run_id, key, value)
            return str(made.info.run_id)

        trained = run("train", {**params, "threads": "0"}, wrote_model=f"m{number}", read_films="dataset")
        self.client.delete_tag(trained, "osteon.wrote.model")
        self.client.set_tag(trained, f"osteon.wrote.m{number}", "model")
        self.client.set_terminated(trained)
        time.sleep(0.01)  # the evaluation begins later
        measured = run("evaluate", {}, read_films="dataset")
        self.client.set_tag(measured, f"osteon.read.m{number}", "model")
        self.client.set_tag(measured, f"osteon.wrote.{dvc_hash(report)}", "report")
        self.client.log_artifacts(measured, str(report), "report")
        self.client.log_metric(
            measured, "auroc", json.loads((report / "metrics.json").read_text())["test"]["auroc"]["value"]
        )
        self.client.set_terminated(measured)
        Registry.connect()
        model = self.client.create_logged_model(experiment, source_run_id=trained)
        made = self.client.create_model_version(
            MODEL, f"models:/{model.model_id}", run_id=trained, model_id=model.model_id, tags={PACKAGE: f"m{number}"}
        )
        return str(made.version)

    def run_of(self, step: str) -> str:
        (run,) = self.client.search_runs([mlflow_store.connect()[1]], f"tags.`{lineage.STEP}` = '{step}'")
        return str(run.info.run_id)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "Röntgen films"
    (folder / "components" / "cli").mkdir(parents=True)
    (folder / "pipelines").mkdir()
    for name, text in {
        "components/__init__.py": "",
        "components/cli/__init__.py": "",
        "components/cli/main.py": CLI,
        "pipelines/__init__.py": "",
        "pipelines/cli.py": "from components.cli.main import main\n",
        "dvc.yaml": STAGES,
        "params.yaml": PARAMS,
        "requirements.lock": "a==1\n",
        "Makefile": MAKEFILE,
        ".gitignore": "/.venv/\n/.osteon/\n/mlflow/store/\n/seen.json\n__pycache__/\n/data/own\n",
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    project = Project(folder, None)  # type: ignore[arg-type]
    project.done("git", "init", "-q")
    project.done("dvc", "init", "-q")
    project.done("dvc", "repro", "-q")  # a lock, a full cache and a run cache: nothing would have to be done
    project.commit()
    return folder


@pytest.fixture
def project(made: Path, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "store").mkdir()
    client = use_store(tmp_path / "store", empty_store, monkeypatch)
    folder = tmp_path / made.name
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.chdir(folder)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    return Project(folder, client)


def seen(folder: Path) -> dict[str, str | None]:
    files: dict[str, str | None] = json.loads((folder / "seen.json").read_text())
    return files


# ---------------------------------------------------------------- it comes to the same


def test_every_stage_runs_again_with_the_commits_code_and_the_project_stays_as_it_is(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = project.version()
    # The present code is another, and the commit is on no branch any more.
    cli = project.folder / "components" / "cli" / "main.py"
    cli.write_text(cli.read_text().replace('"training.auroc"', '"training.no such key"'))
    project.commit("--amend")
    (project.folder / ".osteon").mkdir()
    (project.folder / ".osteon" / "identity.key").write_text("a key of the project's own\n")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("MLFLOW_RUN_ID", "of somebody else")
    before, store = project.state(), (tmp_path / "store" / "mlflow.db").read_bytes()
    keep = tmp_path / "kept here"
    result = reproduce(version, keep)
    assert result.reproduced
    assert {figure.name: (figure.original, figure.again) for figure in result.figures} == {
        "auroc": (0.75, 0.75),
        "npv": (None, None),
        "n": (1, 1),
        "out-of-fold AUROC of svm": (0.6, 0.6),
    }
    assert seen(keep) == {
        "MLFLOW_TRACKING_URI": "sqlite:///mlflow/store/mlflow.db",
        "MLFLOW_RUN_ID": None,
        VARIABLE: "a key of the project's own",
        "code": str(keep / "components" / "cli" / "main.py"),
        "command": str(Path(sys.executable).parent / "osteon"),
    }
    assert project.state() == before
    assert (tmp_path / "store" / "mlflow.db").read_bytes() == store
    assert not list((keep / ".dvc").rglob("*.dir"))  # nothing was put into a cache
    assert not list((tmp_path / "temporary").glob("osteon*"))
    with pytest.raises(OsteonError, match="exists and is not empty"):
        reproduce(version, keep)


def test_dvc_leaves_nothing_running(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks for its updates in the background; the folder that it would write into is being removed then."""
    version = project.version()
    monkeypatch.delenv("CI", raising=False)  # DVC does not look there
    monkeypatch.setenv("DVC_DAEMON_LOGFILE", str(tmp_path / "started"))
    reproduce(version, None)
    assert not (tmp_path / "started").exists()


def test_parameters_are_those_of_the_run_even_where_the_commit_has_others(
    project: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = project.folder / "reports" / "evaluation" / "metrics.json"
    metrics.write_text(metrics.read_text().replace("0.75", "0.8125"))
    shared = {"training.auroc": "0.8125", "search.storage": "postgresql://host/studies"}
    version = project.version(FIRST | shared)
    caplog.set_level("INFO")
    assert reproduce(version, tmp_path / "kept").reproduced
    assert "params.yaml: training.auroc: 0.8125 (at the commit: 0.75)" in caplog.text
    # A finished study that several share would be taken as it is.
    assert "postgresql" not in (tmp_path / "kept" / "params.yaml").read_text()


def test_another_lock_makes_an_environment_of_its_own(project: Project, tmp_path: Path) -> None:
    version = project.version()
    (project.folder / "requirements.lock").write_text("a==2\n")
    project.commit()
    assert reproduce(version, tmp_path / "kept").reproduced
    assert seen(tmp_path / "kept")["command"] == str(tmp_path / "kept" / ".venv" / "bin" / "osteon")


# ---------------------------------------------------------------- it does not


def command(project: Project, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`osteon reproduce` of this working tree, as a user starts it."""
    code = "import sys; from components.cli import main as cli; sys.argv[0] = 'osteon'; cli.main()"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return python(project.folder, "-P", "-c", code, "reproduce", *words)


def test_a_figure_that_was_altered_in_the_store_is_found(project: Project) -> None:
    version = project.version()
    done = command(project, version)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "reproduced: no figure differs by more than 0.001"
    assert "machine and packages: not recorded then" in done.stdout
    project.client.log_metric(project.run_of("evaluate"), "auroc", 0.7525)
    done = command(project, version)
    assert done.returncode == 4, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "not reproduced: auroc was 0.7525, it is 0.7500; 1 of 4 figures differ by more than 0.001"
    )


@pytest.mark.parametrize(("chance", "reproduced"), [(0.0009, True), (-0.0011, False)])
def test_what_a_run_may_differ_by(
    project: Project, monkeypatch: pytest.MonkeyPatch, chance: float, reproduced: bool
) -> None:
    version = project.version()
    monkeypatch.setenv("BY_CHANCE", str(chance))
    result = reproduce(version, None)
    assert result.reproduced is reproduced
    assert result.worst.name == "auroc"
    assert result.worst.difference == pytest.approx(chance)


def test_other_films_are_named_by_their_hash(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    version = project.version(data="57102aeaa256845dda8c0354b25829b5.dir")
    present = dvc_hash(project.folder / "data" / "phantoms")
    result = reproduce(version, None)
    assert not result.reproduced
    print_reproduction(result)
    expected = f"their hash was 57102aeaa256845dda8c0354b25829b5.dir, it is {present}"
    assert capsys.readouterr().out.splitlines()[-1] == f"not reproduced: the films differ; {expected}"


def test_a_step_that_fails_is_no_verdict(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    version = project.version()
    monkeypatch.setenv("BY_CHANCE", "not a number")
    with pytest.raises(OsteonError, match="dvc repro ended with exit code"):
        reproduce(version, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_nothing_behind(project: Project, tmp_path: Path, number: signal.Signals) -> None:
    version, began = project.version(), tmp_path / "began"
    before = project.state()
    environment = {**os.environ, "PYTHONPATH": str(Path(runs.__file__).parents[2]), "WAIT": str(began)}
    # Where the tests run in the background, a shell has told them to ignore what a person's Ctrl-C sends.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    heard += "; signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    code = f"{heard}; import sys; from components.cli import main as cli; sys.argv[0] = 'osteon'; cli.main()"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, "reproduce", version],
        cwd=project.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    since = time.monotonic()
    while not (began.exists() and began.read_text()):
        assert process.poll() is None, process.stderr
        assert time.monotonic() - since < 180
        time.sleep(0.05)
    process.send_signal(number)  # to this one alone
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"Traceback" not in stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), 0)
    assert not list((tmp_path / "temporary").iterdir())
    assert project.state() == before


# ---------------------------------------------------------------- where the films are


def own_films(project: Project) -> dict[str, str]:
    """Films of the user's own in the folder, which the evaluation is of."""
    films = project.folder / "data" / "own"
    films.mkdir()
    for number in range(3):
        (films / f"{number}.png").write_text(str(number))
    params = project.folder / "params.yaml"
    params.write_text(params.read_text().replace("data/phantoms", "data/own"))
    metrics = project.folder / "reports" / "evaluation" / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"n": 1', '"n": 3'))
    return FIRST | {"data.root": "data/own"}


def test_films_that_nobody_tracks_are_read_where_they_lie(project: Project, tmp_path: Path) -> None:
    params = own_films(project)
    project.commit()
    version = project.version(params)
    assert reproduce(version, tmp_path / "kept").reproduced
    # A film more, and it is known before anything runs.
    (project.folder / "data" / "own" / "4.png").write_text("4")
    with pytest.raises(OsteonError, match=r"data/own: the films differ: version 1 was made from \w+\.dir, their"):
        reproduce(version, tmp_path / "again")
    assert not (tmp_path / "again" / "seen.json").exists()
    shutil.rmtree(project.folder / "data" / "own")
    with pytest.raises(OsteonError, match="data/own is not here, and neither git nor DVC knows it at the commit"):
        reproduce(version, None)


def test_films_that_dvc_tracks_come_from_its_cache_or_else_from_the_remote(
    project: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params = own_films(project)
    (project.folder / ".gitignore").write_text("/seen.json\n__pycache__/\n")
    project.done("dvc", "add", "-q", "data/own")
    project.done("dvc", "remote", "add", "-q", "-d", "far", str(tmp_path / "far"))
    project.commit()
    version = project.version(params)
    project.done("dvc", "push", "-q", "data/own.dvc")
    # The user has other films there now.
    (project.folder / "data" / "own" / "4.png").write_text("4")
    project.done("dvc", "add", "-q", "data/own")
    project.commit()
    caplog.set_level("INFO")
    before = project.state()
    assert reproduce(version, tmp_path / "kept").reproduced
    assert "dvc pull" not in caplog.text
    assert project.state() == before
    assert not (tmp_path / "kept" / ".dvc" / "config.local").exists()
    shutil.rmtree(project.folder / ".dvc" / "cache")
    assert reproduce(version, None).reproduced
    assert "not all of data/own.dvc is in DVC's cache; dvc pull fetches it from the remote" in caplog.text


# ---------------------------------------------------------------- what is not known


def forged(project: Project, tmp_path: Path) -> str:
    version = project.version()
    (report,) = (tmp_path / "store" / "artifacts").rglob("report/metrics.json")
    report.write_text(report.read_text().replace("0.75", "0.99"))
    return version


def without_evaluation(project: Project, tmp_path: Path) -> str:
    version = project.version()
    project.client.delete_run(project.run_of("evaluate"))
    return version


def measured_on_other_films(project: Project, tmp_path: Path) -> str:
    version, run = project.version(), project.run_of("evaluate")
    project.client.delete_tag(run, "osteon.read.films")
    project.client.set_tag(run, "osteon.read.others", "dataset")
    return version


def by_hand(project: Project, tmp_path: Path) -> str:
    project.version()
    return str(project.client.create_model_version(MODEL, str(tmp_path)).version)


def in_part(project: Project, tmp_path: Path) -> str:
    return project.version(data=None)


def elsewhere(project: Project, tmp_path: Path) -> str:
    version = project.version()
    shutil.rmtree(project.folder / ".git")
    return version


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda project, _: project.version(**{"git.dirty": "true"}), "its step train ran with changes that were not"),
        (lambda project, _: project.version(**{"git.commit": "unknown"}), "the commit at which its step train ran is"),
        (lambda project, _: project.version(**{"git.commit": None}), "the commit at which its step train ran is not"),
        (lambda project, _: project.version(**{"git.commit": "0" * 40}), r"commit 0{40} is not in .*`git fetch`"),
        (forged, "the report in the store is not the one that its evaluation wrote"),
        (without_evaluation, "no evaluation of it on its own test films is in the store"),
        (measured_on_other_films, "no evaluation of it on its own test films is in the store"),
        (by_hand, "was registered by hand"),
        (in_part, "no run of this store wrote dataset, which its step train read"),
        (elsewhere, "git rev-parse: fatal: not a git repository"),
        (lambda project, _: project.version() and "champion", "champion is no version and no alias of osteon-fracture"),
        (lambda project, _: project.version() and "7", "7"),
        (lambda project, _: "1", "this store has no version of osteon-fracture"),
    ],
)
def test_what_cannot_be_made_again_is_refused_with_the_reason(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Project, Path], str], reason: str
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    version = make(project, tmp_path)
    with pytest.raises(OsteonError, match=reason) as caught:
        reproduce(version, tmp_path / "kept")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "kept").exists()


def test_an_evaluation_that_somebody_only_tried_does_not_count(project: Project) -> None:
    version = project.version()
    measured = project.client.get_run(project.run_of("evaluate"))
    tried = project.client.create_run(
        measured.info.experiment_id, tags={**measured.data.tags, lineage.DIRTY: "true"}, start_time=2**42
    )
    project.client.set_terminated(tried.info.run_id)
    assert find_original(version).made.run_id == measured.info.run_id


def test_a_version_can_be_named_by_its_alias(project: Project) -> None:
    version = project.version()
    registry = Registry.connect()
    about: dict[str, Any] = {"before": registry.state().last, "at": timestamp(), "who": "a test", "action": "promoted"}
    assert registry.append(Entry(**about, version=version, was=None, why="so it is"))
    registry.apply_log()
    assert find_original("champion").version == version


@pytest.mark.parametrize("elsewhere", ["osteon", "components"])
def test_code_of_another_folder_is_refused(tmp_path: Path, elsewhere: str) -> None:
    """Each package counts: the library decides as much as the steps."""
    project, other = tmp_path / "project", tmp_path / "other"
    for folder, names in ((project, ("osteon", "components")), (other, (elsewhere,))):
        for name in names:
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").touch()
    commands = Path(sys.executable).parent
    check_code(project, os.environ | {"PYTHONPATH": str(project)}, commands)
    with pytest.raises(OsteonError, match=f"the code in {other / elsewhere}, not with that of the commit"):
        check_code(project, os.environ | {"PYTHONPATH": f"{other}{os.pathsep}{project}"}, commands)
    shutil.rmtree(project / "osteon")  # a commit from before the library
    if elsewhere == "osteon":
        check_code(project, os.environ | {"PYTHONPATH": f"{other}{os.pathsep}{project}"}, commands)


def test_weights_of_imagenet_are_no_file_to_bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project, films = tmp_path / "project", tmp_path / "films"
    project.mkdir()
    films.mkdir()
    (project / "dvc.yaml").write_text("stages: {phantoms: {outs: [data/phantoms]}}\n", encoding="utf-8")
    named = {"data.root": "films", "training.weights": "imagenet"}
    assert places_elsewhere(project, named) == {"data.root": str(films)}
    assert places_elsewhere(project, {"data.root": "data/phantoms", "training.weights": ""}) == {}
    with pytest.raises(OsteonError, match=r"^training\.weights: gone\.h5 is not here"):
        places_elsewhere(project, {"training.weights": "gone.h5"})
