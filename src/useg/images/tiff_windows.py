"""TIFF in windows: only the strips or tiles that a window needs are read and decoded.

What lies in the file as it will lie in memory is mapped into it. What cannot be decoded in parts (a turned page, one
with depth of its own) is decoded whole once, within `MAX_BYTES`.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import Shaped

from useg.errors import ImageError
from useg.images.image import MAX_BYTES, Header, Layout, layout_of
from useg.images.polite import decoding
from useg.images.tiff import check, first_series, header_of, orientation_of, read, shown
from useg.images.windows import Window, Windows, pick_level, reduced

_KEPT_BYTES = 2**27
"""Decoded strips and tiles that are kept: the strips of a wide image serve all windows beside one another."""

_JPEG = {6, 7, 34892, 33007}
"""Compressions whose tables may stand apart from the strips and tiles."""


def open_windows(path: Path, *, indices: bool = False, alpha: bool = False, level: int = 0) -> Windows:
    """Open a TIFF of any kind, or one level of its pyramid.

    Args:
        path: the file.
        indices: give the palette's indices instead of its colours, as a mask wants.
        alpha: keep the samples marked as alpha as channels.
        level: of the pyramid; 0 is the full resolution.

    Raises:
        ImageError: the file is damaged or truncated, has axes that no image has, or no such level; or it cannot be
            decoded in parts and is too large to be read whole.
    """
    with decoding(path):
        file = tifffile.TiffFile(path, _multifile=False)
        try:
            series, layout = first_series(path, file)
            levels = level_headers(path, file, series, indices=indices, alpha=alpha)
            return of_series(path, file, series, layout, levels, indices=indices, alpha=alpha, level=level)
        except BaseException:
            file.close()
            raise


def level_headers(
    path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries, *, indices: bool = False, alpha: bool
) -> tuple[Header, ...]:
    """The header of each level of a pyramid; a level with other axes or samples than the first ends it."""
    found: list[Header] = []
    for each in series.levels:
        layout = layout_of(path, each.axes, each.shape)
        header = header_of(file, each, layout, indices=indices, alpha=alpha)
        if found:
            like = found[0]
            if (header.channels, header.axes, header.dtype) != (like.channels, like.axes, like.dtype):
                break
            header = reduced(like, header)
        found.append(header)
    return tuple(found)


def of_series(
    path: Path,
    file: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    layout: Layout,
    levels: tuple[Header, ...],
    *,
    indices: bool = False,
    alpha: bool,
    level: int,
) -> Windows:
    """Windows of a level of a series; `levels` are the headers of all. The file is closed with them.

    Raises:
        ImageError: as for `open_windows`.
    """
    header = pick_level(path, levels, level)
    if level:
        series = series.levels[level]
        layout = layout_of(path, series.axes, series.shape)
    check(path, file, series, header, None)
    page = series.keyframe
    fetch: Callable[[Window], np.ndarray]
    mapped, pages = _mapped(path, file, series), _Pages.of(file, series)
    turned = orientation_of(page) != 1 or series.transform is not None
    if mapped is not None and not turned:
        chunk = (1,) * len(header.size)

        def fetch(window: Window) -> np.ndarray:
            return shown(layout.sorted(mapped[layout.selection(window)]), page, indices=indices, alpha=alpha)

    elif pages is not None and not turned:
        # One piece is decoded once and kept.
        kept = page.is_memmappable or (len(series) == 1 and math.prod(page.chunked) == 1)
        chunk = (*((1,) * (len(header.size) - 2)), *((1, 1) if kept else pages.chunk))

        def fetch(window: Window) -> np.ndarray:
            found = layout.sorted(pages.read(layout.selection(window)))
            return shown(found, page, indices=indices, alpha=alpha)

    elif series is file.series[0]:
        check(path, file, series, header, MAX_BYTES)
        chunk = (1,) * len(header.size)
        whole = cache(partial(read, path, indices=indices, alpha=alpha))

        def fetch(window: Window) -> np.ndarray:
            return whole().array[(slice(None), *window)]

    else:
        raise ImageError(
            f"{path}: its level {level} is turned, or has depth in its tiles; read level 0, or save it anew"
        )
    return Windows(path, header, chunk, levels, fetch, file.close)


def _mapped(path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> np.ndarray | None:
    """The samples in the axes of the series, memory-mapped where the file holds them so."""
    if series.dataoffset is None or not series.keyframe.is_memmappable:
        return None
    dtype = np.dtype(file.byteorder + series.dtype.char)
    return np.memmap(path, dtype, "r", series.dataoffset, series.get_shape())


@dataclass(frozen=True, eq=False)
class _Pages:
    """The pages of a series: planes of strips or tiles, `before` axes of planes, then Y and X, then samples `after`.

    A plane is a page, or one of the separate samples of a page.
    """

    file: tifffile.TiffFile
    series: tifffile.TiffPageSeries
    before: tuple[int, ...]
    after: tuple[int, ...]
    chunk: tuple[int, int]
    kept: "_Kept"
    lock: threading.Lock

    @classmethod
    def of(cls, file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> "_Pages | None":
        """None where a window cannot be put together of strips or tiles."""
        page, axes, shape = series.keyframe, series.axes, series.shape
        separate, depth, height, width, samples = page.shaped
        y = axes.index("Y")
        before, after = shape[:y], shape[y + 2 :]
        edges = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
        count = separate * math.prod(-(-n // edge) for n, edge in zip((height, width), edges, strict=True))
        if (
            axes[y : y + 2] != "YX"
            or shape[y : y + 2] != (height, width)
            or depth * page.tiledepth != 1
            or math.prod(after) != samples
            or math.prod(before) != len(series) * separate
            or math.prod(page.chunked) != count
        ):
            return None
        page.init_decode()
        return cls(file, series, before, after, edges, _Kept(), threading.Lock())

    def read(self, selection: Window) -> Shaped[np.ndarray, "..."]:
        """The window that is selected of the axes of the series; of samples all."""
        y = len(self.before)
        planes = np.arange(math.prod(self.before)).reshape(self.before)[selection[:y]]
        rows, columns = selection[y : y + 2]
        size = (rows.stop - rows.start, columns.stop - columns.start)
        page = self.series.keyframe
        found = np.empty((planes.size, *size, page.shaped[-1]), page.dtype)
        for out, plane in zip(found, planes.ravel(), strict=True):
            if page.is_memmappable:
                out[...] = self._plain(int(plane))[rows, columns]
                continue
            for index, top, left in self._segments(rows, columns):
                part = self._decoded(int(plane), index)
                first, last = max(top, rows.start), min(top + self.chunk[0], rows.stop)
                begin, end = max(left, columns.start), min(left + self.chunk[1], columns.stop)
                inside = out[first - rows.start : last - rows.start, begin - columns.start : end - columns.start]
                inside[...] = page.nodata if part is None else part[first - top : last - top, begin - left : end - left]
        return found.reshape(*planes.shape, *size, *self.after)

    def _segments(self, rows: slice, columns: slice) -> Iterator[tuple[int, int, int]]:
        """Number within the plane, top and left of the strips or tiles that a window needs."""
        height, width = self.chunk
        across = -(-self.series.keyframe.imagewidth // width)
        for down in range(rows.start // height, -(-rows.stop // height)):
            for along in range(columns.start // width, -(-columns.stop // width)):
                yield down * across + along, down * height, along * width

    def _decoded(self, plane: int, index: int) -> Shaped[np.ndarray, "y x s"] | None:
        """One strip or tile; None where the file leaves it out, as GDAL does with empty ones."""
        found = self.kept.get((plane, index))
        if found is not None:
            return found
        key = self.series.keyframe
        number, sample = divmod(plane, key.shaped[0])
        place = index + sample * (math.prod(key.chunked) // key.shaped[0])
        with self.lock:
            page: Any = self.series[number]
            if place >= len(page.dataoffsets):
                raise ValueError(f"strip or tile {place} is missing")
            offset, count = page.dataoffsets[place], page.databytecounts[place]
            if not count or not offset:
                return None
            tables = {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader} if key.compression in _JPEG else {}
            self.file.filehandle.seek(offset)
            data = self.file.filehandle.read(count)
        if len(data) < count:
            raise ValueError(f"{len(data)} bytes instead of {count}")
        # A segment of (depth, length, width, samples), where it belongs, and its shape; depth is 1.
        segment: Any = key.decode(data, place, **tables)[0]
        decoded: np.ndarray = segment[0]
        self.kept.keep((plane, index), decoded)
        return decoded

    def _plain(self, plane: int) -> Shaped[np.ndarray, "y x s"]:
        """A plane that lies in the file as it will lie in memory."""
        key: Any = self.series.keyframe
        number, sample = divmod(plane, key.shaped[0])
        with self.lock:
            page: Any = self.series[number]
            offset = page.dataoffsets[0]
        dtype = np.dtype(self.file.byteorder + key.dtype.char)
        return np.memmap(self.file.filehandle.path, dtype, "r", offset, key.shaped)[sample, 0]


class _Kept:
    """Decoded strips and tiles that were used last, up to `_KEPT_BYTES` or one; shared by all threads."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def get(self, key: tuple[int, int]) -> np.ndarray | None:
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def keep(self, key: tuple[int, int], array: np.ndarray) -> None:
        with self._lock:
            self._bytes += 0 if key in self._found else array.nbytes
            self._found[key] = array
            while self._bytes > _KEPT_BYTES and len(self._found) > 1:
                self._bytes -= self._found.popitem(last=False)[1].nbytes
