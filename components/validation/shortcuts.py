"""What of the label can be told without looking at bone, from the attributes alone.

A small classifier learns the label from them, and is asked about films of groups that it has not seen. Were no
attribute tied to the label, its AUROC would be about 0.5. What it reaches beyond that, a network can reach too.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from osteon.films.groups import group_films, shared_names, with_first_of_its_kind
from osteon.films.shortcut_audit import CONFIDENCE, FEW, Attribute, LabelShare, ShortcutAudit
from osteon.params import ValidationParams
from osteon.statistics.auroc import auroc_in_strata
from osteon.statistics.estimate import Estimate, shown
from osteon.statistics.proportions import wilson

FOLDS = 5
FEWEST_GROUPS = 2 * FOLDS  # with a film of each class
MOST_FILMS = 10_000
# Of each attribute the commonest; those that stand on fewer than FEW films are not told apart: they may be names.
MOST_TEXTS = 30

# Name for a reader → column, of the manifest or of what validate saw.
NUMBERS = {
    "file size (bytes)": "file_bytes",
    "width (pixels)": "width",
    "height (pixels)": "height",
    "bits": "bits",
    "JPEG quality": "jpeg_quality",
    "dots per inch": "dpi",
    "EXIF orientation": "orientation",
    "mean exposure (grey level)": "exposure",
    "contrast (grey levels)": "contrast",
    "black pixels (share)": "black",
    "white pixels (share)": "white",
    "border (share)": "border",
    "rim (grey level)": "rim",
    "tube voltage (kV)": "kvp",
    "tube current (mAs)": "current",
    "exposure time (ms)": "exposure_time",
}
TEXTS = {
    "pixel format": "mode",
    "file format": "encoding",
    "chroma sampling": "chroma_sampling",
    "marker's corner": "marker_corner",
    "manufacturer": "manufacturer",
    "model of the scanner": "model",
    "software": "software",
    "station (numbered)": "station",
    "detector (numbered)": "detector",
    "hospital (numbered)": "hospital",
}


def audit_shortcuts(films: pd.DataFrame, params: ValidationParams) -> ShortcutAudit:
    """Ask what the attributes tell of the label.

    Args:
        films: manifest columns and those of look_at_films, usable films only.
        params: finding, max_shortcut and seed.

    """
    said: dict[str, Any] = {"finding": params.finding, "limit": params.max_shortcut}
    group = (
        pd.factorize(group_films(films, with_first_of_its_kind(shared_names(films))))[0]
        if len(films)
        else np.empty(0, np.int64)
    )
    chosen = _whole_groups(group, params.seed)
    said["left_out"] = len(films) - len(chosen)
    films, groups = films.iloc[chosen], pd.factorize(group[chosen])[0].astype(np.int64)
    labels = films["label"].to_numpy(np.int64)
    said |= {"films": len(films), "groups": len(np.unique(groups))}
    for label, name in ((1, params.finding), (0, f"not {params.finding}")):
        if (count := len(np.unique(groups[labels == label]))) < FEWEST_GROUPS:
            return ShortcutAudit(skipped=f"{count} groups have a film {name}, {FEWEST_GROUPS} are needed", **said)

    table = attribute_table(films)
    constant = [name for name, column in table.items() if column.nunique(dropna=False) == 1]
    columns = {name: _numeric(column) for name, column in table.items() if name not in constant}
    if not columns:
        return ShortcutAudit(skipped="every attribute is the same on all films", constant=constant, **said)
    folds = _folds(labels, groups, params.seed)

    def asked(columns: list[NDArray[np.float32]], trees: int) -> NDArray[np.float64]:
        return _scores(np.concatenate(columns, axis=1), labels, folds, trees, params.seed)

    together = asked(list(columns.values()), TREES)
    auroc = auroc_in_strata(labels, together, groups, folds, CONFIDENCE)
    region = pd.factorize(films["region"].fillna("unknown"))[0]
    within = auroc_in_strata(labels, together, groups, folds + FOLDS * region, CONFIDENCE) if region.max() > 0 else None
    attributes = [
        Attribute(
            name=name,
            auroc=auroc_in_strata(labels, asked([column], 1), groups, folds, CONFIDENCE),
            shares=label_shares(table[name], labels),
        )
        for name, column in columns.items()
    ]
    attributes.sort(key=lambda one: -(one.auroc.value or 0.0))
    return ShortcutAudit(
        auroc=auroc,
        within_region=within,
        attributes=attributes,
        constant=constant,
        warning=_warning(auroc, within, attributes[0], params),
        **said,
    )


def attribute_table(films: pd.DataFrame) -> "dict[str, pd.Series[Any]]":
    """The attributes by the names a reader sees: numbers as float64, texts as objects; null where there is none."""
    width, height = (films[side].to_numpy(np.float64) for side in ("width", "height"))
    table = {name: films[column].to_numpy(np.float64, na_value=np.nan) for name, column in NUMBERS.items()}
    table["megapixels"] = width * height / 1e6
    table["shape (width / height)"] = width / height
    table["bytes a pixel"] = table["file size (bytes)"] / (width * height)
    columns: dict[str, pd.Series[Any]] = {name: pd.Series(values, index=films.index) for name, values in table.items()}
    texts = {name: films[column].astype(object) for name, column in TEXTS.items()}
    texts["file extension"] = films["path"].str.extract(r"\.(\w+)$")[0].str.lower().astype(object)
    for name, column in texts.items():
        counts = column.value_counts()
        kept = counts[counts >= FEW].index[:MOST_TEXTS]
        columns[name] = column.where(column.isin(kept) | column.isna(), "rarer ones")
    return columns


def label_shares(column: "pd.Series[Any]", labels: NDArray[np.int64]) -> list[LabelShare]:
    """The label's share for each text, or for each quarter of the numbers.

    A number that a quarter of the films share has a row of its own.
    """
    names = column.astype(object)
    if column.dtype.kind == "f":
        values = column.to_numpy(np.float64)
        known = np.sort(values[~np.isnan(values)])
        edges = {float(value) for value in np.quantile(known, [0.25, 0.5, 0.75], method="inverted_cdf")}
        for edge in list(edges):
            if (known == edge).mean() >= 0.25 and known[0] < edge:
                edges.add(float(known[np.searchsorted(known, edge) - 1]))
        place = np.searchsorted(sorted(edges), values)
        ranges: dict[int, str] = {}
        for one in np.unique(place[~np.isnan(values)]):
            inside = values[place == one]
            ranges[one] = _range(np.nanmin(inside), np.nanmax(inside))
        names = pd.Series(place, index=column.index).map(ranges).where(column.notna(), None)
        order = list(dict.fromkeys(ranges.values()))
    else:
        order = [str(name) for name in names.value_counts().index]
    shares = []
    for name in (*order, None):
        has = (names.isna() if name is None else names == name).to_numpy(bool)
        if films := int(has.sum()):
            positive = int(labels[has].sum())
            value = NONE if name is None else name
            share = wilson(positive, films, CONFIDENCE)
            shares.append(LabelShare(value=value, films=films, positive=positive, share=share))
    return shares


NONE = "none"


def _range(low: float, high: float) -> str:
    def number(value: float) -> str:
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

    return number(low) if number(low) == number(high) else f"{number(low)} – {number(high)}"


def _whole_groups(groups: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Row numbers of all films, or of groups drawn until there are as many as are asked."""
    if len(groups) <= MOST_FILMS:
        return np.arange(len(groups))
    order = np.random.default_rng(seed).permutation(groups.max() + 1)
    taken = np.cumsum(np.bincount(groups)[order]) <= MOST_FILMS
    return np.flatnonzero(np.isin(groups, order[taken]))


def _folds(labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    number = np.empty(len(labels), np.int64)
    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fold, (_, chosen) in enumerate(split.split(labels, labels, groups)):
        number[chosen] = fold
    return number


def _numeric(column: "pd.Series[Any]") -> NDArray[np.float32]:
    """Columns for the trees: a number as it is, a text as a column a value."""
    if column.dtype.kind == "f":
        return column.to_numpy(np.float32)[:, None]
    return pd.get_dummies(column, dummy_na=True).to_numpy(np.float32)


TREES, DEPTH, LEAST_IN_LEAF = 100, 6, 10


def _scores(
    attributes: NDArray[np.float32], labels: NDArray[np.int64], folds: NDArray[np.int64], trees: int, seed: int
) -> NDArray[np.float64]:
    """Each film's share of the label by trees grown on the other folds; a single tree sees all films and attributes.

    Trees take numbers, missing ones too, on any scale, and find combinations and ranges as a network could.
    """
    scores = np.empty(len(labels))
    for fold in np.unique(folds):
        rest = folds != fold
        model = (
            DecisionTreeClassifier(max_depth=3, min_samples_leaf=LEAST_IN_LEAF, random_state=seed)
            if trees == 1
            else RandomForestClassifier(trees, max_depth=DEPTH, min_samples_leaf=LEAST_IN_LEAF, random_state=seed)
        )
        model.fit(attributes[rest], labels[rest])
        scores[~rest] = model.predict_proba(attributes[~rest])[:, list(model.classes_).index(1)]
    return scores


def _warning(auroc: Estimate, within: Estimate | None, first: Attribute, params: ValidationParams) -> str | None:
    # By the lower bound: on few films chance alone passes a limit now and then.
    if auroc.low is None or auroc.low <= params.max_shortcut:
        return None
    inside = f" ({shown(within)} among films of one region)" if within else ""
    return (
        f"attributes of file, exposure and scanner alone, without a look at bone, tell {params.finding} films from "
        f"others with AUROC {shown(auroc)}{inside}, more than max_shortcut = {params.max_shortcut:g}; the most telling "
        f"is {first.name}, alone {shown(first.auroc)}. A model may have learnt them in place of bone"
    )
