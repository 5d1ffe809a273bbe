"""A folder of labelled films → the films that a model can be tested on, as squares."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.ingestion.run import run_ingest
from components.ingestion.step import IngestSummary
from components.preparation.run import fitted_boxes
from components.preparation.squares import COMPARED, standardise_films
from components.validation.run import run_validate
from components.validation.step import ValidationSummary
from osteon.errors import OsteonError, UnfitFilmsError
from osteon.files import atomic_dir
from osteon.films.manifest import read_manifest
from osteon.films.prepared.array import PIXELS, PreparedFilms, open_pixels
from osteon.films.prepared.row_file import RowFile
from osteon.films.shortcut_audit import ShortcutAudit, read_shortcut_audit
from osteon.models.package.package import PackageInfo
from osteon.params import DataParams, ValidationParams

VALIDATION = "validation"


@dataclass(frozen=True)
class OtherFilms:
    """Films of a folder that can be used. films: manifest columns, the facts of each and its boxes in the square.

    squares: of the model's size. compared: squares in which copies are searched for. audit: the shortcut audit here.
    """

    films: pd.DataFrame
    squares: RowFile[np.uint8]
    compared: RowFile[np.uint8]
    ingested: IngestSummary
    validated: ValidationSummary
    audit: ShortcutAudit

    def prepared(self, tested: "pd.Series[bool]", groups: "pd.Series[str]") -> PreparedFilms:
        """The films as the step prepare leaves them, those to be tested as test films."""
        rows = self.films.assign(group=groups, test=tested, fold=pd.array([pd.NA] * len(self.films), "Int8"), copy=0)
        return PreparedFilms(self.squares, rows)


def read_films(
    root: Path, work: Path, report: Path, info: PackageInfo, data: DataParams, validation: ValidationParams
) -> OtherFilms:
    """Ingest, validate and decode the films of a folder.

    The films must be what the model takes: its own limits hold, not those of the parameter file. Any share of fractured
    films will do.

    Args:
        root: the folder.
        work: an empty folder for everything.
        report: where the report of validate is left if the films are not fit.
        info: of the model.
        data: how the folder is laid out.
        validation: the other limits.

    Raises:
        OsteonError: the folder is not laid out so.
        UnfitFilmsError: the films are labelled for another finding, or cannot be trusted.

    """
    manifest, trusted = work / "manifest.parquet", work / "trusted.parquet"
    ingested = run_ingest(root, manifest, data)
    findings = sorted(read_manifest(manifest)["finding"].dropna().unique())
    if other := [finding for finding in findings if finding != info.finding]:
        raise UnfitFilmsError(
            f"{root}: its films are labelled '{other[0]}', the model finds '{info.finding}': that is no test of it"
        )
    limits = {**info.limits.model_dump(), "finding": info.finding, "min_positive": 0.0, "max_positive": 1.0}
    try:
        validated = run_validate(root, manifest, trusted, work / VALIDATION, validation.model_copy(update=limits))
    except OsteonError as error:
        if not (work / VALIDATION).is_dir():
            raise
        with atomic_dir(report) as folder:
            shutil.copytree(work / VALIDATION, folder / VALIDATION)
        text = str(error).replace(str(work / VALIDATION), str(report / VALIDATION))
        raise UnfitFilmsError(f"{root}: {text}") from None
    films = read_manifest(trusted)
    # As the packaged model reads them, whatever the other films of the folder are like.
    films["depth"] = pd.array([info.depth] * len(films), "Int8")
    squares = work / "squares"
    squares.mkdir()
    films = films.join(standardise_films(films, root, squares, info.image_size, data.cores))
    return OtherFilms(
        films.assign(boxes=fitted_boxes(films, info.image_size)),
        open_pixels(squares / PIXELS),
        open_pixels(squares / COMPARED),
        ingested,
        validated,
        read_shortcut_audit(work / VALIDATION),
    )
