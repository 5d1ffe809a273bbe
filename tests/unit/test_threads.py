import resource
import subprocess
import sys

import pytest

AGAIN_AND_AGAIN = """
import resource
import numpy as np
from osteon.threads import keep_freed_memory
if {kept}:
    keep_freed_memory()
def film():
    return [np.ones((320, 320), np.float32) for _ in range(6)]
film()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    film()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 50)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_of_one_film_is_there_for_the_next() -> None:
    faults = [
        float(subprocess.check_output([sys.executable, "-c", AGAIN_AND_AGAIN.format(kept=kept)]))
        for kept in (False, True)
    ]
    pages = 6 * 320 * 320 * 4 / resource.getpagesize()
    assert faults[0] > pages / 2  # or there would be nothing to keep
    assert faults[1] < pages / 50
