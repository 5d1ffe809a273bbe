"""Osteon, the library: films, models, figures with their intervals, and records of what was made from what.

In a notebook `import osteon` is enough; each name is loaded when it is first used.

>>> import osteon
>>> osteon.shown(osteon.wilson(46, 60, 0.95))
'0.767 [0.646, 0.856]'
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Arrow reads it when it is loaded. Its own allocator keeps some 25 MB more for a table of 8 MB than the system's.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

if TYPE_CHECKING:
    __version__: str
    from osteon.films.prepared.array import open_prepared
    from osteon.models.package.package import open_package as open_model
    from osteon.statistics.auroc import auroc_in_strata, delong
    from osteon.statistics.estimate import Estimate, shown
    from osteon.statistics.proportions import wilson

__all__ = ["Estimate", "auroc_in_strata", "delong", "open_model", "open_prepared", "shown", "wilson"]

_PLACES = {
    "Estimate": ("osteon.statistics.estimate", "Estimate"),
    "auroc_in_strata": ("osteon.statistics.auroc", "auroc_in_strata"),
    "delong": ("osteon.statistics.auroc", "delong"),
    "open_model": ("osteon.models.package.package", "open_package"),
    "open_prepared": ("osteon.films.prepared.array", "open_prepared"),
    "shown": ("osteon.statistics.estimate", "shown"),
    "wilson": ("osteon.statistics.proportions", "wilson"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":  # as pyproject.toml has it
        from importlib.metadata import version

        return version("osteon")
    if name not in _PLACES:
        raise AttributeError(f"module 'osteon' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
