"""What pairs of copies mean for a set: source films, leaks across given splits, contradicted labels."""

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.audit.findings import Contradiction, Sign, SplitLeak
from components.films.groups import components

if TYPE_CHECKING:
    import pandas as pd

TURNED, RESIZED, MOVED = 2.0, 0.02, 0.02  # degrees, share of the size, share of the side; less is the same place
ORDER = ("train", "val", "test")  # what a model learns from comes first
OF_SIGNS = {"same bytes": "identical files", "same pixels": "identical pixels in another file"}


def evident(pairs: "pd.DataFrame") -> "pd.DataFrame":
    """The pairs that are copies for sure.

    Films of one name with too little on them to compare share a group, to be safe; to call them copies would need
    evidence.
    """
    return pairs[pairs["joined"] & ~((pairs["sign"] == "same name") & pairs["score"].isna())]


def source_films(count: int, copies: "pd.DataFrame") -> NDArray[np.int64]:
    """The number of the source film behind each of `count` films."""
    return components(count, copies[["first", "second"]].to_numpy(np.int64))


def signs(copies: "pd.DataFrame") -> list[Sign]:
    """How many pairs there are of each kind; a near copy's kind is told by how it lies on its film."""
    import pandas as pd

    moved = (copies[["shift_x", "shift_y"]].abs() > MOVED).any(axis=1)
    resized = (copies["scale"] - 1).abs() > RESIZED
    kind = pd.Series("in the same place: encoded again, other grey levels, painted over", index=copies.index)
    kind = kind.mask((moved | resized).fillna(False), "cropped, zoomed or shifted")
    kind = kind.mask((copies["rotation"].abs() > TURNED).fillna(False), "rotated")
    kind = kind.mask(copies["mirrored"].fillna(False), "mirrored, rotated or not")
    kind = copies["sign"].map(OF_SIGNS).fillna("near copy, " + kind)
    return [
        Sign(name=str(name), pairs=len(rows), films=int(pd.unique(rows[["first", "second"]].to_numpy().ravel()).size))
        for name, rows in sorted(
            copies.groupby(kind),
            key=lambda one: (list(OF_SIGNS.values()).index(one[0]) if one[0] in OF_SIGNS.values() else 9, one[0]),
        )
    ]


def split_leaks(films: "pd.DataFrame", source: NDArray[np.int64]) -> list[SplitLeak]:
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


def split_sizes(films: "pd.DataFrame") -> dict[str, int]:
    """Films in each given split."""
    return {split: int((films["given_split"] == split).sum()) for split in _in_order(films["given_split"])}


def _in_order(split: "pd.Series[str]") -> list[str]:
    return sorted(map(str, split.dropna().unique()), key=lambda name: (ORDER.index(name) if name in ORDER else 9, name))


def contradictions(films: "pd.DataFrame", source: NDArray[np.int64]) -> list[Contradiction]:
    """Source films whose copies are labelled both ways, those with the same pixels first.

    A label that is missing, or that the layout doubts, contradicts nobody.

    Args:
        films: film_id, label, doubt, pixel_sha256.
        source: number of the source film behind each.

    """
    known = films["label"].notna() & films["doubt"].isna()
    sure = films[known].assign(source=source[known.to_numpy(bool)])
    both = sure[sure.groupby("source")["label"].transform("nunique") > 1]
    found = [
        Contradiction(
            same_pixels=bool((same.groupby("pixel_sha256")["label"].nunique() > 1).any()),
            positive=sorted(same.loc[same["label"] == 1, "film_id"]),
            negative=sorted(same.loc[same["label"] == 0, "film_id"]),
        )
        for _, same in both.groupby("source")
    ]
    return sorted(found, key=lambda one: (not one.same_pixels, one.positive))
