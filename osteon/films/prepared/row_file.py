"""A .npy file with a row for each film, read by row."""

from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound=np.generic)


class RowFile(Generic[Value]):
    """An array of films × … that stays on the disk.

    No memory map: its pages would count as this process's memory as long as it is open, so that a pass over 100,000
    films of 224 pixels would fill a container with 5 GB, and one over their features with another.
    """

    def __init__(self, path: Path, kind: type[Value]) -> None:
        """Open a .npy file.

        Args:
            path: of the file; its rows lie one after the other.
            kind: of its values.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it holds something else, or less than its header says.

        """
        self.path, self.dtype = path, np.dtype(kind)
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            self.start = file.tell()
        if dtype != self.dtype or fortran or len(shape) < 2:
            raise ValueError(f"{path.name} is {dtype} {shape}, not {self.dtype} films × …, row by row")
        self.shape = shape
        self.row = int(np.prod(shape[1:])) * self.dtype.itemsize  # bytes
        if path.stat().st_size < self.start + len(self) * self.row:
            raise ValueError(f"{path.name} is cut off")
        self.numbers = np.arange(len(self))

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: "int | slice | NDArray[np.integer[Any]]") -> NDArray[Value]:
        """Read the row of one film, or of several, chosen as from an array."""
        chosen = np.asarray(self.numbers[rows])
        values = np.empty((chosen.size, *self.shape[1:]), self.dtype)
        with self.path.open("rb", buffering=0) as file:
            for target, row in zip(values, chosen.ravel().tolist(), strict=True):
                file.seek(self.start + row * self.row)
                if file.readinto(target.data.cast("B")) != self.row:
                    raise OSError(f"{self.path}: film {row} is cut off")
        return values.reshape(*chosen.shape, *self.shape[1:])
