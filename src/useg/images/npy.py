"""NumPy's `.npy`: bare numbers, and nothing that could run (pickled objects are refused).

The file does not name its axes, so the shape must: an axis of at most four in front, or else at the end, is C;
without one, three axes are Z Y X. A mask has no channels: its three axes are Z Y X, unless the last has three or
four entries (a colour picture) or the first has one.
"""

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Integer

from useg.errors import ImageError
from useg.images.image import MAX_BYTES, About, Header, Image, check_claim
from useg.images.polite import decoding, encoding
from useg.images.store import LabelStore
from useg.images.windows import Windows, pick_level, windows_of

_START = b"\x93NUMPY"
_MOST_CHANNELS = 4


def opens(path: Path, head: bytes) -> bool:
    """Whether the first bytes are those of a NumPy array."""
    return head.startswith(_START)


def read(path: Path, *, indices: bool = False, max_bytes: int = MAX_BYTES) -> Image:
    """Read an array.

    Args:
        path: the file.
        indices: read it as a mask, see above.
        max_bytes: largest size allowed.

    Returns:
        The image, `C Y X` or `C Z Y X`, of the file's own number type (bool becomes uint8 0 and 1).

    Raises:
        ImageError: the file holds objects, other numbers than real ones, no image's shape, or is damaged.
    """
    with decoding(path), path.open("rb") as stream:
        header, shape, order = _header(path, stream, indices=indices)
        check_claim(path, header, max_bytes=max_bytes, file_bytes=None)
        stream.seek(0)
        array = np.lib.format.read_array(stream, allow_pickle=False).reshape(shape).transpose(order)
        array = np.ascontiguousarray(array, dtype=header.dtype)
    return Image(array, header.axes, path=path)


def read_header(path: Path) -> Header:
    """What the file says of itself.

    Raises:
        ImageError: as for `read`.
    """
    with decoding(path), path.open("rb") as stream:
        return _header(path, stream, indices=False)[0]


def open_windows(path: Path, *, indices: bool = False, alpha: bool = False, level: int = 0) -> Windows:
    """Map an array into memory.

    Args:
        path: the file.
        indices: read it as a mask, see above.
        alpha: no difference here: nothing tells which channel that is.
        level: 0, for there are no others.

    Raises:
        ImageError: as for `read`, or there is no such level.
    """
    with decoding(path):
        with path.open("rb") as stream:
            header, shape, order = _header(path, stream, indices=indices)
        check_claim(path, header, max_bytes=None, file_bytes=None)
        pick_level(path, (header,), level)
        array = np.lib.format.open_memmap(path, mode="r").reshape(shape).transpose(order)
    return windows_of(array, path=path)


def write_labels(path: Path, labels: Integer[np.ndarray, "*space"], about: About) -> None:
    """Write label numbers, `Y X` or `Z Y X`; the format holds no pixel size."""
    with encoding(path) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(labels), allow_pickle=False)


def write_stored(path: Path, store: LabelStore, about: About) -> None:
    """Write what a store holds, some chunks after the other; the format holds no pixel size.

    Raises:
        ImageError: a chunk of the store is missing or damaged.
    """
    dtype, shape = store.smallest(), (*store.front, *store.size)
    with encoding(path) as temporary, temporary.open("wb") as stream:
        described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, described)
        begin = stream.tell()
        for window in store.blocks((*store.chunk[:-1], store.size[-1])):
            rows = store.written(window).astype(dtype, copy=False)
            starts = [*(0 for _ in store.front), *(part.start for part in window)]
            for place in np.ndindex(*rows.shape[:-2]):
                at = [i + start for i, start in zip(place, starts, strict=False)]
                first = np.ravel_multi_index((*at, window[-2].start, 0), shape)
                stream.seek(begin + int(first) * dtype.itemsize)
                stream.write(np.ascontiguousarray(rows[place]).data)


def _header(path: Path, stream: BinaryIO, *, indices: bool) -> tuple[Header, tuple[int, ...], tuple[int, ...]]:
    """The header, the shape with C in it, and the order of its axes that puts C first."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ImageError(f"{path}: is of version {version} of the format, which holds no numbers; save it again")
    shape, _, dtype = readers[version](stream)
    if dtype.hasobject:
        raise ImageError(f"{path}: holds Python objects, which are never loaded; save a plain array of numbers")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ImageError(f"{path}: holds {dtype} numbers; save real numbers or integers")
    there = path.stat().st_size - stream.tell()
    if math.prod(shape) * dtype.itemsize > there:
        raise ImageError(
            f"{path}: its header says {math.prod(shape) * dtype.itemsize} bytes of pixels, the file has {there}; "
            "it is incomplete"
        )
    whole: tuple[int, ...]
    order: tuple[int, ...]
    if len(shape) == 2:
        whole, order = (1, *shape), (0, 1, 2)
    elif len(shape) == 3:
        first = shape[0] == 1 if indices else shape[0] <= _MOST_CHANNELS
        last = shape[2] in (3, 4) if indices else shape[2] <= _MOST_CHANNELS
        whole, order = (shape, (0, 1, 2)) if first else (shape, (2, 0, 1)) if last else ((1, *shape), (0, 1, 2, 3))
    elif len(shape) == 4 and min(shape[0], shape[3]) <= _MOST_CHANNELS:
        whole, order = shape, (0, 1, 2, 3) if shape[0] <= _MOST_CHANNELS else (3, 0, 1, 2)
    else:
        raise ImageError(f"{path}: has the shape {shape}; an image is Y X, C Y X, Z Y X or C Z Y X")
    channels, *size = (whole[axis] for axis in order)
    number = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
    return Header(channels, tuple(size), number, "CZYX"[-len(order) :] if len(order) == 4 else "CYX"), whole, order
