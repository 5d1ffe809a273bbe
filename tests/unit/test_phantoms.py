import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from components.phantoms import anatomy
from components.phantoms.anatomy import TEXTURE, Anatomy, Limb, draw_anatomy, draw_limb, texture_of
from components.phantoms.exposure import Findings, draw_findings, expose
from components.phantoms.fractures import (
    OBVIOUS_TYPES,
    TYPES,
    Fracture,
    Fragment,
    draw_fracture,
    draw_obvious,
    fragments,
)
from components.phantoms.patients import Study, studies
from components.phantoms.projection import Shadow, blurred, bone_thickness, broadly_blurred, flesh_thickness, shadow
from components.phantoms.regions import REGIONS, Bone, Shape
from components.phantoms.step import phantoms as make
from osteon.films.copies.near_copies import SURE, find_near_copies
from osteon.films.manifest import text_to_boxes
from osteon.params import PhantomParams
from tests.making import stack_of

NOTHING = Findings(metal=False, growth_plates=False, ossicle=False, sprain=False)


def test_the_pixels_of_a_seed_are_the_same_on_every_machine() -> None:
    """A hundred films, every region and type among them; a change of any pixel changes this hash."""
    digest = hashlib.sha256()
    kinds, regions = set(), set()
    for study in studies(50, 1.0, 0.5, seed=20):
        for degrees, seed in zip(study.degrees, study.seeds, strict=True):
            pixels, _ = expose(study.limb, degrees, 256, study.fracture, study.findings, np.random.default_rng(seed))
            digest.update(pixels.tobytes())
        kinds.add(study.fracture.kind if study.fracture else None)
        regions.add(study.region)
    assert kinds == set(TYPES)
    assert regions == set(REGIONS)
    assert digest.hexdigest() == "e9b5471e776ed216ccbed940c386b4e2a3e7f11edd6ffb9339390263ee480814"


def somebody(number: int) -> Anatomy:
    return draw_anatomy(np.random.default_rng([7, number]))


def limb_of(number: int, region: str = "lower leg", side: str = "L", visit: int = 0) -> Limb:
    return draw_limb(region, somebody(number), side, np.random.default_rng(visit))


def film_of(limb: Limb, degrees: float = 0.0, seed: int = 0, size: int = 256) -> np.ndarray:
    return expose(limb, degrees, size, None, NOTHING, np.random.default_rng(seed))[0]


def bones_of(limb: Limb, degrees: float = 0.0) -> np.ndarray:
    return bone_thickness(limb, degrees, 256, (256, 160), (80.0, 0.0), None, texture_of(limb, degrees, 256))[0].whole


def marrow_of(limb: Limb, degrees: float = 0.0) -> np.ndarray:
    return bone_thickness(limb, degrees, 256, (256, 160), (80.0, 0.0), None, texture_of(limb, degrees, 256))[0].texture


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of what is fine in two films of one shape."""
    fine = [film.astype(float) - blurred(film.astype(float), 4.0) for film in (first, second)]
    return float(np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1])


@pytest.mark.parametrize("region", REGIONS)
def test_all_films_of_a_patient_show_one_anatomy(region: str) -> None:
    """On another day it lies otherwise, and is the same: bones keep their shapes, the marrow its texture."""
    first, again = limb_of(1, region, visit=1), limb_of(1, region, visit=2)
    assert [(bone.name, bone.radius, bone.shape) for bone in first.bones] == [
        (bone.name, bone.radius, bone.shape) for bone in again.bones
    ]
    np.testing.assert_array_equal(texture_of(first, 30.0, 256).fine, texture_of(again, 30.0, 256).fine)
    assert first.bones != again.bones


@pytest.mark.parametrize("region", REGIONS)
def test_no_bone_of_a_patient_is_shaped_as_anothers(region: str) -> None:
    for one, another in zip(limb_of(1, region).bones, limb_of(2, region).bones, strict=True):
        assert one.shape.waves != another.shape.waves
        assert one.shape.lean != another.shape.lean
        assert one.radius != another.radius


@pytest.mark.parametrize("region", REGIONS)
def test_the_two_sides_are_mirror_images_but_for_small_differences(
    region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right, another = bones_of(limb_of(1, region)), bones_of(limb_of(1, region, "R")), bones_of(limb_of(2, region))
    assert 0 < np.abs(left - right[:, ::-1]).mean() < 0.4 * np.abs(left - another).mean()
    monkeypatch.setattr(anatomy, "UNLIKE", 0.0)
    np.testing.assert_allclose(bones_of(limb_of(1, region))[:, ::-1], bones_of(limb_of(1, region, "R")), atol=1e-9)


def test_a_right_limb_is_filmed_from_its_own_outer_side() -> None:
    """An ankle from the side: the toes of one foot point left, those of the other right."""
    left, right = (film_of(limb_of(3, "ankle", side), 90.0).astype(float) for side in "LR")
    assert np.abs(left - right[:, ::-1]).mean() < 0.7 * np.abs(left - right).mean()


def test_two_films_of_a_patient_are_alike_and_those_of_two_patients_are_not() -> None:
    """Bones three degrees apart, laid on each other; the films' borders, markers and noise would be alike for all."""
    places = range(8)
    own = [likeness(bones_of(limb_of(n)), bones_of(limb_of(n), 3.0)) for n in places]
    others = [likeness(bones_of(limb_of(a)), bones_of(limb_of(b))) for a in places for b in places if a < b]
    assert min(own) > 0.85
    assert max(others) < 0.75


def test_the_texture_of_the_marrow_changes_little_by_little_with_the_view() -> None:
    def alike(degrees: float) -> float:
        values = [marrow_of(limb_of(1, "hip"), turn)[90:150, 80:110].ravel() for turn in (0.0, degrees)]
        return float(np.corrcoef(*values)[0, 1])

    assert alike(2.0) > alike(6.0) > alike(18.0)


@pytest.mark.parametrize("region", ["lower leg", "forearm", "shoulder"])
def test_limbs_of_different_patients_are_no_copies(region: str) -> None:
    """The regions that show the least: twelve patients, all filmed from the front."""
    stack = stack_of([film_of(limb_of(number, region), 0.0, number) for number in range(12)])
    assert [pair for pair in find_near_copies(stack, np.arange(12), 1) if pair.alignment.score >= SURE] == []


def test_soft_tissue_has_a_patients_own_contour() -> None:
    def contour(number: int) -> np.ndarray:
        return (flesh_thickness(limb_of(number), 0.0, 256, (256, 160), (80.0, 0.0)) > 0).sum(axis=1)

    first, second = contour(1).astype(float), contour(2).astype(float)
    assert np.abs((first - first.mean()) - (second - second.mean())).max() > 5


def test_texture_is_a_table_with_straight_lines_in_between_that_repeats() -> None:
    limb = limb_of(1)
    texture = texture_of(limb, 0.0, 256)
    node = np.arange(5) * texture.bundle
    x, y = node, np.array([2.0, 3.0]) * texture.bundle
    expected = 1.5 * texture.muscle[:5, 2:4].T
    between = (expected[:, 1:] + expected[:, :-1]) / 2
    np.testing.assert_allclose(texture.of_flesh(x, y), expected)
    np.testing.assert_allclose(texture.of_flesh(x[:4] + texture.bundle / 2, y), between)
    np.testing.assert_allclose(texture.of_flesh(x, y[:1] + texture.bundle / 2), expected.mean(axis=0)[None])
    np.testing.assert_allclose(texture.of_flesh(x - TEXTURE * texture.bundle, y - TEXTURE * texture.bundle), expected)
    s, v = np.meshgrid(np.linspace(0, 700, 400), np.linspace(-300, 300, 400))
    values = texture.of_marrow(2, s, v)
    assert values.mean() == pytest.approx(0.0, abs=0.05)
    assert values.std() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("shape", [(64, 40), (256, 152), (900, 700)])
def test_a_picture_is_blurred_as_scipy_does_it_beyond_its_edge_too(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random(shape)
    for sigma, reach in ((0.4, 4.0), (0.12 * max(shape), 2.0), (0.09 * max(shape), 2.5)):
        expected = ndimage.gaussian_filter(picture, sigma, truncate=reach)
        np.testing.assert_allclose(blurred(picture, sigma, reach), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(64, 40), (256, 152), (901, 702)])
def test_what_is_blurred_broadly_on_a_smaller_copy_is_the_same(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random(shape) + np.linspace(0, 1, shape[0])[:, None]
    for share, reach in ((0.12, 2.0), (0.09, 2.5)):
        sigma = share * max(shape)
        expected = ndimage.gaussian_filter(picture, sigma, truncate=reach)
        np.testing.assert_allclose(broadly_blurred(picture, sigma, reach), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("degrees", [0.0, 40.0, 90.0])
def test_no_bone_lies_where_none_is_looked_for(region: str, degrees: float) -> None:
    """Bones are drawn only at places that they can reach; nowhere else on the film are they thick."""
    for number in range(3):
        for bone in limb_of(number, region).bones:
            cast = shadow(bone, degrees, 128, (64.0, 0.0))
            y, x = np.mgrid[:128, :128] + 0.5
            thick = cast.thickness(*cast.local(x, y))[0]
            looked_at = np.zeros(128 * 128, dtype=bool)
            places = cast.places((128, 128))
            looked_at[places.number[cast.reached(places.s, places.v)]] = True
            assert not thick.ravel()[~looked_at].any()


def test_a_fragment_that_moved_far_is_drawn_whole() -> None:
    """Half of a shin turned by a third of a right angle: as if the whole film had been looked at."""
    limb = replace(limb_of(1), bones=limb_of(1).bones[:1])
    fracture = Fracture("transverse", 0, 0.5, (0.0, 0.0), (1.4, 0.0), (0.5, 0.0), gap=0.8, seed=1)
    arguments = (limb, 0.0, 128, (128, 80), (40.0, 0.0), fracture, texture_of(limb, 0.0, 128))
    seen = bone_thickness(*arguments)[0].whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fragment, "reach", lambda self, length: 1000.0)
        patch.setattr(Shadow, "reached", lambda self, s, v: np.arange(s.size))
        np.testing.assert_allclose(seen, bone_thickness(*arguments)[0].whole, atol=0.02)
    alone = bone_thickness(*arguments[:5], None, arguments[6])[0].whole
    assert (seen > 0).any(axis=0).sum() > 1.5 * (alone > 0).any(axis=0).sum()


def test_more_films_add_patients_and_change_none() -> None:
    few, many = list(studies(10, 0.4, 0.5, 1)), list(studies(30, 0.4, 0.5, 1))
    assert many[:9] == few[:9]


def test_another_share_of_obvious_breaks_changes_nothing_else() -> None:
    few, many = list(studies(200, 0.4, 0.0, 1)), list(studies(200, 0.4, 1.0, 1))
    assert [replace(study, fracture=None) for study in few] == [replace(study, fracture=None) for study in many]
    for one, another in zip(few, many, strict=True):
        assert (one.fracture is None) == (another.fracture is None)
        if one.fracture and another.fracture:
            assert (one.fracture.obvious, another.fracture.obvious) == (False, True)


def test_patients_studies_and_views(phantoms: Path) -> None:
    table = pd.read_csv(phantoms / "manifest.csv")
    assert len(table) == 120
    assert set(table.groupby("study_pseudonym").size()) == {2}
    assert set(table["view"]) == {"frontal", "lateral"}
    visits = table.groupby("patient_pseudonym")["study_pseudonym"].nunique()
    assert visits.min() >= 1
    assert visits.max() == 3
    assert set(table["region"]) <= set(REGIONS)
    assert set(table["fracture_type"].dropna()) <= set(TYPES)
    assert (table["fracture_type"].notna() == (table["label"] == "fractured")).all()
    assert table["hardware"].dtype == bool


def test_a_fractured_film_has_its_box_inside_and_another_has_none(phantoms: Path) -> None:
    table = pd.read_csv(phantoms / "manifest.csv")
    for row in table.itertuples():
        boxes = text_to_boxes(row.boxes)
        assert bool(boxes) == (row.label == "fractured")
        width, height = Image.open(phantoms / str(row.path)).size
        assert max(width, height) == 96
        for x, y, w, h in boxes:
            assert 0 <= x < x + w <= width + 0.05  # boxes are rounded to tenths
            assert 0 <= y < y + h <= height + 0.05


def expose_pair(study: Study) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float, float] | None]:
    """One film with its fracture and the same film without; swelling is left out by drawing it for neither."""
    seed = study.seeds[0]
    broken, box = expose(study.limb, study.degrees[0], 256, study.fracture, NOTHING, np.random.default_rng(seed))
    shape = broken.shape
    centre = (shape[1] * 0.5, 0.0)
    degrees = study.degrees[0]
    texture = texture_of(study.limb, degrees, 256)
    thick, box = bone_thickness(study.limb, degrees, 256, shape, centre, study.fracture, texture)
    whole, _ = bone_thickness(study.limb, degrees, 256, shape, centre, None, texture)
    return thick.whole, whole.whole, box


def test_the_box_is_where_the_bone_changed() -> None:
    """Most of what a fracture changes at the break lies in its box: the break itself, not the moved fragment."""
    inside = []
    for study in studies(60, 1.0, 0.0, seed=4):
        if study.fracture is None or study.fracture.kind != "hairline":
            continue
        thick, whole, box = expose_pair(study)
        if box is None:
            continue
        change = np.abs(thick - whole)
        x, y, w, h = (round(value) for value in box)
        inside.append(change[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1].sum() / change.sum())
    assert len(inside) >= 5
    assert min(inside) > 0.9


def test_a_bone_is_as_thick_as_its_ellipse_says() -> None:
    """A round bone's chord at its centre is twice its radius, and half a radius off it √3 radii."""
    head = Bone("femoral head", (0.02, 0.2, 0.0), (0.02, 0.4, 0.0), 0.1, cortex=0.1, round=True)
    cast = shadow(head, 0.0, 1000, (500.0, 0.0))
    middle = np.array([cast.length / 2])
    outer, _ = cast.thickness(middle, np.array([0.0]))
    assert outer[0] == pytest.approx(2 * cast.radius)
    outer, _ = cast.thickness(middle, np.array([0.5 * cast.radius]))
    assert outer[0] == pytest.approx(np.sqrt(3) * cast.radius)
    outer, inner = cast.thickness(middle, np.array([1.01 * cast.radius]))
    assert (outer[0], inner[0]) == (0.0, 0.0)


def test_local_coordinates_go_there_and_back() -> None:
    cast = shadow(limb_of(1, "forearm").bones[0], 30.0, 256, (100.0, 0.0))
    for s, v in ((10.0, 0.0), (80.0, 7.5), (200.0, -4.0)):
        x, y = cast.on_film(s, v)
        back_s, back_v = cast.local(np.array([x]), np.array([y]))
        # The bow shifts v at the point's own s; sideways it moves s by a little.
        assert back_s[0] == pytest.approx(s, abs=1e-6)
        assert back_v[0] == pytest.approx(v, abs=1e-6)


def test_a_fragment_turned_and_shifted_is_found_where_it_came_from() -> None:
    part = Fragment(lambda s, v: np.ones_like(s), turn=np.pi / 2, hinge=(10.0, 0.0), shift=(0.0, 5.0))
    # A point 3 beyond the hinge on the axis turns to v = 3 and moves on by 5.
    s, v = part.unmoved(np.array([10.0]), np.array([8.0]))
    assert (s[0], v[0]) == (pytest.approx(13.0), pytest.approx(0.0, abs=1e-12))


@pytest.mark.parametrize("kind", TYPES)
def test_a_break_in_the_notch_between_two_condyles_is_drawn(kind: str) -> None:
    bone = Bone("tibia", (0.0, 0.2, 0.0), (0.0, 0.8, 0.0), 0.08, shape=Shape(notch=(0.4, 0.4)))
    limb = replace(limb_of(1), bones=(bone,))
    fracture = Fracture(kind, 0, 0.01, (0.3, 0.1), (0.4, 0.1), (0.1, 0.1), gap=0.4, seed=1)
    with np.errstate(divide="raise", invalid="raise"):
        expose(limb, 0.0, 128, fracture, NOTHING, np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["transverse", "oblique", "spiral"])
def test_the_fragments_of_a_closed_unmoved_break_are_the_whole_bone(kind: str) -> None:
    fracture = Fracture(kind, 0, 0.5, (0.3, 0.1), (0.0, 0.0), (0.0, 0.0), gap=0.0, seed=1)
    parts = fragments(fracture, 0.0, at=50.0, radius=10.0, pixel=0.7)
    v, s = np.mgrid[-10:10:40j, 0:100:200j]
    total = sum(part.weight(*part.unmoved(s, v)) for part in parts)
    np.testing.assert_allclose(total, 1.0, atol=1e-9)


def obvious_fracture(number: int) -> Fracture:
    return draw_obvious(np.random.default_rng(number), 0)


def change_of(fracture: Fracture, degrees: float) -> float:
    """How much of a shin's shadow a break changes, as a share of the shadow of a bit as long as the shin is wide."""
    limb = replace(limb_of(1), bones=limb_of(1).bones[:1])
    arguments = (limb, degrees, 128, (128, 80), (40.0, 0.0))
    texture = texture_of(limb, degrees, 128)
    broken, whole = (bone_thickness(*arguments, item, texture)[0].whole for item in (fracture, None))
    wide = 2 * shadow(limb.bones[0], degrees, 128, (40.0, 0.0)).radius
    return float(np.abs(broken - whole).sum() / (whole.sum() * wide / 128))


def test_an_obvious_break_changes_much_in_both_views_and_the_others_often_little() -> None:
    """Frontal and lateral; a hairline or a chip is never obvious."""
    obvious = [obvious_fracture(number) for number in range(40)]
    others = [replace(draw_fracture(np.random.default_rng(number), 0, (0.0,)), place=0.5) for number in range(40)]
    assert {item.kind for item in obvious} == set(OBVIOUS_TYPES)
    assert {item.obvious for item in obvious} == {True}
    assert {item.obvious for item in others} == {False}
    seen, hidden = (
        np.array([[change_of(item, degrees) for degrees in (0.0, 90.0)] for item in drawn])
        for drawn in (obvious, others)
    )
    assert np.quantile(seen.max(axis=1), 0.05) > 3
    assert np.quantile(seen, 0.1) > 1.5
    assert np.quantile(hidden, 0.3) < 0.3


def test_overlapping_fragments_lie_side_by_side() -> None:
    """Where they overlap there is more bone across the limb than anywhere before."""
    overlapping = [item for item in map(obvious_fracture, range(100)) if item.gap < 0]
    assert len(overlapping) > 5
    limb = replace(limb_of(1), bones=limb_of(1).bones[:1])
    texture = texture_of(limb, 0.0, 128)
    for fracture in overlapping:
        broken, whole = (
            bone_thickness(limb, 0.0, 128, (128, 80), (40.0, 0.0), item, texture)[0].whole.sum(axis=1)
            for item in (replace(fracture, turn=(0.0, 0.0), place=0.5, slope=(0.0, 0.0)), None)
        )
        assert broken[45:85].max() > 1.5 * whole[45:85].max()


def test_a_share_of_the_breaks_is_obvious_and_of_a_thick_bone() -> None:
    broken = [(study, study.fracture) for study in studies(600, 1.0, 0.7, seed=3) if study.fracture]
    obvious = [(study, item) for study, item in broken if item.obvious]
    assert len(obvious) / len(broken) == pytest.approx(0.7, abs=0.06)
    for study, item in obvious:
        bones = [bone for bone in study.limb.bones if bone.breakable and not bone.round]
        assert study.limb.bones[item.bone].radius > 0.6 * max(bone.radius for bone in bones)
    # What else a film shows does not depend on it.
    assert np.mean([study.findings.metal for study, _ in obvious]) == pytest.approx(0.06, abs=0.04)


def test_an_avulsion_is_torn_at_an_end_that_is_on_the_film() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_fracture(rng, 0, ends) for ends in [(), (0.0,), (1.0,)] * 100]
    assert not any(item.kind == "avulsion" for item in drawn[::3])
    assert {item.place < 0.2 for item in drawn[1::3] if item.kind == "avulsion"} == {True}
    assert {item.place > 0.8 for item in drawn[2::3] if item.kind == "avulsion"} == {True}


def test_distractors_know_nothing_of_the_label() -> None:
    """They are drawn from a stream of their own arguments only: no fracture goes in."""
    drawn = [draw_findings(np.random.default_rng(seed)) for seed in range(2000)]
    assert 0.04 < np.mean([item.metal for item in drawn]) < 0.08


def test_the_seed_decides(tmp_path: Path) -> None:
    def first(seed: int, name: str) -> bytes:
        folder = tmp_path / name
        make(folder, tmp_path / "sheet.png", PhantomParams(films=12, size=64, seed=seed))
        return (folder / "films" / "P00001-1-frontal.png").read_bytes()

    assert first(1, "a") == first(1, "b") != first(2, "c")


@pytest.mark.slow
def test_markers_borders_and_brightness_do_not_tell(tmp_path: Path) -> None:
    """A forest that sees only these, judged by patient, stays near chance on 600 films."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    make(tmp_path / "films", tmp_path / "sheet.png", PhantomParams(size=128))
    table = pd.read_csv(tmp_path / "films" / "manifest.csv")
    films = [np.asarray(Image.open(tmp_path / "films" / path), dtype=float) for path in table["path"]]
    labels = (table["label"] == "fractured").to_numpy(int)

    def markers(film: np.ndarray) -> list[float]:
        h, w = film.shape[0] // 4, film.shape[1] // 4
        corners = (film[:h, :w], film[:h, -w:], film[-h:, :w], film[-h:, -w:])
        return [value for item in corners for value in (item.max(), item.mean(), (item > 200).mean())]

    def borders(film: np.ndarray) -> list[float]:
        return [edge.mean() for k in (1, 3, 6) for edge in (film[:k], film[-k:], film[:, :k], film[:, -k:])]

    def brightness(film: np.ndarray) -> list[float]:
        return [film.mean(), film.std(), float(np.median(film)), (film > 128).mean()]

    for look in (markers, borders, brightness):
        seen = np.array([look(film) for film in films])
        scores = cross_val_predict(
            RandomForestClassifier(200, min_samples_leaf=5, random_state=0, n_jobs=2),
            seen,
            labels,
            groups=table["patient_pseudonym"],
            cv=StratifiedGroupKFold(5, shuffle=True, random_state=0),
            method="predict_proba",
        )[:, 1]
        assert 0.38 < roc_auc_score(labels, scores) < 0.6, look.__name__
