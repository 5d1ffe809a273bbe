"""The examples in docstrings are true."""

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import osteon

ROOT = Path(__file__).parents[2]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for room in ("osteon", "components")
    for path in sorted((ROOT / room).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    result = doctest.testmod(import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_the_modules_that_teach_by_examples_have_some() -> None:
    assert {
        "components.preparation.draw",
        "osteon",
        "osteon.films.groups",
        "osteon.statistics.auroc",
        "osteon.statistics.proportions",
    } <= set(MODULES)


def test_every_public_name_of_the_library_is_loaded_when_it_is_used_and_not_before() -> None:
    for name in osteon.__all__:
        assert getattr(osteon, name) is not None
        assert name in dir(osteon)
    with pytest.raises(AttributeError, match="module 'osteon' has no attribute 'nothing'"):
        _ = osteon.nothing
    code = "import osteon, sys; print({'numpy', 'pandas', 'scipy', 'keras', 'onnxruntime'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
