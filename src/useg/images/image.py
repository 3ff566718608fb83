"""What every format hands over, `Image` and its `Header`, and what every format checks of them.

A file decides its own number type; nothing is scaled on the way in. Only the layout is fixed: channels first,
then the spatial axes, `C Y X` or `C Z Y X`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, Num, Shaped

from useg.errors import ImageError

MAX_BYTES = 2**31
"""Largest decoded image, in bytes, that is read into memory unless the caller allows more."""

COLOUR = 1 << 24
"""In a label image a colour is the number `COLOUR + 0xRRGGBB`, beyond any gray value; black is 0."""

MAX_PIXELS_PER_BYTE = 10_000
"""More pixels a file byte than deflate (1032:1, eight 1-bit pixels a byte), LZW or JPEG can reach."""


@dataclass(frozen=True)
class OnMap:
    """Where an image lies on the Earth (GeoTIFF).

    Attributes:
        transform: a, b, c, d, e, f of `east = a*x + b*y + c`, `north = d*x + e*y + f`, x and y in pixels from the
            upper left corner of the first pixel.
        crs: the coordinate reference system, as WKT; empty where the file names none.
    """

    transform: tuple[float, ...]
    crs: str

    @property
    def words(self) -> str:
        """Where it is, for people."""
        named = re.match(r'\w+\["([^"]+)"', self.crs)
        east, north = self.transform[2], self.transform[5]
        return f"upper left corner at {east:.10g}, {north:.10g} of {named[1] if named else 'an unnamed system'}"


@dataclass(frozen=True)
class InBody:
    """Where an image lies in a patient (NIfTI, DICOM, NRRD).

    Attributes:
        affine: four rows; takes (x, y, z, 1) in pixels of the array, from the centre of the first, to millimetres
            towards right, anterior, superior. z is 0 for a `C Y X` image.
        frame: what these coordinates belong to, in NIfTI's words: "scanner", "aligned", "talairach", "mni", "unknown".
            In an unknown one its own axes stand for right, anterior, superior.
        space: what an NRRD file calls its axes, such as "left-posterior-superior", or the number of them; "" elsewhere.
    """

    affine: tuple[tuple[float, ...], ...]
    frame: str
    space: str = ""

    @property
    def words(self) -> str:
        """Where it is, for people."""
        return f"first pixel at {', '.join(f'{row[3]:g}' for row in self.affine[:3])} mm ({self.frame})"


@dataclass(frozen=True)
class InStore:
    """Where an image lies in an OME-Zarr store: `translation` of each spatial axis in `unit`, OME-Zarr `version`."""

    translation: tuple[float, ...]
    version: str

    @property
    def words(self) -> str:
        """Where it is, for people."""
        return f"OME-Zarr {self.version}, first pixel at {', '.join(f'{n:g}' for n in self.translation)}"


Place = OnMap | InBody | InStore


@dataclass(frozen=True)
class Header:
    """What a file says of itself, read without decoding a pixel.

    Attributes:
        channels: number of channels that `read` will give, after alpha is dropped and colour is made RGB.
        size: spatial sizes in pixels, `(y, x)` or `(z, y, x)`, after orientation is applied.
        dtype: number type of the samples.
        axes: "CYX" or "CZYX".
        spacing: pixel size of each spatial axis in `unit`, or None where the file does not say.
        unit: unit of `spacing`, for example "µm", or None.
        place: where the image lies, in the terms of its format, or None.
    """

    channels: int
    size: tuple[int, ...]
    dtype: np.dtype[np.generic]
    axes: str
    spacing: tuple[float, ...] | None = None
    unit: str | None = None
    place: Place | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the decoded image takes in memory."""
        return self.channels * math.prod(self.size) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Image:
    """One image as its file stores it.

    Attributes:
        array: samples `C Y X` or `C Z Y X` of the file's own number type (1-bit becomes uint8 0 and 1).
        axes: "CYX" or "CZYX".
        spacing: pixel size of each spatial axis in `unit`, or None where the file does not say.
        unit: unit of `spacing`, for example "µm", or None.
        path: the file it came from, or None.
        place: where the image lies, in the terms of its format, or None.
    """

    array: Num[np.ndarray, "c *space"]
    axes: str
    spacing: tuple[float, ...] | None = None
    unit: str | None = None
    path: Path | None = None
    place: Place | None = None

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Number type of the samples."""
        return self.array.dtype

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.array.shape[0])

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial sizes in pixels, `(y, x)` or `(z, y, x)`."""
        return tuple(int(n) for n in self.array.shape[1:])


@dataclass(frozen=True)
class About:
    """What a label image may carry besides its numbers; each format takes what it can hold.

    Attributes:
        colours: RGB 0..255 of label 0, 1, ...
        names: names of label 0, 1, ...
        like: the image that the labels belong to; its pixel size and place become theirs.
    """

    colours: Sequence[tuple[int, int, int]] = ()
    names: Sequence[str] = ()
    like: Image | Header | None = None

    def spacing(self, dims: int) -> tuple[float, ...] | None:
        """Pixel size of the image where it has `dims` spatial axes."""
        spacing = self.like.spacing if self.like else None
        return spacing if spacing and len(spacing) == dims else None

    @property
    def unit(self) -> str | None:
        """Unit of the pixel size."""
        return self.like.unit if self.like else None

    @property
    def place(self) -> Place | None:
        """Where the image lies."""
        return self.like.place if self.like else None


def label_colours(about: About) -> list[tuple[int, int, int]]:
    """256 colours: the given ones, then those of the Pascal VOC colour map (bits dealt out to R, G, B)."""
    table = [(int(red), int(green), int(blue)) for red, green, blue in about.colours[:256]]
    for label in range(len(table), 256):
        channels = [0, 0, 0]
        for bit in range(8):
            channels[bit % 3] |= ((label >> bit) & 1) << (7 - bit // 3)
        table.append((channels[0], channels[1], channels[2]))
    return table


class Layout(NamedTuple):
    """How the axes of a file become C[Z]YX: transpose to `order`, then reshape to `shape`."""

    order: tuple[int, ...]
    shape: tuple[int, ...]
    axes: str
    real_depth: bool  # the Z axis is depth, not time or plain pages

    def selection(self, window: Sequence[slice]) -> tuple[slice, ...]:
        """What a window `[Z] Y X` selects of the axes as the file has them."""
        where = [slice(None)] * len(self.order)
        for axis, part in zip(self.order[-len(window) :], window, strict=True):
            where[axis] = part
        return tuple(where)

    def sorted(self, array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "c *space"]:
        """An array with the axes of the file, or what `selection` selects of it, as C[Z]YX."""
        moved = array.transpose(self.order)
        dims = len(self.shape) - 1
        return moved.reshape(-1, *moved.shape[len(moved.shape) - dims :])


def layout_of(path: Path, axes: str, shape: Sequence[int]) -> Layout:
    """Sort axes such as "TZCYXS" into C[Z]YX: samples and channels become C, the one long axis besides is Z.

    Raises:
        ImageError: X or Y is missing or twice there, or more than one axis besides is longer than 1.
    """
    where = dict(zip(axes, range(len(axes)), strict=False))
    if "X" not in where or "Y" not in where or len(where) != len(axes):
        raise ImageError(f"{path}: has the axes {axes!r}, an image has Y and X once each; save it as a plain TIFF")
    channels = [where[a] for a in "CS" if a in where]
    rest = [a for a in axes if a not in "CSYX" and shape[where[a]] > 1]
    if len(rest) > 1:
        counts = ", ".join(f"{shape[where[a]]} along {a}" for a in rest)
        raise ImageError(f"{path}: has more than three dimensions ({counts}); save one time point or series in a file")
    flat = [where[a] for a in axes if a not in "CSYX" and shape[where[a]] == 1]
    depth = [where[a] for a in rest]
    order = (*flat, *channels, *depth, where["Y"], where["X"])
    sizes = tuple(int(shape[i]) for i in (*depth, where["Y"], where["X"]))
    count = math.prod(int(shape[i]) for i in channels)
    return Layout(order, (count, *sizes), "CZYX" if depth else "CYX", rest == ["Z"])


def as_labels(image: Image) -> Integer[np.ndarray, "*space"]:
    """The class or object numbers that an image holds, `[Z] Y X`.

    Gray images, colour images whose channels are all equal (gray saved as RGB) and float images of whole
    numbers are label images; the values stay as stored. In an 8-bit RGB image each colour becomes the number
    `COLOUR + 0xRRGGBB`, and black 0.

    Raises:
        ImageError: the image has several different channels, or values that are not whole numbers.
    """
    name = image.path or "this image"
    first: np.ndarray = image.array[0]
    if image.channels > 1 and any(not np.array_equal(first, other) for other in image.array[1:]):
        if image.channels == 3 and image.dtype == np.uint8:
            red, green, blue = image.array.astype(np.int32)
            rgb: np.ndarray = (red << 16) | (green << 8) | blue
            return np.where(rgb, rgb + np.int32(COLOUR), np.int32(0))
        raise ImageError(f"{name}: has {image.channels} different channels, a mask has one; save class numbers in one")
    if np.issubdtype(first.dtype, np.integer):
        return first
    if not (np.isfinite(first).all() and (first == np.rint(first)).all() and np.abs(first).max() < 2**31):
        raise ImageError(
            f"{name}: is a mask of fractions or non-finite values ({first.dtype}, {first.min():g} to "
            f"{first.max():g}); save class numbers 0, 1, 2, ..."
        )
    numbers: np.ndarray = first.astype(np.int32)
    return numbers


def check_claim(path: Path, header: Header, *, max_bytes: int | None, file_bytes: int | None) -> None:
    """Refuse a header whose image would not fit, before anything is decoded or allocated.

    Args:
        path: the file, for the message.
        header: what the file claims to hold.
        max_bytes: largest decoded size allowed; None where it is read in windows.
        file_bytes: size of the file where its compression has a bound (`MAX_PIXELS_PER_BYTE`), else None.

    Raises:
        ImageError: the claim is empty, too large, or more than a file of this size can hold.
    """
    size = " x ".join(str(n) for n in header.size)
    if header.nbytes == 0:
        raise ImageError(f"{path}: its header says {size} pixels, which is no image; save it again")
    if max_bytes is not None and header.nbytes > max_bytes:
        raise ImageError(
            f"{path}: its header says {size} pixels, {header.nbytes / 2**30:.1f} GiB decoded, more than the "
            f"{max_bytes / 2**30:.1f} GiB allowed; cut it into parts or raise max_bytes"
        )
    if file_bytes is not None and math.prod(header.size) > MAX_PIXELS_PER_BYTE * file_bytes:
        raise ImageError(
            f"{path}: its header says {size} pixels but the file has only {file_bytes} bytes; it is damaged "
            "or a decompression bomb, save it again"
        )


def oriented(array: Shaped[np.ndarray, "*n"], orientation: int) -> np.ndarray:
    """Turn the last two axes (Y, X) the way that an EXIF or TIFF orientation 1..8 asks (TIFF 6.0, section 8).

    Values outside 1..8 mean "as stored", as viewers treat them.
    """
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, -1, -2)
    if orientation in (2, 3, 6, 7):
        array = array[..., ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[..., ::-1, :]
    return array
