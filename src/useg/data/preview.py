"""A contact sheet of what training would see: some images, beside them their masks painted over."""

import numpy as np
from jaxtyping import UInt8

from useg.data.check import Check
from useg.data.dataset import load_example
from useg.errors import DataError, ImageError, MissingError
from useg.pictures.overlay import overlay, to_gray_rgb
from useg.pictures.palette import IGNORED
from useg.pictures.sheet import Captioned, contact_sheet

MOST_IMAGES = 12
A_ROW = 2
TILE = 320


def preview(check: Check) -> UInt8[np.ndarray, "height width 3"] | None:
    """Up to 12 images, evenly spread over the set; None where the masks have no legend or nothing can be read.

    One image is in memory at a time, and a small picture of it stays.
    """
    if check.legend is None or not check.used:
        return None
    chosen = np.unique(np.linspace(0, len(check.used) - 1, MOST_IMAGES).round().astype(int))
    pictures: list[list[Captioned]] = []
    # Masks that all are empty have one class; an overlay has a second colour nevertheless.
    colours = [*check.legend.palette, IGNORED] if check.legend.classes == 1 else check.legend.palette
    for pair in (check.used[i] for i in chosen):
        try:
            example = load_example(pair, check.legend, check.channels)
        except (DataError, ImageError, MissingError):
            continue  # a problem of its own, told by the check
        step = max(1, max(example.labels.shape) // (2 * TILE))
        labels = example.labels[::step, ::step]
        below = to_gray_rgb(example.image[:, ::step, ::step])
        painted = overlay(below, labels, colours)
        pictures.append([(pair.name, below), (f"mask of {pair.name}", painted)])
    if not pictures:
        return None
    rows = [[tile for pair in pictures[i : i + A_ROW] for tile in pair] for i in range(0, len(pictures), A_ROW)]
    legend = list(zip(check.legend.names, check.legend.palette, strict=True))
    legend[0] = (f"{legend[0][0]} (left clear)", legend[0][1])
    if check.legend.ignore is not None:
        legend.append(("not annotated", IGNORED))
    return contact_sheet(rows, tile=TILE, legend=legend)
