"""A contact sheet of what training would see: some images, beside them their masks painted over."""

import numpy as np
from jaxtyping import Integer, UInt8

from useg.data.check import Check
from useg.data.dataset import IN_MEMORY, evenly, load_example
from useg.data.decode import Decoder
from useg.data.partial import leave_out
from useg.errors import DataError, ImageError, MissingError
from useg.labels import IGNORE, foreground
from useg.pictures.overlay import overlay, to_gray_rgb
from useg.pictures.palette import IGNORED, object_colours
from useg.pictures.planes import fullest, sheet_of
from useg.pictures.sheet import Captioned, contact_sheet
from useg.unet.borders import BorderSettings, border_weights, part_objects

MOST_IMAGES = 12
A_ROW = 2
TILE = 320
BORDERS = BorderSettings()


def preview(check: Check, decoder: Decoder = IN_MEMORY) -> UInt8[np.ndarray, "height width 3"] | None:
    """Up to 12 images, evenly spread over the set; None where the masks have no legend or nothing can be read.

    One image is read at a time, by `decoder`, and a small picture of it stays.
    """
    if check.legend is None or not check.used:
        return None
    pictures: list[list[Captioned]] = []
    # Masks that all are empty have one class; an overlay has a second colour nevertheless.
    colours = [*check.legend.palette, IGNORED] if check.legend.classes == 1 else check.legend.palette
    for pair in (check.used[i] for i in evenly(len(check.used), MOST_IMAGES)):
        try:
            example = load_example(pair, check.legend, check.channels, decoder)
        except (DataError, ImageError, MissingError):
            continue  # a problem of its own, told by the check
        image, labels, objects = example.image, example.labels, example.objects
        flat = labels.ndim == 2
        if objects is not None:
            labels = leave_out(labels, whole=pair.name in check.partial, margin=check.margin)
        if not flat:  # the three planes that show most of what is annotated
            sheet = sheet_of(labels.shape, fullest(labels, foreground), example.spacing)
            image, labels = sheet.draw(image, np.nan), sheet.draw(labels)
            objects = None if objects is None else sheet.draw(objects)
        step = max(1, max(labels.shape) // (2 * TILE))
        labels, below = labels[::step, ::step], to_gray_rgb(image[:, ::step, ::step])
        if objects is None:
            pictures.append([(pair.name, below), (f"mask of {pair.name}", overlay(below, labels, colours))])
            continue
        objects = objects[::step, ::step]
        unknown = overlay(below, np.where(labels == IGNORE, labels, 0), colours)
        pictures.append([(pair.name, below), (f"objects of {pair.name}", overlay(unknown, objects, object_colours()))])
        if flat:  # the planes of a volume are no neighbours
            pictures[-1].append((f"weights, {1 + BORDERS.weight:g} is white", _weights(objects, step)))
    if not pictures:
        return None
    if check.legend.kind == "instances":
        return contact_sheet(pictures, tile=TILE)  # three tiles an image fill a row
    rows = [[tile for pair in pictures[i : i + A_ROW] for tile in pair] for i in range(0, len(pictures), A_ROW)]
    legend = list(zip(check.legend.names, check.legend.palette, strict=True))
    legend[0] = (f"{legend[0][0]} (left clear)", legend[0][1])
    if check.legend.ignore is not None:
        legend.append(("not annotated", IGNORED))
    return contact_sheet(rows, tile=TILE, legend=legend)


def _weights(objects: Integer[np.ndarray, "y x"], step: int) -> UInt8[np.ndarray, "y x 3"]:
    """How much more the background between objects will count, black for once."""
    nearer = BORDERS.model_copy(update={"sigma": BORDERS.sigma / step})
    more = (border_weights(part_objects(objects, BORDERS.widen), nearer) - 1) / BORDERS.weight
    return np.repeat(np.rint(255 * np.clip(more, 0, 1)).astype(np.uint8)[..., None], 3, axis=-1)
