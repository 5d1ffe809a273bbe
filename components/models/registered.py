"""The packaged model as MLflow loads it: bytes of films in, probability and answer out.

MLflow runs this file when it loads the model ('models from code'), so nothing is pickled.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class FilmModel(PythonModel):
    """Column 'film' (binary) → columns 'probability' and 'answer'."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the package that was logged with the model."""
        from components.models.package import open_package

        self.package = open_package(Path(context.artifacts["package"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002
        """Answer for each film."""
        return self.package.answers(model_input["film"].tolist())


mlflow.models.set_model(FilmModel())
