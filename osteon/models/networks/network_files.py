"""A network as a .keras file: weights and layers, nothing else."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from osteon.errors import OsteonError


def save_network(path: Path, network: Any) -> None:
    """Write a network alone: to answer it needs neither losses nor optimiser, and is a third of the size."""
    from osteon.models.networks.quiet_keras import keras

    keras.Model(network.inputs, network.output, name=network.name).save(path)


def load_network(path: Path) -> Any:
    """Load a network.

    Raises:
        OsteonError: missing or damaged.

    """
    from osteon.models.networks.backend import load_keras

    if not path.is_file():
        raise OsteonError(f"{path.parent}: no packaged model ({path.name} is missing); run the step train")
    keras = load_keras()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    # What zipfile and Keras raise, one byte changed here or there.
    except (ValueError, OSError, KeyError, TypeError, NotImplementedError, BadZipFile) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OsteonError(f"{path.parent}: damaged model ({reason}); run the step train again") from None
