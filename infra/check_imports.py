"""In the image's build: import every module of ours and all that any of them imports, also inside functions."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import components
import osteon
import pipelines

# The second backend is for whoever installs it.
OPTIONAL = {"jax"}
# What others start by name: kfp runs a step, DVC fetches films, MLflow loads a model.
BY_NAME = ("kfp.dsl.executor_main", "dvc.api", "dvc.repo", "dvc_s3", "mlflow.pyfunc")


class Imports(ast.NodeVisitor):
    """The modules that a file names, wherever in it but where only a type checker looks."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        """Not below TYPE_CHECKING."""
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        """Import a, b."""
        self.names.update(alias.name for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """From a import b."""
        if node.module and not node.level:
            self.names.add(node.module)


def ours() -> Iterator[str]:
    """Our modules."""
    for package in (osteon, components, pipelines):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield found.name


def main() -> None:
    """Import them and what they import; the first that cannot be ends the build."""
    imports = Imports()
    imports.names.update(BY_NAME)
    for name in ours():
        found = importlib.import_module(name)
        if found.__file__:
            imports.visit(ast.parse(Path(found.__file__).read_text(encoding="utf-8")))
    for name in sorted(imports.names):
        if name.split(".")[0] not in OPTIONAL:
            importlib.import_module(name)


if __name__ == "__main__":
    main()
