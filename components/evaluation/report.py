"""The evaluation as one page: report.html."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.evaluation.metrics import NAMES
from components.films.audit import ShortcutAudit
from components.intervals import Estimate
from components.pages.page import render_page

if TYPE_CHECKING:
    import pandas as pd

    from components.models.package import PackageInfo

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


def render_report(
    figures_folder: Path,
    metrics: dict[str, Any],
    figures: dict[str, Estimate],
    regions: list[dict[str, object]],
    info: "PackageInfo",
    films: "pd.DataFrame",
    audit: ShortcutAudit,
) -> str:
    """The page as HTML text.

    Args:
        figures_folder: where the PNGs are; they go into the page.
        metrics: what metrics.json holds.
        figures: name → estimate, as measured.
        regions: the table by region.
        info: of the model.
        films: all prepared films, for what the model was trained on.
        audit: what of the label can be told without looking at bone.

    """
    test = metrics["test"]
    words = {
        "finding": info.finding,
        "prevalence": f"{test['prevalence']:.2f}",
        "majority": f"{1 - test['prevalence']:.2f}",
        "brier_guess": f"{test['prevalence'] * (1 - test['prevalence']):.3f}",
    }
    return render_page(
        "components.evaluation",
        info=info,
        test=test,
        figures=figures,
        rows=[
            (
                name,
                NAMES[name],
                estimate,
                MEANINGS[name].format(**words),
                METHODS.get(name, "bootstrap over groups"),
            )
            for name, estimate in figures.items()
        ],
        regions=regions,
        audit=audit,
        sources=sorted(films["source"].dropna().unique()),
        pictures={
            path.stem: base64.b64encode(path.read_bytes()).decode() for path in sorted(figures_folder.glob("*.png"))
        },
    )
