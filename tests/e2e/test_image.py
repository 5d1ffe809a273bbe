"""The container image: what is in it, what is not, and a step that runs in it with the least rights."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from osteon.environment import CODE
from tests.image import LEAST, ROOT, Image, base, find_engine, inspect

# All in one worker: they share the image.
pytestmark = pytest.mark.xdist_group("image")

BOUND = 2.7e9  # bytes beyond the base image: docs/images.md says what takes them
PYTHON = "/opt/osteon/bin/python3"


def said_by_git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def environment(config: dict[str, list[str]]) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in config["Env"])


def test_it_says_what_it_was_made_from(image: Image) -> None:
    config = image.inspect()["Config"]
    commit = said_by_git("rev-parse", "HEAD")
    dirty = bool(said_by_git("status", "--porcelain", "--", *CODE, "infra"))
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["revision"] == commit
    assert labels["version"] == version[1]
    assert labels["licenses"] == "Apache-2.0"
    shown = environment(config)
    assert (shown["OSTEON_GIT_COMMIT"], shown["OSTEON_GIT_DIRTY"]) == (commit, str(dirty).lower())


def test_it_says_its_commit_though_nothing_else_has_changed(image: Image) -> None:
    flags = os.environ.get("BUILD_FLAGS", "").split()
    names = {commit: f"localhost/osteon-test-commit:{commit}" for commit in ("0" * 40, "1" * 40)}
    try:
        for commit, name in names.items():
            args = ("--build-arg", f"COMMIT={commit}", "--file", "infra/Dockerfile", "--target", "cpu", "--tag", name)
            subprocess.run([image.engine, "build", *args, *flags, "."], cwd=ROOT, capture_output=True, check=True)
            config = inspect(image.engine, name)["Config"]
            assert config["Labels"]["org.opencontainers.image.revision"] == commit
            assert environment(config)["OSTEON_GIT_COMMIT"] == commit
    finally:
        subprocess.run([image.engine, "image", "rm", "--force", *names.values()], capture_output=True, check=False)


def test_its_environment_holds_nothing_of_this_machine(image: Image) -> None:
    config = image.inspect()["Config"]
    ours = environment(config).items() - environment(inspect(image.engine, base())["Config"]).items()
    assert {name for name, _ in ours} == {
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONUNBUFFERED",
        "HOME",
        "LOGNAME",
        "DVC_SITE_CACHE_DIR",
        "DVC_NO_ANALYTICS",
        "GX_ANALYTICS_ENABLED",
        "MLFLOW_DISABLE_TELEMETRY",
        "GIT_PYTHON_REFRESH",
        "OSTEON_GIT_COMMIT",
        "OSTEON_GIT_DIRTY",
    }
    assert not [value for _, value in ours if "://" in value]


def test_nobody_in_it_is_root_and_nothing_compiles(image: Image) -> None:
    assert image.run("id", "-u", options=()).strip() == "10001"
    result = image.run("sh", "-c", "for name in gcc cc g++ clang ld make uv; do command -v $name || true; done")
    assert result == ""
    # Read by all, written by nobody; but for /tmp, in which the build left nothing.
    assert image.run("sh", "-c", "find /app /opt/osteon -perm /022 ! -type l", options=("--network=none",)) == ""
    assert image.run("sh", "-c", "ls -A /tmp && touch /tmp/written", options=("--user=54321:54321",)) == ""


def test_its_packages_are_the_locks(image: Image) -> None:
    code = (
        "import json, platform; from importlib.metadata import distributions\n"
        "print(json.dumps({'packages': [(d.metadata['Name'], d.version) for d in distributions()],"
        " 'machine': platform.machine()}))"
    )
    output = json.loads(image.run("python3", "-c", code))
    barrier: dict[str, str] = {canonicalize_name(name): version for name, version in output["packages"]}
    marks = {
        "platform_machine": output["machine"],
        "sys_platform": "linux",
        "platform_system": "Linux",
        "implementation_name": "cpython",
        "python_full_version": "3.11.2",
        "python_version": "3.11",
    }
    lock = (ROOT / "infra" / "requirements-cpu.lock").read_text(encoding="utf-8")
    locked = {}
    for line in re.findall(r"^[\w.\-]+==[^\\\n]+", lock, re.MULTILINE):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(marks):
            locked[canonicalize_name(wanted.name)] = str(wanted.specifier).removeprefix("==")
    assert barrier.pop("osteon")
    assert barrier == locked


def test_nothing_is_in_it_that_should_not_be(image: Image) -> None:
    result = image.run("sh", "-c", "cd /app && find . -type f | sort").split()
    assert result == [
        "./mlflow/model_card.md.j2",
        "./mlflow/promotion.yaml",
        "./params.yaml",
        "./requirements-cpu.lock",
    ]
    packages = (
        "cd /opt/osteon/lib/python3*/site-packages && find osteon components pipelines -type f ! -name '*.pyc' | sort"
    )
    code = said_by_git(
        "ls-files", "--cached", "--others", "--exclude-standard", "osteon", "components", "pipelines"
    ).split("\n")
    # The compiled pipelines are for whoever sends them to a cluster.
    expected = sorted(name for name in code if (ROOT / name).is_file() and not name.startswith("pipelines/compiled/"))
    assert image.run("sh", "-c", packages).split() == expected
    # Not a history, not a test, not a key, not what only the build needs.
    places = "/app /home /mnt /opt /root /srv /tmp /build /wheel /uv"
    unwanted = "-name .git -o -name .dvc -o -name .osteon -o -name .env -o -name '*.whl'"
    options = ("--user=0", "--network=none")
    assert image.run("sh", "-c", f"find {places} {unwanted} 2>/dev/null || true", options=options) == ""


def test_films_and_keys_are_not_even_sent_to_the_engine(tmp_path: Path) -> None:
    """The build's context, listed by a build of its own."""
    engine = find_engine()
    wanted = {
        "LICENSE",
        "README.md",
        "osteon/films/reading/decoding.py",
        "osteon/pages/page.html.j2",
        "infra/check_imports.py",
        "infra/install_packages.sh",
        "infra/requirements-cpu.lock",
        "mlflow/model_card.md.j2",
        "mlflow/promotion.yaml",
        "params.yaml",
        "pipelines/__init__.py",
        "pyproject.toml",
        "requirements.lock",
    }
    unwanted = {
        ".dvc/config.local",
        ".env",
        ".git/config",
        ".osteon/key",
        ".venv/bin/python",
        "artifacts/model/package.json",
        "components/cli/__pycache__/main.cpython-311.pyc",
        "osteon/films/__pycache__/tags.cpython-311.pyc",
        "data/prepared/pixels.npy",
        "data/wrists/film.png",
        "mlflow/store/mlflow.db",
        "reports/evaluation/report.html",
        "tests/conftest.py",
    }
    for name in wanted | unwanted:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    lister = tmp_path / "lister"
    lister.write_text(f"FROM {base()}\nCOPY . /context\n", encoding="utf-8")
    name = "localhost/osteon-test-context"
    subprocess.run(
        [engine, "build", "-q", "-t", name, "-f", lister, "."], cwd=tmp_path, capture_output=True, check=True
    )
    try:
        listed = [engine, "run", "--rm", "--network=none", name, "sh", "-c", "cd /context && find . -type f"]
        sent = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    finally:
        subprocess.run([engine, "image", "rm", "-f", name], capture_output=True, check=False)
    assert {path.removeprefix("./") for path in sent} - {".dockerignore", "lister"} == wanted


def test_it_is_no_larger_than_its_page_says(image: Image) -> None:
    assert image.inspect()["Size"] - inspect(image.engine, base())["Size"] < BOUND


def test_kubeflow_can_start_a_step(image: Image) -> None:
    """As its lightweight components do: python3 from the path, and the executor as a module."""
    assert image.run("sh", "-c", "command -v python3").strip() == PYTHON
    assert "--component_module_path" in image.run("python3", "-m", "kfp.dsl.executor_main", "--help")


def test_a_user_without_a_name_runs_steps_below_a_root_that_is_read_only(image: Image, tmp_path: Path) -> None:
    folder = tmp_path / "films and figures"
    folder.mkdir()
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["phantoms"].update({"films": 24, "size": 96})
    with (folder / "few.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    folder.chmod(0o777)
    commands = (
        "osteon --help >help.txt",
        "osteon phantoms --params few.yaml --films films --sheet sheet.png",
        "osteon ingest --params few.yaml --source films --manifest manifest.parquet",
    )
    options = (
        *LEAST,
        f"--volume={folder}:/out",
        "--workdir=/out",
        "--env=MLFLOW_TRACKING_URI=sqlite:////out/mlflow.db",
        "--env=OSTEON_IDENTITY_KEY=the tests' own key",
        "--env=OSTEON_IMAGE=" + image.id,
    )
    # Whoever runs the tests may remove what that user wrote.
    script = f"umask 0; set -e; {'; '.join(commands)}"
    output = image.run("sh", "-c", script, options=options)
    assert "24" in output
    assert "phantoms" in (folder / "help.txt").read_text(encoding="utf-8")
    assert len(pd.read_parquet(folder / "manifest.parquet")) == 24

    with sqlite3.connect(folder / "mlflow.db") as store:
        tags = store.execute(
            "SELECT DISTINCT key, value FROM tags WHERE key LIKE 'osteon.git.%' OR key = 'osteon.image'"
        )
        shown = dict(tags.fetchall())
    commit = environment(image.inspect()["Config"])["OSTEON_GIT_COMMIT"]
    assert (shown["osteon.git.commit"], shown["osteon.image"]) == (commit, image.id)
