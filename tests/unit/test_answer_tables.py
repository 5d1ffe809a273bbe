"""A table of answers, read back by what a person reads one with."""

import json
from pathlib import Path

import pandas as pd
import pytest

from osteon.answers.answer_tables import COLUMNS, answer_table, number_or_null
from osteon.errors import OsteonError

FILM = {
    "unit": "film",
    "name": 'a "film", ü.png',
    "sha256": "0f" * 32,
    "study": 1,
    "films": 1,
    "probability": 0.25,
    "answer": "uncertain",
    "ruled_out": False,
    "ruled_in": False,
    "ood_score": 1.5,
    "ood_limit": 2.0,
    "boxes": [{"x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0, "score": 0.5}],
    "warnings": ["low quality", "a region; never seen"],
    "model": "folder",
}
UNREAD = {"unit": "film", "name": "b.png", "reason": "empty file (0 bytes)", "boxes": [], "warnings": []}


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    with answer_table(path) as write:
        write(FILM)
        write(UNREAD)
    first, second = pd.read_csv(path, keep_default_na=False).to_dict("records")
    assert list(first) == list(COLUMNS)
    assert json.loads(first.pop("boxes")) == FILM["boxes"]
    assert json.loads(first.pop("warnings")) == FILM["warnings"]
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in FILM.items()}
    assert {name: str(value).lower() if name.startswith("ruled") else str(value) for name, value in first.items()} == {
        "reason": "",
        "map": "",
        **{name: text for name, text in texts.items() if name not in ("boxes", "warnings")},
    }
    assert {name: value for name, value in second.items() if value != ""} == {
        name: value for name, value in UNREAD.items() if value
    }


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with answer_table(path) as write:
        write(FILM)
        write(UNREAD)
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert first == {name: FILM.get(name) for name in COLUMNS}
    assert second["probability"] is None


@pytest.mark.parametrize("films", [0, 1, 2500])
def test_parquet(tmp_path: Path, films: int) -> None:
    path = tmp_path / "a.parquet"
    with answer_table(path) as write:
        for place in range(films):
            write({**(FILM if place % 2 == 0 else UNREAD), "name": f"{place}.png"})
    table = pd.read_parquet(path)
    assert list(table.columns) == list(COLUMNS)
    assert list(table["name"]) == [f"{place}.png" for place in range(films)]
    if films:
        assert table["boxes"][0].tolist() == FILM["boxes"]
        assert table["ruled_in"][0] == False  # noqa: E712 – numpy's


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), answer_table(path) as write:
        write(FILM)
        _ = 1 / 0
    assert path.read_text() == "before"


def test_another_extension(tmp_path: Path) -> None:
    with (
        pytest.raises(OsteonError, match=r"a\.xlsx: a table is a file \.csv, \.jsonl, \.parquet"),
        answer_table(tmp_path / "a.xlsx"),
    ):
        pass


def test_no_number_is_null() -> None:
    assert number_or_null(float("nan")) is None
    assert number_or_null(0.5) == 0.5
