"""Films → what a classical model sees of them, computed once a film and read by all who learn from it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from osteon.contract import Input, Output, Summary
from osteon.params import FeatureParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from osteon.films.prepared.array import PreparedFilms


class FeaturesSummary(Summary):
    """How many films have features now."""

    films: int
    copies: int
    features: int


def features(
    dataset: Annotated[Path, Input("prepared films")],
    augmented: Annotated[Path, Input("augmented copies")],
    features: Annotated[Path, Output("films.npy and copies.npy, a row a film, and what they are")],
    params: FeatureParams,
) -> FeaturesSummary:
    """Describe every film and copy by edges, texture and grey levels, for the classical models."""
    from osteon.files import atomic_dir, check_space
    from osteon.films.prepared.array import open_prepared
    from osteon.films.reading.decoding import over_cores
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
    from osteon.progress import progress

    films, copies = open_prepared(dataset), open_prepared(augmented)

    def seen(prepared: "PreparedFilms") -> "Iterator[NDArray[np.float32]]":
        def see(rows: Sequence[int]) -> "list[NDArray[np.float32]]":
            return list(features_of(prepared.pixels[rows[0] : rows[-1] + 1], params.image_size))

        return over_cores(see, range(len(prepared.films)), params.cores)

    info = FeatureInfo(image_size=params.image_size, parts=PARTS, films=len(films.films), copies=len(copies.films))
    with atomic_dir(features) as folder:
        check_space(folder, (info.films + info.copies) * FEATURES * 4)
        for name, prepared in ((FILMS, films), (COPIES, copies)):
            count = len(prepared.films)
            write_features(folder / name, progress(seen(prepared), "features", total=count), count)
        (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return FeaturesSummary(films=info.films, copies=info.copies, features=FEATURES)
