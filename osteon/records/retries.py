"""How long a caller waits for MLflow. The command line names it, so nothing is imported here."""

from enum import Enum


class Retries(Enum):
    """How often MLflow retries a request that its server does not answer; it waits longer each time."""

    CONNECTING = 2  # a few seconds: the address may be wrong
    SHORT = 4  # half a minute, in which a server restarts: for a decision, which can be made again
    LONG = None  # as many as MLflow makes by itself: four minutes, as suits a step that worked for hours
