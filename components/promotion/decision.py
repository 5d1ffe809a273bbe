"""Whether a candidate may take the place of the model in use: a pure function over scores on the same test films."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from components.promotion.policy import Policy
from osteon.films.known_patients import KnownPatients
from osteon.statistics.auroc import auroc_in_strata
from osteon.statistics.bootstrap import bootstrap, group_weights
from osteon.statistics.estimate import Estimate, Floats, Labels, shown
from osteon.statistics.proportions import mean_share
from osteon.statistics.ranking import WeightedRanking

GROUPS_IN_BOTH = "groups_in_both"  # a number of the rule leaks

Verdict = Literal["pass", "fail", "not applicable"]


class Rule(BaseModel):
    """What one rule of the policy says. numbers: what it says it from, for programs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    verdict: Verdict
    reason: str
    numbers: dict[str, float | None] = {}


class Decision(BaseModel):
    """All rules, and what follows: promoted if none fails.

    candidate, champion: versions. films, groups: of the test set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidate: str
    champion: str | None
    promote: bool
    films: int
    groups: int
    rules: list[Rule]
    policy: Policy

    def failing(self) -> list[Rule]:
        """The rules that stand in the way."""
        return [rule for rule in self.rules if rule.verdict == "fail"]


@dataclass(frozen=True)
class Scored:
    """A model's calibrated probabilities on test films, computed now.

    films: columns sha256, group, label, score. trained: SHA-256 of the films it was trained on. rule_out: its point.
    """

    version: str
    films: pd.DataFrame
    trained: frozenset[str]
    rule_out: float


@dataclass(frozen=True)
class Evidence:
    """What else is known of the candidate; None where it is not, which is a fail.

    evaluation: metrics.json of a report whose scores are those of now. parity: whether the exported networks say what
    the trained ones say, with the reason. latency: milliseconds. lineage: what is missing in it. clean: made with
    the code of a commit. leaks: groups in test and development films. patients: of how many of
    these films the patient is known. external: metrics.json of its last test on each folder of other people's films,
    empty where there is none. champion_fault: why the model in use could not be asked; None where it could, or
    there is none.
    """

    evaluation: dict[str, Any] | None = None
    parity: tuple[bool, str] | None = None
    latency: float | None = None
    lineage: list[str] | None = None
    clean: bool | None = None
    leaks: list[str] | None = None
    patients: KnownPatients | None = None
    external: list[dict[str, Any]] | None = None
    champion_fault: str | None = None


def decide(candidate: Scored, champion: Scored | None, evidence: Evidence, policy: Policy) -> Decision:
    """Judge a candidate by every rule of the policy.

    Whatever a rule needs and has not got is a fail. The first model needs no comparison.

    Args:
        candidate: on all test films.
        champion: on the same films; None where there is none, or where it could not be asked (evidence.champion_fault).
        evidence: of the candidate.
        policy: the rules.

    """
    rules = list(_rules(candidate, champion, evidence, policy))
    return Decision(
        candidate=candidate.version,
        champion=champion.version if champion else None,
        promote=all(rule.verdict != "fail" for rule in rules),
        films=len(candidate.films),
        groups=int(candidate.films["group"].nunique()),
        rules=rules,
        policy=policy,
    )


def _rules(candidate: Scored, champion: Scored | None, evidence: Evidence, policy: Policy) -> Iterator[Rule]:
    fault = _fault_of(candidate.films)
    yield Rule(
        rule="scores",
        verdict="fail" if fault else "pass",
        reason=fault
        or f"{len(candidate.films)} test films of {candidate.films['group'].nunique()} groups, all answered",
        numbers={"films": len(candidate.films)},
    )
    for name, floor, measure in (
        ("auroc", policy.auroc, _auroc),
        ("sensitivity", policy.sensitivity, _sensitivity),
    ):
        yield _no_scores(name) if fault else _floor(name, measure(candidate, policy), floor)
    yield _no_scores("non_inferiority") if fault else _non_inferiority(candidate, champion, evidence, policy)
    yield from _of_evaluation(evidence.evaluation, policy)
    yield _external(evidence.external, policy)
    yield _at_most("latency", evidence.latency, policy.latency, "{:.1f} ms for one film")
    yield _known("lineage", evidence.lineage, policy.lineage, "every run and the data's hash are known", "not known: ")
    yield _clean(evidence.clean, policy.clean)
    yield _leaks(evidence, policy)
    yield _parity(evidence.parity, policy.parity)


def _fault_of(films: pd.DataFrame) -> str | None:
    """Why nothing can be said from these scores."""
    if films.empty:
        return "no test films"
    if wrong := int((~np.isfinite(films["score"].to_numpy(np.float64))).sum()):
        return f"{wrong} of {len(films)} scores are NaN or infinite"
    if films["label"].nunique() < 2:
        return "the test films are of one class"
    return None


def _numbered(films: pd.DataFrame) -> tuple[Labels, Floats, NDArray[np.int64]]:
    """Labels, scores and group numbers."""
    labels, scores = films["label"].to_numpy(np.int64), films["score"].to_numpy(np.float64)
    return labels, scores, pd.factorize(films["group"])[0].astype(np.int64)


def _auroc(candidate: Scored, policy: Policy) -> Estimate:
    labels, scores, groups = _numbered(candidate.films)
    return auroc_in_strata(labels, scores, groups, np.zeros_like(groups), policy.confidence)


def _sensitivity(candidate: Scored, policy: Policy) -> Estimate:
    """Share of fractured films that are not answered 'not fractured'; groups count the same."""
    films = candidate.films[candidate.films["label"] == 1]
    kept = (films["score"] >= candidate.rule_out).groupby(films["group"])
    binary = bool((kept.size() == 1).all())
    return mean_share(np.asarray(kept.mean(), np.float64), policy.confidence, binary=binary)


def _no_scores(name: str) -> Rule:
    return Rule(rule=name, verdict="fail", reason="nothing to judge by: see scores")


def _floor(name: str, estimate: Estimate, floor: float) -> Rule:
    verdict: Verdict = "pass" if estimate.low is not None and estimate.low >= floor else "fail"
    return Rule(
        rule=name,
        verdict=verdict,
        reason=f"{shown(estimate)}; its lower end must be {floor:g} or more",
        numbers={"value": estimate.value, "low": estimate.low, "high": estimate.high, "floor": floor},
    )


def _non_inferiority(candidate: Scored, champion: Scored | None, evidence: Evidence, policy: Policy) -> Rule:
    """AUROC of the candidate less that of the champion, groups drawn, both scores of a film together."""
    name = "non_inferiority"
    if evidence.champion_fault:
        return Rule(rule=name, verdict="fail", reason=f"the model in use cannot be asked: {evidence.champion_fault}")
    if champion is None:
        return Rule(rule=name, verdict="not applicable", reason="no model is in use yet")
    both = candidate.films.merge(
        champion.films[["sha256", "score"]].drop_duplicates("sha256"), on="sha256", suffixes=("", "_champion")
    )
    fresh = both[~both["sha256"].isin(candidate.trained | champion.trained)]
    seen = len(candidate.films) - len(fresh)
    wanted = policy.non_inferiority
    if len(fresh) < wanted.films or fresh["label"].nunique() < 2:
        return Rule(
            rule=name,
            verdict="fail",
            reason=f"{len(fresh)} test films that neither was trained on ({seen} others were); {wanted.films} of both "
            "classes are needed",
            numbers={"films": len(fresh), "needed": wanted.films},
        )
    labels, scores, groups = _numbered(fresh)
    theirs = fresh["score_champion"].to_numpy(np.float64)
    if not np.isfinite(theirs).all():
        return Rule(rule=name, verdict="fail", reason="the model in use gives scores that are NaN or infinite")
    truth = labels.astype(np.float64)
    ours, other = WeightedRanking(truth, scores), WeightedRanking(truth, theirs)
    difference = bootstrap(
        lambda weights: ours.auroc(weights) - other.auroc(weights),
        group_weights(groups, labels, policy.resamples, policy.seed),
        policy.confidence,
    )
    kept = difference.low is not None and difference.low > -wanted.margin
    return Rule(
        rule=name,
        verdict="pass" if kept else "fail",
        reason=f"AUROC less that of version {champion.version}: {signed(difference)} on {len(fresh)} films; its lower "
        f"end must be above −{wanted.margin:g}",
        numbers={"value": difference.value, "low": difference.low, "high": difference.high, "films": len(fresh)},
    )


def signed(difference: Estimate) -> str:
    """A difference: '+0.098 [+0.019, +0.177]'."""
    if difference.value is None:
        return "not defined"
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]".replace("-", "−")


def _of_evaluation(metrics: dict[str, Any] | None, policy: Policy) -> Iterator[Rule]:
    """What the report of this very model says."""
    if metrics is None:
        for name in ("subgroups", "calibration", "robustness", "refused"):
            yield Rule(rule=name, verdict="fail", reason="no report of this model: run the step evaluate")
        return
    yield from _subgroups(metrics, policy)
    yield _at_most(
        "calibration", _get(metrics, "calibration", "test", "ece", "value"), policy.calibration, "error {:.3f}"
    )
    yield _robustness(metrics, policy)
    if metrics.get("refused", ...) is None:
        yield Rule(
            rule="refused", verdict="not applicable", reason="a model without a network refuses no film as unlike"
        )
    else:
        yield _at_most("refused", _get(metrics, "refused", "value"), policy.refused, "{:.1%} of the test films")


def _get(metrics: dict[str, Any], *keys: str) -> float | None:
    value: Any = metrics
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _subgroups(metrics: dict[str, Any], policy: Policy) -> Iterator[Rule]:
    floor, least = policy.subgroups.sensitivity, policy.subgroups.positive
    by = metrics.get("subgroups", {}).get("by")
    if not by:
        yield Rule(rule="subgroups", verdict="fail", reason="the report has none")
        return
    few = []
    for attribute, values in by.items():
        for value, subgroup in values.items():
            name, positive = f"{attribute} {value}", int(subgroup.get("positive", 0))
            if positive < least:
                few.append(f"{name} ({positive})")
                continue
            sensitivity = _get(subgroup, "sensitivity", "value")
            kept = sensitivity is not None and sensitivity >= floor
            yield Rule(
                rule=f"subgroup {name}",
                verdict="pass" if kept else "fail",
                reason=f"sensitivity {'unknown' if sensitivity is None else format(sensitivity, '.3f')} of {positive} "
                f"fractured films; {floor:g} or more",
                numbers={"value": sensitivity, "positive": positive, "floor": floor},
            )
    if few:
        yield Rule(
            rule="subgroups too small",
            verdict="not applicable",
            reason=f"fewer than {least} fractured films, so nothing is known: {', '.join(few)}",
        )


def _robustness(metrics: dict[str, Any], policy: Policy) -> Rule:
    flips = metrics.get("robustness") or {}
    shares = {change: _get(flip, "share", "value") for change, flip in flips.items()}
    known = {change: share for change, share in shares.items() if share is not None}
    if not shares or len(known) < len(shares):
        return Rule(rule="robustness", verdict="fail", reason="not measured")
    worst = max(known, key=lambda change: known[change])
    return _at_most("robustness", known[worst], policy.robustness, "{:.1%} of the answers flip when " + worst)


def _external(tests: list[dict[str, Any]] | None, policy: Policy) -> Rule:
    """Every test on other people's films with enough of them must pass: who tests until it passes shows nothing."""
    name, wanted = "external", policy.external
    if not wanted.required:
        return Rule(rule=name, verdict="not applicable", reason="the policy does not ask for it")
    sizes = [int(_get(test, "test", "n") or 0) for test in tests or ()]
    enough = [test for test, size in zip(tests or (), sizes, strict=True) if size >= wanted.films]
    if not enough:
        few = f"the largest has {max(sizes)} films, {wanted.films} are needed" if sizes else "none of this model"
        return Rule(
            rule=name,
            verdict="fail",
            reason=f"no test on other people's films: {few}; osteon test --model … --root FOLDER makes one",
            numbers={"tests": len(sizes)},
        )
    faults = [fault for test in enough for fault in _external_faults(test, policy)]
    count = "1 test" if len(enough) == 1 else f"{len(enough)} tests"
    lows = [_get(test, "test", "auroc", "low") for test in enough]
    return Rule(
        rule=name,
        verdict="fail" if faults else "pass",
        reason="; ".join(faults) if faults else f"{count} on other people's films, all above the floors",
        numbers={"tests": len(enough), "auroc_low": min((low for low in lows if low is not None), default=None)},
    )


def _external_faults(test: dict[str, Any], policy: Policy) -> Iterator[str]:
    """What a test on other people's films falls short in; what was not measured does so too."""
    wanted, where = policy.external, f"on {int(_get(test, 'test', 'n') or 0)} films of {_folder(test)}"
    for figure, keys, floor in (
        ("AUROC", ("test", "auroc"), wanted.auroc),
        ("sensitivity at rule out", ("operating_points", "sensitivity", "share"), wanted.sensitivity),
    ):
        low = _get(test, *keys, "low")
        if low is None or low < floor:
            shown_low = "not measured" if low is None else f"lower end {low:.3f}"
            yield f"{figure} {where}: {shown_low}, {floor:g} or more"
    # A model without a network refuses nothing as unlike.
    refused = 0.0 if test.get("refused", ...) is None else _get(test, "refused", "value")
    if refused is None or refused > wanted.refused:
        shown_share = "not measured" if refused is None else f"{refused:.1%}"
        yield f"refused {where}: {shown_share}, {wanted.refused:g} at most"


def _folder(test: dict[str, Any]) -> str:
    external = test.get("external")
    return str(external.get("folder", "?")) if isinstance(external, dict) else "?"


def _at_most(name: str, value: float | None, most: float, text: str) -> Rule:
    if value is None or not np.isfinite(value):
        return Rule(rule=name, verdict="fail", reason="not measured", numbers={"most": most})
    return Rule(
        rule=name,
        verdict="pass" if value <= most else "fail",
        reason=f"{text.format(value)}; {most:g} at most",
        numbers={"value": value, "most": most},
    )


def _known(name: str, missing: list[str] | None, required: bool, well: str, ill: str) -> Rule:
    if not required:
        return Rule(rule=name, verdict="not applicable", reason="the policy does not ask for it")
    if missing is None:
        return Rule(rule=name, verdict="fail", reason="nothing is known of it")
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        return Rule(rule=name, verdict="fail", reason=f"{ill}{', '.join(missing[:3])}{more}")
    return Rule(rule=name, verdict="pass", reason=well)


def _leaks(evidence: Evidence, policy: Policy) -> Rule:
    """No group on both sides. That says something of patients only where they are known."""
    rule = _known("leaks", evidence.leaks, policy.leaks, "no group lies in test and development films", "in both: ")
    if rule.verdict == "not applicable":
        return rule
    patients, verdict, reason = evidence.patients, rule.verdict, rule.reason
    reason += f"; patients {patients.line if patients else 'unknown'}"
    if (patients is None or patients.unknown) and policy.unknown_patients == "allowed":
        reason += ", which the policy allows (unknown_patients)"
    elif patients is None or patients.unknown:
        verdict = "fail"
        reason += (
            ": a patient may be in both. Say who they are (data.columns.patient, data.patient_pattern) and run again, "
            "or allow it in the policy (unknown_patients: allowed)"
        )
    numbers: dict[str, float | None] = {
        GROUPS_IN_BOTH: None if evidence.leaks is None else len(evidence.leaks),
        "films": patients.films if patients else None,
        "films_of_unknown_patients": patients.unknown if patients else None,
    }
    return Rule(rule=rule.rule, verdict=verdict, reason=reason, numbers=numbers)


def _clean(clean: bool | None, required: bool) -> Rule:
    if not required:
        return Rule(rule="clean", verdict="not applicable", reason="the policy does not ask for it")
    if clean:
        return Rule(rule="clean", verdict="pass", reason="every run was made with the code of a commit")
    changed = (
        "a step ran with code that was not committed, so that nobody could make the model again; commit it, then "
        "`dvc repro --force evaluate` and `osteon promote`"
    )
    return Rule(rule="clean", verdict="fail", reason=changed if clean is False else "no commit is known")


def _parity(parity: tuple[bool, str] | None, required: bool) -> Rule:
    if not required:
        return Rule(rule="parity", verdict="not applicable", reason="the policy does not ask for it")
    if parity is None:
        return Rule(rule="parity", verdict="not applicable", reason="a model without a network is not exported")
    return Rule(rule="parity", verdict="pass" if parity[0] else "fail", reason=parity[1])
