"""Keras, imported quietly: `from osteon.models.networks.quiet_keras import keras` in place of `import keras`.

TensorFlow's C++ code writes a dozen lines before it knows its log level, an 'error' that there is no GPU among them.
They are held back, and shown only where loading fails.
"""

import gc
import logging
import os
import sys

from osteon.models.networks.backend import stderr_held_back

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Every fold has a network of its own, of which it warns: it would be faster to compile one only.
logging.getLogger("tensorflow").setLevel(logging.ERROR)
_first = "keras" not in sys.modules
with stderr_held_back():
    import keras
if _first:  # what stays for good is not looked through for garbage each time that a network is dropped
    gc.freeze()

__all__ = ["keras"]
