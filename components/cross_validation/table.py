"""The comparison as a table and as a picture."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd

from osteon.models.heldout.comparison import Comparison
from osteon.pages.style import BLUE, GREY

mpl.use("Agg")
import matplotlib.pyplot as plt


def table_of(comparison: Comparison) -> pd.DataFrame:
    """One row a model, the best first."""
    rows = []
    for row in comparison.models:
        against = row.against.auroc if row.against else None
        rows.append(
            {
                "model": row.model,
                "auroc": row.auroc.pooled.value,
                "low": row.auroc.pooled.low,
                "high": row.auroc.pooled.high,
                "mean_over_folds": row.auroc.mean,
                "sd_over_folds": row.auroc.sd,
                "network_less_this": against.value if against else None,
                "difference_low": against.low if against else None,
                "difference_high": against.high if against else None,
                "p": row.against.p if row.against else None,
                "seconds": row.seconds,
            }
        )
    return pd.DataFrame(rows)


def draw(comparison: Comparison, path: Path) -> None:
    """Pooled AUROC of each model with its interval, and a dot a fold."""
    models = comparison.models[::-1]
    figure, axes = plt.subplots(figsize=(6.4, 0.45 * len(models) + 1.1), dpi=144, layout="constrained")
    for place, row in enumerate(models):
        pooled = row.auroc.pooled
        axes.plot(
            list(row.auroc.folds.values()), [place] * len(row.auroc.folds), "o", color=GREY, markersize=4, zorder=1
        )
        if pooled.value is not None and pooled.low is not None and pooled.high is not None:
            axes.plot([pooled.low, pooled.high], [place, place], color=BLUE, linewidth=2, zorder=2)
            axes.plot(pooled.value, place, "s", color=BLUE, markersize=6, zorder=3)
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(models)), [row.title for row in models])
    axes.set_xlabel(f"AUROC out of fold, {comparison.films:,} films: all folds with interval, and each fold")
    axes.spines[["top", "right"]].set_visible(False)
    # Without version inside, a run's picture is byte for byte the next's.
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
