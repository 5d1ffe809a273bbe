"""The paths of a manifest that a person wrote → paths below the folder, one row a film."""

import posixpath
from collections import Counter
from pathlib import Path, PureWindowsPath

import pandas as pd

from osteon.errors import OsteonError
from osteon.folding import folded

MOST_NAMED = 3  # rows that an error names


def paths_below(paths: "pd.Series[str]", films: list[str], root: Path, table: str) -> "pd.Series[str]":
    """Paths as a manifest has them, written as Osteon writes them: below the folder, with '/', without './'.

    A path that no film has as it stands is taken for the one film that has it in another case or form of Unicode.

    Args:
        paths: of the table's rows; the index is the line of each.
        films: the paths of the folder's films.
        root: the folder.
        table: its name, for errors.

    Raises:
        OsteonError: a path is missing, absolute, or leads out of the folder. The lines are named.

    """
    present = set(films)
    alike = Counter(folded(film) for film in films)
    by_look = {folded(film): film for film in films if alike[folded(film)] == 1}
    below, faults = [], []
    for line, written in paths.items():
        path = "" if pd.isna(written) else str(written).strip()
        if path not in present:
            path = posixpath.normpath(path.replace("\\", "/")) if path else ""
        if fault := _fault(path, root):
            faults.append(f"line {line}: {fault}")
        below.append(path if path in present else by_look.get(folded(path), path))
    if faults:
        more = f"; and {len(faults) - MOST_NAMED:,} more" if len(faults) > MOST_NAMED else ""
        raise OsteonError(f"{root / table}, {'; '.join(faults[:MOST_NAMED])}{more}")
    return pd.Series(below, index=paths.index, dtype="string")


def _fault(path: str, root: Path) -> str:
    if not path or path == ".":
        return "no path"
    if posixpath.isabs(path):
        for folder in (root.absolute(), root.resolve()):
            if Path(path).is_relative_to(folder):
                below = Path(path).relative_to(folder).as_posix()
                return f"{path} is absolute; paths are below data.root: write {below}"
    if posixpath.isabs(path) or PureWindowsPath(path).drive or path.startswith("~/"):
        return f"{path} is absolute; write the film's path below data.root, and move or link the film there"
    if path == ".." or path.startswith("../"):
        return f"{path} leads out of data.root; move or link the film into it"
    return ""


def films_once(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a path. What the rows of one film say differently becomes null, and a doubt.

    Args:
        rows: path, film_id, doubt and any others; the index is the line of each.

    """
    several = rows["path"].duplicated(keep=False)
    if not several.any():
        return rows
    kept = rows.drop_duplicates("path").copy()
    compared = kept.columns.difference(["path", "film_id", "doubt"])
    for _, same in rows[several].groupby("path", sort=False):
        first = same.index[0]
        differing = [column for column in compared if same[column].astype("string").nunique() > 1]
        for column in compared:
            values = same[column].dropna()
            kept.at[first, column] = values.iloc[0] if len(values) and column not in differing else pd.NA
        doubts = same["doubt"].dropna().unique().tolist()
        if differing:
            lines = ", ".join(str(line) for line in same.index)
            doubts.append(f"the manifest names it in lines {lines}, with different {', '.join(differing)}")
        kept.at[first, "doubt"] = "; ".join(doubts) or pd.NA
    return kept
