"""Planes across the slices of a volume, as PNG: one row of all slices (`y`), or one column of all (`x`).

    z |------ x      axis y: what lies in row `index`        the last slice is on top,
    z |---- y        axis x: what lies in column `index`     as in `useg.pictures.planes`

A pixel is a voxel, up to 1024 along an edge; whoever shows a plane stretches it to the voxels' true proportion.
Of a volume that would take much reading some slices are left out, and where too few remained, nothing is read at all.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Num, UInt8

from useg.errors import ImageError, MissingError
from useg.images import Windows, windows_of
from useg.pictures.planes import LONGEST
from useg.viewing.colour_maps import ColourMap
from useg.viewing.pyramid import Pyramid
from useg.viewing.tiles import encode, encode_colours, picture

Axis = Literal["y", "x"]

MOST = 2**27
"""Bytes that are decoded for one plane, or read where nothing needs decoding."""
FEWEST = 64
"""Layers of chunks, or slices where there are none: where fewer than these, and not all, may be read, none is."""
_PAGE = 2**12
"""Bytes that a system reads of a file for a single one."""


def render_plane(
    pyramid: Pyramid,
    axis: Axis,
    index: int,
    *,
    low: float | None = None,
    high: float | None = None,
    channel: int | None = None,
) -> bytes:
    """One plane across the slices of an image, as people see it, PNG.

    Args:
        pyramid: of the volume.
        axis, index: which row, "y", or column, "x", of the full resolution.
        low, high, channel: as for `useg.viewing.tiles.render`.

    Raises:
        MissingError: the image is flat, or there is no such row, column or channel.
        ImageError: it would take too much reading, or the file is damaged there.
    """
    _check(pyramid.header.size, axis, index)
    level = _level(pyramid, axis)
    windows = pyramid.sources[level]
    there = min(index >> level, windows.header.size[_number(axis)] - 1)
    pixels = read_plane(windows, axis, there)
    return encode(picture(pixels, pyramid.ranges, low=low, high=high, channel=channel))


def render_layer_plane(values: UInt8[np.ndarray, "*size"], axis: Axis, index: int, *, palette: ColourMap) -> bytes:
    """One plane across the slices of a layer `Z Y X`; as `render_plane`, in the colours of `render_layer`."""
    _check(values.shape, axis, index)
    return encode_colours(read_plane(windows_of(values[None]), axis, index)[0], palette)


def read_plane(windows: Windows, axis: Axis, index: int) -> Num[np.ndarray, "c h w"]:
    """A plane, `C Z X` or `C Z Y` with the last slice first, every n-th voxel of more than 1024.

    Raises:
        ImageError: it would take too much reading, or the file is damaged there.
    """
    step = _step(windows, axis)
    if step is None:
        name = windows.path.name if windows.path else "this map"
        raise ImageError(
            f"{name}: is too large for this plane: {_bytes(windows, axis) / 2**20:.0f} MiB were to be read, and "
            f"{MOST / 2**20:.0f} are the most; save it in small chunks, as OME-Zarr"
        )
    deep, height, width = windows.header.size
    row = slice(index, index + 1)
    plane = (row, slice(0, width)) if axis == "y" else (slice(0, height), row)
    if step <= windows.chunk[0]:  # no chunk can be left out
        found = windows.read((slice(0, deep), *plane))[:, ::step]
    else:
        slices = [windows.read((slice(z, z + 1), *plane)) for z in range(0, deep, step)]
        found = np.concatenate(slices, axis=1)
    flat = np.squeeze(found, axis=1 + _number(axis))
    return flat[:, ::-1, :: -(-flat.shape[-1] // LONGEST)]


def _level(pyramid: Pyramid, axis: Axis) -> int:
    """The finest level that takes not too much reading, of those that do not have far more pixels than are shown."""
    levels = sorted(pyramid.sources)
    across = 3 - _number(axis)
    first = max(level for level in levels if not level or pyramid.sources[level].header.size[across] >= LONGEST)
    enough = [level for level in levels if level >= first]
    return next((level for level in enough if _step(pyramid.sources[level], axis) is not None), enough[-1])


def _step(windows: Windows, axis: Axis) -> int | None:
    """Every how many slices one is read: all, unless there are more than are shown, or they take too much reading.

    None where too few would remain.
    """
    deep = windows.header.size[0]
    layers, most = -(-deep // windows.chunk[0]), MOST // _layer_bytes(windows, axis)
    if layers > most < FEWEST:
        return None
    return -(-deep // (LONGEST if layers <= most else min(most, LONGEST)))


def _bytes(windows: Windows, axis: Axis) -> int:
    """What a plane of all slices would take."""
    return -(-windows.header.size[0] // windows.chunk[0]) * _layer_bytes(windows, axis)


def _layer_bytes(windows: Windows, axis: Axis) -> int:
    """What a plane takes of one layer of chunks, which are decoded whole, or of one slice where there are none."""
    header, chunk = windows.header, windows.chunk
    sample = header.channels * header.dtype.itemsize
    cut = _number(axis)
    across = 3 - cut
    thick = max(chunk[2], min(_PAGE // sample, header.size[2])) if cut == 2 else chunk[1]
    return sample * chunk[0] * thick * -(-header.size[across] // chunk[across]) * chunk[across]


def _number(axis: Axis) -> int:
    """Of an axis of `Z Y X`."""
    return 1 if axis == "y" else 2


def _check(size: tuple[int, ...], axis: Axis, index: int) -> None:
    if len(size) != 3:
        raise MissingError("the image is flat, so that it has no planes across its slices; ask for its tiles")
    if not 0 <= index < size[_number(axis)]:
        raise MissingError(f"plane {index}: there are {size[_number(axis)]} along {axis}; ask for one of them")
