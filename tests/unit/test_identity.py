import logging
import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.errors import OsteonError
from osteon.films.identity import KEY_FILE, VARIABLE, identity_key, keyed_hash, pseudonymised
from osteon.films.layouts import read_layout
from osteon.params import DataParams
from tests.making import encoded, ramp, write

KEY = "sixteen letters!"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the project's, and no key in the environment."""
    monkeypatch.delenv(VARIABLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "identity", "expected"),
    [
        ("patient", "007", "5e2878b2cc5bc6bb"),
        ("study", "007", "3551840e4d23dac6"),
        ("patient", "Müller-1", "68258104922ae722"),
    ],
)
def test_the_hash_is_an_hmac(kind: str, identity: str, expected: str) -> None:
    """printf 'patient\\000007' | openssl dgst -sha256 -hmac 'sixteen letters!'"""
    assert keyed_hash(KEY.encode(), kind, identity) == expected


def patients(*ids: object) -> list[str | None]:
    rows = pseudonymised(pd.DataFrame({"patient_id": list(ids)}))
    return [None if pd.isna(value) else str(value) for value in rows["patient_id"]]


def test_padding_and_outer_spaces_do_not_make_another_patient() -> None:
    item, *others = patients("4711", "4711 ", " 4711", "4711\0", "4711 \n")
    assert set(others) == {item}
    assert len(set(patients("4711", "04711", "47 11", "4711a", "4711"))) == 4


def test_no_id_is_no_patient() -> None:
    assert patients(None, "", "  ", "\0", "x")[:4] == [None] * 4


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8))
def test_the_same_patients_stay_the_same_and_no_id_stays(ids: list[str]) -> None:
    hashed = patients(*ids)
    bare = [text.strip(" \t\r\n\0") or None for text in ids]
    for item, its_hash in zip(bare, hashed, strict=True):
        assert (item is None) == (its_hash is None)
        for other, other_hash in zip(bare, hashed, strict=True):
            assert (item == other) == (its_hash == other_hash)
    assert not set(hashed) & set(filter(None, ids))


def test_the_key_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    first = patients("4711")
    monkeypatch.setenv(VARIABLE, f" {KEY}\n")  # as a file or a secret's store hands it over
    assert patients("4711") == first
    monkeypatch.setenv(VARIABLE, KEY + "x")
    assert patients("4711") != first


def test_a_study_with_a_patients_number_is_another_thing() -> None:
    rows = pseudonymised(pd.DataFrame({"patient_id": ["7"], "study_id": ["7"]}))
    assert rows["patient_id"][0] != rows["study_id"][0]


def test_a_pseudonym_is_kept_and_needs_no_key(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = pseudonymised(pd.DataFrame({"patient_pseudonym": ["P1", " P1 ", None], "study_pseudonym": ["a", "b", ""]}))
    assert list(rows["patient_id"][:2]) == ["P1", "P1"]
    assert rows["patient_id"].isna()[2]
    assert list(rows["study_id"][:2]) == ["a", "b"]
    assert rows["study_id"].isna()[2]
    assert "patient_pseudonym" not in rows
    assert not caplog.text
    assert not list(here.iterdir())


def test_both_forms_of_an_id_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "manifest.csv", b"path,label,patient_id,patient_pseudonym\na.png,1,7,P1\n")
    with pytest.raises(OsteonError, match="both patient_id, which is hashed, and patient_pseudonym") as caught:
        read_layout(tmp_path, DataParams())
    assert "P1" not in str(caught.value)


def test_a_set_without_ids_makes_no_key(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(here / "films/fractured/a.png", encoded(ramp(), "PNG"))
    read_layout(here / "films", DataParams(layout="folders"))
    write(here / "films/manifest.csv", b"path,label,patient_id\na.png,1,\n")
    read_layout(here / "films", DataParams(layout="manifest"))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [path.name for path in here.iterdir()] == ["films"]


# ---------------------------------------------------------------- the key


def test_without_a_key_a_random_one_is_kept_and_said(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        first = patients("4711")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{VARIABLE} is not set" in record.getMessage()
    assert str(KEY_FILE) in record.getMessage()
    assert KEY_FILE.read_text().strip() not in record.getMessage()
    assert len(KEY_FILE.read_text().strip()) == 64
    assert stat.S_IMODE(KEY_FILE.stat().st_mode) == 0o600
    assert patients("4711") == first
    assert [path.name for path in KEY_FILE.parent.iterdir()] == [KEY_FILE.name]  # nothing else is left there
    KEY_FILE.unlink()
    assert patients("4711") != first


@pytest.mark.parametrize("value", ["", "  ", "\n"])
def test_an_empty_variable_is_none(here: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    identity_key()
    assert KEY_FILE.exists()


def test_a_short_key_is_refused_and_not_shown(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fifteen letters")
    with pytest.raises(OsteonError, match=f"{VARIABLE}: a key of 15 characters, at least 16 are needed") as caught:
        identity_key()
    assert "fifteen" not in str(caught.value)
    assert not KEY_FILE.parent.exists()
    monkeypatch.setenv(VARIABLE, KEY)
    assert identity_key() == KEY.encode()


def test_a_key_that_is_no_text_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environb, VARIABLE.encode(), b"\xff" * 16)
    assert identity_key() == b"\xff" * 16


def test_a_damaged_key_file_is_named(here: Path) -> None:
    write(KEY_FILE, b"")
    with pytest.raises(OsteonError, match=r"identity\.key: cut short.*delete it to get a new key"):
        identity_key()
    write(KEY_FILE, b"\xff\xfe\xfd")
    with pytest.raises(OsteonError, match=r"identity\.key: no random key can be kept there \(not a text\); set OSTEON"):
        identity_key()


def test_a_folder_that_cannot_be_written(here: Path) -> None:
    write(here / ".osteon", b"a file where the folder should be")
    with pytest.raises(
        OsteonError, match=r"identity\.key: no random key can be kept there .*; set OSTEON_IDENTITY_KEY"
    ):
        identity_key()


def test_two_at_once_get_one_key(here: Path) -> None:
    """Nothing but the file system stands between them, as between two processes."""
    for _ in range(30):
        KEY_FILE.unlink(missing_ok=True)
        start = Barrier(8)

        def ask(_: int, start: Barrier = start) -> bytes:
            start.wait()
            return identity_key()

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(ask, range(8)))) == 1


def test_neither_git_nor_dvc_takes_the_key() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(["git", "check-ignore", "-q", str(KEY_FILE)], cwd=root, check=False)
    assert done.returncode == 0
    done = subprocess.run(["dvc", "check-ignore", str(KEY_FILE)], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(KEY_FILE)
