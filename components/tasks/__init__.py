"""Steps as tasks of a cluster. Whatever a task imports first, its secret is read before anything else happens."""

from pathlib import Path

from osteon.mounted_secret import MOUNTED, read_secret

read_secret(Path(MOUNTED))
