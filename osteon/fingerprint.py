"""What work that can be resumed was made from: data, parameters, code, versions of libraries, Keras' backend.

Folds, searches, trainings with their checkpoints, and squares are continued only where all of it is the same. The
parts are kept beside the work, so that a log line can name what changed.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from osteon.environment import DECISIVE

ROOT = Path(__file__).parents[1]
PACKAGES = ("osteon", "components")
NAMED = 3  # of the things of one kind that changed so many are named in a line


class Fingerprint(BaseModel):
    """The parts of a fingerprint: name → value or hash.

    data: what is read. parameters: what decides how. code: path of each source file → SHA-256. versions: of libraries.
    backend: of Keras; empty where no network takes part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: dict[str, str] = {}
    parameters: dict[str, str] = {}
    code: dict[str, str] = {}
    versions: dict[str, str] = {}
    backend: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of all parts."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()

    def changes(self, before: "Fingerprint") -> str:
        """What changed since another fingerprint, for a log line; empty where nothing did.

        >>> Fingerprint(data={"films": "b"}, backend="jax").changes(Fingerprint(data={"films": "a"}, backend="jax"))
        'data changed: films'

        """
        kinds = ("data", "parameters", "code", "versions")
        lines = [_changed(kind, getattr(before, kind), getattr(self, kind)) for kind in kinds]
        if before.backend != self.backend:
            lines.append(f"backend changed: {before.backend or 'none'} before, {self.backend or 'none'} now")
        return "; ".join(line for line in lines if line)


def what_changed(before: str | bytes, now: str | bytes) -> str:
    """What changed between two fingerprints, each as JSON, for a log line."""
    try:
        return Fingerprint.model_validate_json(now).changes(Fingerprint.model_validate_json(before))
    except ValueError:
        return "what was left cannot be read"


def _changed(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    names = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{kind} changed: {', '.join(names[:NAMED])}{more}"


def fingerprint(
    module: str,
    data: Mapping[str, str],
    parameters: Mapping[str, object],
    backend: str = "",
    packages: Iterable[str] = DECISIVE,
) -> Fingerprint:
    """Fingerprint of work that a module does.

    Args:
        module: its full name; its source and that of all our modules that it imports, directly or not, is hashed.
        data: name → hash or fingerprint of what is read.
        parameters: name → value; hashed as its text.
        backend: of Keras, where networks take part.
        packages: libraries whose installed versions decide; those not installed are left out.

    """
    return Fingerprint(
        data=dict(data),
        parameters={name: hashlib.sha256(str(value).encode()).hexdigest() for name, value in parameters.items()},
        code=dict(code_of(module)),
        versions=_versions(tuple(packages)),
        backend=backend,
    )


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


@cache
def code_of(module: str, root: Path = ROOT) -> Mapping[str, str]:
    """Path → SHA-256 of a module's source and of our modules that it imports, directly or not, wherever in their code.

    Imports for annotations alone (TYPE_CHECKING) decide nothing and are not followed.

    Args:
        module: full name.
        root: folder with our packages.

    """
    return _hashes_by_path(module, root)


def _hashes_by_path(module: str, root: Path) -> Mapping[str, str]:
    waiting, hashes = [module], {}
    visited: set[str] = set()
    while waiting:
        name = waiting.pop()
        path = _source(name, root)
        if name in visited or path is None:
            continue
        visited.add(name)
        source = path.read_bytes()
        hashes[path.relative_to(root).as_posix()] = hashlib.sha256(source).hexdigest()
        waiting += _imports(ast.parse(source).body)
    return dict(sorted(hashes.items()))


def _source(name: str, root: Path) -> Path | None:
    """File of one of our modules; None for what is none of ours, or no module (a function or class)."""
    if name.split(".")[0] not in PACKAGES:
        return None
    path = root.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Full names that code imports; of `from a import b` both a and a.b, which may be a module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from _imports(node.orelse)
        else:
            yield from _imports(ast.iter_child_nodes(node))
