"""Read and write image files. Which reader opens a file is decided by its first bytes, then by its suffix."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Num, UInt8

from useg.errors import ImageError, MissingError
from useg.images import dicom, geotiff, raster, tiff, tiff_write
from useg.images.formats import SUFFIXES, format_of, suffix_of, writer_of
from useg.images.image import MAX_BYTES, About, Header, Image, OnMap, as_labels
from useg.images.windows import Windows, of_image, pick_level, windows_of


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Whether a name has one of the `SUFFIXES` (any case) and is not hidden; the file is not opened."""
    name = Path(path).name.lower()
    return not name.startswith(".") and name.endswith(SUFFIXES)


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether a file, or folder, begins like an image that `read` opens, whatever its name."""
    try:
        format_of(Path(path))
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
        writes = format_of(path).writes
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
    found = format_of(path)
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
    found = format_of(path)
    return found.read_header(path) if page is None else tiff.read_header(path, page=page)


def open_windows(path: str | os.PathLike[str], *, alpha: bool = False, level: int = 0) -> Windows:
    """Open an image of which parts are read, for one that is larger than memory.

    TIFF, GeoTIFF, slides, OME-Zarr and `.npy` read only what a window needs. All else is decoded whole, here, within
    `MAX_BYTES`.

    Args:
        path: the file or folder, as for `read`.
        alpha: keep alpha as a channel, as for `read`.
        level: of a pyramid, as `level_headers` lists them; 0 is the full resolution.

    Returns:
        The windows, to be closed; each is equal to that part of what `read` gives.

    Raises:
        MissingError: there is no such file.
        MissingExtraError: the library for this format is not installed.
        ImageError: the file is no image that we read, is damaged, or has no such level.
    """
    path = Path(path)
    found = format_of(path)
    if found.open_windows:
        windows = found.open_windows(path, alpha=alpha, level=level)
    else:
        windows = of_image(read(path, alpha=alpha))
        pick_level(path, windows.levels, level)
    return replace(windows, again=partial(open_windows, path, alpha=alpha, level=level))


def open_once(path: str | os.PathLike[str], *, alpha: bool = False) -> Windows:
    """Open an image to read all of it in parts, see `Windows.bands`: as `open_windows`, and NIfTI in parts too."""
    path = Path(path)
    found = format_of(path).open_once
    return found(path) if found else open_windows(path, alpha=alpha)


def open_mask(path: str | os.PathLike[str]) -> Windows:
    """Open a mask to read all of it in parts: one channel, the numbers that `read_mask` gives.

    What holds one whole number a pixel is read in parts, where `open_once` can; all else is decoded whole, here.

    Raises:
        MissingError, MissingExtraError, ImageError: as for `read_mask`.
    """
    path = Path(path)
    found = format_of(path)
    if opening := found.open_once or found.open_windows:
        windows = opening(path, indices=True)
        if windows.header.channels == 1 and windows.header.dtype.kind in "iu":
            return windows
        windows.close()
    return windows_of(read_mask(path)[None], path=path)


def level_headers(path: str | os.PathLike[str]) -> list[Header]:
    """What a file says of each level of its pyramid, the full resolution first; one header where there is none.

    The pixel size of a lower level follows from the sizes of both.

    Raises:
        MissingError: there is no such file.
        MissingExtraError: the library for this format is not installed.
        ImageError: the file is no image that we read, or is damaged.
    """
    path = Path(path)
    found = format_of(path)
    if found.open_windows is None:
        return [found.read_header(path)]
    with found.open_windows(path) as windows:
        return list(windows.levels)


def page_sizes(path: str | os.PathLike[str]) -> tuple[tuple[int, int], ...]:
    """Size (y, x) of each page of a plain TIFF, as stored; none for another kind of file.

    Raises:
        MissingError: there is no such file.
        ImageError: the file is no image that we read, or is damaged.
    """
    path = Path(path)
    return tiff.page_sizes(path) if format_of(path).read is tiff.read else ()


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
    read_it = format_of(path).read if page is None else partial(tiff.read, page=page)
    return as_labels(read_it(path, indices=True, max_bytes=max_bytes))


def write_labels(
    path: str | os.PathLike[str],
    labels: Integer[np.ndarray, "*space"],
    *,
    colours: Sequence[tuple[int, int, int]] = (),
    names: Sequence[str] = (),
    like: Image | Header | None = None,
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
    about = About(colours, names, like)
    writer_of(path, about).write_labels(path, small, about)


def write_probabilities(
    path: str | os.PathLike[str], probabilities: Float[np.ndarray, "c *space"], *, like: Image | Header | None = None
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
    suffix_of(path, ".tif", ".tiff")
    if probabilities.ndim not in (3, 4) or probabilities.size == 0:
        raise ImageError(f"{path}: probabilities have the shape {probabilities.shape}; they are C Y X or C Z Y X")
    about = About(like=like)
    write = geotiff.write_probabilities if isinstance(about.place, OnMap) else tiff_write.write_probabilities
    write(path, probabilities.astype(np.float32, copy=False), about)


def write_image(path: str | os.PathLike[str], pixels: Num[np.ndarray, "c *space"], *, like: Image | Header) -> None:
    """Write an image, or a part of one, without loss: PNG for bytes, gray or colour, TIFF for stacks and all else.

    Args:
        path: where to; `.png`, `.tif` or `.tiff`, as `image_suffix` says. An existing file is replaced.
        pixels: `C Y X` or `C Z Y X` of any number type of images.
        like: the image that they are of; a TIFF gets its pixel size.

    Raises:
        ImageError: another suffix, or the file cannot hold these pixels or be written.
    """
    path = Path(path)
    suffix = suffix_of(path, ".png", ".tif", ".tiff")
    if suffix != ".png":
        tiff_write.write_image(path, pixels, About(like=like))
    elif image_suffix(len(pixels), pixels.dtype, None) == ".png":
        raster.write_picture(path, pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    else:
        raise ImageError(
            f"{path}: PNG is written of bytes, gray or RGB, not of {len(pixels)} x {pixels.dtype}; use .tif"
        )


def image_suffix(channels: int, dtype: np.dtype[Any], spacing: Sequence[float] | None) -> str:
    """Of the plainest file that holds such an image whole, with its pixel size: ".png" or ".tif"."""
    return ".png" if channels in (1, 3) and dtype == np.uint8 and spacing is None else ".tif"


def write_picture(path: str | os.PathLike[str], picture: UInt8[np.ndarray, "y x 3"] | UInt8[np.ndarray, "y x"]) -> None:
    """Write a picture: uint8, colour `Y X 3` or gray `Y X`, as `.png` or `.jpg`; folders are made.

    Raises:
        ImageError: another suffix, an empty picture, or the file cannot be written.
    """
    path = Path(path)
    suffix_of(path, ".png", ".jpg", ".jpeg")
    if picture.size == 0:
        raise ImageError(f"{path}: a picture of shape {picture.shape} has no pixels")
    raster.write_picture(path, picture)
