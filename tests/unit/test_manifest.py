import hashlib
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.errors import OsteonError
from osteon.files import dvc_hash
from osteon.films.left_out import LeftOut
from osteon.films.manifest import (
    COLUMNS,
    as_manifest,
    boxes_to_text,
    read_left_out,
    read_manifest,
    text_to_boxes,
    write_manifest,
)
from osteon.films.prepared.array import open_prepared
from tests.conftest import Pipeline
from tests.making import manifest_of


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = manifest_of([{"label": 1, "hardware": True, "boxes": "[[1, 2, 3, 4]]"}, {"label": None, "region": "hüfte"}])
    write_manifest(rows, tmp_path / "m.parquet")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "m.parquet"), rows)
    assert {column: str(kind) for column, kind in rows.dtypes.items()} == COLUMNS


def test_what_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match=r"m\.parquet: no such file; run the step ingest first"):
        read_manifest(tmp_path / "m.parquet")
    (tmp_path / "m.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(OsteonError, match="not a parquet file"):
        read_manifest(tmp_path / "m.parquet")
    pd.DataFrame({"film_id": ["a"]}).to_parquet(tmp_path / "m.parquet")
    with pytest.raises(OsteonError, match="not a manifest, no column path, sha256"):
        read_manifest(tmp_path / "m.parquet")


def test_unknown_columns_and_wrong_types_are_refused() -> None:
    with pytest.raises(OsteonError, match="the manifest has no column colour"):
        as_manifest(pd.DataFrame({"colour": ["red"]}))
    with pytest.raises(OsteonError, match="manifest column label must be Int8"):
        as_manifest(pd.DataFrame({"label": ["fractured"]}))


@given(st.lists(st.tuples(*[st.floats(0, 5000, allow_nan=False) for _ in range(4)]), max_size=5))
def test_boxes_survive_text_to_a_tenth_of_a_pixel(boxes: list[tuple[float, float, float, float]]) -> None:
    back = text_to_boxes(boxes_to_text(boxes))
    assert len(back) == len(boxes)
    for box, again in zip(boxes, back, strict=True):
        assert all(abs(a - b) <= 0.0501 for a, b in zip(box, again, strict=True))


@pytest.mark.parametrize("text", ["{}", "[1]", "[[1,2,3]]", "[[1,2,3,'x']]", "no"])
def test_text_that_is_no_boxes(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        text_to_boxes(text)


def test_null_is_no_box() -> None:
    assert text_to_boxes(None) == text_to_boxes(pd.NA) == text_to_boxes("") == []


def test_a_films_hashes_are_those_of_its_file_and_travel_on(pipeline: Pipeline) -> None:
    """md5 is the one by which DVC knows the film, sha256 the one that nobody can forge."""
    rows = read_manifest(pipeline.manifest)
    for row in rows.iloc[::40].itertuples():
        data = (pipeline.source / row.path).read_bytes()
        assert row.sha256 == hashlib.sha256(data).hexdigest()
        assert row.md5 == dvc_hash(pipeline.source / row.path)
    known = rows.set_index("film_id")[["sha256", "md5"]]
    for folder in (pipeline.dataset, pipeline.augmented):
        films = open_prepared(folder).films
        assert len(films)
        assert known.loc[films["film_id"]].to_numpy().tolist() == films[["sha256", "md5"]].to_numpy().tolist()


def test_what_is_left_out_travels_with_the_manifest(tmp_path: Path) -> None:
    left_out = [LeftOut("a ü.heic", "heic", "convert to PNG"), LeftOut("._b", "left by macOS")]
    write_manifest(manifest_of([{}]), tmp_path / "m.parquet", left_out)
    assert read_left_out(tmp_path / "m.parquet") == left_out
    assert len(read_manifest(tmp_path / "m.parquet")) == 1
    write_manifest(manifest_of([{}]), tmp_path / "m.parquet")
    assert read_left_out(tmp_path / "m.parquet") == []
