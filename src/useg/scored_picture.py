"""A scored image for people: image, truth, prediction and errors side by side."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from useg.data.dataset import Example
from useg.objects.separate import separate
from useg.pictures.overlay import ERROR_LEGEND, error_map, overlay, to_gray_rgb
from useg.pictures.palette import object_colours
from useg.pictures.sheet import contact_sheet
from useg.predict import Prediction
from useg.unet.model import ModelCard


def picture_of(example: Example, prediction: Prediction, card: ModelCard) -> UInt8[np.ndarray, "y x 3"]:
    """Image, truth, prediction and errors side by side."""
    below, colours = to_gray_rgb(example.image), [c.colour for c in card.classes]
    truth, predicted = example.labels, prediction.labels
    if example.objects is not None and card.objects is not None:
        colours = object_colours()
        truth, predicted = example.objects, separate(prediction.probabilities[1], card.objects)
    row = [
        (example.name, below),
        ("truth", overlay(below, truth, colours)),
        ("prediction", overlay(below, predicted, colours)),
        ("errors", error_map(example.labels, prediction.labels)),
    ]
    return contact_sheet([row], tile=min(512, max(256, *example.labels.shape)), legend=ERROR_LEGEND)
