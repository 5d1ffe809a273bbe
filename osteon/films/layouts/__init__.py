"""Layouts: each file here reads one way of laying films out, as its authors publish it.

A layout is a module with

    def read(root: Path, params: DataParams) -> pd.DataFrame

that gives one row for each film with at least film_id and path (below root, with '/'), and whatever else of
the manifest's columns the set has. Its patient_id and study_id are the source's own: read_layout joins them with
DICOM's tags and hashes them. An id that names nobody goes into patient_pseudonym or study_pseudonym and is kept as it
is. An id that is no column of a table says what it is in patient_source or study_source. A row the layout itself
cannot trust gets a reason in `doubt` and goes to quarantine in the step validate; no film is left out silently.
Adding a layout is adding one file. Tables of labels are read and matched with films in osteon/films/labels.
"""

import importlib
from pathlib import Path

import pandas as pd

from osteon.errors import OsteonError
from osteon.films.film_files import look_through
from osteon.films.identity import pseudonymised
from osteon.films.left_out import LeftOut, warning_of
from osteon.films.manifest import as_manifest
from osteon.films.patient_ids import with_ids
from osteon.params import DataParams


def read_layout(root: Path, params: DataParams, key: bytes | None = None) -> pd.DataFrame:
    """Read a folder by the layout that params.layout names.

    Args:
        root: the folder.
        params: layout, classes and columns.
        key: of the hashes of patients' and studies' ids; None takes the one that is kept.

    Raises:
        OsteonError: the folder is missing, holds no film, or is not laid out like that.

    """
    if not root.is_dir():
        raise OsteonError(f"{root}: no such folder; set data.root in params.yaml to the folder with the films")
    layout = importlib.import_module(f"{__name__}.{params.layout}")
    rows = layout.read(root, params)
    if rows.empty:
        not_read = warning_of(look_through(root).left_out)
        raise OsteonError(
            f"{root}: the layout {params.layout} found no film there; "
            + (f"{not_read}; or check" if not_read else "check")
            + " data.root and data.layout"
        )
    # Here and not in the layouts, so that none can forget it.
    rows = pseudonymised(with_ids(rows, root, params), key)
    rows = as_manifest(rows.assign(source=root.resolve().name))
    return rows.sort_values("film_id", kind="stable", ignore_index=True)


def files_left_out(root: Path, films: pd.DataFrame, layout: str | None) -> list[LeftOut]:
    """The files of a folder that look like films and are not among them, or are none.

    Args:
        root: the folder.
        films: as a layout gave them; column path.
        layout: its name, for the reason; None for a folder without one.

    """
    content, paths = look_through(root), set(films["path"])
    elsewhere = [path for film in content.films if (path := film.as_posix()) not in paths]
    kind, advice = f"film where the layout {layout} looks for none", "move it, or change data.layout"
    return content.left_out + [LeftOut(path, kind, advice) for path in elsewhere]
