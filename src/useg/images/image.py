"""What every format hands over: `Image`, its `Header`, and the rules that keep a decoder polite.

A file decides its own number type; nothing is scaled on the way in. Only the layout is fixed: channels first,
then the spatial axes, `C Y X` or `C Z Y X`.
"""

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Num, Shaped

from useg.errors import ImageError, UsegError

MAX_BYTES = 2**31
"""Largest decoded image, in bytes, that is read into memory unless the caller allows more."""

COLOUR = 1 << 24
"""In a label image a colour is the number `COLOUR + 0xRRGGBB`, beyond any gray value; black is 0."""

MAX_PIXELS_PER_BYTE = 10_000
"""More pixels a file byte than deflate (1032:1, eight 1-bit pixels a byte), LZW or JPEG can reach."""


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
    """

    channels: int
    size: tuple[int, ...]
    dtype: np.dtype[np.generic]
    axes: str
    spacing: tuple[float, ...] | None = None
    unit: str | None = None

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
    """

    array: Num[np.ndarray, "c *space"]
    axes: str
    spacing: tuple[float, ...] | None = None
    unit: str | None = None
    path: Path | None = None

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


def check_claim(path: Path, header: Header, *, max_bytes: int, file_bytes: int | None) -> None:
    """Refuse a header whose image would not fit, before anything is decoded or allocated.

    Args:
        path: the file, for the message.
        header: what the file claims to hold.
        max_bytes: largest decoded size allowed.
        file_bytes: size of the file where its compression has a bound (`MAX_PIXELS_PER_BYTE`), else None.

    Raises:
        ImageError: the claim is empty, too large, or more than a file of this size can hold.
    """
    size = " x ".join(str(n) for n in header.size)
    if header.nbytes == 0:
        raise ImageError(f"{path}: its header says {size} pixels, which is no image; save it again")
    if header.nbytes > max_bytes:
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


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Run a third-party decoder: whatever it raises becomes one ImageError, its warnings stay unheard."""
    with _silence:
        try:
            yield
        except UsegError:
            raise
        # A decoder fed a damaged file may raise anything at all, from KeyError to struct.error.
        except Exception as error:
            said = " ".join(str(error).split()) or type(error).__name__
            said = said if len(said) <= 160 else said[:157] + "..."
            raise ImageError(f"{path}: cannot be decoded ({said}); it is damaged or incomplete") from error


class _Silence:
    """Warnings off while any thread decodes.

    `warnings.catch_warnings` swaps a list that all threads share, so nested use from two threads may restore
    the wrong one; here the first to enter switches off and the last to leave switches on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(None, None, None)


_silence = _Silence()
