"""What the container image is made from says the same as the rest of the repository."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text(encoding="utf-8")


def locked(name: str) -> dict[str, set[str]]:
    """Package → versions; one can have several, for several machines."""
    result: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.\-]+)==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE):
        result.setdefault(package, set()).add(version)
    return result


HERE = locked("requirements.lock")
CPU, GPU = locked("infra/requirements-cpu.lock"), locked("infra/requirements-gpu.lock")


def test_the_image_has_the_versions_of_the_laptop() -> None:
    """A figure that differs in a cluster is then no other version's."""
    named = {name: HERE["tensorflow"] if name == "tensorflow-cpu" else HERE.get(name) for name in CPU}
    assert named == CPU
    # What only developers need stays here.
    assert not CPU.keys() & {"pytest", "mypy", "ruff", "moto", "jax", "uv"}


def test_the_gpu_image_is_the_cpu_image_with_nvidias_libraries() -> None:
    nvidia = {name for name in GPU if name.startswith("nvidia-")}
    assert {"nvidia-cuda-runtime-cu12", "nvidia-cudnn-cu12", "nvidia-nccl-cu12", "nvidia-cuda-nvcc-cu12"} <= nvidia
    assert {name: GPU[name] for name in GPU.keys() - nvidia} == {
        name: version for name, version in CPU.items() if name != "tensorflow-cpu"
    }


def test_both_targets_are_made_alike() -> None:
    targets = re.findall(r"^FROM runtime AS (\w+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in targets] == ["cpu", "gpu"]
    cpu, gpu = (text.strip().replace(f"requirements-{name}.lock", "LOCK") for name, text in targets)
    assert cpu == gpu


def test_the_image_names_no_host_but_the_base_images() -> None:
    assert not re.search(r"://|--(extra-)?index-url|--trusted-host", DOCKERFILE)
    assert re.findall(r"^ARG BASE=(.*)$", DOCKERFILE, re.MULTILINE) == ["docker.io/library/python:3.11-slim-bookworm"]
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${BASE}", "runtime"}


def test_the_context_is_a_list_of_what_goes_in() -> None:
    lines = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    assert lines[0] == "*"
    for line in lines[1:]:
        assert list(ROOT.glob(line.removeprefix("!"))) or not line.startswith("!"), f"{line} is not there"
