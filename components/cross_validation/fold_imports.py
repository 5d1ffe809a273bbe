"""What computing a fold needs, imported once, in the process from which the processes of the folds are forked.

Imported, and nothing begun: threads do not come along into a forked process.
"""

import gc
from importlib import import_module

from osteon.environment import collect_garbage_rarely
from osteon.models.networks.backend import import_keras

collect_garbage_rarely()
import_keras()
for name in ("osteon.models.heldout.fold", "mlflow", "sklearn.ensemble", "sklearn.neighbors", "sklearn.svm"):
    import_module(name)
gc.freeze()  # the processes share what none of them writes to
