"""Files that a later start trusts, each cut at ten places: it goes on from what is whole or begins anew and says so."""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from components.preparation.squares import FACTS, standardise_films
from components.search.study import local_database, open_study
from osteon import files as files_module
from osteon.errors import OsteonError
from osteon.files import CHECKSUMS, atomic_dir, atomic_file, damage_of, old_path, sync, write_checksums
from osteon.films.identity import KEY_FILE, identity_key
from osteon.films.manifest import read_manifest
from osteon.films.prepared.array import FILMS, PIXELS, open_prepared
from osteon.fingerprint import Fingerprint
from osteon.hash_cache import FILE, FOLDER
from osteon.models.heldout.predictions import FoldInfo, read_distances, read_folds, read_predictions
from osteon.models.networks.backend import load_keras
from osteon.params import TrainingParams
from tests.conftest import Pipeline
from tests.making import encoded, write
from tests.tiny_network import tiny_network

keras = load_keras()

from osteon.models.fitting.checkpoint import (  # noqa: E402
    TrainingState,
    read_state,
    restore_checkpoint,
    save_checkpoint,
)
from osteon.models.fitting.fit import compile_network  # noqa: E402

PLACES = 10
SMALL = TrainingParams(width=8, epochs=3, batch_size=8, precision="float32")
MADE_FROM = Fingerprint(data={"films": "these"})


def cuts(path: Path) -> Iterator[int]:
    """Cut a file at ten places, from empty to one byte short, and put it back at the end."""
    whole = path.read_bytes()
    for size in np.unique(np.linspace(0, len(whole) - 1, PLACES).astype(int)).tolist():
        path.write_bytes(whole[:size])
        yield size
    path.write_bytes(whole)


# ---------------------------------------------------------------- checkpoints


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """After the second epoch, with that after the first beside it; the weights are 1 and 2."""
    network = tiny_network(64, SMALL)
    compile_network(network, SMALL, 5)
    for epoch in (1, 2):
        state = TrainingState(
            fingerprint=MADE_FROM, precision="float32", history=[{"watched_auroc": 0.5}] * epoch, stopping=False
        )
        network.set_weights([np.full_like(weight, epoch) for weight in network.get_weights()])
        save_checkpoint(tmp_path / "c", network, network.get_weights(), state)
    return tmp_path / "c"


@pytest.mark.parametrize("name", ["variables.npz", "kept.npz", "state.json", CHECKSUMS])
def test_a_checkpoint_cut_short_is_reported_and_the_one_before_it_is_continued(
    checkpoint: Path, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    network = tiny_network(64, SMALL)
    compile_network(network, SMALL, 5)
    for size in cuts(checkpoint / name):
        caplog.clear()
        here = tmp_path / f"cut at {size}"
        shutil.copytree(checkpoint, here / "c")
        shutil.copytree(old_path(checkpoint), old_path(here / "c"))
        state = read_state(here / "c", MADE_FROM)
        assert state is not None
        assert state.epochs == 1
        assert "the checkpoint c is damaged" in caplog.messages[0]
        assert caplog.messages[1] == "training goes on from the checkpoint after epoch 1"
        kept = restore_checkpoint(here / "c", network)
        assert all((weight == 1).all() for weight in kept)
        assert all((weight == 1).all() for weight in network.get_weights())


def test_with_both_checkpoints_damaged_training_begins_anew(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    (old_path(checkpoint) / "kept.npz").unlink()
    (checkpoint / "variables.npz").write_bytes(b"")
    assert read_state(checkpoint, MADE_FROM) is None
    assert caplog.messages == [
        "the checkpoint c is damaged (variables.npz is not as it was written) and is not used",
        "the checkpoint c is damaged (kept.npz is missing) and is not used",
    ]
    assert read_state(checkpoint, MADE_FROM) is None  # nothing is left that a third start could take


def test_the_checkpoint_before_is_kept_until_the_new_reads_back(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_network(64, SMALL)
    compile_network(network, SMALL, 5)
    state = TrainingState(fingerprint=MADE_FROM, precision="float32", history=[{"watched_auroc": 0.5}] * 3)

    def a_disk_that_loses_the_end(folder: Path) -> None:
        (folder / "variables.npz").write_bytes((folder / "variables.npz").read_bytes()[:-7])

    with monkeypatch.context() as patch:
        patch.setattr("osteon.models.fitting.checkpoint.sync", a_disk_that_loses_the_end)
        with pytest.raises(OsteonError, match=r"variables.npz is not as it was written; check the disk"):
            save_checkpoint(checkpoint, network, network.get_weights(), state)
    kept = read_state(checkpoint, MADE_FROM)
    assert kept is not None
    assert kept.epochs == 2
    save_checkpoint(checkpoint, network, network.get_weights(), state)
    newest = read_state(checkpoint, MADE_FROM)
    assert newest is not None
    assert newest.epochs == 3


# ---------------------------------------------------------------- folds


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    """A fold with scores and distances of two films."""
    fold = tmp_path / "folds" / "fold-0"
    fold.mkdir(parents=True)
    scores = pd.DataFrame({"film_id": ["a", "b"], "group": ["a", "b"], "label": [0, 1], "fold": 0, "model": "svm"})
    scores.assign(score=[0.25, 0.75]).to_parquet(fold / "predictions.parquet", index=False)
    scores.assign(score=[0.25, 0.75]).to_parquet(fold.parent / "predictions.parquet", index=False)
    np.save(fold / "distances.npy", np.array([1.0, 2.0]))
    info = FoldInfo(
        fold=0,
        fingerprint=MADE_FROM,
        models=["svm"],
        films=2,
        copies=0,
        set_aside=0,
        epochs=1,
        precision="float32",
        seconds={},
    )
    (fold / "fold.json").write_text(info.model_dump_json())
    write_checksums(fold)
    return fold.parent


@pytest.mark.parametrize("name", ["fold.json", "predictions.parquet", "distances.npy", CHECKSUMS])
def test_a_fold_cut_short_is_computed_anew_and_is_no_result(
    folds: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    from osteon.models.heldout.fold import _read

    assert _read(folds / "fold-0", MADE_FROM) is not None
    assert len(read_folds(folds)) == 1
    for _ in cuts(folds / "fold-0" / name):
        caplog.clear()
        assert _read(folds / "fold-0", MADE_FROM) is None
        assert re.fullmatch(r"fold-0 is damaged \(.*\) and is computed anew", caplog.messages[0])
        with pytest.raises(OsteonError, match=r"fold-0: damaged \(.*\); run the step cross_validate again"):
            read_folds(folds)
    assert _read(folds / "fold-0", MADE_FROM) is not None


# ---------------------------------------------------------------- the study of a search


def test_a_study_cut_short_is_reported_and_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = tmp_path / "whole.db"
    with local_database(whole) as storage:
        study = open_study(storage, "s", "{}", 3, alone=True)
        for value in range(20):
            study.add_trial(optuna.trial.create_trial(value=float(value), params={}, distributions={}))
    anew = 0
    file = tmp_path / "study.db"
    shutil.copy(whole, file)
    for size in cuts(file):
        caplog.clear()
        with local_database(file) as storage:
            assert open_study(storage, "s", "{}", 3, alone=True).trials == []
        # An empty file is what a kill before the first table leaves, and no damage.
        assert bool(size) == any("study.db is damaged (" in line for line in caplog.messages)
        anew += 1
    assert anew == PLACES
    with local_database(file) as storage:
        assert len(open_study(storage, "s", "{}", 3, alone=True).trials) == 20


# ---------------------------------------------------------------- squares, hashes, the key


@pytest.mark.parametrize("name", [FACTS, PIXELS])
def test_squares_cut_short_are_decoded_again_to_the_same_bytes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.preparation.squares.BLOCK", 3)
    random = np.random.default_rng(5)
    for number in range(10):
        write(tmp_path / f"{number}.png", encoded(random.integers(0, 256, (40, 40), np.uint8), "PNG"))
    films = pd.DataFrame({"path": [f"{n}.png" for n in range(10)], "sha256": [str(n) for n in range(10)]})
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    facts = standardise_films(films, tmp_path, dataset, 32, 1)
    pixels = (dataset / PIXELS).read_bytes()
    for _ in cuts(dataset / name):
        pd.testing.assert_frame_equal(standardise_films(films, tmp_path, dataset, 32, 1), facts)
        assert (dataset / PIXELS).read_bytes() == pixels


def test_a_cache_of_hashes_cut_short_never_gives_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FOLDER).mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").mkdir()
    for number in range(200):
        (tmp_path / "films" / f"{number}.png").write_bytes(b"%d" % number)
    whole = files_module.dvc_hash(tmp_path / "films")
    for _ in cuts(tmp_path / FILE):
        assert files_module.dvc_hash(tmp_path / "films") == whole


def test_half_a_key_is_not_taken_for_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OSTEON_IDENTITY_KEY", raising=False)
    key = identity_key()
    for _ in cuts(KEY_FILE):
        with pytest.raises(OsteonError, match=r"identity.key: cut short"):
            identity_key()
    assert identity_key() == key


# ---------------------------------------------------------------- what steps wrote


def test_what_a_step_wrote_and_lost_the_end_of_is_a_clear_error(pipeline: Pipeline, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(pipeline.dataset, dataset)
    manifest = tmp_path / "manifest.parquet"
    shutil.copy(pipeline.trusted, manifest)
    for file, read in (
        (dataset / FILMS, lambda: open_prepared(dataset)),
        (dataset / PIXELS, lambda: open_prepared(dataset)),
        (manifest, lambda: read_manifest(manifest)),
    ):
        for _ in cuts(file):
            with pytest.raises(OsteonError, match=str(file.parent)):
                read()


def test_scores_and_distances_that_lost_their_end_are_a_clear_error(folds: Path) -> None:
    for _ in cuts(folds / "predictions.parquet"):
        with pytest.raises(OsteonError, match=r"no scores there"):
            read_predictions(folds, "svm")
    for _ in cuts(folds / "fold-0" / "distances.npy"):
        with pytest.raises(OsteonError, match=r"no distances of films"):
            read_distances(folds)


# ---------------------------------------------------------------- on the disk before they have their name


def test_what_is_written_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, rename, replace = files_module.os.fsync, Path.rename, Path.replace

    def noted_fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        order.append(f"sync {name}")
        fsync(descriptor)

    def noted_rename(self: Path, target: Path) -> Path:
        order.append(f"rename {Path(target).name}")
        return rename(self, target)

    def noted_replace(self: Path, target: Path) -> Path:
        order.append(f"rename {Path(target).name}")
        return replace(self, target)

    monkeypatch.setattr(files_module.os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    monkeypatch.setattr(Path, "replace", noted_replace)
    with atomic_file(tmp_path / "a") as partial:
        partial.write_text("1")
    assert order == ["sync .a.partial", "rename a", f"sync {tmp_path.name}"]
    order.clear()
    with atomic_dir(tmp_path / "b") as partial:
        (partial / "below").mkdir()
        (partial / "below" / "c").write_text("1")
    assert order == ["sync c", "sync below", "sync .b.partial", "rename b", f"sync {tmp_path.name}"]


def test_checksums_see_what_is_missing_and_what_is_other(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a").write_text("a")
    assert damage_of(tmp_path) == f"{CHECKSUMS} is missing"
    write_checksums(tmp_path)
    sums = json.loads((tmp_path / CHECKSUMS).read_text())
    assert sums == {"below/a": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}
    assert damage_of(tmp_path) is None
    (tmp_path / "below" / "a").write_text("b")
    assert damage_of(tmp_path) == "below/a is not as it was written"
    (tmp_path / "below" / "a").unlink()
    assert damage_of(tmp_path) == "below/a is missing"
    (tmp_path / CHECKSUMS).write_text("[1]")
    assert damage_of(tmp_path) == f"{CHECKSUMS} cannot be read"
    sync(tmp_path)
