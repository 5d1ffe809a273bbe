"""`osteon read` as a person runs it."""

import csv
import re
from pathlib import Path

import pytest
from PIL import Image

from osteon.answers.answer_tables import COLUMNS
from tests.command import osteon
from tests.making import encoded, packaged, points_at, ramp


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as `make run` leaves it, and a folder with two films and a text that is called a picture."""
    folder = tmp_path_factory.mktemp("reading")
    packaged(folder / "artifacts" / "model", map_learnt=True, points=points_at(0.0, 0.999))
    (folder / "films" / "below").mkdir(parents=True)
    for name, data in {
        "a.png": encoded(ramp(), "PNG"),
        "b.png": b"text",
        "below/c.png": encoded(ramp(), "PNG"),
    }.items():
        (folder / "films" / name).write_bytes(data)
    return folder


def test_one_film_is_answered_in_words(folder: Path) -> None:
    done = osteon(folder, "read", "films/a.png", "--model", "artifacts/model")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"\d+ % – uncertain: between rule-out 0 % and rule-in 100 %\. 40 of 100 films it was trained on were "
        r"fractured\.( Low quality: .*)?\n",
        done.stdout.replace("rule-in 99.9 %", "rule-in 100 %").replace("rule-out 0.0 %", "rule-out 0 %"),
    ), done.stdout
    assert done.stderr == "model artifacts/model; a research tool, no medical device\n"


def test_a_folder_with_a_file_that_is_no_film(folder: Path, tmp_path: Path) -> None:
    """A line each, a whole table, pictures of those that were read, and exit code 6."""
    table, pictures = tmp_path / "a.csv", tmp_path / "maps"
    words = ("read", "films", "--model", "artifacts/model", "--out", str(table), "--maps", str(pictures))
    done = osteon(folder, *words)
    assert done.returncode == 6, done.stderr
    assert done.stdout == ""
    assert "note: 1 film in folders below is not read: add --recursive" in done.stderr
    assert "2 films: 1 uncertain; 1 not read" in done.stderr
    with table.open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first) == list(COLUMNS)
    assert (first["name"], first["answer"], first["reason"]) == ("films/a.png", "uncertain", "")
    assert (second["name"], second["answer"], second["probability"]) == ("films/b.png", "refused", "")
    assert second["reason"].startswith("no picture that can be read")
    assert [path.name for path in pictures.iterdir()] == [first["map"]] == ["000001-a.png.png"]
    assert Image.open(pictures / first["map"]).size == (512, 410)
    # Without a table the lines are printed.
    done = osteon(folder, "read", "films", "--model", "artifacts/model", "--recursive")
    assert done.returncode == 6
    lines = done.stdout.splitlines()
    assert re.match(r" *\d+\.\d %  uncertain       films/a\.png", lines[0])
    assert lines[1].startswith("   –    not read        films/b.png: no picture that can be read")
    assert len(lines) == 3


def test_without_a_model_in_use_the_one_of_train_answers(folder: Path) -> None:
    done = osteon(folder, "read", "films/a.png", unset=("MLFLOW_TRACKING_URI",))
    assert done.returncode == 0, done.stderr
    assert "model artifacts/model; " in done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("none.png", "--model", "artifacts/model"), "none.png: no such file or folder"),
        (("films/a.png", "--model", "nowhere"), "nowhere: no packaged model (package.json is missing)"),
        (("films/a.png", "--model", "artifacts/model", "--out", "a.xlsx"), "a.xlsx: a table is a file .csv"),
    ],
)
def test_misuse_is_one_line(folder: Path, words: tuple[str, ...], text: str) -> None:
    done = osteon(folder, "read", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {text}")
    assert len(done.stderr.splitlines()) == 1


def test_no_model_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(ramp(), "PNG"))
    done = osteon(tmp_path, "read", "a.png", unset=("MLFLOW_TRACKING_URI",))
    assert done.returncode == 2
    assert "There is no artifacts/model either: `make run` makes one, or name a model by --model" in done.stderr
