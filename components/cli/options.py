"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ParamsFile = Annotated[Path, typer.Option("--params", help="parameter file", show_default=True)]
PARAMS_FILE = Path("params.yaml")
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
