"""Arrays of a PyTorch file in its older format, read without PyTorch and without running anything that is in the file.

The format (torch/serialization.py, `_legacy_save`): five pickles one after the other (magic number, version of the
protocol, system, the object itself, the keys of its storages), then each storage's number of values (int64) and values.
"""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


@dataclass(frozen=True)
class _Storage:
    """A row of values that tensors are cut from."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A tensor before its storage is read; offset and strides in values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _ArraysOnly(pickle.Unpickler):
    """Builds dictionaries, numbers, texts and tensors' descriptions; anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, count, *view = pid
        if kind != "storage" or storage not in _DTYPES or any(part is not None for part in view):
            raise pickle.UnpicklingError("it holds a storage of an unknown kind")
        return _Storage(str(key), _DTYPES[storage], int(count))


def read_torch_weights(content: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a state dictionary, by name, in its order.

    Args:
        content: a file that torch.save wrote before PyTorch 1.6, or with `_use_new_zipfile_serialization=False`.

    Returns:
        Arrays with the shapes and dtypes that the tensors had.

    Raises:
        ValueError: it is no such file, it is cut short, or it holds something else than tensors.

    """
    file = BytesIO(content)
    try:
        magic, protocol, _ = (_ArraysOnly(file).load() for _ in range(3))
        if (magic, protocol) != (MAGIC_NUMBER, PROTOCOL):
            raise ValueError("no PyTorch file in the older format")
        named, keys = _ArraysOnly(file).load(), _ArraysOnly(file).load()
        if not isinstance(named, Mapping) or not all(isinstance(tensor, _Tensor) for tensor in named.values()):
            raise ValueError("no dictionary of tensors")
        storages = {tensor.storage.key: tensor.storage for tensor in named.values()}
        values = {key: _read_storage(file, storages[key]) for key in keys}
        return {name: _cut(values[tensor.storage.key], tensor) for name, tensor in named.items()}
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"no dictionary of tensors that can be read: {error or type(error).__name__}") from None


def _read_storage(file: BytesIO, storage: _Storage) -> NDArray[Any]:
    size = storage.count * np.dtype(storage.dtype).itemsize
    count, content = file.read(8), file.read(size)
    if count != storage.count.to_bytes(8, "little") or len(content) != size:
        raise ValueError("the file is cut short")
    return np.frombuffer(content, storage.dtype)


def _cut(values: NDArray[Any], tensor: _Tensor) -> NDArray[Any]:
    """A tensor out of its storage, in order of rows.

    Raises:
        ValueError: it reaches beyond its storage.

    """
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.strides)) < 0 or min(tensor.shape, default=1) < 1 or last >= len(values):
        raise ValueError("a tensor reaches beyond its storage")
    strides = tuple(stride * values.itemsize for stride in tensor.strides)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides))
