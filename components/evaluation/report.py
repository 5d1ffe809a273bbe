"""The evaluation as one page: report.html."""

import base64
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from components.evaluation.measurements import Measurements
from components.evaluation.metrics import NAMES
from components.evaluation.studies import HOW
from components.evaluation.subgroups import LEAST
from osteon.films.known_patients import count_patients
from osteon.films.shortcut_audit import ShortcutAudit
from osteon.models.best_hyperparameters import SearchReport
from osteon.models.heldout.comparison import Comparison
from osteon.pages.page import render_page
from osteon.statistics.detection import LEAST_IOU

MEANINGS = {
    "auroc": "chance that a {finding} film scores above one that is not",
    "average_precision": "area under precision and recall; {prevalence} for a guess",
    "sensitivity": "share of {finding} films that are found",
    "specificity": "share of the others that are cleared",
    "ppv": "share of the answers '{finding}' that are right",
    "npv": "share of the answers 'not {finding}' that are right",
    "f1": "harmonic mean of sensitivity and PPV",
    "balanced_accuracy": "mean of sensitivity and specificity",
    "accuracy": "share of right answers; {majority} for always 'not {finding}'",
    "brier": "mean squared error of the probability; lower is better, {brier_guess} for the prevalence",
    "log_loss": "mean surprise; lower is better",
}
METHODS = {
    "auroc": "DeLong",
    **dict.fromkeys(("sensitivity", "specificity", "ppv", "npv", "accuracy"), "Wilson"),
}


@dataclass(frozen=True)
class Origin:
    """What the model and its test films came from.

    films: all prepared films. audit: how well file and exposure alone predict the label. comparison: of the models,
    out of fold. search: what was searched. Both are None on the page of other people's films. joined: sign → pairs of
    films that were joined into one group. hashes: DVC's, by a name for a reader.
    """

    films: pd.DataFrame
    audit: ShortcutAudit
    comparison: Comparison | None
    search: SearchReport | None
    joined: dict[str, int]
    hashes: dict[str, str]


def render_report(
    figures_folder: Path,
    metrics: dict[str, Any],
    measured: Measurements,
    origin: Origin,
    external: object | None = None,
) -> str:
    """The page as HTML text.

    Args:
        figures_folder: where the PNGs are; they go into the page.
        metrics: what metrics.json holds.
        measured: what it was made of.
        origin: what the model was trained on and chosen by.
        external: what external.html.j2 adds, where the films are other people's; None: the model's own test.

    """
    info, of_studies = measured.info, measured.study_figures
    test = metrics["test"]
    words = {
        "finding": info.finding,
        "prevalence": f"{test['prevalence']:.2f}",
        "majority": f"{1 - test['prevalence']:.2f}",
        "brier_guess": f"{test['prevalence'] * (1 - test['prevalence']):.3f}",
    }
    pictures = origin.search.pictures if origin.search else {}
    return render_page(
        "components.evaluation",
        "external.html.j2" if external else "report.html.j2",
        external=external,
        info=info,
        test=test,
        patients=count_patients(origin.films),
        figures=measured.figures,
        rows=[
            (
                NAMES[name],
                estimate,
                of_studies[name] if of_studies else None,
                MEANINGS[name].format(**words),
                METHODS.get(name, "bootstrap over groups"),
            )
            for name, estimate in measured.figures.items()
        ],
        studies=metrics["studies"],
        of_studies=of_studies,
        how_fused=HOW[metrics["studies"]["fusion"]],
        subgroups=groupby(measured.subgroups, key=lambda subgroup: subgroup.attribute),
        worst=measured.worst,
        looks=metrics["subgroups"]["looks"],
        least=LEAST,
        flips=measured.flips,
        explanations=metrics["explanations"],
        pointing=measured.explanations.pointing,
        detection=measured.detection,
        least_iou=LEAST_IOU,
        audit=origin.audit,
        certainty=measured.certainty,
        refused=measured.refused,
        comparison=origin.comparison,
        types=measured.types,
        search=origin.search,
        search_pictures={name: base64.b64encode(data).decode() for name, data in pictures.items()},
        joined=origin.joined,
        hashes=origin.hashes,
        sources=sorted(origin.films["source"].dropna().unique()),
        pictures={
            path.stem: base64.b64encode(path.read_bytes()).decode() for path in sorted(figures_folder.glob("*.png"))
        },
    )
