"""How figures look, whatever step draws them."""

from typing import Any

BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#a0aec0"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#4a5568",
    "axes.labelcolor": "#2d3748",
    "xtick.color": "#4a5568",
    "ytick.color": "#4a5568",
    "figure.dpi": 144,
    "savefig.facecolor": "white",
}
