"""What pairs of copies mean for a set: source films, leaks across given splits, contradicted labels."""

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.audit.findings import Contradiction, Sign, SplitLeak
from osteon.films.groups import connected_components

TURNED, RESIZED, MOVED = 2.0, 0.02, 0.02  # degrees, share of the size, share of the side; less is the same place
ORDER = ("train", "val", "test")  # what a model is trained on comes first
OF_SIGNS = {"same bytes": "identical files", "same pixels": "identical pixels in another file"}


def source_films(count: int, copies: pd.DataFrame) -> NDArray[np.int64]:
    """The number of the source film behind each of `count` films."""
    return connected_components(count, copies[["first", "second"]].to_numpy(np.int64))


def signs(copies: pd.DataFrame) -> list[Sign]:
    """How many pairs there are of each kind; a near copy's kind is how it lies on its film."""
    moved = (copies[["shift_x", "shift_y"]].abs() > MOVED).any(axis=1) | ((copies["scale"] - 1).abs() > RESIZED)
    kind = pd.Series("near copies, in place (encoded again, other grey levels, painted over)", index=copies.index)
    kind = kind.mask(moved.fillna(False), "near copies, cropped, zoomed or shifted")
    kind = kind.mask((copies["rotation"].abs() > TURNED).fillna(False), "near copies, rotated")
    kind = kind.mask(copies["mirrored"].fillna(False), "near copies, mirrored")
    kind = kind.mask(copies["sign"].isin(OF_SIGNS.keys()), copies["sign"].map(OF_SIGNS))
    films = copies[["first", "second"]].to_numpy(np.int64)
    kinds = []
    for name in sorted(set(kind), key=lambda name: (name not in OF_SIGNS.values(), name)):
        rows = (kind == name).to_numpy(bool)
        kinds.append(Sign(name=name, pairs=int(rows.sum()), films=len(np.unique(films[rows]))))
    return kinds


def split_leaks(films: pd.DataFrame, source: NDArray[np.int64]) -> list[SplitLeak]:
    """What each two of the given splits share, the later beside the earlier.

    Args:
        films: given_split, patient_id, study_id.
        source: number of the source film behind each.

    """
    split = films["given_split"]
    leaks = []
    for other, later in combinations(_in_order(split), 2):
        in_split, in_other = ((split == name).fillna(False).to_numpy(bool) for name in (later, other))
        shared = {
            kind: set(films[kind][in_split].dropna()) & set(films[kind][in_other].dropna())
            for kind in ("patient_id", "study_id")
        }
        of_both = films["patient_id"].isin(shared["patient_id"]) | films["study_id"].isin(shared["study_id"])
        leaks.append(
            SplitLeak(
                split=later,
                other=other,
                films=int(in_split.sum()),
                copies=int(np.isin(source[in_split], source[in_other]).sum()),
                other_copies=int(np.isin(source[in_other], source[in_split]).sum()),
                patients=len(shared["patient_id"]),
                studies=len(shared["study_id"]),
                patient_films=int((of_both & in_split).sum()),
            )
        )
    return leaks


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
    contradicted = []
    for number, same in both.groupby("source"):
        same_pixels = bool((same.groupby("pixel_sha256")["label"].nunique() > 1).any())
        contradicted.append(
            Contradiction(
                likeness=None if same_pixels else float(weakest[number]),
                positive=sorted(same.loc[same["label"] == 1, "film_id"]),
                negative=sorted(same.loc[same["label"] == 0, "film_id"]),
            )
        )
    return sorted(contradicted, key=lambda each: (-(2 if each.likeness is None else each.likeness), each.positive))
