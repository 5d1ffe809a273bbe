"""A model whose calibration and operating points are set anew on some of other people's films, and on no others.

The networks stay as they are. The films it is set on are whole groups, drawn by a keyed hash of their names, so that a
second call draws the same; they have no part in any figure afterwards.
"""

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.preparation.draw import draw_numbers, stable_names
from osteon.errors import UnfitFilmsError
from osteon.files import atomic_dir
from osteon.films.prepared.array import PreparedFilms
from osteon.models.package.package import (
    FILMS,
    INFO,
    Package,
    PackageInfo,
    hashes_of,
    measure_parity,
)
from osteon.params import CertaintyParams, EvaluationParams
from osteon.statistics.calibration import fit_calibration
from osteon.statistics.estimate import Estimate, shown
from osteon.statistics.operating_points import OperatingPoints
from osteon.statistics.point_search import (
    MeasuredPoints,
    find_operating_points,
    measure_operating_points,
    youden_threshold,
)
from osteon.statistics.reliability import reliability

FOLDS = 5  # in which the method of calibration is chosen
DRAW = 0  # of the numbers of groups; prepare's draws begin with 1


@dataclass(frozen=True)
class PointsAnew:
    """What operating points would be if they were set on these very films.

    now: uncertain share with the model's own points. then: with the new ones, on the films that they were set on, so
    that it is too good.
    """

    points: OperatingPoints
    now: float
    then: float


@dataclass(frozen=True)
class Recalibrated:
    """A model set anew. films, groups: that it was set on. points, ece: what it keeps on the other films."""

    info: PackageInfo
    films: int
    groups: int
    points: MeasuredPoints
    ece: Estimate


def points_anew(films: pd.DataFrame, own: OperatingPoints, certainty: CertaintyParams) -> PointsAnew:
    """Set operating points on the films' calibrated probabilities, to see what would change; no model is made.

    Args:
        films: columns label, score, group.
        own: points of the model.
        certainty: the targets.

    """
    labels, scores = films["label"].to_numpy(np.int64), films["score"].to_numpy(np.float64)
    points = find_operating_points(
        labels, scores, numbers_of(films), certainty.sensitivity, certainty.specificity, certainty.confidence
    )
    return PointsAnew(points, _uncertain(scores, own), _uncertain(scores, points))


def _uncertain(scores: NDArray[np.float64], points: OperatingPoints) -> float:
    return float(((scores >= points.rule_out.threshold) & (scores < points.rule_in.threshold)).mean())


def numbers_of(films: pd.DataFrame) -> NDArray[np.int64]:
    """The number of each film's group."""
    return pd.factorize(films["group"])[0].astype(np.int64)


def draw_groups(films: pd.DataFrame, least: int, seed: int) -> "pd.Series[bool]":
    """Which films a model is set anew on: whole groups, in the order of their numbers, until there are enough films.

    Args:
        films: columns label, group, patient_id, study_id, pixel_sha256.
        least: films, at least.
        seed: of the groups' numbers.

    Raises:
        UnfitFilmsError: the films drawn, or those left for the test, are not of both classes.

    """
    names = stable_names(films)
    order = names.index[np.argsort(draw_numbers(names, seed, DRAW), kind="stable")]
    sizes = films["group"].value_counts().reindex(order)
    before = sizes.cumsum() - sizes
    drawn = films["group"].isin(before.index[before < least])
    for part, name in ((films[drawn], "drawn"), (films[~drawn], "left to test on")):
        if part["label"].nunique() < 2:
            raise UnfitFilmsError(
                f"--recalibrate {least}: the {len(part)} films {name} are not of both classes; there are {len(films)}"
            )
    return drawn


def recalibrate_package(
    package: Package,
    folder: Path,
    prepared: PreparedFilms,
    drawn: pd.DataFrame,
    certainty: CertaintyParams,
    seed: int,
    out: Path,
) -> PackageInfo:
    """Write the package of a model that is set anew.

    Its probabilities are meant for the share of positive films among those drawn. What it refuses stays as it was.

    Args:
        package: the model.
        folder: where it lies.
        prepared: all films, whose squares are read.
        drawn: rows of the films it is set on, by their index in the prepared films.
        certainty: method and targets.
        seed: of the films on which exported and trained networks are compared.
        out: folder of the new package.

    Raises:
        UnfitFilmsError: too few groups were drawn.

    """
    rows = drawn.index.to_numpy(np.int64)
    labels, groups = drawn["label"].to_numpy(np.int64), numbers_of(drawn)
    info = package.info.model_copy(update={"prevalence": float(labels.mean())})
    scores = np.concatenate([replace(package, info=info).scores(squares) for squares in prepared.blocks(rows)])
    try:
        calibration = fit_calibration(scores, labels, _folds(labels, groups), certainty.calibration)
    except ValueError:
        raise UnfitFilmsError(
            f"the {len(drawn)} films drawn to set the model anew are of too few groups of each class; draw more"
        ) from None
    probabilities = calibration.apply(scores)
    points = find_operating_points(
        labels, probabilities, groups, certainty.sensitivity, certainty.specificity, certainty.confidence
    )
    content = (info.fingerprint, calibration.model_dump_json(), points.model_dump_json(), *sorted(drawn["sha256"]))
    update = {
        "calibration": calibration,
        "points": points,
        "threshold": youden_threshold(labels, probabilities),
        "fingerprint": hashlib.sha256("\n".join(content).encode()).hexdigest(),
    }
    with atomic_dir(out) as new:
        shutil.copytree(folder, new, dirs_exist_ok=True)
        listed = [pd.read_csv(new / FILMS, dtype=str)] if (new / FILMS).is_file() else []
        set_on = drawn[["film_id", "sha256", "md5"]].assign(role="validation")
        pd.concat([*listed, set_on]).to_csv(new / FILMS, index=False, lineterminator="\n")
        info = info.model_copy(update={**update, "files": hashes_of(new)})
        (new / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if info.networks:
            info = info.model_copy(update={"parity": measure_parity(new, prepared, rows, seed)})
            (new / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return info


def _folds(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """A fold for each film: whole groups, those with a positive film dealt out first."""
    positive = np.zeros(int(groups.max()) + 1, np.bool_)
    np.logical_or.at(positive, groups, labels == 1)
    dealt = np.argsort(~positive, kind="stable")
    fold = np.empty(len(positive), np.int64)
    fold[dealt] = np.arange(len(positive)) % min(FOLDS, len(positive))
    return np.asarray(fold[groups], np.int64)


def measure_recalibrated(
    package: Package,
    info: PackageInfo,
    prepared: PreparedFilms,
    films: pd.DataFrame,
    drawn: pd.DataFrame,
    params: EvaluationParams,
) -> Recalibrated:
    """What a model that was set anew keeps on the films that it was not set on.

    Args:
        package: the model of before; its networks are those of the new one.
        info: of the new one.
        prepared: all films.
        films: rows of the films left, by their index in the prepared films.
        drawn: rows of the others.
        params: confidence, resamples, seed.

    """
    model = replace(package, info=info)
    rows = films.index.to_numpy(np.int64)
    probabilities = np.concatenate([model.probabilities(squares) for squares in prepared.blocks(rows)])
    labels, groups = films["label"].to_numpy(np.int64), numbers_of(films)
    how = (params.confidence, params.resamples, params.seed)
    return Recalibrated(
        info=info,
        films=len(drawn),
        groups=int(drawn["group"].nunique()),
        points=measure_operating_points(labels, probabilities, groups, info.points, *how),
        ece=reliability(labels, probabilities, groups, *how).ece,
    )


def say_anew(anew: PointsAnew, own: OperatingPoints) -> str:
    """What would change if the points were set anew on these films."""
    new = anew.points
    proven = "both guaranteed" if new.rule_out.guaranteed and new.rule_in.guaranteed else "not both guaranteed"
    return (
        f"set anew on these films, rule out would be {new.rule_out.threshold:.3f} instead of "
        f"{own.rule_out.threshold:.3f} and rule in {new.rule_in.threshold:.3f} instead of {own.rule_in.threshold:.3f} "
        f"({proven}), and {anew.then:.0%} of the films uncertain instead of {anew.now:.0%}"
    )


def say_recalibrated(new: Recalibrated) -> str:
    """What a model that was set anew keeps on the films that it was not set on."""
    kept = new.points
    return (
        f"a new model was set on {new.films:,} other films of {new.groups:,} groups; on the films of this report it "
        f"keeps {shown(kept.sensitivity.share)} at rule out and {shown(kept.specificity.share)} at rule in, "
        f"{shown(kept.uncertain)} uncertain, calibration error {shown(new.ece)}"
    )
