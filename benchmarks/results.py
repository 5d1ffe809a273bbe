"""Run the pipeline on a set of films and write what came out into docs/results.md.

    python -m benchmarks.results                   both sets, the shortcuts, the audit; not the ablation
    python -m benchmarks.results --only phantoms   one; the other parts of the page stay
    python -m benchmarks.results --only shortcuts  no training: a minute
    python -m benchmarks.results --only audit      the search for copies: four minutes

Each part is run by the command that the page shows, in a fresh clone of HEAD with a store of its own.
FracAtlas is taken from $OSTEON_REAL_DATA/fracatlas.
"""

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.fresh_clone import ROOT, Clone, fresh_clone
from components.promotion.decision import signed
from components.validation.report import count_reasons
from osteon.audit.audit import RESULT
from osteon.audit.findings import Audit
from osteon.files import atomic_file
from osteon.films.copies.leaks import TABLE
from osteon.films.layouts.fracatlas import MISSING_BETWEEN
from osteon.films.shortcut_audit import ShortcutAudit, read_shortcut_audit
from osteon.models.heldout.comparison import TITLES as MODEL_TITLES
from osteon.statistics.auroc import compare_aurocs
from osteon.statistics.estimate import Estimate, shown

PAGE, PICTURES = ROOT / "docs" / "results.md", ROOT / "docs" / "pictures"
ROWS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "f1": "F1",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "brier": "Brier score",
    "log_loss": "log loss",
}


@dataclass(frozen=True)
class Case:
    """A set of films, and what is said otherwise than in params.yaml."""

    title: str
    about: str
    settings: dict[str, str]
    other: dict[str, str] = field(default_factory=dict)  # changes that a second model is made with, to compare


CASES = {
    "phantoms": Case(
        "Phantoms: what `make run` does",
        "The embedded films, drawn from a seed; the figures say that the pipeline works, nothing about patients.",
        {},
    ),
    "fracatlas": Case(
        "FracAtlas",
        "Radiographs of hand, leg, hip and shoulder (Abedeen et al., Scientific Data 2023, CC BY 4.0), the part of the "
        "set named below; networks that start from ImageNet's weights, trained on no other films. FracAtlas has no "
        "patient ids: films are joined into groups by their file numbers, bytes and pixels ([data.md](data.md)). While "
        "the network `compact` was designed, early versions of it were tried on this set, with other splits, "
        "and a prototype of this network: the figures may be a little favourable. The settings were set down before "
        "this run and not changed after it.",
        {
            "data.root": "$OSTEON_REAL_DATA/fracatlas",
            "data.layout": "fracatlas",
            "preparation.image_size": "320",
            "augmentation.copies": "0",
            "augmentation.copies_rarer": "0",
            "search.trials": "0",
            "cross_validation.at_once": "1",
            "training.network": "efficientnet_lite0",
            "training.weights": "imagenet",
            "++training.head_epochs": "1",  # whether params.yaml names it or not
            "training.epochs": "4",
            "classical.random_forest.trees": "300",
            "package.final": "ensemble",
        },
        # What the weights are worth: the default network, from scratch.
        other={
            "training.network": "compact",
            "training.weights": "",
            "training.width": "16",
            "training.epochs": "40",
            "training.precision": "mixed_bfloat16",
        },
    ),
}


def command_of(stage: str, settings: Mapping[str, str]) -> str:
    """What a person types for a stage with other parameters."""
    if not settings:
        return f"dvc repro {stage}"
    words = [f'-S "{key}={value}"' if "$" in value else f"-S {key}={value}" for key, value in settings.items()]
    return " \\\n  ".join([f"dvc exp run {stage}", *words])


@dataclass(frozen=True)
class Evaluated:
    """A packaged model on the test films. size: of its networks, MB."""

    metrics: dict[str, Any]
    lineage: dict[str, Any]
    predictions: pd.DataFrame
    size: float


def run(name: str) -> dict[str, Any]:
    """Run a case; all that the page shows."""
    case = CASES[name]
    with fresh_clone() as clone:
        of = {"evaluated": evaluated(clone, case.settings)}
        figure = clone.folder / "reports" / "evaluation" / "figures" / "roc.png"
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / f"{name}_roc.png").write_bytes(figure.read_bytes())
        if case.other:
            of["other"] = evaluated(clone, case.settings | case.other)
        table = clone.folder / "reports" / "validation" / "quarantine.csv"
        return {**of, "reasons": count_reasons(pd.read_csv(table, dtype="string"))}


def evaluated(clone: Clone, settings: Mapping[str, str]) -> Evaluated:
    """Evaluate a model of these settings."""
    clone.run(command_of("evaluate", settings))
    reports = clone.folder / "reports" / "evaluation"
    run_line = re.search(r"^run +(\w+)", output := clone.output("osteon summary"), re.MULTILINE)
    assert run_line is not None, output  # noqa: S101 – our own output
    networks = (clone.folder / "artifacts" / "model").glob("network-*.keras")
    return Evaluated(
        metrics=json.loads((reports / "metrics.json").read_text(encoding="utf-8")),
        lineage=json.loads(clone.output(f"osteon lineage {run_line[1]} --json")),
        predictions=pd.read_csv(reports / "predictions.csv", dtype={"film_id": "string", "group": "string"}),
        size=sum(file.stat().st_size for file in networks) / 1e6,
    )


def against_other(case: Case, result: Evaluated, other: Evaluated) -> list[str]:
    """Two models of one case on the same test films."""
    ours, theirs = result.predictions, other.predictions
    assert list(ours["film_id"]) == list(theirs["film_id"])  # noqa: S101 – the test films depend on neither
    groups = pd.factorize(ours["group"])[0].astype("int64")
    labels, scores, others = ours["label"].to_numpy("int64"), ours["score"].to_numpy(), theirs["score"].to_numpy()
    confidence = result.metrics["test"]["confidence"]
    less = compare_aurocs(labels, scores, others, groups, np.zeros_like(groups), confidence).auroc
    names = [", ".join(f"`{key}={settings[key]}`" for key in case.other) for settings in (case.settings, case.other)]
    lines = ["| | AUROC | Brier score | minutes to train | to evaluate | MB |", "|---|---|---|--:|--:|--:|"]
    for name, entry in zip(names, (result, other), strict=True):
        minutes = {step["step"]: f"{step['seconds'] / 60:.1f}" for step in entry.lineage["steps"]}
        auroc, brier = (interval(entry.metrics["test"][key]) for key in ("auroc", "brier"))
        lines.append(f"| {name} | {auroc} | {brier} | {minutes['train']} | {minutes['evaluate']} | {entry.size:.1f} |")
    text = f"AUROC of the first minus that of the second, paired, films summed by group: {signed(less)}."
    return ["", *lines, "", f"{text} Both need the folds."]


def certainty_and_sight(metrics: dict[str, Any]) -> list[str]:
    """Calibration, robustness and where it looked."""
    result = metrics["calibration"]
    lines = ["", "| calibration error (ECE) | | by chance |", "|---|---|---|"]
    for title, key in (
        ("out of fold, before", "out_of_fold_before"),
        (f"out of fold, after ({result['method']}, cross-fitted)", "out_of_fold_after"),
        ("on the test films", "test"),
    ):
        lines.append(f"| {title} | {interval(result[key]['ece'])} | {number(result[key]['by_chance'])} |")
    lines += ["", "| test films changed | answers that flip | AUROC changes by |", "|---|---|---|"]
    for change, row in metrics["robustness"].items():
        flips = f"{row['flipped']} of {row['films']}, {interval(row['share'])}"
        lines.append(f"| {change} | {flips} | {signed(Estimate(**row['auroc']))} |")
    explained = metrics["explanations"]
    if game := explained["pointing_game"]:
        lines += [
            "",
            f"The {explained['method']}'s peak lies in a true outline of {game['films']} fractured test films in "
            f"{interval(game['peak'])}; the film's centre in {interval(game['centre'])}, a place at random in "
            f"{number(game['chance'])}.",
        ]
    return lines


def detection_table(detection: dict[str, Any] | None) -> list[str]:
    """Boxes against true ones; nothing where no test film has any."""
    if not detection:
        return []
    shown_boxes = detection["shown"]
    lines = [
        "",
        f"Boxes, on {detection['films']:,} test films, {detection['fractured']} with {detection['lesions']} true "
        "boxes ([how they are counted](training.md#evaluation)):",
        "",
        "| boxes | lesions hit, IoU ≥ 0.3 | films with a lesion hit | lesions hit, centre in the box |",
        "|---|---|---|---|",
    ]
    for rate, of_rate in detection["froc"]["iou"].items():
        centre = detection["froc"]["centre"][rate]["by_lesion"]
        hits = " | ".join(interval(figure) for figure in (of_rate["by_lesion"], of_rate["by_film"], centre))
        lines.append(f"| at {rate} false marks a film | {hits} |")
    hits = " | ".join(interval(shown_boxes[key]) for key in ("by_lesion", "by_film"))
    lines.append(f"| as shown to a user, {interval(shown_boxes['false_marks'])} false marks a film | {hits} | |")
    lines.append("")
    lines.append(
        f"Average precision at IoU 0.3: {interval(detection['average_precision'])}. "
        f"All boxes together are {number(detection['most'])} false marks a film."
    )
    return lines


def subgroup_table(by: dict[str, Any]) -> list[str]:
    """By region, view and hardware."""
    lines = ["", "| test films | n | fractured | AUROC | sensitivity | specificity |", "|---|--:|--:|---|---|---|"]
    for attribute in ("region", "view", "hardware"):
        for value, row in by.get(attribute, {}).items():
            figures = " | ".join(interval(row[key]) for key in ("auroc", "sensitivity", "specificity"))
            lines.append(f"| {value} | {row['films']} | {row['positive']} | {figures} |")
    return lines


def interval(figure: dict[str, float | None]) -> str:
    """'0.812 [0.731, 0.893]'."""
    if figure["value"] is None:
        return "not defined"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def number(figure: float | None) -> str:
    """'0.812', or nothing."""
    return "" if figure is None else f"{figure:.3f}"


def section(name: str, case: Case, result: dict[str, Any]) -> str:
    """The case's part of the page."""
    metrics, lineage = result["evaluated"].metrics, result["evaluated"].lineage
    test = metrics["test"]
    steps = {step["step"]: step for step in lineage["steps"]}
    validated, crossed, trained = (steps[step]["metrics"] for step in ("validate", "cross_validate", "train"))
    lines = [
        f"## {case.title}",
        "",
        case.about,
        "",
        "```sh",
        command_of("evaluate", case.settings),
        "```",
        "",
        f"{validated['films']:,.0f} films, {validated['trusted']:,.0f} trusted. Trained on {trained['films']:,.0f} of "
        f"them and {trained['copies']:,.0f} varied copies, for the {trained['epochs']:.0f} epochs that "
        f"{crossed['folds']:.0f} folds chose; AUROC out of fold {trained['out_of_fold_auroc']:.3f}. "
        f"Tested on {test['n']:,} films of {test['groups']:,} groups, {test['prevalence']:.1%} of them fractured. "
        f"Intervals: {test['confidence']:.0%}.",
        "",
        f"![ROC on the test films](pictures/{name}_roc.png)",
        "",
        "| on the test films | value | interval by |",
        "|---|---|---|",
    ]
    methods = {"auroc": "DeLong"} | dict.fromkeys(("sensitivity", "specificity", "ppv", "npv", "accuracy"), "Wilson")
    for key, title in ROWS.items():
        lines.append(f"| {title} | {interval(test[key])} | {methods.get(key, 'bootstrap over groups')} |")
    lines += ["", "| out of fold, each model | AUROC, all folds | mean of the folds | sd |", "|---|---|---|---|"]
    for model, row in metrics["models"].items():
        lines.append(
            f"| {MODEL_TITLES[model]} | {interval(row['pooled'])} | {number(row['mean'])} | {number(row['sd'])} |"
        )
    points = metrics["operating_points"]
    lines += ["", "| answers on the test films | |", "|---|---|"]
    lines.append(f"| sensitivity of 'rule out', by group | {interval(points['sensitivity']['share'])} |")
    lines.append(f"| specificity of 'rule in', by group | {interval(points['specificity']['share'])} |")
    lines.append(f"| share of films answered 'uncertain' | {interval(points['uncertain'])} |")
    lines += certainty_and_sight(metrics)
    lines += detection_table(metrics.get("detection"))  # of a commit before there were boxes there is none
    lines += subgroup_table(metrics["subgroups"]["by"])
    lines += ["", "| films in quarantine | reason |", "|---|---|"]
    lines += [f"| {count} | {reason} |" for reason, count in result["reasons"].items()] or ["| 0 | |"]
    if case.other:
        lines += against_other(case, result["evaluated"], result["other"])
    lines += ["", "| stage | minutes |", "|---|---|"]
    lines += [f"| {step} | {entry['seconds'] / 60:.2f} |" for step, entry in steps.items()]
    lines += [f"| together | {sum(entry['seconds'] for entry in steps.values()) / 60:.2f} |", ""]
    lines += [
        f"Measured {datetime.now(UTC):%Y-%m-%d} at commit {lineage['commit'][0][:10]} on {os.cpu_count()} cores "
        f"({platform.machine()}, no GPU unless said).",
        "",
        "<details><summary>All parameters</summary>",
        "",
        "```yaml",
        *(f"{key}: {value}" for key, value in lineage["params"].items() if not key.startswith("data.")),
        "```",
        "",
        "</details>",
        "",
    ]
    return "\n".join(lines)


SHORTCUTS = "shortcuts"
SHORTCUTS_TITLE = "FracAtlas: what can be told without looking at bone"
# How a person asks, for each set.
SHORTCUT_COMMANDS = {
    "phantoms": "dvc repro validate",
    "fracatlas": """films=$OSTEON_REAL_DATA/fracatlas
echo 'data: {layout: fracatlas}' >fracatlas.yaml
osteon ingest --source "$films" --manifest data/manifest.parquet --params fracatlas.yaml
osteon validate --source "$films" --manifest data/manifest.parquet \\
  --trusted data/trusted.parquet --report reports/validation --params fracatlas.yaml""",
}


def audits() -> dict[str, ShortcutAudit]:
    """The shortcut audit of both sets."""
    result = {}
    for name, typed in SHORTCUT_COMMANDS.items():
        print(f"$ {typed}", flush=True)
        with fresh_clone() as clone:
            clone.run(typed)
            result[name] = read_shortcut_audit(clone.folder / "reports" / "validation")
    return result


def shortcut_section(audits: dict[str, ShortcutAudit]) -> str:
    """What the attributes of files, exposure and scanner tell of the label; no network is trained."""
    real, drawn = audits["fracatlas"], audits["phantoms"]
    lines = [
        f"## {SHORTCUTS_TITLE}",
        "",
        "A random forest is trained on file size, dimensions, JPEG quality, exposure, border, marker corner and the "
        "scanner's tags, and on no picture; it predicts films of held-out groups "
        "([data.md](data.md#shortcuts)).",
        "",
        "```sh",
        SHORTCUT_COMMANDS["fracatlas"],
        "```",
        "",
        "| films | n | groups | AUROC | among films of one region |",
        "|---|---|---|---|---|",
    ]
    for title, audit in (("FracAtlas", real), ("phantoms (`dvc repro validate`)", drawn)):
        within = shown(audit.within_region) if audit.within_region else ""
        lines.append(f"| {title} | {audit.films:,} | {audit.groups:,} | {shown(audit.auroc)} | {within} |")
    lines += [
        "",
        "Compare a model's AUROC on a set with this figure, not with 0.5. The last column shows how much of "
        "it is left when only films of one region are compared.",
        "",
        "| FracAtlas, one attribute alone | AUROC | the value whose share of fractured films differs most | others |",
        "|---|---|---|---|",
    ]
    for attribute in real.attributes:
        row = f"| {attribute.name} | {shown(attribute.auroc)} "
        if value := attribute.furthest():
            share, positive, films = value
            row += f"| {share.value}: {share.positive} of {share.films:,}, {shown(share.share, 2)} "
            row += f"| {positive} of {films:,}, {positive / films:.2f} |"
        else:
            row += "| none stands out | |"
        lines.append(row)
    lines += [
        "",
        f"{real.confidence:.0%} intervals: of AUROC by group (Obuchowski 1997), of shares Wilson's. Ranges are "
        "quarters of the films; a value that a quarter shares stands alone. "
        f"{measured(ROOT)}.",
        "",
    ]
    return "\n".join(lines)


def measured(clone: Path) -> str:
    """When, and at which commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=10", "HEAD"], cwd=clone, capture_output=True, text=True, check=True
    ).stdout.strip()
    return f"Measured {datetime.now(UTC):%Y-%m-%d} at commit {commit}"


AUDIT = "audit"
AUDIT_TITLE = "FracAtlas: what the audit finds"
AUDIT_COMMAND = 'osteon audit "$OSTEON_REAL_DATA/fracatlas" --layout fracatlas --out reports/audit'


def audit_fracatlas() -> tuple[Audit, pd.DataFrame, str]:
    """What the command finds, its pairs, and when and at which commit."""
    print(f"$ {AUDIT_COMMAND}", flush=True)
    with fresh_clone() as clone:
        clone.run(AUDIT_COMMAND)
        folder = clone.folder / "reports" / "audit"
        result = Audit.model_validate_json((folder / RESULT).read_bytes())
        return result, pd.read_csv(folder / TABLE), measured(clone.folder)


def audit_section(audit: Audit, pairs: pd.DataFrame, when: str) -> str:
    """Copies, contradicted labels and the gap, as `osteon audit` found them."""
    first, second = (pairs[side].str.extract(r"(\d+)")[0].astype(int) for side in ("first", "second"))
    far = pairs["joined"] & ((second - first).abs() > 1 + MISSING_BETWEEN)
    same = pairs["sign"].isin(["same bytes", "same pixels"])
    near = pairs["joined"] & ~same
    lines = [
        f"## {AUDIT_TITLE}",
        "",
        "The search for copies of one film, alone on the folder ([what its lines mean](data.md#audit-a-folder)).",
        "",
        "```sh",
        AUDIT_COMMAND,
        "```",
        "",
        f"{audit.films:,} films, {audit.readable:,} readable ({audit.positive:,} fractured), {audit.sources:,} source "
        f"films behind them, {audit.groups:,} groups.",
        "",
        "| films that cannot be read | reason |",
        "|---|---|",
        *(f"| {count} | {reason} |" for reason, count in audit.unreadable.items()),
        "",
        "| copies | pairs | films in them |",
        "|---|---|---|",
        *(f"| {sign.name} | {sign.pairs} | {sign.films} |" for sign in audit.signs),
        "",
        f"{int((far & same).sum())} of the {int(same.sum())} pairs with identical pixels, and "
        f"{int((far & near).sum())} of the {int(near.sum())} near copies, have file numbers that are not neighbours: "
        "so taking neighbours for one patient does not find them. "
        "Near copies that are shifted or rotated may be two exposures of a limb that hardly moved, which must "
        "stay on one side of a split too; the scores are in `pairs.csv`.",
        "",
        "| labelled fractured | labelled not fractured | they are |",
        "|---|---|---|",
    ]
    for entry in audit.contradictions:
        kind = "identical pixels" if entry.likeness is None else f"near copies, likeness {entry.likeness:.2f}"
        lines.append(f"| {', '.join(entry.positive)} | {', '.join(entry.negative)} | {kind} |")
    gap = audit.gap
    if gap.random and gap.grouped and gap.difference:
        lines += [
            "",
            f"| a random forest on thumbnails, {gap.films:,} films | accuracy | AUROC |",
            "|---|---|---|",
            f"| cross-validated by random films | {shown(gap.random.accuracy)} | {shown(gap.random.auroc)} |",
            f"| cross-validated by whole groups | {shown(gap.grouped.accuracy)} | {shown(gap.grouped.auroc)} |",
            f"| difference | {shown(gap.difference)} | |",
            f"| always 'not fractured' | {gap.majority:.3f} | 0.500 |",
        ]
    lines += ["", f"{audit.confidence:.0%} intervals. {when}.", ""]
    return "\n".join(lines)


HEAD = """# Results

Written by `python -m benchmarks.results` and `python -m benchmarks.ablation`; not by hand. The test films are whole
groups (patient, study, copies) that search, cross-validation, training, calibration and thresholds never used.

"""
ABLATION = "ablation"  # benchmarks/ablation.py
ABLATION_TITLE = "FracAtlas: what each choice is worth"
TITLES = {
    **{name: case.title for name, case in CASES.items()},
    ABLATION: ABLATION_TITLE,
    SHORTCUTS: SHORTCUTS_TITLE,
    AUDIT: AUDIT_TITLE,
}


def write_part(name: str, part: str) -> None:
    """Write one part of the page; the others stay, all in the order of TITLES."""
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    parts = []
    for entry, title in TITLES.items():
        if entry == name:
            parts.append(part)
        elif kept := re.search(rf"^## {re.escape(title)}$.*?(?=^## |\Z)", old, re.MULTILINE | re.DOTALL):
            parts.append(kept[0].rstrip() + "\n")
    with atomic_file(PAGE) as path:
        path.write_text(HEAD + "\n".join(parts), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}", flush=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*CASES, SHORTCUTS, AUDIT], help="run one part")
    only = parser.parse_args().only
    if only != "phantoms" and not os.environ.get("OSTEON_REAL_DATA"):
        sys.exit("OSTEON_REAL_DATA is not set: it names the folder that holds fracatlas/; or give --only phantoms")
    for name in [only] if only else [*CASES, SHORTCUTS, AUDIT]:
        if name == SHORTCUTS:
            write_part(name, shortcut_section(audits()))
        elif name == AUDIT:
            write_part(name, audit_section(*audit_fracatlas()))
        else:
            print(f"$ {shlex.join(shlex.split(command_of('evaluate', CASES[name].settings)))}", flush=True)
            write_part(name, section(name, CASES[name], run(name)))


if __name__ == "__main__":
    main()
