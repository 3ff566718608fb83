"""The pixels of image files and masks: read into memory, or decoded once, window by window, onto a disk."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped

from useg import machine
from useg.data.outlines import Outlines, draw
from useg.errors import OutputError
from useg.images import files
from useg.images.image import Image
from useg.images.windows import Windows, of_image, windows_of
from useg.scratch import New, Scratch

_MAPPED = 1 << 28
"""Bytes from which a plain array is used where it lies: as a file that stays open, and only so many may."""


class Decoder:
    """Reads images and masks: into memory, anew each time, or each of them once, window by window, onto a disk.

    What lies on a disk are arrays as any other, memory-mapped; they go with the last of them, and masks, which are
    only read to make labels of them, with the decoder.

    Attributes:
        new: makes an array to be filled, on the disk or in memory.

    Args:
        folder: on whose disk, see `Scratch`; None is in memory.
        needed: bytes that there must be room for.
        keep: whether what was decoded is given again where it is asked for again; else it is decoded anew.

    Raises:
        OutputError: the disk has not so much room.
    """

    def __init__(self, folder: Path | None = None, *, needed: int = 0, keep: bool = True) -> None:
        self._scratch = None if folder is None else Scratch(folder)
        self._of_masks = None if folder is None else Scratch(folder)
        if self._scratch is not None and (free := shutil.disk_usage(self._scratch.folder).free) < needed:
            raise OutputError(
                f"{folder}: the images and masks take {needed / 1e9:.1f} GB decoded, too much for memory, and on this "
                f"disk {free / 1e9:.1f} GB are free; free some, or name a folder on another disk"
            )
        self.new: New = np.empty if self._scratch is None else self._scratch.new
        self._keep = keep
        self._images: dict[Any, Image] = {}
        self._masks: dict[Any, np.ndarray] = {}

    def image(self, path: Path, *, page: int | None = None, alpha: bool = False) -> Image:
        """An image, see `useg.images.read`, whose errors it raises; OutputError where the disk is full."""
        if self._scratch is None:
            return files.read(path, page=page, alpha=alpha)
        key = (path, page, alpha)
        if key in self._images:
            return self._images[key]
        whole = None if page is None else of_image(files.read(path, page=page, alpha=alpha))
        with whole or files.open_once(path, alpha=alpha) as windows:
            h = windows.header
            found = Image(_copied(windows, self._scratch), h.axes, h.spacing, h.unit, path, h.place)
        if self._keep:
            self._images[key] = found
        return found

    def mask(
        self, path: Path, *, page: int | None = None, outlines: Outlines | None = None
    ) -> Integer[np.ndarray, "*space"]:
        """The values of a mask, drawn from `outlines` or read, see `useg.images.read_mask`; raises as `image`."""
        if self._of_masks is None:
            return files.read_mask(path, page=page) if outlines is None else draw(outlines)
        key = (path, page, outlines)
        if key in self._masks:
            return self._masks[key]
        drawn = None
        if outlines is not None or page is not None:
            drawn = windows_of((files.read_mask(path, page=page) if outlines is None else draw(outlines))[None])
        with drawn or files.open_mask(path) as windows:
            found = _copied(windows, self._of_masks)[0]
        if self._keep:
            self._masks[key] = found
        return found


def _copied(windows: Windows, scratch: Scratch) -> Shaped[np.ndarray, "c *size"]:
    """All of it on the disk, decoded side by side on all cores; what is large and mapped needs no copy."""
    if windows.mapped is not None and windows.mapped.nbytes >= _MAPPED:
        return windows.mapped
    header = windows.header
    found = scratch.new((header.channels, *header.size), header.dtype)

    def take(window: tuple[slice, ...]) -> None:
        found[(slice(None), *window)] = windows.read(window)

    with ThreadPoolExecutor(1 if windows.in_order else machine.cores(), "decoding") as pool:
        list(pool.map(take, windows.bands()))
    return found
