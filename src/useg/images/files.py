"""Read and write image files. Which reader opens a file is decided by its first bytes, then by its suffix."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Integer, UInt8

from useg.atomic import replacing
from useg.errors import ImageError, MissingError
from useg.images import raster, tiff
from useg.images.image import MAX_BYTES, Header, Image, as_labels

_MAGIC_BYTES = 132


@runtime_checkable
class _Read(Protocol):
    def __call__(self, path: Path, *, indices: bool = False, max_bytes: int = MAX_BYTES) -> Image: ...


@runtime_checkable
class _ReadHeader(Protocol):
    def __call__(self, path: Path) -> Header: ...


@dataclass(frozen=True)
class _Format:
    """One row of the table of formats; a new format is a module with `read`, `read_header` and a row here."""

    name: str
    suffixes: tuple[str, ...]
    starts: tuple[bytes, ...]
    read: _Read
    read_header: _ReadHeader


_FORMATS = (
    _Format(
        "raster",
        (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"),
        raster.STARTS,
        raster.read,
        raster.read_header,
    ),
    _Format("TIFF", (".tif", ".tiff"), tiff.STARTS, tiff.read, tiff.read_header),
)

# What people will try, and what we can honestly say of it: (suffixes, bytes, where they stand, name).
_NOT_YET = (
    ((".nii", ".nii.gz"), b"", 0, "NIfTI"),
    ((".dcm", ".dicom"), b"DICM", 128, "DICOM"),
    ((".zarr",), b"", 0, "OME-Zarr"),
    ((".h5", ".hdf5"), b"\x89HDF", 0, "HDF5"),
    ((".npy", ".npz"), b"\x93NUMPY", 0, "NumPy"),
)

SUFFIXES: tuple[str, ...] = tuple(suffix for each in _FORMATS for suffix in each.suffixes)
"""Suffixes, lower case with the dot, of the files that `read` opens."""


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Whether a name has one of the `SUFFIXES` (any case) and is not hidden; the file is not opened."""
    name = Path(path).name.lower()
    return not name.startswith(".") and name.endswith(SUFFIXES)


def read(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Image:
    """Read an image.

    Args:
        path: the file; its first bytes count, so a PNG that is called `.tif` is read as the PNG that it is.
        max_bytes: largest decoded size allowed; checked on the header, before decoding.

    Returns:
        The image, `C Y X` or `C Z Y X`, with the numbers that the file stores.

    Raises:
        MissingError: there is no such file.
        ImageError: the file is no image that we read, is damaged, or is too large.
    """
    path = Path(path)
    return _format(path).read(path, max_bytes=max_bytes)


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read what a file says of itself (channels, size, number type, pixel size), without decoding pixels.

    Raises:
        MissingError: there is no such file.
        ImageError: the file is no image that we read, or its header is damaged.
    """
    path = Path(path)
    return _format(path).read_header(path)


def read_mask(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Integer[np.ndarray, "*space"]:
    """Read a mask: class or object numbers, `[Z] Y X`.

    A palette image gives its indices, a 1-bit image 0 and 1, gray with alpha and gray saved as RGB give
    their gray value.

    Raises:
        MissingError: there is no such file.
        ImageError: as for `read`, or the file holds colours or fractions instead of numbers.
    """
    path = Path(path)
    return as_labels(_format(path).read(path, indices=True, max_bytes=max_bytes))


def write_labels(
    path: str | os.PathLike[str],
    labels: Integer[np.ndarray, "*space"],
    *,
    colours: Sequence[tuple[int, int, int]] | None = None,
    spacing: tuple[float, ...] | None = None,
    unit: str | None = None,
) -> None:
    """Write class or object numbers, losslessly compressed.

    `.png` with labels up to 255 becomes a palette image: the numbers are the indices, and the eye sees
    colours instead of black; up to 65535 it becomes 16-bit gray. `.tif` takes the smallest of 8, 16, 32 bits.

    Args:
        path: where to; `.png`, `.tif` or `.tiff`. An existing file is replaced.
        labels: numbers >= 0, `Y X`, or `Z Y X` for `.tif`.
        colours: RGB 0..255 of label 0, 1, ...; labels beyond them get colours of a fixed map. PNG only.
        spacing: pixel size of each axis of `labels`. TIFF only.
        unit: unit of `spacing`, for example "µm". TIFF only.

    Raises:
        ImageError: the suffix cannot hold these labels, or the file cannot be written.
    """
    path = Path(path)
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if labels.size == 0 or low < 0 or high >= 2**32:
        raise ImageError(f"{path}: cannot hold labels {low}..{high} of shape {labels.shape}; labels are 0..2^32-1")
    small = labels.astype(np.uint8 if high < 2**8 else np.uint16 if high < 2**16 else np.uint32)
    if _suffix(path, ".png", ".tif", ".tiff") == ".png":
        if labels.ndim != 2 or high >= 2**16:
            raise ImageError(f"{path}: PNG cannot hold labels of shape {labels.shape} up to {high}; write .tif")
        _write_png(path, small, _palette(colours or ()) if high < 2**8 else None)
    else:
        if labels.ndim not in (2, 3):
            raise ImageError(f"{path}: labels have the shape {labels.shape}; they are Y X or Z Y X")
        _write_tiff(path, small, "ZYX"[-labels.ndim :], spacing, unit, predictor=2)


def write_probabilities(
    path: str | os.PathLike[str],
    probabilities: Float[np.ndarray, "c *space"],
    *,
    spacing: tuple[float, ...] | None = None,
    unit: str | None = None,
) -> None:
    """Write scores of classes as a deflated float32 TIFF (BigTIFF beyond 2 GB).

    Args:
        path: where to; `.tif` or `.tiff`. An existing file is replaced.
        probabilities: `C Y X` or `C Z Y X`, 0..1.
        spacing: pixel size of each spatial axis.
        unit: unit of `spacing`, for example "µm".

    Raises:
        ImageError: the suffix is not `.tif` or `.tiff`, the shape is another, or the file cannot be written.
    """
    path = Path(path)
    _suffix(path, ".tif", ".tiff")
    if probabilities.ndim not in (3, 4) or probabilities.size == 0:
        raise ImageError(f"{path}: probabilities have the shape {probabilities.shape}; they are C Y X or C Z Y X")
    axes = "CYX" if probabilities.ndim == 3 else "CZYX"
    _write_tiff(path, probabilities.astype(np.float32, copy=False), axes, spacing, unit, predictor=3)


def write_picture(path: str | os.PathLike[str], picture: UInt8[np.ndarray, "y x 3"] | UInt8[np.ndarray, "y x"]) -> None:
    """Write a picture: uint8, colour `Y X 3` or gray `Y X`, as `.png` or `.jpg`; folders are made.

    Raises:
        ImageError: another suffix, an empty picture, or the file cannot be written.
    """
    from PIL import Image as Pillow

    path = Path(path)
    suffix = _suffix(path, ".png", ".jpg", ".jpeg")
    if picture.size == 0:
        raise ImageError(f"{path}: a picture of shape {picture.shape} has no pixels")
    with _replacing(path) as temporary:
        Pillow.fromarray(picture).save(temporary, "PNG" if suffix == ".png" else "JPEG", quality=92)


def _format(path: Path) -> _Format:
    try:
        with path.open("rb") as stream:
            head = stream.read(_MAGIC_BYTES)
    except FileNotFoundError:
        raise MissingError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        head = b"folder"
    except OSError as error:
        raise ImageError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from None
    if not head:
        raise ImageError(f"{path}: is empty (0 bytes); copy or export it again")
    for each in _FORMATS:
        if head.startswith(each.starts):
            return each
    for suffixes, magic, place, name in _NOT_YET:
        if (magic and head[place:].startswith(magic)) or path.name.lower().endswith(suffixes):
            raise ImageError(f"{path}: cannot read {name} files yet; save it as TIFF or PNG")
    if path.is_dir():
        raise ImageError(f"{path}: is a folder; give an image file")
    known = " ".join(SUFFIXES)
    raise ImageError(f"{path}: is no image that we read (starts with {head[:8]!r}); save it as one of {known}")


def _suffix(path: Path, *allowed: str) -> str:
    suffix = path.suffix.lower()
    if suffix not in allowed:
        raise ImageError(f"{path}: cannot write the suffix {suffix!r} here; use {' or '.join(allowed)}")
    return suffix


def _write_png(path: Path, labels: np.ndarray, palette: list[int] | None) -> None:
    from PIL import Image as Pillow

    picture = Pillow.fromarray(labels)
    if palette is not None:
        picture.putpalette(palette)
    with _replacing(path) as temporary:
        picture.save(temporary, "PNG")


def _write_tiff(
    path: Path,
    array: np.ndarray,
    axes: str,
    spacing: tuple[float, ...] | None,
    unit: str | None,
    *,
    predictor: int,
) -> None:
    import tifffile

    described: dict[str, Any] = {"axes": axes}
    if spacing is not None:
        described |= {"spacing": [float(size) for size in spacing], "unit": unit}
    with _replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            array,
            photometric="minisblack",
            compression="zlib",
            predictor=predictor,
            metadata=described,
            bigtiff=array.nbytes > 2 * 10**9,
        )


def _palette(colours: Sequence[tuple[int, int, int]]) -> list[int]:
    """256 colours: the given ones, then those of the Pascal VOC colour map (bits dealt out to R, G, B)."""
    table = [list(colour) for colour in colours[:256]]
    for label in range(len(table), 256):
        channels = [0, 0, 0]
        for bit in range(8):
            channels[bit % 3] |= ((label >> bit) & 1) << (7 - bit // 3)
        table.append(channels)
    return [channel for colour in table for channel in colour]


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """`useg.atomic.replacing`, with a full disk or a folder without permission told as an ImageError."""
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror or error}); check the disk") from error
