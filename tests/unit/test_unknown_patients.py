"""Patients who are only in file names: without a pattern all places say so, with it none is on two sides."""

import dataclasses
import shutil
from pathlib import Path

import pandas as pd
import pytest

from components.ingestion.step import ingest
from components.phantoms.step import phantoms
from components.preparation.step import PreparationSummary, prepare
from components.promotion.decision import Evidence, Rule, Scored, decide
from components.promotion.evidence import collect_evidence
from components.promotion.policy import read_policy
from components.validation.step import validate
from osteon.films.prepared.array import PreparedFilms, open_prepared
from osteon.models.package.package import open_package
from osteon.params import DataParams, PhantomParams, PreparationParams, ValidationParams
from tests.making import packaged

pytestmark = pytest.mark.slow  # phantoms are drawn, and prepared twice

POLICY = Path(__file__).parents[2] / "mlflow" / "promotion.yaml"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """182 phantoms of 46 patients in class folders, named P00028-1-lateral.png."""
    folder = tmp_path_factory.mktemp("phantoms")
    summary = phantoms(folder / "drawn", folder / "sheet.png", PhantomParams(films=182, size=96))
    assert summary.model_dump()["patients"] == 46
    for row in pd.read_csv(folder / "drawn" / "manifest.csv").itertuples():
        place = folder / "films" / str(row.label) / Path(str(row.path)).name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "drawn" / str(row.path), place)
    return folder / "films"


@dataclasses.dataclass
class Run:
    """What the steps up to prepare made."""

    summary: PreparationSummary
    prepared: PreparedFilms
    report: str
    leaks: Path


def run(films: Path, folder: Path, pattern: str) -> Run:
    manifest, trusted, report, dataset, leaks = (
        folder / name for name in ("manifest.parquet", "trusted.parquet", "report", "dataset", "leaks")
    )
    ingest(films, manifest, DataParams(root=str(films), layout="folders", patient_pattern=pattern))
    validate(films, manifest, trusted, report, ValidationParams(min_side=16))
    summary = prepare(
        films, trusted, dataset, leaks, folder / "sides.parquet", PreparationParams(image_size=64, folds=3)
    )
    assert isinstance(summary, PreparationSummary)
    return Run(summary, open_prepared(dataset), (report / "report.html").read_text(encoding="utf-8"), leaks)


def rule_leaks(run: Run, folder: Path, allowed: bool) -> Rule:
    """The rule of the shipped policy, on all that is known of these films."""
    evidence = collect_evidence(open_package(packaged(folder / "model")), run.prepared, None, run.leaks, None, [], None)
    evidence = Evidence(leaks=evidence.leaks, patients=evidence.patients)
    scores = pd.DataFrame({"sha256": ["a", "b"], "group": ["a", "b"], "label": [0, 1], "score": [0.1, 0.9]})
    policy = read_policy(POLICY).model_copy(update={"unknown_patients": "allowed" if allowed else "refused"})
    decision = decide(Scored("1", scores, frozenset(), 0.2), None, evidence, policy)
    return next(rule for rule in decision.rules if rule.rule == "leaks")


def test_without_a_pattern_everything_says_that_patients_are_unknown(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = run(films, tmp_path, "")
    unknown = "unknown, known for 0 of 182 films; studies are unknown too"
    assert made.summary.patients == unknown
    assert f"patients {unknown}" in made.summary.line()
    assert caplog.text.count("patients are unknown, so films of one patient may be in training and test") == 2
    assert "makes 46 groups of 182 films" in caplog.text
    assert f"Patients of the trusted films: {unknown}." in made.report
    assert "patients and" not in made.report
    refused = rule_leaks(made, tmp_path, allowed=False)
    assert (refused.verdict, f"patients {unknown}: a patient may be in both" in refused.reason) == ("fail", True)
    allowed = rule_leaks(made, tmp_path / "again", allowed=True)
    assert (allowed.verdict, f"patients {unknown}, which the policy allows" in allowed.reason) == ("pass", True)


def test_with_a_pattern_no_patient_is_on_two_sides(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = run(films, tmp_path, r"^(?:.*/)?(P\d+)-")
    assert made.summary.patients == "known for 182 of 182 films (46 patients)"
    assert "unknown" not in caplog.text
    assert "Patients of the trusted films: known for 182 of 182 films (46 patients)." in made.report
    rows = made.prepared.films
    whose = rows["film_id"].str.extract(r"(P\d+)-")[0]
    side = rows["fold"].astype("string").fillna("test")
    assert (side.groupby(whose).nunique() == 1).all()
    assert rows.groupby(whose)["patient_id"].nunique().eq(1).all()
    assert rule_leaks(made, tmp_path, allowed=False).verdict == "pass"
