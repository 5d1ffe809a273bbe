"""A folder of films, read by whichever layout fits it; one that fits none is still a folder of films."""

import logging
import secrets
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.film_files import film_files, look_through
from osteon.films.guessing import fitting
from osteon.films.identity import pseudonymised
from osteon.films.layouts import files_left_out, read_layout
from osteon.films.layouts.folders import split_of
from osteon.films.left_out import LeftOut, warning_of
from osteon.films.manifest import as_manifest
from osteon.films.patient_ids import with_ids
from osteon.params import DataParams

log = logging.getLogger(__name__)


class Folder(NamedTuple):
    """The films of a folder (manifest columns), the layout they were read by (None: none fits), and other files."""

    layout: str | None
    films: pd.DataFrame
    left_out: list[LeftOut]


def read_folder(root: Path, layout: str | None, params: DataParams) -> Folder:
    """Read a folder, its splits from the layout or from folders named train, val or test.

    Ids of patients and studies are hashed with a key that is forgotten: nothing is written, not even a key.

    Args:
        root: the folder.
        layout: None takes the first that fits (osteon.films.guessing), and says why one that seemed to fit did not.
        params: classes and columns; its root and layout are not used.

    Raises:
        OsteonError: no such folder, no film in it, or it is not laid out as `layout` says.

    """
    if not root.is_dir():
        raise OsteonError(f"{root}: no such folder")
    key = secrets.token_bytes(32)
    for name in [layout] if layout else (fit.layout for fit in fitting(root, params)):
        try:
            films = read_layout(root, params.model_copy(update={"layout": name}), key)
        except OsteonError as error:
            if layout:
                raise
            log.info("not the layout %s: %s", name, error)
        else:
            return Folder(name, _with_splits(films), files_left_out(root, films, name))
    rows = _plain(root)
    if rows.empty:
        not_read = warning_of(look_through(root).left_out)
        raise OsteonError(f"{root}: no film there; {not_read or 'docs/data.md says which files are films'}")
    films = _with_splits(as_manifest(pseudonymised(with_ids(rows, root, params), key)))
    return Folder(None, films, files_left_out(root, films, None))


def _plain(root: Path) -> pd.DataFrame:
    """One row a film, without labels."""
    rows = []
    for path in film_files(root):
        name = path.as_posix()
        rows.append({"film_id": name, "path": name})
    return pd.DataFrame(rows)


def _with_splits(films: pd.DataFrame) -> pd.DataFrame:
    """The films with the split that their path names, where the layout has none."""
    named = films["path"].map(lambda path: split_of(PurePosixPath(path))).astype("string")
    return films.assign(given_split=films["given_split"].fillna(named))
