"""Write image files of what a store holds, without having it in memory: some rows of tiles at once."""

import os
from collections.abc import Sequence
from pathlib import Path

from useg.errors import ImageError
from useg.images.files import write_labels
from useg.images.formats import FORMATS, suffix_of, writer_of
from useg.images.image import MAX_BYTES, About, Header, Image
from useg.images.store import LabelStore


def write_labels_from(
    path: str | os.PathLike[str],
    store: LabelStore,
    *,
    colours: Sequence[tuple[int, int, int]] = (),
    names: Sequence[str] = (),
    like: Image | Header | None = None,
) -> None:
    """Write a finished store of class or object numbers as `write_labels` writes an array.

    TIFF, GeoTIFF and OME-Zarr get lower levels, so that viewers open them at once; OME-Zarr is made of the store
    itself, which is moved to `path`. Other formats but `.npy` are written from memory, within `MAX_BYTES`.

    Args:
        path: where to; the suffix, one of `LABEL_SUFFIXES`, decides the format. An existing file is replaced.
        store: numbers >= 0, all of which were written.
        colours: RGB 0..255 of label 0, 1, ...
        names: names of label 0, 1, ...
        like: the image that the labels belong to, or its header; as for `write_labels`.

    Raises:
        MissingExtraError: the library for this format is not installed.
        ImageError: the format cannot hold these labels, or the store is incomplete or damaged.
        OutputError: the disk is full, or may not be written.
    """
    path, about = Path(path), About(colours, names, like)
    row = writer_of(path, about)
    if store.planes is not None or store.dtype.kind not in "iu":
        raise ImageError(f"{path}: the store {store.path} holds no labels but {store.dtype} in planes; write scores")
    if row.write_stored:
        row.write_stored(path, store, about)
        return
    if store.nbytes > MAX_BYTES:
        raise ImageError(
            f"{path}: this format is written from memory, too large is {store.size}; write .tif, .ome.zarr"
        )
    write_labels(path, store.written([slice(None)] * len(store.size)), colours=colours, names=names, like=like)


def write_probabilities_from(
    path: str | os.PathLike[str], store: LabelStore, *, like: Image | Header | None = None
) -> None:
    """Write a finished store of scores, `k *size`, as `write_probabilities` writes an array.

    Args:
        path: where to; `.tif` (a GeoTIFF where `like` was one), `.npy`, or `.ome.zarr`, to which the store is moved.
        store: scores of classes, all of which were written.
        like: the image that they belong to, or its header.

    Raises:
        MissingExtraError: the library for this format is not installed.
        ImageError: the suffix is another, or the store is incomplete or damaged.
        OutputError: the disk is full, or may not be written.
    """
    path, about = Path(path), About(like=like)
    suffix_of(path, *dict.fromkeys(suffix for each in FORMATS if each.write_stored for suffix in each.writes))
    if store.planes is None:
        raise ImageError(f"{path}: the store {store.path} has no axis of classes; write it as labels")
    write = writer_of(path, about).write_stored
    assert write is not None
    write(path, store, about)
