"""GeoTIFF: TIFF that says where on the Earth it lies, which rasterio (extra `geo`) reads and writes.

The pixels are read as those of any TIFF. The pixel size is known where the transform is not turned; its unit is that
of the coordinate reference system ("m", or "degree" where it counts degrees).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import Float, Integer

from useg.errors import ImageError, extra
from useg.images import tiff, tiff_windows
from useg.images.image import MAX_BYTES, About, Header, Image, OnMap, label_colours
from useg.images.polite import decoding, encoding
from useg.images.store import LabelStore
from useg.images.windows import Windows, reduced

# GeoTIFF 1.1, 7.1: the directory of keys, the pixel scale, the tie points, the transformation.
_GEO_TAGS = (34735, 33550, 33922, 34264)
_BLOCK, _SMALL = 256, 1024
_METRE = {"metre", "meter", "m"}


def opens(path: Path, head: bytes) -> bool:
    """Whether this is a TIFF whose first page has a tag of GeoTIFF."""
    if not tiff.opens(path, head):
        return False
    try:
        with decoding(path), tifffile.TiffFile(path, _multifile=False) as file:
            return any(code in file.pages.first.tags for code in _GEO_TAGS)
    except ImageError:
        return False  # damaged; the reader of TIFF says how


def read(path: Path, *, indices: bool = False, alpha: bool = False, max_bytes: int = MAX_BYTES) -> Image:
    """Decode a file; see `useg.images.tiff.read`.

    Returns:
        The image with its transform and coordinate reference system as `OnMap`.

    Raises:
        MissingExtraError: rasterio is not installed.
        ImageError: the file is damaged, too large, or has axes that no image has.
    """
    image = tiff.read(path, indices=indices, alpha=alpha, max_bytes=max_bytes)
    return replace(image, **_on_map(path, image))


def read_header(path: Path) -> Header:
    """What the file says of itself, without decoding a pixel.

    Raises:
        MissingExtraError: rasterio is not installed.
        ImageError: the header is damaged.
    """
    header = tiff.read_header(path)
    return replace(header, **_on_map(path, header))


def open_windows(path: Path, *, indices: bool = False, alpha: bool = False, level: int = 0) -> Windows:
    """Open a file, or one of its overviews; see `useg.images.tiff_windows.open_windows`.

    Raises:
        MissingExtraError: rasterio is not installed.
        ImageError: the file is damaged, or cannot be read in windows.
    """
    windows = tiff_windows.open_windows(path, indices=indices, alpha=alpha, level=level)
    first, *lower = windows.levels
    first = replace(first, **_on_map(path, first))
    levels = (first, *(reduced(first, each) for each in lower))
    return replace(windows, header=levels[level], levels=levels)


def write_labels(path: Path, labels: Integer[np.ndarray, "*space"], about: About) -> None:
    """Write label numbers, deflated; up to 255 with their colours, as a palette.

    Raises:
        MissingExtraError: rasterio is not installed.
        ImageError: the file cannot be written.
    """
    if labels.ndim != 2:
        raise ImageError(f"{path}: a GeoTIFF holds no volume of shape {labels.shape}; write .nii.gz or .ome.zarr")
    with _created(path, (1, *labels.shape), labels.dtype, about) as file:
        file.write(labels, 1)
        if labels.dtype == np.uint8:
            file.write_colormap(1, dict(enumerate(label_colours(about))))


def write_probabilities(path: Path, scores: Float[np.ndarray, "c y x"], about: About) -> None:
    """Write scores of classes, deflated float32, a band a class.

    Raises:
        MissingExtraError: rasterio is not installed.
        ImageError: the file cannot be written.
    """
    with _created(path, scores.shape, scores.dtype, about) as file:
        file.write(scores)


def write_stored(path: Path, store: LabelStore, about: About) -> None:
    """Write what a store holds, labels with overviews and their colours, scores as bands.

    Raises:
        MissingExtraError: rasterio is not installed.
        ImageError: the store holds a volume, or a chunk of it is missing or damaged.
    """
    with extra(path, "geo"):
        from rasterio.enums import Resampling
        from rasterio.windows import Window
    if len(store.size) != 2:
        raise ImageError(f"{path}: a GeoTIFF holds no volume of shape {store.size}; write .nii.gz or .ome.zarr")
    dtype, (height, width) = store.smallest(), store.size
    with _created(path, (store.planes or 1, height, width), dtype, about) as file:
        for rows, columns in store.blocks((2 * _BLOCK, width)):
            for plane in range(store.planes or 1):
                part = store.written((rows, columns), plane=None if store.planes is None else plane)
                where = Window(0, rows.start, width, rows.stop - rows.start)
                file.write(part.astype(dtype, copy=False), plane + 1, window=where)
        if store.planes is None:
            if dtype == np.uint8:
                file.write_colormap(1, dict(enumerate(label_colours(about))))
            levels = [2**n for n in range(1, 31) if max(height, width) >> (n - 1) > _SMALL]
            if levels:
                file.build_overviews(levels, Resampling.nearest)


@contextmanager
def _created(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], about: About) -> Iterator[Any]:
    with extra(path, "geo"):
        import rasterio
    place = about.place
    assert isinstance(place, OnMap)
    predictor = 3 if dtype.kind == "f" else 2
    options: dict[str, Any] = {"compress": "deflate", "predictor": predictor, "BIGTIFF": "IF_SAFER"}
    if min(shape[1:]) >= _BLOCK:
        options |= {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK}
    with (
        encoding(path) as temporary,
        rasterio.open(
            temporary,
            "w",
            driver="GTiff",
            count=shape[0],
            height=shape[1],
            width=shape[2],
            dtype=dtype,
            crs=rasterio.CRS.from_wkt(place.crs) if place.crs else None,
            transform=rasterio.Affine(*place.transform),
            **options,
        ) as file,
    ):
        yield file


def _on_map(path: Path, known: Image | Header) -> dict[str, Any]:
    """Place, pixel size and unit of an image: those of the map, as far as it has them."""
    place, spacing, unit = _place(path)
    if len(known.size) == 3 or spacing is None:
        spacing, unit = known.spacing, known.unit
    return {"place": place, "spacing": spacing, "unit": unit}


def _place(path: Path) -> tuple[OnMap | None, tuple[float, ...] | None, str | None]:
    """The georeference, and where it is not turned the pixel size (y, x) and its unit."""
    with extra(path, "geo"):
        import rasterio
    with decoding(path), rasterio.open(path) as file:
        transform, crs = file.transform, file.crs
        if transform.is_identity and crs is None:
            return None, None, None
        numbers = tuple(float(number) for number in tuple(transform)[:6])
        if not all(map(math.isfinite, numbers)):
            raise ImageError(f"{path}: its georeference holds numbers that are none; write it again")
        place = OnMap(numbers, crs.to_wkt() if crs else "")
        step_x, turned_x, _, turned_y, step_y, _ = numbers
        if crs is None or turned_x or turned_y or not step_x or not step_y:
            return place, None, None
        unit = crs.linear_units if crs.is_projected else "degree"
        return place, (abs(step_y), abs(step_x)), "m" if unit.lower() in _METRE else unit
