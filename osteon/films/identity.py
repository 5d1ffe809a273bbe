"""Patients' and studies' ids as keyed hashes: the same person is recognised, and nobody can look up who it is.

An id of the source never goes further than this file. A plain hash would not do: whoever has a list of patient ids
could hash the list and compare.
"""

import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from pathlib import Path

import pandas as pd

from osteon.errors import OsteonError

VARIABLE = "OSTEON_IDENTITY_KEY"
SHORTEST = 16  # characters
KEY_FILE = Path(".osteon") / "identity.key"  # below the project's folder; neither git nor DVC takes it
KINDS = ("patient", "study")

log = logging.getLogger(__name__)


def pseudonymised(rows: pd.DataFrame, key: bytes | None = None) -> pd.DataFrame:
    """Replace a layout's ids of patients and studies by ids that may be written down.

    Args:
        rows: patient_id and study_id are the source's own ids and become keyed hashes; patient_pseudonym and
            study_pseudonym name nobody already, become patient_id and study_id as they are, and go before an own id of
            the same film. A set without ids of its own needs no key and makes none.
        key: of the hashes; None takes the one that is kept.

    Raises:
        OsteonError: no key can be had.

    """
    own = {kind: _bare(rows[f"{kind}_id"]) for kind in KINDS if f"{kind}_id" in rows}
    kept = {kind: _bare(rows[f"{kind}_pseudonym"]) for kind in KINDS if f"{kind}_pseudonym" in rows}
    rows = rows.drop(columns=[f"{kind}_pseudonym" for kind in kept])
    if key is None:
        key = identity_key() if any(ids.notna().any() for ids in own.values()) else b""
    for kind in {**own, **kept}:
        ids = own.get(kind, pd.Series(pd.NA, index=rows.index, dtype="string"))
        hashes = {identity: keyed_hash(key, kind, identity) for identity in ids.dropna().unique()}
        hashed = ids.map(hashes).astype("string")
        rows = rows.assign(**{f"{kind}_id": kept[kind].fillna(hashed) if kind in kept else hashed})
    return rows


def _bare(ids: "pd.Series[str]") -> "pd.Series[str]":
    """Ids without what pads them (DICOM fills up with a space or a zero byte); null where nothing is left."""
    return ids.astype("string").str.strip(" \t\r\n\0").replace("", None)


def keyed_hash(key: bytes, kind: str, identity: str) -> str:
    """16 hex digits (64 bits) of the HMAC-SHA-256 of 'KIND NUL ID'; the kind keeps patients and studies apart."""
    message = f"{kind}\0{identity}".encode("utf-8", "surrogatepass")
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:16]


def identity_key() -> bytes:
    """The key: OSTEON_IDENTITY_KEY or, with a warning, a random one that stays in this folder.

    Raises:
        OsteonError: the key is too short, or none can be kept here.

    """
    given = os.environ.get(VARIABLE, "").strip()
    if given:
        return _long_enough(given, VARIABLE, "set a longer secret, as `openssl rand -hex 32` prints one")
    log.warning(
        "%s is not set: patient and study ids are hashed with this folder's own random key (%s). Groups and splits are "
        "right, but the ids match those of no other folder or machine; where they must, set the variable to one secret",
        VARIABLE,
        KEY_FILE,
    )
    try:
        text = _kept_key(KEY_FILE)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text"
        raise OsteonError(f"{KEY_FILE}: no random key can be kept there ({reason}); set {VARIABLE} instead") from None
    return _long_enough(text, str(KEY_FILE), "delete the file to get a new key, and with it new ids")


def _long_enough(key: str, where: str, advice: str) -> bytes:
    if len(key) < SHORTEST:
        raise OsteonError(f"{where}: a key of {len(key)} characters, at least {SHORTEST} are needed; {advice}")
    return os.fsencode(key)


def _kept_key(path: Path) -> str:
    """The key in a file that only its owner can read; made by whoever comes first, whole or not at all."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            # A link, unlike a renamed file, never replaces the key that another process has put there meanwhile.
            os.link(name, path)
        except FileExistsError:
            pass
        finally:
            Path(name).unlink()
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):  # with half a key every patient would get another id, and nobody would notice
        raise OsteonError(
            f"{path}: cut short: a key ends with a newline; put back the whole file, or delete it to get a new key, "
            "and with it new ids"
        )
    return text.strip()
