"""The table of formats: which module opens, reads and writes what. A new format is a module, and a row here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from useg.errors import ImageError, MissingError
from useg.images import dicom, geotiff, nifti, npy, nrrd, ome_zarr, raster, slides, tiff, tiff_windows, tiff_write
from useg.images.image import MAX_BYTES, About, Header, Image, OnMap
from useg.images.store import LabelStore
from useg.images.windows import Windows

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


@runtime_checkable
class _OpenWindows(Protocol):
    def __call__(self, path: Path, *, indices: bool = False, alpha: bool = False, level: int = 0) -> Windows: ...


@runtime_checkable
class _OpenOnce(Protocol):
    def __call__(self, path: Path, *, indices: bool = False, alpha: bool = False) -> Windows: ...


@runtime_checkable
class _WriteStored(Protocol):
    def __call__(self, path: Path, store: LabelStore, about: About) -> None: ...


@dataclass(frozen=True)
class Format:
    """One row of the table of formats; a new format is a module with these functions and a row here."""

    suffixes: tuple[str, ...]  # of the files that it reads
    writes: tuple[str, ...]  # of the label images that it writes; the first is the usual one
    opens: _Opens
    read: _Read
    read_header: _ReadHeader
    write_labels: _WriteLabels
    alpha: bool = False  # whether its `read` can keep alpha as a channel
    open_windows: _OpenWindows | None = None  # None: it is decoded whole
    open_once: _OpenOnce | None = None  # None: as `open_windows`
    write_stored: _WriteStored | None = None  # None: it is written from memory


# A GeoTIFF is a TIFF too, so the narrower row comes first.
FORMATS = (
    Format(
        (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"),
        (".png",),
        raster.opens,
        raster.read,
        raster.read_header,
        raster.write_labels,
        alpha=True,
    ),
    Format(
        (".tif", ".tiff"),
        (".tif", ".tiff"),
        geotiff.opens,
        geotiff.read,
        geotiff.read_header,
        geotiff.write_labels,
        alpha=True,
        open_windows=geotiff.open_windows,
        write_stored=geotiff.write_stored,
    ),
    Format(
        slides.SUFFIXES,
        (".tif",),
        slides.opens,
        slides.read,
        slides.read_header,
        tiff_write.write_labels,
        alpha=True,
        open_windows=slides.open_windows,
        write_stored=tiff_write.write_stored,
    ),
    Format(
        (".tif", ".tiff"),
        (".tif", ".tiff"),
        tiff.opens,
        tiff.read,
        tiff.read_header,
        tiff_write.write_labels,
        alpha=True,
        open_windows=tiff_windows.open_windows,
        write_stored=tiff_write.write_stored,
    ),
    Format(
        (".npy",),
        (".npy",),
        npy.opens,
        npy.read,
        npy.read_header,
        npy.write_labels,
        open_windows=npy.open_windows,
        write_stored=npy.write_stored,
    ),
    Format(
        (".nii.gz", ".nii"),
        (".nii.gz", ".nii"),
        nifti.opens,
        nifti.read,
        nifti.read_header,
        nifti.write_labels,
        open_once=nifti.open_once,
    ),
    Format((".nrrd", ".nhdr"), (".nrrd",), nrrd.opens, nrrd.read, nrrd.read_header, nrrd.write_labels),
    Format((".dcm", ".dicom", ".ima"), (".dcm",), dicom.opens, dicom.read, dicom.read_header, dicom.write_labels),
    Format(
        (".zarr",),
        (".ome.zarr", ".zarr"),
        ome_zarr.opens,
        ome_zarr.read,
        ome_zarr.read_header,
        ome_zarr.write_labels,
        open_windows=ome_zarr.open_windows,
        write_stored=ome_zarr.write_stored,
    ),
)

# What people will try, and what we can honestly say of it: (suffixes, first bytes, name, what to do).
_NOT_YET = (
    ((".h5", ".hdf5"), b"\x89HDF", "HDF5", "TIFF or OME-Zarr"),
    ((".npz",), b"", "NumPy archives", ".npy"),
    ((".hdr", ".img"), b"", "Analyze and two-file NIfTI", ".nii.gz"),
    ((".mha", ".mhd"), b"", "MetaImage", ".nrrd or .nii.gz"),
)

SUFFIXES: tuple[str, ...] = tuple(dict.fromkeys(suffix for each in FORMATS for suffix in each.suffixes))
"""Suffixes, lower case with the dot, of the files (and, for OME-Zarr, folders) that `read` opens."""

LABEL_SUFFIXES: tuple[str, ...] = tuple(dict.fromkeys(suffix for each in FORMATS for suffix in each.writes))
"""Suffixes, lower case with the dot, of the label images that `write_labels` writes."""


def format_of(path: Path) -> Format:
    """The row of the table that opens a file or folder.

    Raises:
        MissingError: there is no such file.
        ImageError: no row opens it.
    """
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
    # It begins like the JPEG that only shows what is in the folder beside it.
    if path.name.lower().endswith(".mrxs"):
        raise ImageError(f"{path}: is a MIRAX slide, which is not read; save it as OME-TIFF")
    for each in FORMATS:
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


def writer_of(path: Path, about: About) -> Format:
    """The row of the table that writes label images of this name.

    Raises:
        ImageError: none does.
    """
    suffix = suffix_of(path, *LABEL_SUFFIXES)
    rows = [each for each in FORMATS if suffix in each.writes]
    # Of those that write .tif, GeoTIFF is for images that lie on a map.
    return rows[0] if isinstance(about.place, OnMap) else rows[-1]


def suffix_of(path: Path, *allowed: str) -> str:
    """The one of `allowed` that a name ends with.

    Raises:
        ImageError: none of them.
    """
    name = path.name.lower()
    found = next((suffix for suffix in sorted(allowed, key=len, reverse=True) if name.endswith(suffix)), None)
    if found is None:
        raise ImageError(f"{path}: cannot write the suffix {path.suffix!r} here; use {' or '.join(allowed)}")
    return found
