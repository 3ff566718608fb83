"""Arrays on a disk instead of in memory: the system keeps in memory what is used of them and what there is room for."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Shaped
from numpy.typing import DTypeLike

from useg.atomic import telling

_FIRST, _MOST = 1 << 24, 1 << 30
"""Bytes of the first file, and of later ones: each holds many arrays, for a process may not hold many files open."""
_ALIGN = 64

New = Callable[[tuple[int, ...], DTypeLike], np.ndarray]
"""Makes an array to be filled: `numpy.empty`, or `Scratch.new`."""


def reserve(file: IO[bytes], size: int) -> None:
    """Make a file so long, with room for it on the disk where the system can see to that.

    A disk that fills up later, while a mapped array is written, would end the process without a word.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


class Scratch:
    """Makes arrays that lie in files without a name, which go with the last array in them, however the process ends.

    Args:
        folder: on whose disk; where it is not there yet, the one that it will stand in.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.resolve()
        self.folder = next(part for part in (folder, *folder.parents) if part.is_dir())
        self._free: np.ndarray = np.empty(0, np.uint8)
        self._next = _FIRST

    def new(self, shape: Sequence[int], dtype: DTypeLike) -> Shaped[np.ndarray, "..."]:
        """An array of zeros, to be written and read like any other.

        Raises:
            OutputError: the disk is full, or may not be written.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > self._free.size:
            self._free = self._map(max(size, self._next))
            self._next = min(2 * self._next, _MOST)
        taken = self._free[:size]
        self._free = self._free[-(-size // _ALIGN) * _ALIGN :]
        return taken.view(dtype).reshape(shape)

    def _map(self, size: int) -> np.ndarray:
        with telling(self.folder), tempfile.TemporaryFile(dir=self.folder) as file:
            reserve(file, size)
            return np.asarray(np.memmap(file, np.uint8, "r+", shape=(size,)))
