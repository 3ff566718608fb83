"""Read and write image files. Which reader opens a file is decided by its first bytes, then by its suffix."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Integer, UInt8

from useg.errors import ImageError, MissingError
from useg.images import dicom, geotiff, nifti, npy, ome_zarr, raster, tiff
from useg.images.image import MAX_BYTES, About, Header, Image, OnMap, as_labels

_HEAD_BYTES = 352


@runtime_checkable
class _Opens(Protocol):
    def __call__(self, path: Path, head: bytes) -> bool: ...


@runtime_checkable
class _Read(Protocol):
    def __call__(self, path: Path, *, indices: bool = False, max_bytes: int = MAX_BYTES) -> Image: ...


@runtime_checkable
class _ReadHeader(Protocol):
    def __call__(self, path: Path) -> Header: ...


@runtime_checkable
class _WriteLabels(Protocol):
    def __call__(self, path: Path, labels: np.ndarray, about: About) -> None: ...


@dataclass(frozen=True)
class _Format:
    """One row of the table of formats; a new format is a module with these four functions and a row here."""

    suffixes: tuple[str, ...]  # of the files that it reads
    writes: tuple[str, ...]  # of the label images that it writes; the first is the usual one
    opens: _Opens
    read: _Read
    read_header: _ReadHeader
    write_labels: _WriteLabels
    alpha: bool = False  # whether its `read` can keep alpha as a channel


# A GeoTIFF is a TIFF too, so the narrower row comes first.
_FORMATS = (
    _Format(
        (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"),
        (".png",),
        raster.opens,
        raster.read,
        raster.read_header,
        raster.write_labels,
        alpha=True,
    ),
    _Format(
        (".tif", ".tiff"),
        (".tif", ".tiff"),
        geotiff.opens,
        geotiff.read,
        geotiff.read_header,
        geotiff.write_labels,
        alpha=True,
    ),
    _Format(
        (".tif", ".tiff"), (".tif", ".tiff"), tiff.opens, tiff.read, tiff.read_header, tiff.write_labels, alpha=True
    ),
    _Format((".npy",), (".npy",), npy.opens, npy.read, npy.read_header, npy.write_labels),
    _Format((".nii.gz", ".nii"), (".nii.gz", ".nii"), nifti.opens, nifti.read, nifti.read_header, nifti.write_labels),
    _Format((".dcm", ".dicom", ".ima"), (".dcm",), dicom.opens, dicom.read, dicom.read_header, dicom.write_labels),
    _Format(
        (".zarr",),
        (".ome.zarr", ".zarr"),
        ome_zarr.opens,
        ome_zarr.read,
        ome_zarr.read_header,
        ome_zarr.write_labels,
    ),
)

# What people will try, and what we can honestly say of it: (suffixes, first bytes, name, what to do).
_NOT_YET = (
    ((".h5", ".hdf5"), b"\x89HDF", "HDF5", "TIFF or OME-Zarr"),
    ((".npz",), b"", "NumPy archives", ".npy"),
    ((".hdr", ".img"), b"", "Analyze and two-file NIfTI", ".nii.gz"),
    ((".nrrd", ".mha", ".mhd"), b"NRRD", "NRRD and MetaImage", ".nii.gz"),
)

SUFFIXES: tuple[str, ...] = tuple(dict.fromkeys(suffix for each in _FORMATS for suffix in each.suffixes))
"""Suffixes, lower case with the dot, of the files (and, for OME-Zarr, folders) that `read` opens."""

LABEL_SUFFIXES: tuple[str, ...] = tuple(dict.fromkeys(suffix for each in _FORMATS for suffix in each.writes))
"""Suffixes, lower case with the dot, of the label images that `write_labels` writes."""


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Whether a name has one of the `SUFFIXES` (any case) and is not hidden; the file is not opened."""
    name = Path(path).name.lower()
    return not name.startswith(".") and name.endswith(SUFFIXES)


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether a file, or folder, begins like an image that `read` opens, whatever its name."""
    try:
        _format(Path(path))
    except (ImageError, MissingError):
        return False
    return True


def is_series(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder of DICOM slices, which `read` takes as one volume."""
    path = Path(path)
    return path.is_dir() and not is_image_file(path) and dicom.opens(path, b"")


def label_suffix(path: str | os.PathLike[str]) -> str:
    """Suffix of label images of the kind of file that `path` is: its own where the kind can hold labels.

    ".png" for JPEG and its like, and for what is no image that we read.
    """
    path = Path(path)
    try:
        writes = _format(path).writes
    except (ImageError, MissingError):
        return ".png"
    return next((suffix for suffix in writes if path.name.lower().endswith(suffix)), writes[0])


def read(
    path: str | os.PathLike[str], *, page: int | None = None, alpha: bool = False, max_bytes: int = MAX_BYTES
) -> Image:
    """Read an image.

    Args:
        path: the file; its first bytes count, so a PNG that is called `.tif` is read as the PNG that it is. A
            folder of DICOM slices is one volume; an OME-Zarr image is a folder too.
        page: of a TIFF, see `page_sizes`: this one alone is read, as an image of its own.
        alpha: keep alpha as a channel, for what is measured in four bands and saved as RGBA; else it is dropped.
        max_bytes: largest decoded size allowed; checked on the header, before decoding.

    Returns:
        The image, `C Y X` or `C Z Y X`, with the numbers that the file stores.

    Raises:
        MissingError: there is no such file.
        MissingExtraError: the library for this format is not installed.
        ImageError: the file is no image that we read, is damaged, or is too large.
    """
    path = Path(path)
    found = _format(path)
    read_it: Callable[..., Image] = found.read if page is None else partial(tiff.read, page=page)
    kept = {"alpha": True} if alpha and found.alpha else {}
    return read_it(path, max_bytes=max_bytes, **kept)


def read_header(path: str | os.PathLike[str], *, page: int | None = None) -> Header:
    """Read what a file, or one `page` of a TIFF, says of itself, without decoding pixels.

    That is channels, size, number type, pixel size and place.

    Raises:
        MissingError: there is no such file.
        MissingExtraError: the library for this format is not installed.
        ImageError: the file is no image that we read, or its header is damaged.
    """
    path = Path(path)
    found = _format(path)
    return found.read_header(path) if page is None else tiff.read_header(path, page=page)


def page_sizes(path: str | os.PathLike[str]) -> tuple[tuple[int, int], ...]:
    """Size (y, x) of each page of a plain TIFF, as stored; none for another kind of file.

    Raises:
        MissingError: there is no such file.
        ImageError: the file is no image that we read, or is damaged.
    """
    path = Path(path)
    return tiff.page_sizes(path) if _format(path).read is tiff.read else ()


def read_mask(
    path: str | os.PathLike[str], *, page: int | None = None, max_bytes: int = MAX_BYTES
) -> Integer[np.ndarray, "*space"]:
    """Read a mask, or one `page` of a TIFF of masks: class or object numbers, `[Z] Y X`.

    A palette image gives its indices, a 1-bit image 0 and 1, gray with alpha and gray saved as RGB give
    their gray value, a DICOM SEG the numbers of its segments.

    Raises:
        MissingError: there is no such file.
        MissingExtraError: the library for this format is not installed.
        ImageError: as for `read`, or the file holds colours or fractions instead of numbers.
    """
    path = Path(path)
    read_it = _format(path).read if page is None else partial(tiff.read, page=page)
    return as_labels(read_it(path, indices=True, max_bytes=max_bytes))


def write_labels(
    path: str | os.PathLike[str],
    labels: Integer[np.ndarray, "*space"],
    *,
    colours: Sequence[tuple[int, int, int]] = (),
    names: Sequence[str] = (),
    like: Image | None = None,
) -> None:
    """Write class or object numbers, losslessly compressed, in the smallest of 8, 16 and 32 bits that holds them.

    Args:
        path: where to; the suffix, one of `LABEL_SUFFIXES`, decides the format. An existing file is replaced.
        labels: numbers >= 0, `Y X` or `Z Y X`.
        colours: RGB 0..255 of label 0, 1, ...; PNG and GeoTIFF hold them as a palette, DICOM and OME-Zarr too.
        names: names of label 0, 1, ...; DICOM holds them.
        like: the image that the labels belong to; what it knows of pixel size and place is written where the
            format can hold it. `.tif` becomes a GeoTIFF where `like` was one; `.dcm` needs a DICOM image here.

    Raises:
        MissingExtraError: the library for this format is not installed.
        ImageError: the format cannot hold these labels, or the file cannot be written.
    """
    path = Path(path)
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if labels.size == 0 or low < 0 or high >= 2**32:
        raise ImageError(f"{path}: cannot hold labels {low}..{high} of shape {labels.shape}; labels are 0..2^32-1")
    if labels.ndim not in (2, 3):
        raise ImageError(f"{path}: labels have the shape {labels.shape}; they are Y X or Z Y X")
    small = labels.astype(np.uint8 if high < 2**8 else np.uint16 if high < 2**16 else np.uint32)
    suffix = _suffix(path, *LABEL_SUFFIXES)
    about = About(colours, names, like)
    rows = [each for each in _FORMATS if suffix in each.writes]
    # Of the two that write .tif, GeoTIFF is for images that lie on a map.
    row = rows[0] if isinstance(about.place, OnMap) else rows[-1]
    row.write_labels(path, small, about)


def write_probabilities(
    path: str | os.PathLike[str], probabilities: Float[np.ndarray, "c *space"], *, like: Image | None = None
) -> None:
    """Write scores of classes as a deflated float32 TIFF (BigTIFF beyond 2 GB), a GeoTIFF where `like` was one.

    Args:
        path: where to; `.tif` or `.tiff`. An existing file is replaced.
        probabilities: `C Y X` or `C Z Y X`, 0..1.
        like: the image that they belong to; its pixel size and georeference are written.

    Raises:
        MissingExtraError: the library for this format is not installed.
        ImageError: the suffix is not `.tif` or `.tiff`, the shape is another, or the file cannot be written.
    """
    path = Path(path)
    _suffix(path, ".tif", ".tiff")
    if probabilities.ndim not in (3, 4) or probabilities.size == 0:
        raise ImageError(f"{path}: probabilities have the shape {probabilities.shape}; they are C Y X or C Z Y X")
    about = About(like=like)
    write = geotiff.write_probabilities if isinstance(about.place, OnMap) else tiff.write_probabilities
    write(path, probabilities.astype(np.float32, copy=False), about)


def write_picture(path: str | os.PathLike[str], picture: UInt8[np.ndarray, "y x 3"] | UInt8[np.ndarray, "y x"]) -> None:
    """Write a picture: uint8, colour `Y X 3` or gray `Y X`, as `.png` or `.jpg`; folders are made.

    Raises:
        ImageError: another suffix, an empty picture, or the file cannot be written.
    """
    path = Path(path)
    _suffix(path, ".png", ".jpg", ".jpeg")
    if picture.size == 0:
        raise ImageError(f"{path}: a picture of shape {picture.shape} has no pixels")
    raster.write_picture(path, picture)


def _format(path: Path) -> _Format:
    head = b""
    try:
        if not path.is_dir():
            with path.open("rb") as stream:
                head = stream.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise MissingError(f"{path}: there is no such file; check the path") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from None
    if not head and not path.is_dir():
        raise ImageError(f"{path}: is empty (0 bytes); copy or export it again")
    for each in _FORMATS:
        if each.opens(path, head):
            return each
    if path.is_dir():
        raise ImageError(f"{path}: is a folder without an OME-Zarr image or DICOM slices; give an image file")
    name = path.name.lower()
    for suffixes, magic, kind, remedy in _NOT_YET:
        if (magic and head.startswith(magic)) or name.endswith(suffixes):
            raise ImageError(f"{path}: cannot read {kind} files; save it as {remedy}")
    known = " ".join(SUFFIXES)
    raise ImageError(f"{path}: is no image that we read (starts with {head[:8]!r}); save it as one of {known}")


def _suffix(path: Path, *allowed: str) -> str:
    name = path.name.lower()
    found = next((suffix for suffix in sorted(allowed, key=len, reverse=True) if name.endswith(suffix)), None)
    if found is None:
        raise ImageError(f"{path}: cannot write the suffix {path.suffix!r} here; use {' or '.join(allowed)}")
    return found
