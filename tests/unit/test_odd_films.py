"""Films unlike the others of their set."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from components.ingestion.step import ingest
from components.validation.odd_films import draw_odd_films, odd_looks, oddest_films
from components.validation.step import validate
from osteon.films.manifest import read_manifest
from osteon.params import DataParams, ValidationParams
from tests.making import encoded, phantom_films, write


def looks(contrast: list[float | None], exposure: list[float | None]) -> pd.DataFrame:
    flat = [0.1] * len(contrast)
    columns = {"contrast": contrast, "exposure": exposure, "black": flat, "white": flat, "rim": flat}
    return pd.DataFrame(columns).astype("Float64")


def test_a_film_that_uses_a_tenth_of_what_the_others_use() -> None:
    films = looks([200.0] * 18 + [19, 20, 21, None], [90.0] * 18 + [10, 250, 11, None])
    odd = odd_looks(films)
    assert odd[18] == "uses 19 grey levels where its set uses 200; darker than 95.2% of this set"
    assert odd[19] == "uses 20 grey levels where its set uses 200; brighter than 95.2% of this set"
    assert odd.drop([18, 19]).isna().all()
    assert odd_looks(films.iloc[3:-1].iloc[:19]).notna().sum() == 0


def test_a_quarter_of_good_films_is_enough() -> None:
    odd = odd_looks(looks([200.0] * 10 + [12.0] * 20, [90.0] * 10 + [6.0] * 20))
    assert odd.notna().sum() == 20


def test_the_oddest_first() -> None:
    films = looks([200.0] * 30, [90.0] * 30)
    films.loc[7, "exposure"], films.loc[9, "black"], films.loc[11, "rim"] = 240.0, 0.9, None
    assert oddest_films(films, 3).index.tolist()[:2] == [9, 7]
    assert 11 not in oddest_films(films, 30).index


def test_validate_says_which_film_is_far_too_dark_and_shows_the_oddest(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number, film in enumerate(phantom_films(12, size=128)):
        folder = "fractured" if number % 2 else "normal"
        write(source / folder / f"{number}.png", encoded(film if number != 5 else film // 13, "PNG"))
    ingest(source, tmp_path / "m.parquet", DataParams(layout="folders"))
    report = tmp_path / "report"
    validate(source, tmp_path / "m.parquet", tmp_path / "t.parquet", report, ValidationParams(min_side=32))
    quarantine = pd.read_csv(report / "quarantine.csv")
    assert quarantine["film_id"].tolist() == ["fractured/5.png"]
    assert quarantine["reason"].str.contains(r"uses 1\d grey levels where its set uses .* of this set").all()
    assert len(read_manifest(tmp_path / "t.parquet")) == 23
    with Image.open(report / "odd_films.png") as sheet:
        assert sheet.size == (5 * 160, 4 * (160 + 14))
        assert np.asarray(sheet.convert("L")).std() > 20
    assert "data:image/png;base64," in (report / "report.html").read_text(encoding="utf-8")


def test_nothing_to_draw(tmp_path: Path) -> None:
    films = looks([None], [None]).assign(film_id="a", path="a.png", depth=None, black=None)
    assert not draw_odd_films(tmp_path / "odd.png", films, tmp_path, 80)
    assert not (tmp_path / "odd.png").exists()
