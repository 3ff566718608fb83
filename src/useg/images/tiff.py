"""TIFF, BigTIFF, ImageJ and OME-TIFF, through tifffile, and imagecodecs for what that cannot decode (extra `codecs`).

Which part of a file is the image: its first series, at full resolution. Of its axes, samples and channels
become C; depth becomes Z. Where there is no depth, a time axis, or the plain pages of a multi-page file, take
its place; a file with both depth and time is refused. Axes of length one vanish.

Samples keep the number that the file stores, non-finite ones too, with three exceptions: a palette becomes
RGB (or gray), CMYK becomes RGB, and a 1-bit "white is zero" page (fax, G4) is turned so that white is 1, as
every viewer shows it. Samples marked as alpha are dropped, unless they are asked for. The orientation tag is applied,
as for JPEG.
"""

import math
import re
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from jaxtyping import Shaped

from useg.errors import ImageError, extra
from useg.images.image import MAX_BYTES, Header, Image, Layout, check_claim, layout_of, oriented
from useg.images.lzw import LZW, bring_lzw
from useg.images.polite import decoding

_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

_GEO_KEYS, _DESCRIPTION = 34735, 270
_PALETTE, _CMYK, _WHITE_IS_ZERO = 3, 5, 0
_ALPHA = (1, 2)
_UNCOMPRESSED = 1
# none, LZW, JPEG, deflate (two numbers), PackBits: the compressions whose ratio is bounded.
_BOUNDED = {1, 5, 7, 8, 32946, 32773}
# none, LZW (through pillow), deflate (two numbers), PackBits, LZMA.
_ALONE = {1, LZW, 8, 32946, 32773, 34925}
_MICROMETRE = {"micron", "microns", "um", "µm", "μm", "\\u00b5m", "micrometer", "micrometre"}


bring_lzw()


def opens(path: Path, head: bytes) -> bool:
    """Whether the first bytes are those of a TIFF."""
    return head.startswith(_STARTS)


def read(
    path: Path, *, indices: bool = False, alpha: bool = False, max_bytes: int = MAX_BYTES, page: int | None = None
) -> Image:
    """Decode a file, or one of its pages.

    Args:
        path: the file.
        indices: give the palette's indices instead of its colours, as a mask wants.
        alpha: keep the samples marked as alpha as channels.
        max_bytes: largest decoded size allowed.
        page: from 0, an image of its own; no other page is looked at.

    Returns:
        The image, `C Y X` or `C Z Y X`, of the file's own number type.

    Raises:
        ImageError: the file is damaged, truncated, too large, or has axes that no image has.
    """
    with decoding(path), tifffile.TiffFile(path, _multifile=False) as file:
        series, layout = first_series(path, file, page)
        header = header_of(file, series, layout, indices=indices)
        check(path, file, series, header, max_bytes)
        array = layout.sorted(np.asarray(series.asarray()))
        array = oriented(shown(array, series.keyframe, indices=indices, alpha=alpha), orientation_of(series.keyframe))
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return Image(array, header.axes, header.spacing, header.unit, path)


def read_header(path: Path, *, page: int | None = None) -> Header:
    """What the file, or one of its pages, says of itself, without decoding a pixel.

    Raises:
        ImageError: the header is damaged, or its axes are those of no image.
    """
    with decoding(path), tifffile.TiffFile(path, _multifile=False) as file:
        series, layout = first_series(path, file, page)
        return header_of(file, series, layout, indices=False)


def page_sizes(path: Path) -> tuple[tuple[int, int], ...]:
    """Size (y, x) of each page as stored.

    Raises:
        ImageError: the file is damaged.
    """
    return tuple((height, width) for _, height, width in _pages(path))


def _pages(path: Path) -> tuple[tuple[int, int, int], ...]:
    """Where each page begins in the file, and its size."""
    with decoding(path):
        now = path.stat()
        return _pages_then(path, now.st_mtime_ns, now.st_size)


# Kept for a stack and its masks: to reach a page, all pages before it would be walked through each time.
@lru_cache(maxsize=4)
def _pages_then(path: Path, modified: int, size: int) -> tuple[tuple[int, int, int], ...]:
    with tifffile.TiffFile(path, _multifile=False) as file:
        pages = (page.aspage() for page in file.pages)
        return tuple((int(page.offset), int(page.imagelength), int(page.imagewidth)) for page in pages)


def first_series(
    path: Path, file: tifffile.TiffFile, page: int | None = None
) -> tuple[tifffile.TiffPageSeries, Layout]:
    """What of a file is the image: its first series, or one page.

    Raises:
        ImageError: there is none, or its axes are those of no image.
    """
    if page is not None:
        file.filehandle.seek(_pages(path)[page][0])
        series = tifffile.TiffPageSeries([tifffile.TiffPage(file, page)])
        return series, layout_of(path, series.axes, series.shape)
    if not file.series:
        raise ImageError(f"{path}: is a TIFF without a page; it is damaged or incomplete")
    check_chain(path, file)
    series = file.series[0]
    return series, layout_of(path, series.axes, series.shape)


def check_chain(path: Path, file: tifffile.TiffFile) -> None:
    """See that the chain of pages ends within the file: where it is cut off, the pages before would be an image too.

    Raises:
        ImageError: it does not, or the file ends before the description of its first page.
    """
    form, stream, count = file.tiff, file.filehandle, len(file.pages)
    offset = int(file.pages[count - 1].offset)
    stream.seek(offset)
    (tags,) = struct.unpack(form.tagnoformat, stream.read(form.tagnosize))
    stream.seek(offset + form.tagnosize + tags * form.tagsize)
    (further,) = struct.unpack(form.offsetformat, stream.read(form.offsetsize))
    if further:
        raise ImageError(f"{path}: names more than the {count} pages that it has; it is incomplete, copy it again")
    first = file.pages.first
    stream.seek(first.offset)
    (tags,) = struct.unpack(form.tagnoformat, stream.read(form.tagnosize))
    raw = stream.read(tags * form.tagsize)
    codes = {struct.unpack_from(file.byteorder + "H", raw, place)[0] for place in range(0, len(raw), form.tagsize)}
    if _DESCRIPTION in codes and _DESCRIPTION not in first.tags:
        raise ImageError(f"{path}: ends before the description of its pages; it is incomplete, copy it again")


def header_of(
    file: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    layout: Layout,
    *,
    indices: bool = False,
    alpha: bool = False,
) -> Header:
    """What a series of pages says of itself.

    Raises:
        ImageError: it holds other than real numbers.
    """
    page = series.keyframe
    dtype = np.dtype(series.dtype).newbyteorder("=")
    dtype = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    if dtype.kind not in "iuf":
        raise ImageError(f"{file.filename}: holds {dtype} numbers; save real numbers or integers")
    channels, *size = layout.shape
    if page.photometric == _PALETTE and not indices:
        channels, dtype = (1 if _is_gray(_palette(page)) else 3), np.dtype(np.uint8)
    elif page.photometric == _CMYK and channels >= 4:
        channels = 3
    elif page.photometric != _PALETTE and not alpha:
        channels = len(_kept(page, channels))
    spacing, unit = _spacing(file, page, layout)
    if orientation_of(page) >= 5:
        size[-2:] = size[:-3:-1]
        spacing = (*spacing[:-2], spacing[-1], spacing[-2]) if spacing else None
    return Header(channels, tuple(size), dtype, layout.axes, spacing, unit)


def check(
    path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries, header: Header, max_bytes: int | None
) -> None:
    """Hold what the header claims against the file, before anything is decoded.

    Args:
        path, file, series, header: the file, the series in it, and what that says of itself.
        max_bytes: largest decoded size allowed of the image; None where it is read in windows.

    Raises:
        ImageError: it is too large, damaged or incomplete.
        MissingExtraError: it is compressed in a way that needs imagecodecs, which is not here.
    """
    page = series.keyframe
    file_bytes = path.stat().st_size
    bounded = max_bytes is not None and page.compression in _BOUNDED
    check_claim(path, header, max_bytes=max_bytes, file_bytes=file_bytes if bounded else None)
    chunk = math.prod(page.chunks) * page.dtype.itemsize if page.dtype else 0
    # What is mapped into memory is not decoded by the strip or tile.
    most = MAX_BYTES if max_bytes is None else max_bytes
    if chunk > most and not (max_bytes is None and page.is_memmappable):
        raise ImageError(f"{path}: its header says strips or tiles of {chunk} bytes, allowed are {most}; save it tiled")
    stored = series.size * page.bitspersample // 8
    # GDAL leaves empty tiles out of a file (their byte count is 0); every other plain sample must be there.
    if page.compression == _UNCOMPRESSED and 0 not in page.databytecounts and stored > file_bytes:
        raise ImageError(
            f"{path}: its header says {stored} bytes of pixels, the file has {file_bytes}; it is incomplete"
        )
    chunks = math.prod(page.chunked)
    if page.compression != _UNCOMPRESSED and len(page.dataoffsets) < chunks:
        raise ImageError(
            f"{path}: its header says {chunks} strips or tiles, the file has {len(page.dataoffsets)}; it is incomplete"
        )
    for one in series.pages:
        if one is None:
            raise ImageError(f"{path}: is one part of an image in several files, which is not read yet; save it in one")
        ends = (a + b for a, b in zip(one.dataoffsets, one.databytecounts, strict=False))
        if max(ends, default=0) > file_bytes:
            raise ImageError(f"{path}: ends at byte {file_bytes}, before its pixels do; it is incomplete")
    if not _decodes_alone(page):
        with extra(path, "codecs"):
            import imagecodecs  # noqa: F401


def _decodes_alone(page: Any) -> bool:
    """Whether a page is decoded without imagecodecs."""
    bits = page.bitspersample in (8, 16, 32, 64) or (page.bitspersample == 1 and page.compression != LZW)
    return page.compression in _ALONE and page.predictor in (1, 2) and bits


def shown(
    array: Shaped[np.ndarray, "c *space"], page: Any, *, indices: bool = False, alpha: bool = False
) -> Shaped[np.ndarray, "d *space"]:
    """Samples of a page, or of a window of it, as what they stand for: colours of a palette, RGB of CMYK, no alpha."""
    if array.dtype == np.bool_:
        array = (array ^ (page.photometric == _WHITE_IS_ZERO)).astype(np.uint8)
    if page.photometric == _PALETTE:
        return array if indices else _coloured(array, page)
    if page.photometric == _CMYK and len(array) >= 4:
        return _from_cmyk(array)
    return array if alpha else array[_kept(page, len(array))]


def _kept(page: Any, channels: int) -> list[int]:
    """Channels left when those that the file marks as alpha (ExtraSamples 1 or 2) are dropped."""
    extra = tuple(int(sample) for sample in page.extrasamples or ())
    samples = int(page.samplesperpixel)
    alpha = {samples - len(extra) + i for i, kind in enumerate(extra) if kind in _ALPHA}
    return [c for c in range(channels) if c % samples not in alpha] or list(range(channels))


def _palette(page: Any) -> np.ndarray:
    """The colour map, entries x RGB, as uint8 (TIFF stores 16 bits; some writers put 8-bit numbers there)."""
    if page.colormap is None:
        raise ValueError("a palette image without a palette")
    table = np.asarray(page.colormap).T
    return (table >> 8 if table.max() > 255 else table).astype(np.uint8)


def _is_gray(palette: np.ndarray) -> bool:
    return bool((palette == palette[:, :1]).all())


def _coloured(array: np.ndarray, page: Any) -> np.ndarray:
    palette = _palette(page)
    colours: np.ndarray = np.moveaxis(palette[array[0]], -1, 0)
    return colours[:1] if _is_gray(palette) else colours


def _from_cmyk(array: np.ndarray) -> np.ndarray:
    """Naive CMYK to RGB, as pillow does it: each ink takes away its share, black takes from all."""
    top = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1.0
    left = 1 - array[:4].astype(np.float32) / top
    rgb: np.ndarray = left[:3] * left[3] * top
    rgb = np.rint(rgb) if array.dtype.kind in "iu" else rgb
    return rgb.astype(array.dtype)


def orientation_of(page: Any) -> int:
    """The orientation tag, 1..8; 1 is as stored."""
    if _GEO_KEYS in page.tags:  # a georeference places the pixels as they are stored
        return 1
    value = page.tags.valueof(274, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _spacing(file: tifffile.TiffFile, page: Any, layout: Layout) -> tuple[tuple[float, ...] | None, str | None]:
    """Pixel size that OME, ImageJ or useg wrote; the resolution tag alone is a printer's affair."""
    if file.is_ome and file.ome_metadata:
        sizes, unit = _ome_spacing(file.ome_metadata)
    elif file.is_imagej:
        sizes, unit = _imagej_spacing(file.imagej_metadata or {}, page)
    else:
        sizes, unit = _own_spacing(file)
    depth = sizes.get("Z") if layout.real_depth else None
    wanted = [sizes.get("Y"), sizes.get("X")] if layout.axes == "CYX" else [depth, sizes.get("Y"), sizes.get("X")]
    found = tuple(size for size in wanted if size is not None and math.isfinite(size) and size > 0)
    return (found, unit) if len(found) == len(wanted) else (None, None)


def _ome_spacing(xml: str) -> tuple[dict[str, float], str | None]:
    try:
        pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    except ElementTree.ParseError:
        return {}, None
    if pixels is None:
        return {}, None
    named = {a: pixels.get(f"PhysicalSize{a}") for a in "XYZ"}
    # OME schema: the unit of a size that names none is the micrometre.
    units = {pixels.get(f"PhysicalSize{a}Unit", "µm") for a, value in named.items() if value}
    if len(units) != 1:
        return {}, None
    return {a: size for a, value in named.items() if (size := _number(value)) is not None}, _unit(units.pop())


def _imagej_spacing(metadata: dict[str, Any], page: Any) -> tuple[dict[str, float], str | None]:
    unit = _unit(str(metadata.get("unit", "")))
    if unit is None:
        return {}, None
    sizes = {}
    for axis, tag in (("X", 282), ("Y", 283)):
        pixels, length = page.tags.valueof(tag, (0, 0))  # ImageJ stores pixels a unit, as a fraction
        if pixels and length:
            sizes[axis] = length / pixels
    depth = _number(metadata.get("spacing"))
    return sizes | ({"Z": depth} if depth else {}), unit


def _own_spacing(file: tifffile.TiffFile) -> tuple[dict[str, float], str | None]:
    described = (file.shaped_metadata or ({},))[0]
    spacing = described.get("spacing")
    if not isinstance(spacing, list | tuple) or len(spacing) not in (2, 3):
        return {}, None
    sizes = zip("XYZ", reversed(spacing), strict=False)
    unit = described.get("unit")
    return {a: float(s) for a, s in sizes}, unit if isinstance(unit, str) else None


def _number(value: object) -> float | None:
    return float(str(value)) if re.fullmatch(r"\d*\.?\d+(e[+-]?\d+)?", str(value), re.IGNORECASE) else None


def _unit(name: str) -> str | None:
    """A unit's usual spelling; None for the ones that measure nothing ("pixel", empty)."""
    name = name.strip()
    if name.lower() in _MICROMETRE:
        return "µm"
    return None if name.lower() in ("", "pixel", "pixels") else name
