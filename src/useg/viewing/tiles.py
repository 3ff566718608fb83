"""Tiles of images and layers, as PNG."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image

from useg.errors import MissingError
from useg.viewing.colour_maps import COLOUR_MAPS, ColourMap
from useg.viewing.display import Range, overall, to_bytes
from useg.viewing.pyramid import NEAR, TILE, Pyramid, count_levels, size_at
from useg.viewing.shrink import halve


def render(
    pyramid: Pyramid,
    level: int,
    row: int,
    column: int,
    *,
    z: int = 0,
    low: float | None = None,
    high: float | None = None,
    channel: int | None = None,
) -> bytes:
    """One tile of an image, as people see it: gray, or RGB where it has several channels.

    Args:
        pyramid: of the image.
        level: 0 is the full resolution, each next one is half as large.
        row, column: of the tile, each 512 pixels high and wide; the last ones are cut off at the border.
        z: slice of a stack.
        low, high: gray values that are shown black and white; those of the pyramid where they are None.
        channel: show this one alone, in gray; None shows the first three as red, green and blue.

    Returns:
        The bytes of a PNG.

    Raises:
        MissingError: there is no such level, tile, slice or channel.
        ImageError: the file is damaged there.
    """
    rows, columns = _window(row, column)
    pixels = pyramid.read(level, z, rows, columns)
    return encode(picture(pixels, pyramid.ranges, low=low, high=high, channel=channel))


def picture(
    pixels: Num[np.ndarray, "c y x"],
    ranges: tuple[Range, ...],
    *,
    low: float | None = None,
    high: float | None = None,
    channel: int | None = None,
) -> UInt8[np.ndarray, "y x"] | UInt8[np.ndarray, "y x 3"]:
    """Pixels as people see them, gray `Y X` or RGB `Y X 3`; the arguments are those of `render`.

    Raises:
        MissingError: there is no such channel.
    """
    if channel is not None and not 0 <= channel < len(pixels):
        raise MissingError(f"channel {channel}: the image has {len(pixels)}, numbered from 0; ask for one of them")
    shown = [channel] if channel is not None else list(range(len(pixels)))[:3]
    planes = [
        to_bytes(pixels[k], ranges[k].low if low is None else low, ranges[k].high if high is None else high)
        for k in shown
    ]
    if len(planes) == 1:
        return planes[0]
    if len(planes) == 2:
        planes.append(np.zeros_like(planes[0]))
    return np.stack(planes, axis=-1)


def shown_range(pyramid: Pyramid) -> Range:
    """What a viewer that has one pair of sliders for all channels begins with."""
    return overall(pyramid.ranges)


def render_layer(
    values: UInt8[np.ndarray, "*space"],
    level: int,
    row: int,
    column: int,
    *,
    z: int = 0,
    palette: ColourMap = "viridis",
) -> bytes:
    """One tile of a layer of values 0..255, such as a probability, in colours that grow opaque with the value.

    Lower levels are means of at most 4 x 4 values, evenly taken.

    Args:
        values: `Y X` or `Z Y X`, in memory or mapped into it.
        level, row, column, z: as for `render`.
        palette: the colour map.

    Raises:
        MissingError: there is no such level, tile or slice.
    """
    size = values.shape
    if not 0 <= level < count_levels(size) or not 0 <= z < (size[0] if len(size) == 3 else 1):
        raise MissingError(f"level {level} of slice {z}: this layer has none such; ask for another")
    rows, columns = _window(row, column)
    height, width = size_at(size, level)
    if min(row, column) < 0 or rows.start >= height or columns.start >= width:
        raise MissingError(f"tile {row}, {column}: lies outside {height} x {width} pixels; ask for another")
    plane = values[z] if len(size) == 3 else values
    step = 2 ** max(0, level - NEAR)
    by = 2**level
    found = np.asarray(plane[rows.start * by : rows.stop * by : step, columns.start * by : columns.stop * by : step])
    for _ in range(min(level, NEAR)):
        found = halve(found)
    return encode_colours(found, palette)


def encode(pixels: UInt8[np.ndarray, "y x"] | UInt8[np.ndarray, "y x 3"]) -> bytes:
    """A picture as PNG, packed lightly: speed counts here, not size."""
    return _png(Image.fromarray(pixels))


def encode_colours(values: UInt8[np.ndarray, "y x"], palette: ColourMap) -> bytes:
    """Values 0..255 in the colours of a map, the more opaque the greater, as PNG."""
    colours = Image.fromarray(values, mode="P")
    colours.putpalette(COLOUR_MAPS[palette])
    return _png(colours, transparency=bytes(range(256)))


def _png(image: Image.Image, **options: bytes) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "png", compress_level=1, **options)
    return stream.getvalue()


def _window(row: int, column: int) -> tuple[slice, slice]:
    return slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE)
