"""`osteon summary`: the last evaluation in short."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from osteon.errors import OsteonError
from osteon.records import lineage
from osteon.records.store_address import tracking_uri
from osteon.redaction import redact_url

SHOWN = ("auroc", "average_precision", "sensitivity", "specificity", "brier")


def print_summary(report: Path) -> None:
    """The figures of the evaluation in `report`, the seconds of the steps behind it, and the places to look.

    Raises:
        OsteonError: there is no evaluation.

    """
    try:
        metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OsteonError(f"{report}: no evaluation there; `dvc repro` makes one") from None
    test, warning, worst = metrics["test"], metrics["shortcuts"]["warning"], metrics["subgroups"]["worst"]
    console = Console()
    figures = Table(box=None, padding=(0, 2, 0, 0))
    figures.add_column(f"on {test['n']} test films of {test['groups']} groups")
    figures.add_column("value", justify="right")
    figures.add_column(f"{test['confidence']:.0%} interval", justify="right")
    for name in SHOWN:
        metric = test[name]
        if metric["value"] is not None:
            figures.add_row(
                {"auroc": "AUROC", "brier": "Brier score"}.get(name, name.replace("_", " ")),
                f"{metric['value']:.3f}",
                f"{metric['low']:.3f} – {metric['high']:.3f}",
            )
    console.print()
    console.print(figures)
    if metrics["patients"]["known"] < metrics["patients"]["films"]:
        console.print()
        text = f"patients {metrics['patients']['line']}: one may be in training and test"
        console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if worst:
        console.print()
        text = f"worse than the rest: {worst['text']}"
        console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if warning:
        console.print()
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)

    evaluated = lineage.lineage_of_file(report)
    if evaluated is not None:
        steps = [node for node in evaluated.walk() if node.seconds is not None]
        times = Table(box=None, padding=(0, 2, 0, 0))
        times.add_column("step")
        times.add_column("seconds", justify="right")
        for node in steps:
            times.add_row(node.step, f"{node.seconds:.1f}")
        times.add_row("together", f"{sum(node.seconds or 0 for node in steps):.1f}")
        console.print()
        console.print(times)
    console.print()
    console.print(f"report  {report / 'report.html'}", highlight=False, soft_wrap=True)
    console.print(
        f"MLflow  {redact_url(tracking_uri())}  (`make ui` opens it)",
        highlight=False,
        soft_wrap=True,
    )
    if evaluated is not None:
        run = evaluated.run_id
        console.print(f"run     {run}  (`osteon lineage {run}`)", highlight=False, soft_wrap=True)
