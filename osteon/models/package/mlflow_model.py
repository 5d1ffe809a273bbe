"""The packaged model as MLflow loads it: films in, probability, answer and warnings out.

MLflow runs this file when it loads the model ('models from code'), so nothing is pickled.
"""

import os
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

READABLE = "OSTEON_FILMS"  # names the folder whose films a caller may ask about by their path


class FilmModel(PythonModel):
    """Column 'film' (the file's bytes; base64 over HTTP) or 'path' → 'probability', 'answer', 'warnings'.

    Probability is null where the film was refused; its warnings say why. With the parameter maps, map is a PNG in
    base64, grey: where the finding is; with boxes, boxes is a list of [x, y, width, height, score] in pixels of the
    film. Both null where nothing is known. Threads of each answer: model_config threads.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the package that was logged with the model."""
        from osteon.models.package.package import open_package

        self.package = open_package(Path(context.artifacts["package"]), int(context.model_config["threads"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002
        """Answer for each film."""
        wanted = {name: bool((params or {}).get(name)) for name in ("maps", "boxes")}
        table = self.package.predict(files_of(model_input), **wanted)
        # JSON has no NaN.
        table["probability"] = table["probability"].astype(object).where(table["probability"].notna(), None)
        if "map" in table:
            table["map"] = [None if heat is None else as_png(heat) for heat in table["map"]]
        return table


def files_of(request: pd.DataFrame) -> list[bytes]:
    """The bytes of each film of a request.

    A path is read only below the folder that OSTEON_FILMS names: whoever may ask a server must not read its files.

    Raises:
        OsteonError: neither column is filled, or a path that may not be read.

    """
    from osteon.errors import OsteonError

    files = []
    for number, row in enumerate(request.to_dict("records")):
        film, path = row.get("film"), row.get("path")
        if isinstance(film, bytes | bytearray):
            files.append(bytes(film))
        elif isinstance(path, str):
            files.append(_read(path, number))
        else:
            raise OsteonError(f"film {number}: fill the column film (bytes) or path")
    return files


def _read(path: str, number: int) -> bytes:
    from osteon.errors import OsteonError

    allowed = os.environ.get(READABLE)
    if not allowed:
        raise OsteonError(
            f"film {number}: films are read by path only below the folder that {READABLE} names; it is unset"
        )
    root = Path(allowed).resolve()
    file = (root / path).resolve()
    if not file.is_relative_to(root) or not file.is_file():
        raise OsteonError(f"film {number}: no film of that path below the folder that {READABLE} names")
    return file.read_bytes()


def as_png(heat: Any) -> str:
    """A map, h × w of 0 … 1, as a grey PNG in base64."""
    import base64
    import io

    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.rint(np.asarray(heat) * 255).astype(np.uint8)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


mlflow.models.set_model(FilmModel())
