"""What a step runs on and with: the machine, Python, and every installed package."""

import atexit
import configparser
import gc
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from osteon.redaction import redact_url

# Another version of one of these may give other figures; the rest is in the record too.
DECISIVE = (
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "keras",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
)
# What decides what the steps do, beside parameters and films. dvc.lock is what a run writes.
CODE = ("osteon", "components", "pipelines", "dvc.yaml", "pyproject.toml", "requirements.lock")
NAMED = 3  # of the changed files so many are named in a line
_KINDS = ("python", "system", "processor", "cores", "gpus")


def collect_garbage_rarely() -> None:
    """Let Python look for garbage that holds itself when there may be some, not after every 700 objects.

    MLflow and TensorFlow make more than a million objects that stay: to look through them again and again took a fifth
    of the time of their import, and once more at the end took a second: what is left then goes with the process. For
    the beginning of a process that is ours.
    """
    gc.set_threshold(100_000, 20, 10)
    atexit.register(gc.freeze)


def describe_environment() -> dict[str, Any]:
    """The kind of machine, and package → version; nothing that names the machine.

    Returns:
        python, system and processor as texts, cores (those this process may use), gpus (the names of NVIDIA's),
        packages (name → version).

    """
    from importlib.metadata import distributions

    packages: dict[str, str] = {}
    for distribution in distributions():
        about = distribution.metadata  # parsed at each access
        name = re.sub(r"[-_.]+", "-", about["Name"]).lower()  # as the lock has it
        packages.setdefault(name, about["Version"])  # of two the first is imported
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": _gpus(),
        "packages": dict(sorted(packages.items())),
    }


def _processor() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor()


def _gpus() -> list[str]:
    """Asked of the driver: to ask TensorFlow takes seconds, and most steps do not need it."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603
            (command, "--query-gpu=name", "--format=csv,noheader"),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


def machine_line(environment: dict[str, Any]) -> str:
    """Python and the kind of machine, for a person."""
    gpus = ", ".join(environment["gpus"]) or "no GPU"
    where = ", ".join((environment["processor"], f"{environment['cores']} cores", gpus))
    return f"{environment['python']} on {environment['system']}, {where}"


def packages_line(environment: dict[str, Any]) -> str:
    """The versions that decide, and how many others there are."""
    packages = environment["packages"]
    named = [f"{name} {packages[name]}" for name in DECISIVE if name in packages]
    return f"{', '.join(named)} and {len(packages) - len(named)} more"


def differences(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """In what two environments differ, a line each; of the packages those that decide first."""
    for kind in _KINDS:
        if then[kind] != now[kind]:
            yield f"{kind}: {_as_text(then[kind])} then, {_as_text(now[kind])} now"
    before, after = then["packages"], now["packages"]
    changed = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    for name in sorted(changed, key=lambda name: name not in DECISIVE):
        yield f"{name}: {before.get(name, 'none')} then, {after.get(name, 'none')} now"


def _as_text(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def dvc_remote() -> str | None:
    """The address of DVC's default remote, as .dvc/config and config.local say it, without user and password.

    Read here because every step asks: to import dvc.config and load it takes 0.7 s, this 0.3 ms.
    """
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",), strict=False)
    try:
        parser.read([Path(".dvc") / "config", Path(".dvc") / "config.local"], encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return None
    name = parser.get("core", "remote", fallback="").strip("'\"")
    for section in parser.sections():
        # DVC writes ['remote "NAME"'].
        if (match := re.search(r'remote "(.+?)"', section)) and match[1] == name:
            return redact_url(parser.get(section, "url", fallback="").strip("'\"")) or None
    return None


def present_commit() -> tuple[str, str]:
    """The commit of this folder or image, and whether its code was changed since: 'true', 'false' or 'unknown'."""
    commit, dirty = os.environ.get("OSTEON_GIT_COMMIT"), os.environ.get("OSTEON_GIT_DIRTY", "")
    if not commit:
        commit = _git("rev-parse", "HEAD")
        dirty = str(bool(changed_code())).lower() if commit else "unknown"
    return commit or "unknown", dirty


def changed_code() -> list[str]:
    """Files of CODE that differ from the commit, new ones too; none where there is no repository.

    Parameters are recorded in full with each run, and notebooks and reports change no figure.
    """
    changed = _git("diff", "--name-only", "--relative", "-z", "HEAD", "--", *CODE)
    new = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *CODE)
    return sorted(name for name in {*changed.split("\0"), *new.split("\0")} if name)


def uncommitted_code_warning() -> str | None:
    """What a person should know before a run that promote will refuse; None where all code is committed."""
    if os.environ.get("OSTEON_GIT_COMMIT") or not (changed := changed_code()):
        return None
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    return (
        f"the code differs from the commit: {', '.join(changed[:NAMED])}{more}. `osteon promote` refuses a model made "
        f"with it, for nobody could make it again. Commit first: git add {' '.join(_places(changed))} && "
        "git commit -m 'WHAT CHANGED'"
    )


def _places(changed: list[str]) -> list[str]:
    """The entries of CODE that some files belong to."""
    return [place for place in CODE if any(file == place or file.startswith(f"{place}/") for file in changed)]


def _git(*words: str) -> str:
    try:
        done = subprocess.run(("git", *words), capture_output=True, text=True, timeout=30, check=True)  # noqa: S603, S607
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
