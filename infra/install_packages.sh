# In the image's build: the packages of one lock into /opt/osteon, without what only developers read.
set -eu
lock=$PWD/$1
export UV_SYSTEM_CERTS=true UV_CACHE_DIR=/uv-cache UV_LINK_MODE=copy

python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "the locks are for Python 3.11" >&2; exit 1; }
/uv/uv venv --quiet --python "$(command -v python3)" /opt/osteon
# --no-deps: the lock is whole, and leaves out on purpose what infra/*.in say. One package is published as source only;
# what builds it has its hash in the lock, too.
/uv/uv pip install --quiet --python /opt/osteon --no-deps --require-hashes --require-build-hashes \
  --build-constraints "$lock" -r "$lock"

rm -f /opt/osteon/.lock
rm -f /tmp/uv-*.lock  # of building that package

cd /opt/osteon/lib/python3*/site-packages
# C++ headers, and the packages' own tests and their data. numpy keeps its tests: numpy.testing imports from them.
rm -r tensorflow/include pyarrow/include pyarrow/tests pandas/tests matplotlib/tests onnx/backend/test tests
find scipy sklearn networkx h5py -type d -name tests -prune -exec rm -r {} +

# Bytecode of the rest, as nobody can write it later: without it TensorFlow alone is compiled anew at every start. Files of
# an image do not change, so nothing is looked at to see whether they did. Some packages bring files of Python 2: || true.
/opt/osteon/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash . >/dev/null || true
