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
from useg.images import tiff
from useg.images.image import MAX_BYTES, About, Header, Image, OnMap, label_colours
from useg.images.polite import decoding, encoding

# GeoTIFF 1.1, 7.1: the directory of keys, the pixel scale, the tie points, the transformation.
_GEO_TAGS = (34735, 33550, 33922, 34264)
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
    place, spacing, unit = _place(path)
    if len(image.size) == 3:
        spacing = None
    return replace(image, place=place, spacing=spacing or image.spacing, unit=unit if spacing else image.unit)


def read_header(path: Path) -> Header:
    """What the file says of itself, without decoding a pixel.

    Raises:
        MissingExtraError: rasterio is not installed.
        ImageError: the header is damaged.
    """
    header = tiff.read_header(path)
    place, spacing, unit = _place(path)
    if len(header.size) == 3:
        spacing = None
    return replace(header, place=place, spacing=spacing or header.spacing, unit=unit if spacing else header.unit)


def write_labels(path: Path, labels: Integer[np.ndarray, "*space"], about: About) -> None:
    """Write label numbers, deflated; up to 255 with their colours, as a palette.

    Raises:
        MissingExtraError: rasterio is not installed.
        ImageError: the file cannot be written.
    """
    if labels.ndim != 2:
        raise ImageError(f"{path}: a GeoTIFF holds no volume of shape {labels.shape}; write .nii.gz or .ome.zarr")
    with _created(path, labels[None], about, predictor=2) as file:
        file.write(labels, 1)
        if labels.dtype == np.uint8:
            file.write_colormap(1, dict(enumerate(label_colours(about))))


def write_probabilities(path: Path, scores: Float[np.ndarray, "c y x"], about: About) -> None:
    """Write scores of classes, deflated float32, a band a class.

    Raises:
        MissingExtraError: rasterio is not installed.
        ImageError: the file cannot be written.
    """
    with _created(path, scores, about, predictor=3) as file:
        file.write(scores)


@contextmanager
def _created(path: Path, bands: np.ndarray, about: About, *, predictor: int) -> Iterator[Any]:
    with extra(path, "geo"):
        import rasterio
    place = about.place
    assert isinstance(place, OnMap)
    options: dict[str, Any] = {"compress": "deflate", "predictor": predictor, "BIGTIFF": "IF_SAFER"}
    if min(bands.shape[1:]) >= 256:
        options |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with (
        encoding(path) as temporary,
        rasterio.open(
            temporary,
            "w",
            driver="GTiff",
            count=bands.shape[0],
            height=bands.shape[1],
            width=bands.shape[2],
            dtype=bands.dtype,
            crs=rasterio.CRS.from_wkt(place.crs) if place.crs else None,
            transform=rasterio.Affine(*place.transform),
            **options,
        ) as file,
    ):
        yield file


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
