"""What a model answers for the films that a person brings. The model is untrained: its numbers have another check."""

import hashlib
import math
import os
from pathlib import Path

import numpy as np
import pytest

from osteon.answers.film_answers import FilmAnswer, answer_films, fuse_films, row_of
from osteon.answers.film_sources import find_sources
from osteon.answers.map_picture import heat_on_film, map_picture
from osteon.films.reading.film import Film, letterbox
from osteon.models.package.package import Package, open_package
from tests.making import dicom, dicom_bytes, encoded, package_info, packaged, points_at, ramp


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder = packaged(tmp_path_factory.mktemp("answers") / "model", map_learnt=True, points=points_at(0.2, 0.9))
    return open_package(folder, threads=1)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Forty films, an empty file among them, and one that is no film."""
    rng = np.random.default_rng(1)
    for number in range(40):
        film = rng.integers(0, 256, (70, 90 + number), np.uint8)
        (tmp_path / f"{number:02d}.png").write_bytes(encoded(film, "PNG"))
    (tmp_path / "07.png").write_bytes(b"")
    (tmp_path / "31.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    return tmp_path


def test_every_film_has_its_own_answer_in_order(package: Package, films: Path) -> None:
    sources = find_sources([films], recursive=False).films
    answers = list(answer_films(package, sources, cores=2))
    assert [Path(given.name).name for given in answers] == [f"{number:02d}.png" for number in range(40)]
    for given in answers:
        data = Path(given.name).read_bytes()
        row = package.predict([data]).iloc[0]
        assert given.sha256 == hashlib.sha256(data).hexdigest()
        assert given.answer == row["answer"]
        assert given.probability == pytest.approx(row["probability"], abs=1e-6, nan_ok=True)
        assert given.unread == (Path(given.name).name in {"07.png", "31.png"})
        assert bool(given.reason) == (given.answer == "refused")
        assert given.heat is None
        assert given.data == b""
    assert answers[7].reason == "empty file (0 bytes)"


def test_a_film_that_goes_away_while_others_are_read(package: Package, films: Path) -> None:
    sources = find_sources([films], recursive=False).films
    (films / "03.png").unlink()
    answers = list(answer_films(package, sources, cores=1))
    assert answers[3].reason == "cannot be opened (No such file or directory)"
    assert answers[3].unread
    assert answers[3].sha256 == ""
    assert len(answers) == 40


def test_maps_come_with_the_films_bytes(package: Package, films: Path) -> None:
    (given,) = answer_films(package, find_sources([films / "00.png"], recursive=False).films, maps=True)
    assert given.data == (films / "00.png").read_bytes()
    assert given.heat is not None
    assert given.heat.shape == (4, 4)


def test_a_film_that_is_unlike_the_training_films_is_read_and_refused(package: Package, films: Path) -> None:
    strict = Package(package.info.model_copy(update={"max_ood_distance": 1e-9}), package.networks, package.embeddings)
    (given,) = answer_films(strict, find_sources([films / "00.png"], recursive=False).films)
    assert given.answer == "refused"
    assert not given.unread
    assert math.isnan(given.probability)
    assert given.distance > 1e-9
    assert given.reason.startswith("unlike the training films: ")
    row = row_of(given, "film", strict.info, "m")
    assert (row["probability"], row["ruled_out"], row["ruled_in"]) == (None, None, None)
    assert row["ood_score"] == given.distance


def test_studies_are_numbered_and_their_ids_stay_inside(package: Package, tmp_path: Path) -> None:
    for number, study in enumerate(["1.2.3", "1.2.4", "1.2.3", ""]):
        tags = {"StudyInstanceUID": study} if study else {}
        (tmp_path / f"{number}.dcm").write_bytes(dicom_bytes(dicom(ramp(top=4000 + number), **tags)))
    (tmp_path / "4.png").write_bytes(encoded(ramp(), "PNG"))
    answers = list(answer_films(package, find_sources([tmp_path], recursive=False).films, studies=True))
    assert [given.study for given in answers] == [1, 2, 1, 3, 4]
    assert not any("1.2." in repr(given).replace(os.fspath(tmp_path), "") for given in answers)


INFO = package_info(points=points_at(0.2, 0.9), finding="fractured")


def test_a_study_has_its_highest_films_answer() -> None:
    films = [
        FilmAnswer("a", probability=0.1, answer="not fractured", study=1),
        FilmAnswer("b", probability=0.95, answer="fractured", study=1),
        FilmAnswer("c", study=1, reason="empty file (0 bytes)", unread=True),
        FilmAnswer("d", probability=0.1, answer="not fractured", study=2),
        FilmAnswer("e", study=3, reason="unlike"),
    ]
    first, second, third = fuse_films(films, INFO)
    assert (first.name, first.probability, first.answer, first.films) == ("study 1", 0.95, "fractured", 3)
    assert first.warnings == ["1 of its 3 films have no answer"]
    assert (second.probability, second.answer, second.warnings) == (0.1, "not fractured", [])
    assert (third.answer, third.reason) == ("refused", "none of its films has an answer")


@pytest.mark.parametrize(
    ("probability", "out", "into"), [(0.1, True, False), (0.2, False, False), (0.5, False, False), (0.9, False, True)]
)
def test_a_row_says_what_each_operating_point_says(probability: float, out: bool, into: bool) -> None:
    row = row_of(FilmAnswer("a", probability=probability, boxes=[[1, 2, 3, 4, 0.5]]), "film", INFO, "m")
    assert (row["ruled_out"], row["ruled_in"]) == (out, into)
    assert row["boxes"] == [{"x": 1, "y": 2, "width": 3, "height": 4, "score": 0.5}]


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64)])
def test_a_map_lies_on_the_film_where_it_lay_on_the_square(size: tuple[int, int]) -> None:
    """A bright spot of the film is at the peak of its own square, shrunk to cells, and there again on the film."""
    width, height = size
    film = np.zeros((height, width), np.uint8)
    x, y = round(0.7 * width), round(0.3 * height)
    film[y - height // 10 : y + height // 10, x - width // 10 : x + width // 10] = 255
    square = letterbox(Film(film, 0, 255, 8), 64)
    cells = square.reshape(16, 4, 16, 4).mean(axis=(1, 3)) / 255
    heat = heat_on_film(cells, 64, size, size)
    assert heat.shape == (height, width)
    rows, columns = np.nonzero(heat >= 0.5)
    assert (columns.mean(), rows.mean()) == pytest.approx((x, y), abs=0.02 * max(size))


def test_a_picture_shows_boxes_in_the_files_own_pixels() -> None:
    """A film whose pixels are twice as high as wide: a box of the file is twice as high on the picture."""
    film = Film(np.full((400, 200), 90, np.uint8), 0, 255, 8, stretch=(1.0, 2.0))
    import cv2

    picture = cv2.imdecode(np.frombuffer(map_picture(film, None, [[50, 25, 100, 50, 0.8]], 64), np.uint8), 1)
    assert picture.shape == (512, 256, 3)
    green = (picture[..., 1] > 200) & (picture[..., 0] < 120)
    assert green[64:192, 62:66].mean() > 0.4  # its left side
    assert green[62:66, 64:192].mean() > 0.4  # its upper side
    assert not green[250:].any()
