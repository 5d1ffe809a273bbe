"""A candidate beside the model in use → a decision, carried out in the registry."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from osteon.contract import Input, Output, Summary
from osteon.errors import OsteonError, UnreachableError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from components.promotion.decision import Decision, Evidence, Scored
    from osteon.films.prepared.array import PreparedFilms
    from osteon.models.package.package import Package, PackageInfo
    from osteon.records.lineage import Lineage
    from osteon.records.registry import Registry

DECISION, PAGE, CARD = "decision.json", "decision.html", "model_card.md"
NOT_GOOD_ENOUGH = 4
ASKED = 20  # times, for the latency
SAME = 1e-4  # what a score may differ by from the report's


class PromotionSummary(Summary):
    """What was decided. version: of the candidate; empty where none was registered."""

    decision: str
    version: str
    rules: int
    failing: list[str]

    def line(self) -> str:
        """What a person wants to know, the failing rules first."""
        name = f"version {self.version}" if self.version else "the candidate"
        said = f"{name} {self.decision}"
        return "\n".join([said, *(f"  ✗ {rule}" for rule in self.failing)]) if self.failing else said

    def exit_code(self) -> int:
        """4 where it is not good enough."""
        return NOT_GOOD_ENOUGH if self.failing else 0


def promote(
    model: Annotated[Path, Input("the packaged model", "model")],
    dataset: Annotated[Path, Input("prepared films, of which the test films are asked about")],
    source: Annotated[Path, Input("folder with the films, for a model in use that takes another size", "films")],
    trusted: Annotated[Path, Input("films that may be used, with their paths")],
    report: Annotated[Path, Input("the evaluation of this model", "report")],
    leaks: Annotated[Path, Input("prepare's pairs of films that are one", "report")],
    policy: Annotated[Path, Input("what a model must show", "report")],
    card: Annotated[Path, Input("the model card's template", "report")],
    decision: Annotated[Path, Output("the decision, its page, and the model card", "report")],
) -> PromotionSummary:
    """Judge the packaged model against the one in use, and put it into use if no rule fails."""
    import hashlib
    import json

    from components.promotion.decision import decide
    from components.promotion.model_card import render_card
    from components.promotion.policy import read_policy
    from osteon.files import atomic_dir
    from osteon.films.prepared.array import open_prepared
    from osteon.models.package.package import open_package
    from osteon.pages.page import render_page
    from osteon.records import lineage, runs, store
    from osteon.records.registry import CHALLENGER, MODEL, Entry, Registry, State, current_user, timestamp

    rules = read_policy(policy)
    if rules.mode == "off":
        with atomic_dir(decision) as folder:
            (folder / DECISION).write_text(json.dumps({"mode": "off"}) + "\n", encoding="utf-8")
        return PromotionSummary(decision="not judged: the policy's mode is off", version="", rules=0, failing=[])
    package, prepared = open_package(model), open_prepared(dataset)
    # A dry run makes nothing, not even the registry.
    registry = Registry.connect() if rules.mode == "enforce" else Registry.open_existing()
    state = State()
    if registry:
        state = registry.reconcile_aliases() if rules.mode == "enforce" else registry.state()
    made = lineage.lineage_of_file(model)
    version = ""
    if registry and rules.mode == "enforce":
        version = _register(registry, model, made, package.info)
        if version == state.champion:
            with atomic_dir(decision) as folder:
                if not registry.decision_of(version, folder):
                    (folder / DECISION).write_text(json.dumps({"champion": version}) + "\n", encoding="utf-8")
            return PromotionSummary(decision="is in use already", version=version, rules=0, failing=[])
        registry.set_alias(CHALLENGER, version)

    films = prepared.films[prepared.films["test"].to_numpy(bool)]
    candidate = scored(package, version or "candidate", _trained_on(model), films, dataset, source, trusted)
    champion, fault = None, None
    if registry and state.champion is not None:
        with TemporaryDirectory() as temporary:
            try:
                folder = registry.package_of(state.champion, Path(temporary))
                champion = scored(
                    open_package(folder), state.champion, _trained_on(folder), films, dataset, source, trusted
                )
            except UnreachableError:
                raise
            # Whatever it is: ONNX Runtime raises errors of its own where a graph fails while it answers.
            except Exception as error:
                fault = store.reason(error)
    evidence = _evidence(package, prepared, candidate, report, leaks, made, fault)
    found = decide(candidate, champion, evidence, rules)

    text, at = found.model_dump_json(indent=2) + "\n", timestamp()
    nodes = list(made.walk()) if made else []
    told = render_card(
        card,
        version=candidate.version,
        decision=found,
        info=package.info,
        metrics=evidence.evaluation,
        films=prepared.films,
        steps={node.step: node.metrics for node in nodes},
        origin=_origin(model, made),
        params={key: value for node in nodes for key, value in sorted(node.params.items())},
        at=f"{at:%Y-%m-%d %H:%M} UTC",
        who=current_user(),
    )
    with atomic_dir(decision) as folder:
        (folder / DECISION).write_text(text, encoding="utf-8")
        page = render_page("components.promotion", found=found, model=MODEL, at=at, who=current_user())
        (folder / PAGE).write_text(page, encoding="utf-8")
        (folder / CARD).write_text(told, encoding="utf-8")
    failing = [f"{rule.rule}: {rule.reason}" for rule in found.failing()]
    if registry is None or rules.mode == "dry_run":
        said = "would be promoted" if found.promote else "would be refused"
        return PromotionSummary(decision=f"{said} (dry run)", version="", rules=len(found.rules), failing=failing)

    # Before the decision holds: a process that dies after it may leave none without its reasons.
    kept = runs.log_report(decision, "decision")
    entry = Entry(
        before=state.last,
        at=at,
        who=current_user(),
        action="promoted" if found.promote else "refused",
        version=version,
        was=state.champion,
        why=f"none of {len(found.rules)} rules failed" if found.promote else "\n".join(failing),
        run=kept,
        decision=hashlib.sha256(text.encode()).hexdigest(),
    )
    if not registry.append(entry):
        raise OsteonError("another decision was made while this one was; run promote again, against what is in use now")
    registry.apply_log()
    registry.describe(version, _about(found, kept))
    return PromotionSummary(
        decision="is in use now" if found.promote else "is not good enough",
        version=version,
        rules=len(found.rules),
        failing=failing,
    )


def _register(registry: "Registry", model: Path, made: "Lineage | None", info: "PackageInfo") -> str:
    """The candidate's version."""
    from osteon.files import dvc_hash
    from osteon.records import lineage

    logged = lineage.model_of_run(made.run_id) if made else None
    if made is None or logged is None:
        raise OsteonError(f"{model}: no run of this MLflow store made it; run the step train with this store")
    nodes = list(made.walk())
    tags = {
        "osteon.data": made.data,
        "osteon.git.commit": next((node.tags.get(lineage.COMMIT) for node in reversed(nodes)), None),
        "osteon.image": next((node.tags.get(lineage.IMAGE) for node in reversed(nodes)), None),
        "osteon.fingerprint": info.fingerprint,
        "osteon.out_of_fold_auroc": f"{info.out_of_fold_auroc:.4f}",
    }
    return registry.register(dvc_hash(model), logged, made.run_id, {key: one for key, one in tags.items() if one})


def _origin(model: Path, made: "Lineage | None") -> dict[str, str]:
    """Where the model comes from, for its card."""
    from osteon.files import dvc_hash
    from osteon.records import lineage

    origin = {"package": dvc_hash(model)}
    if made is None:
        return origin | {"run": "none of this MLflow store"}
    nodes = list(made.walk())
    for name, tag in (("commit", lineage.COMMIT), ("image", lineage.IMAGE)):
        if found := sorted({node.tags[tag] for node in nodes if tag in node.tags}):
            origin[name] = ", ".join(found)
    if any(node.tags.get(lineage.DIRTY) == "true" for node in nodes):
        origin["commit"] += " (with changes that were not committed)"
    origin |= {"data (DVC)": made.data or "unknown", "made": f"{made.started:%Y-%m-%d %H:%M} UTC"}
    return origin | {f"run of {node.step}": node.run_id for node in nodes}


def _about(found: "Decision", run: str | None) -> str:
    """What MLflow's page of a version says; Markdown."""
    judged = "Promoted" if found.promote else "Refused: " + "; ".join(rule.rule for rule in found.failing())
    (auroc,) = (rule.reason.split(";")[0] for rule in found.rules if rule.rule == "auroc")
    where = f" Model card and decision: artifacts of run {run}, folder decision." if run else ""
    return f"{judged}. AUROC {auroc} on {found.films} test films.{where}"


def _trained_on(package: Path) -> frozenset[str]:
    """SHA-256 of the films that a package was trained on."""
    import pandas as pd

    from osteon.models.package.package import FILMS

    films = pd.read_csv(package / FILMS, dtype=str)
    return frozenset(films.loc[films["role"] != "test", "sha256"])


def scored(
    package: "Package",
    version: str,
    trained: frozenset[str],
    films: "pd.DataFrame",
    dataset: Path,
    source: Path,
    trusted: Path,
) -> "Scored":
    """Ask a model about the test films, at the size that it takes.

    Args:
        package: of the model.
        version: its name.
        trained: SHA-256 of the films behind it.
        films: rows of the prepared films.
        dataset: the prepared films, whose squares are taken where they have the model's size.
        source: folder with the films, where they have not.
        trusted: the manifest with their paths.

    """
    import numpy as np

    from components.promotion.decision import Scored
    from osteon.films.prepared.array import open_prepared

    prepared = open_prepared(dataset)
    if package.info.finding != prepared.finding:
        raise OsteonError(f"version {version} finds '{package.info.finding}', the films say '{prepared.finding}'")
    if package.info.image_size == prepared.side:
        blocks = prepared.blocks(films.index.to_numpy(np.int64))
        scores = np.concatenate([package.probabilities(squares) for squares in blocks])
    else:
        scores = np.concatenate(
            [package.probabilities(squares) for squares in _decoded(films, source, trusted, package.info)]
        )
    asked = films[["sha256", "group"]].assign(label=films["label"].astype(int), score=scores).reset_index(drop=True)
    return Scored(version, asked, trained, package.info.points.rule_out.threshold)


def _decoded(films: "pd.DataFrame", source: Path, trusted: Path, info: "PackageInfo", block: int = 256) -> Any:
    """The films' squares of another size than the prepared ones."""
    import numpy as np
    import pandas as pd

    from osteon.films.reading.decoding import decode, letterbox

    paths = pd.read_parquet(trusted, columns=["film_id", "path"]).set_index("film_id")["path"]

    def square(film_id: str) -> "NDArray[np.uint8]":
        data = (source / paths[film_id]).read_bytes()
        return letterbox(decode(data, max_megapixels=info.limits.max_megapixels), info.image_size)

    for start in range(0, len(films), block):
        yield np.stack([square(film_id) for film_id in films["film_id"].iloc[start : start + block]])


def _evidence(
    package: "Package",
    prepared: "PreparedFilms",
    candidate: "Scored",
    report: Path,
    leaks: Path,
    made: "Lineage | None",
    fault: str | None,
) -> "Evidence":
    """What is known of the candidate beside its scores."""
    from components.promotion.decision import Evidence

    parity = None
    if package.networks:
        found = package.info.parity
        parity = (False, "not measured")
        if found:
            said = f"{found.changed} of {found.films} answers are another one, by {found.largest:.1g} at most"
            parity = (found.kept, said)
    return Evidence(
        evaluation=_evaluation(report, candidate),
        parity=parity,
        latency=_latency(package),
        lineage=_missing(made),
        clean=_clean(made),
        leaks=_leaking(prepared, leaks),
        champion_fault=fault,
    )


def _evaluation(report: Path, candidate: "Scored") -> dict[str, Any] | None:
    """metrics.json, if the report is of this model and these films."""
    import json

    import numpy as np
    import pandas as pd

    try:
        predictions = pd.read_csv(report / "predictions.csv")
        metrics: dict[str, Any] = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # The same film may be there twice, under two ids.
    known = predictions.drop_duplicates("sha256").set_index("sha256")["score"]
    theirs = known.reindex(candidate.films["sha256"]).to_numpy(np.float64)
    same = len(predictions) == len(theirs) and np.allclose(theirs, candidate.films["score"], atol=SAME)
    return metrics if same else None


def _latency(package: "Package") -> float:
    """Median milliseconds from a film's bytes to the answer."""
    import time

    import numpy as np

    from osteon.models.package.package import example_film

    film, taken = example_film(), []
    for _ in range(ASKED):
        start = time.perf_counter()
        package.answers([film])
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * 1e3


def _missing(made: "Lineage | None") -> list[str] | None:
    if made is None:
        return None
    missing = [name for node in made.walk() for name in node.missing]
    return missing if made.data else [*missing, "the hash of the source films"]


def _clean(made: "Lineage | None") -> bool | None:
    from osteon.records import lineage

    states = {node.tags.get(lineage.DIRTY) for node in made.walk()} if made else set()
    if not states or states - {"true", "false"}:
        return None
    return states == {"false"}


def _leaking(prepared: "PreparedFilms", leaks: Path) -> list[str] | None:
    """Groups of test and development films; None where copies were not searched for."""
    from osteon.films.copies.leaks import TABLE

    if not (leaks / TABLE).is_file():
        return None
    films = prepared.films
    test = films["test"].to_numpy(bool)
    return sorted(set(films.loc[test, "group"]) & set(films.loc[~test, "group"]))
