"""The model card: what it says comes from what was measured, and its table from what it says."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.promotion.checklists import CHECKLISTS, CLAIM, STARD, TRIPOD
from components.promotion.decision import Decision, Rule
from components.promotion.model_card import MOST_VALUES, CardContent, Items, Share, render_card, shares
from components.promotion.policy import read_policy
from osteon.errors import OsteonError
from osteon.models.package.package import PackageInfo, read_info
from tests.making import packaged

SHIPPED = Path(__file__).parents[2] / "mlflow" / "model_card.md.j2"


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> PackageInfo:
    """Of a package with one network and no classical model."""
    return read_info(packaged(tmp_path_factory.mktemp("card") / "model"))


def films(**changed: list[Any]) -> pd.DataFrame:
    """Six films: four to learn from, two to test on."""
    usual = {
        "test": [False, False, False, False, True, True],
        "label": [1, 1, 0, 0, 1, 0],
        "group": ["a", "a", "b", "c", "d", "e"],
        "patient_id": ["p1", "p1", "p2", None, "p4", "p5"],
        "study_id": [None] * 6,
        "patient_source": ["column", "column", "column", None, "column", "column"],
        "study_source": [None] * 6,
        "source": ["clinic"] * 6,
        "region": ["hand", "hand", "wrist", None, "hand", "wrist"],
        "view": ["frontal"] * 6,
        "hardware": [True, False, False, None, False, False],
    }
    return pd.DataFrame(usual | changed).astype({"hardware": "boolean"})


def decision(promote: bool = True) -> Decision:
    rules = [Rule(rule="auroc", verdict="pass" if promote else "fail", reason="0.5 is too little")]
    policy = read_policy(SHIPPED.with_name("promotion.yaml"))
    return Decision(candidate="7", champion=None, promote=promote, films=2, groups=2, rules=rules, policy=policy)


def card(info: PackageInfo, template: Path = SHIPPED, **changed: Any) -> str:
    usual: dict[str, Any] = {
        "version": "7",
        "decision": decision(),
        "info": info,
        "metrics": None,
        "external": [],
        "films": films(),
        "steps": {},
        "origin": {"commit": "abc"},
        "params": {"training.epochs": "3"},
        "at": "2026-11-21 20:00 UTC",
        "who": "ada",
    }
    return render_card(template, CardContent(**(usual | changed)))


# ---------------------------------------------------------------- checklists


def test_the_checklists_are_as_long_as_those_that_were_published() -> None:
    assert {name: len(items) for name, items in CHECKLISTS.items()} == {CLAIM: 44, TRIPOD: 52, STARD: 48}
    numbers = {name: {int(re.sub("[a-z]", "", item)) for item in items} for name, items in CHECKLISTS.items()}
    assert numbers == {CLAIM: set(range(1, 45)), TRIPOD: set(range(1, 28)), STARD: set(range(1, 41))}


def test_the_table_says_what_the_parts_said() -> None:
    items = Items()
    assert items.section("Data", claim="7 9", tripod="7") == "## Data"
    assert items.stated("Funding", "  ", claim="44") == "- **Funding.** _Not stated._"
    assert items.stated("Ethics", "Approved.", stard="6") == "- **Ethics.** Approved."
    head, _, data, ethics, _, claim, tripod, stard = items.table().splitlines()
    assert head == "| part | CLAIM 2024 | TRIPOD+AI | STARD-AI |"
    assert data == "| Data | 7, 9 | 7 | – |"
    assert ethics == "| Ethics | – | – | 6 |"
    assert claim.startswith("- CLAIM 2024: 2 of 44 answered. Not: 1 title, 2 abstract, ")
    assert "9 preprocessing" not in claim
    assert claim.endswith("44 funding.")
    assert "1 of 52" in tripod
    assert "1 of 48" in stard


def elsewhere(**changed: Any) -> dict[str, Any]:
    """What the card reads of metrics.json of a test on other people's films."""

    def estimate(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    usual = {
        "test": {"n": 276, "groups": 200, "prevalence": 0.22, "auroc": estimate(0.4)},
        "operating_points": {"sensitivity": {"share": estimate(0.5)}, "specificity": {"share": estimate(0.6)}},
        "refused": estimate(0.2),
        "external": {
            "folder": "clinic|B",
            "differences": {"AUROC": {"difference": estimate(-0.45)}},
            "taken_out": {"same bytes as a training film": 2, "copy of a training film": 3},
        },
    }
    return usual | changed


def test_a_test_on_other_peoples_films_is_in_the_card_and_answers_its_items(info: PackageInfo) -> None:
    def line(*tests: dict[str, Any]) -> str:
        text = card(info, external=list(tests))
        (line,) = [line for line in text.splitlines() if line.startswith("- **External testing")]
        return line

    assert line() == "- **External testing: other people's films, by osteon test.** _Not stated._"
    assert line(elsewhere()) == (
        "- **External testing: other people's films, by osteon test.** 276 films of 200 groups of clinic&#124;B, 22% "
        "positive: AUROC 0.400 [0.300, 0.500], less that of its own test -0.450 [-0.550, -0.350], kept at rule out "
        "0.500 [0.400, 0.600], at rule in 0.600 [0.500, 0.700], refused 0.200 [0.100, 0.300], taken out 5 films that "
        "it had seen"
    )
    own_unknown = elsewhere(refused=None) | {"external": {"folder": "c", "differences": {}, "taken_out": {}}}
    assert line(elsewhere(), own_unknown).endswith(
        "; 276 films of 200 groups of c, 22% positive: AUROC 0.400 [0.300, 0.500], kept at rule out 0.500 [0.400, "
        "0.600], at rule in 0.600 [0.500, 0.700], no film can be refused as unlike, taken out 0 films that it had seen"
    )
    for tests, answered in (([], False), ([elsewhere()], True)):
        text = card(info, external=tests)
        assert ("33 testing on external data" not in text) == answered
        assert ("23b performance across clusters" not in text) == answered


def test_an_item_that_two_parts_answer_counts_once() -> None:
    items = Items()
    items.section("One", claim="7")
    items.section("Two", claim="7 8")
    assert "CLAIM 2024: 2 of 44" in items.table()


def test_with_all_stated_only_what_a_card_cannot_say_is_left(info: PackageInfo, tmp_path: Path) -> None:
    """Abstracts, and what comes of changing a model after its evaluation, which Osteon does not."""
    parts = re.findall(r"\{\{ (?:section|stated)\(.*\) \}\}", SHIPPED.read_text(encoding="utf-8"))
    assert len(parts) > 25
    stated = [part.replace(', "", ', ', "said", ').replace('else ""', 'else "said"') for part in parts]
    template = tmp_path / "card.md.j2"
    template.write_text("\n".join(["{% set drawn, finding = false, 'x' %}", *stated, "{{ checklists() }}"]), "utf-8")
    text = card(info, template, external=[elsewhere()])
    left = [line.split("Not: ")[1] for line in text.splitlines() if " answered. Not: " in line]
    assert left == ["2 abstract.", "2 abstract, 12f updating, 24 results of updating.", "2 abstract."]


# ---------------------------------------------------------------- the shipped template


def test_the_card_without_an_evaluation_claims_none_of_its_items(info: PackageInfo) -> None:
    text = card(info)
    assert text.startswith("# Osteon, version 7: finds ‘fractured’ on radiographs\n")
    assert "No evaluation of this very model is known." in text
    assert "37 performance" in text.split("- CLAIM 2024:")[1].splitlines()[0]
    assert "**promoted** on 2026-11-21 20:00 UTC by ada" in text
    assert "    development             4   of 3 groups (2 patients, unknown for 1 films):" in text
    assert "    test                    2   of 2 other groups (2 patients):" in text
    assert "drawn by a computer" not in text
    assert "training.epochs: 3" in text
    assert "| commit | abc |" in text


def test_a_refused_version_says_why(info: PackageInfo) -> None:
    text = card(info, decision=decision(promote=False))
    assert "**refused** on" in text
    assert "- auroc: 0.5 is too little" in text


def test_a_dry_run_promises_nothing(info: PackageInfo) -> None:
    judged = decision()
    dry = judged.model_copy(update={"policy": judged.policy.model_copy(update={"mode": "dry_run"})})
    assert "**Would be promoted** on" in card(info, decision=dry)


KNOWN = {"patient_id": ["p1", "p1", "p2", "p3", "p4", "p5"], "patient_source": ["column"] * 6}
NONE = {"patient_id": [None] * 6, "patient_source": [None] * 6}


def leaks(groups_in_both: int | None) -> Decision:
    rule = Rule(rule="leaks", verdict="fail", reason="so it is", numbers={"groups_in_both": groups_in_both})
    return decision().model_copy(update={"rules": [rule]})


def test_that_no_patient_is_on_both_sides_is_said_only_where_it_was_found_so(info: PackageInfo) -> None:
    kept = "No patient, study or copy of a film is on both sides"
    not_looked_for = "**Whether a patient, study or copy of a film is on both sides was not looked for, or one is**"
    assert not_looked_for in card(info, films=films(**KNOWN))
    for groups, claimed in ((0, True), (1, False), (None, False)):
        text = card(info, films=films(**KNOWN), decision=leaks(groups))
        assert (kept in text, not_looked_for in text) == (claimed, not claimed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {},
            "Patients: known for 5 of 6 films (4 patients); studies are unknown too. No copy of a film is on both "
            "sides. **Whether a patient is, nobody knows: the patient of 1 of 6 films is unknown**",
        ),
        (
            NONE,
            "Patients: unknown, known for 0 of 6 films; studies are unknown too. No copy of a film is on both sides. "
            "**Whether a patient is, nobody knows: patients are unknown**",
        ),
        (
            NONE | {"study_id": list("aabbcd"), "study_source": ["DICOM tag"] * 6},
            "Patients: unknown, known for 0 of 6 films; the study is known for 6 (4 studies). No study or copy of a "
            "film is on both sides. **Whether a patient is, nobody knows: patients are unknown**",
        ),
        (
            NONE | {"study_id": list("aabbcd"), "study_source": ["guess"] * 6},
            "Patients: unknown, known for 0 of 6 films; studies are guessed from file numbers. No copy of a film is on "
            "both sides, nor is a study as it was guessed from file numbers. **Whether a patient is, nobody knows: "
            "patients are unknown**",
        ),
    ],
)
def test_what_is_not_known_of_patients_is_said(info: PackageInfo, changed: dict[str, Any], said: str) -> None:
    text = card(info, films=films(**changed), decision=leaks(0))
    assert said in text
    assert "No patient, study" not in text
    assert "so one may be in several groups" in text


def test_what_became_of_ids_is_said_of_the_ids_there_were(info: PackageInfo) -> None:
    hashed = "Patients' ids were replaced by a keyed hash before anything was kept"
    kept = "The source's pseudonyms of patients were kept as they are"
    came_without = "The films came without ids of patients"
    for changed, said in (
        (KNOWN, [hashed]),
        (KNOWN | {"patient_source": ["pseudonym"] * 6}, [kept]),
        (KNOWN | {"patient_source": ["pseudonym"] * 3 + ["DICOM tag"] * 3}, [hashed, kept]),
        (NONE, [came_without]),
    ):
        text = card(info, films=films(**changed))
        assert [sentence for sentence in (hashed, kept, came_without) if sentence in text] == said


def test_what_was_not_searched_or_calibrated_is_not_said_to_be(info: PackageInfo) -> None:
    assert "nothing searched" in card(info)
    assert "parameters by the mean AUROC on out-of-fold films" in card(info, params={"search.trials": "4"})
    plain = info.model_copy(update={"calibration": info.calibration.model_copy(update={"method": "none"})})
    assert "not calibrated; meant for" in card(plain)


def test_a_reason_that_names_a_region_is_no_markup(info: PackageInfo) -> None:
    rule = Rule(rule="subgroup region <b>", verdict="fail", reason="<i>")
    text = card(info, decision=decision(promote=False).model_copy(update={"rules": [rule]}))
    assert "- subgroup region &lt;b&gt;: &lt;i&gt;" in text


def test_phantoms_are_called_so(info: PackageInfo) -> None:
    text = card(info, films=films(source=["phantoms"] * 6))
    assert "**Its films were drawn by a computer. It knows nothing of patients.**" in text
    assert "No patient's film is in it." in text


def test_the_films_by_what_they_are_of() -> None:
    table = shares(films())
    assert table[0] == Share("source", "clinic", 4, 2, 2, 1)
    assert table[1] == Share("region", "hand", 2, 2, 1, 1)
    assert Share("region", "unknown", 1, 0, 0, 0) in table
    assert [(share.value, share.films + share.test_films) for share in table if share.attribute == "hardware"] == [
        ("no", 4),
        ("yes", 1),
        ("unknown", 1),
    ]


def test_many_regions_are_cut_short_and_none_is_lost() -> None:
    count = MOST_VALUES + 5
    many = (
        films()
        .loc[[0] * (count + 3)]
        .assign(region=[f"r{number}" for number in range(count)] + ["r0", "r1", "r2"], test=False)
    )
    table = [share for share in shares(many.reset_index(drop=True)) if share.attribute == "region"]
    assert len(table) == MOST_VALUES + 1
    assert table[-1].value == "5 others"
    assert sum(share.films for share in table) == count + 3
    assert {share.value for share in table[:3]} == {"r0", "r1", "r2"}


def test_a_name_from_a_file_is_no_markup(info: PackageInfo) -> None:
    text = card(info, films=films(source=["a|b <script>\nx"] * 6))
    assert "| source | a&#124;b &lt;script&gt; x | 4 |" in text
    assert "<script>" not in text


# ---------------------------------------------------------------- a template with faults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fine\n{% if %}\n", r"card\.md\.j2: line 2: Expected an expression"),
        ("fine\nfine\n{{ nosuch }}\n", r"card\.md\.j2: line 3: 'nosuch' is undefined"),
        ("fine\n{{ section('Data', claim='7 45') }}\n", r"card\.md\.j2: line 2: 'Data': CLAIM 2024 has no item 45"),
        ("{{ stated('Funding', 'by us', stard='15') }}\n", r"line 1: 'Funding': STARD-AI has no item 15"),
        ("{{ metrics.test }}\n", r"line 1: 'None' has no attribute 'test'"),
        ("fine\n{{ '%d' | format('x') }}\n", r"line 2: %d format: a"),
    ],
)
def test_a_fault_in_the_template_is_named_with_its_line(
    info: PackageInfo, tmp_path: Path, text: str, message: str
) -> None:
    template = tmp_path / "card.md.j2"
    template.write_text(text, encoding="utf-8")
    with pytest.raises(OsteonError, match=message):
        card(info, template)


def test_no_template(info: PackageInfo, tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match=r"gone\.j2: the model card's template cannot be read"):
        card(info, tmp_path / "gone.j2")


def test_all_parameters_are_json_or_text(info: PackageInfo) -> None:
    assert "search.space: " + json.dumps({"a": 1}) in card(info, params={"search.space": json.dumps({"a": 1})})
