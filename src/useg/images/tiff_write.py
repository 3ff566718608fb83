"""Write TIFF and BigTIFF: labels and scores, deflated, with the pixel size in tifffile's description.

What is in memory becomes strips, what a store holds becomes tiles.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import Float, Integer, Num

from useg.images.image import About
from useg.images.polite import encoding
from useg.images.store import LabelStore

_BIG = 2 * 10**9
"""From so many bytes on, BigTIFF."""
_TILE = 512


def write_labels(path: Path, labels: Integer[np.ndarray, "*space"], about: About) -> None:
    """Write label numbers, deflated, with the pixel size; `Y X` or `Z Y X`."""
    _write(path, labels, "ZYX"[-labels.ndim :], about, predictor=2)


def write_probabilities(path: Path, scores: Float[np.ndarray, "c *space"], about: About) -> None:
    """Write scores of classes, deflated, with the pixel size; `C Y X` or `C Z Y X`."""
    _write(path, scores, "CZYX" if scores.ndim == 4 else "CYX", about, predictor=3)


def write_image(path: Path, pixels: Num[np.ndarray, "c *space"], about: About) -> None:
    """Write an image of any number type, deflated, with the pixel size; three channels of whole numbers as colour."""
    predictor, space = {"f": 3}.get(pixels.dtype.kind, 2), "ZYX"[-(pixels.ndim - 1) :]
    if len(pixels) == 3 and pixels.dtype in (np.uint8, np.uint16):
        colour = {"photometric": "rgb", "planarconfig": "contig"}
        array = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
        _write(path, array, f"{space}S", about, predictor=predictor, **colour)
    elif len(pixels) == 1:
        _write(path, pixels[0], space, about, predictor=predictor)
    else:
        _write(path, pixels, f"C{space}", about, predictor=predictor)


def write_stored(path: Path, store: LabelStore, about: About) -> None:
    """Write what a store holds in tiles, deflated, with the pixel size; a label image `Y X` with lower levels.

    Raises:
        ImageError: a chunk of the store is missing or damaged.
    """
    dtype, axes = store.smallest(), store.axes.upper()
    if store.size[-1] == 1:  # tifffile takes an axis of one for samples, when it is given tiles
        whole = store.written([slice(None)] * len(store.size)).astype(dtype)
        _write(path, whole, axes, about, predictor=3 if dtype.kind == "f" else 2)
        return
    levels = [store, *(store.lower_levels() if axes == "YX" else [])]
    options = _options(axes, about, predictor=3 if dtype.kind == "f" else 2)
    with encoding(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=store.nbytes > _BIG) as writer:
        for number, level in enumerate(levels):
            below = {"subfiletype": 1, "metadata": {"axes": axes}} if number else {"subifds": len(levels) - 1}
            shape = (*store.front, *level.size)
            tiles = _tiles(level, dtype)
            writer.write(tiles, shape=shape, dtype=dtype, tile=(_TILE, _TILE), **(options | below))


def _tiles(store: LabelStore, dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    """Page by page, and row by row of each, the last ones filled up with 0."""
    *depth, _, width = store.size
    for plane in range(store.planes) if store.planes is not None else [None]:
        for window in store.blocks((*((1,) * len(depth)), _TILE, width)):
            rows = store.written(window, plane=plane).reshape(-1, width)
            for left in range(0, width, _TILE):
                part = rows[:, left : left + _TILE]
                tile = np.zeros((_TILE, _TILE), dtype)
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile


def _write(path: Path, array: np.ndarray, axes: str, about: About, *, predictor: int, **more: str) -> None:
    options = _options(axes, about, predictor=predictor) | more
    with encoding(path) as temporary:
        tifffile.imwrite(temporary, array, bigtiff=array.nbytes > _BIG, **options)


def _options(axes: str, about: About, *, predictor: int) -> dict[str, Any]:
    """How an image is written."""
    described: dict[str, Any] = {"axes": axes}
    spacing = about.spacing(len(axes.strip("CS")))
    if spacing is not None:
        described |= {"spacing": [float(size) for size in spacing], "unit": about.unit}
    # That of floats needs imagecodecs; it only makes files smaller.
    known = predictor if predictor in tifffile.TIFF.PREDICTORS else 1
    return {"photometric": "minisblack", "compression": "zlib", "predictor": known, "metadata": described}
