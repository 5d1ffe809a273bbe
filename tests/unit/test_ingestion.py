"""What ingest says of the files that it leaves out."""

import logging
import os
from pathlib import Path

import pytest

from components.ingestion.preview import preview
from components.ingestion.step import IngestSummary, ingest
from components.validation.film_checks import check_films
from osteon.films.left_out import LeftOut
from osteon.films.manifest import read_left_out, read_manifest
from osteon.params import DataParams, ValidationParams
from tests.making import encoded, ramp, write

PNG = encoded(ramp(), "PNG")


def test_what_is_left_out_is_said_counted_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    films = tmp_path / "films"
    for name in ("fractured/a.png", "normal/b.png"):
        write(films / name, PNG)
    for name in ("fractured/c.heic", "films.zip", "__MACOSX/._a.png", "notes.txt"):
        write(films / name, b"\0")
    with caplog.at_level(logging.INFO):
        summary = ingest(films, tmp_path / "m.parquet", DataParams(layout="folders"))
    assert (summary.films, summary.not_read, summary.skipped) == (2, 2, 1)
    assert summary.line().endswith(" · not read 2 · skipped 1")
    assert [record.getMessage() for record in caplog.records if "patients" not in record.getMessage()] == [
        "warning: 2 files that look like films, or may hold some, are not read: 1 × heic (convert to PNG), as "
        "fractured/c.heic; 1 × zip (unpack), as films.zip",
        "1 file is no film, and skipped: 1 × left by macOS",
    ]
    assert [file.path for file in read_left_out(tmp_path / "m.parquet")] == [
        "__MACOSX/._a.png",
        "films.zip",
        "fractured/c.heic",
    ]


def test_a_film_where_the_layout_looks_for_none_is_left_out_and_said(tmp_path: Path) -> None:
    films = tmp_path / "films"
    header = "image_id,hand,leg,hip,shoulder,mixed,hardware,frontal,lateral,oblique,fractured"
    write(films / "dataset.csv", f"{header}\na.png,1,0,0,0,0,0,1,0,0,1\n".encode())
    write(films / "images" / "Fractured" / "a.png", PNG)
    write(films / "more" / "b.png", PNG)
    summary = ingest(films, tmp_path / "m.parquet", DataParams(layout="fracatlas"))
    assert (summary.films, summary.not_read) == (1, 1)
    assert read_left_out(tmp_path / "m.parquet") == [
        LeftOut("more/b.png", "film where the layout fracatlas looks for none", "move it, or change data.layout")
    ]


def test_a_summary_of_films_alone_is_as_short_as_before() -> None:
    summary = IngestSummary(films=2, positive=1, unlabelled=0, unreadable=0, patients="unknown")
    assert summary.line() == "films 2 · positive 1 · unlabelled 0 · unreadable 0 · patients unknown"


def test_a_dry_run_says_what_is_left_out_too(tmp_path: Path) -> None:
    for name in ("fractured/a.png", "normal/b.png", "c.pdf", "._a.png"):
        write(tmp_path / name, PNG)
    lines = preview(tmp_path, DataParams(layout="folders"))
    assert lines[1:3] == [
        "1 file that looks like a film, or may hold some, is not read: 1 × pdf (export the films in it as PNG or "
        "DICOM), as c.pdf",
        "1 file is no film, and skipped: 1 × left by macOS",
    ]


def test_a_pipe_that_a_manifest_names_is_not_waited_for(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    os.mkfifo(films / "a.png")
    write(films / "manifest.csv", b"path,label\na.png,1\n")
    summary = ingest(films, tmp_path / "m.parquet", DataParams())
    assert (summary.films, summary.unreadable) == (1, 1)
    checked = check_films(read_manifest(tmp_path / "m.parquet"), films, ValidationParams())
    assert checked["fault"].tolist() == ["file cannot be read: is a pipe"]


def test_links_to_folders_are_named_for_dvc_does_not_follow_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "disk" / "deep" / "a.png", PNG)
    write(tmp_path / "films" / "normal" / "b.png", PNG)
    (tmp_path / "films" / "fractured").symlink_to(tmp_path / "disk")
    ingest(tmp_path / "films", tmp_path / "m.parquet", DataParams(layout="folders"))
    assert (
        "warning: fractured is a link: DVC does not see it if a film behind a link changes; then run "
        "`dvc repro --force ingest`"
    ) in caplog.text
    caplog.clear()
    (tmp_path / "link").symlink_to("films")  # DVC follows the path that it is given
    (tmp_path / "films" / "fractured").unlink()
    ingest(tmp_path / "link", tmp_path / "m.parquet", DataParams(layout="folders"))
    assert "is a link" not in caplog.text
