"""The Kubernetes secret of a task: a folder with a file for each key, read into the variables of those names.

It is mounted once. As variables of the container, each key stood in what Kubeflow keeps of every task, and a run of a
few folds outgrew what Kubeflow can read.
"""

import logging
import os
from pathlib import Path

from osteon.errors import OsteonError

MOUNTED = "/run/secrets/osteon"
# What the secret may have: keys of the same names as the variables that a step reads.
KEYS = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_EXPERIMENT_NAME",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "MLFLOW_S3_ENDPOINT_URL",
    "OSTEON_IDENTITY_KEY",
    "OSTEON_REPOSITORY",
    "OSTEON_SEARCH_STORAGE",
    "OSTEON_WEBHOOK",
)

log = logging.getLogger(__name__)


def read_secret(folder: Path) -> None:
    """Set a variable for each key that is there. A line's end after a value is not part of it.

    Args:
        folder: where the secret is mounted; nothing is done where there is none.

    Raises:
        OsteonError: a value cannot be read, or could not be a variable's.

    """
    if not folder.is_dir():
        return
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    # Kubernetes adds names that begin with two dots. A key with a slip in its name would be missing without a word.
    if unknown := sorted(names.difference(KEYS)):
        log.warning("warning: the secret has keys that no step reads: %s", ", ".join(unknown))
    for name in names.intersection(KEYS):
        try:
            value = (folder / name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise OsteonError(f"{folder / name}: the secret cannot be read ({type(error).__name__})") from None
        if "\0" in value:
            raise OsteonError(f"{folder / name}: the secret has a zero byte, which no variable may have")
        os.environ[name] = value
