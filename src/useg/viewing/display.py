"""Which gray values are black and which are white, when an image is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num, UInt8

LOW, HIGH = 0.5, 99.5
"""Percentiles that become black and white."""


@dataclass(frozen=True)
class Range:
    """Gray values of one channel: `low` is shown black and `high` white; `least` and `most` are the extremes seen."""

    low: float
    high: float
    least: float
    most: float


BYTES = Range(0.0, 255.0, 0.0, 255.0)
"""Of 8-bit images, which stay as they are."""


def ranges_of(sample: Num[np.ndarray, "c *n"]) -> tuple[Range, ...]:
    """The range of each channel, from some of its pixels.

    8-bit channels stay as they are. Three channels are colours and share one range, so that they stay true.
    """
    if sample.dtype == np.uint8:
        return (BYTES,) * len(sample)
    if len(sample) == 3:
        return (_range(sample),) * 3
    return tuple(_range(channel) for channel in sample)


def _range(values: Num[np.ndarray, "*n"]) -> Range:
    values = values[np.isfinite(values)].astype(np.float64)
    if not values.size:
        return Range(0.0, 1.0, 0.0, 1.0)
    # Without interpolation: that overflows between the extremes of float64.
    least, low, high, most = (float(v) for v in np.percentile(values, (0, LOW, HIGH, 100), method="nearest"))
    if high <= low:  # almost all pixels are equal: show the few others too
        low, high = least, most
    if high <= low:  # an even image: the middle gray says "nothing here" better than black or white
        low, high = low - 0.5, high + 0.5
    return Range(low, high, least, most)


def to_bytes(pixels: Num[np.ndarray, "*n"], low: float, high: float) -> UInt8[np.ndarray, "*n"]:
    """Gray values as 0..255, `low` and below as 0, `high` and above as 255, what is not a number as 0.

    Where `high` is not above `low`, all that is above `low` is 255.
    """
    if pixels.dtype == np.uint8:
        return _stretched(np.arange(256), low, high)[pixels]
    if pixels.dtype == np.uint16 and pixels.size > 2**16:
        return _stretched(np.arange(2**16), low, high)[pixels]
    return _stretched(pixels, low, high)


def _stretched(pixels: Num[np.ndarray, "*n"], low: float, high: float) -> UInt8[np.ndarray, "*n"]:
    wide: Float[np.ndarray, "*n"] = pixels.astype(np.float64)
    span = max(high / 2 - low / 2, np.finfo(np.float64).tiny)  # halves, which do not overflow
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.clip((wide / 2 - low / 2) / span, 0, 1)
    if low < high:
        scaled[wide >= high] = 1  # also where both are so near 0 that their halves are the same
    return np.rint(255 * np.nan_to_num(scaled, nan=0.0)).astype(np.uint8)


def overall(ranges: Sequence[Range]) -> Range:
    """One range that holds those of all channels."""
    return Range(
        min(r.low for r in ranges),
        max(r.high for r in ranges),
        min(r.least for r in ranges),
        max(r.most for r in ranges),
    )
