"""The shortcut audit: how well the attributes alone, without bone, predict the label.

A small classifier is fitted on them and predicts films of groups that it was not fitted on. Were no attribute tied to
the label, its AUROC would be about 0.5. What it reaches beyond that, a network can reach too.
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
from osteon.statistics.out_of_fold import fold_of_rows, out_of_fold_scores, rows_of_whole_groups
from osteon.statistics.proportions import wilson

FOLDS = 5
FEWEST_GROUPS = 2 * FOLDS  # with a film of each class
MOST_FILMS = 10_000
# Of each attribute the commonest; those that stand on fewer than FEW films are one category: they may be names.
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
    """Measure how well the attributes predict the label.

    Args:
        films: manifest columns and those of check_films, usable films only.
        params: finding, max_shortcut and seed.

    """
    group = (
        pd.factorize(group_films(films, with_first_of_its_kind(shared_names(films))))[0]
        if len(films)
        else np.empty(0, np.int64)
    )
    chosen = rows_of_whole_groups(group, MOST_FILMS, params.seed)
    left_out = len(films) - len(chosen)
    films, groups = films.iloc[chosen], pd.factorize(group[chosen])[0].astype(np.int64)
    labels = films["label"].to_numpy(np.int64)
    audit = ShortcutAudit(
        finding=params.finding,
        limit=params.max_shortcut,
        films=len(films),
        groups=len(np.unique(groups)),
        left_out=left_out,
    )
    for label, name in ((1, params.finding), (0, f"not {params.finding}")):
        if (count := len(np.unique(groups[labels == label]))) < FEWEST_GROUPS:
            reason = f"{count} groups have a film {name}, {FEWEST_GROUPS} are needed"
            return audit.model_copy(update={"skipped": reason})

    table = attribute_table(films)
    constant = [name for name, column in table.items() if column.nunique(dropna=False) == 1]
    columns = {name: _numeric(column) for name, column in table.items() if name not in constant}
    if not columns:
        reason = "every attribute is the same on all films"
        return audit.model_copy(update={"skipped": reason, "constant": constant})
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=params.seed)
    folds = fold_of_rows(splitter.split(labels, labels, groups), len(labels))
    together = _scores(np.concatenate(list(columns.values()), axis=1), labels, folds, _forest(params.seed))
    auroc = auroc_in_strata(labels, together, groups, folds, CONFIDENCE)
    region = pd.factorize(films["region"].fillna("unknown"))[0]
    within = auroc_in_strata(labels, together, groups, folds + FOLDS * region, CONFIDENCE) if region.max() > 0 else None
    attributes = []
    for name, column in columns.items():
        alone = auroc_in_strata(labels, _scores(column, labels, folds, _tree(params.seed)), groups, folds, CONFIDENCE)
        attributes.append(Attribute(name=name, auroc=alone, shares=label_shares(table[name], labels)))
    attributes.sort(key=lambda attribute: -(attribute.auroc.value or 0.0))
    return audit.model_copy(
        update={
            "auroc": auroc,
            "within_region": within,
            "attributes": attributes,
            "constant": constant,
            "warning": _warning(auroc, within, attributes[0], params),
        }
    )


TREES, DEPTH, LEAST_IN_LEAF = 100, 6, 10
DEPTH_OF_ONE = 3  # of the tree that sees one attribute


def _forest(seed: int) -> RandomForestClassifier:
    """Trees take numbers, missing ones too, on any scale, and find combinations and ranges as a network could."""
    return RandomForestClassifier(TREES, max_depth=DEPTH, min_samples_leaf=LEAST_IN_LEAF, random_state=seed)


def _tree(seed: int) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=DEPTH_OF_ONE, min_samples_leaf=LEAST_IN_LEAF, random_state=seed)


def _scores(
    features: NDArray[np.float32], labels: NDArray[np.int64], folds: NDArray[np.int64], classifier: Any
) -> NDArray[np.float64]:
    """The out-of-fold probability of the label of each film."""
    scores = np.empty(len(labels))
    for heldout_rows, heldout_scores in out_of_fold_scores(features, labels, folds, classifier):
        scores[heldout_rows] = heldout_scores
    return scores


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
        for quarter in np.unique(place[~np.isnan(values)]):
            inside = values[place == quarter]
            ranges[quarter] = _range(np.nanmin(inside), np.nanmax(inside))
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


def _numeric(column: "pd.Series[Any]") -> NDArray[np.float32]:
    """Columns for the trees: a number as it is, a text as a column a value."""
    if column.dtype.kind == "f":
        return column.to_numpy(np.float32)[:, None]
    return pd.get_dummies(column, dummy_na=True).to_numpy(np.float32)


def _warning(auroc: Estimate, within: Estimate | None, first: Attribute, params: ValidationParams) -> str | None:
    # By the lower bound: on few films chance alone passes a limit now and then.
    if auroc.low is None or auroc.low <= params.max_shortcut:
        return None
    inside = f" ({shown(within)} among films of one region)" if within else ""
    return (
        f"attributes of file, exposure and scanner alone, without bone, separate {params.finding} films from "
        f"others with AUROC {shown(auroc)}{inside}, more than max_shortcut = {params.max_shortcut:g}; the strongest "
        f"is {first.name}, alone {shown(first.auroc)}. A model may use them in place of bone"
    )
