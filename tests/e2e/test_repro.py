"""`dvc repro` from nothing to an evaluated model, as a newcomer runs it."""

import csv
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from components.steps import STEPS
from osteon.files import dvc_hash
from tests.e2e.conftest import Project, lenient_policy

# One worker runs all tests that need the finished project, so that it is made once.
pytestmark = pytest.mark.xdist_group("finished")


def lock_of(project: Project) -> dict[str, dict[str, list[dict[str, str]]]]:
    text = (project.folder / "dvc.lock").read_text(encoding="utf-8")
    stages: dict[str, dict[str, list[dict[str, str]]]] = YAML(typ="safe").load(text)["stages"]
    return stages


def test_the_figures_have_intervals_and_their_numbers(finished: Project) -> None:
    test = json.loads((finished.folder / "reports/evaluation/metrics.json").read_text(encoding="utf-8"))["test"]
    for name in ("auroc", "average_precision", "sensitivity", "specificity", "brier", "log_loss"):
        assert test[name]["low"] <= test[name]["value"] <= test[name]["high"]
    films = pd.read_parquet(finished.folder / "data/prepared/films.parquet")
    assert test["n"] == films["test"].sum()
    assert test["groups"] == films.loc[films["test"], "group"].nunique()
    assert test["prevalence"] == pytest.approx(films.loc[films["test"], "label"].mean())


def test_no_group_is_on_two_sides(finished: Project) -> None:
    films = pd.read_parquet(finished.folder / "data/prepared/films.parquet")
    side = films["fold"].fillna(-1)
    assert (side.groupby(films["group"]).nunique() == 1).all()
    assert (films["fold"].isna() == films["test"]).all()
    copies = pd.read_parquet(finished.folder / "data/augmented/films.parquet")
    assert len(copies)
    assert not copies["test"].any()
    source = films.set_index("film_id")
    assert (source.loc[copies["film_id"], "group"].to_numpy() == copies["group"].to_numpy()).all()
    assert (source.loc[copies["film_id"], "fold"].to_numpy() == copies["fold"].to_numpy()).all()


def test_every_step_says_what_it_did(finished: Project) -> None:
    log = (finished.folder / "repro.log").read_text(encoding="utf-8")
    for name in STEPS:
        assert f"\n{name}: " in log
    assert "Warning" not in log
    assert "OSTEON_IDENTITY_KEY" not in log  # phantoms are nobody: no key is needed, and none is made
    assert not (finished.folder / ".osteon").exists()
    assert "Traceback" not in log
    assert log.count("images/s") == 8  # a line an epoch: a trial, two folds, and the network of all films


def test_a_second_run_finds_nothing_to_do_and_says_so(finished: Project) -> None:
    before = (finished.folder / "dvc.lock").read_bytes()
    assert "Data and pipelines are up to date" in finished.done("dvc", "repro")
    assert (finished.folder / "dvc.lock").read_bytes() == before


@pytest.fixture(scope="module")
def summary(finished: Project) -> str:
    return finished.done("osteon", "summary")


def run_in(summary: str) -> str:
    """The run it names."""
    return next(line.split()[1] for line in summary.splitlines() if line.startswith("run "))


@pytest.fixture(scope="module")
def run(summary: str) -> str:
    return run_in(summary)


def test_the_summary_shows_figures_times_and_places(summary: str) -> None:
    for word in ("AUROC", "sensitivity", "specificity", "95% interval", "reports/evaluation/report.html", "mlflow.db"):
        assert word in summary
    for name in STEPS:
        assert name in summary


def test_metrics_and_plots_are_dvcs_too(finished: Project) -> None:
    shown = json.loads(finished.done("dvc", "metrics", "show", "--json"))
    values = shown[""]["data"]["reports/evaluation/metrics.json"]["data"]
    assert values["test"]["auroc"]["value"] is not None
    finished.done("dvc", "plots", "show", "-o", "plots")
    page = (finished.folder / "plots" / "index.html").read_text(encoding="utf-8")
    for title in ("ROC on the test films", "Confusion matrix"):
        assert title in page


def test_the_recorded_hashes_are_dvcs(finished: Project, run: str) -> None:
    """What MLflow's runs say they read and wrote is what dvc.lock says: one join, two books."""
    shown = json.loads(finished.done("osteon", "lineage", run, "--json"))
    assert [step["step"] for step in shown["steps"]] == list(STEPS)
    assert all(step["status"] == "FINISHED" for step in shown["steps"])
    assert not any(step["missing"] for step in shown["steps"])
    commit = finished.done("git", "rev-parse", "HEAD").strip()
    assert shown["commit"] == [commit]
    lock = lock_of(finished)
    films = next(dep["md5"] for dep in lock["ingest"]["deps"] if dep["path"] == "data/phantoms")
    assert shown["data"] == films
    for stage in lock.values():
        for out in stage["outs"]:
            assert dvc_hash(finished.folder / out["path"]) == out["md5"]


def test_a_film_leads_to_the_model_and_the_model_to_dvcs_hash_of_every_film(finished: Project, run: str) -> None:
    listed = list(csv.DictReader(finished.done("osteon", "lineage", run, "--films").splitlines()))
    films = pd.read_parquet(finished.folder / "data/prepared/films.parquet").set_index("film_id")
    paths = pd.read_parquet(finished.folder / "data/trusted.parquet").set_index("film_id")["path"]
    assert sorted(row["film_id"] for row in listed) == sorted(films.index)
    for row in listed:
        film = films.loc[row["film_id"]]
        assert row["role"] == ("test" if film["test"] else "train")
        assert row["md5"] == dvc_hash(finished.folder / "data/phantoms" / paths[row["film_id"]])
    for role, output in {"train": "trained on it", "test": "measured on it"}.items():
        film_id = next(row["film_id"] for row in listed if row["role"] == role)
        out = finished.done("osteon", "lineage", "--film", str(Path("data/phantoms") / paths[film_id]))
        assert output in out
        assert "1 of 1 models saw it" in out


def test_lineage_reads_well(finished: Project, run: str) -> None:
    out = finished.done("osteon", "lineage", run)
    assert finished.done("git", "rev-parse", "HEAD").strip() in out
    assert "training.width: 8" in out
    assert "phantoms.films: 72" in out


def test_the_lineage_of_a_whole_pass_names_all_its_steps(finished: Project) -> None:
    code = "import mlflow; mlflow.set_tracking_uri('sqlite:///mlflow/store/mlflow.db'); print(mlflow.search_runs("
    code += "experiment_names=['osteon'], filter_string=\"tags.`osteon.step` = 'pipeline'\").run_id.iloc[-1])"
    parent = finished.done("python", "-c", code).split()[-1]
    shown = json.loads(finished.done("osteon", "lineage", parent, "--json"))
    assert [step["step"] for step in shown["steps"]] == [*STEPS, "pipeline"]


def test_one_parent_and_a_nested_run_for_each_step_and_the_model_answers_elsewhere(
    finished: Project, tmp_path: Path
) -> None:
    code = """
        import sys
        from pathlib import Path
        import mlflow, pandas as pd
        mlflow.set_tracking_uri(sys.argv[1])
        runs = mlflow.search_runs(experiment_names=["osteon"], output_format="list")
        parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        assert len(parents) == 1, parents
        assert parents[0].info.status == "FINISHED"
        nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
        print(" ".join(sorted(run.info.run_name for run in nested)))
        assert parents[0].data.params["training.width"] == "8"
        assert 0 <= parents[0].data.metrics["evaluate.auroc"] <= 1
        assert all(run.inputs.dataset_inputs for run in nested if run.info.run_name not in ("phantoms",))
        (crossed,) = [run for run in nested if run.info.run_name == "cross_validate"]
        assert 0 <= crossed.data.metrics["auroc.svm"] <= 1
        below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == crossed.info.run_id]
        assert sorted(run.info.run_name for run in below) == ["fold 0", "fold 1"]
        assert all("loss" in run.data.metrics for run in below)
        (train,) = [run for run in nested if run.info.run_name == "train"]
        (model,) = train.outputs.model_outputs
        logged = mlflow.get_logged_model(model.model_id)
        assert {metric.key for metric in logged.metrics} >= {"auroc", "sensitivity"}
        loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
        assert loaded.metadata.signature is not None
        assert loaded.input_example is not None or loaded.metadata.saved_input_example_info
        films = sorted(Path(sys.argv[2]).rglob("*.png"))[:3]
        answer = loaded.predict(pd.DataFrame({"film": [film.read_bytes() for film in films]}))
        told = answer[answer["answer"] != "refused"]
        assert told["probability"].between(0, 1).all()
        print(" ".join(f"{p:.6f}" for p in told["probability"]))
        print(" ".join(film.name for film in films))
    """
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            textwrap.dedent(code),
            f"sqlite:///{finished.folder / 'mlflow/store/mlflow.db'}",
            str(finished.folder / "data/phantoms"),
        ],
        cwd=tmp_path,  # nothing of the project is in reach but the model itself
        env={name: value for name, value in finished.environment.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    steps, probabilities, _ = done.stdout.splitlines()[-3:]
    assert steps.split() == sorted(STEPS)
    assert len(set(probabilities.split())) > 1


def test_the_model_gives_a_film_the_score_it_had_in_the_evaluation(finished: Project) -> None:
    from osteon.models.package.package import open_package

    with (finished.folder / "reports/evaluation/predictions.csv").open(encoding="utf-8") as file:
        scores = {row["film_id"]: float(row["score"]) for row in csv.DictReader(file)}
    films = pd.read_parquet(finished.folder / "data/trusted.parquet").set_index("film_id")
    chosen = sorted(scores)[:5]
    files = [(finished.folder / "data/phantoms" / films["path"][name]).read_bytes() for name in chosen]
    answers = open_package(finished.folder / "artifacts/model").predict(files)
    shown = (answers["answer"] != "refused").to_numpy()  # a film in a hundred or so is; these are few films
    assert shown.sum() >= 3
    expected = np.array([scores[name] for name in chosen])
    np.testing.assert_allclose(answers["probability"][shown].astype(float), expected[shown], atol=2e-5)


def test_the_model_is_judged_and_what_is_known_of_it_is_enough(finished: Project) -> None:
    (finished.folder / "mlflow" / "promotion.yaml").write_text(lenient_policy(), encoding="utf-8")
    assert "promote: version 1 is in use now" in finished.done("osteon", "promote")
    decision = json.loads((finished.folder / "reports/promotion/decision.json").read_text(encoding="utf-8"))
    verdicts = {rule["rule"]: rule["verdict"] for rule in decision["rules"]}
    for name in ("lineage", "clean", "leaks", "parity", "latency"):
        assert verdicts[name] == "pass", decision
    assert "promote: version 1 is in use already" in finished.done("osteon", "promote")
    assert "in use: osteon-fracture version 1" in finished.done("osteon", "registry", "history")
    shown = finished.done("osteon", "lineage", "models:/osteon-fracture@champion")
    assert finished.done("git", "rev-parse", "HEAD").strip() in shown
    assert "promoted" in shown
    # The model in use reads a film: the first time from the registry, then from what was kept.
    film = min((finished.folder / "data" / "phantoms").rglob("*.png"))
    answers = [finished.done("osteon", "read", str(film.relative_to(finished.folder))) for _ in range(2)]
    assert answers[0] == answers[1]
    assert re.search(r"^(\d+(\.\d+)? % – (fractured|uncertain|not fractured): |no answer: )", answers[0])
    assert (finished.folder / ".osteon" / "model_in_use" / "package" / "package.json").is_file()


def test_the_folds_are_those_of_the_films_and_the_model_is_calibrated_on_them(finished: Project) -> None:
    films = pd.read_parquet(finished.folder / "data/prepared/films.parquet")
    scores = pd.read_parquet(finished.folder / "artifacts/cross_validation/predictions.parquet")
    assert set(scores["model"]) == {"network", "svm", "logistic_regression", "soft_vote"}
    development = films[~films["test"]].set_index("film_id")
    for _, part in scores.groupby("model"):
        assert sorted(part["film_id"]) == sorted(development.index)
        assert (part["fold"].to_numpy() == development.loc[part["film_id"], "fold"].to_numpy(int)).all()
    info = json.loads((finished.folder / "artifacts/model/package.json").read_text(encoding="utf-8"))
    assert info["calibration"]["films"] == info["films"] == len(development)
    assert info["points"]["rule_out"]["threshold"] <= info["points"]["rule_in"]["threshold"]
    metrics = json.loads((finished.folder / "reports/evaluation/metrics.json").read_text(encoding="utf-8"))
    assert metrics["models"]["network"]["pooled"]["value"] == pytest.approx(info["out_of_fold_auroc"])


def test_a_change_of_one_parameter_runs_only_what_it_concerns(finished: Project) -> None:
    text = (finished.folder / "params.yaml").read_text(encoding="utf-8")
    try:
        finished.set(evaluation={"confidence": 0.9})
        out = finished.done("dvc", "repro")
        assert out.count("Running stage") == 1
        assert "Running stage 'evaluate'" in out
        run = run_in(finished.done("osteon", "summary"))
        # The stages that were skipped stay linked to the runs that made their outputs.
        shown = json.loads(finished.done("osteon", "lineage", run, "--json"))
        assert [step["step"] for step in shown["steps"]] == list(STEPS)
        assert shown["params"]["evaluation.confidence"] == "0.9"
    finally:
        (finished.folder / "params.yaml").write_text(text, encoding="utf-8")
        finished.done("dvc", "repro")


def test_a_misspelt_parameter_stops_the_run_before_any_work(finished: Project) -> None:
    text = (finished.folder / "params.yaml").read_text(encoding="utf-8")
    try:
        finished.set(training={"epochz": 3, "map_weight": 0.5})
        result = finished.run("dvc", "repro")
        assert result.returncode != 0
        assert "params.yaml: training.epochz: unknown key (did you mean epochs?)" in result.stdout + result.stderr
        assert "Traceback" not in result.stdout + result.stderr
    finally:
        (finished.folder / "params.yaml").write_text(text, encoding="utf-8")
        finished.done("dvc", "checkout")
