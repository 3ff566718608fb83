"""Whole-slide images of Aperio, Hamamatsu, Leica and Ventana: TIFFs whose pixel size tiffslide knows (extra `slides`).

The pixels are read as those of any TIFF: RGB, of the first image that is no overview of the slide. Where a Leica slide
holds several pieces, that is the first piece.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tifffile

from useg.errors import ImageError, extra
from useg.images import tiff
from useg.images.image import MAX_BYTES, Header, Image, check_claim, layout_of
from useg.images.polite import decoding
from useg.images.tiff_windows import level_headers, of_series
from useg.images.windows import Windows, reduced

SUFFIXES = (".svs", ".ndpi", ".scn", ".bif")
"""Of the slides that are read."""

_MPP = ("tiffslide.mpp-y", "tiffslide.mpp-x")


def opens(path: Path, head: bytes) -> bool:
    """Whether this is a TIFF with the suffix of a slide."""
    return tiff.opens(path, head) and path.name.lower().endswith(SUFFIXES)


def read(path: Path, *, indices: bool = False, alpha: bool = False, max_bytes: int = MAX_BYTES) -> Image:
    """Decode the full resolution of a slide; most are too large for that.

    Args:
        path: the file.
        indices: no difference here: a slide has no palette.
        alpha: keep the samples marked as alpha as channels.
        max_bytes: largest decoded size allowed.

    Raises:
        MissingExtraError: tiffslide is not installed.
        ImageError: the file is damaged or too large.
    """
    with open_windows(path, alpha=alpha) as windows:
        header = windows.header
        check_claim(path, header, max_bytes=max_bytes, file_bytes=None)
        array = windows.read([slice(None)] * len(header.size))
    return Image(array, header.axes, header.spacing, header.unit, path)


def read_header(path: Path) -> Header:
    """What the file says of itself, without decoding a pixel.

    Raises:
        MissingExtraError: tiffslide is not installed.
        ImageError: the header is damaged.
    """
    with open_windows(path) as windows:
        return windows.header


def open_windows(path: Path, *, indices: bool = False, alpha: bool = False, level: int = 0) -> Windows:
    """Open a level of a slide, which has no palette; see `useg.images.tiff_windows.open_windows`.

    Raises:
        MissingExtraError: tiffslide is not installed.
        ImageError: the file is damaged or truncated, or has no such level.
    """
    with extra(path, "slides"):
        import tiffslide
    with decoding(path):
        file = tifffile.TiffFile(path, _multifile=False)
        try:
            tiff.check_chain(path, file)
            if file.series[0].ndim > 3:
                raise ImageError(f"{path}: holds {file.series[0].shape[0]} focal planes; save one of them as OME-TIFF")
            with tiffslide.TiffSlide(path) as slide:
                said = slide.properties
            series = file.series[int(said["tiffslide.series-index"])]
            first, *lower = level_headers(path, file, series, alpha=alpha)
            first = replace(first, **_pixel_size([said.get(name) for name in _MPP]))
            levels = (first, *(reduced(first, each) for each in lower))
            layout = layout_of(path, series.axes, series.shape)
            return of_series(path, file, series, layout, levels, alpha=alpha, level=level)
        except BaseException:
            file.close()
            raise


def _pixel_size(said: Sequence[Any]) -> dict[str, Any]:
    """Spacing and unit of micrometres a pixel; none where the slide does not say."""
    sizes = tuple(float(size) for size in said if size is not None)
    known = len(sizes) == 2 and all(math.isfinite(size) and size > 0 for size in sizes)
    return {"spacing": sizes, "unit": "µm"} if known else {"spacing": None, "unit": None}
