import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.films.groups import connected_components, group_films, name_stem, shared_names, with_first_of_its_kind
from tests.making import manifest_of


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("train/fractured/12.jpg", "12"),
        ("12-rotated1.jpg", "12"),
        ("12-rotated1-rotated3-rotated1.jpg", "12"),
        ("IMG_0042_flip.png", "img_0042"),
        ("IMG_0042 (2).png", "img_0042"),
        ("IMG_0042 copy.png", "img_0042"),
        ("IMG_0042 - Copy 3.png", "img_0042"),
        ("12_jpg.rf.0123456789abcdef0123456789abcdef.jpg", "12"),
        ("hand_AUG_7.jpg", "hand"),
        ("crop.jpg", "crop"),  # nothing is left without it
        ("IMG0000092.jpg", "img0000092"),
        ("IMG0000920.jpg", "img0000920"),
        ("image1.png", "image1"),
        ("image10.png", "image10"),
    ],
)
def test_stems_lose_what_tools_append(path: str, stem: str) -> None:
    assert name_stem(path) == stem


def groups_of(rows: list[dict[str, object]], pixels: list[str]) -> list[str]:
    films = manifest_of(rows).assign(pixel_sha256=pixels)
    return list(group_films(films, with_first_of_its_kind(shared_names(films))))


def test_each_sign_joins() -> None:
    rows: list[dict[str, object]] = [
        {"film_id": "a", "patient_id": "p"},
        {"film_id": "b", "patient_id": "p"},
        {"film_id": "c", "study_id": "s"},
        {"film_id": "d", "study_id": "s"},
        {"film_id": "e", "sha256": "same"},
        {"film_id": "f", "sha256": "same"},
        {"film_id": "g"},
        {"film_id": "h"},
        {"film_id": "i", "path": "x/7.png"},
        {"film_id": "j", "path": "y/7-rotated1.png"},
        {"film_id": "k"},
    ]
    pixels = [*"123456", "alike", "alike", *"789"]
    assert groups_of(rows, pixels) == [*"aacceeggiik"]


def test_joined_films_that_share_a_third_are_one_group() -> None:
    """a–b by patient, b–c by bytes, c–d by pixels: all four."""
    rows: list[dict[str, object]] = [
        {"film_id": "d"},
        {"film_id": "c", "sha256": "x"},
        {"film_id": "b", "patient_id": "p", "sha256": "x"},
        {"film_id": "a", "patient_id": "p"},
    ]
    assert groups_of(rows, ["pix", "pix", "1", "2"]) == ["a"] * 4


def test_a_name_joins_only_where_no_patient_is_known() -> None:
    """MURA calls a film of every study image1.png."""
    rows: list[dict[str, object]] = [
        {"film_id": "a", "path": "patient1/image1.png", "patient_id": "1"},
        {"film_id": "b", "path": "patient2/image1.png", "patient_id": "2"},
    ]
    assert groups_of(rows, ["1", "2"]) == ["a", "b"]


def test_null_is_not_a_shared_patient() -> None:
    assert groups_of([{"film_id": "a"}, {"film_id": "b"}], ["1", "2"]) == ["a", "b"]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25))
def test_groups_are_the_finest_that_tear_no_sign(keys: list[tuple[int, int, int]]) -> None:
    """Against a plain transitive closure."""
    rows: list[dict[str, object]] = [
        {"film_id": f"f{number:02}", "patient_id": f"p{patient}", "sha256": f"s{content}"}
        for number, (patient, content, _) in enumerate(keys)
    ]
    result = groups_of(rows, [f"x{pixel}" for _, _, pixel in keys])
    closure = list(range(len(keys)))
    for _ in keys:
        for i, a in enumerate(keys):
            for j, b in enumerate(keys):
                if any(x == y for x, y in zip(a, b, strict=True)):
                    closure[i] = closure[j] = min(closure[i], closure[j])
    assert pd.factorize(pd.Series(result))[0].tolist() == pd.factorize(pd.Series(closure))[0].tolist()


def test_groups_are_named_as_the_column_is_and_numbered_in_one_type() -> None:
    films = manifest_of([{"patient_id": "a"}, {"patient_id": "a"}, {"patient_id": "b"}])
    films["pixel_sha256"] = ["1", "2", "3"]
    names = group_films(films, np.empty((0, 2), np.int64))
    assert names.name == "group"
    assert names.dtype == "string"
    assert names.tolist() == ["f0", "f0", "f2"]
    assert connected_components(3, np.array([[0, 2]])).dtype == np.int64
    assert with_first_of_its_kind(films["patient_id"]).dtype == np.int64
