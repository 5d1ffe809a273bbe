"""Loading Keras with its backend, quietly."""

import gc
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def load_keras() -> ModuleType:
    """Import Keras and wake its backend."""
    keras = import_keras()
    with _stderr_held_back():
        keras.ops.zeros(1)  # looks for devices
    return keras


def import_keras() -> ModuleType:
    """Import Keras and let its backend sleep: it has begun no thread, so that the process can still be forked.

    TensorFlow's C++ code writes a dozen lines to stderr before it knows its log level, an 'error' that there is no
    GPU among them. They are held back here, and shown only where loading fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Every fold has a network of its own, of which it warns: it would be faster to compile one only.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    first = "keras" not in sys.modules
    with _stderr_held_back():
        import keras
    if first:  # what stays for good is not looked through for garbage each time that a network is dropped
        gc.freeze()
    return keras  # type: ignore[no-any-return]


@contextmanager
def _stderr_held_back() -> Iterator[None]:
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
