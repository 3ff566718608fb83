"""Do probabilities mean what they say? Reliability, expected calibration error, and the calibration that mends them.

Guo, Pleiss, Sun, Weinberger 2017, "On calibration of modern neural networks", arXiv 1706.04599: equations 2 to 5 and
section 4.2. Of the pixels that are given to their class with a confidence of 80 %, 80 % should be right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any, NamedTuple

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
PRIOR = 0.005
"""How much the square of a bias costs, beside the mean cross-entropy of a pixel."""


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


class Calibration(NamedTuple):
    """What makes probabilities honest: the shift of each class is added to the scores, then temperature divides them.

    Labels follow: a class whose probability was too low on the whole is chosen more often.
    """

    temperature: float
    shift: tuple[float, ...]

    def apply(self, probabilities: Float[np.ndarray, "k *size"]) -> Float[np.ndarray, "k *size"]:
        """The probabilities that the same scores give with it: softmax((log(p) + shift) / temperature).

        >>> Calibration(2.0, (0.0, 0.0)).apply(np.array([0.2, 0.8])).round(3).tolist()
        [0.333, 0.667]
        """
        raised = self.weigh(np.maximum(probabilities, LEAST)) ** (1 / self.temperature)
        return raised / raised.sum(0)

    @property
    def undone(self) -> Calibration:
        """What takes it out of probabilities again."""
        return Calibration(1 / self.temperature, tuple(-each / self.temperature for each in self.shift))

    def weigh(self, probabilities: Float[np.ndarray, "k *size"]) -> Float[np.ndarray, "k *size"]:
        """Numbers of which the highest belongs to the same class as the highest of the probabilities of `apply`."""
        factors = np.exp(np.array(self.shift)).astype(probabilities.dtype)
        return probabilities * factors.reshape(-1, *[1] * (probabilities.ndim - 1))


def calibrate(probabilities: Float[np.ndarray, "k n"], truth: Integer[np.ndarray, "n"]) -> Calibration:
    """The calibration with which these pixels' true classes are most likely.

    A temperature and a bias, shift / temperature, for each class (bias-corrected temperature scaling: Alexandari,
    Kundaje, Shrikumar 2020, arXiv 1901.06852). The cross-entropy is convex in 1 / temperature and the biases; `PRIOR`
    times the square of each bias is added, because few images say little of rare classes.

    Args:
        probabilities: of each class at temperature 1, 0..1. truth: classes 0..k-1; one that none of them has gets no
            bias. Without a pixel, or where a network diverged, nothing is changed.
    """
    from scipy.optimize import minimize

    classes = len(probabilities)
    if not truth.size or not np.isfinite(probabilities).all():
        return Calibration(1.0, (0.0,) * classes)
    scores = np.log(np.maximum(probabilities, LEAST)).astype(np.float32)
    scores -= scores.max(0)
    counts = np.bincount(truth, minlength=classes)
    right = float(np.take_along_axis(scores, truth[None].astype(np.intp), 0).mean(dtype=np.float64))

    def cost(x: Float[np.ndarray, " d"]) -> tuple[float, Float[np.ndarray, " d"]]:
        cold, bias = x[0], x[1:]
        # Not beyond what single precision can raise e to: a bias is small beside that.
        shares = np.exp(scores * np.float32(cold) + bias[:, None].astype(np.float32))
        total = shares.sum(0)
        shares /= total
        there = shares.mean(1, dtype=np.float64)
        value = np.log(total).mean(dtype=np.float64) - cold * right - bias @ counts / truth.size + PRIOR * bias @ bias
        slope = float(np.vdot(shares, scores)) / truth.size - right
        return float(value), np.concatenate([[slope], there - counts / truth.size + 2 * PRIOR * bias])

    bounds = [(1 / RANGE[1], 1 / RANGE[0]), *((None, None) if n else (0, 0) for n in counts)]
    found = minimize(cost, np.eye(1 + classes)[0], jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-7})
    temperature = float(1 / found.x[0])
    return Calibration(temperature, tuple(float(temperature * each) for each in found.x[1:]))
