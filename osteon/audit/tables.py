"""An audit as tables for a reader."""

from rich.console import Console
from rich.table import Table

from osteon.audit.findings import Audit, Contradiction, Gap
from osteon.statistics.estimate import Estimate, shown

NAMED, REASONS = 5, 5  # contradictions, reasons shown; audit.json has all


def print_audit(audit: Audit) -> None:
    """Print what was found; the verdict is the last line."""
    console = Console(highlight=False, markup=False)
    console.print(f"patients: {audit.known}", soft_wrap=True, style="" if audit.patients else "bold")
    console.print()
    for table in (_films(audit), _copies(audit), _leaks(audit), _gap(audit)):
        if table is not None:
            console.print(table)
            console.print()
    _print_contradictions(console, audit)
    console.print(audit.verdict, soft_wrap=True, style="bold red" if audit.leaking else "bold")


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _films(audit: Audit) -> Table:
    table = _table(f"{audit.folder}, layout {audit.layout or 'none: no labels'}", "films")
    table.add_row("films", f"{audit.films:,}")
    for reason, count in list(audit.unreadable.items())[:REASONS]:
        table.add_row(f"  cannot be read: {reason}", f"{count:,}")
    if rest := sum(list(audit.unreadable.values())[REASONS:]):
        table.add_row("  cannot be read for other reasons", f"{rest:,}")
    table.add_row("readable", f"{audit.readable:,}")
    for kind, count in audit.not_read.items():
        table.add_row(f"not read: {kind}", f"{count:,}")
    if audit.skipped:
        table.add_row("no films, skipped: " + ", ".join(audit.skipped), f"{sum(audit.skipped.values()):,}")
    if audit.positive or audit.negative:
        table.add_row(f"  labelled {audit.finding}", f"{audit.positive:,}")
        table.add_row(f"  labelled not {audit.finding}", f"{audit.negative:,}")
    for reason, count in list(audit.doubts.items())[:REASONS]:
        table.add_row(f"  label not used: {reason}", f"{count:,}")
    for split, count in audit.splits.items():
        table.add_row(f"  split {split}", f"{count:,}")
    if audit.splits and audit.without_split:
        table.add_row("  in no split", f"{audit.without_split:,}")
    table.add_row("source films, copies counted once", f"{audit.sources:,}")
    if audit.most_copies > 1:
        table.add_row("  images of the most copied", f"{audit.most_copies:,}")
    patients = "" if audit.patients is None else f", of {audit.patients:,} patients"
    table.add_row(f"groups: copies, patients and studies together{patients}", f"{audit.groups:,}")
    return table


def _copies(audit: Audit) -> Table | None:
    if not audit.signs:
        return None
    table = _table("copies", "pairs", "films in them")
    for sign in audit.signs:
        table.add_row(sign.name, f"{sign.pairs:,}", f"{sign.films:,}")
    return table


def _leaks(audit: Audit) -> Table | None:
    if not audit.leaks:
        return None
    table = _table("across the given splits", "films", "of", "share")
    for leak in audit.leaks:
        table.add_row(f"{leak.split} films with a copy in {leak.other}", *_share(leak.copies, leak.films))
        table.add_row(
            f"{leak.other} films with a copy in {leak.split}", *_share(leak.other_copies, audit.splits[leak.other])
        )
        if audit.patients is not None:
            what = f"{leak.split} films of a patient or study in {leak.other} too ({leak.patients:,} patients)"
            table.add_row(what, *_share(leak.patient_films, leak.films))
    return table


def _share(films: int, of: int) -> tuple[str, str, str]:
    return f"{films:,}", f"{of:,}", f"{films / of:.1%}"


def _gap(audit: Audit) -> Table:
    gap: Gap = audit.gap
    if gap.skipped:
        return _table(f"random against grouped cross-validation: not measured, {gap.skipped}")
    table = _table(f"a random forest on thumbnails, {gap.films:,} films of {gap.groups:,} groups", "accuracy", "AUROC")
    for name, scheme in (
        ("cross-validated by random films", gap.random),
        ("cross-validated by whole groups", gap.grouped),
    ):
        if scheme is not None:
            table.add_row(name, shown(scheme.accuracy), shown(scheme.auroc))
    table.add_row("difference", _maybe(gap.difference), "")
    table.add_row("always the commoner class", f"{gap.majority:.3f}", "0.500")
    if gap.left_out:
        table.add_row(f"({gap.left_out:,} films of groups drawn at random were left out)", "", "")
    return table


def _maybe(estimate: Estimate | None) -> str:
    return "" if estimate is None else shown(estimate)


def _print_contradictions(console: Console, audit: Audit) -> None:
    contradictions = audit.contradictions
    if not contradictions:
        return
    same = sum(each.likeness is None for each in contradictions)
    console.print(
        f"{_many(len(contradictions), 'source film is', 'source films are')} labelled both {audit.finding} and not "
        f"{audit.finding}, {same} of them on identical pixels:"
    )
    for each in contradictions[:NAMED]:
        console.print(f"  {_named(each, audit.finding)}", soft_wrap=True)
    if len(contradictions) > NAMED:
        console.print(f"  … and {len(contradictions) - NAMED} more")
    console.print()


def _named(contradiction: Contradiction, finding: str) -> str:
    kind = (
        "identical pixels" if contradiction.likeness is None else f"near copies, likeness {contradiction.likeness:.2f}"
    )
    return f"{finding}: {_listed(contradiction.positive)}; not {finding}: {_listed(contradiction.negative)} ({kind})"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _many(count: int, single: str, many: str) -> str:
    return f"{count:,} {single if count == 1 else many}"
