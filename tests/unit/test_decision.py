"""Whether a candidate may take the place of the model in use: each rule on both sides of its limit, by hand."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from components.promotion.decision import Decision, Evidence, Rule, Scored, decide, signed
from components.promotion.policy import Policy, read_policy
from osteon.errors import OsteonError
from osteon.films.known_patients import KnownPatients
from osteon.statistics.auroc import auroc_in_strata
from osteon.statistics.bootstrap import group_weights
from osteon.statistics.estimate import UNDEFINED, Estimate, shown
from osteon.statistics.proportions import mean_share

SHIPPED = Path(__file__).parents[2] / "mlflow" / "promotion.yaml"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(SHIPPED)


def scored(version: str = "2", films: int = 200, noise: float = 0.3, seed: int = 0, **changes: Any) -> Scored:
    """Films of half as many groups; the lower the noise, the better the model."""
    draw = np.random.default_rng(seed)
    labels = np.arange(films) % 2
    scores = np.clip(0.5 + (labels - 0.5) * 0.5 + draw.normal(0, noise, films), 0.01, 0.99)
    table = pd.DataFrame(
        {
            "sha256": [f"{number:064x}" for number in range(films)],
            "group": [f"g{number // 4}" for number in range(films)],
            "label": labels,
            "score": scores,
        }
    )
    return Scored(**({"version": version, "films": table, "trained": frozenset(), "rule_out": 0.2} | changes))


def evaluated() -> dict[str, Any]:
    """The parts of metrics.json that rules read."""
    return {
        "calibration": {"test": {"ece": {"value": 0.05}}},
        "robustness": {
            "turned by +5°": {"share": {"value": 0.02}},
            "exposure +20%": {"share": {"value": 0.04}},
        },
        "refused": {"value": 0.01, "low": 0.0, "high": 0.03},
        "subgroups": {
            "by": {
                "region": {
                    "wrist": {"positive": 30, "sensitivity": {"value": 0.8}},
                    "knee": {"positive": 9, "sensitivity": {"value": 0.0}},
                }
            }
        },
    }


def known(films: int, of: int = 200, **changes: Any) -> KnownPatients:
    """The patient of so many of all films is known, of two films each; nothing of studies."""
    nothing = {"pseudonyms": 0, "in_studies": 0, "studies": 0, "guessed": 0}
    return KnownPatients(**({"films": of, "known": films, "patients": films // 2, **nothing} | changes))


def evidence(**changes: Any) -> Evidence:
    usual = {
        "evaluation": evaluated(),
        "parity": (True, "the same on 200 films"),
        "latency": 12.0,
        "lineage": [],
        "clean": True,
        "leaks": [],
        "patients": known(200),
    }
    return Evidence(**(usual | changes))


def rule(decision: Decision, name: str) -> Rule:
    (matching,) = [judged for judged in decision.rules if judged.rule == name]
    return matching


# ---------------------------------------------------------------- the whole


def test_the_first_model_needs_the_floors_alone(policy: Policy) -> None:
    decision = decide(scored(), None, evidence(), policy)
    assert decision.promote
    assert (decision.candidate, decision.champion, decision.films, decision.groups) == ("2", None, 200, 50)
    verdicts = {rule.rule: rule.verdict for rule in decision.rules}
    assert verdicts == {
        "scores": "pass",
        "auroc": "pass",
        "sensitivity": "pass",
        "non_inferiority": "not applicable",
        "subgroup region wrist": "pass",
        "subgroups too small": "not applicable",
        "calibration": "pass",
        "robustness": "pass",
        "refused": "pass",
        "external": "not applicable",
        "latency": "pass",
        "lineage": "pass",
        "clean": "pass",
        "leaks": "pass",
        "parity": "pass",
    }
    assert Decision.model_validate_json(decision.model_dump_json()) == decision


def test_nothing_known_is_refused_by_every_rule_that_needs_to_know(policy: Policy) -> None:
    decision = decide(scored(), None, Evidence(), policy)
    assert not decision.promote
    assert {rule.rule for rule in decision.failing()} == {
        "subgroups", "calibration", "robustness", "refused", "latency", "lineage", "clean", "leaks",
    }  # fmt: skip
    # A model without a network has no export. One with a network always has: promotion/step.py sees to that.
    assert rule(decision, "parity").verdict == "not applicable"


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_one_thing_missing_or_bad_is_enough(data: st.DataObject) -> None:
    """Whatever is taken out of the evidence, or made worse than its limit, the candidate is refused."""
    name, value = data.draw(
        st.sampled_from(
            [
                ("evaluation", None), ("parity", (False, "no")), ("latency", None), ("latency", float("nan")),
                ("latency", 501.0), ("lineage", None), ("lineage", ["manifest"]), ("clean", None), ("clean", False),
                ("leaks", None), ("leaks", ["g1"]), ("champion_fault", "damaged"),
            ]
        )
    )  # fmt: skip
    assert not decide(scored(), None, evidence(**{name: value}), read_policy(SHIPPED)).promote


@pytest.mark.parametrize(
    "path",
    [
        ("calibration",),
        ("calibration", "test", "ece", "value"),
        ("robustness",),
        ("robustness", "turned by +5°", "share"),
        ("refused",),
        ("subgroups",),
        ("subgroups", "by", "region", "wrist", "sensitivity"),
    ],
)
def test_a_report_that_lacks_a_figure_is_refused(policy: Policy, path: tuple[str, ...]) -> None:
    metrics = evaluated()
    inner = metrics
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    assert not decide(scored(), None, evidence(evaluation=metrics), policy).promote


# ---------------------------------------------------------------- scores


@pytest.mark.parametrize(
    ("films", "reason"),
    [
        (scored().films.assign(score=[np.nan, np.inf, *[0.5] * 198]), "2 of 200 scores are NaN or infinite"),
        (scored().films.iloc[:0], "no test films"),
        (scored().films.assign(label=1), "the test films are of one class"),
    ],
)
def test_scores_of_which_nothing_can_be_said(policy: Policy, films: pd.DataFrame, reason: str) -> None:
    decision = decide(dataclasses.replace(scored(), films=films), scored("1"), evidence(), policy)
    assert not decision.promote
    assert rule(decision, "scores") == Rule(rule="scores", verdict="fail", reason=reason, numbers={"films": len(films)})
    for name in ("auroc", "sensitivity", "non_inferiority"):
        assert rule(decision, name) == Rule(rule=name, verdict="fail", reason="nothing to judge by: see scores")


def test_floors_are_under_the_lower_ends(policy: Policy) -> None:
    candidate = scored()
    labels, scores = (candidate.films[name].to_numpy() for name in ("label", "score"))
    groups = np.arange(200) // 4
    auroc = auroc_in_strata(labels, scores, groups, np.zeros(200, int), 0.95)
    shares = [np.mean([scores[i] >= 0.2 for i in range(200) if groups[i] == g and labels[i]]) for g in range(50)]
    sensitivity = mean_share(np.array(shares), 0.95, binary=False)
    assert auroc.low
    assert sensitivity.low
    for name, estimate in (("auroc", auroc), ("sensitivity", sensitivity)):
        for floor, verdict in ((estimate.low, "pass"), (np.nextafter(estimate.low, 1), "fail")):
            requested = policy.model_copy(update={name: floor})
            assert rule(decide(candidate, None, evidence(), requested), name).verdict == verdict


# ---------------------------------------------------------------- against the model in use


def test_a_worse_candidate_is_refused_and_a_better_or_equal_one_is_not(policy: Policy) -> None:
    good, bad = scored("1", noise=0.2), scored("2", noise=0.6, seed=1)
    refused = decide(bad, good, evidence(), policy)
    assert not refused.promote
    assert [rule.rule for rule in refused.failing()] == ["non_inferiority"]
    numbers = rule(refused, "non_inferiority").numbers
    assert numbers["value"] is not None
    assert numbers["value"] < -0.1
    assert decide(good, bad, evidence(), policy).promote
    assert decide(dataclasses.replace(good, version="3"), good, evidence(), policy).promote


def test_the_margin(policy: Policy) -> None:
    first, second = scored("1", noise=0.4), scored("2", noise=0.41, seed=3)
    low = rule(decide(second, first, evidence(), policy), "non_inferiority").numbers["low"]
    assert low is not None
    assert -0.3 < low < -0.001
    for margin, verdict in ((-low + 1e-9, "pass"), (-low, "fail")):
        requested = policy.model_copy(
            update={"non_inferiority": policy.non_inferiority.model_copy(update={"margin": margin})}
        )
        assert rule(decide(second, first, evidence(), requested), "non_inferiority").verdict == verdict


def test_films_are_found_by_their_hash_and_not_by_their_row(policy: Policy) -> None:
    champion = scored("1", noise=0.2)
    turned = dataclasses.replace(champion, films=champion.films.sample(frac=1, random_state=0))
    straight, other = (decide(scored(), each, evidence(), policy) for each in (champion, turned))
    assert rule(straight, "non_inferiority") == rule(other, "non_inferiority")


def test_films_that_one_of_both_was_trained_on_do_not_count(policy: Policy) -> None:
    """The champion was trained on half of the films, which it knows by heart, and the candidate on one more."""
    candidate, champion = scored(noise=0.2), scored("1", noise=0.6, seed=1)
    by_heart = champion.films.assign(
        score=np.where(np.arange(200) < 100, champion.films["label"] * 0.9 + 0.05, champion.films["score"])
    )
    knowing = Scored("1", by_heart, frozenset(by_heart["sha256"][:100]), 0.2)
    requested = policy.model_copy(update={"non_inferiority": policy.non_inferiority.model_copy(update={"films": 99})})
    taught = dataclasses.replace(candidate, trained=frozenset(by_heart["sha256"][100:101]))
    result = rule(decide(taught, knowing, evidence(), requested), "non_inferiority")
    rest = [dataclasses.replace(model, films=model.films.iloc[101:]) for model in (candidate, champion)]
    expected = rule(decide(*rest, evidence(), requested), "non_inferiority")
    assert result.numbers["films"] == 99
    assert result.numbers == expected.numbers
    few = rule(decide(taught, knowing, evidence(), policy), "non_inferiority")
    assert few.verdict == "fail"
    assert few.reason.startswith("99 test films that neither was trained on (101 others were); 100 of both classes")


def test_films_that_the_champion_was_not_asked_about_do_not_count(policy: Policy) -> None:
    champion = dataclasses.replace(scored("1"), films=scored("1").films.iloc[:60])
    assert "60 test films" in rule(decide(scored(), champion, evidence(), policy), "non_inferiority").reason


def test_a_champion_that_gives_no_numbers_or_no_longer_loads(policy: Policy) -> None:
    broken = dataclasses.replace(scored("1"), films=scored("1").films.assign(score=np.nan))
    assert rule(decide(scored(), broken, evidence(), policy), "non_inferiority").verdict == "fail"
    decision = decide(scored(), None, evidence(champion_fault="package.json is missing"), policy)
    assert rule(decision, "non_inferiority").reason == "the model in use cannot be asked: package.json is missing"
    assert not decision.promote


# ---------------------------------------------------------------- the report


def test_the_worst_change_of_the_film_counts(policy: Policy) -> None:
    metrics = evaluated()
    metrics["robustness"]["exposure +20%"]["share"]["value"] = 0.31
    result = rule(decide(scored(), None, evidence(evaluation=metrics), policy), "robustness")
    assert (result.verdict, result.reason) == ("fail", "31.0% of the answers flip when exposure +20%; 0.3 at most")


def test_a_weak_subgroup_is_refused_by_name_and_a_small_one_is_named(policy: Policy) -> None:
    metrics = evaluated()
    decision = decide(scored(), None, evidence(evaluation=metrics), policy)
    assert "region knee (9)" in rule(decision, "subgroups too small").reason
    metrics["subgroups"]["by"]["region"]["knee"]["positive"] = 10
    decision = decide(scored(), None, evidence(evaluation=metrics), policy)
    assert rule(decision, "subgroup region knee").verdict == "fail"
    assert "subgroups too small" not in {rule.rule for rule in decision.rules}


@pytest.mark.parametrize(("name", "path"), [("calibration", ("calibration", "test", "ece")), ("refused", ("refused",))])
def test_limits_from_above(policy: Policy, name: str, path: tuple[str, ...]) -> None:
    limit = getattr(policy, name)
    for value, verdict in ((limit, "pass"), (np.nextafter(limit, 1), "fail")):
        metrics = copy.deepcopy(evaluated())
        inner = metrics
        for key in path:
            inner = inner[key]
        inner["value"] = value
        assert rule(decide(scored(), None, evidence(evaluation=metrics), policy), name).verdict == verdict


def test_a_model_that_refuses_nothing_by_its_kind(policy: Policy) -> None:
    decision = decide(scored(), None, evidence(evaluation=evaluated() | {"refused": None}, parity=None), policy)
    assert decision.promote
    assert rule(decision, "refused").verdict == rule(decision, "parity").verdict == "not applicable"


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        (None, "patients unknown: a patient may be in both"),
        (known(0), "patients unknown, known for 0 of 200 films; studies are unknown too: a patient may be in both"),
        (
            known(0, in_studies=200, studies=90, guessed=200),
            "patients unknown, known for 0 of 200 films; studies are guessed from file numbers"
            ": a patient may be in both",
        ),
        (
            known(199),
            "patients known for 199 of 200 films (99 patients); studies are unknown too: a patient may be in both",
        ),
    ],
)
def test_unknown_patients_are_a_leak_unless_the_policy_allows_them(
    policy: Policy, patients: KnownPatients | None, said: str
) -> None:
    judged = decide(scored(), None, evidence(patients=patients), policy)
    leaks = rule(judged, "leaks")
    assert (leaks.verdict, judged.promote) == ("fail", False)
    assert said in leaks.reason
    assert "unknown_patients: allowed" in leaks.reason

    lenient = policy.model_copy(update={"unknown_patients": "allowed"})
    judged = decide(scored(), None, evidence(patients=patients), lenient)
    leaks = rule(judged, "leaks")
    assert (leaks.verdict, judged.promote) == ("pass", True)
    assert leaks.reason == (
        f"no group lies in test and development films; {said.split(': a patient')[0]}, "
        "which the policy allows (unknown_patients)"
    )
    # What is allowed is not knowing, not a leak.
    torn = rule(decide(scored(), None, evidence(patients=patients, leaks=["g1"]), lenient), "leaks")
    assert torn.verdict == "fail"
    assert torn.numbers["groups_in_both"] == 1


def test_known_patients_are_counted_in_the_decision(policy: Policy) -> None:
    leaks = rule(decide(scored(), None, evidence(), policy), "leaks")
    assert leaks.reason == (
        "no group lies in test and development films; patients known for 200 of 200 films (100 patients)"
    )
    assert leaks.numbers == {"groups_in_both": 0, "films": 200, "films_of_unknown_patients": 0}


@pytest.mark.parametrize(
    ("changes", "reason", "numbers"),
    [
        (
            {"leaks": ["g1", "g2"]},
            "in both: g1, g2; patients known for 200 of 200 films (100 patients)",
            {"groups_in_both": 2, "films": 200, "films_of_unknown_patients": 0},
        ),
        (
            {"leaks": None, "patients": None},
            "nothing is known of it; patients unknown: a patient may be in both. Say who they are "
            "(data.columns.patient, data.patient_pattern) and run again, or allow it in the policy "
            "(unknown_patients: allowed)",
            {"groups_in_both": None, "films": None, "films_of_unknown_patients": None},
        ),
    ],
)
def test_leaks_and_unknown_patients_are_said_word_by_word(
    policy: Policy, changes: dict[str, Any], reason: str, numbers: dict[str, float | None]
) -> None:
    expected = Rule(rule="leaks", verdict="fail", reason=reason, numbers=numbers)
    assert rule(decide(scored(), None, evidence(**changes), policy), "leaks") == expected


def test_a_policy_without_a_word_on_unknown_patients_refuses_them(tmp_path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert read_policy(SHIPPED).unknown_patients == "refused"
    lines = [line for line in text.splitlines() if not line.startswith("unknown_patients")]
    (tmp_path / "policy.yaml").write_text("\n".join(lines), encoding="utf-8")
    assert read_policy(tmp_path / "policy.yaml").unknown_patients == "refused"


@pytest.mark.parametrize("name", ["lineage", "clean", "leaks", "parity"])
def test_what_the_policy_does_not_ask_for_is_said(policy: Policy, name: str) -> None:
    bad = {"lineage": ["manifest"], "clean": False, "leaks": ["g1"], "parity": (False, "no")}
    decision = decide(scored(), None, evidence(**{name: bad[name]}), policy.model_copy(update={name: False}))
    assert rule(decision, name) == Rule(rule=name, verdict="not applicable", reason="the policy does not ask for it")
    assert decision.promote


# ---------------------------------------------------------------- what a rule says, word by word

Said = tuple[str, str, dict[str, float | None]]


def said(decision: Decision) -> dict[str, Said]:
    """What each rule says but `leaks`, whose words are tested beside it."""
    return {
        judged.rule: (judged.verdict, judged.reason, judged.numbers)
        for judged in decision.rules
        if judged.rule != "leaks"
    }


def paired(candidate: Scored, champion: Scored, policy: Policy) -> Estimate:
    """Difference of AUROCs with its percentile interval, each by scikit-learn."""
    labels, groups = candidate.films["label"].to_numpy(), pd.factorize(candidate.films["group"])[0]
    ours, theirs = candidate.films["score"].to_numpy(), champion.films["score"].to_numpy()
    weights = group_weights(groups, labels, policy.resamples, policy.seed)
    drawn = [
        roc_auc_score(labels, ours, sample_weight=row) - roc_auc_score(labels, theirs, sample_weight=row)
        for row in weights
    ]
    tail = 50 * (1 - policy.confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Estimate(roc_auc_score(labels, ours) - roc_auc_score(labels, theirs), float(low), float(high))


def test_every_rule_gives_its_reason_and_the_numbers_it_judges_by(policy: Policy) -> None:
    policy = policy.model_copy(update={"resamples": 100, "seed": 3, "confidence": 0.9})
    candidate, champion = scored(), scored("1", noise=0.4)
    labels, scores = (candidate.films[name].to_numpy() for name in ("label", "score"))
    groups = np.arange(200) // 4
    auroc = auroc_in_strata(labels, scores, groups, np.zeros(200, int), 0.9)
    shares = [np.mean(scores[(groups == group) & (labels == 1)] >= 0.2) for group in range(50)]
    sensitivity = mean_share(np.array(shares), 0.9, binary=False)
    decision = decide(candidate, champion, evidence(), policy)
    difference = paired(candidate, champion, policy)
    result = said(decision)
    numbers = {name: result.pop(name)[2] for name in ("auroc", "sensitivity", "non_inferiority")}
    assert numbers == {
        "auroc": {"value": auroc.value, "low": auroc.low, "high": auroc.high, "floor": 0.55},
        "sensitivity": {
            "value": sensitivity.value,
            "low": sensitivity.low,
            "high": sensitivity.high,
            "floor": 0.5,
        },
        "non_inferiority": pytest.approx(
            {"value": difference.value, "low": difference.low, "high": difference.high, "films": 200}
        ),
    }
    assert rule(decision, "auroc").reason == f"{shown(auroc)}; its lower end must be 0.55 or more"
    assert rule(decision, "sensitivity").reason == f"{shown(sensitivity)}; its lower end must be 0.5 or more"
    assert rule(decision, "non_inferiority").reason == (
        f"AUROC less that of version 1: {signed(difference)} on 200 films; its lower end must be above −0.02"
    )
    assert result == {
        "scores": ("pass", "200 test films of 50 groups, all answered", {"films": 200}),
        "subgroup region wrist": (
            "pass",
            "sensitivity 0.800 of 30 fractured films; 0.1 or more",
            {"value": 0.8, "positive": 30, "floor": 0.1},
        ),
        "subgroups too small": (
            "not applicable",
            "fewer than 10 fractured films, so nothing is known: region knee (9)",
            {},
        ),
        "calibration": ("pass", "error 0.050; 0.2 at most", {"value": 0.05, "most": 0.2}),
        "robustness": (
            "pass",
            "4.0% of the answers flip when exposure +20%; 0.3 at most",
            {"value": 0.04, "most": 0.3},
        ),
        "refused": ("pass", "1.0% of the test films; 0.1 at most", {"value": 0.01, "most": 0.1}),
        "external": ("not applicable", "the policy does not ask for it", {}),
        "latency": ("pass", "12.0 ms for one film; 500 at most", {"value": 12, "most": 500}),
        "lineage": ("pass", "every run and the data's hash are known", {}),
        "clean": ("pass", "every run was made with the code of a commit", {}),
        "parity": ("pass", "the same on 200 films", {}),
    }
    assert (decision.champion, decision.policy) == ("1", policy)


def test_what_is_not_known_is_said_of_every_rule(policy: Policy) -> None:
    result = said(decide(scored(), None, Evidence(), policy))
    no_report = ("fail", "no report of this model: run the step evaluate", {})
    assert {name: result[name] for name in list(result)[3:]} == {
        "non_inferiority": ("not applicable", "no model is in use yet", {}),
        "subgroups": no_report,
        "calibration": no_report,
        "robustness": no_report,
        "refused": no_report,
        "external": ("not applicable", "the policy does not ask for it", {}),
        "latency": ("fail", "not measured", {"most": 500}),
        "lineage": ("fail", "nothing is known of it", {}),
        "clean": ("fail", "no commit is known", {}),
        "parity": ("not applicable", "a model without a network is not exported", {}),
    }


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"lineage": ["a"]}, "lineage", ("fail", "not known: a", {})),
        ({"lineage": ["a", "b", "c"]}, "lineage", ("fail", "not known: a, b, c", {})),
        ({"lineage": ["a", "b", "c", "d"]}, "lineage", ("fail", "not known: a, b, c and 1 more", {})),
        ({"lineage": ["a", "b", "c", "d", "e"]}, "lineage", ("fail", "not known: a, b, c and 2 more", {})),
        (
            {"clean": False},
            "clean",
            (
                "fail",
                "a step ran with code that was not committed, so that nobody could make the model again; commit it, "
                "then `dvc repro --force evaluate` and `osteon promote`",
                {},
            ),
        ),
        ({"parity": (False, "3 of 200 answers change")}, "parity", ("fail", "3 of 200 answers change", {})),
        ({"latency": float("inf")}, "latency", ("fail", "not measured", {"most": 500})),
        ({"latency": 500.0}, "latency", ("pass", "500.0 ms for one film; 500 at most", {"value": 500, "most": 500})),
        (
            {"champion_fault": "damaged"},
            "non_inferiority",
            ("fail", "the model in use cannot be asked: damaged", {}),
        ),
    ],
)
def test_what_a_rule_says_of_the_evidence(policy: Policy, changes: dict[str, Any], name: str, expected: Said) -> None:
    assert said(decide(scored(), None, evidence(**changes), policy))[name] == expected


NOT_MEASURED = ("fail", "not measured", {})


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"calibration": {"test": {"ece": {"value": "0.05"}}}}, "calibration", ("fail", "not measured", {"most": 0.2})),
        ({"calibration": {"test": [1]}}, "calibration", ("fail", "not measured", {"most": 0.2})),
        (
            {"calibration": {"test": {"ece": {"value": 0}}}},
            "calibration",
            ("pass", "error 0.000; 0.2 at most", {"value": 0, "most": 0.2}),
        ),
        ({"robustness": None}, "robustness", NOT_MEASURED),
        ({"robustness": {}}, "robustness", NOT_MEASURED),
        ({"robustness": {"a": {"share": {"value": 0.1}}, "b": {}}}, "robustness", NOT_MEASURED),
        (
            {"robustness": {"turned": {"share": {"value": 0.2}}, "darker": {"share": {"value": 0.1}}}},
            "robustness",
            ("pass", "20.0% of the answers flip when turned; 0.3 at most", {"value": 0.2, "most": 0.3}),
        ),
        (
            {"refused": None},
            "refused",
            ("not applicable", "a model without a network refuses no film as unlike", {}),
        ),
        ({"refused": {}}, "refused", ("fail", "not measured", {"most": 0.1})),
        ({"subgroups": {"by": {}}}, "subgroups", ("fail", "the report has none", {})),
        ({"subgroups": {}}, "subgroups", ("fail", "the report has none", {})),
        (
            {"subgroups": {"by": {"view": {"lateral": {"positive": 10, "sensitivity": {"value": None}}}}}},
            "subgroup view lateral",
            (
                "fail",
                "sensitivity unknown of 10 fractured films; 0.1 or more",
                {"value": None, "positive": 10, "floor": 0.1},
            ),
        ),
        (
            {"subgroups": {"by": {"view": {"lateral": {"positive": 10, "sensitivity": {"value": 0.1}}}}}},
            "subgroup view lateral",
            (
                "pass",
                "sensitivity 0.100 of 10 fractured films; 0.1 or more",
                {"value": 0.1, "positive": 10, "floor": 0.1},
            ),
        ),
        (
            {"subgroups": {"by": {"view": {"lateral": {}, "frontal": {"positive": 1}}}}},
            "subgroups too small",
            (
                "not applicable",
                "fewer than 10 fractured films, so nothing is known: view lateral (0), view frontal (1)",
                {},
            ),
        ),
    ],
)
def test_what_a_rule_says_of_the_report(policy: Policy, changes: dict[str, Any], name: str, expected: Said) -> None:
    assert said(decide(scored(), None, evidence(evaluation=evaluated() | changes), policy))[name] == expected


def test_a_subgroup_after_a_small_one_is_judged(policy: Policy) -> None:
    by = {"region": {"knee": {"positive": 2}, "wrist": {"positive": 30, "sensitivity": {"value": 0.05}}}}
    result = said(decide(scored(), None, evidence(evaluation=evaluated() | {"subgroups": {"by": by}}), policy))
    assert result["subgroup region wrist"][0] == "fail"
    assert result["subgroups too small"][1].endswith(": region knee (2)")


def test_with_a_film_a_group_sensitivity_has_the_exact_binomial_interval(policy: Policy) -> None:
    films = scored().films.assign(group=[f"g{number}" for number in range(200)])
    decision = decide(dataclasses.replace(scored(), films=films), None, evidence(), policy)
    kept = int((films["score"][films["label"] == 1] >= 0.2).sum())
    exact = binomtest(kept, 100).proportion_ci(0.95, method="exact")
    numbers = rule(decision, "sensitivity").numbers
    assert (numbers["value"], numbers["low"], numbers["high"]) == pytest.approx(
        (kept / 100, exact.low, exact.high), abs=1e-6
    )
    assert decision.groups == 200


def test_a_film_just_at_rule_out_is_not_ruled_out(policy: Policy) -> None:
    films = scored().films
    films["score"] = np.where(films["label"] == 1, 0.2, films["score"])
    assert rule(decide(dataclasses.replace(scored(), films=films), None, evidence(), policy), "sensitivity").numbers[
        "value"
    ] == pytest.approx(1.0)


def test_as_many_films_as_the_policy_needs_are_enough(policy: Policy) -> None:
    champion = dataclasses.replace(scored("1"), films=scored("1").films.iloc[:100])
    compared = rule(decide(scored(), champion, evidence(), policy), "non_inferiority")
    assert compared.numbers == {"value": 0.0, "low": 0.0, "high": 0.0, "films": 100}


def test_what_is_said_where_the_models_cannot_be_compared(policy: Policy) -> None:
    champion = scored("1")
    few = dataclasses.replace(champion, films=champion.films.iloc[:99])
    positive = dataclasses.replace(champion, films=champion.films[champion.films["label"] == 1])
    infinite = dataclasses.replace(champion, films=champion.films.assign(score=[np.inf, *[0.5] * 199]))
    cases = {
        "99 test films that neither was trained on (101 others were); 100 of both classes are needed": few,
        "100 test films that neither was trained on (100 others were); 100 of both classes are needed": positive,
    }
    for reason, model in cases.items():
        films = len(model.films)
        expected = ("fail", reason, {"films": films, "needed": 100})
        assert said(decide(scored(), model, evidence(), policy))["non_inferiority"] == expected
    assert said(decide(scored(), infinite, evidence(), policy))["non_inferiority"] == (
        "fail",
        "the model in use gives scores that are NaN or infinite",
        {},
    )


def test_a_film_that_is_there_twice_is_compared_with_one_score_of_the_champion(policy: Policy) -> None:
    champion = scored("1", noise=0.4)
    twice = dataclasses.replace(champion, films=pd.concat([champion.films, champion.films.assign(score=0.5)]))
    straight, other = (decide(scored(), each, evidence(), policy) for each in (champion, twice))
    assert rule(straight, "non_inferiority") == rule(other, "non_inferiority")


def test_a_difference_as_text() -> None:
    assert signed(Estimate(0.0979, -0.0191, 0.1768)) == "+0.098 [−0.019, +0.177]"
    assert signed(UNDEFINED) == "not defined"


# ---------------------------------------------------------------- the policy's file


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("auroc: 0.55", "aurok: 0.55", r"aurok: unknown key \(did you mean auroc\?\)"),
        ("auroc: 0.55", "", "auroc is missing"),
        ("  margin: 0.02", "  margins: 0.02", r"non_inferiority\.margins: unknown key \(did you mean margin\?\)"),
        ("mode: enforce", "mode: enforced", "mode = 'enforced': input should be 'off', 'dry_run' or 'enforce'"),
        ("auroc: 0.55", "auroc: 1.55", "auroc = 1.55: input should be less than or equal to 1"),
        ("parity: true", "parity: please", "parity = 'please': input should be a valid boolean"),
    ],
)
def test_a_rule_that_is_misspelt_missing_or_out_of_bounds(tmp_path: Path, old: str, new: str, reason: str) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "promotion.yaml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(OsteonError, match=reason):
        read_policy(tmp_path / "promotion.yaml")


# ---------------------------------------------------------------- other people's films


def elsewhere(films: int = 276, auroc: float = 0.9, sensitivity: float = 0.9, refused: float = 0.1) -> dict[str, Any]:
    """metrics.json of an external test, by the lower ends of its intervals and the share that it refuses."""
    return {
        "test": {"n": films, "auroc": {"value": auroc + 0.05, "low": auroc, "high": 1.0}},
        "operating_points": {"sensitivity": {"share": {"value": 1.0, "low": sensitivity, "high": 1.0}}},
        "refused": {"value": refused, "low": 0.0, "high": 1.0},
        "external": {"folder": "clinic"},
    }


def demanding(policy: Policy) -> Policy:
    """With the shipped limits: 100 films, AUROC 0.7, sensitivity 0.8, 0.3 refused."""
    return policy.model_copy(update={"external": policy.external.model_copy(update={"required": True})})


@pytest.mark.parametrize(
    ("tests", "reason", "numbers"),
    [
        ([elsewhere()], "1 test on other people's films, all above the floors", {"tests": 1, "auroc_low": 0.9}),
        (
            [elsewhere(), elsewhere(films=100, auroc=0.7, sensitivity=0.8, refused=0.3)],
            "2 tests on other people's films, all above the floors",
            {"tests": 2, "auroc_low": 0.7},
        ),
        # A test on too few films is neither for nor against it.
        (
            [elsewhere(films=99, auroc=0.1), elsewhere()],
            "1 test on other people's films, all above the floors",
            {"tests": 1, "auroc_low": 0.9},
        ),
        (
            [elsewhere() | {"refused": None}],
            "1 test on other people's films, all above the floors",
            {"tests": 1, "auroc_low": 0.9},
        ),
    ],
)
def test_tests_on_other_peoples_films_that_pass(
    policy: Policy, tests: list[dict[str, Any]], reason: str, numbers: dict[str, float]
) -> None:
    decision = decide(scored(), None, evidence(external=tests), demanding(policy))
    external = rule(decision, "external")
    assert (external.verdict, external.reason, external.numbers) == ("pass", reason, numbers)
    assert decision.promote


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        (None, "no test on other people's films: none of this model; osteon test --model … --root FOLDER makes one"),
        ([], "no test on other people's films: none of this model; osteon test --model … --root FOLDER makes one"),
        (
            [elsewhere(films=99), elsewhere(films=20)],
            "no test on other people's films: the largest has 99 films, 100 are needed; osteon test --model … --root "
            "FOLDER makes one",
        ),
        ([elsewhere(auroc=0.699)], "AUROC on 276 films of clinic: lower end 0.699, 0.7 or more"),
        (
            [elsewhere(sensitivity=0.799)],
            "sensitivity at rule out on 276 films of clinic: lower end 0.799, 0.8 or more",
        ),
        ([elsewhere(refused=0.301)], "refused on 276 films of clinic: 30.1%, 0.3 at most"),
        # Who tests until it passes shows nothing.
        ([elsewhere(), elsewhere(auroc=0.4)], "AUROC on 276 films of clinic: lower end 0.400, 0.7 or more"),
        (
            [{"test": {"n": 100}, "refused": {"value": None}}],
            "AUROC on 100 films of ?: not measured, 0.7 or more; sensitivity at rule out on 100 films of ?: not "
            "measured, 0.8 or more; refused on 100 films of ?: not measured, 0.3 at most",
        ),
    ],
)
def test_tests_on_other_peoples_films_that_do_not(
    policy: Policy, tests: list[dict[str, Any]] | None, reason: str
) -> None:
    decision = decide(scored(), None, evidence(external=tests), demanding(policy))
    external = rule(decision, "external")
    assert (external.verdict, external.reason) == ("fail", reason)
    assert decision.failing() == [external]


def test_a_policy_of_before_the_rule_does_not_ask_for_it(tmp_path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    start, end = text.index("external:"), text.index("latency:")
    (tmp_path / "promotion.yaml").write_text(text[:start] + text[end:], encoding="utf-8")
    assert not read_policy(tmp_path / "promotion.yaml").external.required
