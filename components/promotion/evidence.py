"""What the decision needs of the candidate beside its scores: its report, parity, latency, lineage and leaks."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.promotion.decision import Evidence, Scored
from osteon.films.copies.leaks import TABLE
from osteon.films.known_patients import count_patients
from osteon.films.prepared.array import PreparedFilms
from osteon.models.package.package import Package, example_film
from osteon.records.lineage import DIRTY, Lineage

REPEATS = 20  # of the latency's measurement
SCORE_TOLERANCE = 1e-4  # between a score of now and the report's


def evaluation_of(report: Path, candidate: Scored) -> dict[str, Any] | None:
    """metrics.json of a report; None if the report is of another model or of other films."""
    try:
        predictions = pd.read_csv(report / "predictions.csv")
        metrics: dict[str, Any] = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # A film may have two rows, under two ids.
    by_hash = predictions.drop_duplicates("sha256").set_index("sha256")["score"]
    reported = by_hash.reindex(candidate.films["sha256"]).to_numpy(np.float64)
    same = len(predictions) == len(reported) and np.allclose(reported, candidate.films["score"], atol=SCORE_TOLERANCE)
    return metrics if same else None


def collect_evidence(
    package: Package,
    prepared: PreparedFilms,
    evaluation: dict[str, Any] | None,
    leaks: Path,
    made: Lineage | None,
    external: list[dict[str, Any]],
    champion_fault: str | None,
) -> Evidence:
    """All that is known of the candidate.

    Args:
        package: of the candidate.
        prepared: films.
        evaluation: of this very model; None: there is none.
        leaks: the step prepare's folder with pairs of copies.
        made: the runs behind the candidate; None: none of this store.
        external: metrics.json of its tests on other people's films.
        champion_fault: why the model in use could not be scored; None: it could, or there is none.

    """
    return Evidence(
        evaluation=evaluation,
        parity=_parity(package),
        latency=_latency(package),
        lineage=_missing(made),
        clean=_clean(made),
        leaks=_leaking(prepared, leaks),
        patients=count_patients(prepared.films),
        external=external,
        champion_fault=champion_fault,
    )


def _parity(package: Package) -> tuple[bool, str] | None:
    """Whether exported and trained networks give the same answers; None for a model without a network."""
    if not package.networks:
        return None
    parity = package.info.parity
    if not parity:
        return False, "not measured"
    return parity.kept, f"{parity.changed} of {parity.films} answers are another one, by {parity.largest:.1g} at most"


def _latency(package: Package) -> float:
    """Median milliseconds from a film's bytes to the answer."""
    film, seconds = example_film(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        package.predict([film])
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * 1e3


def _missing(made: Lineage | None) -> list[str] | None:
    if made is None:
        return None
    missing = [name for node in made.walk() for name in node.missing]
    return missing if made.data else [*missing, "the hash of the source films"]


def _clean(made: Lineage | None) -> bool | None:
    states = {node.tags.get(DIRTY) for node in made.walk()} if made else set()
    if not states or states - {"true", "false"}:
        return None
    return states == {"false"}


def _leaking(prepared: PreparedFilms, leaks: Path) -> list[str] | None:
    """Groups of test and development films; None where copies were not searched for."""
    if not (leaks / TABLE).is_file():
        return None
    films = prepared.films
    test = films["test"].to_numpy(bool)
    return sorted(set(films.loc[test, "group"]) & set(films.loc[~test, "group"]))
