"""What can be taken out of a project: a mask, an image's objects in other programs' files, all masks as one ZIP."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Integer

from useg.errors import MissingError, SettingsError, SizeError
from useg.images import read, write_labels
from useg.objects.outlines import write_geojson, write_rois
from useg.objects.table import object_table, write_table
from useg.project.classes import LEGEND
from useg.project.folder import Project

What = Literal["mask", "labels", "geojson", "rois", "table"]
CHUNK = 1 << 20


def export_labels(project: Project, name: str, what: What, folder: Path) -> Path:
    """A file of an image's labels: the mask as it is, or a new one of its best labels in `folder`.

    Raises:
        MissingError: there is no such image, or it has no mask.
        SettingsError: objects are asked of a project of classes. SizeError: outlines are asked of a stack.
        MissingExtraError: roifile is not installed.
    """
    if what == "mask":
        mask = project.masks.mask(name)
        if mask is None:
            raise MissingError(f"{name}: has no mask yet; keep it first, or take labels")
        return mask
    classes, path = project.classes, project.stock.path(name)
    if what != "labels" and classes.kind == "classes":
        raise SettingsError(f"{what}: is made of objects, and this project paints classes; take mask or labels")
    labels = project.labels(name).array
    header = project.stock.header(path)
    if what == "labels":
        flat = classes.kind == "classes" and labels.ndim == 2
        target = folder / f"{name}{'.png' if flat else '.tif'}"
        colours = [each.colour for each in classes.entries] if flat else []
        write_labels(target, classes.to_file(labels), colours=colours, like=header)
        return target
    if what != "table" and labels.ndim == 3:
        raise SizeError(f"{what}: is made of images, and {name} is a stack; take the table, or labels")
    objects = _without_unknown(labels)
    if what == "geojson":
        target, painted = folder / f"{name}.geojson", classes.entries[1]
        write_geojson(target, objects, name=painted.name, colour=painted.colour)
    elif what == "rois":
        target = folder / f"{name}_rois.zip"
        write_rois(target, objects)
    else:
        target, image = folder / f"{name}.csv", read(path)
        spacing = None if image.spacing is None else [float(edge) for edge in image.spacing]
        write_table(target, object_table(objects, image.array, spacing, image.unit))
    return target


def zip_masks(project: Project) -> Iterator[bytes]:
    """A ZIP of `masks/` and `legend.csv`, piece by piece: never more than a piece of a file is in memory.

    Raises:
        MissingError: nothing is kept yet.
    """
    files = sorted(project.masks.kept().values())
    if not files:
        raise MissingError(f"{project.name}: has no mask yet; keep one first")
    return _zip([(f"masks/{path.name}", path) for path in files] + [(LEGEND, project.folder / LEGEND)])


def _zip(files: list[tuple[str, Path]]) -> Iterator[bytes]:
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # masks are compressed already
        for name, path in files:
            try:
                source = path.open("rb")
            except FileNotFoundError:
                continue  # taken away meanwhile
            info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            with source, archive.open(info, "w", force_zip64=info.file_size > 2**30) as entry:
                while piece := source.read(CHUNK):
                    entry.write(piece)
                    yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, piece: object) -> int:
        """Keep a piece."""
        data = memoryview(piece)  # type: ignore[arg-type]
        self._held += data
        return data.nbytes

    def take(self) -> bytes:
        """All that was written since."""
        held, self._held = bytes(self._held), bytearray()
        return held


def _without_unknown(labels: Integer[np.ndarray, "*size"]) -> Integer[np.ndarray, "*size"]:
    """Objects alone: what nobody annotated holds none."""
    return np.where(labels == np.iinfo(labels.dtype).max, 0, labels).astype(labels.dtype)
