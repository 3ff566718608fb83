"""Do probabilities mean what they say? Reliability, expected calibration error, and the temperature that mends them.

Guo, Pleiss, Sun, Weinberger 2017, "On calibration of modern neural networks", arXiv 1706.04599: equations 2 to 5 and
section 4.2. Of the pixels that are given to their class with a confidence of 80 %, 80 % should be right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from useg.labels import IGNORE
from useg.metrics.overlap import plain
from useg.parts import parts

BINS = 15
"""Of equal width over 0..1, as in the paper."""
LEAST = 1e-37
"""Probabilities below this count as this: its logarithm is finite."""
RANGE = (0.5, 10.0)
"""Temperatures that are looked at. A network that is much too sure is common, one that is much too unsure is not, and
lower ones push all probabilities to 0 and 1, where thresholds cannot tell them apart."""


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, one entry a bin of confidence; NaN in bins without a pixel.

    Attributes:
        counts: pixels. confidence: mean probability of the predicted class. accuracy: share that has it.
    """

    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def error(self) -> float:
        """Expected calibration error, 0..1 (equation 5); NaN without a pixel."""
        counts = np.array(self.counts, float)
        gaps = np.abs(np.array(self.accuracy) - np.array(self.confidence))
        return float(np.nansum(counts * gaps) / counts.sum()) if counts.sum() else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None (for NaN), ready for JSON."""
        return {name: plain(value) for name, value in asdict(self).items()} | {"error": plain(self.error)}


def count_reliability(
    probabilities: Float[np.ndarray, "k *size"],
    truth: Integer[np.ndarray, "*size"],
    *,
    within: Bool[np.ndarray, "*size"] | None = None,
) -> Float[np.ndarray, "3 bins"]:
    """Pixels, sum of their confidences, and number of right ones, by bin of confidence: of one image, to be added up.

    Args:
        probabilities: of each class, 0..1. truth: classes, IGNORE where nobody annotated.
        within: pixels that count; all of them by default.
    """
    found, inside = np.zeros((3, BINS)), repeat(True) if within is None else parts(within)
    for known, here, *planes in zip(parts(truth), inside, *map(parts, probabilities), strict=False):
        counted = (known != IGNORE) & here
        # A network that diverged gives no numbers: it is sure of nothing.
        sure = np.nan_to_num(np.max(planes, axis=0)[counted].astype(np.float64))
        right = (np.argmax(planes, axis=0) == known)[counted]
        place = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
        found += [np.bincount(place, weight, BINS) for weight in (None, sure, right)]
    return found


def reliability(counts: Sequence[Float[np.ndarray, "3 bins"]]) -> Reliability:
    """What the counts of a set of images say together."""
    pixels, sure, right = np.sum(counts, axis=0)
    with np.errstate(invalid="ignore"):
        confidence, accuracy = sure / pixels, right / pixels
    return Reliability(*(tuple(values.tolist()) for values in (pixels.astype(int), confidence, accuracy)))


def temper(probabilities: Float[np.ndarray, "k *size"], temperature: float) -> Float[np.ndarray, "k *size"]:
    """The probabilities that the same scores give at another temperature: softmax(log(p) / temperature).

    >>> temper(np.array([0.2, 0.8]), 2.0).round(3).tolist()
    [0.333, 0.667]
    """
    raised = np.maximum(probabilities, LEAST) ** (1 / temperature)
    return raised / raised.sum(0)


def fit_temperature(probabilities: Float[np.ndarray, "k n"], truth: Integer[np.ndarray, "n"]) -> float:
    """The temperature at which these pixels' true classes are most likely (section 4.2: least cross-entropy).

    Args:
        probabilities: of each class at temperature 1, 0..1. truth: classes 0..k-1. Without a pixel, or where a network
            diverged, it is 1.
    """
    from scipy.optimize import minimize_scalar

    if not truth.size or not np.isfinite(probabilities).all():
        return 1.0
    scores = np.log(np.maximum(probabilities, LEAST).astype(np.float64))
    scores -= scores.max(0)
    right = scores[truth, np.arange(truth.size)]

    def cross_entropy(log_temperature: float) -> float:
        cold = math.exp(-log_temperature)
        return float(np.log(np.exp(scores * cold).sum(0)).mean() - cold * right.mean())

    found = minimize_scalar(cross_entropy, bounds=[math.log(t) for t in RANGE], method="bounded")
    return math.exp(found.x)
