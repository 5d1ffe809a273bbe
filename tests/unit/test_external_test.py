"""`osteon test`: a model that has learned nothing, on other people's films, some of which it has seen."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from components.cli.main import app
from components.external_test.comparison import SideBySide, say_difference, say_guarantee
from components.external_test.leaks import COPY, SAME_BYTES, SAME_GROUP, SAME_PATIENT
from components.external_test.run import SET_ON, Settings, Sources, run_external_test
from components.external_test.step import ExternalTestSummary
from components.steps import STEPS
from osteon.contract import describe
from osteon.errors import OsteonError, UnfitFilmsError
from osteon.films.prepared.array import open_prepared
from osteon.models.package.package import INFO, hashes_of, open_package, read_info
from osteon.params import (
    CertaintyParams,
    DataParams,
    EvaluationParams,
    PhantomParams,
    ValidationParams,
    load_params,
)
from osteon.records.film_lineage import films_of
from osteon.records.lineage import lineage
from osteon.records.model_packages import external_tests, fetch_package
from osteon.records.registry import MODEL
from osteon.records.runs import run_step
from osteon.statistics.estimate import UNDEFINED, Estimate
from osteon.statistics.point_search import Kept
from tests.conftest import Pipeline
from tests.making import encoded, packaged, phantom_films, points_at
from tests.unit.conftest import use_store
from tests.unit.test_promotion import train

pytestmark = pytest.mark.xdist_group("external")

PARAMS = EvaluationParams(resamples=200)


@pytest.fixture(scope="module")
def model(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It says that it was trained on the development films of `pipeline`; half of those lie beyond its limit."""
    folder = tmp_path_factory.mktemp("external") / "model"
    packaged(folder)
    prepared = open_prepared(pipeline.dataset)
    scores, distances = open_package(folder).scores_and_distances(prepared.pixels[:])
    low, middle, high = np.quantile(scores, [0.2, 0.5, 0.8]).round(3)
    films = prepared.films
    trained = films.loc[~films["test"], ["film_id", "sha256", "md5"]].assign(role="train")
    trained.to_csv(folder / "films.csv", index=False)
    about = {
        "threshold": float(middle),
        "points": points_at(float(low), float(high)),
        "max_ood_distance": float(np.median(distances)),
        "files": hashes_of(folder),
    }
    info = read_info(folder).model_copy(update=about)
    (folder / INFO).write_text(info.model_dump_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 phantoms of another seed."""
    from components.phantoms.step import phantoms

    folder = tmp_path_factory.mktemp("others")
    phantoms(folder / "films", folder / "sheet.png", PhantomParams(films=60, size=96, fractured=0.5, seed=77))
    return folder / "films"


def with_films(source: Path, folder: Path, films: dict[str, tuple[bytes, str]]) -> Path:
    """A copy of a folder in the layout manifest with more films: id → the file's bytes and the patient."""
    shutil.copytree(source, folder)
    table = pd.read_csv(folder / "manifest.csv", dtype=str)
    rows = []
    for name, (data, patient) in films.items():
        (folder / f"{name}.png").write_bytes(data)
        row = {"film_id": name, "path": f"{name}.png", "label": "fractured", "patient_pseudonym": patient}
        rows.append(row | {"study_pseudonym": f"study {name}"})
    pd.concat([table, pd.DataFrame(rows)]).to_csv(folder / "manifest.csv", index=False)
    return folder


def result_of(
    model: Path,
    root: Path,
    pipeline: Pipeline,
    report: Path,
    *,
    trusted: Path | None = None,
    same_patients: bool = False,
) -> ExternalTestSummary:
    sources = Sources(model, root, trusted or pipeline.trusted, pipeline.source, same_patients)
    return run_external_test(sources, report, settings(root))


def settings(root: Path) -> Settings:
    return Settings(PARAMS, DataParams(root=str(root)), ValidationParams(min_side=32), CertaintyParams())


def metrics_of(report: Path) -> dict[str, Any]:
    return json.loads((report / "metrics.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def taken_out(report: Path) -> dict[str, str]:
    table = pd.read_csv(report / "taken_out.csv")
    return dict(zip(table["film_id"], table["why"], strict=True))


@pytest.fixture
def in_store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_store(tmp_path, empty_store, monkeypatch)
    return tmp_path


# ---------------------------------------------------------------- figures


@dataclass(frozen=True)
class Plain:
    """A test of the model on the phantoms of another seed, in a store that knows nothing of the model."""

    summary: ExternalTestSummary
    report: Path


@pytest.fixture(scope="module")
def plain(
    model: Path, others: Path, pipeline: Pipeline, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Plain:
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        use_store(folder, empty_store, patch)
        return Plain(result_of(model, others, pipeline, folder / "report"), folder / "report")


def test_the_figures_are_those_of_the_packaged_model(model: Path, others: Path, plain: Plain) -> None:
    """Of the same files, by the way in which anybody asks the model."""
    table = pd.read_csv(others / "manifest.csv").set_index("film_id")
    table["label"] = table["label"].eq("fractured").astype(int)
    predicted = open_package(model).predict([(others / path).read_bytes() for path in table["path"]])
    written = pd.read_csv(plain.report / "predictions.csv").set_index("film_id")
    assert written.index.tolist() == table.index.tolist()
    refused = (predicted["answer"] == "refused").to_numpy()
    assert 0 < refused.sum() < len(table)
    np.testing.assert_allclose(written["score"][~refused], predicted["probability"][~refused], atol=1e-6)
    metrics = metrics_of(plain.report)
    assert metrics["test"]["auroc"]["value"] == pytest.approx(roc_auc_score(table["label"], written["score"]))
    assert metrics["refused"]["value"] == pytest.approx(refused.mean())
    answers = {row["label"]: row for row in metrics["external"]["answers"]}
    for label, name in ((1, "fractured"), (0, "not fractured")):
        given = predicted.loc[(table["label"] == label).to_numpy(), "answer"].value_counts()
        of_label = {"cleared": "not fractured", "uncertain": "uncertain", "alarmed": "fractured", "refused": "refused"}
        for key, text in of_label.items():
            assert answers[name][key] == given.get(text, 0), (name, key)
    kept = metrics["external"]["figures_of_answered"]["auroc"]["value"]
    assert kept == pytest.approx(roc_auc_score(table["label"][~refused], written["score"][~refused]))
    assert plain.summary.external["films"] == 60
    assert plain.summary.external["auroc"] == metrics["test"]["auroc"]["value"]
    assert plain.summary.external["refused"] == metrics["refused"]["value"]


def test_films_of_another_seed_are_all_kept_though_their_patients_have_the_same_names(
    others: Path, pipeline: Pipeline, plain: Plain
) -> None:
    summary = plain.summary
    assert summary.external["taken_out"] == 0
    assert not taken_out(plain.report)
    training = metrics_of(plain.report)["external"]["training_films"]
    assert training["compared"] == training["known"] > 80
    films = open_prepared(pipeline.dataset).films
    known = pd.read_csv(pipeline.source / "manifest.csv").set_index("film_id")["patient_pseudonym"]
    trained = known[films.loc[~films["test"], "film_id"]]
    shared = pd.read_csv(others / "manifest.csv")["patient_pseudonym"].isin(trained).sum()
    assert training["patients_in_both"] == shared > 30
    assert f"{shared} films have an id of a patient that training films have too" in summary.statements[-1]
    page = (plain.report / "report.html").read_text(encoding="utf-8")
    for sentence in summary.statements:
        assert sentence.replace("'", "&#39;") in page


# ---------------------------------------------------------------- what the model has seen


def pixels_of(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def test_copies_of_training_films_are_taken_out_with_their_groups(
    model: Path, others: Path, pipeline: Pipeline, in_store: Path
) -> None:
    films = open_prepared(pipeline.dataset).films
    trained = films.loc[~films["test"], "film_id"].tolist()
    paths = pd.read_csv(pipeline.source / "manifest.csv").set_index("film_id")["path"]
    first, second, third = (pipeline.source / paths[film] for film in trained[:6:2])
    stranger = encoded(phantom_films(1, seed=9, size=96)[0], "PNG")
    more = {
        "bytes": (first.read_bytes(), "A"),
        "pixels": (encoded(pixels_of(second), "PNG", compress_level=9), "B"),
        "near": (encoded(cv2.resize(cv2.flip(pixels_of(third), 1), None, fx=2, fy=2), "PNG"), "C"),
        "same patient": (stranger, "A"),
    }
    root = with_films(others, in_store / "films", more)
    summary = result_of(model, root, pipeline, in_store / "report")
    assert taken_out(in_store / "report") == {
        "bytes": SAME_BYTES,
        "pixels": COPY,
        "near": COPY,
        "same patient": SAME_GROUP,
    }
    assert summary.external["films"] == 60
    assert summary.external["taken_out"] == 4
    pairs = pd.read_csv(in_store / "report" / "copies" / "pairs.csv")
    joined = pairs[pairs["joined"]]
    assert dict(zip(joined["second"], joined["sign"], strict=True)) == {
        "bytes": "same bytes",
        "pixels": "same pixels",
        "near": "near copy",
    }
    assert metrics_of(in_store / "report")["test"]["n"] == 60


@pytest.mark.slow
def test_without_the_training_films_only_the_same_bytes_are_found_and_that_is_said(
    model: Path, others: Path, pipeline: Pipeline, in_store: Path
) -> None:
    films = open_prepared(pipeline.dataset).films
    trained = films.loc[~films["test"], "film_id"].tolist()
    paths = pd.read_csv(pipeline.source / "manifest.csv").set_index("film_id")["path"]
    first, second = (pipeline.source / paths[film] for film in trained[:4:2])
    more = {"bytes": (first.read_bytes(), "A"), "pixels": (encoded(pixels_of(second), "PNG", compress_level=9), "B")}
    root = with_films(others, in_store / "films", more)
    summary = result_of(model, root, pipeline, in_store / "report", trusted=in_store / "nothing")
    assert taken_out(in_store / "report") == {"bytes": SAME_BYTES}
    assert any("near copies could not be looked for" in sentence for sentence in summary.statements)


@pytest.mark.slow
def test_the_models_own_films_are_no_test_of_it(model: Path, pipeline: Pipeline, in_store: Path) -> None:
    root = in_store / "films"
    shutil.copytree(pipeline.source, root)
    table = pd.read_csv(root / "manifest.csv")
    films = open_prepared(pipeline.dataset).films
    trained = films.loc[~films["test"], "film_id"]
    own = table["film_id"].isin(trained)
    for path in table.loc[~own, "path"]:
        (root / path).unlink()
    table[own].to_csv(root / "manifest.csv", index=False)
    with pytest.raises(UnfitFilmsError, match=f"0 films are left.*{len(trained)} × {SAME_BYTES}"):
        result_of(model, root, pipeline, in_store / "report")


@pytest.mark.slow
def test_where_ids_are_of_one_hospital_its_patients_are_taken_out(
    model: Path, others: Path, pipeline: Pipeline, in_store: Path
) -> None:
    root = with_films(others, in_store / "films", {})
    table = pd.read_csv(root / "manifest.csv")
    known = pd.read_csv(pipeline.source / "manifest.csv").set_index("film_id")["patient_pseudonym"]
    films = open_prepared(pipeline.dataset).films
    trained = known[films.loc[~films["test"], "film_id"].iloc[0]]
    names = "N" + table["patient_pseudonym"].astype(str)
    names[:4] = trained
    table.assign(patient_pseudonym=names).to_csv(root / "manifest.csv", index=False)
    summary = result_of(model, root, pipeline, in_store / "report", same_patients=True)
    reasons = taken_out(in_store / "report")
    assert {film for film, why in reasons.items() if why == SAME_PATIENT} == set(table["film_id"][:4])
    assert set(reasons.values()) <= {SAME_PATIENT, SAME_GROUP}
    assert summary.external["films"] == 60 - len(reasons)


# ---------------------------------------------------------------- not fit


def relabelled(source: Path, folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    shutil.copytree(source, folder)
    change(pd.read_csv(folder / "manifest.csv", dtype=str)).to_csv(folder / "manifest.csv", index=False)
    return folder


def test_films_of_one_class_are_no_test(model: Path, others: Path, pipeline: Pipeline, in_store: Path) -> None:
    root = relabelled(others, in_store / "films", lambda table: table.assign(label="not fractured"))
    with pytest.raises(UnfitFilmsError, match="1 class among the films, not two") as error:
        result_of(model, root, pipeline, in_store / "report")
    assert error.value.exit_code == 3
    assert str(in_store / "report" / "validation" / "quarantine.csv") in str(error.value)
    assert (in_store / "report" / "validation" / "quarantine.csv").is_file()


@pytest.mark.slow
def test_few_fractures_are_no_reason_to_refuse(model: Path, others: Path, pipeline: Pipeline, in_store: Path) -> None:
    """Where films come from, one in a hundred may be fractured."""

    def only_first(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(label=["fractured"] + ["not fractured"] * (len(table) - 1))

    root = relabelled(others, in_store / "films", only_first)
    result_of(model, root, pipeline, in_store / "report")
    confusion = metrics_of(in_store / "report")["test"]["confusion"]
    assert confusion["tp"] + confusion["fn"] == 1


def test_a_folder_without_a_package(in_store: Path) -> None:
    with pytest.raises(OsteonError, match=r"no packaged model \(package.json is missing\); give models:/NAME@ALIAS"):
        fetch_package(str(in_store), in_store / "fetched")


@pytest.mark.parametrize("what", ["models:/osteon-fracture@champion", "models:/osteon-fracture/1", "runs:/0123/model"])
def test_a_model_that_mlflow_does_not_have(what: str, in_store: Path) -> None:
    with pytest.raises(OsteonError, match=f"{what}: .*; give models:/NAME@ALIAS"):
        fetch_package(what, in_store / "fetched")


# ---------------------------------------------------------------- in words


@pytest.mark.parametrize(
    ("share", "met", "refuted", "words"),
    [
        (Estimate(0.5, 0.4, 0.6), False, True, "the guarantee does not hold on films like these"),
        (Estimate(0.97, 0.95, 0.99), True, False, "it holds on films like these"),
        (Estimate(0.96, 0.85, 0.99), True, False, "reached here, but so few groups prove neither"),
        (Estimate(0.94, 0.85, 0.99), False, False, "missed here, and so few groups prove neither"),
    ],
)
def test_whether_a_guarantee_holds(share: Estimate, met: bool, refuted: bool, words: str) -> None:
    kept = Kept(target=0.95, guaranteed=True, groups=70, share=share, met=met, refuted=refuted)
    text = say_guarantee("rule out", kept)
    assert text.startswith(f"rule out: {share.value:.3f} [")
    assert words in text


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Estimate(-0.2, -0.3, -0.1), "−0.200 [−0.300, −0.100], worse here"),
        (Estimate(0.2, 0.1, 0.3), "+0.200 [+0.100, +0.300], better here"),
        (Estimate(0.1, -0.1, 0.3), "+0.100 [−0.100, +0.300], not shown to differ"),
    ],
)
def test_how_the_ranking_differs(difference: Estimate, words: str) -> None:
    rows = [SideBySide("AUROC", Estimate(0.6, 0.5, 0.7), Estimate(0.8, 0.7, 0.9), difference)]
    assert say_difference(rows).endswith(words)


def test_without_an_own_test_nothing_is_compared() -> None:
    assert "not known to this MLflow store" in say_difference([])
    assert "worse" not in say_difference([SideBySide("AUROC", UNDEFINED, UNDEFINED, UNDEFINED)])


# ---------------------------------------------------------------- the command, in a store


@pytest.mark.slow
def test_the_command_records_a_run_and_makes_a_version_that_is_set_anew(
    others: Path, pipeline: Pipeline, beside: dict[str, Path], in_store: Path
) -> None:
    """Trained, evaluated, tested by its address, set anew, and tested again as a version of the registry."""
    (in_store / "params.yaml").write_text("evaluation: {resamples: 200}\n", encoding="utf-8")
    params = load_params(in_store / "params.yaml")
    package = in_store / "package"
    run_step(describe(train), {"dataset": pipeline.dataset, "model": package}, params)
    made = {"model": package, "dataset": pipeline.dataset, **beside, "report": in_store / "evaluation"}
    run_step(STEPS["evaluate"], made, params)
    client = MlflowClient()
    (logged,) = client.search_logged_models(["1"])

    def command(*words: str) -> str:
        known = ["--trusted", str(pipeline.trusted), "--films", str(pipeline.source)]
        result = CliRunner().invoke(app, ["test", "--root", str(others), *known, *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    output = command("--model", f"models:/{logged.model_id}")
    assert output.startswith("test: 60 films of ")
    assert "on its own test: " in output
    metrics = metrics_of(in_store / "reports" / "external_test")
    own = metrics_of(in_store / "evaluation")
    difference = metrics["external"]["differences"]["AUROC"]["difference"]["value"]
    assert difference == pytest.approx(metrics["test"]["auroc"]["value"] - own["test"]["auroc"]["value"])
    page = client.get_logged_model(logged.model_id)
    on_page = {metric.key: metric.value for metric in page.metrics or []}
    assert on_page["external.auroc"] == pytest.approx(metrics["test"]["auroc"]["value"])
    assert on_page["auroc"] == pytest.approx(own["test"]["auroc"]["value"])
    assert (on_page["external.films"], on_page["films"]) == (60, own["test"]["n"])
    (tested,) = external_tests(package)
    assert tested == metrics
    films = films_of(f"models:/{logged.model_id}")
    assert films["role"].value_counts()["external"] == 60

    output = command("--model", str(package), "--recalibrate", "20", "--why", "Clinic B")
    assert output.endswith("version 1 of osteon-fracture\n")
    new, old = read_info(in_store / "reports" / "external_test-model"), read_info(package)
    assert new.points != old.points
    assert new.fingerprint != old.fingerprint
    listed = pd.read_csv(in_store / "reports" / "external_test-model" / "films.csv")
    set_on = set(listed.loc[listed["role"] == "validation", "film_id"])
    assert 20 <= len(set_on) < 30
    report = in_store / "reports" / "external_test"
    predictions = pd.read_csv(report / "predictions.csv")
    assert not set_on & set(predictions["film_id"])
    assert len(set_on) + len(predictions) == 60
    assert set(taken_out(report).values()) == {SET_ON}
    version = client.get_model_version(MODEL, "1")
    assert version.description == f"Set anew on {len(set_on)} films of another folder, from {package}: Clinic B"
    run = client.get_run(version.run_id)
    assert run.data.tags["osteon.recalibrated.why"] == "Clinic B"
    assert run.data.params["recalibrate.set_on"] == "20"
    assert logged.source_run_id in {node.run_id for node in lineage(f"models:/{MODEL}/1").walk()}

    output = command("--model", f"models:/{MODEL}/1")
    assert set(taken_out(report)) >= set_on
    assert f"{len(set_on)} same bytes as a training film" in output


@pytest.mark.parametrize(
    "words", [["--recalibrate", "20"], ["--why", "Clinic B"], ["--recalibrate", "-1", "--why", "B"]]
)
def test_a_recalibration_and_its_reason_go_together(words: list[str], in_store: Path) -> None:
    (in_store / "params.yaml").write_text("{}\n", encoding="utf-8")
    with pytest.raises(OsteonError, match="go together"):
        CliRunner().invoke(app, ["test", "--model", "m", "--root", str(in_store), *words], catch_exceptions=False)
