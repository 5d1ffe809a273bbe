"""Compute the features of films and copies, and write them with what they are."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.features.step import FeaturesSummary
from osteon.files import atomic_dir, check_space
from osteon.films.prepared.array import PreparedFilms, open_prepared
from osteon.models.classical.film_features import (
    COPIES,
    FEATURES,
    FILMS,
    INFO,
    PARTS,
    FeatureInfo,
    features_of,
    write_features,
)
from osteon.params import FeatureParams
from osteon.progress import progress
from osteon.threads import over_cores


def run_features(dataset: Path, augmented: Path, features: Path, params: FeatureParams) -> FeaturesSummary:
    """Compute the features; arguments as of the step `features`."""
    films, copies = open_prepared(dataset), open_prepared(augmented)

    info = FeatureInfo(image_size=params.image_size, parts=PARTS, films=len(films.films), copies=len(copies.films))
    with atomic_dir(features) as folder:
        check_space(folder, (info.films + info.copies) * FEATURES * 4)
        for name, prepared in ((FILMS, films), (COPIES, copies)):
            count = len(prepared.films)
            write_features(folder / name, progress(_feature_rows(prepared, params), "features", total=count), count)
        (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return FeaturesSummary(films=info.films, copies=info.copies, features=FEATURES)


def _feature_rows(prepared: PreparedFilms, params: FeatureParams) -> Iterator[NDArray[np.float32]]:
    """The features of each film in order, FEATURES values each."""

    def describe_block(rows: Sequence[int]) -> list[NDArray[np.float32]]:
        return list(features_of(prepared.pixels[rows[0] : rows[-1] + 1], params.image_size))

    return over_cores(describe_block, range(len(prepared.films)), params.cores)
