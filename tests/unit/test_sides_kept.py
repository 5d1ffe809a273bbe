"""The table of sides under DVC, and from the command line: kept, brought back, drawn anew."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from components.preparation.step import prepare
from osteon.errors import OsteonError
from osteon.films.manifest import read_manifest, write_manifest
from osteon.films.prepared.array import FILMS, open_prepared
from osteon.params import PreparationParams
from tests.conftest import Pipeline

SMALL = PreparationParams(image_size=64, folds=3)


def sides_of(path: Path) -> "pd.Series[str]":
    table = pd.read_parquet(path)
    last = table[table["draw"] == table["draw"].max()]
    return last.drop_duplicates("film_id", keep="last").set_index("film_id")["side"]


def test_another_size_and_number_of_folds_have_the_same_test_films(pipeline: Pipeline, tmp_path: Path) -> None:
    out = tmp_path / "prepared", tmp_path / "leaks", tmp_path / "sides.parquet"
    expected = open_prepared(pipeline.dataset).films
    for kept, (size, folds) in enumerate([(96, 2), (32, 4)]):
        params = PreparationParams(image_size=size, folds=folds)
        summary = prepare(pipeline.source, pipeline.trusted, *out, params)
        films = open_prepared(tmp_path / "prepared").films
        pd.testing.assert_series_equal(films["test"], expected["test"])
        assert (summary.known, summary.neither, summary.draw) == (len(films) * kept, 0, 1)
        assert films["fold"].nunique() == folds


def test_films_on_neither_side_are_not_among_the_prepared_films(pipeline: Pipeline, tmp_path: Path) -> None:
    """A test patient and a development patient turn out to be one."""
    out = tmp_path / "prepared", tmp_path / "leaks", tmp_path / "sides.parquet"
    prepare(pipeline.source, pipeline.trusted, *out, SMALL)
    before = open_prepared(tmp_path / "prepared")
    pixels = before.pixels[:]
    test, development = (before.films.loc[before.films["test"] == side, "patient_id"].min() for side in (True, False))
    films = read_manifest(pipeline.trusted)
    films["patient_id"] = films["patient_id"].replace(development, test)
    write_manifest(films, tmp_path / "trusted.parquet")
    summary = prepare(pipeline.source, tmp_path / "trusted.parquet", *out, SMALL)

    left = ~before.films["patient_id"].isin([test, development]).to_numpy(bool)
    after = open_prepared(tmp_path / "prepared")
    assert after.films["film_id"].tolist() == before.films["film_id"][left].tolist()
    assert after.films["test"].tolist() == before.films["test"][left].tolist()
    np.testing.assert_array_equal(after.pixels[:], pixels[left])
    assert len(after.pixels) == len(after.films) == summary.films
    assert summary.neither == (~left).sum() >= 2
    assert sorted(path.name for path in (tmp_path / "prepared").iterdir()) == [FILMS, "pixels.npy"]
    listed = pd.read_csv(tmp_path / "leaks" / "neither.csv")
    assert sorted(listed["film_id"]) == sorted(before.films["film_id"][~left])
    assert set(listed["before"]) == {"test", "development"}


@pytest.mark.parametrize(("redraw", "why"), [(True, ""), (True, "  "), (False, "a reason")])
def test_a_redraw_and_its_reason_go_together(tmp_path: Path, redraw: bool, why: str) -> None:
    out = [tmp_path / name for name in ("films", "trusted", "prepared", "leaks", "sides")]
    with pytest.raises(OsteonError, match="--why"):
        prepare(*out, SMALL, redraw=redraw, why=why)


@pytest.fixture
def project(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with git and DVC, whose only stage is prepare."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (folder / "data" / "trusted.parquet").write_bytes(pipeline.trusted.read_bytes())
    yaml = YAML()
    params = {"data": {"root": str(pipeline.source)}, "preparation": {"image_size": 64, "folds": 3}}
    yaml.dump(params, folder / "params.yaml")
    stages = YAML(typ="safe").load((Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    stage = stages["prepare"] | {"deps": ["data/trusted.parquet"]}
    yaml.dump({"stages": {"prepare": stage}}, folder / "dvc.yaml")
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    run(folder, "dvc", "remote", "add", "-q", "-d", "there", str(tmp_path / "remote"))
    return folder


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_dvc_keeps_the_table_and_brings_it_back(project: Path, tmp_path: Path) -> None:
    run(project, "dvc", "repro")
    table, films = project / "data" / "sides.parquet", project / "data" / "prepared" / FILMS
    first = sides_of(table)
    whole = table.read_bytes()

    # Another draw of the same films, by hand. DVC then runs the stage again, and it keeps what was drawn.
    output = run(project, "osteon", "prepare", "--redraw", "--why", "a second hospital")
    assert "draw 2 · why a second hospital" in output
    second = sides_of(table)
    assert not second.equals(first)
    run(project, "dvc", "repro")
    assert sides_of(table).equals(second)
    assert pd.read_parquet(films)["test"].tolist() == second.eq("test").tolist()
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`osteon.step` = 'prepare'")
    tags = [each.data.tags for each in runs]
    assert [each["osteon.draw"] for each in tags] == ["2", "2", "1"]
    assert [each["osteon.draw.why"] for each in tags] == ["a second hospital"] * 2 + ["the first draw"]
    assert runs[1].data.params["prepare.why"] == "a second hospital"

    # A forced run keeps it, too, and so does a change of the seed.
    run(project, "dvc", "repro", "--force")
    assert sides_of(table).equals(second)
    params = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(params.replace("folds: 3", "folds: 3\n  seed: 5"), encoding="utf-8")
    assert "preparation.seed is 5, and the sides were drawn with 20" in run(project, "dvc", "repro")
    assert sides_of(table).equals(second)

    # The lock and the remote bring it to another machine; the first table is there under its hash.
    run(project, "dvc", "push")
    run(project, "git", "add", ".")
    run(project, "git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "films")
    run(tmp_path, "git", "clone", "-q", str(project), "theirs")
    theirs = tmp_path / "theirs"
    run(theirs, "dvc", "remote", "add", "-f", "-q", "-d", "there", str(tmp_path / "remote"))
    run(theirs, "dvc", "pull")
    assert (theirs / "data" / "sides.parquet").read_bytes() == table.read_bytes()
    assert whole in [path.read_bytes() for path in (project / ".dvc" / "cache").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_a_table_that_was_deleted_by_hand_is_no_first_draw(project: Path, tmp_path: Path) -> None:
    run(project, "dvc", "repro")
    table = project / "data" / "sides.parquet"
    whole = table.read_bytes()
    params = (project / "params.yaml").read_text(encoding="utf-8")
    for size, command in ((32, "dvc checkout data/sides.parquet"), (96, "dvc pull data/sides.parquet")):
        table.unlink()
        (project / "params.yaml").write_text(params.replace("64", str(size)), encoding="utf-8")
        done = subprocess.run(["dvc", "repro"], cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert f"`{command}` brings it back" in done.stdout + done.stderr
        run(project, *command.split())
        assert table.read_bytes() == whole
        assert "known 0" not in run(project, "dvc", "repro")
        assert table.read_bytes() == whole
        run(project, "dvc", "push")
        shutil.rmtree(project / ".dvc" / "cache")
    # Neither the cache nor the remote has it: as in a fresh clone.
    table.unlink()
    shutil.rmtree(tmp_path / "remote")
    (project / "params.yaml").write_text(params, encoding="utf-8")
    run(project, "dvc", "repro")
    assert sides_of(table).tolist() == sides_of_bytes(whole, tmp_path)


def sides_of_bytes(content: bytes, folder: Path) -> list[str]:
    (folder / "before.parquet").write_bytes(content)
    return [str(side) for side in sides_of(folder / "before.parquet")]
