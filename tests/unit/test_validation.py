import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.ingestion.step import ingest
from components.validation.report import count_reasons
from components.validation.step import DOCS, QUARANTINE, REPORT, validate
from osteon.errors import OsteonError
from osteon.films.manifest import read_manifest, write_manifest
from osteon.films.shortcut_audit import SHORTCUTS, read_shortcut_audit
from osteon.params import DataParams, ValidationParams
from tests.making import dicom, dicom_bytes, encoded, manifest_of, ramp, write


def good_film(seed: int, height: int = 100, width: int = 140) -> np.ndarray:
    film = ramp(height, width).astype(float) * 0.6 + np.random.default_rng(seed).normal(60, 20, (height, width))
    return np.clip(film, 0, 255).astype(np.uint8)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Forty good films in two class folders."""
    for number in range(40):
        name = f"{'fractured' if number % 2 else 'normal'}/{number:02}.png"
        write(tmp_path / "films" / name, encoded(good_film(number), "PNG"))
    return tmp_path / "films"


def run(source: Path, **changes: object) -> tuple[pd.DataFrame, dict[str, str]]:
    """Ingest and validate; the trusted films, and film_id → reason of the others."""
    folder = source.parent
    layout = changes.pop("layout", "folders")
    ingest(source, folder / "m.parquet", DataParams(layout=str(layout)))
    params = ValidationParams(**{"max_quarantined": 0.9, **changes})  # type: ignore[arg-type]
    validate(source, folder / "m.parquet", folder / "t.parquet", folder / "report", params)
    table = pd.read_csv(folder / "report" / QUARANTINE)
    return read_manifest(folder / "t.parquet"), dict(zip(table["film_id"], table["reason"], strict=True))


def test_good_films_are_all_trusted(source: Path) -> None:
    trusted, quarantined = run(source)
    assert len(trusted) == 40
    assert quarantined == {}
    pages = list((source.parent / "report" / DOCS).rglob("*.html"))
    assert any("expectations" in str(page) for page in pages)
    assert (source.parent / "report" / DOCS / "index.html").exists()


def test_every_kind_of_bad_film_goes_to_quarantine_with_its_reason(source: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 140), dtype=np.uint8)
    y, x = np.mgrid[:100, :140]
    photograph = np.stack([x * 1.8 % 256, y * 2.5 % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    bad = {
        "fractured/empty.png": (b"", r"empty file \(0 bytes\)"),
        "fractured/text.png": (b"hello", "no picture that can be read"),
        "fractured/cut.jpg": (encoded(noise, "JPEG")[:-300], "truncated or damaged"),
        "fractured/tiny.png": (encoded(noise[:20, :30], "PNG"), "shorter side 20 pixels, below min_side = 64"),
        "fractured/long.png": (
            encoded(np.tile(noise[:70], (1, 5)), "PNG"),
            r"aspect ratio 10\.0, above max_aspect = 6",
        ),
        "fractured/blank.png": (encoded(np.full((90, 90), 128, np.uint8), "PNG"), r"blank: contrast 0\.0"),
        "fractured/photo.png": (encoded(photograph, "PNG"), r"a colour picture: chroma \d+\.\d, above max_chroma = 12"),
        "fractured/big.png": (encoded(np.zeros((2000, 2100), np.uint8), "PNG"), "more than max_megapixels = 3 allows"),
        "fractured/none.dcm": (dicom_bytes(dicom(None)), "DICOM without pixels"),
        "odd/x.png": (encoded(noise, "PNG"), r"folder 'odd' is neither .*; no label"),
    }
    for name, (data, _) in bad.items():
        write(source / name, data)
    trusted, quarantined = run(source, max_megapixels=3.0)
    assert len(trusted) == 40
    assert set(quarantined) == set(bad)
    for name, (_, reason) in bad.items():
        assert pd.Series([quarantined[name]]).str.contains(reason, regex=True).item(), (name, quarantined[name])


def test_nothing_is_lost(source: Path) -> None:
    """Every film of the manifest is either trusted or in quarantine, none in both."""
    write(source / "fractured" / "bad.png", b"x")
    trusted, quarantined = run(source)
    everything = set(read_manifest(source.parent / "m.parquet")["film_id"])
    assert set(trusted["film_id"]) | set(quarantined) == everything
    assert not set(trusted["film_id"]) & set(quarantined)


def test_a_file_that_changed_or_vanished_after_ingest(source: Path) -> None:
    folder = source.parent
    ingest(source, folder / "m.parquet", DataParams(layout="folders"))
    write(source / "fractured" / "01.png", encoded(good_film(99), "PNG"))
    (source / "fractured" / "03.png").unlink()
    validate(source, folder / "m.parquet", folder / "t.parquet", folder / "report", ValidationParams())
    table = pd.read_csv(folder / "report" / QUARANTINE).set_index("film_id")["reason"]
    assert table["fractured/01.png"] == "file changed after ingest looked at it"
    assert table["fractured/03.png"] == "file is missing"


def test_boxes_beyond_the_film(tmp_path: Path) -> None:
    source = tmp_path / "films"
    lines = ["path,label,boxes"]
    for number in range(20):
        write(source / f"{number}.png", encoded(good_film(number), "PNG"))
        box = {3: "[[100, 50, 41.5, 20]]", 5: "[[100, 50, 40, 20]]", 7: "[[1, 1, 0, 5]]", 9: "nonsense"}.get(
            number, "[]"
        )
        lines.append(f'{number}.png,{number % 2},"{box}"')
    write(source / "manifest.csv", "\n".join(lines).encode())
    trusted, quarantined = run(source, layout="manifest")
    assert "5.png" in set(trusted["film_id"])  # ends on the film's edge
    assert quarantined == {
        "3.png": "1 of its boxes are not wholly on the film",
        "7.png": "1 of its boxes are not wholly on the film",
        "9.png": "its boxes are not a list of [x, y, width, height]",
    }


def stopped(source: Path, match: str, **changes: object) -> None:
    with pytest.raises(OsteonError, match=match):
        run(source, **changes)
    assert not (source.parent / "t.parquet").exists()
    # The report is there: it is what a person needs now.
    assert (source.parent / "report" / QUARANTINE).exists()


def test_too_many_in_quarantine_stop_the_run(source: Path) -> None:
    for number in range(10):
        write(source / "fractured" / f"bad{number}.png", b"")
    stopped(
        source,
        r"10 of 50 films \(20\.0%\) are in quarantine, more than max_quarantined = 10\.0%; most often: empty file",
        max_quarantined=0.1,
    )


def test_one_class_only(tmp_path: Path) -> None:
    for number in range(10):
        write(tmp_path / "films" / "fractured" / f"{number}.png", encoded(good_film(number), "PNG"))
    stopped(tmp_path / "films", r"the share of fractured films is 1, .*are both classes there\?")


def test_an_uneven_set(source: Path) -> None:
    stopped(source, r"the share of fractured films is 0\.5, not between min_positive = 0\.6", min_positive=0.6)


def test_another_finding_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "films"
    for number in range(20):
        label = ("negative", "positive")[number % 2]
        name = f"train/XR_HAND/patient{number:05}/study1_{label}/image1.png"
        write(source / name, encoded(good_film(number), "PNG"))
    stopped(
        source,
        r"films are labelled for abnormal, the pipeline trains for 'fractured'; set validation\.finding",
        layout="mura",
    )
    trusted, _ = run(source, layout="mura", finding="abnormal")
    assert len(trusted) == 20


def test_duplicate_ids_stop_the_run(tmp_path: Path) -> None:
    source = tmp_path / "films"
    lines = ["film_id,path,label"]
    for number in range(20):
        write(source / f"{number}.png", encoded(good_film(number), "PNG"))
        lines.append(f"{'twin' if number in (4, 9) else number},{number}.png,{number % 2}")
    write(source / "manifest.csv", "\n".join(lines).encode())
    stopped(source, "ids that more than one film has: twin", layout="manifest")


def test_a_warning_does_not_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "films"
    for number in range(20):
        write(source / f"{number % 2}" / f"{number}.png", encoded(good_film(number, 90, 100), "PNG"))
    with caplog.at_level(logging.INFO):
        trusted, _ = run(source)
    assert len(trusted) == 20
    assert "note: half of the films are at most 100 pixels wide" in caplog.text


def test_reasons_are_counted_alike_whatever_their_numbers() -> None:
    table = pd.DataFrame({"reason": pd.array(["cut (20 bytes)", "cut (3.5 bytes)", "blank"], dtype="string")})
    assert count_reasons(table) == {"cut (… bytes)": 2, "blank": 1}


def test_a_manifest_of_films_that_are_not_there(tmp_path: Path) -> None:
    write_manifest(manifest_of([{"label": number % 2} for number in range(10)]), tmp_path / "m.parquet")
    with pytest.raises(OsteonError, match="10 of 10 films"):
        validate(tmp_path, tmp_path / "m.parquet", tmp_path / "t.parquet", tmp_path / "report", ValidationParams())


def test_dicom_is_looked_at_like_the_rest(tmp_path: Path) -> None:
    source = tmp_path / "films"
    lines = ["filename,fractured"]
    for number in range(12):
        film = good_film(number).astype(np.uint16) * 16
        write(source / f"{number}.dcm", dicom_bytes(dicom(film, "MONOCHROME1" if number % 3 else "MONOCHROME2")))
        lines.append(f"{number}.dcm,{number % 2}")
    write(source / "labels.csv", "\n".join(lines).encode())
    trusted, quarantined = run(source, layout="dicom")
    assert (len(trusted), quarantined) == (12, {})
    assert set(trusted["mode"]) == {"MONOCHROME1;12", "MONOCHROME2;12"}


# ---------------------------------------------------------------- one picture under two labels


def test_one_picture_under_two_labels_is_not_trusted_under_either(source: Path) -> None:
    """Whatever the file: a copy of its bytes, or its pixels encoded in another way."""
    for number in range(3):
        data = encoded(good_film(100 + number), "PNG")
        write(source / "fractured" / f"x{number}.png", data)
        other = data if number == 0 else encoded(good_film(100 + number), ("PNG", "TIFF", "BMP")[number])
        write(source / "normal" / f"y{number}.{('png', 'tif', 'bmp')[number]}", other)
    trusted, quarantined = run(source)
    assert len(trusted) == 40
    assert quarantined == {
        "fractured/x0.png": "has the pixels of normal/y0.png, labelled not fractured",
        "fractured/x1.png": "has the pixels of normal/y1.tif, labelled not fractured",
        "fractured/x2.png": "has the pixels of normal/y2.bmp, labelled not fractured",
        "normal/y0.png": "has the pixels of fractured/x0.png, labelled fractured",
        "normal/y1.tif": "has the pixels of fractured/x1.png, labelled fractured",
        "normal/y2.bmp": "has the pixels of fractured/x2.png, labelled fractured",
    }
    # Data Docs show it as an expectation of the films.
    pages = (source.parent / "report" / DOCS / "validations").rglob("*.html")
    assert any("contradicted_by" in page.read_text(encoding="utf-8") for page in pages)


def test_every_film_of_the_other_label_is_named_up_to_three(source: Path) -> None:
    data = encoded(good_film(100), "PNG")
    for name in ("a", "b", "c", "d", "e"):
        write(source / "normal" / f"{name}.png", data)
    write(source / "fractured" / "one.png", data)
    write(source / "fractured" / "two.png", data)
    _, quarantined = run(source)
    assert quarantined["fractured/one.png"] == quarantined["fractured/two.png"]
    assert quarantined["fractured/one.png"] == (
        "has the pixels of normal/a.png, normal/b.png, normal/c.png and 2 more, labelled not fractured"
    )
    for name in ("a", "b", "c", "d", "e"):
        reason = "has the pixels of fractured/one.png and fractured/two.png, labelled fractured"
        assert quarantined[f"normal/{name}.png"] == reason


def test_copies_with_one_label_stay(source: Path) -> None:
    data = encoded(good_film(100), "PNG")
    write(source / "normal" / "a.png", data)
    write(source / "normal" / "b.png", data)
    trusted, quarantined = run(source)
    assert quarantined == {}
    assert {"normal/a.png", "normal/b.png"} <= set(trusted["film_id"])


def test_a_film_without_label_or_whose_label_is_doubted_contradicts_nobody(tmp_path: Path) -> None:
    source = tmp_path / "films"
    lines = ["path,label,view"]
    for number in range(20):
        write(source / f"{number}.png", encoded(good_film(number), "PNG"))
        lines.append(f"{number}.png,{number % 2},")
    write(source / "copy.png", encoded(good_film(0), "PNG"))
    lines.append("copy.png,,")
    write(source / "manifest.csv", "\n".join(lines).encode())
    trusted, quarantined = run(source, layout="manifest")
    assert "0.png" in set(trusted["film_id"])
    assert list(quarantined) == ["copy.png"]

    manifest = read_manifest(tmp_path / "m.parquet")
    doubted = manifest["film_id"] == "copy.png"
    manifest.loc[doubted, ["label", "doubt"]] = [1, "two entries"]
    write_manifest(manifest, tmp_path / "m.parquet")
    validate(source, tmp_path / "m.parquet", tmp_path / "t.parquet", tmp_path / "report", ValidationParams())
    assert "0.png" in set(read_manifest(tmp_path / "t.parquet")["film_id"])


def test_contradictions_are_counted_alike_whoever_they_name() -> None:
    reasons = [f"has the pixels of {names}, labelled fractured" for names in ("a.png", "b.png and c.png", "d, e and 2")]
    table = pd.DataFrame({"reason": pd.array([*reasons, f"blank; {reasons[0]}"], dtype="string")})
    assert count_reasons(table) == {
        "has the pixels of …, labelled fractured": 3,
        "blank; has the pixels of …, labelled fractured": 1,
    }


# ---------------------------------------------------------------- the shortcut audit and the page


def sized(folder: Path, sides: tuple[int, int]) -> Path:
    """Sixty films, in two classes of these widths."""
    for number in range(60):
        name = f"{'fractured' if number % 2 else 'normal'}/{number:02}.png"
        width = sides[number % 2] + number % 7
        write(folder / "films" / name, encoded(good_film(number, 130, width), "PNG"))
    return folder / "films"


def test_a_set_whose_label_is_the_size_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        trusted, _ = run(sized(tmp_path, (140, 200)))
    assert len(trusted) == 60  # it warns, and does not stop
    audit = read_shortcut_audit(tmp_path / "report")
    assert audit.auroc.value == 1.0
    assert audit.warning is not None
    assert f"warning: {audit.warning}" in caplog.text
    assert {item.name for item in audit.attributes if item.auroc.value == 1.0} >= {"width (pixels)", "megapixels"}
    result = json.loads((tmp_path / "report" / SHORTCUTS).read_text(encoding="utf-8"))
    assert result["auroc"]["value"] == 1.0
    page = (tmp_path / "report" / REPORT).read_text(encoding="utf-8")
    assert 'role="alert"' in page
    assert audit.attributes[0].name in page


def test_a_set_of_one_size_is_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(sized(tmp_path, (150, 150)))
    audit = read_shortcut_audit(tmp_path / "report")
    assert (audit.warning, audit.skipped) == (None, None)
    warned_of = [message for message in caplog.messages if message.startswith("warning: ")]
    assert [message for message in warned_of if not message.startswith("warning: patients are unknown")] == []
    page = (tmp_path / "report" / REPORT).read_text(encoding="utf-8")
    assert page.count('role="alert"') == page.count('role="alert"><p><strong>Patients.</strong>') == 1


def test_the_page_shows_numbers_reasons_and_where_to_look_on(source: Path) -> None:
    write(source / "fractured" / "<b>.png", b"")
    write(source / "fractured" / "text.png", b"hello")
    write(source / "odd <i>" / "x.png", encoded(good_film(77), "PNG"))
    run(source)
    report = source.parent / "report"
    page = (report / REPORT).read_text(encoding="utf-8")
    text = " ".join(page.split())
    assert "40 of 43 films are trusted, 3 are in quarantine" in text
    assert "empty file (… bytes)" in text
    assert "folder &#39;odd &lt;i&gt;&#39; is neither" in text
    assert "<i>" not in page.split("<h2>Quarantine</h2>")[1].split("</table>")[0]
    for place in (QUARANTINE, f"{DOCS}/index.html"):
        assert f'href="{place}"' in page
        assert (report / place).exists()
    for foreign in ("http://", "https://", "<script", "@import", "url("):
        assert foreign not in page


def test_a_set_that_stops_the_run_has_its_page_with_the_reason(source: Path) -> None:
    for number in range(10):
        write(source / "fractured" / f"bad{number}.png", b"")
    stopped(source, "10 of 50 films", max_quarantined=0.1)
    page = (source.parent / "report" / REPORT).read_text(encoding="utf-8")
    assert "Not as they are; the run stopped." in page
    assert "10 of 50 films (20.0%) are in quarantine" in page
    assert read_shortcut_audit(source.parent / "report").skipped == "the films cannot be trusted as they are"


def test_one_class_has_a_page_too(tmp_path: Path) -> None:
    for number in range(10):
        write(tmp_path / "films" / "fractured" / f"{number}.png", encoded(good_film(number), "PNG"))
    stopped(tmp_path / "films", "are both classes there")
    assert (tmp_path / "report" / REPORT).exists()


def test_a_report_says_the_same_twice(source: Path) -> None:
    run(source)
    files = [source.parent / "report" / name for name in (SHORTCUTS, REPORT, QUARANTINE)]
    once = [file.read_bytes() for file in files]
    run(source)
    assert [file.read_bytes() for file in files] == once


def test_files_that_are_no_films_are_listed_and_do_not_stop_a_run(source: Path) -> None:
    """Twenty reports beside the films are more than max_quarantined allows."""
    for number in range(20):
        write(source / f"normal/._{number}.png", b"\0\5\x16\7")
    write(source / "phone.heic", b"")
    trusted, _ = run(source, max_quarantined=0.1)
    assert len(trusted) == 40
    good = source.parent
    listed = pd.read_csv(good / "report" / "left_out.csv", keep_default_na=False)
    assert list(listed.columns) == ["path", "kind", "advice"]
    assert listed.iloc[-1].tolist() == ["phone.heic", "heic", "convert to PNG"]
    assert (len(listed), set(listed["kind"].iloc[:-1])) == (21, {"left by macOS"})
    page = " ".join((good / "report" / "report.html").read_text(encoding="utf-8").split())
    assert '<td class="n">20</td><td class="reason">left by macOS</td> <td class="reason">nothing: no film</td>' in page
    assert "<strong>not read:</strong> convert to PNG" in page
