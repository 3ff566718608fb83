"""The arrays of layers <-> the images and labels that the rooms below know. Nothing here needs napari.

A layer holds `... Y X`, or `... Y X C` where it shows colours, as NumPy, Dask or Zarr; of a pyramid a list, the full
resolution first. Of the axes in front of Y at most one, that of a stack, is longer than 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from useg.data.dataset import describe_size
from useg.errors import DataError, ImageError
from useg.images.image import COLOUR, Header
from useg.images.windows import Window, Windows
from useg.unet.model import ModelCard


def windows_of_layer(
    data: Any, *, name: str, colour: bool = False, scale: Sequence[float] = (), unit: str = ""
) -> Windows:
    """The image that a layer shows, `C [Z] Y X`; only windows that are read are computed.

    Args:
        data: see above; of four colour channels the last is alpha, and is dropped.
        name: of the layer. colour: whether the last axis is colour.
        scale, unit: pixel size along each axis and its unit, such as "µm"; "" where that is unknown.

    Raises:
        ImageError: it has more axes than those, or holds other than real numbers.
    """
    full = _full(data)
    axes, dtype = tuple(int(n) for n in full.shape[: full.ndim - colour]), np.dtype(full.dtype)
    last = len(axes) - 2
    kept = [axis for axis, n in enumerate(axes) if axis >= last or n != 1]
    if last < 0 or len(kept) > 3:
        raise ImageError(
            f"{name}: is of {describe_size(axes)}; an image has height and width, a stack one more: show each "
            "channel, or time point, in a layer of its own"
        )
    if 0 in axes or dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ImageError(f"{name}: holds {describe_size(axes)} of {dtype}; an image has pixels of real numbers")
    size, channels = tuple(axes[axis] for axis in kept), min(3, int(full.shape[-1])) if colour else 1
    edges = [max(edge) if isinstance(edge, tuple) else int(edge) for edge in getattr(full, "chunks", None) or ()]
    chunk = tuple(edges[axis] for axis in kept) if len(edges) == full.ndim else (1,) * len(size)

    def fetch(window: Window) -> np.ndarray:
        where: list[Any] = [0] * len(axes)
        for axis, part in zip(kept, window, strict=True):
            where[axis] = part
        if not colour:
            return np.asarray(full[tuple(where)])[None]
        return np.moveaxis(np.asarray(full[(*where, slice(0, channels))]), -1, 0)

    # Numbers that image files hold: not single bits, nor floats of 16.
    number = np.promote_types(dtype, {"b": np.uint8, "f": np.float32}.get(dtype.kind, dtype))
    spacing = tuple(float(scale[axis]) for axis in kept) if unit else None
    axes_named = "CYX" if len(size) == 2 else "CZYX"
    header = Header(channels, size, number.newbyteorder("="), axes_named, spacing, unit or None)
    return Windows(Path(name), header, chunk, (header,), fetch)


def plane_of(windows: Windows, z: int) -> Windows:
    """One slice of a stack, as an image of its own."""
    h = windows.header
    header = Header(h.channels, h.size[1:], h.dtype, "CYX", h.spacing[1:] if h.spacing else None, h.unit)

    def fetch(window: Window) -> np.ndarray:
        plane: np.ndarray = windows.fetch((slice(z, z + 1), *window))[:, 0]
        return plane

    return Windows(Path(f"{windows.path}_{z:03}"), header, windows.chunk[1:], (header,), fetch)


def labels_of_layer(data: Any, *, name: str, like: Windows) -> Integer[np.ndarray, "*size"]:
    """What is painted in a labels layer, in the size `[Z] Y X` of the image.

    Raises:
        DataError: it has another size than the image.
    """
    full, size = _full(data), like.header.size
    if [n for n in full.shape if n != 1] != [n for n in size if n != 1]:
        raise DataError(
            f"{name}: is of {describe_size(full.shape)}, and the image {like.path} of {describe_size(size)}; "
            "choose the labels that were painted on this image"
        )
    return np.asarray(full).reshape(size)


def inside_of(polygons: Sequence[Float[np.ndarray, "n axes"]], size: Sequence[int]) -> Bool[np.ndarray, "*size"]:
    """Pixels of an image whose centres lie in one of the polygons.

    Args:
        polygons: corners `[Z] Y X` in pixels, 0 the centre of the first; Z, where there is one, says the slice.
        size: of the image, `[Z] Y X`.
    """
    from skimage.draw import polygon2mask

    result = np.zeros(size, bool)
    for corners in polygons:
        plane = polygon2mask(tuple(size[-2:]), corners[:, -2:])  # type: ignore[no-untyped-call]
        z = round(float(corners[0, -3])) if corners.shape[1] > 2 else 0
        if len(size) == 2:
            result |= plane
        elif 0 <= z < size[0]:
            result[z] |= plane
    return result


def rectangle(window: Window, z: int | None = None) -> Float[np.ndarray, "4 axes"]:
    """The corners of a window, at the outer edges of its pixels, `[Z] Y X`."""
    (top, bottom), (left, right) = ((part.start - 0.5, part.stop - 0.5) for part in window)
    corners = np.array([(top, left), (top, right), (bottom, right), (bottom, left)])
    return corners if z is None else np.column_stack([np.full(4, float(z)), corners])


def painted_values(card: ModelCard) -> list[int]:
    """The number of each class in a labels layer: that of the training masks, unless those were colours."""
    values = [each.value for each in card.classes]
    return list(range(len(values))) if max(values) >= COLOUR else values


def painted_colours(card: ModelCard) -> dict[int, tuple[int, int, int]]:
    """The colour, RGB 0..255, of each such number but 0, which stays clear."""
    return {value: each.colour for value, each in zip(painted_values(card), card.classes, strict=True) if value}


def _full(data: Any) -> Any:
    """The full resolution of a pyramid."""
    return data if hasattr(data, "dtype") else data[0]
