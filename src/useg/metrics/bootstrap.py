"""How much would the scores differ on other images like these? Percentile intervals by the bootstrap.

Images are drawn again and again from those that were scored, as many as there are and with replacement, and each draw
is scored as the whole set is; the middle 95 % of these scores are the interval. Images of one patient or film resemble
each other, so whole groups are drawn where there are enough of them.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993): the percentile interval, section 13.3; what is
drawn is what was sampled independently, chapter 8. Of few images these intervals are somewhat too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from useg.errors import DataError, SettingsError
from useg.metrics.overlap import dice_and_iou, mean_of_chosen, plain

MIN_GROUPS = 8
"""With fewer groups than this single images are drawn: a handful of groups says too little of others."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """Between which bounds the pooled scores of other such images would mostly lie; NaN where that cannot be told.

    Attributes:
        unit: what was drawn. units: how many there are.
        level: share of the draws within the bounds.
        dice, iou: lower and upper bound of each class, 0..1.
        foreground_dice, foreground_iou: of the mean over the classes but 0 that the truth of a draw holds.
    """

    unit: Literal["groups", "images"]
    units: int
    level: float
    dice: tuple[Interval, ...]
    iou: tuple[Interval, ...]
    foreground_dice: Interval
    foreground_iou: Interval

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None (for NaN), ready for JSON."""
        return {name: plain(value) for name, value in asdict(self).items()}


def bootstrap(
    confusions: Sequence[Int[np.ndarray, "k k"]],
    groups: Sequence[str | None] | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Intervals:
    """Intervals of the pooled scores of a set of images.

    Args:
        confusions: what `confusion_matrix` returns, one an image; images without a counted pixel are left out.
        groups: what belongs together, one an image; an image of None stands for itself. None is no groups.
        level: share of the draws within the bounds, above 0 and below 1.
        draws: how often to draw. seed: the same seed gives the same intervals.

    Returns:
        Bounds that are NaN with a single image, and for a class that no image holds.

    Raises:
        DataError: there is no matrix, or not one group an image. SettingsError: the level or the draws cannot be.
    """
    if len(confusions) == 0:
        raise DataError("no image was scored; give at least one pair of truth and prediction")
    if groups is not None and len(groups) != len(confusions):
        raise DataError(f"{len(groups)} groups for {len(confusions)} images; give one an image, None where unknown")
    if not (0 < level < 1 and draws > 0):
        raise SettingsError(f"level {level} and {draws} draws; give a level between 0 and 1, and one draw or more")
    stack = np.stack(confusions).astype(np.float64)
    hits, true, predicted = np.diagonal(stack, axis1=1, axis2=2), stack.sum(2), stack.sum(1)
    counted = true.sum(1) > 0
    # All that the scores need of an image: a draw is then one product of matrices.
    parts = np.concatenate([hits, true, predicted], axis=1)[counted]
    unit: Literal["groups", "images"] = "images"
    if groups is not None:
        units = [(i, "") if group is None else (-1, group) for i, group in enumerate(groups) if counted[i]]
        names = {name: row for row, name in enumerate(dict.fromkeys(units))}
        if MIN_GROUPS <= len(names) < len(units):
            summed = np.zeros((len(names), parts.shape[1]))
            np.add.at(summed, [names[each] for each in units], parts)
            unit, parts = "groups", summed
    count, classes = len(parts), stack.shape[1]
    if count < 2:
        unknown = (math.nan, math.nan)
        return Intervals(unit, count, level, (unknown,) * classes, (unknown,) * classes, unknown, unknown)
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    # In floats, whose products are fast, and which hold counts of pixels exactly.
    hits, true, predicted = np.split((times.astype(np.float64) @ parts).astype(np.int64), 3, axis=1)
    dice, iou = dice_and_iou(hits, true, predicted)
    foreground = (true > 0) & (np.arange(classes) > 0)
    return Intervals(
        unit,
        count,
        level,
        tuple(_middle(dice[:, k], level) for k in range(classes)),
        tuple(_middle(iou[:, k], level) for k in range(classes)),
        _middle(mean_of_chosen(dice, foreground), level),
        _middle(mean_of_chosen(iou, foreground), level),
    )


def _middle(scores: Float[np.ndarray, "draws"], level: float) -> Interval:
    """Bounds of the middle draws, of those that have a score."""
    known = scores[~np.isnan(scores)]
    if known.size == 0:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
