"""Which pairs are joined, on which sign, and what is kept for a person to judge."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from osteon.errors import OsteonError
from osteon.films.contact_sheet import CAPTION_HEIGHT
from osteon.films.copies.alignment import FilmStack, best_alignment
from osteon.films.copies.leaks import TABLE, count_joined
from osteon.films.copies.near_copies import DOUBTFUL, SURE, WITH_NAME
from osteon.films.copies.pairs import COLUMNS, ORDINARY, PICTURE, SHOWN, find_pairs, joined_rows, write_pairs
from osteon.films.groups import group_films
from tests.making import manifest_of, phantom_films, stack_of

Pixels = NDArray[np.uint8]
Row = dict[str, object]


def made_set(entries: list[tuple[Pixels, Row]]) -> tuple[pd.DataFrame, FilmStack]:
    """A set of films and what the manifest says of them; their pixels' hashes are told from the pixels."""
    films = manifest_of([row for _, row in entries])
    kinds = pd.factorize(pd.Series([film.tobytes() for film, _ in entries]))[0]
    return films.assign(pixel_sha256=[f"pixels {kind}" for kind in kinds]), stack_of([film for film, _ in entries])


def told(pairs: pd.DataFrame) -> list[tuple[int, int, str, bool]]:
    columns = pairs[["first", "second", "sign", "joined"]]
    return [(int(a), int(b), str(sign), bool(joined)) for a, b, sign, joined in columns.itertuples(index=False)]


def groups(films: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    return list(group_films(films, joined_rows(pairs)))


def white_noise(film: Pixels, grey_levels: float) -> Pixels:
    noise = np.random.default_rng(0).normal(0, grey_levels, film.shape)
    return np.clip(film + noise, 0, 255).astype(np.uint8)


def strongly_varied(film: Pixels) -> Pixels:
    """As much noise as makes it no sure copy any more, though one with its name."""
    for grey_levels in np.arange(2, 40, 1.0):
        varied = white_noise(film, grey_levels)
        laid = best_alignment(stack_of([film, varied]), 0, 1)
        if laid is not None and laid.score < DOUBTFUL:
            assert laid.score >= WITH_NAME
            return varied
    raise AssertionError("no noise was enough")


WRIST, LEG, ANKLE, HIP = 18, 11, 22, 16  # of phantom_films
# No two of them are one bone of one patient: ankles, elbow, finger, legs, hip, wrist, and an ankle from its side.
DIFFERENT = (0, 2, 6, 8, 10, 12, 16, 18, 1)


@pytest.fixture(scope="module")
def films() -> list[Pixels]:
    return phantom_films(12)


# ---------------------------------------------------------------- signs


def test_each_sign_and_what_it_decides(films: list[Pixels]) -> None:
    turned = np.asarray(np.rot90(films[WRIST], -1))
    entries: list[tuple[Pixels, Row]] = [
        (films[WRIST], {"sha256": "s0", "path": "a/wrist.png"}),
        (films[ANKLE], {"sha256": "s1", "path": "a/1.jpg"}),
        (films[WRIST], {"sha256": "s0", "path": "b/the same file.png"}),
        (films[WRIST], {"sha256": "s3", "path": "b/written again.png"}),
        (turned, {"sha256": "s4", "path": "c/turned.png"}),
        (films[HIP], {"sha256": "s5", "path": "b/1.jpg"}),
        (films[LEG], {"sha256": "s6", "path": "b/alone.jpg"}),
    ]
    table, stack = made_set(entries)
    pairs = find_pairs(table, stack, 2)
    assert told(pairs) == [
        (0, 2, "same bytes", True),
        (0, 3, "same pixels", True),
        (0, 4, "near copy", True),
        (1, 5, "same name", False),
    ]
    assert {name: str(kind) for name, kind in pairs.dtypes.items()} == COLUMNS
    assert pairs.loc[:1, "score":].isna().all(axis=None)
    near = pairs.iloc[2]
    assert near["inverted"] == False  # noqa: E712
    assert near["score"] >= SURE
    assert near["mirrored"] == False  # noqa: E712
    assert near["rotation"] == pytest.approx(90, abs=0.5)
    assert near["scale"] == pytest.approx(1, abs=0.01)
    assert groups(table, pairs) == ["f0", "f1", "f0", "f0", "f0", "f5", "f6"]
    assert joined_rows(pairs).tolist() == [[0, 2], [0, 3], [0, 4]]


def test_a_film_in_three_copies_is_one_group(films: list[Pixels]) -> None:
    film = films[WRIST]
    smaller = np.asarray(cv2.resize(film, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), np.uint8)
    versions = [film, films[LEG], np.ascontiguousarray(film[:, ::-1]), np.asarray(np.rot90(film)), smaller]
    table, stack = made_set([(item, {}) for item in versions])
    pairs = find_pairs(table, stack, 1)
    assert set(pairs["sign"]) == {"near copy"}
    assert groups(table, pairs) == ["f0", "f1", "f0", "f0", "f0"]


def test_a_negative_is_joined_and_said_to_be_one(films: list[Pixels]) -> None:
    negative = 255 - np.ascontiguousarray(films[WRIST][:, ::-1])
    table, stack = made_set([(films[WRIST], {}), (films[LEG], {}), (negative, {})])
    pairs = find_pairs(table, stack, 1)
    assert told(pairs) == [(0, 2, "near copy", True)]
    assert pairs.loc[0, ["mirrored", "inverted"]].tolist() == [True, True]
    assert groups(table, pairs) == ["f0", "f1", "f0"]


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("other", DIFFERENT[1:])
def test_a_name_alone_joins_no_two_different_films(films: list[Pixels], other: int) -> None:
    """Of two films of other bones often nothing at all can be laid over each other: that is no sign."""
    entries: list[tuple[Pixels, Row]] = [
        (films[0], {"path": "hospital a/1.jpg"}),
        (films[other], {"path": "hospital b/1.jpg"}),
    ]
    table, stack = made_set(entries)
    pairs = find_pairs(table, stack, 1)
    assert (0, 1, "same name", False) in told(pairs)
    assert groups(table, pairs) == ["f0", "f1"]


def test_a_name_joins_no_film_with_a_black_one(films: list[Pixels]) -> None:
    black = np.zeros_like(films[0])
    table, stack = made_set([(films[0], {"path": "a/1.jpg"}), (black, {"path": "b/1.jpg"})])
    pairs = find_pairs(table, stack, 1)
    assert told(pairs) == [(0, 1, "same name", False)]
    assert pairs["score"].isna().all()


def test_a_name_joins_what_likeness_alone_would_not(films: list[Pixels]) -> None:
    varied = strongly_varied(films[WRIST])
    for name, expected in (("12-rotated1.jpg", ["f0", "f0", "f2"]), ("13.jpg", ["f0", "f1", "f2"])):
        entries: list[tuple[Pixels, Row]] = [
            (films[WRIST], {"path": "12.jpg"}),
            (varied, {"path": name}),
            (films[LEG], {"path": "leg.jpg"}),
        ]
        table, stack = made_set(entries)
        assert groups(table, find_pairs(table, stack, 1)) == expected


def test_the_name_of_a_film_counts_whose_pixels_are_there_already_under_another(films: list[Pixels]) -> None:
    varied = strongly_varied(films[WRIST])
    entries: list[tuple[Pixels, Row]] = [
        (films[WRIST], {"path": "a/other.jpg"}),
        (films[WRIST], {"path": "b/12.jpg"}),
        (varied, {"path": "b/12-rotated1.jpg"}),
    ]
    table, stack = made_set(entries)
    pairs = find_pairs(table, stack, 1)
    assert told(pairs) == [(0, 1, "same pixels", True), (1, 2, "same name", True)]
    assert groups(table, pairs) == ["f0"] * 3


def test_films_that_are_joined_already_are_not_compared_for_their_name(films: list[Pixels]) -> None:
    film = films[WRIST]
    entries: list[tuple[Pixels, Row]] = [
        (film, {"path": "a/7.jpg"}),
        (np.asarray(np.rot90(film)), {"path": "b/7.jpg"}),
    ]
    table, stack = made_set(entries)
    assert told(find_pairs(table, stack, 1)) == [(0, 1, "near copy", True)]


def test_a_name_that_many_different_films_have_says_nothing(films: list[Pixels]) -> None:
    assert len(DIFFERENT) == ORDINARY + 1
    for count, signs in ((ORDINARY, {"same name"}), (ORDINARY + 1, set())):
        table, stack = made_set([(films[n], {"path": f"{n}/image.png"}) for n in DIFFERENT[:count]])
        pairs = find_pairs(table, stack, 2)
        assert set(pairs.loc[pairs["sign"] == "same name", "sign"]) == signs
        assert not pairs["joined"].any()


def test_names_are_not_looked_at_where_the_patient_is_known(films: list[Pixels]) -> None:
    varied = strongly_varied(films[WRIST])
    entries: list[tuple[Pixels, Row]] = [
        (films[WRIST], {"path": "p1/image1.png", "patient_id": "p1"}),
        (varied, {"path": "p2/image1.png", "patient_id": "p2"}),
    ]
    table, stack = made_set(entries)
    assert told(find_pairs(table, stack, 1)) == []


# ---------------------------------------------------------------- what is kept


def scored(scores: list[tuple[str, float | None]]) -> pd.DataFrame:
    """Pairs (0, 1), (1, 2), … with these signs and scores."""
    least = {"near copy": SURE, "same name": WITH_NAME}
    rows = [
        (n, n + 1, sign, score is None or score >= least[sign], score, False, False, 0.0, 1.0, 0.0, 0.0)
        for n, (sign, score) in enumerate(scores)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The captions of the picture, which is drawn all the same."""
    from osteon.films.copies import pairs as pairs_module

    captions: list[str] = []
    draw = pairs_module.draw_contact_sheet

    def noting(path: Path, films: list[Pixels], texts: list[str], *rest: object, **options: object) -> None:
        captions.extend(texts)
        draw(path, films, texts, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pairs_module, "draw_contact_sheet", noting)
    return captions


def test_the_table_says_which_films_and_how_they_lie(films: list[Pixels], tmp_path: Path) -> None:
    ids = ["Hüfte, links", 'say "ah"', "骨", "d"]
    entries: list[tuple[Pixels, Row]] = [
        (films[WRIST], {"film_id": ids[0], "label": 1}),
        (films[LEG], {"film_id": ids[1]}),
        (np.ascontiguousarray(films[WRIST][:, ::-1]), {"film_id": ids[2], "label": 0}),
        (films[LEG], {"film_id": ids[3], "label": 1}),
    ]
    table, stack = made_set(entries)
    write_pairs(tmp_path, find_pairs(table, stack, 1), table, stack)
    back = pd.read_csv(tmp_path / TABLE, encoding="utf-8")
    assert list(back) == [
        *("first", "second", "sign", "joined", "score"),
        *("mirrored", "inverted", "rotation", "scale", "shift_x", "shift_y"),
        *("first_label", "second_label"),
    ]
    assert back[["first", "second", "sign", "joined", "first_label", "second_label"]].values.tolist() == [
        [ids[1], ids[3], "same pixels", True, 0, 1],
        [ids[0], ids[2], "near copy", True, 1, 0],
    ]
    assert back.loc[1, ["score", "rotation", "scale"]].tolist() == pytest.approx([1, 0, 1], abs=0.05)
    assert back["mirrored"][1] == True  # noqa: E712
    assert b"\r" not in (tmp_path / TABLE).read_bytes()
    with Image.open(tmp_path / PICTURE) as picture:
        assert picture.size == (4 * 256, 256 + CAPTION_HEIGHT)
        shown = np.asarray(picture.convert("L"))
    np.testing.assert_array_equal(shown[:256, :256], stack.read(0))
    np.testing.assert_array_equal(shown[:256, 256:512], stack.read(2))


def test_the_least_certain_pairs_come_first_whatever_their_sign(drawn: list[str], tmp_path: Path) -> None:
    table = manifest_of([{"film_id": f"f{n}"} for n in range(6)])
    squares = FilmStack(np.zeros((6, 64, 64), np.uint8), [(64, 64)] * 6)
    scores: list[tuple[str, float | None]] = [
        ("near copy", SURE + 0.2),
        ("same pixels", None),
        ("same name", WITH_NAME - 0.01),
        ("near copy", SURE - 0.05),
        ("same name", WITH_NAME + 0.1),
    ]
    write_pairs(tmp_path, scored(scores), table, squares)
    assert drawn[::2] == [
        f"apart {WITH_NAME - 0.01:.2f} same name: f2",
        f"apart {SURE - 0.05:.2f} near copy: f3",
        f"JOINED {WITH_NAME + 0.1:.2f} same name: f4",
        f"JOINED {SURE + 0.2:.2f} near copy: f0",
    ]
    assert drawn[1::2] == ["f3", "f4", "f5", "f1"]


def test_no_more_than_twenty_pairs_are_shown(drawn: list[str], tmp_path: Path) -> None:
    table = manifest_of([{} for _ in range(31)])
    squares = FilmStack(np.zeros((31, 64, 64), np.uint8), [(64, 64)] * 31)
    write_pairs(tmp_path, scored([("near copy", 1 - n / 100) for n in range(30)]), table, squares)
    assert SHOWN == 20
    assert len(drawn) == 2 * SHOWN
    with Image.open(tmp_path / PICTURE) as picture:
        assert picture.size == (4 * 256, 10 * (256 + CAPTION_HEIGHT))
    assert len(pd.read_csv(tmp_path / TABLE)) == 30


def test_a_set_without_any_pair_has_an_empty_table_and_no_picture(films: list[Pixels], tmp_path: Path) -> None:
    table, stack = made_set([(films[WRIST], {}), (films[LEG], {})])
    pairs = find_pairs(table, stack, 1)
    assert told(pairs) == []
    assert joined_rows(pairs).shape == (0, 2)
    write_pairs(tmp_path, pairs, table, stack)
    back = pd.read_csv(tmp_path / TABLE)
    assert list(back)[:3] == ["first", "second", "sign"]
    assert len(back) == 0
    assert [path.name for path in tmp_path.iterdir()] == [TABLE]
    assert groups(table, pairs) == ["f0", "f1"]


def test_only_identical_films_need_no_picture_either(films: list[Pixels], tmp_path: Path) -> None:
    table, stack = made_set([(films[WRIST], {}), (films[WRIST], {})])
    write_pairs(tmp_path, find_pairs(table, stack, 1), table, stack)
    assert [path.name for path in tmp_path.iterdir()] == [TABLE]


def test_a_report_tells_how_many_pairs_were_joined_by_each_sign(tmp_path: Path) -> None:
    with pytest.raises(OsteonError, match=r"pairs\.csv is missing; run the step prepare$"):
        count_joined(tmp_path)
    rows = ["sign,joined", "near copy,True", "same bytes,True", "near copy,True", "near copy,False", "same name,False"]
    (tmp_path / TABLE).write_text("\n".join(rows))
    assert count_joined(tmp_path) == {"near copy": 2, "same bytes": 1}
    assert list(count_joined(tmp_path)) == ["near copy", "same bytes"]
    (tmp_path / TABLE).write_text("sign,joined\n")
    assert count_joined(tmp_path) == {}
