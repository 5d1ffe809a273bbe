"""The step promote: score candidate and champion, decide, write the decision, and carry it out in the registry."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from components.promotion.decision import Decision, Scored, decide
from components.promotion.evidence import collect_evidence, evaluation_of
from components.promotion.model_card import CardContent, render_card
from components.promotion.policy import Policy, read_policy
from components.promotion.registration import describe_version, origin_of, register_candidate
from components.promotion.scores import FilmsToScore, score, trained_on
from components.promotion.step import CARD, DECISION, PAGE, PromotionSummary
from osteon.errors import OsteonError, UnreachableError
from osteon.files import atomic_dir
from osteon.films.prepared.array import PreparedFilms, open_prepared
from osteon.models.package.package import Package, open_package
from osteon.pages.page import render_page
from osteon.records import runs, store
from osteon.records.lineage import Lineage, lineage_of_file
from osteon.records.model_packages import external_tests
from osteon.records.registry import CHALLENGER, MODEL, Entry, Registry, State, current_user, timestamp


@dataclass(frozen=True)
class PromotionPaths:
    """Inputs and output of the step, as its signature names them."""

    model: Path
    dataset: Path
    source: Path
    trusted: Path
    report: Path
    leaks: Path
    policy: Path
    card: Path
    decision: Path


@dataclass(frozen=True)
class Candidate:
    """The packaged model, the films it is judged on, and what is known of it.

    version: its number; empty where none was registered. made: the runs behind it; None: none of this store. external:
    metrics.json of its last test on each folder of other people's films.
    """

    package: Package
    prepared: PreparedFilms
    version: str
    made: Lineage | None
    external: list[dict[str, Any]]

    @property
    def nodes(self) -> list[Lineage]:
        """The runs behind it, the first first."""
        return list(self.made.walk()) if self.made else []


def run_promote(paths: PromotionPaths) -> PromotionSummary:
    """Judge the packaged model and, if the policy's mode is enforce, carry the decision out.

    Raises:
        OsteonError: an input is not as it should be, or another decision was made in the meantime.
        UnreachableError: MLflow's server went away.

    """
    policy = read_policy(paths.policy)
    if policy.mode == "off":
        with atomic_dir(paths.decision) as folder:
            (folder / DECISION).write_text(json.dumps({"mode": "off"}) + "\n", encoding="utf-8")
        return PromotionSummary(decision="not judged: the policy's mode is off", version="", rules=0, failing=[])
    package, prepared = open_package(paths.model), open_prepared(paths.dataset)
    enforced = policy.mode == "enforce"
    # A dry run makes nothing, not even the registry.
    registry = Registry.connect() if enforced else Registry.open_existing()
    state = State()
    if registry:
        state = registry.reconcile_aliases() if enforced else registry.state()
    made = lineage_of_file(paths.model)
    version = ""
    if registry and enforced:
        version = register_candidate(registry, paths.model, made, package.info)
        if version == state.champion:
            return _in_use_already(registry, version, paths.decision)
        registry.set_alias(CHALLENGER, version)

    candidate = Candidate(package, prepared, version, made, external_tests(paths.model))
    decision, evaluation = _judge(paths, candidate, registry, state.champion, policy)
    at, user = timestamp(), current_user()
    digest = _write(paths, candidate, decision, evaluation, at, user)
    failing = [f"{rule.rule}: {rule.reason}" for rule in decision.failing()]
    if registry is None or not enforced:
        outcome = "would be promoted" if decision.promote else "would be refused"
        return PromotionSummary(decision=f"{outcome} (dry run)", version="", rules=len(decision.rules), failing=failing)

    # Before the decision holds: a process that dies after it may leave none without its reasons.
    run = runs.log_report(paths.decision, "decision")
    entry = Entry(
        before=state.last,
        at=at,
        who=user,
        action="promoted" if decision.promote else "refused",
        version=version,
        was=state.champion,
        why=f"none of {len(decision.rules)} rules failed" if decision.promote else "\n".join(failing),
        run=run,
        decision=digest,
    )
    if not registry.append(entry):
        raise OsteonError("another decision was made while this one was; run promote again, against what is in use now")
    registry.apply_log()
    registry.describe(version, describe_version(decision, run))
    outcome = "is in use now" if decision.promote else "is not good enough"
    return PromotionSummary(decision=outcome, version=version, rules=len(decision.rules), failing=failing)


def _in_use_already(registry: Registry, version: str, output: Path) -> PromotionSummary:
    """The candidate is the model in use: write the decision that put it there."""
    with atomic_dir(output) as folder:
        if not registry.decision_of(version, folder):
            (folder / DECISION).write_text(json.dumps({"champion": version}) + "\n", encoding="utf-8")
    return PromotionSummary(decision="is in use already", version=version, rules=0, failing=[])


def _judge(
    paths: PromotionPaths, candidate: Candidate, registry: Registry | None, champion: str | None, policy: Policy
) -> tuple[Decision, dict[str, Any] | None]:
    """The decision, and metrics.json of the candidate's evaluation, None where there is none."""
    rows = candidate.prepared.films[candidate.prepared.films["test"].to_numpy(bool)]
    films = FilmsToScore(rows, paths.dataset, paths.source, paths.trusted)
    name = candidate.version or "candidate"
    scored = score(candidate.package, name, trained_on(paths.model), films)
    champion_scored, fault = None, None
    if registry and champion is not None:
        champion_scored, fault = _score_champion(registry, champion, films)
    evaluation = evaluation_of(paths.report, scored)
    evidence = collect_evidence(
        candidate.package,
        candidate.prepared,
        evaluation,
        paths.leaks,
        candidate.made,
        candidate.external,
        fault,
    )
    return decide(scored, champion_scored, evidence, policy), evaluation


def _score_champion(registry: Registry, version: str, films: FilmsToScore) -> tuple[Scored | None, str | None]:
    """The scores of the model in use, or why there are none.

    Raises:
        UnreachableError: its package cannot be fetched now.

    """
    with TemporaryDirectory() as temporary:
        try:
            folder = registry.package_of(version, Path(temporary))
            return score(open_package(folder), version, trained_on(folder), films), None
        except UnreachableError:
            raise
        # Any error: ONNX Runtime raises its own where a graph fails while it predicts.
        except Exception as error:
            return None, store.reason(error)


def _write(
    paths: PromotionPaths,
    candidate: Candidate,
    decision: Decision,
    evaluation: dict[str, Any] | None,
    at: datetime,
    user: str,
) -> str:
    """Write the decision, its page and the model card; the SHA-256 of the decision's file."""
    nodes = candidate.nodes
    content = CardContent(
        version=decision.candidate,
        decision=decision,
        info=candidate.package.info,
        metrics=evaluation,
        external=candidate.external,
        films=candidate.prepared.films,
        steps={node.step: node.metrics for node in nodes},
        origin=origin_of(paths.model, candidate.made),
        params={key: value for node in nodes for key, value in sorted(node.params.items())},
        at=f"{at:%Y-%m-%d %H:%M} UTC",
        who=user,
    )
    model_card = render_card(paths.card, content)
    text = decision.model_dump_json(indent=2) + "\n"
    with atomic_dir(paths.decision) as folder:
        (folder / DECISION).write_text(text, encoding="utf-8")
        page = render_page("components.promotion", decision=decision, model=MODEL, at=at, who=user)
        (folder / PAGE).write_text(page, encoding="utf-8")
        (folder / CARD).write_text(model_card, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()
