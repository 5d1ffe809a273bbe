"""The packaged model as MLflow loads it: bytes of films in, probability and answer out.

MLflow runs this file when it loads the model ('models from code'), so nothing is pickled.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext

if TYPE_CHECKING:
    import pandas as pd


class FilmModel(PythonModel):  # type: ignore[misc]
    """Column 'film' (binary) → columns 'probability' and 'answer'."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the package that was logged with the model."""
        from components.models.package import open_package

        self.package = open_package(Path(context.artifacts["package"]))

    def predict(self, context: Any, model_input: "pd.DataFrame", params: Any = None) -> "pd.DataFrame":  # noqa: ARG002
        """Answer for each film."""
        return self.package.answers(model_input["film"].tolist())


mlflow.models.set_model(FilmModel())
