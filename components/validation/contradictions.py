"""Films that show the same pixels and are labelled differently: at least one of the labels is wrong."""

from typing import Any

import pandas as pd

NAMED = 3  # films of the other label


def contradicted_by(films: pd.DataFrame) -> "pd.Series[Any]":
    """For each film that another one contradicts, what to say of it; null for the others.

    Films of the same bytes have the same pixels. A label that is missing or that the layout doubts contradicts
    nobody.

    Args:
        films: columns film_id, label, finding, doubt and pixel_sha256 (null where a film cannot be decoded).

    Returns:
        Text, on the films' index: 'has the pixels of b.jpg, labelled not fractured'.

    """
    sure = films["label"].notna() & films["doubt"].isna() & films["pixel_sha256"].notna()
    copies = films.loc[
        sure & films["pixel_sha256"].duplicated(keep=False), ["film_id", "label", "finding", "pixel_sha256"]
    ]
    labels = copies.groupby("pixel_sha256")["label"].transform("nunique")
    texts: dict[object, str] = {}
    for _, same in copies[labels > 1].groupby("pixel_sha256"):
        for row, label in same["label"].items():
            others = same[same["label"] != label].sort_values("film_id")
            what = f"{'' if others['label'].iloc[0] else 'not '}{others['finding'].iloc[0]}"
            texts[row] = f"has the pixels of {_listed(others['film_id'].tolist())}, labelled {what}"
    return pd.Series([texts.get(row) for row in films.index], index=films.index, dtype="string")


def _listed(names: list[str]) -> str:
    """'a', 'a and b', 'a, b, c and 4 more'."""
    *first, last = [*names[:NAMED], f"{len(names) - NAMED} more"] if len(names) > NAMED else names
    return f"{', '.join(first)} and {last}" if first else last
