"""A version in the registry: made from a packaged model, and described by its origin and the decision on it."""

from pathlib import Path

from components.promotion.decision import Decision
from osteon.errors import OsteonError
from osteon.files import dvc_hash
from osteon.models.package.package import PackageInfo
from osteon.records.lineage import COMMIT, DIRTY, IMAGE, Lineage, model_of_run
from osteon.records.registry import Registry


def register_candidate(registry: Registry, model: Path, made: Lineage | None, info: PackageInfo) -> str:
    """The candidate's version; a new one if its package has none.

    Raises:
        OsteonError: no run of this store made the package.

    """
    logged = model_of_run(made.run_id) if made else None
    if made is None or logged is None:
        raise OsteonError(f"{model}: no run of this MLflow store made it; run the step train with this store")
    nodes = list(made.walk())
    tags = {
        "osteon.data": made.data,
        "osteon.git.commit": next((node.tags.get(COMMIT) for node in reversed(nodes)), None),
        "osteon.image": next((node.tags.get(IMAGE) for node in reversed(nodes)), None),
        "osteon.fingerprint": info.fingerprint,
        "osteon.out_of_fold_auroc": f"{info.out_of_fold_auroc:.4f}",
    }
    return registry.register(dvc_hash(model), logged, made.run_id, {key: tag for key, tag in tags.items() if tag})


def origin_of(model: Path, made: Lineage | None) -> dict[str, str]:
    """Where the model comes from, for its card."""
    origin = {"package": dvc_hash(model)}
    if made is None:
        return origin | {"run": "none of this MLflow store"}
    nodes = list(made.walk())
    for name, tag in (("commit", COMMIT), ("image", IMAGE)):
        if values := sorted({node.tags[tag] for node in nodes if tag in node.tags}):
            origin[name] = ", ".join(values)
    if any(node.tags.get(DIRTY) == "true" for node in nodes):
        origin["commit"] += " (with changes that were not committed)"
    origin |= {"data (DVC)": made.data or "unknown", "made": f"{made.started:%Y-%m-%d %H:%M} UTC"}
    return origin | {f"run of {node.step}": node.run_id for node in nodes}


def describe_version(decision: Decision, run: str | None) -> str:
    """The description on MLflow's page of a version; Markdown."""
    judged = "Promoted" if decision.promote else "Refused: " + "; ".join(rule.rule for rule in decision.failing())
    (auroc,) = (rule.reason.split(";")[0] for rule in decision.rules if rule.rule == "auroc")
    where = f" Model card and decision: artifacts of run {run}, folder decision." if run else ""
    return f"{judged}. AUROC {auroc} on {decision.films} test films.{where}"
