"""What pairs of copies mean for a set: source films, leaks across given splits, contradicted labels."""

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.audit.findings import Contradiction, Sign, SplitLeak
from osteon.films.groups import connected_components

TURNED, RESIZED, MOVED = 2.0, 0.02, 0.02  # degrees, share of the size, share of the side; less is the same place
ORDER = ("train", "val", "test")  # what a model learns from comes first
OF_SIGNS = {"same bytes": "identical files", "same pixels": "identical pixels in another file"}


def source_films(count: int, copies: pd.DataFrame) -> NDArray[np.int64]:
    """The number of the source film behind each of `count` films."""
    return connected_components(count, copies[["first", "second"]].to_numpy(np.int64))


def signs(copies: pd.DataFrame) -> list[Sign]:
    """How many pairs there are of each kind; a near copy's kind is told by how it lies on its film."""
    moved = (copies[["shift_x", "shift_y"]].abs() > MOVED).any(axis=1) | ((copies["scale"] - 1).abs() > RESIZED)
    kind = pd.Series("near copies, in place (encoded again, other grey levels, painted over)", index=copies.index)
    kind = kind.mask(moved.fillna(False), "near copies, cropped, zoomed or shifted")
    kind = kind.mask((copies["rotation"].abs() > TURNED).fillna(False), "near copies, rotated")
    kind = kind.mask(copies["mirrored"].fillna(False), "near copies, mirrored")
    kind = kind.mask(copies["sign"].isin(OF_SIGNS.keys()), copies["sign"].map(OF_SIGNS))
    films = copies[["first", "second"]].to_numpy(np.int64)
    found = []
    for name in sorted(set(kind), key=lambda name: (name not in OF_SIGNS.values(), name)):
        rows = (kind == name).to_numpy(bool)
        found.append(Sign(name=name, pairs=int(rows.sum()), films=len(np.unique(films[rows]))))
    return found


def split_leaks(films: pd.DataFrame, source: NDArray[np.int64]) -> list[SplitLeak]:
    """What each two of the given splits share, the later beside the earlier.

    Args:
        films: given_split, patient_id, study_id.
        source: number of the source film behind each.

    """
    split = films["given_split"]
    found = []
    for other, one in combinations(_in_order(split), 2):
        here, there = (split == one).fillna(False).to_numpy(bool), (split == other).fillna(False).to_numpy(bool)
        shared = {
            kind: set(films[kind][here].dropna()) & set(films[kind][there].dropna())
            for kind in ("patient_id", "study_id")
        }
        of_both = films["patient_id"].isin(shared["patient_id"]) | films["study_id"].isin(shared["study_id"])
        found.append(
            SplitLeak(
                split=one,
                other=other,
                films=int(here.sum()),
                copies=int(np.isin(source[here], source[there]).sum()),
                other_copies=int(np.isin(source[there], source[here]).sum()),
                patients=len(shared["patient_id"]),
                studies=len(shared["study_id"]),
                patient_films=int((of_both & here).sum()),
            )
        )
    return found


def split_sizes(films: pd.DataFrame) -> dict[str, int]:
    """Films in each given split."""
    return {split: int((films["given_split"] == split).sum()) for split in _in_order(films["given_split"])}


def _in_order(split: "pd.Series[str]") -> list[str]:
    return sorted(map(str, split.dropna().unique()), key=lambda name: (ORDER.index(name) if name in ORDER else 9, name))


def contradictions(films: pd.DataFrame, source: NDArray[np.int64], copies: pd.DataFrame) -> list[Contradiction]:
    """Source films whose copies are labelled both ways: those with the same pixels first, then the surest.

    A label that is missing, or that the layout doubts, contradicts nobody.

    Args:
        films: film_id, label, doubt, pixel_sha256.
        source: number of the source film behind each.
        copies: the pairs that joined them: first, score.

    """
    known = films["label"].notna() & films["doubt"].isna()
    sure = films[known].assign(source=source[known.to_numpy(bool)])
    both = sure[sure.groupby("source")["label"].transform("nunique") > 1]
    weakest = copies["score"].groupby(source[copies["first"].to_numpy(np.int64)]).min().dropna()
    found = []
    for number, same in both.groupby("source"):
        same_pixels = bool((same.groupby("pixel_sha256")["label"].nunique() > 1).any())
        found.append(
            Contradiction(
                likeness=None if same_pixels else float(weakest[number]),
                positive=sorted(same.loc[same["label"] == 1, "film_id"]),
                negative=sorted(same.loc[same["label"] == 0, "film_id"]),
            )
        )
    return sorted(found, key=lambda one: (-(2 if one.likeness is None else one.likeness), one.positive))
