"""Read a folder, take out what the model has seen, measure the model on the rest, and write the report."""

import dataclasses
import json
import math
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from components.evaluation.certainty import Certainty
from components.evaluation.measurements import Measurements, measure_model
from components.evaluation.metrics_json import metrics_as_json
from components.evaluation.report import Origin, render_report
from components.evaluation.run import draw_pictures, score_test_films, write_tables
from components.evaluation.step import METRICS, REPORT
from components.external_test.comparison import (
    Answered,
    SideBySide,
    count_answers,
    figures_of_answered,
    say_difference,
    say_guarantee,
    say_refusals,
    side_by_side,
)
from components.external_test.films import VALIDATION, OtherFilms, read_films
from components.external_test.leaks import (
    Leaks,
    TrainingFilms,
    find_leaks,
    read_training_films,
    say_leaks,
    say_patients,
)
from components.external_test.recalibration import (
    PointsAnew,
    Recalibrated,
    draw_groups,
    measure_recalibrated,
    points_anew,
    recalibrate_package,
    say_anew,
    say_recalibrated,
)
from components.external_test.step import COPIES, TAKEN_OUT, ExternalTestSummary, RecalibrationSummary
from osteon.errors import UnfitFilmsError
from osteon.files import atomic_dir, dvc_hash
from osteon.films.copies.leaks import count_joined
from osteon.films.known_patients import count_patients
from osteon.films.prepared.array import PreparedFilms
from osteon.models.package.package import Package, PackageInfo, open_package
from osteon.params import CertaintyParams, DataParams, EvaluationParams, ValidationParams
from osteon.records import runs
from osteon.records.logged_model import log_model
from osteon.records.model_packages import OwnTest, own_test
from osteon.statistics.estimate import Estimate, shown
from osteon.statistics.point_search import measure_operating_points
from osteon.statistics.reliability import reliability

SET_ON = "drawn to set the model anew"


@dataclass(frozen=True)
class Sources:
    """What is read: the package, the folder, and manifest and folder of the films that the model was trained on."""

    model: Path
    root: Path
    trusted: Path
    films: Path
    same_patients: bool


@dataclass(frozen=True)
class Settings:
    """Sections of the parameter file, by their names."""

    evaluation: EvaluationParams
    data: DataParams
    validation: ValidationParams
    certainty: CertaintyParams


@dataclass(frozen=True)
class Ready:
    """All that a test needs: the model, its own test if it is known, and the films that it has not seen.

    films: those fit for the test, with the model's scores, by their index in `prepared`.
    """

    package: Package
    own: OwnTest | None
    others: OtherFilms
    training: TrainingFilms
    leaks: Leaks
    prepared: PreparedFilms
    films: pd.DataFrame


@dataclass(frozen=True)
class External:
    """What the page of an external test has beside that of a test. statements: sentences, the first the most important.

    answered: figures of the films that are not refused. own: the model's own test, None where it is not known. anew:
    operating points as they would be. recalibrated: the model that was set anew, None where none was.
    """

    root: str
    statements: list[str]
    rows: list[SideBySide]
    answers: list[Answered]
    answered: dict[str, Estimate] | None
    own: OwnTest | None
    leaks: Leaks
    training: TrainingFilms
    others: OtherFilms
    anew: PointsAnew
    recalibrated: Recalibrated | None


def run_external_test(sources: Sources, report: Path, settings: Settings) -> ExternalTestSummary:
    """Test a model; arguments as of the step `external_test`."""
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        return _write_report(sources, report, settings, _make_ready(sources, report, settings, work), work, None)


def run_recalibrate(
    sources: Sources, report: Path, recalibrated: Path, settings: Settings, set_on: int, why: str
) -> RecalibrationSummary:
    """Set a model anew on some films and test it on the others; arguments as of the step `recalibrate`."""
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        ready = _make_ready(sources, report, settings, work)
        seed = settings.evaluation.seed
        drawn = draw_groups(ready.films, set_on, seed)
        set_on_films, left = ready.films[drawn], ready.films[~drawn]
        info = recalibrate_package(
            ready.package, sources.model, ready.prepared, set_on_films, settings.certainty, seed, recalibrated
        )
        new = measure_recalibrated(ready.package, info, ready.prepared, left, set_on_films, settings.evaluation)
        ready = dataclasses.replace(ready, films=left)
        summary = _write_report(sources, report, settings, ready, work, new)
    runs.log_at_end(partial(log_model, recalibrated))
    return RecalibrationSummary(**summary.model_dump(), set_on=new.films, why=why)


def _make_ready(sources: Sources, report: Path, settings: Settings, work: Path) -> Ready:
    """Read the folder, take out what the model has seen, and ask the model about the rest."""
    package, own, cores = open_package(sources.model), own_test(sources.model), settings.data.cores
    others = read_films(sources.root, work, report, package.info, settings.data, settings.validation)
    tested = own.films if own else frozenset()
    training = read_training_films(sources.model, tested, sources.trusted, sources.films, cores)
    same = sources.same_patients
    leaks = find_leaks(others, training, work / "training", work / COPIES, same_patients=same, cores=cores)
    fit = leaks.why.isna()
    _refuse_unfit(others.films[fit], sources.root, leaks)
    prepared = others.prepared(fit, leaks.groups)
    films = score_test_films(package, prepared, sources.model, sources.root)
    return Ready(package, own, others, training, leaks, prepared, films)


def _write_report(
    sources: Sources, report: Path, settings: Settings, ready: Ready, work: Path, recalibrated: Recalibrated | None
) -> ExternalTestSummary:
    """Measure, and write the report; work: has the reports of validate and of the search for copies."""
    params, films, others = settings.evaluation, ready.films, ready.others
    certainty = measure_here(ready.package.info, films, params)
    measured = measure_model(ready.package, sources.model, ready.prepared, films, certainty, params)
    metrics = metrics_as_json(measured, None, others.audit, count_patients(films), params)
    external = _external(sources, settings, ready, measured, metrics, recalibrated)
    metrics |= external_as_json(external, metrics)
    origin = Origin(
        films=films,
        audit=others.audit,
        comparison=None,
        search=None,
        joined=count_joined(work / COPIES),
        hashes={"films": dvc_hash(sources.root), "model": dvc_hash(sources.model)},
    )
    with atomic_dir(report) as folder:
        (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        write_tables(folder, measured)
        draw_pictures(folder / "figures", measured)
        for name in (VALIDATION, COPIES):
            shutil.copytree(work / name, folder / name)
        out = others.films[["film_id", "path", "label"]].assign(why=ready.leaks.why)
        if recalibrated:
            out["why"] = out["why"].mask(out["why"].isna() & ~out.index.isin(films.index), SET_ON)
        out[out["why"].notna()].to_csv(folder / TAKEN_OUT, index=False, lineterminator="\n")
        page = render_report(folder / "figures", metrics, measured, origin, external)
        (folder / REPORT).write_text(page, encoding="utf-8")
    return ExternalTestSummary(external=_figures(metrics), statements=external.statements)


def _external(
    sources: Sources,
    settings: Settings,
    ready: Ready,
    measured: Measurements,
    metrics: dict[str, Any],
    recalibrated: Recalibrated | None,
) -> External:
    rows, info = side_by_side(metrics, ready.own), measured.info
    points, first = measured.certainty.points, say_difference(rows)
    if not rows:
        first = f"AUROC {shown(measured.figures['auroc'])}; {first}"
    anew = points_anew(ready.films, info.points, settings.certainty)
    sentences = [
        first,
        say_refusals(measured, rows, 1 - settings.certainty.in_distribution_quantile),
        say_guarantee("rule out", points.sensitivity),
        say_guarantee("rule in", points.specificity),
        say_anew(anew, info.points),
        *([say_recalibrated(recalibrated)] if recalibrated else []),
        say_leaks(ready.leaks, ready.training),
        say_patients(ready.films, ready.leaks, ready.training),
    ]
    return External(
        root=str(sources.root),
        statements=[sentence for sentence in sentences if sentence],
        rows=rows,
        answers=count_answers(measured),
        answered=figures_of_answered(measured, settings.evaluation),
        own=ready.own,
        leaks=ready.leaks,
        training=ready.training,
        others=ready.others,
        anew=anew,
        recalibrated=recalibrated,
    )


def _refuse_unfit(films: pd.DataFrame, root: Path, leaks: Leaks) -> None:
    """Stop where nothing is left to measure."""
    if films["label"].nunique() == 2:
        return
    counts = "; ".join(f"{count} × {reason}" for reason, count in leaks.counts.items()) or "none"
    raise UnfitFilmsError(
        f"{root}: {len(films)} films are left, not of both classes; taken out: {counts}. "
        "Test on films that the model has not seen"
    )


def measure_here(info: PackageInfo, films: pd.DataFrame, params: EvaluationParams) -> Certainty:
    """Calibration and operating points on these very films: before is without the model's calibration."""
    labels = films["label"].to_numpy(np.int64)
    groups = pd.factorize(films["group"])[0].astype(np.int64)
    how = (params.confidence, params.resamples, params.seed)
    scores, probabilities = (films[name].to_numpy(np.float64) for name in ("uncalibrated", "score"))
    calibrated = reliability(labels, probabilities, groups, *how)
    return Certainty(
        before=reliability(labels, scores, groups, *how),
        after=calibrated,
        test=calibrated,
        points=measure_operating_points(labels, probabilities, groups, info.points, *how),
    )


def external_as_json(external: External, metrics: dict[str, Any]) -> dict[str, Any]:
    """What metrics.json has beside, or instead of, what it has after the step evaluate."""
    calibration = metrics["calibration"]
    training, leaks = external.training, external.leaks
    return {
        "calibration": {
            "method": calibration["method"],
            "uncalibrated": calibration["out_of_fold_before"],
            "test": calibration["test"],
        },
        "external": {
            "folder": Path(external.root).resolve().name,
            "statements": external.statements,
            "own_test": external.own.run if external.own else None,
            "differences": {row.name: dataclasses.asdict(row) for row in external.rows},
            "answers": [dataclasses.asdict(row) for row in external.answers],
            "figures_of_answered": {name: dataclasses.asdict(e) for name, e in (external.answered or {}).items()},
            "points_anew": {
                "points": external.anew.points.model_dump(),
                "uncertain_now": external.anew.now,
                "uncertain_then": external.anew.then,
            },
            "recalibrated": _recalibrated_as_json(external.recalibrated),
            "quarantined": external.others.validated.quarantined,
            "taken_out": leaks.counts,
            "training_films": {
                "known": len(training.trained),
                "compared": len(training.here),
                "patients_in_both": leaks.patients,
            },
        },
    }


def _recalibrated_as_json(new: Recalibrated | None) -> dict[str, Any] | None:
    """What the model that was set anew keeps on the films of the test."""
    if new is None:
        return None
    return {
        "films": new.films,
        "groups": new.groups,
        "fingerprint": new.info.fingerprint,
        "points": new.info.points.model_dump(),
        "operating_points": dataclasses.asdict(new.points),
        "calibration_error": dataclasses.asdict(new.ece),
    }


def _figures(metrics: dict[str, Any]) -> dict[str, float]:
    """The numbers for the model's page in MLflow."""
    estimates = {
        **{name: metrics["test"][name] for name in ("auroc", "average_precision", "sensitivity", "specificity")},
        "calibration_error": metrics["calibration"]["test"]["ece"],
        "rule_out_kept": metrics["operating_points"]["sensitivity"]["share"],
        "rule_in_kept": metrics["operating_points"]["specificity"]["share"],
        "refused": metrics["refused"],
    }
    external = metrics["external"]
    figures = {
        "films": float(metrics["test"]["n"]),
        "groups": float(metrics["test"]["groups"]),
        "taken_out": float(sum(external["taken_out"].values())),
        "quarantined": float(external["quarantined"]),
    }
    for name, estimate in estimates.items():
        for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            if estimate and estimate[end] is not None and math.isfinite(estimate[end]):
                figures[name + suffix] = float(estimate[end])
    return figures
