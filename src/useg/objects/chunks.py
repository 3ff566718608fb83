"""An image in chunks: where they lie, and the numbers that each chunk gives by itself.

A `Window` is one slice an axis, with a start and a stop inside the image and no step. Whatever `read` returns is
never written to, so a store may hand out its own memory.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32, Int64, Integer, Shaped

from useg.errors import SizeError

Window = tuple[slice, ...]

_AT_ONCE = 1 << 18  # Pixels that are looked up at once: as indices they take 8 bytes each.


@runtime_checkable
class Source(Protocol):
    """An array that is read window by window."""

    def read(self, window: Window) -> np.ndarray:
        """The pixels of a window."""


@runtime_checkable
class Store(Source, Protocol):
    """An array that is read and written window by window."""

    def write(self, window: Window, array: np.ndarray) -> None:
        """Set the pixels of a window."""


class Held:
    """A store in memory. An array that fills all of it takes its place and is not copied."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def read(self, window: Window) -> np.ndarray:
        """The window's own memory."""
        return self.array[window]

    def write(self, window: Window, array: np.ndarray) -> None:
        """Set the pixels of a window."""
        if array.shape == self.array.shape and array.dtype == self.array.dtype:
            self.array = array
        else:
            self.array[window] = array


@dataclass(frozen=True)
class Grid:
    """How an image is cut into chunks: `edges` has for each axis 0, where it is cut, and its size, ascending.

    Chunks are numbered 0, 1, .. along the last axis first. An axis without pixels has the one edge 0.

    >>> grid = Grid.regular((5, 4), (2, 4))
    >>> grid.edges, len(grid), grid.window(1)
    (((0, 2, 4, 5), (0, 4)), 3, (slice(2, 4, None), slice(0, 4, None)))

    Raises:
        SizeError: the edges do not begin with 0 or do not ascend.
    """

    edges: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for edges in self.edges:
            if edges[:1] != (0,) or any(b <= a for a, b in pairwise(edges)):
                raise SizeError(f"chunks cut at {edges}; give 0, the cuts and the size, ascending")

    @classmethod
    def regular(cls, size: Sequence[int], shape: Sequence[int]) -> Grid:
        """Chunks of one shape, the last along each axis cut off where the image ends.

        Raises:
            SizeError: the shape has not one length of 1 or more an axis.
        """
        if len(shape) != len(size) or any(length < 1 for length in shape):
            raise SizeError(f"chunks of {tuple(shape)} pixels for an image of {tuple(size)}; give 1 or more an axis")
        return cls(tuple((*range(0, n, length), n) if n else (0,) for n, length in zip(size, shape, strict=True)))

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels of the image along each axis."""
        return tuple(edges[-1] for edges in self.edges)

    def __len__(self) -> int:
        return math.prod(len(edges) - 1 for edges in self.edges)

    def window(self, chunk: int) -> Window:
        """Where a chunk lies."""
        places = np.unravel_index(chunk, [len(edges) - 1 for edges in self.edges])
        return tuple(slice(edges[k], edges[k + 1]) for edges, k in zip(self.edges, map(int, places), strict=True))

    def around(self, window: Window, halo: int) -> Window:
        """The window and so many pixels on all sides, as far as the image goes."""
        return tuple(
            slice(max(0, span.start - halo), min(n, span.stop + halo))
            for span, n in zip(window, self.size, strict=True)
        )

    def crossing(self, window: Window) -> list[tuple[int, Window]]:
        """The chunks that a window has pixels of, and what it shares with each."""
        shared = [
            [
                (k, slice(max(span.start, edges[k]), min(span.stop, edges[k + 1])))
                for k in range(bisect_right(edges, span.start) - 1, bisect_left(edges, span.stop))
            ]
            for span, edges in zip(window, self.edges, strict=True)
        ]
        counts = [len(edges) - 1 for edges in self.edges]
        return [
            (int(np.ravel_multi_index([k for k, _ in places], counts)), tuple(span for _, span in places))
            for places in product(*shared)
        ]

    def seams(self, chunk: int) -> Iterator[tuple[int, Window]]:
        """The axes along which another chunk follows, and the two planes of pixels that meet there."""
        window = self.window(chunk)
        for axis, (span, n) in enumerate(zip(window, self.size, strict=True)):
            if span.stop < n:
                yield axis, (*window[:axis], slice(span.stop - 1, span.stop + 1), *window[axis + 1 :])


class Numbers:
    """The numbers 1, 2, .. that each chunk gives by itself, and a value of each: of 0 it is 0.

    Attributes:
        begins: for each chunk the place of its number 1 among all, and at the end how many there are.
    """

    def __init__(self, counts: Iterable[int]) -> None:
        self.begins: Int64[np.ndarray, "chunks"] = np.cumsum([0, *counts])
        if len(self) > np.iinfo(np.int32).max:
            raise SizeError(f"{len(self)} pieces of objects are more than can be numbered; raise the threshold")

    def __len__(self) -> int:
        return int(self.begins[-1])

    def of(self, chunk: int) -> slice:
        """The places of a chunk's numbers."""
        return slice(int(self.begins[chunk]), int(self.begins[chunk + 1]))

    def table(self, chunk: int, values: Integer[np.ndarray, "n"]) -> Int32[np.ndarray, "m"]:
        """What to put for each number of a chunk, given the values of all."""
        return np.concatenate([[0], values[self.of(chunk)]]).astype(np.int32)

    def apart(self) -> Int32[np.ndarray, "n"]:
        """Values that tell all numbers apart: -1, -2, .."""
        return -np.arange(1, len(self) + 1, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Piece:
    """What a window shares with a chunk, and for each store the table of this chunk's numbers."""

    window: Window
    tables: tuple[Int32[np.ndarray, "_"], ...]


def read_values(stores: Sequence[Source], window: Window, pieces: Sequence[Piece]) -> Int32[np.ndarray, "*size"]:
    """The values of a window's numbers; of several stores, their sum."""
    values = np.empty([span.stop - span.start for span in window], np.int32)
    for piece in pieces:
        part = look_up(piece.tables[0], stores[0].read(piece.window))
        for store, table in zip(stores[1:], piece.tables[1:], strict=True):
            part += look_up(table, store.read(piece.window))
        if piece.window == window:
            return part
        values[within(piece.window, window)] = part
    return values


def within(part: Window, window: Window) -> Window:
    """A window as seen from the first pixel of another."""
    return tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, window, strict=True))


def look_up(table: Shaped[np.ndarray, "n"], numbers: Int32[np.ndarray, "*size"]) -> Shaped[np.ndarray, "*size"]:
    """The entry of each number."""
    result = np.empty(numbers.shape, table.dtype)
    for begin, part in parts(result):
        np.take(table, numbers.reshape(-1)[begin : begin + part.size], out=part, mode="clip")  # all are in the table
    return result


def parts(array: Shaped[np.ndarray, "*size"]) -> Iterator[tuple[int, Shaped[np.ndarray, "n"]]]:
    """The array's pixels in parts, views of it that need little memory as indices, and where each begins."""
    flat = array.reshape(-1)
    for begin in range(0, flat.size, _AT_ONCE):
        yield begin, flat[begin : begin + _AT_ONCE]
