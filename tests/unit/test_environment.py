"""What a step runs on and with, and the address of DVC's remote."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from osteon.environment import describe_environment, differences, dvc_remote, machine_line, packages_line


@pytest.mark.parametrize(("words", "found"), [((), "found\n"), (("rarely",), "")])
def test_a_process_that_ends_looks_for_no_garbage(words: tuple[str, ...], found: str) -> None:
    """Python does by itself, for a second among all that MLflow and TensorFlow have made."""
    code = """
import sys
from osteon.environment import collect_garbage_rarely

class Film:
    def __del__(self) -> None:
        print("found")

if sys.argv[1:]:
    collect_garbage_rarely()
film = Film()
film.itself = film
del film
"""
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout == found


def test_an_environment_is_every_package_and_the_kind_of_machine() -> None:
    result = describe_environment()
    assert json.loads(json.dumps(result)) == result
    assert result["python"] == ".".join(map(str, sys.version_info[:3]))
    assert result["packages"]["scikit-learn"] == version("scikit-learn")
    assert result["packages"]["great-expectations"] == version("great-expectations")
    assert result["cores"] >= 1
    assert machine_line(result).startswith(f"{result['python']} on {result['system']}, ")
    line = packages_line(result)
    assert f"keras {version('keras')}, " in line
    named = line.count(",") + 1
    assert line.endswith(f" and {len(result['packages']) - named} more")


def test_gpus_are_the_drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 'NVIDIA A100'\necho 'NVIDIA A100'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert describe_environment()["gpus"] == ["NVIDIA A100", "NVIDIA A100"]
    command.write_text("#!/bin/sh\nexit 9\n")
    assert describe_environment()["gpus"] == []


def environment(**changes: Any) -> dict[str, Any]:
    usual = {"python": "3.11.7", "system": "Linux x86_64", "processor": "A", "cores": 2, "gpus": []}
    return usual | {"packages": {"boto3": "1.0", "keras": "3.0", "numpy": "2.0"}} | changes


def test_two_environments_differ_in_what_is_named() -> None:
    assert list(differences(environment(), environment())) == []
    packages = {"boto3": "1.1", "keras": "3.1", "zipp": "1.0"}
    other = environment(cores=8, gpus=["NVIDIA A100"], packages=packages)
    assert list(differences(environment(), other)) == [
        "cores: 2 then, 8 now",
        "gpus: none then, NVIDIA A100 now",
        "keras: 3.0 then, 3.1 now",
        "numpy: 2.0 then, none now",
        "boto3: 1.0 then, 1.1 now",
        "zipp: none then, 1.0 now",
    ]


def dvc(*words: str) -> None:
    subprocess.run(["dvc", *words], check=True, capture_output=True)


def test_the_remote_is_the_one_that_dvc_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC itself writes its files."""
    monkeypatch.chdir(tmp_path)
    assert dvc_remote() is None
    dvc("init", "--no-scm", "-q")
    assert dvc_remote() is None
    dvc("remote", "add", "first", "s3://films/osteon")
    assert dvc_remote() is None
    dvc("remote", "add", "-d", "second", "https://me:sesame@films.example/o%20p?token=sesame")
    assert dvc_remote() == "https://films.example/o%20p"
    dvc("config", "--local", "core.remote", "first")
    assert dvc_remote() == "s3://films/osteon"
    dvc("remote", "modify", "--local", "first", "url", "s3://elsewhere/x")
    assert dvc_remote() == "s3://elsewhere/x"


@pytest.mark.parametrize("text", ["no section\n", "[core\nremote = x", "\xff", "[core]\nremote = x\n", "[core]\n"])
def test_a_file_of_dvcs_that_makes_no_sense_stops_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    (Path(".dvc") / "config").write_bytes(text.encode("latin-1"))
    assert dvc_remote() is None
