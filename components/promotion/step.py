"""A candidate beside the model in use → a decision, carried out in the registry."""

from pathlib import Path
from typing import Annotated

from osteon.contract import Input, Output, Summary

DECISION, PAGE, CARD = "decision.json", "decision.html", "model_card.md"
NOT_GOOD_ENOUGH = 4


class PromotionSummary(Summary):
    """The decision. version: of the candidate; empty where none was registered."""

    decision: str
    version: str
    rules: int
    failing: list[str]

    def line(self) -> str:
        """The decision, and each failing rule on a line of its own."""
        name = f"version {self.version}" if self.version else "the candidate"
        return "\n".join([f"{name} {self.decision}", *(f"  ✗ {rule}" for rule in self.failing)])

    def exit_code(self) -> int:
        """4 where the candidate is not good enough."""
        return NOT_GOOD_ENOUGH if self.failing else 0


def promote(
    model: Annotated[Path, Input("the packaged model", "model", default="artifacts/model")],
    dataset: Annotated[Path, Input("prepared films", default="data/prepared")],
    source: Annotated[
        Path, Input("folder with the films, for a model in use that takes another size", "films", param="data.root")
    ],
    trusted: Annotated[Path, Input("manifest of the trusted films, from validate", default="data/trusted.parquet")],
    report: Annotated[Path, Input("output folder of evaluate", "report", default="reports/evaluation")],
    leaks: Annotated[Path, Input("pairs of copies, from prepare", "report", default="reports/leaks")],
    policy: Annotated[Path, Input("rules that a model must pass", "report", default="mlflow/promotion.yaml")],
    card: Annotated[Path, Input("template of the model card", "report", default="mlflow/model_card.md.j2")],
    decision: Annotated[Path, Output("the decision, its page, the model card", "report", default="reports/promotion")],
) -> PromotionSummary:
    """Judge the packaged model against the one in use, and put it into use if no rule fails.

    The model becomes a version of osteon-fracture in MLflow's registry; the version in use has the alias champion. Exit
    code 0: promoted, or in use already; 4: not good enough, with the rules that fail; 2: misuse; 1: a fault of Osteon.
    """
    from components.promotion.run import PromotionPaths, run_promote

    return run_promote(PromotionPaths(model, dataset, source, trusted, report, leaks, policy, card, decision))
