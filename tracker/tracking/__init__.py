"""The only door to MLflow: the local server, runs written journal first, and reading them back."""

import os

# MLflow reads these while it is imported, so they are set before any module of this wing can import it.
for _variable in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"):
    os.environ.setdefault(_variable, "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
