"""A model's scores on the test films, computed now, at the size of square that the model takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.promotion.decision import Scored
from osteon.errors import OsteonError
from osteon.films.prepared.array import open_prepared
from osteon.films.reading.decoding import decode
from osteon.films.reading.film import letterbox
from osteon.models.package.package import FILMS, Package, PackageInfo


@dataclass(frozen=True)
class FilmsToScore:
    """The test films, and where their pixels are.

    rows: of the prepared films. dataset: the prepared films, whose squares are taken where they have the model's size.
    source: folder with the films, read where they have not. trusted: the manifest with their paths.
    """

    rows: pd.DataFrame
    dataset: Path
    source: Path
    trusted: Path


def score(package: Package, version: str, trained: frozenset[str], films: FilmsToScore) -> Scored:
    """Score the test films with a model.

    Args:
        package: of the model.
        version: its name.
        trained: SHA-256 of the films that it was trained on.
        films: to score.

    Raises:
        OsteonError: the films are labelled for another finding than the model's.

    """
    prepared, rows = open_prepared(films.dataset), films.rows
    if package.info.finding != prepared.finding:
        raise OsteonError(f"version {version} finds '{package.info.finding}', the films say '{prepared.finding}'")
    if package.info.image_size == prepared.side:
        blocks = prepared.blocks(rows.index.to_numpy(np.int64))
    else:
        blocks = _decoded(films, package.info)
    scores = np.concatenate([package.probabilities(squares) for squares in blocks])
    table = rows[["sha256", "group"]].assign(label=rows["label"].astype(int), score=scores).reset_index(drop=True)
    return Scored(version, table, trained, package.info.points.rule_out.threshold)


def trained_on(package: Path) -> frozenset[str]:
    """SHA-256 of the films that a package was trained on."""
    films = pd.read_csv(package / FILMS, dtype=str)
    return frozenset(films.loc[films["role"] != "test", "sha256"])


def _decoded(films: FilmsToScore, info: PackageInfo, block: int = 256) -> Iterator[NDArray[np.uint8]]:
    """The films' squares of another size than the prepared ones."""
    paths = pd.read_parquet(films.trusted, columns=["film_id", "path"]).set_index("film_id")["path"]

    def square(film_id: str) -> NDArray[np.uint8]:
        data = (films.source / paths[film_id]).read_bytes()
        return letterbox(decode(data, max_megapixels=info.limits.max_megapixels, depth=info.depth), info.image_size)

    ids = films.rows["film_id"]
    for start in range(0, len(ids), block):
        yield np.stack([square(film_id) for film_id in ids.iloc[start : start + block]])
