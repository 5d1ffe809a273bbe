"""The ablation: one choice changed at a time, each row a cross-validation on FracAtlas of its own.

    python -m benchmarks.ablation                  every row that is not there yet
    python -m benchmarks.ablation plain "no copies, no variation"   these

Written into docs/results.md. A row's scores are kept in build/ablation, so that rows can be computed one by one over
days and still be compared film by film; `python -m benchmarks.ablation --page` only writes the page. What the same code
has computed before comes from DVC's cache in build/ablation-cache, with the minutes that it took then; delete it to
measure them again.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from benchmarks.fresh_clone import ROOT, fresh_clone
from benchmarks.results import ABLATION, ABLATION_TITLE, command_of, measured, write_part
from components.promotion.decision import signed
from osteon.files import atomic_dir
from osteon.models.heldout.comparison import REFERENCE, TITLES, Comparison, ModelRow, compare
from osteon.models.heldout.predictions import PREDICTIONS, read_folds, read_predictions
from osteon.statistics.estimate import Estimate, shown

KEPT = ROOT / "build" / "ablation"
# DVC's, of all rows: films that were prepared once with a row's settings are not prepared again.
CACHE = ROOT / "build" / "ablation-cache"
CONFIDENCE = 0.95
# Small enough that a row takes minutes on two cores; two folds, so that each network learns from half of the films.
SETTINGS = {
    "data.root": "$OSTEON_REAL_DATA/fracatlas",
    "data.layout": "fracatlas",
    "preparation.image_size": "128",
    "preparation.folds": "2",
    "search.trials": "0",
    "search.classical_trials": "0",
    "cross_validation.models": "[]",
    "training.width": "16",
    "training.epochs": "30",
    "training.batch_size": "32",
    "classical.random_forest.trees": "300",
}
# A network that has learnt from 2,400 phantoms, half of the others: they cost nothing and have a box on every break.
PHANTOMS = "build/phantoms.keras"
LEARN_FROM_PHANTOMS = """dvc exp run cross_validate -S phantoms.films=6000 -S preparation.image_size=128 \\
  -S preparation.folds=2 -S search.trials=0 -S search.classical_trials=0 -S cross_validation.models=[] \\
  -S training.width=16 -S training.epochs=10 -S training.batch_size=32
mkdir -p build && cp artifacts/cross_validation/fold-0/network.keras build/phantoms.keras
git checkout --quiet params.yaml"""


@dataclass(frozen=True)
class Choice:
    """What is said otherwise than in SETTINGS, what has to be done before, and the row it is compared with, too."""

    settings: Mapping[str, str]
    before: str = ""
    against: str = ""


FIRST = "as above"
# From ImageNet's weights a few epochs suffice; without copies, for they add nothing to variation.
FROM_IMAGENET = {
    "training.network": "efficientnet_lite0",
    "training.weights": "imagenet",
    "augmentation.copies": "0",
    "augmentation.copies_rarer": "0",
    "+training.head_epochs": "1",
    "training.epochs": "8",
}
IMAGENET = "ImageNet's weights"
# An epoch without copies is half as long: twice as many, so that as many films are shown.
NO_COPIES = {"augmentation.copies": "0", "augmentation.copies_rarer": "0", "training.epochs": "60"}
CLASSICAL = "classical models"
ALL_CLASSICAL = {"cross_validation.models": "[svm,random_forest,k_nearest,logistic_regression]", "training.epochs": "1"}
TWICE = {"rotation": "20", "scale": "0.2", "shift": "0.1", "shear": "8", "gamma": "0.3", "gain": "0.3", "noise": "6"}
CHOICES = {
    FIRST: Choice({}),
    "no copies, no variation": Choice({**NO_COPIES, "augmentation.online": "false"}),
    "copies only": Choice({"augmentation.online": "false"}),
    "variation only": Choice(NO_COPIES),
    "twice the variation": Choice({f"augmentation.{key}": value for key, value in TWICE.items()}),
    "without outlines": Choice({"training.map_weight": "0"}),
    "plain": Choice({"training.network": "plain"}),
    "width 8": Choice({"training.width": "8"}),
    "width 24": Choice({"training.width": "24"}),
    "a slower rate": Choice({"training.learning_rate": "0.003"}),
    "96 pixels": Choice({"preparation.image_size": "96"}),
    "five folds": Choice({"preparation.folds": "5"}),
    "192 pixels": Choice({"preparation.image_size": "192"}),
    "after phantoms": Choice({"training.weights": PHANTOMS}, LEARN_FROM_PHANTOMS),
    "after phantoms, all at the full rate": Choice(
        # With a plus, for params.yaml leaves them out.
        {"training.weights": PHANTOMS, "+training.head_epochs": "0", "+training.fine_tuning": "1"},
        LEARN_FROM_PHANTOMS,
    ),
    "focal loss": Choice({"+training.focal": "2"}),
    IMAGENET: Choice(FROM_IMAGENET),
    "… three stages frozen": Choice({**FROM_IMAGENET, "+training.frozen_stages": "3"}, against=IMAGENET),
    "… each stage slower": Choice({**FROM_IMAGENET, "+training.layer_decay": "0.7"}, against=IMAGENET),
    "… frozen statistics": Choice({**FROM_IMAGENET, "+training.frozen_statistics": "true"}, against=IMAGENET),
    CLASSICAL: Choice(ALL_CLASSICAL),
    f"{CLASSICAL}, no copies": Choice({**NO_COPIES, **ALL_CLASSICAL}),
}


def compute(name: str) -> None:
    """Run a row and keep its scores."""
    typed = "\n".join(
        [CHOICES[name].before, command_of("cross_validate", {**SETTINGS, **CHOICES[name].settings})]
    ).strip()
    print(f"\n# {name}\n$ {typed}", flush=True)
    with fresh_clone() as clone:
        # It names outputs that no fresh clone has; `dvc exp run` looks for the metrics among them and fails at its end.
        (clone.folder / "dvc.lock").unlink()
        clone.run(f"dvc cache dir --local '{CACHE}'")
        clone.run(typed)
        folds = clone.folder / "artifacts" / "cross_validation"
        seconds: dict[str, float] = {}
        for fold in read_folds(folds):
            for model, spent in fold.seconds.items():
                seconds[model] = seconds.get(model, 0.0) + spent
        with atomic_dir(KEPT / name) as kept:
            shutil.copyfile(folds / PREDICTIONS, kept / PREDICTIONS)
            stored = {"seconds": seconds, "measured": measured(clone.folder)}
            (kept / "row.json").write_text(json.dumps(stored), encoding="utf-8")


def models_of(name: str) -> list[str]:
    """Which models of its cross-validation a row shows."""
    if not name.startswith(CLASSICAL):
        return [REFERENCE]
    return [
        model
        for model in pd.read_parquet(KEPT / name / PREDICTIONS)["model"].unique()
        if model not in (REFERENCE, "soft_vote")
    ]


def section() -> str:
    """The part of the page, of all rows that are kept."""
    scores, minutes, when = {}, {}, {}
    for name in CHOICES:
        if not (KEPT / name).is_dir():
            continue
        stored = json.loads((KEPT / name / "row.json").read_text(encoding="utf-8"))
        for model in models_of(name):
            row = name if model == REFERENCE else name.replace(CLASSICAL, TITLES[model])
            scores[row] = read_predictions(KEPT / name, model)
            minutes[row], when[row] = stored["seconds"][model] / 60, (name, stored["measured"])
    compared = compared_with(FIRST, scores)
    rows = {row.model: row for row in compared.models}
    # Of IMAGENET's followers: what they differ from.
    others = {row.model: row for row in compared_with(IMAGENET, scores).models} if IMAGENET in scores else {}
    lines = [
        f"## {ABLATION_TITLE}",
        "",
        f"{compared.films:,} development films of {compared.groups:,} groups, {compared.positive:,} of them fractured, "
        f"in {compared.folds} folds; the test films take no part. A row is the command below with one thing changed, "
        "by `python -m benchmarks.ablation`. Its AUROC is of all folds together, by DeLong; the difference is paired, "
        f"films summed by group. A row that begins with '…' follows '{IMAGENET}' and is compared with it, too. One "
        "seed: another moves each figure, too.",
        "",
        "```sh",
        command_of("cross_validate", SETTINGS),
        "```",
        "",
        "'After phantoms', both, had begun with:",
        "",
        "```sh",
        LEARN_FROM_PHANTOMS,
        "```",
        "",
        "| what | changed | AUROC out of fold | less the first | minutes |",
        "|---|---|---|---|--:|",
        *(line(row, rows[key(row, FIRST)], minutes[row], when[row][0], others.get(row)) for row in minutes),
        "",
        f"{CONFIDENCE:.0%} intervals. Minutes of all folds added up; two ran side by side on {os.cpu_count()} cores. "
        f"{'; '.join(dict.fromkeys(stamp for _, stamp in when.values()))}.",
        "",
    ]
    return "\n".join(lines)


def compared_with(first: str, scores: Mapping[str, pd.DataFrame]) -> Comparison:
    """Every row less one of them, which compare() wants under the name of the reference."""
    return compare(pd.concat(table.assign(model=key(row, first)) for row, table in scores.items()), {}, CONFIDENCE)


def key(row: str, first: str) -> str:
    """What a row is called where the first is the reference."""
    return REFERENCE if row == first else row


def line(row: str, row_model: ModelRow, minutes: float, name: str, other: ModelRow | None) -> str:
    """A row of the table; other: compared with the row that it follows."""
    choice = CHOICES[name]
    changed = ", ".join(f"`{key}={value}`" for key, value in choice.settings.items())
    less = less_the_first(row_model)
    if choice.against and other is not None:
        less += f"; less {choice.against} {less_the_first(other)}"
    return f"| {row} | {changed} | {shown(row_model.auroc.pooled)} | {less} | {minutes:.1f} |"


def less_the_first(row_model: ModelRow) -> str:
    """'−0.012 [−0.030, +0.006]'; nothing for the first itself."""
    if row_model.against is None:
        return ""
    first = row_model.against.auroc  # less this one
    if first.value is None or first.low is None or first.high is None:
        return signed(first)
    return signed(Estimate(-first.value, -first.high, -first.low))


def main() -> None:
    """Compute rows, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(CHOICES)}")
    parser.add_argument("--page", action="store_true", help="compute nothing")
    given = parser.parse_args()
    if unknown := sorted(set(given.rows) - set(CHOICES)):
        sys.exit(f"no row {', '.join(unknown)}; there are {', '.join(CHOICES)}")
    if not given.page and not os.environ.get("OSTEON_REAL_DATA"):
        sys.exit("OSTEON_REAL_DATA is not set: it names the folder that holds fracatlas/")
    if given.page and not (KEPT / FIRST).is_dir():
        sys.exit(f"{KEPT} has no row '{FIRST}', with which the others are compared; compute it")
    missing = [name for name in CHOICES if not (KEPT / name).is_dir()]
    for name in [] if given.page else given.rows or missing:
        compute(name)
        if (KEPT / FIRST).is_dir():  # what is computed is on the page, whenever this is stopped
            write_part(ABLATION, section())
    if given.page:
        write_part(ABLATION, section())


if __name__ == "__main__":
    main()
