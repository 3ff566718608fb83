"""Small pictures of images, for a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Num, UInt8
from PIL import Image

from useg.images import level_headers, open_windows
from useg.pictures.overlay import overlay
from useg.viewing.display import ranges_of
from useg.viewing.tiles import picture

EDGE = 256
"""Pixels of the longer edge."""
_FINER = 4
"""So many times as many pixels along an edge are looked at, and averaged."""


def thumbnail(path: Path) -> UInt8[np.ndarray, "y x 3"]:
    """An image, or the middle slice of a stack, as a small picture, RGB.

    Of a large image some pixels are read, evenly taken, of the smallest level of its file that has enough.

    Raises:
        MissingError, MissingExtraError, ImageError: as for `useg.images.open_windows`.
    """
    sizes = [header.size[-2:] for header in level_headers(path)]
    level = max(i for i, size in enumerate(sizes) if i == 0 or max(size) >= EDGE)
    pixels = _some(path, level)
    shown = Image.fromarray(picture(pixels, ranges_of(pixels))).convert("RGB")
    scale = EDGE / max(shown.size)
    if scale < 1:
        size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
        shown = shown.resize(size, Image.Resampling.BOX)
    return np.asarray(shown)


def _some(path: Path, level: int) -> Num[np.ndarray, "c y x"]:
    with open_windows(path, level=level) as windows:
        size = windows.header.size
        step = max(1, max(size[-2:]) // (_FINER * EDGE))
        if len(size) == 2:
            return windows.strided((step, step))
        middle = slice(size[0] // 2, size[0] // 2 + 1)
        return windows.read([middle, slice(None), slice(None)])[:, 0, ::step, ::step]


def paint(
    shown: UInt8[np.ndarray, "y x 3"],
    labels: Integer[np.ndarray, "*size"],
    colours: Sequence[tuple[int, int, int]],
    unknown: int,
) -> UInt8[np.ndarray, "y x 3"]:
    """Labels, of the middle slice of a stack, over a small picture of their image.

    Args:
        shown: the picture.
        labels: `[Z] Y X`, of the full resolution. unknown: which of them stays clear, as 0 does.
        colours: RGB 0..255 of label 0, 1, ...; labels beyond them go round.
    """
    plane = labels[len(labels) // 2] if labels.ndim == 3 else labels
    rows, columns = (
        ((np.arange(n) + 0.5) * there / n).astype(int) for n, there in zip(shown.shape, plane.shape, strict=False)
    )
    small = np.asarray(plane[rows][:, columns])
    return overlay(shown, np.where(small == unknown, 0, small), colours)
