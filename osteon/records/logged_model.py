"""A packaged model as a model of MLflow's. Only the step that makes one imports this: it reaches the package."""

from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

from osteon.models.package import package


def log_model(folder: Path) -> str:
    """Log a packaged model to the run that is open, so that mlflow.pyfunc.load_model answers for films; its address."""
    signature = ModelSignature(
        inputs=Schema(
            [ColSpec(DataType.binary, "film", required=False), ColSpec(DataType.string, "path", required=False)]
        ),
        outputs=Schema(
            [
                ColSpec(DataType.double, "probability"),
                ColSpec(DataType.string, "answer"),
                ColSpec(Array(DataType.string), "warnings"),
                ColSpec(DataType.string, "map", required=False),
                ColSpec(Array(Array(DataType.double)), "boxes", required=False),
            ]
        ),
        params=ParamSchema([ParamSpec(name, DataType.boolean, default=False) for name in ("maps", "boxes")]),
    )
    root = Path(package.__file__).parents[2]
    logged = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(root / "models" / "package" / "mlflow_model.py"),
        artifacts={"package": str(folder)},
        code_paths=[str(root)],
        signature=signature,
        input_example=pd.DataFrame({"film": [package.example_film()]}),
        model_config={"threads": 0},
        pip_requirements=package.requirements(package.read_info(folder)),
    )
    return str(logged.model_uri)
