"""The step promote on real packages in a real store: first, again, worse, better, and what is not as it should be."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from components.cli.main import app
from components.preparation.step import prepare
from components.promotion.decision import Decision
from components.promotion.rollback import roll_back
from components.promotion.scores import FilmsToScore, score
from components.promotion.step import CARD, DECISION, PAGE, PromotionSummary, promote
from components.steps import STEPS
from osteon.contract import Input, Output, Summary, describe
from osteon.errors import OsteonError, UnreachableError
from osteon.files import dvc_hash
from osteon.films.prepared.array import open_prepared
from osteon.models.package.package import INFO, hashes_of, onnx_file, open_package, read_info
from osteon.params import DataParams, EvaluationParams, Params, PreparationParams, TrainingParams
from osteon.records import runs
from osteon.records.film_lineage import models_that_saw
from osteon.records.logged_model import log_model
from osteon.records.registry import CHALLENGER, CHAMPION, MODEL, PACKAGE, PREVIOUS, Registry
from osteon.statistics.estimate import Estimate, shown
from tests.command import waiting
from tests.conftest import Pipeline
from tests.making import failing_graph, packaged
from tests.stores import SharedServer, line_to
from tests.unit.conftest import use_store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("registry")]  # several models, each packaged and recorded

# Of the networks drawn from 0 … 13 the best at the test films, one in the middle, and the worst.
SEEDS = {"good": 11, "middling": 10, "bad": 5}
SHIPPED = Path(__file__).parents[2] / "mlflow" / "promotion.yaml"
# Networks that have learnt nothing: what is judged here is the judging.
LENIENT = {
    "auroc: 0.55": "auroc: 0",
    "sensitivity: 0.50": "sensitivity: 0",
    "  margin: 0.02": "  margin: 0.2",
    "  films: 100": "  films: 10",
    "  sensitivity: 0.10": "  sensitivity: 0",
    "calibration: 0.20": "calibration: 1",
    "robustness: 0.30": "robustness: 1",
    "refused: 0.10": "refused: 1",
    "latency: 500": "latency: 60000",
    "lineage: true": "lineage: false",
    "clean: true": "clean: false",
}


class Nothing(Summary):
    """Of a step that says nothing."""


def train(
    dataset: Annotated[Path, Input("films")],
    model: Annotated[Path, Output("model", "model")],
    params: TrainingParams,
) -> Nothing:
    """A training in which nothing is learnt; params.seed says by whom."""
    packaged(model, seed=params.seed)
    films = open_prepared(dataset).films
    training_films = films.loc[~films["test"], ["film_id", "sha256", "md5"]].assign(role="train")
    training_films.to_csv(model / "films.csv", index=False)
    info = read_info(model).model_copy(update={"files": hashes_of(model)})
    (model / INFO).write_text(info.model_dump_json(), encoding="utf-8")
    runs.log_at_end(lambda: log_model(model))
    return Nothing()


@dataclasses.dataclass
class Bench:
    """A store, and models by name in it: good, middling and bad at the test films."""

    folder: Path
    pipeline: Pipeline
    seeds: dict[str, int]
    params: Params

    def paths(self, name: str) -> dict[str, Path]:
        return {
            "model": self.folder / name,
            "dataset": self.pipeline.dataset,
            "source": self.pipeline.source,
            "trusted": self.pipeline.trusted,
            "report": self.folder / f"{name} report",
            "leaks": self.pipeline.leaks,
            "policy": self.folder / "promotion.yaml",
            "card": SHIPPED.with_name("model_card.md.j2"),
            "decision": self.folder / "decision",
        }

    def promote(self, name: str, **changed: Path) -> PromotionSummary:
        summary = runs.run_step(describe(promote), self.paths(name) | changed, self.params)
        assert isinstance(summary, PromotionSummary)
        return summary

    def policy(self, **changes: str) -> None:
        text = SHIPPED.read_text(encoding="utf-8")
        for old, new in {**LENIENT, **{f"{key}:": f"{key}: {value} #" for key, value in changes.items()}}.items():
            assert old in text, old
            text = text.replace(old, new, 1)
        (self.folder / "promotion.yaml").write_text(text, encoding="utf-8")

    def decision(self) -> Decision:
        return Decision.model_validate_json((self.folder / "decision" / "decision.json").read_bytes())


@pytest.fixture(scope="module")
def made(
    pipeline: Pipeline, beside: dict[str, Path], empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    """Three networks that nobody trained, each evaluated."""
    folder = tmp_path_factory.mktemp("made")
    prepared = open_prepared(pipeline.dataset)
    test = np.flatnonzero(prepared.films["test"].to_numpy(bool))
    labels = prepared.films["label"].iloc[test].to_numpy(int)
    packages = [open_package(packaged(folder / f"try {name}", seed=seed)) for name, seed in SEEDS.items()]
    good, middling, bad = (roc_auc_score(labels, package.probabilities(prepared.pixels[test])) for package in packages)
    assert good > middling > bad, "other networks are drawn from SEEDS now"
    assert good - bad > 0.15
    params = Params(
        data=DataParams(root=str(pipeline.source)),
        evaluation=EvaluationParams(resamples=100),
        preparation=PreparationParams(image_size=64, folds=3),
    )
    bench = Bench(folder, pipeline, SEEDS, params)
    with pytest.MonkeyPatch.context() as patch:
        use_store(folder, empty_store, patch)
        for name, seed in SEEDS.items():
            requested = params.model_copy(update={"training": TrainingParams(seed=seed)})
            paths = bench.paths(name)
            runs.run_step(describe(train), {"dataset": pipeline.dataset, "model": paths["model"]}, requested)
            given = {"model": paths["model"], "dataset": pipeline.dataset, **beside, "report": paths["report"]}
            runs.run_step(STEPS["evaluate"], given, params)
    return bench


@pytest.fixture
def bench(made: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The same in a store of the test's own; the logged models lie where they were."""
    own = dataclasses.replace(made, folder=tmp_path)
    for name in made.seeds:
        shutil.copytree(made.folder / name, tmp_path / name)
        shutil.copytree(made.folder / f"{name} report", tmp_path / f"{name} report")
    shutil.copy(made.folder / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    own.policy()
    return own


@pytest.fixture
def shared_bench(made: Bench, shared_store: SharedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The same models in a store on a server; the reports are those that were made beside the sqlite file."""
    own = dataclasses.replace(made, folder=tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared_store.begin(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name, seed in made.seeds.items():
        shutil.copytree(made.folder / f"{name} report", tmp_path / f"{name} report")
        requested = made.params.model_copy(update={"training": TrainingParams(seed=seed)})
        runs.run_step(describe(train), {"dataset": made.pipeline.dataset, "model": tmp_path / name}, requested)
    own.policy()
    return own


@pytest.fixture(params=["sqlite", "server"])
def either_bench(request: pytest.FixtureRequest) -> Bench:
    result: Bench = request.getfixturevalue("bench" if request.param == "sqlite" else "shared_bench")
    return result


def aliases() -> dict[str, str]:
    return Registry.connect().aliases()


def test_the_first_model_is_promoted_and_its_decision_is_kept(bench: Bench) -> None:
    summary = bench.promote("middling")
    assert (summary.decision, summary.version, summary.failing) == ("is in use now", "1", [])
    assert summary.exit_code() == 0
    assert aliases() == {CHAMPION: "1"}
    registry = Registry.connect()
    assert registry.tags("1")["osteon.package"] == dvc_hash(bench.folder / "middling")

    decision = bench.decision()
    assert (decision.candidate, decision.champion, decision.promote) == ("1", None, True)
    (entry,) = registry.entries()
    text = (bench.folder / "decision" / "decision.json").read_bytes()
    assert entry.decision == hashlib.sha256(text).hexdigest()
    # With the run that made it, for as long as the store is there.
    client = MlflowClient()
    names = {file.path for file in client.list_artifacts(str(entry.run), "decision")}
    assert names == {"decision/decision.json", "decision/decision.html", "decision/model_card.md"}
    metrics = json.loads((bench.folder / "middling report" / "metrics.json").read_text(encoding="utf-8"))
    auroc = shown(Estimate(**metrics["test"]["auroc"]))
    card = (bench.folder / "decision" / "model_card.md").read_text(encoding="utf-8")
    assert card.startswith("# Osteon, version 1: finds ‘fractured’ on radiographs\n")
    assert f"| AUROC | {auroc} |" in card
    assert f"| package | {dvc_hash(bench.folder / 'middling')} |" in card
    assert f"| run of train | {client.get_model_version(MODEL, '1').run_id} |" in card
    description = str(client.get_model_version(MODEL, "1").description)
    assert description.startswith("Promoted. AUROC 0.")
    assert description.endswith(f"Model card and decision: artifacts of run {entry.run}, folder decision.")

    page = (bench.folder / "decision" / "decision.html").read_text(encoding="utf-8")
    assert f"Version 1 of {MODEL}: promoted" in page
    for rule in decision.rules:
        assert rule.rule.replace("_", " ").replace("auroc", "AUROC") in page


def test_the_same_candidate_twice_is_one_version_and_nothing_is_done(bench: Bench) -> None:
    bench.promote("middling")
    summary = bench.promote("middling")
    assert (summary.decision, summary.version, summary.exit_code()) == ("is in use already", "1", 0)
    assert len(Registry.connect().entries()) == 1
    # What was decided then is still there to be read.
    assert {path.name for path in (bench.folder / "decision").iterdir()} == {DECISION, PAGE, CARD}
    assert bench.decision().promote


def test_a_worse_one_is_refused_with_reasons_and_a_better_one_promoted(either_bench: Bench) -> None:
    bench = either_bench
    bench.promote("middling")
    bench.policy(margin="0.0")
    refused = bench.promote("bad")
    assert refused.exit_code() == 4
    assert refused.decision == "is not good enough"
    assert [line.split(":")[0] for line in refused.failing] == ["non_inferiority"]
    assert refused.line().splitlines()[1].startswith("  ✗ non_inferiority: AUROC less that of version 1: −0.")
    assert aliases() == {CHAMPION: "1", CHALLENGER: "2"}
    bench.policy()
    better = bench.promote("good")
    assert (better.decision, better.version) == ("is in use now", "3")
    assert aliases() == {CHAMPION: "3", PREVIOUS: "1"}
    assert [entry.action for entry in Registry.connect().entries()] == ["promoted", "refused", "promoted"]
    assert roll_back(None, "a test") == f"{MODEL} version 1 is in use again, in place of 3"
    # The decisions are versions in MLflow's registry too, and no names of the models that they are about.
    films = open_prepared(bench.pipeline.dataset).films
    saw = models_that_saw(str(films.loc[~films["test"], "sha256"].iloc[0])).seen
    assert sorted(name for model, _ in saw for name in model.registered) == [
        f"{MODEL}/1@champion",
        f"{MODEL}/2",
        f"{MODEL}/3@previous",
    ]


def test_the_champion_is_scored_now_on_the_same_films(bench: Bench) -> None:
    bench.promote("middling")
    bench.promote("good")
    (rule,) = [rule for rule in bench.decision().rules if rule.rule == "non_inferiority"]
    prepared = open_prepared(bench.pipeline.dataset)
    test = np.flatnonzero(prepared.films["test"].to_numpy(bool))
    labels = prepared.films["label"].iloc[test].to_numpy(int)
    good, middling = (
        roc_auc_score(labels, open_package(bench.folder / name).probabilities(prepared.pixels[test]))
        for name in ("good", "middling")
    )
    assert rule.numbers["value"] == pytest.approx(good - middling)
    assert rule.numbers["films"] == len(test)


def test_a_dry_run_judges_and_changes_nothing(bench: Bench) -> None:
    bench.policy(mode="dry_run")
    summary = bench.promote("middling")
    assert (summary.decision, summary.version) == ("would be promoted (dry run)", "")
    assert bench.decision().promote
    assert MlflowClient().search_registered_models() == []


def test_off_is_off(bench: Bench) -> None:
    bench.policy(mode="off")
    assert bench.promote("middling").decision == "not judged: the policy's mode is off"
    assert MlflowClient().search_registered_models() == []


def test_a_champion_whose_files_are_gone_cannot_be_compared_with(bench: Bench, made: Bench) -> None:
    bench.promote("middling")
    version = MlflowClient().get_model_version(MODEL, "1")
    MlflowClient().set_model_version_tag(MODEL, str(version.version), "osteon.package", "another.dir")
    summary = bench.promote("good")
    assert summary.exit_code() == 4
    assert "the model in use cannot be asked: osteon-fracture/1: its files are missing or differ" in summary.failing[0]
    assert aliases()[CHAMPION] == "1"


@pytest.mark.parametrize("kind", ["does not load", "fails when it is asked"])
def test_a_champion_that_cannot_answer_cannot_be_compared_with(
    bench: Bench, made: Bench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Registered so: the hash fits."""
    bench.promote("middling")
    package, network = bench.folder / "broken", onnx_file(0)
    shutil.copytree(bench.folder / "middling", package)
    whole = (package / network).read_bytes()
    (package / network).write_bytes(failing_graph(whole) if kind == "fails when it is asked" else b"no network")
    info = read_info(package).model_copy(update={"files": hashes_of(package)})
    (package / INFO).write_text(info.model_dump_json(), encoding="utf-8")
    client = MlflowClient()
    client.set_model_version_tag(MODEL, "1", PACKAGE, dvc_hash(package))
    monkeypatch.setattr(Registry, "package_of", lambda *_: package)
    summary = bench.promote("good")
    assert (summary.decision, summary.exit_code()) == ("is not good enough", 4)
    assert summary.failing[0].startswith("non_inferiority: the model in use cannot be asked: ")
    assert aliases()[CHAMPION] == "1"


def test_two_promotions_at_once(either_bench: Bench, tmp_path: Path) -> None:
    """Two processes that both saw that no model is in use."""
    bench = either_bench
    (bench.folder / "params.yaml").write_text(f"data:\n  root: {bench.pipeline.source}\n", encoding="utf-8")
    commands = []
    for name in ("good", "middling"):
        paths = bench.paths(name) | {"decision": bench.folder / f"{name} decision"}
        del paths["source"]
        commands.append(["promote", *(word for option, path in paths.items() for word in (f"--{option}", str(path)))])
    both = sorted(waiting(tmp_path, *commands).go())
    assert [code for code, _, _ in both] == [0, 2], both
    version = both[0][1].removeprefix("promote: version ").removesuffix(" is in use now\n")
    assert both[1][2].splitlines()[-1] == (
        "error: another decision was made while this one was; run promote again, against what is in use now"
    )
    registry = Registry.connect()
    assert [(entry.action, entry.version) for entry in registry.entries()] == [("promoted", version)]
    assert registry.reconcile_aliases().champion == version
    assert aliases()[CHAMPION] == version
    # And the other is judged against it when promote runs again.
    other = "middling" if registry.tags(version)[PACKAGE] == dvc_hash(bench.folder / "good") else "good"
    bench.promote(other)
    assert bench.decision().champion == version


def test_a_server_that_goes_away_while_a_model_is_judged(
    shared_bench: Bench, shared_store: SharedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails first: one line, no password, and the run that was begun does not hide it."""
    bench = shared_bench
    bench.promote("middling")
    with line_to(shared_store.server.address) as line:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", line.address.replace("://", "://ada:sesame@"))
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        line.cut(10**6)
        bench.promote("bad")
        calls, before = len(line.said), Registry.connect().state().champion
        for number in range(1, calls, calls // 8):
            line.cut(number)
            with pytest.raises(UnreachableError) as caught:
                bench.promote("good")
            assert "sesame" not in str(caught.value)
            assert len(str(caught.value).splitlines()) == 1
            line.mend()
            state = Registry.connect().reconcile_aliases()
            assert aliases()[CHAMPION] == state.champion
            if state.champion != before:
                break
        # What is missing is done, and what is done is said.
        assert bench.promote("good").decision in ("is in use now", "is in use already")


def test_a_template_with_a_fault_stops_before_anything_is_decided(bench: Bench) -> None:
    template = bench.folder / "card.md.j2"
    template.write_text("{{ nosuch }}", encoding="utf-8")
    with pytest.raises(OsteonError, match=r"card\.md\.j2: line 1: 'nosuch' is undefined"):
        bench.promote("middling", card=template)
    assert Registry.connect().entries() == []
    assert bench.promote("middling").decision == "is in use now"


def test_a_report_of_another_model_is_none(bench: Bench) -> None:
    summary = bench.promote("middling", report=bench.folder / "good report")
    assert summary.exit_code() == 4
    assert "No evaluation of this very model" in (bench.folder / "decision" / "model_card.md").read_text("utf-8")
    assert {line.split(":")[0] for line in summary.failing} == {"subgroups", "calibration", "robustness", "refused"}


def test_a_film_that_is_among_the_test_films_twice(bench: Bench, pipeline: Pipeline) -> None:
    """Under two ids, as sets have it: the same bytes in one group."""
    prepared = open_prepared(pipeline.dataset)
    (row,) = np.flatnonzero(prepared.films["test"].to_numpy(bool))[:1]
    twice = bench.folder / "twice"
    twice.mkdir()
    again = prepared.films.iloc[[row]].assign(film_id="again")
    pd.concat([prepared.films, again], ignore_index=True).to_parquet(twice / "films.parquet")
    np.save(twice / "pixels.npy", np.concatenate([prepared.pixels[:], prepared.pixels[row : row + 1]]))
    predictions = pd.read_csv(bench.folder / "middling report" / "predictions.csv")
    more = predictions[predictions["sha256"] == prepared.films["sha256"].iloc[row]].assign(film_id="again")
    pd.concat([predictions, more]).to_csv(bench.folder / "middling report" / "predictions.csv", index=False)
    summary = bench.promote("middling", dataset=twice)
    assert (summary.decision, summary.failing) == ("is in use now", [])
    assert bench.decision().films == len(predictions) + 1


def test_a_model_that_no_run_of_this_store_made(bench: Bench) -> None:
    shutil.rmtree(bench.folder / "good")
    packaged(bench.folder / "good", seed=99)
    with pytest.raises(OsteonError, match="no run of this MLflow store made it; run the step train with this store"):
        bench.promote("good")


def test_what_is_in_the_store_alone_is_known_of_its_lineage(bench: Bench) -> None:
    """Here the films' run is not, and the commit has changes or not, as it comes."""
    bench.policy(lineage="true")
    summary = bench.promote("middling")
    assert [line for line in summary.failing if line.startswith("lineage: not known: dataset")]


def test_a_model_of_another_size_is_asked_about_the_films_themselves(bench: Bench, tmp_path: Path) -> None:
    small = tmp_path / "small"
    prepare(
        bench.pipeline.source,
        bench.pipeline.trusted,
        small,
        tmp_path / "leaks",
        tmp_path / "sides.parquet",
        PreparationParams(image_size=32, folds=3),
    )
    package = open_package(bench.folder / "good")
    scores = []
    for dataset in (small, bench.pipeline.dataset):
        films = open_prepared(dataset).films
        test = films[films["test"].to_numpy(bool)]
        to_score = FilmsToScore(test, dataset, bench.pipeline.source, bench.pipeline.trusted)
        scored = score(package, "1", frozenset(), to_score)
        scores.append(scored.films.set_index("sha256")["score"])
    both = pd.concat(scores, axis=1, join="inner")
    assert len(both) > 10
    np.testing.assert_allclose(both.iloc[:, 0], both.iloc[:, 1], atol=1e-5)


def test_the_command(bench: Bench) -> None:
    paths = bench.paths("middling")
    (bench.folder / "params.yaml").write_text(f"data:\n  root: {bench.pipeline.source}\n", encoding="utf-8")
    words = [
        word
        for name in ("model", "policy", "card", "dataset", "report", "leaks", "trusted", "decision")
        for word in (f"--{name}", str(paths[name]))
    ]
    run = CliRunner()
    empty = run.invoke(app, ["registry", "history"])
    assert empty.stdout == f"no decision yet: no version of {MODEL} is in use\n"
    done = run.invoke(app, ["promote", *words])
    assert (done.exit_code, done.stdout) == (0, "promote: version 1 is in use now\n")
    bench.policy(auroc="1.0")
    words[1] = str(bench.folder / "bad")
    words[words.index("--report") + 1] = str(bench.folder / "bad report")
    refused = run.invoke(app, ["promote", *words])
    assert refused.exit_code == 4
    assert refused.stdout.startswith("promote: version 2 is not good enough\n  ✗ auroc: ")
    assert run.invoke(app, ["rollback"]).exit_code == 2
    history = run.invoke(app, ["registry", "history", "--json"])
    assert [(entry["version"], entry["action"]) for entry in json.loads(history.stdout)] == [
        ("1", "promoted"),
        ("2", "refused"),
    ]
    assert "in use: osteon-fracture version 1" in run.invoke(app, ["registry", "history"]).stdout


def test_a_dry_run_beside_a_model_in_use(bench: Bench) -> None:
    bench.promote("middling")
    before = Registry.connect().state()
    bench.policy(mode="dry_run", auroc="1.0")
    summary = bench.promote("good")
    assert (summary.decision, summary.exit_code()) == ("would be refused (dry run)", 4)
    assert bench.decision().champion == "1"
    assert Registry.connect().state() == before
    assert aliases() == {CHAMPION: "1"}
