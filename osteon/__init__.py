"""The library: what a film, a model, a figure and a record are."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """`__version__`, as pyproject.toml has it; read when it is needed, for it takes a while."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version

        return version("osteon")


# Arrow reads it when it is loaded. Its own allocator keeps some 25 MB more for a table of 8 MB than the system's.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
