"""Run the benchmarks and write what they found: python -m benchmarks [NAME …] [--quick]."""

import ast
import importlib
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console

from benchmarks.findings import as_markdown, show

NAMES = (
    "commands",
    "pipeline",
    "decoding",
    "fuzz",
    "oracle",
    "memory",
    "near_copies",
    "volume",
    "volume_of_folds",
    "hashing",
    "sides",
    "training",
    "networks",
    "search",
    "answering",
)
ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results.md")
TITLE = (
    "# What was measured\n\n"
    "Written by `python -m benchmarks`; not edited by hand. What each benchmark does stands in its file.\n"
)
# What decides how fast numbers go, the best first.
CPU_FLAGS = {"avx512_bf16": "AVX-512 with BF16", "avx512f": "AVX-512", "avx2": "AVX2"}


def run(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", show_default="all")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="see in minutes that all of it runs; nothing is written")
    ] = False,
) -> None:
    """Run the named benchmarks, or all, in their order."""
    unknown = sorted(set(names or ()) - set(NAMES))
    if unknown:
        raise typer.BadParameter(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    machine = describe_machine()
    for name in names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        Console(stderr=True).print(f"{name} …", style="dim")
        findings = module.measure(quick)
        show(name, findings)
        if not quick:
            write_section(name, "\n".join([*about(name), "", machine, "", as_markdown(findings)]))
    if not quick:
        typer.echo(f"\nwritten to {RESULTS.relative_to(ROOT)}")


def first_line(name: str) -> str:
    """What a benchmark says of itself; read from its file, so that --help needs to import none."""
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").split("\n", 1)[0]


def about(name: str) -> list[str]:
    """What a benchmark measures, when it did, on which commit, and the command for it."""
    real = (
        "OSTEON_REAL_DATA=… "
        if os.environ.get("OSTEON_REAL_DATA") and name in ("decoding", "fuzz", "oracle", "near_copies", "answering")
        else ""
    )
    if name == "oracle" and os.environ.get("OSTEON_DICOM_CASES"):
        real += "OSTEON_DICOM_CASES=… "
    commit = git("rev-parse", "--short", "HEAD") or "unknown commit"
    dirty = " with uncommitted changes" if git("status", "--porcelain", "--", ".", f":!{RESULTS}", ":!dvc.lock") else ""
    return [
        first_line(name),
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {commit}{dirty} · `{real}python -m benchmarks {name}`",
    ]


def describe_machine() -> str:
    """Cores, kind of processor, memory, load before anything was run, and versions; nothing that names the machine."""
    from importlib.metadata import version

    cpuinfo = Path("/proc/cpuinfo")
    flags = set(re.findall(r"\w+", cpuinfo.read_text(encoding="utf-8"))) if cpuinfo.exists() else set()
    kind = next((text for flag, text in CPU_FLAGS.items() if flag in flags), "")
    cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count()
    return " · ".join(
        [
            f"{cores} cores ({platform.machine()}{', ' if kind else ''}{kind})",
            f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
            f"load {os.getloadavg()[0]:.1f} before",
            platform.system(),
            f"Python {platform.python_version()}",
            *(f"{name} {version(name)}" for name in ("tensorflow", "keras")),
        ]
    )


def git(*words: str) -> str:
    """What git says; nothing where this is no git checkout."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def write_section(name: str, text: str) -> None:
    """Put one benchmark's section in its place; those of the others stay as they were measured."""
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    parts = re.split(r"^## (\w+)\n", old, flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True)) | {name: f"\n{text}\n"}
    body = [f"## {known}\n\n{sections[known].strip()}\n" for known in NAMES if known in sections]
    RESULTS.write_text("\n".join([TITLE, *body]), encoding="utf-8")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    table = "\n".join(["\b", *(f"{name:<16}{first_line(name)}" for name in NAMES)])
    app.command(
        help="Measure speed and memory, print a table for each benchmark and write benchmarks/results.md.\n\n"
        "Run it on a machine that does nothing else.\n\n" + table,
        epilog="OSTEON_REAL_DATA names the folder with real films (fracatlas/); without it phantoms stand in.",
    )(run)
    app()
