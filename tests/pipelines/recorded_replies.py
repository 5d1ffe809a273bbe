"""What a real server answered: see recorded/README.md."""

import gzip
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recorded"


def exchange(begin: str) -> dict[str, Any]:
    """The request and the reply whose file's name begins so."""
    (file,) = FOLDER.glob(f"{begin}-*")
    content = file.read_bytes()
    found: dict[str, Any] = json.loads(gzip.decompress(content) if file.suffix == ".gz" else content)
    return found


def reply(begin: str) -> Any:
    """The reply whose file's name begins so."""
    return exchange(begin)["reply"]


def listed_run(begin: str) -> dict[str, Any]:
    """The run, of those that the server listed, whose id begins so."""
    (run,) = (run for run in reply("commands-0058")["runs"] if run["run_id"].startswith(begin))
    return dict(run)
