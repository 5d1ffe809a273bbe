"""The evaluation as one page: report.html."""

import base64
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.evaluation.certainty import Certainty
from components.evaluation.explanations import Pointing
from components.evaluation.fracture_types import TypeFigures
from components.evaluation.metrics import NAMES
from components.evaluation.robustness import Flips
from components.evaluation.studies import HOW
from components.evaluation.subgroups import LEAST, Subgroup, Worst
from osteon.films.shortcut_audit import ShortcutAudit
from osteon.models.best_hyperparameters import Search
from osteon.models.heldout.comparison import Comparison
from osteon.pages.page import render_page
from osteon.statistics.estimate import Estimate

if TYPE_CHECKING:
    import pandas as pd

    from osteon.models.package.package import PackageInfo

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
    of_studies: dict[str, Estimate] | None,
    subgroups: list[Subgroup],
    worst: Worst | None,
    flips: list[Flips],
    pointing: Pointing | None,
    info: "PackageInfo",
    films: "pd.DataFrame",
    audit: ShortcutAudit,
    certainty: Certainty,
    refused: Estimate | None,
    comparison: Comparison,
    types: list[TypeFigures],
    search: Search,
    joined: dict[str, int],
    hashes: dict[str, str],
) -> str:
    """The page as HTML text.

    Args:
        figures_folder: where the PNGs are; they go into the page.
        metrics: what metrics.json holds.
        figures: name → estimate, of films.
        of_studies: the same of studies; None where they are all of one class.
        subgroups: as measured.
        worst: the subgroup to name.
        flips: what changes of the films do.
        pointing: None where no fractured test film has a box, or the model has no map.
        info: of the model.
        films: all prepared films, for what the model was trained on.
        audit: what of the label can be told without looking at bone.
        certainty: calibration and operating points.
        refused: share of the test films that are taken for something else; None where the model has no network.
        comparison: of the models, out of fold.
        types: figures of each type of fracture; empty where the model names none.
        search: what was searched and found.
        joined: sign → pairs of films that were joined into one group.
        hashes: DVC's, of what the figures come from.

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
                NAMES[name],
                estimate,
                of_studies[name] if of_studies else None,
                MEANINGS[name].format(**words),
                METHODS.get(name, "bootstrap over groups"),
            )
            for name, estimate in figures.items()
        ],
        studies=metrics["studies"],
        of_studies=of_studies,
        how_fused=HOW[metrics["studies"]["fusion"]],
        subgroups=groupby(subgroups, key=lambda one: one.attribute),
        worst=worst,
        looks=metrics["subgroups"]["looks"],
        least=LEAST,
        flips=flips,
        explanations=metrics["explanations"],
        pointing=pointing,
        audit=audit,
        certainty=certainty,
        refused=refused,
        comparison=comparison,
        types=types,
        search=search,
        search_pictures={name: base64.b64encode(data).decode() for name, data in search.pictures.items()},
        joined=joined,
        hashes=hashes,
        sources=sorted(films["source"].dropna().unique()),
        pictures={
            path.stem: base64.b64encode(path.read_bytes()).decode() for path in sorted(figures_folder.glob("*.png"))
        },
    )
