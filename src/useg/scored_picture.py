"""A scored image for people: image, truth, prediction and errors side by side."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from useg.data.dataset import Example
from useg.labels import foreground
from useg.objects.separate import separate
from useg.pictures.overlay import ERROR_LEGEND, error_kinds, error_map, overlay, to_gray_rgb, wrong
from useg.pictures.palette import object_colours
from useg.pictures.planes import Sheet, fullest, sheet_of, worst_slices
from useg.pictures.sheet import contact_sheet
from useg.predict import Prediction
from useg.unet.model import ModelCard


def sheet_for(example: Example, prediction: Prediction) -> Sheet | None:
    """How a scored volume is laid out: planes through most of what is annotated, else found, and its worst slices.

    None of an image, which is flat already.
    """
    if example.labels.ndim == 2:
        return None
    true = foreground(example.labels)
    through = fullest(true if true.any() else prediction.labels > 0)
    worst = worst_slices(wrong(error_kinds(example.labels, prediction.labels)))
    return sheet_of(example.labels.shape, through, example.spacing, worst)


def picture_of(example: Example, prediction: Prediction, card: ModelCard) -> UInt8[np.ndarray, "y x 3"]:
    """Image, truth, prediction and errors side by side; each of a volume as `sheet_for` says."""
    image, labels, colours = example.image, example.labels, [c.colour for c in card.classes]
    truth, found = labels, prediction.labels
    predicted = found
    if example.objects is not None and card.objects is not None:
        colours = object_colours()
        truth, predicted = example.objects, separate(prediction.probabilities[1], card.objects)
    if sheet := sheet_for(example, prediction):
        image = sheet.draw(image, np.nan)
        truth, predicted, labels, found = (sheet.draw(each) for each in (truth, predicted, labels, found))
    below = to_gray_rgb(image)
    row = [
        (example.name, below),
        ("truth", overlay(below, truth, colours)),
        ("prediction", overlay(below, predicted, colours)),
        ("errors", error_map(labels, found)),
    ]
    return contact_sheet([row], tile=min(512, max(256, *labels.shape)), legend=ERROR_LEGEND)
