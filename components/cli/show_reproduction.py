"""`osteon reproduce`: the figures of a version then and now."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from components.reproduction.reproduce import TOLERANCE, Reproduction, reproduce
from osteon.records.registry import MODEL

MOST_CHANGES = 12  # lines; all packages may have other versions


def reproduce_and_print(version: str, keep: Path | None) -> bool:
    """Make a version again and print the comparison; whether it was reproduced.

    Args:
        version: of osteon-fracture, or an alias of one.
        keep: the folder to work in and to leave; None: a temporary one.

    Raises:
        OsteonError: see components.reproduction.reproduce.

    """
    result = reproduce(version, keep)
    print_reproduction(result)
    return result.reproduced


def print_reproduction(result: Reproduction) -> None:
    """A version's figures then and now, what else differs, and in the last line whether it was reproduced."""

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)

    console = Console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(f"{MODEL} version {result.version}")
    for column in ("then", "now", "difference"):
        table.add_column(column, justify="right")
    for figure in result.figures:
        cells = (figure.name.replace("_", " "), shown(figure.original), shown(figure.again), f"{figure.difference:.1g}")
        table.add_row(*cells, style=None if figure.same else "yellow")
    console.print()
    console.print(table)

    def print_line(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    if result.changes:
        console.print()
        print_line("other than then:")
    for line in result.changes[:MOST_CHANGES]:
        print_line(f"  {line}")
    if more := len(result.changes[MOST_CHANGES:]):
        print_line(f"  and {more} more")
    console.print()
    worst, differing = result.worst, sum(not figure.same for figure in result.figures)
    if result.reproduced:
        print_line(f"reproduced: no figure differs by more than {TOLERANCE}")
        return
    then, present = result.data
    if then != present:
        print_line(f"not reproduced: the films differ; their hash was {then}, it is {present}")
    if differing:
        change = f"{worst.name.replace('_', ' ')} was {shown(worst.original)}, it is {shown(worst.again)}"
        print_line(
            f"not reproduced: {change}; {differing} of {len(result.figures)} figures differ by more than {TOLERANCE}"
        )
