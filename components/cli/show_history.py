"""`osteon registry history`: every decision on the model in use."""

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from osteon.records.registry import MODEL, Registry


def print_history(as_json: bool) -> None:
    """Every decision on the model in use."""
    registry = Registry.open_existing()
    entries = registry.entries() if registry else []
    if as_json:
        print(json.dumps([json.loads(entry.text()) | {"digest": entry.digest()} for entry in entries], indent=2))  # noqa: T201
        return
    console = Console()
    if registry is None or not entries:
        console.print(f"no decision yet: no version of {MODEL} is in use", highlight=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("at (UTC)", "version", "what", "was", "who", "why"):
        table.add_column(column)
    for entry in entries:
        when, reason = f"{entry.at:%Y-%m-%d %H:%M}", entry.reason()
        cells = (when, entry.version, entry.action, entry.was or "–", entry.who, reason)
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)
    state = registry.state()
    for line in (f"in use: {MODEL} version {state.champion or 'none'}", f"hash of the last decision: {state.last}"):
        console.print(line, highlight=False, soft_wrap=True)
