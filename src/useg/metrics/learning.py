"""What would more annotated images bring? A power law through the scores of models that learned from fewer of them.

    score(n) = a - b n^-c        a <= 1, b >= 0, c > 0

So errors fall with the number n of training examples: Cortes, Jackel, Solla, Vapnik and Denker, "Learning curves:
asymptotic values and rate of convergence", NIPS 6 (1993) 327; Hestness et al., "Deep learning scaling is predictable,
empirically" (2017, arXiv 1712.00409), with c from 0.07 to 0.35 for deep networks.

Two to four points do not settle three numbers, so what is not known goes into the interval. The fit is repeated many
times. Each time the held-out images are drawn anew (the same ones for all points, so that a hard image shifts all of
them), every point moves by what another run of training would change, and the exponent that is expected beforehand is
drawn from its prior. Of two points, which say nothing of the exponent, all of the prior remains.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from useg.errors import DataError
from useg.metrics.overlap import dice_and_iou, mean_of_chosen

__all__ = ["Ahead", "LearningFit", "fit_learning"]

EXPONENT, EXPONENT_SD = 0.5, 0.7
"""Median of the exponent before anything is seen, and the standard deviation of its logarithm: 95 % from 0.13 to 2."""
EXPONENTS = np.geomspace(0.05, 2.0, 41)
"""Those that are tried."""
CHANCE = 0.1
"""Standard deviation of a score from one run of training to another, as a share of what it lacks to 1: on OCT scans,
with a Dice of 0.7, single runs differ by about 0.05."""
FLAT = 0.01
"""A gain below this is none that anybody would annotate for."""
SURE = 0.001
"""A gain is told from none where the lower end of its interval is above this."""
FEW = 5
"""Fewer held-out images than this are named as such."""


@dataclass(frozen=True)
class Ahead:
    """What is expected of more images.

    Attributes:
        images: how many in all, `factor` times those there are.
        gain: of Dice, the median; low, high: of it, in 95 % of all repetitions. None is negative.
    """

    factor: float
    images: int
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningFit:
    """A learning curve and where it leads.

    Attributes:
        images: trained on, point by point, ascending. scores: mean Dice of the foreground, pooled over the held-out
            images.
        held_out: how many those are.
        a, b, c: of score(n) = a - b n^-c, through the scores as they are.
        ahead: what more images would bring, the nearest first.
    """

    images: tuple[int, ...]
    scores: tuple[float, ...]
    held_out: int
    a: float
    b: float
    c: float
    ahead: tuple[Ahead, ...]

    @property
    def verdict(self) -> Literal["grows", "flat", "unsure"]:
        """Whether more images help, do not help, or the curve is too noisy to tell; by the nearest look ahead."""
        next_one = self.ahead[0]
        if next_one.high < FLAT:
            return "flat"
        return "grows" if next_one.low > SURE else "unsure"

    @property
    def words(self) -> list[str]:
        """A sentence a look ahead, and what they rest on."""
        told = []
        for each in self.ahead:
            more = f"{_times(each.factor)} as many annotated images ({each.images})"
            between = f"(95 %: +{each.low:.2f} to +{each.high:.2f})"
            if self.verdict == "flat":
                told.append(f"{more} would change little: at most +{each.high:.3f} Dice (95 %)")
            else:
                told.append(f"{more} would bring about +{each.gain:.2f} Dice {between}")
        if self.verdict == "flat":
            told.append("the curve is flat: other images, cleaner masks or longer training may help more")
        if self.verdict == "unsure":
            told.append("the curve is too noisy to tell whether more images help")
        if len(self.images) == 2:
            told.append("two points do not show how fast the curve flattens; the interval allows for that")
        if self.held_out < FEW:
            told.append(f"only {self.held_out} held-out image{'s' * (self.held_out != 1)} judged: do not rely on it")
        return told

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None, ready for JSON."""
        return {
            "images": list(self.images),
            "scores": list(self.scores),
            "held_out": self.held_out,
            "fit": {"a": self.a, "b": self.b, "c": self.c},
            "ahead": [asdict(each) for each in self.ahead],
            "verdict": self.verdict,
            "words": self.words,
        }


def fit_learning(
    images: Sequence[int],
    confusions: Int[np.ndarray, "points held k k"],
    *,
    factors: Sequence[float] = (2, 4),
    samples: int = 1000,
    seed: int = 0,
) -> LearningFit:
    """Fit a power law to the scores of models that learned from different numbers of images.

    Args:
        images: trained on, ascending, one number a point.
        confusions: of every point on every held-out image, the same images for all; see `confusion_matrix`.
        factors: times the images that there are, to look ahead to, ascending and above 1.
        samples: repetitions that give the intervals. seed: of them.

    Raises:
        DataError: fewer than two points, not ascending, or nothing of the foreground is annotated.
    """
    sizes = np.array(images, np.float64)
    if len(sizes) < 2 or len(sizes) != len(confusions) or sizes[0] < 1 or (np.diff(sizes) <= 0).any():
        raise DataError(f"a learning curve of {list(images)} images; give two points or more, the smaller ones first")
    held = confusions.shape[1]
    scores = _foreground_dice(confusions.sum(axis=1))
    if np.isnan(scores).any():
        raise DataError("no held-out image has anything of the foreground annotated; hold others out")
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(held, [1 / held] * held, size=samples)
    again = _foreground_dice(np.einsum("sh,phij->spij", drawn, confusions))
    again = again[~np.isnan(again).any(axis=1)]
    chance = CHANCE * (1 - scores)
    spread = (again - again.mean(axis=1, keepdims=True)).std(axis=0)
    weights = 1 / np.maximum(spread**2 + chance**2, 1e-8)
    moved = np.clip(again + rng.normal(0, 1, again.shape) * chance, 0, 1)
    expected = math.log(EXPONENT) + EXPONENT_SD * rng.normal(0, 1, len(moved))
    a, b, c = _fit(sizes, scores[None], weights, np.array([math.log(EXPONENT)]))
    _, steep, bent = _fit(sizes, moved, weights, expected)
    ahead = []
    for factor in factors:
        gains = steep * sizes[-1] ** -bent * (1 - factor**-bent)
        low, gain, high = np.percentile(gains, (2.5, 50, 97.5)).tolist()
        ahead.append(Ahead(float(factor), round(factor * images[-1]), gain, low, high))
    known = tuple(float(score) for score in scores)
    return LearningFit(tuple(images), known, held, float(a[0]), float(b[0]), float(c[0]), tuple(ahead))


def _fit(
    sizes: Float[np.ndarray, "p"],
    scores: Float[np.ndarray, "s p"],
    weights: Float[np.ndarray, "p"],
    expected: Float[np.ndarray, "s"],
) -> tuple[Float[np.ndarray, "s"], Float[np.ndarray, "s"], Float[np.ndarray, "s"]]:
    """a, b and c that are most probable, given the logarithm of the exponent that is expected.

    For each exponent the best a and b come from a weighted line through (n^-c, score), held inside a <= 1 and b >= 0.
    """
    x = sizes ** -EXPONENTS[:, None]  # exponent x point
    w, wx, wxx = weights.sum(), x @ weights, x**2 @ weights
    wy, wxy = (scores @ weights)[:, None], (scores * weights) @ x.T  # repetition x exponent
    b = np.maximum(0, (wx * wy - w * wxy) / (w * wxx - wx**2))
    a = (wy + b * wx) / w
    # Scores are at most 1, so that a line that falls never starts above it: only one bound is ever passed.
    b = np.where(a > 1, (wx - wxy) / wxx, b)
    a = np.minimum(a, 1)
    misses = scores[:, None] - a[..., None] + b[..., None] * x
    unlikely = (misses**2 @ weights) + ((np.log(EXPONENTS) - expected[:, None]) / EXPONENT_SD) ** 2
    best = unlikely.argmin(axis=1)
    rows = np.arange(len(scores))
    return a[rows, best], b[rows, best], EXPONENTS[best]


def _foreground_dice(confusions: Int[np.ndarray, "*n k k"]) -> Float[np.ndarray, "*n"]:
    """Mean Dice of the classes that the truth holds, without class 0; NaN where it holds none."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)[..., 1:]
    true, predicted = confusions.sum(axis=-1)[..., 1:], confusions.sum(axis=-2)[..., 1:]
    return mean_of_chosen(dice_and_iou(hits, true, predicted)[0], true > 0)


def _times(factor: float) -> str:
    return {2: "twice", 3: "three times", 4: "four times"}.get(int(factor), f"{factor:g} times")
