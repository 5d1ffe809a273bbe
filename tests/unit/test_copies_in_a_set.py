"""The step prepare on a set with planted copies."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.preparation.squares import FACTS
from components.preparation.step import PreparationSummary, prepare
from osteon.files import dvc_hash, partial_path
from osteon.films.copies.leaks import TABLE
from osteon.films.copies.pairs import PICTURE
from osteon.films.manifest import write_manifest
from osteon.films.prepared.array import FILMS, PIXELS, open_pixels
from osteon.params import PreparationParams
from tests.making import encoded, manifest_of, phantom_films, write

# One worker runs them all, so that the set is prepared once.
pytestmark = pytest.mark.xdist_group("planted")

PARAMS = PreparationParams(image_size=256, folds=2, cores=2)
DIFFERENT = (0, 2, 6, 8, 10, 12, 16, 18, 1, 3, 7, 9)  # of phantom_films: no two are one view of one bone
COPIED = (1, 2, 6)  # of these; each copy has its film's label, for validate quarantines pictures under two


@dataclass(frozen=True)
class Planted:
    """A folder of films without patients, with copies under other names, prepared."""

    source: Path
    trusted: Path
    dataset: Path
    leaks: Path
    summary: PreparationSummary


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder = tmp_path_factory.mktemp("planted")
    originals = [phantom_films(12)[number] for number in DIFFERENT]
    first, second, third = (originals[number] for number in COPIED)
    smaller = np.asarray(cv2.resize(second, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), np.uint8)
    files = [
        *((f"film{number:02d}.png", number, encoded(film, "PNG")) for number, film in enumerate(originals)),
        ("a mirror image.png", COPIED[0], encoded(np.ascontiguousarray(first[:, ::-1]), "PNG")),
        ("b small.jpg", COPIED[1], encoded(smaller, "JPEG", quality=80)),
        ("c the same pixels.bmp", COPIED[1], encoded(second, "BMP")),
        ("z turned.png", COPIED[2], encoded(np.ascontiguousarray(np.rot90(third)), "PNG")),
    ]
    rows: list[dict[str, object]] = []
    for name, number, data in sorted(files):
        write(folder / "films" / name, data)
        rows.append({"film_id": Path(name).stem, "path": name, "label": number % 2})
    trusted, dataset, leaks = folder / "t.parquet", folder / "prepared", folder / "leaks"
    write_manifest(manifest_of(rows), trusted)
    source = folder / "films"
    return Planted(source, trusted, dataset, leaks, prepare(source, trusted, dataset, leaks, folder / "sides", PARAMS))


def test_copies_are_in_their_films_group_and_on_its_side(planted: Planted) -> None:
    films = pd.read_parquet(planted.dataset / FILMS).set_index("film_id")
    together = [
        {f"film{COPIED[0]:02d}", "a mirror image"},
        {f"film{COPIED[1]:02d}", "b small", "c the same pixels"},
        {f"film{COPIED[2]:02d}", "z turned"},
    ]
    alone = {f"film{number:02d}" for number in range(len(DIFFERENT)) if number not in COPIED}
    result = {frozenset(rows.index) for _, rows in films.groupby("group")}
    assert result == {*map(frozenset, together), *(frozenset({item}) for item in alone)}
    for copies in together:
        assert films.loc[sorted(copies), ["test", "fold"]].fillna(-1).drop_duplicates().shape[0] == 1


def test_the_summary_counts_films_that_are_there_again(planted: Planted) -> None:
    assert planted.summary.films == len(DIFFERENT) + 4
    assert planted.summary.copies == 4
    assert planted.summary.groups == len(DIFFERENT)
    assert planted.summary.largest_group == 3


def test_the_evidence_names_the_films(planted: Planted) -> None:
    pairs = pd.read_csv(planted.leaks / TABLE)
    joined = pairs[pairs["joined"]]
    assert sorted(joined["sign"].unique()) == ["near copy", "same pixels"]
    assert (joined["first_label"] == joined["second_label"]).all()
    films = set(pd.read_parquet(planted.dataset / FILMS)["film_id"])
    assert set(pairs["first"]) | set(pairs["second"]) <= films
    mirrored = joined[joined[["first", "second"]].apply(lambda row: row.str.contains("mirror").any(), axis=1)]
    assert mirrored["mirrored"].tolist() == [True]
    assert (planted.leaks / PICTURE).exists()
    assert not partial_path(planted.leaks).exists()


@pytest.mark.parametrize("size", [64, 384])
def test_groups_do_not_depend_on_the_size_of_the_images(planted: Planted, tmp_path: Path, size: int) -> None:
    """Nor does what is said of the pairs, nor, therefore, the test set."""
    params = PARAMS.model_copy(update={"image_size": size})
    dataset, leaks = tmp_path / "prepared", tmp_path / "leaks"
    assert prepare(planted.source, planted.trusted, dataset, leaks, tmp_path / "sides", params) == planted.summary
    films, others = (pd.read_parquet(folder / FILMS).drop(columns="boxes") for folder in (planted.dataset, dataset))
    pd.testing.assert_frame_equal(others, films)
    assert dvc_hash(leaks) == dvc_hash(planted.leaks)
    assert sorted(path.name for path in dataset.iterdir()) == [FILMS, PIXELS]
    assert open_pixels(dataset / PIXELS).shape == (len(films), size, size)


def test_killed_between_the_evidence_and_the_dataset_it_goes_on_to_the_same_end(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evidence lies there whole; what of the dataset is missing is made, and the evidence is written again."""
    dataset, leaks = tmp_path / "prepared", tmp_path / "leaks"

    class Killed(BaseException): ...

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("components.preparation.run.split_films", die)
        with pytest.raises(Killed):
            prepare(planted.source, planted.trusted, dataset, leaks, tmp_path / "sides", PARAMS)
    assert not dataset.exists()
    assert (partial_path(dataset) / FACTS).exists()
    assert dvc_hash(leaks) == dvc_hash(planted.leaks)
    assert prepare(planted.source, planted.trusted, dataset, leaks, tmp_path / "sides", PARAMS) == planted.summary
    assert dvc_hash(dataset) == dvc_hash(planted.dataset)
    assert dvc_hash(leaks) == dvc_hash(planted.leaks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leaks", "prepared", "sides"]


def test_the_command_says_one_line_and_nothing_of_its_libraries(
    planted: Planted, empty_store: Path, tmp_path: Path
) -> None:
    """Importing FAISS logs which of its builds it tried, and warns of its bindings."""
    (tmp_path / "params.yaml").write_text("preparation: {image_size: 256, folds: 2}\n", encoding="utf-8")
    command = [sys.executable, "-m", "components.cli", "prepare", "--source", str(planted.source)]
    command += ["--trusted", str(planted.trusted), "--dataset", "prepared", "--leaks", "leaks"]
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path / 'mlflow.db'}"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"prepare: films {len(DIFFERENT) + 4} · groups {len(DIFFERENT)} · ")
    assert len(done.stdout.splitlines()) == 1
    for word in ("faiss", "swig", "deprecat", "avx"):
        assert word not in done.stderr.casefold()
