"""CT numbers mean the same in every scan, so the training set decides once how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from useg.data.dataset import Example, evenly
from useg.labels import annotated, foreground
from useg.parts import Holds, count, find
from useg.unet.normalise import NormaliseSettings

SAMPLED = 10_000
"""Pixels of the foreground that are looked at in each image, evenly spread."""
CLIP = (0.5, 99.5)
"""Percentiles of the foreground to which gray values are clipped."""


def normalise_ct(train: Sequence[Example]) -> tuple[NormaliseSettings, str]:
    """How gray values in Hounsfield units become network input, and why, in words.

    The CT scheme of nnU-Net (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z, online methods): clipped to the 0.5
    and 99.5 percentiles of the foreground of all training images, its mean to 0, its deviation to 1. Without any
    foreground, all annotated pixels count.
    """
    counted = foreground if any(count(e.labels, foreground) for e in train) else annotated
    values = np.concatenate([_sampled(e, counted) for e in train], axis=1)
    low, high = np.percentile(values, CLIP, axis=1)
    mean, std = values.mean(axis=1), values.std(axis=1)
    settings = NormaliseSettings(
        kind="fixed",
        mean=[round(float(n), 4) for n in mean],
        std=[round(float(n), 4) or 1.0 for n in std],
        bounds=[(round(float(a), 4), round(float(b), 4)) for a, b in zip(low, high, strict=True)],
    )
    ranges, means = (", ".join(each) for each in zip(*map(_words, low, high, mean, std), strict=True))
    return settings, (
        f"gray values: Hounsfield units mean the same in every scan, so all are clipped to {ranges} and then "
        f"{means} become 0 and 1, as the training set's foreground has it"
    )


def _sampled(example: Example, counted: Holds) -> np.ndarray:
    labels = example.labels
    flat = find(labels, counted, evenly(count(labels, counted), SAMPLED))
    places: tuple[Any, ...] = np.unravel_index(flat, labels.shape)
    values = example.image[(slice(None), *places)].astype(np.float64)
    finite: np.ndarray = values[:, np.isfinite(values).all(0)]
    return finite


def _words(low: float, high: float, mean: float, std: float) -> tuple[str, str]:
    return f"{low:.0f} to {high:.0f} HU", f"mean {mean:.0f} and deviation {std:.0f}"
