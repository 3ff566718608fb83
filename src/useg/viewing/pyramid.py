"""An image at full size, at half of it, at a quarter, ...: what a viewer needs to show any part of it at once.

    level 0    the image                       the file itself, where parts of it are read fast
    level 1    ceil(n / 2) pixels an edge      a level of the file, or stored in the cache
    ...
    the last   one tile

A level is read as it is, or made on the fly of one that is at most 4 times as large. Where there is none, `build`
stores the levels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Num

from useg.errors import MissingError
from useg.images import Header, Windows
from useg.viewing.display import Range
from useg.viewing.shrink import halve

TILE = 512
"""Edge of a tile in pixels; those at the right and lower border are smaller."""
NEAR = 2
"""So many levels are made on the fly of a finer one; further down they are stored."""


@dataclass(frozen=True, eq=False)
class Pyramid:
    """One image with its levels. Safe to read from several threads.

    Attributes:
        header: of the full resolution.
        version: short text that is another one when the file changes.
        ranges: which gray values to show, a range a channel.
        sources: the levels that are there, level 0 among them; the others are made of these.
    """

    header: Header
    version: str
    ranges: tuple[Range, ...]
    sources: Mapping[int, Windows]

    @property
    def slices(self) -> int:
        """How many slices there are: 1 of a `C Y X` image."""
        return self.header.size[0] if len(self.header.size) == 3 else 1

    @property
    def count(self) -> int:
        """How many levels there are."""
        return count_levels(self.header.size)

    def size(self, level: int) -> tuple[int, int]:
        """Pixels of a level, `(y, x)`."""
        return size_at(self.header.size, level)

    def read(self, level: int, z: int, rows: slice, columns: slice) -> Num[np.ndarray, "c y x"]:
        """A part of one slice at one level, `C Y X`, cut off at the border.

        Raises:
            MissingError: there is no such level, slice or part.
            ImageError: the file is damaged there.
        """
        if not (0 <= level < self.count and 0 <= z < self.slices):
            raise MissingError(
                f"level {level} of slice {z}: there are {self.count} levels of {self.slices} slices; ask for one"
            )
        height, width = self.size(level)
        window = f"rows {rows.start}:{rows.stop}, columns {columns.start}:{columns.stop}"
        if min(rows.start, columns.start) < 0 or rows.stop <= rows.start or columns.stop <= columns.start:
            raise MissingError(f"{window}: hold no pixels; ask for others")
        if rows.start >= height or columns.start >= width:
            raise MissingError(f"{window}: lie outside the {height} x {width} pixels of this level; ask for others")
        finer = max(there for there in self.sources if there <= level)
        by = 2 ** (level - finer)
        found = read_part(
            self.sources[finer],
            self.size(finer),
            z,
            slice(rows.start * by, min(rows.stop, height) * by),
            slice(columns.start * by, min(columns.stop, width) * by),
        )
        for _ in range(level - finer):
            found = halve(found)
        return found

    def close(self) -> None:
        """Close the files; nothing can be read afterwards."""
        for windows in self.sources.values():
            windows.close()


def count_levels(size: tuple[int, ...]) -> int:
    """How many levels an image of `(y, x)` or `(z, y, x)` pixels has: the last one fits into a tile."""
    return 1 + max(0, (max(size[-2:]) - 1).bit_length() - (TILE - 1).bit_length())


def size_at(size: tuple[int, ...], level: int) -> tuple[int, int]:
    """Pixels `(y, x)` of a level: half of those of the one before, rounded up."""
    return -(-size[-2] // 2**level), -(-size[-1] // 2**level)


def version_of(path: Path) -> str:
    """Short text that is another one when the file, or what a folder lists, was written anew.

    Raises:
        MissingError: there is no such file.
    """
    files = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
    try:
        found = [(each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in files]
    except FileNotFoundError:
        raise MissingError(f"{path}: there is no such file; check the path") from None
    return hashlib.blake2b(repr(found).encode(), digest_size=6).hexdigest()


def read_part(windows: Windows, size: tuple[int, int], z: int, rows: slice, columns: slice) -> Num[np.ndarray, "c y x"]:
    """A part of one slice of a level of `size` pixels; the file may have one fewer along an edge, as some round down.

    Raises:
        ImageError: the file is damaged there.
    """
    there = windows.header.size[-2:]
    stops = [min(part.stop, n) for part, n in zip((rows, columns), size, strict=True)]
    window = [slice(min(p.start, n - 1), min(s, n)) for p, s, n in zip((rows, columns), stops, there, strict=True)]
    deep = len(windows.header.size) == 3
    found = windows.read([slice(z, z + 1), *window])[:, 0] if deep else windows.read(window)
    lacking = [s - p.start - n for s, p, n in zip(stops, (rows, columns), found.shape[-2:], strict=True)]
    if any(lacking):
        found = np.pad(found, [(0, 0), *((0, n) for n in lacking)], mode="edge")
    return found
