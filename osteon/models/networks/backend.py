"""Loading Keras with its backend, quietly."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def load_keras() -> ModuleType:
    """Import Keras and wake its backend."""
    keras = import_keras()
    with stderr_held_back():
        keras.ops.zeros(1)  # looks for devices
    return keras


def import_keras() -> ModuleType:
    """Import Keras and let its backend sleep: it has begun no thread, so that the process can still be forked."""
    # It takes seconds: who only names the backend does not wait for it.
    from osteon.models.networks.quiet_keras import keras

    return keras  # type: ignore[no-any-return]


@contextmanager
def stderr_held_back() -> Iterator[None]:
    """Send file descriptor 2, where C++ writes too, into a file, and copy it back out on an exception."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as hold:
        os.dup2(hold.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            hold.seek(0)
            os.write(2, hold.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
