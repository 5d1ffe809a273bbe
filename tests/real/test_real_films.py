"""Real radiographs and DICOM, from the folder that OSTEON_REAL_DATA names."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.ingestion.step import ingest
from components.preparation.step import prepare
from components.validation.step import validate
from osteon.errors import UnreadableFilmError
from osteon.films.manifest import read_manifest, write_manifest
from osteon.films.reading.decoding import decode
from osteon.films.reading.dicom_tags import read_tags
from osteon.films.reading.film import letterbox, to_8_bit
from osteon.films.shortcut_audit import read_shortcut_audit
from osteon.params import DataParams, PreparationParams, ValidationParams

pytestmark = pytest.mark.xdist_group("fracatlas")


@pytest.fixture(scope="module")
def fracatlas(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FracAtlas after ingest and validate; a third of its films, and all that are there twice, after prepare."""
    source, folder = real_data / "fracatlas", tmp_path_factory.mktemp("fracatlas")
    if not source.is_dir():
        pytest.skip(f"{source} does not exist")
    ingest(source, folder / "manifest.parquet", DataParams(layout="fracatlas"))
    validate(source, folder / "manifest.parquet", folder / "trusted.parquet", folder / "report", ValidationParams())
    trusted = read_manifest(folder / "trusted.parquet")
    some = trusted[(np.arange(len(trusted)) % 3 == 0) | trusted["sha256"].duplicated(keep=False)]
    write_manifest(some.reset_index(drop=True), folder / "some.parquet")
    out = folder / "prepared", folder / "leaks", folder / "sides.parquet"
    prepare(source, folder / "some.parquet", *out, PreparationParams(image_size=64))
    return folder


def test_fracatlas_is_read_as_published(fracatlas: Path) -> None:
    films = pd.read_parquet(fracatlas / "manifest.parquet")
    assert len(films) == 3006
    assert int(films["label"].sum()) == 501
    assert films["sha256"].notna().all()
    assert set(films["region"]) == {"hand", "leg", "hip", "shoulder", "mixed"}
    # Every fractured film has an outline, no other has.
    assert ((films["boxes"] != "[]") == (films["label"] == 1)).mean() > 0.99


def test_its_truncated_films_are_found(fracatlas: Path) -> None:
    quarantine = pd.read_csv(fracatlas / "report" / "quarantine.csv")
    reasons = Counter("truncated" if "truncated" in reason else reason for reason in quarantine["reason"])
    assert reasons["truncated"] == 40
    assert (quarantine.loc[quarantine["reason"].str.contains("truncated"), "label"] == 0).all()
    trusted = pd.read_parquet(fracatlas / "trusted.parquet")
    assert len(trusted) + len(quarantine) == 3006


def test_its_pictures_under_two_labels_are_found(fracatlas: Path) -> None:
    quarantine = pd.read_csv(fracatlas / "report" / "quarantine.csv").set_index("film_id")["reason"]
    result = quarantine[quarantine.str.contains("has the pixels of")]
    assert len(result) == 7
    assert result["IMG0002886.jpg"] == "has the pixels of IMG0004243.jpg, labelled not fractured"
    assert result["IMG0004243.jpg"] == "has the pixels of IMG0002886.jpg, labelled fractured"
    assert result["IMG0003034.jpg"] == "has the pixels of IMG0004314.jpg and IMG0004341.jpg, labelled not fractured"


def test_its_shortcut_is_found_size_and_shape_tell_the_label(fracatlas: Path) -> None:
    audit = read_shortcut_audit(fracatlas / "report")
    assert audit.auroc.low is not None
    assert audit.auroc.low > 0.65
    assert audit.within_region is not None
    assert audit.within_region.low is not None
    assert audit.within_region.low > 0.65  # it is not the region in disguise
    assert "more than max_shortcut" in str(audit.warning)
    assert {"width (pixels)", "height (pixels)", "shape (width / height)"} <= {x.name for x in audit.attributes[:4]}
    # Large films are fractured twice as often.
    result = next(item for item in audit.attributes if item.name == "megapixels").furthest()
    assert result is not None
    large, positive, others = result
    assert (large.positive, large.films) == (10, 30)
    assert large.positive / large.films > 1.9 * positive / others


def test_its_groups_are_on_one_side_and_the_classes_on_both(fracatlas: Path) -> None:
    films = pd.read_parquet(fracatlas / "prepared" / "films.parquet")
    side = films["fold"].fillna(-1)
    assert (side.groupby(films["group"]).nunique() == 1).all()
    shares = films.groupby(side)["label"].mean()
    assert shares.between(0.12, 0.22).all()
    assert films["test"].mean() == pytest.approx(0.2, abs=0.01)


def test_identical_films_are_one_group_whatever_their_labels_say(fracatlas: Path) -> None:
    """FracAtlas holds the same pixels under both labels."""
    films = pd.read_parquet(fracatlas / "prepared" / "films.parquet")
    pixels = np.load(fracatlas / "prepared" / "pixels.npy", mmap_mode="r")
    hashes = pd.Series([hash(film.tobytes()) for film in pixels])
    # Fitted to 64 pixels, what was the same before is the same still.
    assert hashes.duplicated().sum() >= 3
    assert (films.groupby(hashes)["group"].nunique() == 1).all()


def test_boxes_lie_on_the_square(fracatlas: Path) -> None:
    from osteon.films.manifest import text_to_boxes

    films = pd.read_parquet(fracatlas / "prepared" / "films.parquet")
    boxes = np.array([box for text in films["boxes"] for box in text_to_boxes(text)])
    assert len(boxes) >= 501 // 3
    assert (boxes[:, :2] > -1).all()
    assert (boxes[:, :2] + boxes[:, 2:] < 65).all()


def film(real_data: Path, name: str) -> bytes:
    path = real_data / "dicom" / name
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return path.read_bytes()


def test_a_monochrome1_film_in_jpeg_2000_comes_out_with_bright_bone(real_data: Path) -> None:
    result = decode(film(real_data, "RG3_J2KR.dcm"), max_megapixels=80)
    assert result.pixels.shape == (1760, 1760)
    assert result.bits == 10
    grey = to_8_bit(result)
    # Across the lower leg: shaft of the tibia, muscle beside it, air.
    bone, muscle, air = (float(np.median(grey[380:420, x : x + 20])) for x in (860, 700, 520))
    assert bone > muscle + 20 > air + 40


def test_the_tags_of_a_real_film_say_what_it_shows(real_data: Path) -> None:
    """Its BodyPartExamined is EXTREMITY; its study's description speaks of a distal tibia."""
    assert read_tags(film(real_data, "RG3_J2KR.dcm")) == ("lower leg", "frontal", None, None)
    # Its pixel spacing is 0.
    assert read_tags(film(real_data, "RG1_J2KI.dcm")) == ("chest", "frontal", None, None)


def test_a_lossy_jpeg_2000_reads_too(real_data: Path) -> None:
    result = decode(film(real_data, "RG1_J2KI.dcm"), max_megapixels=80)
    square = letterbox(result, 128)
    assert square.shape == (128, 128)
    assert square.std() > 10


def test_a_colour_dicom_is_refused_with_the_reason(real_data: Path) -> None:
    with pytest.raises(UnreadableFilmError, match="colour"):
        decode(film(real_data, "HTJ2KLossless_08_RGB.dcm"), max_megapixels=80)


def test_films_published_twice_are_found_and_of_their_neighbours_only_limbs_exposed_twice(real_data: Path) -> None:
    """Nobody said so: found by looking at what the search finds. The films around them are of the same bones."""
    from osteon.films.copies.alignment import FilmStack
    from osteon.films.copies.near_copies import DOUBTFUL, SURE, find_near_copies

    known = [("IMG0000000", "IMG0001370"), ("IMG0002646", "IMG0004072"), ("IMG0002945", "IMG0004266")]
    paths = {path.stem: path for path in (real_data / "fracatlas" / "images").rglob("*.jpg")}
    if not paths:
        pytest.skip(f"{real_data / 'fracatlas'} has no films")
    names = sorted(paths)
    places = [names.index(name) for pair in known for name in pair]
    chosen = sorted({name for place in places for name in names[max(0, place - 12) : place + 13]})
    kept, squares, sizes = [], [], []
    for name in chosen:
        try:
            result = decode(paths[name].read_bytes(), max_megapixels=80)
        except UnreadableFilmError:
            continue  # truncated as published
        kept.append(name)
        squares.append(letterbox(result, 256))
        sizes.append((result.pixels.shape[1], result.pixels.shape[0]))
    assert len(kept) > 110
    pairs = find_near_copies(FilmStack(np.stack(squares), sizes), np.arange(len(kept)), 2)
    joined = {(kept[item.first], kept[item.second]): item.alignment for item in pairs if item.alignment.score >= SURE}
    for pair in known:
        assert joined[pair].score > 0.9
        assert not joined[pair].mirrored
        assert joined[pair].rotation == pytest.approx(0, abs=0.5)
        assert joined[pair].scale == pytest.approx(1, abs=0.01)
    # What was published twice lies far apart in the set: films beside each other are others. Of these a few are one
    # limb exposed twice, as a look at them shows, which is to stay on one side of a split as well.
    near = {(item, other) for item, other in joined if abs(int(item[3:]) - int(other[3:])) <= 100}
    exposed_twice = {("IMG0001364", "IMG0001365"), ("IMG0001365", "IMG0001366"), ("IMG0001380", "IMG0001382")}
    assert near <= exposed_twice
    # Those that are nearly joined are shown to a person.
    shown = {(kept[item.first], kept[item.second]) for item in pairs if item.alignment.score >= DOUBTFUL}
    assert ("IMG0001365", "IMG0001366") in shown
