"""The step evaluate on the pipeline's films, with a model that has learned nothing."""

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML
from sklearn.metrics import average_precision_score, roc_auc_score

from components.cli.show_evaluation import print_summary
from components.evaluation.metrics import NAMES
from components.evaluation.robustness import CHANGES
from components.evaluation.step import EvaluationSummary, evaluate
from osteon.errors import OsteonError
from osteon.films.manifest import text_to_boxes
from osteon.films.prepared.array import FILMS, PIXELS, open_prepared, shown_sizes
from osteon.films.shortcut_audit import SHORTCUTS, ShortcutAudit, read_shortcut_audit
from osteon.models.inference.onnx_network import export_network
from osteon.models.networks.backend import load_keras
from osteon.models.package.package import hashes_of, open_package, read_info
from osteon.params import EvaluationParams
from osteon.statistics.detection import mark_films
from osteon.statistics.estimate import Estimate
from tests.conftest import Pipeline
from tests.making import packaged, points_at

# One worker makes the report for all tests that read it.
pytestmark = pytest.mark.xdist_group("evaluated")

PARAMS = EvaluationParams(resamples=200)
MARKUP = "<script>alert('x')</script>&\"b\""


class Page(HTMLParser):
    """What a page loads, which elements it has, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def model(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its threshold and its points are such that it gives every answer."""
    folder = tmp_path_factory.mktemp("evaluation")
    scores = open_package(packaged(folder / "any")).probabilities(open_prepared(pipeline.dataset).pixels)
    low, middle, high = np.quantile(scores, [0.2, 0.5, 0.8]).round(3)
    return packaged(folder / "model", threshold=float(middle), points=points_at(float(low), float(high)))


@pytest.fixture(scope="module")
def made(
    model: Path, pipeline: Pipeline, beside: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, EvaluationSummary]:
    report = tmp_path_factory.mktemp("evaluated") / "report"
    return report, evaluated(model, pipeline.dataset, report, beside)


@pytest.fixture(scope="module")
def report(made: tuple[Path, EvaluationSummary]) -> Path:
    return made[0]


@pytest.fixture(scope="module")
def test_films(pipeline: Pipeline) -> pd.DataFrame:
    films = open_prepared(pipeline.dataset).films
    return films[films["test"]].reset_index(drop=True)


def evaluated(model: Path, dataset: Path, report: Path, beside: dict[str, Path]) -> EvaluationSummary:
    return evaluate(model, dataset, **beside, report=report, params=PARAMS)


def metrics_of(report: Path) -> dict[str, Any]:
    return json.loads((report / "metrics.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def changed_dataset(pipeline: Pipeline, folder: Path, **columns: Any) -> Path:
    """The prepared films with other columns."""
    prepared = open_prepared(pipeline.dataset)
    folder.mkdir()
    np.save(folder / PIXELS, prepared.pixels)
    prepared.films.assign(**columns).to_parquet(folder / FILMS)
    return folder


# ---------------------------------------------------------------- figures


def test_the_metrics_have_the_shape_that_is_documented(report: Path, test_films: pd.DataFrame) -> None:
    test = metrics_of(report)["test"]
    assert list(test) == [*NAMES, "n", "groups", "prevalence", "threshold", "confidence", "confusion"]
    for name in NAMES:
        assert list(test[name]) == ["value", "low", "high"]
        assert test[name]["low"] <= test[name]["value"] <= test[name]["high"]
    assert test["n"] == len(test_films) >= 20
    assert test["groups"] == test_films["group"].nunique() < test["n"]
    assert test["prevalence"] == pytest.approx(test_films["label"].mean())
    assert test["confidence"] == 0.95
    assert sum(test["confusion"].values()) == test["n"]
    assert test["confusion"]["tp"] + test["confusion"]["fn"] == test_films["label"].sum()


def test_the_figures_are_those_of_the_predictions(report: Path, test_films: pd.DataFrame) -> None:
    """What is published of each film gives the published figures, by another library."""
    result = pd.read_csv(report / "predictions.csv")
    assert result["film_id"].tolist() == test_films["film_id"].tolist()
    assert result["label"].tolist() == test_films["label"].tolist()
    test = metrics_of(report)["test"]
    assert test["auroc"]["value"] == pytest.approx(roc_auc_score(result["label"], result["score"]))
    assert test["average_precision"]["value"] == pytest.approx(
        average_precision_score(result["label"], result["score"])
    )
    assert test["brier"]["value"] == pytest.approx(((result["score"] - result["label"]) ** 2).mean(), abs=1e-6)
    output = result["score"] >= test["threshold"]
    assert output.nunique() == 2
    assert test["confusion"]["tp"] == (output & (result["label"] == 1)).sum()
    assert test["confusion"]["fp"] == (output & (result["label"] == 0)).sum()


def test_only_test_films_are_scored(
    report: Path, pipeline: Pipeline, beside: dict[str, Path], model: Path, tmp_path: Path
) -> None:
    """Development films that are all black, and labelled the other way, change nothing."""
    prepared = open_prepared(pipeline.dataset)
    test = prepared.films["test"].to_numpy(bool)
    dataset = changed_dataset(
        pipeline, tmp_path / "d", label=prepared.films["label"].where(test, 1 - prepared.films["label"])
    )
    pixels = np.array(prepared.pixels)
    pixels[~test] = 0
    np.save(dataset / PIXELS, pixels)
    evaluated(model, dataset, tmp_path / "report", beside)
    assert metrics_of(tmp_path / "report") == metrics_of(report)


def test_the_regions_make_up_the_whole(report: Path, test_films: pd.DataFrame) -> None:
    subgroups = metrics_of(report)["subgroups"]
    regions = subgroups["by"]["region"]
    counts = test_films["region"].value_counts()
    assert {name: row["films"] for name, row in regions.items()} == counts.to_dict()
    assert [row["films"] for row in regions.values()] == sorted(counts, reverse=True)
    assert sum(row["positive"] for row in regions.values()) == test_films["label"].sum()
    for row in regions.values():
        assert set(row) == {"films", "positive", "sensitivity", "specificity", "auroc", "differences"}
    assert list(subgroups["by"]) == ["region", "view", "hardware", "film size", "source"]
    for rows in subgroups["by"].values():
        assert sum(row["films"] for row in rows.values()) == len(test_films)
    assert subgroups["looks"] == 2 * sum(
        bool(row["differences"]) for by in subgroups["by"].values() for row in by.values()
    )


def test_studies_stand_beside_films(report: Path, test_films: pd.DataFrame) -> None:
    result = pd.read_csv(report / "predictions.csv").assign(study=test_films["study_id"])
    by_study = result.groupby("study").agg(label=("label", "max"), score=("score", "max"))
    studies = metrics_of(report)["studies"]
    assert (studies["n"], studies["positive"]) == (len(by_study), by_study["label"].sum())
    assert studies["of_several_films"] == (result["study"].value_counts() > 1).sum() > 0
    assert studies["auroc"]["value"] == pytest.approx(roc_auc_score(by_study["label"], by_study["score"]))
    text = " ".join(Page((report / "report.html").read_text(encoding="utf-8")).text.split())
    assert f"On the {len(by_study)} studies of these films, {by_study['label'].sum()} of them fractured" in text


def test_robustness_and_explanations_are_measured_on_test_films(report: Path, test_films: pd.DataFrame) -> None:
    metrics = metrics_of(report)
    assert list(metrics["robustness"]) == list(CHANGES)
    for row in metrics["robustness"].values():
        assert row["films"] == len(test_films)
        assert row["share"]["value"] == row["flipped"] / row["films"]
        assert row["auroc"]["low"] <= row["auroc"]["value"] <= row["auroc"]["high"]
    game = metrics["explanations"]["pointing_game"]
    boxed = test_films[(test_films["label"] == 1) & (test_films["boxes"].str.len() > 2)]
    assert game["films"] == len(boxed) > 4
    assert metrics["explanations"]["method"] == "Grad-CAM"
    assert game["tolerance"] == 16  # a cell is 32 pixels at the last layer with places


def test_a_map_that_boxes_have_taught_explains_instead(
    pipeline: Pipeline, beside: dict[str, Path], model: Path, tmp_path: Path
) -> None:
    """And where it is the same everywhere no picture of the film is shown, and it is a miss."""
    threshold = open_package(model).info.threshold
    taught = packaged(tmp_path / "model", threshold=threshold, map_learnt=True)
    evaluated(taught, pipeline.dataset, tmp_path / "report", beside)
    result = metrics_of(tmp_path / "report")["explanations"]
    assert (result["method"], result["pointing_game"]["tolerance"]) == ("map", 8)
    assert result["pointing_game"]["failed"] == 0

    keras = load_keras()
    network = keras.saving.load_model(taught / "network-0.keras", compile=False)
    place = network.get_layer("map")
    place.set_weights([np.zeros_like(item) for item in place.get_weights()])
    network.save(taught / "network-0.keras")
    export_network(taught / "network-0.keras", taught / "network-0.onnx")
    info = read_info(taught).model_copy(update={"files": hashes_of(taught)})
    (taught / "package.json").write_text(info.model_dump_json(), encoding="utf-8")
    evaluated(taught, pipeline.dataset, tmp_path / "flat", beside)
    metrics = metrics_of(tmp_path / "flat")
    result = metrics["explanations"]
    assert result["pointing_game"]["failed"] == result["pointing_game"]["films"]
    assert result["pointing_game"]["peak"]["value"] == 0
    assert len(result["not_shown"]) == sum(min(3, count) for count in metrics["test"]["confusion"].values())
    assert set(result["not_shown"].values()) == {"the map is the same everywhere"}
    assert not (tmp_path / "flat" / "figures" / "gallery.png").exists()
    page = Page((tmp_path / "flat" / "report.html").read_text(encoding="utf-8"))
    assert len([tag for tag, _ in page.elements if tag == "img"]) == 5
    for film_id in result["not_shown"]:
        assert f"{film_id}: the map is the same everywhere" in page.text


def boxed_model(folder: Path, **changes: Any) -> Path:
    """A model whose map has learnt nothing, with boxes all the same."""
    rule = {"depth": 0.25, "threshold": 0.0, "films": 40, "lesions": 12, "average_precision": 0.1} | changes
    return packaged(folder, map_learnt=True, boxes=rule)


def test_boxes_are_measured_as_detection(pipeline: Pipeline, beside: dict[str, Path], tmp_path: Path) -> None:
    """By hand from what the package says of the test films."""
    model = boxed_model(tmp_path / "model")
    evaluated(model, pipeline.dataset, tmp_path / "report", beside)
    result = metrics_of(tmp_path / "report")["detection"]
    prepared = open_prepared(pipeline.dataset)
    films = prepared.films[prepared.films["test"]]
    lesions = [np.array(text_to_boxes(text), float).reshape(-1, 4) for text in films["boxes"]]
    counted = [number for number, boxes in enumerate(lesions) if len(boxes) or not films["label"].iloc[number]]
    predicted = open_package(model).boxes(
        prepared.pixels[films.index.to_numpy()[counted]], shown_sizes(films.iloc[counted])
    )
    marks = mark_films(predicted, [lesions[number] for number in counted])
    every = np.ones((1, len(counted)))
    assert (result["films"], result["left_out"]) == (len(counted), len(films) - len(counted))
    assert result["lesions"] == sum(len(boxes) for boxes in lesions) >= result["fractured"] > 3
    assert result["least_iou"] == 0.3
    assert result["average_precision"]["value"] == pytest.approx(marks.average_precision(every)[0])
    assert list(result["froc"]) == ["iou", "centre"]
    for rate in ("0.1", "0.5", "1"):
        for by in ("by_lesion", "by_film"):
            share = marks.sensitivity(every, [float(rate)], by_film=by == "by_film")[0, 0]
            figure = result["froc"]["iou"][rate][by]
            assert figure["value"] == pytest.approx(share)
            assert figure["low"] <= figure["value"] <= figure["high"]
    # Of a threshold of 0 all boxes are shown.
    assert result["shown"]["false_marks"]["value"] == pytest.approx(result["most"]) == marks.false_marks(every)[0]
    assert result["shown"]["by_lesion"]["value"] == pytest.approx(marks.hit.sum() / result["lesions"])
    curve = pd.read_csv(tmp_path / "report" / "plots" / "froc.csv")
    assert (curve["low"] <= curve["sensitivity"]).all()
    assert (curve["sensitivity"] <= curve["high"]).all()
    text = " ".join(Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8")).text.split())
    assert "Do its boxes hit the break?" in text
    assert f"of {result['lesions']} marked breaks" in text
    assert "Blue, dashed: predicted boxes with their scores." in text


def test_nothing_is_said_of_boxes_where_there_are_none(
    report: Path, pipeline: Pipeline, beside: dict[str, Path], tmp_path: Path
) -> None:
    """Neither of a model that has no rule for them nor of films without any."""
    boxless = changed_dataset(pipeline, tmp_path / "d", boxes="[]")
    evaluated(boxed_model(tmp_path / "model"), boxless, tmp_path / "report", beside)
    for folder in (report, tmp_path / "report"):
        assert metrics_of(folder)["detection"] is None
        assert not (folder / "figures" / "froc.png").exists()
        assert not (folder / "plots" / "froc.csv").exists()
        text = Page((folder / "report.html").read_text(encoding="utf-8")).text
        assert "FROC" not in text
        assert "false mark" not in text


def test_the_worst_subgroup_is_named_on_top_and_in_the_summary(
    pipeline: Pipeline,
    beside: dict[str, Path],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A source whose films are answered the wrong way round, beside one that is answered rightly."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    films = open_prepared(pipeline.dataset).films
    package = open_package(model)
    output = package.probabilities(open_prepared(pipeline.dataset).pixels[:]) >= package.info.threshold
    number = np.arange(len(films))
    wrong = number // 2 % 2 == 0  # both views of a study, so that no view is worse
    dataset = changed_dataset(
        pipeline,
        tmp_path / "d",
        label=pd.array(np.where(wrong, ~output, output).astype(int), dtype="Int8"),
        source=pd.array(np.where(wrong, "<b>far</b>", "near"), dtype="string"),
        test=True,
        group=pd.array([f"g{item}" for item in number], dtype="string"),
    )
    report = tmp_path / "report"
    evaluated(model, dataset, report, beside)
    worst = metrics_of(report)["subgroups"]["worst"]
    assert (worst["attribute"], worst["value"]) == ("source", "<b>far</b>")
    assert f"worse than the rest: {worst['text']}" in caplog.text
    page = Page((report / "report.html").read_text(encoding="utf-8"))
    assert len([tag for tag, attributes in page.elements if attributes.get("role") == "alert"]) == 1
    text = " ".join(page.text.split())
    assert text.index(worst["text"]) < text.index("All figures")
    assert "No subgroup is shown to be worse" not in text
    print_summary(report)
    assert f"worse than the rest: {worst['text']}" in capsys.readouterr().out


def test_answers_and_calibration_are_measured_on_the_films_they_were_not_set_on(report: Path, model: Path) -> None:
    """By hand from the predictions."""
    result, metrics = pd.read_csv(report / "predictions.csv"), metrics_of(report)
    info = open_package(model).info
    low, high = info.points.rule_out.threshold, info.points.rule_in.threshold
    fractured, rest = (result[result["label"] == label] for label in (1, 0))
    points = metrics["operating_points"]
    kept = (fractured["score"] >= low).groupby(fractured["group"]).mean()
    assert points["sensitivity"]["share"]["value"] == pytest.approx(kept.mean())
    assert points["sensitivity"]["groups"] == len(kept)
    kept = (rest["score"] < high).groupby(rest["group"]).mean()
    assert points["specificity"]["share"]["value"] == pytest.approx(kept.mean())
    uncertain = result["score"].between(low, high, inclusive="left").mean()
    assert points["uncertain"]["value"] == pytest.approx(uncertain)
    assert 0 < uncertain < 1
    calibration = metrics["calibration"]
    assert calibration["method"] == info.calibration.method == "none"
    assert calibration["out_of_fold_before"] == calibration["out_of_fold_after"] != calibration["test"]


def test_the_comparison_of_models_is_that_of_the_folds(report: Path, beside: dict[str, Path]) -> None:
    models = metrics_of(report)["models"]
    scores = pd.read_parquet(beside["folds"] / "predictions.parquet")
    assert set(models) == {"network", "svm", "soft_vote"}
    for name, part in scores.groupby("model"):
        assert models[name]["pooled"]["value"] == pytest.approx(roc_auc_score(part["label"], part["score"]))
    page = Page((report / "report.html").read_text(encoding="utf-8")).text
    assert "network (in this report)" in " ".join(page.split())


def test_a_classical_model_is_measured_and_its_films_are_shown_without_heat(
    pipeline: Pipeline, beside: dict[str, Path], tmp_path: Path
) -> None:
    model = packaged(tmp_path / "model", networks=0, classical=("svm",))
    evaluated(model, pipeline.dataset, tmp_path / "report", beside)
    result = pd.read_csv(tmp_path / "report" / "predictions.csv")["score"]
    prepared = open_prepared(pipeline.dataset)
    squares = prepared.pixels[prepared.films["test"].to_numpy(bool)]
    np.testing.assert_allclose(result, open_package(model).probabilities(squares), atol=1e-6)
    explanations = metrics_of(tmp_path / "report")["explanations"]
    assert explanations == {"method": None, "pointing_game": None, "not_shown": {}}
    text = " ".join(Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8")).text.split())
    assert "Not measured: this model gives no map." in text
    assert "support vector machine (in this report)" in text
    assert (tmp_path / "report" / "figures" / "gallery.png").exists()


def test_the_summary_says_what_the_metrics_say(made: tuple[Path, EvaluationSummary]) -> None:
    report, summary = made
    test = metrics_of(report)["test"]
    assert (summary.films, summary.auroc, summary.auroc_low, summary.auroc_high) == (
        test["n"],
        *(test["auroc"][key] for key in ("value", "low", "high")),
    )
    for name in ("average_precision", "sensitivity", "specificity", "brier"):
        assert getattr(summary, name) == test[name]["value"]
    assert summary.line().startswith(f"{test['n']} test films · AUROC {test['auroc']['value']:.3f} [")


def test_a_second_evaluation_is_the_same_byte_for_byte(
    report: Path, model: Path, pipeline: Pipeline, beside: dict[str, Path], tmp_path: Path
) -> None:
    evaluated(model, pipeline.dataset, tmp_path / "again", beside)
    files = sorted(path.relative_to(report) for path in report.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "again") for path in tmp_path.rglob("*") if path.is_file())
    for path in files:
        assert (report / path).read_bytes() == (tmp_path / "again" / path).read_bytes(), path


# ---------------------------------------------------------------- plots and pictures


def test_the_plots_have_the_columns_that_dvc_yaml_names(report: Path) -> None:
    plots = YAML(typ="safe").load(Path("dvc.yaml").read_text(encoding="utf-8"))["plots"]
    named = {path: axes for plot in plots for path, axes in plot.items()}
    written = {f"reports/evaluation/plots/{path.name}" for path in (report / "plots").iterdir()}
    assert set(named) == written
    for path, axes in named.items():
        columns = pd.read_csv(report / "plots" / Path(path).name).columns
        assert {axes["x"], axes["y"]} <= set(columns), path


def test_the_curves_belong_to_the_figures(report: Path) -> None:
    test = metrics_of(report)["test"]
    roc = pd.read_csv(report / "plots" / "roc.csv")
    assert np.trapezoid(roc["sensitivity"], roc["1 - specificity"]) == pytest.approx(test["auroc"]["value"], abs=1e-5)
    curve = pd.read_csv(report / "plots" / "precision_recall.csv")
    area = -(np.diff(curve["recall"]) * curve["precision"][:-1]).sum()
    assert area == pytest.approx(test["average_precision"]["value"], abs=1e-5)
    table = pd.read_csv(report / "plots" / "confusion.csv")
    counts = table.value_counts().to_dict()
    assert counts.get(("fractured", "fractured"), 0) == test["confusion"]["tp"]
    assert counts.get(("not fractured", "fractured"), 0) == test["confusion"]["fp"]
    scores = pd.read_csv(report / "plots" / "scores.csv")
    assert scores["fractured"].sum() == round(test["n"] * test["prevalence"])
    assert scores[["fractured", "not fractured"]].to_numpy().sum() == test["n"]


def test_the_pictures_open_and_show_something(report: Path) -> None:
    names = sorted(path.name for path in (report / "figures").iterdir())
    assert names == ["confusion.png", "gallery.png", "precision_recall.png", "reliability.png", "roc.png", "scores.png"]
    for name in names:
        with Image.open(report / "figures" / name) as picture:
            grey = np.asarray(picture.convert("L"))
        assert min(grey.shape) > 300
        assert grey[0, 0] == 255
        assert 0.01 < (grey < 200).mean() < (0.95 if name in ("confusion.png", "gallery.png") else 0.6), name


# ---------------------------------------------------------------- the page


def test_the_page_needs_nothing_from_elsewhere(report: Path) -> None:
    page = Page((report / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "action", "data"):
            # A part of the page itself, or what is in it.
            assert str(attributes.get(name, "data:")).startswith(("data:", "#")), (tag, attributes)
    text = (report / "report.html").read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_shows_the_pictures_with_a_text_for_who_cannot_see_them(report: Path) -> None:
    page = Page((report / "report.html").read_text(encoding="utf-8"))
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert [item["alt"] for item in pictures] == [
        "ROC curve",
        "Precision and recall",
        "Confusion matrix",
        "Probabilities by class",
        "Reliability out of fold, before and after calibration",
        "The most certain right and wrong films",
    ]
    names = ("roc", "precision_recall", "confusion", "scores", "reliability", "gallery")
    for item, name in zip(pictures, names, strict=True):
        data = base64.b64decode(str(item["src"]).removeprefix("data:image/png;base64,"), validate=True)
        assert data == (report / "figures" / f"{name}.png").read_bytes()
        Image.open(io.BytesIO(data)).verify()


def test_the_page_says_every_figure_with_its_interval(report: Path) -> None:
    test = metrics_of(report)["test"]
    text = " ".join(Page((report / "report.html").read_text(encoding="utf-8")).text.split())
    for name, title in NAMES.items():
        item = test[name]
        assert title in text
        assert f"{item['value']:.3f} [{item['low']:.3f}, {item['high']:.3f}]" in text, name
    assert f"On {test['n']} test films of {test['groups']} groups" in text
    assert f"it finds {test['confusion']['tp']} of {test['confusion']['tp'] + test['confusion']['fn']}" in text
    for members in metrics_of(report)["subgroups"]["by"].values():
        for value in members:
            assert value in text


def test_markup_in_names_is_text(pipeline: Pipeline, beside: dict[str, Path], tmp_path: Path) -> None:
    """The finding, regions and sources come from other people's files."""
    dataset = changed_dataset(pipeline, tmp_path / "d", finding=MARKUP, region=MARKUP, source=MARKUP)
    model = packaged(tmp_path / "model", finding=MARKUP, fingerprint=MARKUP)
    evaluated(model, dataset, tmp_path / "report", beside)
    page = Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.elements}
    # Lead, cards' meanings, region, source, fingerprint: each as it was written.
    assert page.text.count(MARKUP) >= 8
    assert MARKUP in metrics_of(tmp_path / "report")["subgroups"]["by"]["region"]


def test_films_without_region_and_figures_that_are_not_defined(
    pipeline: Pipeline, beside: dict[str, Path], tmp_path: Path
) -> None:
    dataset = changed_dataset(pipeline, tmp_path / "d", region=pd.array([None] * 120, dtype="string"))
    model = packaged(tmp_path / "model", threshold=1.1)
    summary = evaluated(model, dataset, tmp_path / "report", beside)
    result = metrics_of(tmp_path / "report")
    assert list(result["subgroups"]["by"]["region"]) == ["unknown"]
    assert result["test"]["ppv"] == {"value": None, "low": None, "high": None}
    text = " ".join(Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8")).text.split())
    assert "positive predictive value not defined" in text
    assert "NaN" not in (tmp_path / "report" / "metrics.json").read_text()
    assert summary.sensitivity == 0.0


# ---------------------------------------------------------------- the shortcut audit's warning


def audited(folder: Path, **said: Any) -> Path:
    """A report of validate with such an audit."""
    audit = ShortcutAudit(finding="fractured", limit=0.6, films=500, groups=200, **said)
    folder.mkdir()
    (folder / SHORTCUTS).write_text(audit.model_dump_json(), encoding="utf-8")
    return folder


WARNED: dict[str, Any] = {
    "auroc": Estimate(0.81, 0.75, 0.87),
    "warning": "the width tells <i>fractured</i> films, AUROC 0.810 [0.750, 0.870]",
}


def test_where_the_audit_warned_every_report_warns(
    pipeline: Pipeline,
    beside: dict[str, Path],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    report = tmp_path / "report"
    evaluated(model, pipeline.dataset, report, {**beside, "validation": audited(tmp_path / "validation", **WARNED)})
    assert WARNED["warning"] in caplog.text
    result = metrics_of(report)
    assert result["shortcuts"] == {
        "auroc": {"value": 0.81, "low": 0.75, "high": 0.87},
        "limit": 0.6,
        "warning": WARNED["warning"],
        "skipped": None,
    }
    page = Page((report / "report.html").read_text(encoding="utf-8"))
    (box,) = [attributes for tag, attributes in page.elements if attributes.get("role") == "alert"]
    assert box["class"] == "warning"
    text = " ".join(page.text.split())
    assert WARNED["warning"] in text  # its markup is text
    # Beside it the model's own figure, before any other figure of the page's tables.
    own = result["test"]["auroc"]
    shown = f"{own['value']:.3f} [{own['low']:.3f}, {own['high']:.3f}]"
    assert f"model's own AUROC on the test films is {shown}" in text
    assert text.index(WARNED["warning"]) < text.index("All figures")
    print_summary(report)
    assert f"warning: {WARNED['warning']}" in capsys.readouterr().out


def test_where_it_did_not_warn_none_does(
    pipeline: Pipeline,
    report: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    audit = read_shortcut_audit(pipeline.validation)
    assert audit.warning is None
    assert metrics_of(report)["shortcuts"]["warning"] is None
    page = Page((report / "report.html").read_text(encoding="utf-8"))
    assert not [tag for tag, attributes in page.elements if attributes.get("role") == "alert"]
    # What the attributes reach is said all the same.
    assert audit.auroc.value is not None
    assert f"with AUROC {audit.auroc.value:.3f} [" in " ".join(page.text.split())
    print_summary(report)
    assert "warning" not in capsys.readouterr().out


def test_the_page_gives_the_reason_where_there_was_no_shortcut_audit(
    pipeline: Pipeline, beside: dict[str, Path], model: Path, tmp_path: Path
) -> None:
    validation = audited(tmp_path / "validation", skipped="3 groups have a film fractured, 10 are needed")
    evaluated(model, pipeline.dataset, tmp_path / "report", {**beside, "validation": validation})
    assert metrics_of(tmp_path / "report")["shortcuts"]["auroc"] == {"value": None, "low": None, "high": None}
    text = " ".join(Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8")).text.split())
    assert "There was no shortcut audit: 3 groups have a film fractured, 10 are needed." in text


@pytest.mark.parametrize(
    ("content", "match"), [(None, "no such file; run the step validate first"), ("{}", "run the step validate again")]
)
def test_a_validation_without_its_audit(
    pipeline: Pipeline, beside: dict[str, Path], model: Path, tmp_path: Path, content: str | None, match: str
) -> None:
    if content:
        (tmp_path / SHORTCUTS).write_text(content)
    with pytest.raises(OsteonError, match=match):
        evaluated(model, pipeline.dataset, tmp_path / "report", {**beside, "validation": tmp_path})


# ---------------------------------------------------------------- what is refused


def refused(beside: dict[str, Path], model: Path, dataset: Path, folder: Path, match: str) -> None:
    with pytest.raises(OsteonError, match=match):
        evaluated(model, dataset, folder / "report", beside)
    assert not (folder / "report").exists()


def test_a_model_of_another_finding(pipeline: Pipeline, beside: dict[str, Path], tmp_path: Path) -> None:
    model = packaged(tmp_path / "model", finding="abnormal")
    refused(beside, model, pipeline.dataset, tmp_path, "finds 'abnormal', the films of .* are labelled 'fractured'")


def test_a_model_for_another_size(pipeline: Pipeline, beside: dict[str, Path], tmp_path: Path) -> None:
    model = packaged(tmp_path / "model", image_size=96)
    refused(beside, model, pipeline.dataset, tmp_path, "takes films of 96 pixels, .* has 64; run train again")


@pytest.mark.parametrize("label", [0, 1])
def test_test_films_of_one_class(
    pipeline: Pipeline, beside: dict[str, Path], model: Path, tmp_path: Path, label: int
) -> None:
    dataset = changed_dataset(pipeline, tmp_path / "d", label=label)
    refused(beside, model, dataset, tmp_path, r"the \d+ test films are not of both classes")


def test_no_test_films(pipeline: Pipeline, beside: dict[str, Path], model: Path, tmp_path: Path) -> None:
    dataset = changed_dataset(pipeline, tmp_path / "d", test=False)
    refused(beside, model, dataset, tmp_path, "the 0 test films are not of both classes")


def test_a_failed_evaluation_leaves_the_former_one(
    pipeline: Pipeline, beside: dict[str, Path], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "metrics.json").write_text("former")
    with pytest.raises(OsteonError):
        dataset = changed_dataset(pipeline, tmp_path / "d", label=1)
        evaluated(model, dataset, tmp_path / "report", beside)
    assert (tmp_path / "report" / "metrics.json").read_text() == "former"
