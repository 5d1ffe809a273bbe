"""One self-contained page: no script, no font, no picture from anywhere else."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from components.evaluation.intervals import Estimate
from components.evaluation.metrics import NAMES

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


def shown(estimate: Estimate, digits: int = 3) -> str:
    """'0.812 [0.731, 0.893]'."""
    if estimate.value is None:
        return "not defined"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def render_report(
    figures_folder: Path,
    metrics: dict[str, Any],
    figures: dict[str, Estimate],
    regions: list[dict[str, object]],
    info: "PackageInfo",
    films: "pd.DataFrame",
) -> str:
    """The page as HTML text.

    Args:
        figures_folder: where the PNGs are; they go into the page.
        metrics: what metrics.json holds.
        figures: name → estimate, as measured.
        regions: the table by region.
        info: of the model.
        films: all prepared films, for what the model was trained on.

    """
    test = metrics["test"]
    words = {
        "finding": info.finding,
        "prevalence": f"{test['prevalence']:.2f}",
        "majority": f"{1 - test['prevalence']:.2f}",
        "brier_guess": f"{test['prevalence'] * (1 - test['prevalence']):.3f}",
    }
    environment = Environment(
        loader=PackageLoader("components.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    return environment.get_template("report.html.j2").render(
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
        sources=sorted(films["source"].dropna().unique()),
        pictures={
            path.stem: base64.b64encode(path.read_bytes()).decode() for path in sorted(figures_folder.glob("*.png"))
        },
    )
