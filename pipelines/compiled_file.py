"""A compiled pipeline, as it is read before it is sent."""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from osteon.errors import OsteonError

CACHED = re.compile(r"cachingOptions:\n +enableCache: true\n")
DIGEST = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")


class CompiledFile(NamedTuple):
    """A file that KFP's compiler wrote; the version is named after its content."""

    path: Path
    version: str
    images: tuple[str, ...]
    inputs: frozenset[str]
    needed: frozenset[str]


def read_compiled(path: Path) -> CompiledFile:
    """Read a compiled pipeline.

    Raises:
        OsteonError: missing, not compiled by KFP, or by an earlier version; or its image has a tag or is nowhere.

    """
    how = "`osteon pipeline compile --image NAME@sha256:…`"
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise OsteonError(f"{path}: no such file; {how} writes it") from None
    try:
        documents: list[Any] = list(YAML(typ="safe").load_all(content))
        spec = documents[0]
        executors = spec["deploymentSpec"]["executors"]
        containers = [executor["container"] for executor in executors.values() if "container" in executor]
        images = tuple(sorted({str(container["image"]) for container in containers}))
        inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    except (YAMLError, UnicodeDecodeError, LookupError, TypeError, AttributeError):
        raise OsteonError(f"{path}: is no compiled pipeline; {how} writes one") from None
    # Its image could not read today's arguments.
    if b"def find_films(" in content:
        raise OsteonError(f"{path}: an earlier version of Osteon compiled it; {how} makes one of this version")
    # KFP's cache compares the image's name: behind a tag that has moved it would find the results of older code.
    tags = [image for image in images if not DIGEST.fullmatch(image)]
    if tags:
        raise OsteonError(f"{path}: the image {tags[0]} has a tag, which may move; name its digest: {how}")
    if any(image.endswith("0" * 64) for image in images):
        raise OsteonError(f"{path}: is an example, compiled for an image that does not exist; {how} makes yours")
    needed = {name for name, spec in inputs.items() if "defaultValue" not in spec and not spec.get("isOptional")}
    return CompiledFile(path, hashlib.sha256(content).hexdigest()[:12], images, frozenset(inputs), frozenset(needed))


def without_cache(compiled: CompiledFile, folder: Path) -> CompiledFile:
    """The same pipeline, whose steps all run, whatever Kubeflow's cache has of them.

    Args:
        compiled: a file of `osteon pipeline compile`.
        folder: gets the file.

    Raises:
        OsteonError: another program wrote the file.

    """
    text = CACHED.sub("cachingOptions: {}\n", compiled.path.read_text(encoding="utf-8"))
    if "enableCache" in text:
        raise OsteonError(f"{compiled.path}: --no-cache takes a file as `osteon pipeline compile` wrote it")
    file = folder / compiled.path.name
    file.write_text(text, encoding="utf-8")
    return read_compiled(file)


def check_arguments(compiled: CompiledFile, arguments: dict[str, str]) -> None:
    """See that a compiled pipeline takes these arguments and needs no other.

    Raises:
        OsteonError: it does not; it may be another pipeline, or compiled by another version of Osteon.

    """
    unknown, missing = set(arguments) - compiled.inputs, compiled.needed - set(arguments)
    if unknown or missing:
        faults = [f"takes no {name}" for name in sorted(unknown)] + [f"needs {name}" for name in sorted(missing)]
        text = f"{compiled.path}: {', '.join(faults)}"
        raise OsteonError(f"{text}; is it the right file? If so, `osteon pipeline compile` again")
