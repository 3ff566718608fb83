"""What is known of the images that a model was trained on: to find copies of them, and how well it knows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float16

from useg.data.dataset import Example, evenly
from useg.data.layouts import find_layout
from useg.data.similar import thumbnail
from useg.errors import UsegError
from useg.evaluate import evaluate
from useg.images.files import read
from useg.parts import centre
from useg.predict import Predictor
from useg.settings import load_settings

MOST_READ = 200
"""Images of a run that are read again, evenly spread, to find copies."""
MOST_SCORED, EDGE = 4, 512
"""Images trained on that are scored, to see whether the model has learned them by heart; of larger ones the middle, so
many pixels along an axis, and of volumes as many in all: this takes a user's minutes."""


@dataclass(frozen=True, eq=False)
class Trained:
    """Images trained on.

    Attributes:
        names, thumbnails: one an image. groups: all that were trained on.
        dice: mean Dice of the foreground on some of them; None where it was not looked at.
    """

    names: tuple[str, ...]
    thumbnails: tuple[Float16[np.ndarray, "t t"], ...]
    groups: frozenset[str]
    dice: float | None = None


def trained_on(predictor: Predictor, train: Sequence[Example]) -> Trained:
    """Of the examples in memory; a few of them are predicted."""
    flat = [example for example in train if example.labels.ndim == 2]
    some = [_middle(train[i]) for i in evenly(len(train), MOST_SCORED)]
    dice = evaluate(predictor, some, surfaces="none").overlap.foreground_dice if some else math.nan
    return Trained(
        tuple(e.name for e in flat),
        tuple(thumbnail(e.image) for e in flat),
        frozenset(e.group for e in train if e.group),
        None if math.isnan(dice) else dice,
    )


def _middle(example: Example) -> Example:
    """The middle of an image as an image of classes; objects are not looked for."""
    cut = centre(example.labels.shape, round(EDGE ** (2 / example.labels.ndim)))
    return replace(example, image=example.image[:, *cut], labels=example.labels[cut], objects=None)


def trained_in(run: Path) -> Trained | None:
    """Of a run folder, as far as its data are still there and can be read; None otherwise."""
    try:
        data = load_settings(run / "settings.toml").data
        apart = set(data.validation_names)
        pairs = [
            p for p in find_layout(Path(data.folder), alpha=data.alpha, pages=data.pages).train if p.name not in apart
        ]
        looked_at = [pairs[i] for i in evenly(len(pairs), MOST_READ)]
        flat = []
        for pair in looked_at:
            image = read(pair.image, page=pair.page, alpha=pair.alpha).array
            flat += [(pair.name, thumbnail(image))] if image.ndim == 3 else []
    except (UsegError, OSError):
        return None
    return Trained(
        tuple(name for name, _ in flat),
        tuple(small for _, small in flat),
        frozenset(pair.group for pair in pairs if pair.group),
    )
