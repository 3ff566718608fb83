"""A large array on disk that several processes write block by block, and that outlives them.

labels.store/            zarr.json   a Zarr v3 group, which becomes the OME-Zarr image
    0/                   zarr.json   the array: `*size`, or `k *size`
        c/0/0, c/0/1, ...            a file a chunk, there as soon as it is written, even when it is empty
    1/, 2/, ...                      every second pixel of the level before, once `lower_levels` made them
"""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from useg import machine
from useg.atomic import sync, telling
from useg.errors import ImageError, OutputError, SizeError, extra
from useg.images.polite import decoding

_SMALL = 1024
"""A pyramid ends with the level whose longest edge is at most this."""


@dataclass(frozen=True, eq=False)
class LabelStore:
    """An array in chunks: labels, objects, confidence, or scores with an axis `k` in front. It can be pickled.

    Attributes:
        path: the folder; several stores are several folders.
        size: pixels along each spatial axis. chunk: of a chunk.
        dtype: of the numbers.
        planes: length of the axis in front of the spatial ones, or None where there is none.
        level: of the pyramid in the folder.
    """

    path: Path
    size: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    planes: int | None = None
    level: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return LabelStore, (self.path, self.size, self.dtype, self.chunk, self.planes, self.level)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        size: Sequence[int],
        dtype: np.dtype[Any] | type[np.generic] | str,
        chunk: Sequence[int],
        *,
        planes: int | None = None,
    ) -> "LabelStore":
        """Make an empty store, durably; by one process, the others `open` it.

        Args:
            path: a folder that is not there yet.
            size: `y x` or `z y x`, in pixels.
            dtype: of the numbers.
            chunk: pixels along each axis that are compressed together into one file.
            planes: length of an axis in front, each of whose planes has chunks of its own.

        Raises:
            MissingExtraError: zarr is not installed.
            OutputError: something is there already, or the disk refuses.
        """
        path = Path(path)
        if path.exists():
            raise OutputError(f"{path}: is there already; open it, or name another folder")
        with extra(path, "zarr"):
            import zarr
        edges = tuple(min(int(edge), int(n)) for edge, n in zip(chunk, size, strict=True))
        store = cls(path, tuple(int(n) for n in size), np.dtype(dtype), edges, planes)
        with telling(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            zarr.create_group(str(path), zarr_format=3)
            store._create()
        return store

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "LabelStore":
        """Open a store that is there.

        Raises:
            MissingExtraError: zarr is not installed.
            ImageError: it is no store, or damaged.
        """
        path = Path(path)
        with extra(path, "zarr"):
            import zarr
        with decoding(path):
            array: Any = zarr.open_array(str(path / "0"), mode="r", zarr_format=3)
            planes = int(array.shape[0]) if array.metadata.dimension_names[0] == "c" else None
            skip = 0 if planes is None else 1
            return cls(path, tuple(array.shape[skip:]), array.dtype, tuple(array.chunks[skip:]), planes)

    def write(self, window: Sequence[slice], array: Shaped[np.ndarray, "..."]) -> None:
        """Write one window, `*window` or `k *window`, of whole chunks: no two processes touch the same file.

        Raises:
            SizeError: the window does not begin and end on chunk borders, or the array has another size.
            OutputError: the disk is full, or may not be written.
        """
        inside = self._inside(window)
        for part, edge, n in zip(inside, self.chunk, self.size, strict=True):
            if part.start % edge or (part.stop % edge and part.stop != n):
                raise SizeError(
                    f"{self.path}: the window {_words(inside)} is not on the borders of chunks {self.chunk}"
                )
        wanted = (*self.front, *(part.stop - part.start for part in inside))
        if array.shape != wanted:
            raise SizeError(f"{self.path}: {array.shape} numbers for the window {_words(inside)} of {wanted}")
        with telling(self.path):
            self._writing[(..., *inside)] = array

    def read(self, window: Sequence[slice], *, plane: int | None = None) -> Shaped[np.ndarray, "..."]:
        """Read one window, `*window` or `k *window`, or `*window` of one plane; what was never written is 0.

        Raises:
            ImageError: a chunk is damaged.
        """
        inside = self._inside(window)
        with decoding(self.path, f"its window {_words(inside)} "):
            return np.asarray(self._reading[(..., *inside) if plane is None else (plane, *inside)])

    def sync(self, window: Sequence[slice]) -> None:
        """See that a window that was written stays so when the power fails: its chunks and their folders.

        Raises:
            OutputError: a chunk was not written, or the disk refuses.
        """
        folders: set[Path] = set()
        with telling(self.path):
            for file in self.files(window):
                if not file.is_file():
                    raise OutputError(f"{self.path}: lacks {file.relative_to(self.path)}; write the window again")
                sync(file)
                folders.update(itertools.takewhile(lambda up: up != self.path, file.parents))
            for folder in sorted(folders, reverse=True):
                sync(folder)

    def holds(self, window: Sequence[slice]) -> bool:
        """Whether all chunks of a window are written."""
        return all(file.is_file() for file in self.files(window))

    def files(self, window: Sequence[slice]) -> Iterator[Path]:
        """The files of the chunks of a window, there or not."""
        inside = self._inside(window)
        counts = [
            range(p.start // edge, -(-p.stop // edge)) if p.stop > p.start else range(0)
            for p, edge in zip(inside, self.chunk, strict=True)
        ]
        front = [range(n) for n in self.front]
        for place in itertools.product(*front, *counts):
            yield self.path.joinpath(str(self.level), "c", *(str(index) for index in place))

    def blocks(self, edges: Sequence[int] | None = None) -> Iterator[tuple[slice, ...]]:
        """The whole, as windows of one chunk, or of `edges` pixels along each axis."""
        edges = edges or self.chunk
        for starts in itertools.product(*(range(0, n, edge) for n, edge in zip(self.size, edges, strict=True))):
            ends = (min(s + e, n) for s, e, n in zip(starts, edges, self.size, strict=True))
            yield tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))

    def highest(self) -> int:
        """The highest label, read chunk by chunk.

        Raises:
            ImageError: a label is below 0 or above 2^32 - 1, or a chunk is missing or damaged.
        """
        high = 0
        for block in self.blocks():
            found = self.written(block)
            high = max(high, int(found.max()))
            if int(found.min()) < 0 or high >= 2**32:
                low = int(found.min())
                raise ImageError(f"{self.path}: holds {low}..{high} in {_words(block)}; labels are 0..2^32-1")
        return high

    def smallest(self) -> np.dtype[Any]:
        """The smallest of 8, 16 and 32 bits that holds all labels; fractions keep their type.

        Raises:
            ImageError: as for `highest`.
        """
        if self.dtype.kind == "f" or self.dtype == np.uint8:
            return self.dtype
        high = self.highest()
        return np.dtype(np.uint8 if high < 2**8 else np.uint16 if high < 2**16 else np.uint32)

    def written(self, window: Sequence[slice], *, plane: int | None = None) -> Shaped[np.ndarray, "..."]:
        """As `read`, of what must be there.

        Raises:
            ImageError: a chunk is missing or damaged.
        """
        if not self.holds(window):
            raise ImageError(f"{self.path}: its window {_words(self._inside(window))} was not written; write it again")
        return self.read(window, plane=plane)

    def lower_levels(self) -> list["LabelStore"]:
        """Make the levels of a pyramid, each of every second pixel of the one before, chunk by chunk.

        Returns:
            They, each half as large, until the longest edge is at most 1024 pixels. Those that are there are made anew.

        Raises:
            ImageError: a chunk is missing or damaged.
            OutputError: the disk is full, or may not be written.
        """
        found: list[LabelStore] = []
        level = self
        while max(level.size) > _SMALL:
            half = tuple(-(-n // 2) for n in level.size)
            edges = tuple(min(edge, n) for edge, n in zip(self.chunk, half, strict=True))
            lower = LabelStore(self.path, half, self.dtype, edges, self.planes, level.level + 1)
            with telling(self.path):
                lower._create()
            with ThreadPoolExecutor(machine.cores(), "level") as pool:
                list(pool.map(partial(_halve, level, lower), lower.blocks()))
            found.append(lower)
            level = lower
        return found

    def _create(self) -> None:
        """Make the array of this level; one that is there goes."""
        import zarr
        from zarr.codecs import ZstdCodec

        front = self.front
        zarr.create_array(
            str(self.path / str(self.level)),
            shape=(*front, *self.size),
            dtype=self.dtype,
            chunks=((1,) * len(front) + self.chunk),
            compressors=ZstdCodec(level=3),
            fill_value=0,
            dimension_names=self.axes,
            overwrite=True,
        )
        for name in (f"{self.level}/zarr.json", str(self.level), "zarr.json", ".", ".."):
            sync(self.path / name)

    @property
    def axes(self) -> str:
        """A letter an axis: "yx" or "zyx", with "c" before them where there are planes."""
        return "c" * len(self.front) + "zyx"[-len(self.size) :]

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return math.prod((*self.front, *self.size)) * self.dtype.itemsize

    @property
    def front(self) -> tuple[int, ...]:
        """`(planes,)`, or nothing."""
        return () if self.planes is None else (self.planes,)

    def _inside(self, window: Sequence[slice]) -> tuple[slice, ...]:
        return tuple(slice(*part.indices(n)) for part, n in zip(window, self.size, strict=True))

    # The array is opened once: that takes longer than to read a chunk of it.

    @cached_property
    def _reading(self) -> Any:
        return self._open("r")

    @cached_property
    def _writing(self) -> Any:
        # An empty chunk that was written is told so from one that was not.
        return self._open("r+").with_config({"write_empty_chunks": True})

    def _open(self, mode: str) -> Any:
        import zarr

        return zarr.open_array(str(self.path / str(self.level)), mode=mode, zarr_format=3)


def _halve(level: LabelStore, lower: LabelStore, block: Sequence[slice]) -> None:
    """Make one chunk of a lower level."""
    above = [slice(2 * p.start, min(2 * p.stop, n)) for p, n in zip(block, level.size, strict=True)]
    every: tuple[Any, ...] = (..., *(slice(None, None, 2) for _ in block))
    lower.write(block, level.written(above)[every])
    lower.sync(block)


def _words(window: Sequence[slice]) -> str:
    return "[" + ", ".join(f"{part.start}:{part.stop}" for part in window) + "]"
