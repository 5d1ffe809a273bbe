"""All that knows MLflow: the store, the runs, where models and films came from, the registry."""

import os

# MLflow counts its users by calling home unless it is told not to; it reads this while it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
