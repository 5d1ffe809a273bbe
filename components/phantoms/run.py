"""Draw the phantoms of a seed, and write films, manifest and contact sheet."""

from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image

from components.phantoms.exposure import expose
from components.phantoms.patients import VIEWS, Study, studies
from components.phantoms.step import PhantomSummary
from osteon.files import atomic_dir, atomic_file
from osteon.films.contact_sheet import draw_contact_sheet
from osteon.films.manifest import boxes_to_text, text_to_boxes
from osteon.params import PhantomParams
from osteon.progress import progress


def run_phantoms(films: Path, sheet: Path, params: PhantomParams) -> PhantomSummary:
    """Make the films; arguments as of the step `phantoms`."""
    with atomic_dir(films) as folder:
        (folder / "films").mkdir()
        count = (params.films + 1) // 2
        # Processes, not threads: drawing is many small array operations, each under Python's lock.
        parallel = Parallel(n_jobs=params.cores or -1, return_as="generator", batch_size=8)
        made = parallel(
            delayed(_write_study)(study, params.size, folder / "films")
            for study in studies(count, params.fractured, params.obvious, params.seed)
        )
        rows = [row for pair in progress(made, "phantoms", total=count) for row in pair]
        manifest = pd.DataFrame(rows).head(params.films)
        manifest.to_csv(folder / "manifest.csv", index=False, lineterminator="\n")
    with atomic_file(sheet) as path:
        _draw_sheet(films, manifest, path)
    return PhantomSummary(
        films=len(manifest),
        fractured=int((manifest["label"] == "fractured").sum()),
        patients=int(manifest["patient_pseudonym"].nunique()),
    )


def _write_study(study: Study, size: int, folder: Path) -> list[dict[str, object]]:
    """Draw and write a study's two films; their rows of the manifest."""
    rows: list[dict[str, object]] = []
    for view, degrees, seed in zip(VIEWS, study.degrees, study.seeds, strict=True):
        pixels, box = expose(study.limb, degrees, size, study.fracture, study.findings, np.random.default_rng(seed))
        name = f"{study.patient}-{study.number}-{view}.png"
        Image.fromarray(pixels).save(folder / name, compress_level=1)
        # A break that lies off this view's film does not make the film a fractured one.
        rows.append(
            {
                "film_id": name.removesuffix(".png"),
                "path": f"films/{name}",
                "label": "fractured" if box else "not fractured",
                "fracture_type": study.fracture.kind if study.fracture and box else None,
                "region": study.region,
                "view": view,
                "patient_pseudonym": study.patient,
                "study_pseudonym": f"{study.patient}-{study.number}",
                "hardware": study.findings.metal,
                "boxes": boxes_to_text([box] if box else []),
            }
        )
    return rows


def _draw_sheet(folder: Path, manifest: pd.DataFrame, path: Path) -> None:
    """Half of the sheet fractured, half not, each region in turn."""
    turn = manifest.groupby(["label", "region"]).cumcount()
    chosen = manifest.assign(turn=turn).sort_values(["turn", "region"], kind="stable").groupby("label").head(24)
    chosen = chosen.sort_values(["label", "region", "film_id"], kind="stable")
    draw_contact_sheet(
        path,
        films=[np.asarray(Image.open(folder / place)) for place in chosen["path"]],
        captions=[
            f"{row.region}, {row.fracture_type}" if row.label == "fractured" else str(row.region)
            for row in chosen.itertuples()
        ],
        boxes=[text_to_boxes(text) for text in chosen["boxes"]],
    )
