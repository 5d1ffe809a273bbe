"""The project's container image, built once from this working tree with the engine that this machine has."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NAME = "localhost/osteon-test"  # with this host no engine asks a registry for it
# What a cluster with strict rules allows: a user nobody knows, nothing to write to but /tmp, no rights, no network.
LEAST = (
    "--user=54321:54321",
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--network=none",
)


@dataclass(frozen=True)
class Image:
    """An image, and the engine that has it."""

    engine: str
    name: str  # by which kfp's DockerRunner finds it; it does not find an id
    id: str  # sha256:…

    def run(self, *words: str, options: Sequence[str] = LEAST) -> str:
        """What a command says, that must succeed, in a container of its own."""
        done = subprocess.run(
            [self.engine, "run", "--rm", *options, self.id, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def inspect(self) -> dict[str, Any]:
        return inspect(self.engine, self.id)


def inspect(engine: str, name: str) -> dict[str, Any]:
    output = subprocess.run([engine, "image", "inspect", name], capture_output=True, text=True, check=True).stdout
    return json.loads(output)[0]  # type: ignore[no-any-return]


def base() -> str:
    """The image it stands on."""
    text = (ROOT / "infra" / "Dockerfile").read_text(encoding="utf-8")
    return text.split("ARG BASE=", 1)[1].split("\n", 1)[0]


def find_engine() -> str:
    """Docker or podman, whichever answers and has the base image or can fetch it; a test is skipped where none does."""
    # A service of podman's is spoken to by podman itself: its builder is not Docker's.
    names = ("podman", "docker") if "podman" in os.environ.get("DOCKER_HOST", "") else ("docker", "podman")
    reasons = []
    for name in names:
        if shutil.which(name) is None:
            reasons.append(f"{name} is not installed")
        elif _fails(name, "info"):
            reasons.append(f"{name} does not answer")
        elif _fails(name, "image", "inspect", base()) and _fails(name, "pull", base()):
            reasons.append(f"{name} has no {base()} and cannot fetch it")
        else:
            return name
    pytest.skip(f"no image can be built here: {', '.join(reasons)}")


def _fails(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, check=False, timeout=300).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def build_image(lock: Path) -> Image:
    """`make image`. Minutes at first, then seconds: the engine keeps its layers. Two workers wait for one another."""
    engine = find_engine()
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = subprocess.run(
            ["make", "image", f"ENGINE={engine}", f"IMAGE={NAME}", "TARGET=cpu"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=3600,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        name = f"{NAME}:cpu"
        result = str(inspect(engine, name)["Id"])
    return Image(engine, name, result if result.startswith("sha256:") else f"sha256:{result}")
