"""What a benchmark hands back, and how it looks on the terminal and in results.md."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """What was aimed at, with what was found, and whether that is enough."""

    text: str
    met: bool


@dataclass(frozen=True)
class Findings:
    """One benchmark's table.

    n: what was measured on, and how many. columns: the first holds names, the others figures. notes: what a reader
    must know beside the table.
    """

    n: str
    columns: list[str]
    rows: list[list[str]]
    goals: list[Goal]
    notes: list[str] = field(default_factory=list)


def show(title: str, findings: Findings) -> None:
    """Print one benchmark's table, its goals and its notes."""
    console = Console()
    table = Table(title=f"{title}: {escape(findings.n)}", title_justify="left", title_style="bold", box=None)
    for number, column in enumerate(findings.columns):
        table.add_column(column, justify="right" if number else "left")
    for row in findings.rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print()
    console.print(table)
    for goal in findings.goals:
        console.print(f"{'[green]met[/]' if goal.met else '[red]missed[/]'}: {escape(goal.text)}", highlight=False)
    for note in findings.notes:
        console.print(f"[dim]{escape(note)}[/]", highlight=False)


def as_markdown(findings: Findings) -> str:
    """The same for results.md."""
    lines = [
        f"n: {findings.n}.",
        "",
        f"| {' | '.join(findings.columns)} |",
        f"|{'|'.join(['---', *['--:'] * (len(findings.columns) - 1)])}|",
        *(f"| {' | '.join(row)} |" for row in findings.rows),
        "",
        *(f"- {'met' if goal.met else '**missed**'}: {goal.text}" for goal in findings.goals),
        *(f"- {note}" for note in findings.notes),
    ]
    return "\n".join(lines)
