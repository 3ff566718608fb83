"""Make a pyramid of an image: find the levels that its file has, and store those that it lacks.

    CACHE/cells.tif/    meta.json        of which file these levels are, and which gray values to show
                        0.raw, 1.raw     levels, bare numbers `Z Y X C` of the image's type

The image is read once, in bands of rows; nothing is ever held whole, but where a format is only decoded whole.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Num
from pydantic import BaseModel

from useg.atomic import replacing_folder
from useg.images import Header, Windows, level_headers, open_windows, windows_of
from useg.images.formats import format_of
from useg.viewing.display import BYTES, Range, ranges_of
from useg.viewing.pyramid import NEAR, Pyramid, count_levels, read_part, size_at, version_of
from useg.viewing.shrink import halve

_HELD = 2**26
"""An image of a format that is decoded whole stays in memory up to so many bytes."""
_PIECE = 2**24
"""Bytes that are decoded together: a file of larger pieces is copied."""
_SAMPLE = 1024
"""Pixels along an edge, and `_SAMPLE_SLICES` slices, of which the range of gray values is found."""
_SAMPLE_SLICES = 8

_META = "meta.json"

Report = Callable[[float], None]


class _Meta(BaseModel):
    """What stands beside the stored levels."""

    version: str
    stored: tuple[int, ...]
    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class Outline:
    """What a pyramid will be made of, found without decoding a pixel.

    Attributes:
        path: the image. header: of its full resolution. version: of the file.
        own: the level of the file for each level that it has.
        stored: the levels to store.
    """

    path: Path
    header: Header
    version: str
    own: dict[int, int]
    stored: tuple[int, ...]


def outline(path: Path) -> Outline:
    """Look at an image.

    Raises:
        MissingError: there is no such file.
        MissingExtraError: the library for this format is not installed.
        ImageError: the file is no image that we read, or is damaged.
    """
    version = version_of(path)
    headers = level_headers(path)
    full = headers[0]
    count = count_levels(full.size)
    own = {}
    for level in range(count):
        wanted = size_at(full.size, level)
        for index, header in enumerate(headers):
            near = all(n - 1 <= there <= n for there, n in zip(header.size[-2:], wanted, strict=True))
            if near and header.size[:-2] == full.size[:-2]:
                own[level] = index
                break
    copied = _is_slow(path, full)
    last = 0 if copied else max(own)
    lower = range(last + 1, count) if count - 1 - last > NEAR else ()
    return Outline(path, full, version, {0: 0} if copied else own, (*((0,) if copied else ()), *lower))


def _is_slow(path: Path, header: Header) -> bool:
    """Whether a part of the full resolution is only read by decoding far more, each time."""
    if header.nbytes <= _HELD:
        return False
    if format_of(path).open_windows is None:
        return True
    with open_windows(path) as windows:
        piece = math.prod(windows.chunk) * header.channels * header.dtype.itemsize
        packed = not path.is_dir() and path.stat().st_size < header.nbytes
        return piece > _PIECE or (packed and math.prod(windows.chunk) == 1)


def is_built(found: Outline, cache: Path) -> bool:
    """Whether the cache holds all that this image needs, or it needs nothing."""
    if not found.stored and found.header.dtype == np.uint8:
        return True
    return _meta(found, cache) is not None


def build(found: Outline, cache: Path, report: Report = lambda share: None) -> None:
    """Store what is not there yet.

    Args:
        found: of the image.
        cache: folder of the levels of all images; one folder an image is made in it.
        report: is told the share that is done, 0..1.

    Raises:
        ImageError: the file is damaged, or too large for a format that is decoded whole.
        OutputError: the disk is full, or may not be written.
    """
    with replacing_folder(_folder(found, cache)) as folder, open_windows(found.path) as windows:
        folder.mkdir()
        sample = _store(found, windows, folder, report) if found.stored else _sample(found, windows)
        meta = _Meta(version=found.version, stored=found.stored, ranges=ranges_of(sample))
        (folder / _META).write_text(meta.model_dump_json(), encoding="utf-8")


def open_built(found: Outline, cache: Path) -> Pyramid:
    """Open an image whose levels `is_built`.

    Raises:
        MissingExtraError, ImageError: as for `useg.images.open_windows`.
    """
    meta = _meta(found, cache)
    header = found.header
    ranges = meta.ranges if meta else (BYTES,) * header.channels
    sources: dict[int, Windows] = {}
    with ExitStack() as opened:
        for level in found.stored:
            shape = (*_shape(found.header, level), header.channels)
            array = np.memmap(_folder(found, cache) / f"{level}.raw", header.dtype, "r", shape=shape)
            sources[level] = windows_of(np.moveaxis(array, -1, 0), path=found.path)
        for level, index in found.own.items():
            if level not in sources:
                sources[level] = opened.enter_context(open_windows(found.path, level=index))
        opened.pop_all()
    return Pyramid(header, found.version, ranges, sources)


def _folder(found: Outline, cache: Path) -> Path:
    return cache / found.path.name


def _meta(found: Outline, cache: Path) -> _Meta | None:
    """What `build` wrote of this very file, if all is there."""
    folder = _folder(found, cache)
    try:
        meta = _Meta.model_validate_json((folder / _META).read_bytes())
        sizes = [(folder / f"{level}.raw").stat().st_size for level in found.stored]
    except (OSError, ValueError):
        return None
    sample = found.header.channels * found.header.dtype.itemsize
    whole = sizes == [math.prod(_shape(found.header, level)) * sample for level in found.stored]
    fits = (meta.version, meta.stored, len(meta.ranges)) == (found.version, found.stored, found.header.channels)
    return meta if whole and fits else None


def _shape(header: Header, level: int) -> tuple[int, ...]:
    return (*header.size[:-2], *size_at(header.size, level))


def _store(found: Outline, windows: Windows, folder: Path, report: Report) -> Num[np.ndarray, "c n"]:
    """Write the levels, band after band; returns a sample of the gray values."""
    first = max(level for level in found.own if level <= found.stored[0])
    last = found.stored[-1]
    sample: list[np.ndarray] = []
    with ExitStack() as files, ExitStack() as source:
        if first:
            windows = source.enter_context(open_windows(found.path, level=found.own[first]))
        streams = {level: files.enter_context((folder / f"{level}.raw").open("wb")) for level in found.stored}
        size = size_at(found.header.size, first)
        for share, z, rows, band in _bands(windows, size, 2 ** (last - first)):
            step = _step(windows.header.size)
            if z % _step_z(windows.header.size) == 0:
                sample.append(band[:, -rows.start % step :: step, ::step].reshape(len(band), -1))
            _write_halves(band, first, last, streams)
            report(share)
        for stream in streams.values():
            stream.flush()
            os.fsync(stream.fileno())
    return np.concatenate(sample, axis=1)


def _write_halves(band: Num[np.ndarray, "c y x"], level: int, last: int, streams: Mapping[int, BinaryIO]) -> None:
    while True:
        if level in streams:
            streams[level].write(np.ascontiguousarray(np.moveaxis(band, 0, -1)).data)
        if level == last:
            return
        band = halve(band)
        level += 1


def _bands(
    windows: Windows, size: tuple[int, int], multiple: int
) -> Iterator[tuple[float, int, slice, Num[np.ndarray, "c y x"]]]:
    """A level in bands, slice by slice: share done, slice, rows, pixels; their height is a multiple of `multiple`."""
    header, (height, width) = windows.header, size
    rows = math.lcm(multiple, windows.chunk[-2])
    rows *= max(1, _PIECE // (rows * width * header.channels * header.dtype.itemsize))
    slices = header.size[0] if len(header.size) == 3 else 1
    for z in range(slices):
        for top in range(0, height, rows):
            part = slice(top, min(top + rows, height))
            yield (z + part.stop / height) / slices, z, part, read_part(windows, size, z, part, slice(0, width))


def _step(size: tuple[int, ...]) -> int:
    return -(-max(size[-2:]) // _SAMPLE)


def _step_z(size: tuple[int, ...]) -> int:
    return -(-size[0] // _SAMPLE_SLICES) if len(size) == 3 else 1


def _sample(found: Outline, full: Windows) -> Num[np.ndarray, "c n"]:
    """Some gray values, of a level that has few pixels to decode for them."""
    fitting = [level for level in found.own if max(size_at(found.header.size, level)) <= 4 * _SAMPLE]
    level = min(fitting, default=max(found.own))
    with ExitStack() as opened:
        windows = opened.enter_context(open_windows(found.path, level=found.own[level])) if level else full
        size = windows.header.size
        steps = (_step(size), _step(size))
        values = windows.strided((_step_z(size), *steps) if len(size) == 3 else steps)
    return values.reshape(len(values), -1)
