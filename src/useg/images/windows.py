"""Images in windows: a file that is larger than memory, or an array that behaves like one, read part by part.

Each format opens its files as `Windows`; what is read is equal in every bit to that part of the image read whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Num

from useg import machine
from useg.errors import ImageError
from useg.images.image import Header, Image, InStore, OnMap, Place
from useg.images.polite import decoding
from useg.parts import boxes

_BAND_BYTES = 2**24
"""What `strided` reads at once, unless a single chunk is larger."""

Window = tuple[slice, ...]


def _nothing() -> None:
    pass


@dataclass(frozen=True, eq=False)
class Windows:
    """One image, or one level of a pyramid, of which parts are read. Safe to read from several threads.

    It can be pickled, and is opened anew by its path where it is unpickled.

    Attributes:
        path: the file it comes from, or None for an array.
        header: what `useg.images.read` would say of the image (of a lower level, size, pixel size and place of that).
        chunk: pixels along each spatial axis that are decoded together: a window on these borders decodes nothing in
            vain. Strips of a TIFF are as wide as the image; 1 along all axes where nothing needs decoding.
        levels: the header of each level of the pyramid, the full resolution first; of an image alone, its own.
        fetch: gives the window within the image that it is asked for, `C *window`, in any memory layout.
        release: closes the file.
        again: opens it anew.
        in_order: parts are to be read one at a time, from the first to the last, or it takes far longer.
        mapped: all of it, `C *size`, where a file holds it as memory would: memory-mapped.
    """

    path: Path | None
    header: Header
    chunk: tuple[int, ...]
    levels: tuple[Header, ...]
    fetch: Callable[[Window], np.ndarray] = field(repr=False)
    release: Callable[[], None] = field(default=_nothing, repr=False)
    again: Callable[[], Windows] | None = field(default=None, repr=False)
    in_order: bool = False
    mapped: np.ndarray | None = field(default=None, repr=False)

    @property
    def whole(self) -> Window:
        """The window that is all of the image."""
        return tuple(slice(0, n) for n in self.header.size)

    def image(self) -> Image:
        """All of it in memory; raises as `read`."""
        h = self.header
        return Image(self.read(self.whole), h.axes, h.spacing, h.unit, self.path, h.place)

    def read(self, window: Sequence[slice]) -> Num[np.ndarray, "c *window"]:
        """Decode one window, `C *window`, in native byte order and C-contiguous.

        Args:
            window: a slice a spatial axis, cut off at the borders of the image as numpy does.

        Raises:
            ImageError: the window is empty or has steps, or the file is damaged there.
        """
        name = self.path or "this array"
        inside = tuple(slice(*part.indices(n)) for part, n in zip(window, self.header.size, strict=False))
        where = ", ".join(f"{part.start}:{part.stop}" for part in inside)
        if len(window) != len(self.header.size) or any(p.step != 1 or p.stop <= p.start for p in inside):
            size = " x ".join(str(n) for n in self.header.size)
            raise ImageError(f"{name}: has no window {list(window)}; it has {size} pixels, and windows have no steps")
        with decoding(name, f"its window [{where}] "):
            found = np.ascontiguousarray(self.fetch(inside), self.header.dtype)
            if found.shape != (self.header.channels, *(part.stop - part.start for part in inside)):
                raise ImageError(f"{name}: gives {found.shape} for its window [{where}]; the file has changed")
            return found

    def bands(self) -> Iterator[Window]:
        """The whole, as windows of whole chunks: some 16 MB each, or one chunk."""
        edges, sample = list(self.chunk), self.header.channels * self.header.dtype.itemsize
        for axis in reversed(range(len(edges))):
            edges[axis] *= max(1, _BAND_BYTES // (sample * math.prod(edges)))
            edges[axis] = min(edges[axis], self.header.size[axis])
        return boxes(self.header.size, edges)

    def strided(self, steps: Sequence[int]) -> Num[np.ndarray, "c *small"]:
        """Every `steps`-th pixel of each spatial axis from the first, `C *small`, as `array[:, ::s0, ::s1]` would give.

        Reads the chunks that these pixels are in, part by part: some 16 MB at once on each core, or one chunk.

        Raises:
            ImageError: the file is damaged.
        """
        size = self.header.size
        small = tuple(-(-n // step) for n, step in zip(size, steps, strict=True))
        found = np.empty((self.header.channels, *small), self.header.dtype)

        def take(window: Window) -> None:
            parts, places = [], []
            for part, step in zip(window, steps, strict=True):
                # The pixels of this part that are taken, `step` times first, first + 1, ..., last.
                first, last = -(-part.start // step), (part.stop - 1) // step
                parts.append(slice(first * step, last * step + 1))
                places.append(slice(first, last + 1))
            if all(place.start < place.stop for place in places):
                every = tuple(slice(None, None, step) for step in steps)
                found[(slice(None), *places)] = self.read(parts)[(slice(None), *every)]

        with ThreadPoolExecutor(machine.cores(), "looking") as pool:
            list(pool.map(take, self.bands()))
        return found

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self.release()

    def __enter__(self) -> Windows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.again is None:
            raise TypeError(f"windows of {self.path} cannot be pickled; open them with useg.images.open_windows")
        return self.again, ()


def windows_of(
    array: Any,
    *,
    spacing: Sequence[float] | None = None,
    unit: str | None = None,
    place: Place | None = None,
    path: Path | None = None,
) -> Windows:
    """An array as if it were a file that is read in windows.

    Args:
        array: `C Y X` or `C Z Y X` of real numbers: of NumPy, in memory or memory-mapped, or one that is sliced and
            becomes NumPy's like one (Dask, Zarr), of which only the windows are computed.
        spacing, unit, place: as of `Header`.
        path: what it is called in messages.

    Raises:
        ImageError: it has no such shape, or holds other than real numbers.
    """
    shape, dtype = tuple(int(n) for n in array.shape), np.dtype(array.dtype)
    if len(shape) not in (3, 4) or 0 in shape or dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ImageError(
            f"{path or 'this array'}: has the shape {shape} of {dtype}; an image is C Y X or C Z Y X of real numbers"
        )
    number = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
    sizes = None if spacing is None else tuple(float(edge) for edge in spacing)
    header = Header(shape[0], shape[1:], number, "CYX" if len(shape) == 3 else "CZYX", sizes, unit, place)

    def fetch(window: Window) -> np.ndarray:
        return np.asarray(array[(slice(None), *window)])

    again = partial(windows_of, array, spacing=spacing, unit=unit, place=place, path=path)
    mapped = np.asarray(array) if isinstance(array, np.memmap) and array.dtype == number else None
    return Windows(path, header, _chunk_of(array, len(shape) - 1), (header,), fetch, again=again, mapped=mapped)


def _chunk_of(array: Any, dims: int) -> tuple[int, ...]:
    """Spatial chunk of a Dask array (which lists the sizes of all chunks) or a Zarr array; 1 where there are none."""
    chunks = getattr(array, "chunks", None)
    if not isinstance(chunks, tuple) or len(chunks) != dims + 1:
        return (1,) * dims
    return tuple(max(edge) if isinstance(edge, tuple) else int(edge) for edge in chunks[1:])


def of_image(image: Image) -> Windows:
    """An image in memory, for a format that is not decoded in parts."""
    return windows_of(image.array, spacing=image.spacing, unit=image.unit, place=image.place, path=image.path)


def pick_level(path: Path, levels: Sequence[Header], level: int) -> Header:
    """The header of a level.

    Raises:
        ImageError: there is no such level.
    """
    if not 0 <= level < len(levels):
        sizes = ", ".join(f"{i}: {' x '.join(str(n) for n in each.size)}" for i, each in enumerate(levels))
        raise ImageError(f"{path}: has no level {level}; it has {sizes}")
    return levels[level]


def reduced(full: Header, level: Header) -> Header:
    """The header of a lower level, which says nothing but its size: pixel size and place follow from the full one."""
    ratios = tuple(_ratio(n, m) for n, m in zip(full.size, level.size, strict=True))
    spacing = tuple(s * r for s, r in zip(full.spacing, ratios, strict=True)) if full.spacing else None
    place = full.place
    if isinstance(place, OnMap):
        a, b, c, d, e, f = place.transform
        down, right = ratios[-2:]
        place = OnMap((a * right, b * down, c, d * right, e * down, f), place.crs)
    return replace(level, spacing=spacing, unit=full.unit, place=place if isinstance(place, OnMap | InStore) else None)


def _ratio(full: int, level: int) -> float:
    """How many times smaller a level is: 2, not 1.998, where 1001 pixels became 501."""
    whole = max(1, round(full / level))
    return float(whole) if level in (full // whole, -(-full // whole)) else full / level
