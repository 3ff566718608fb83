"""Half as large: each pixel the mean of two by two."""

import numpy as np
from jaxtyping import Num

_SUMS = {"u1": "u2", "i1": "i2", "u2": "u4", "i2": "i4", "u4": "u8", "i4": "i8"}
"""For each type of integers a type that holds the sum of four and a half."""


def halve(pixels: Num[np.ndarray, "*front y x"]) -> Num[np.ndarray, "*front h w"]:
    """Mean of each 2 x 2 pixels, of the same number type; halves round up.

    An odd last row or column is paired with itself. Fractions that are not finite do not count, unless all four are
    not: then the mean is NaN.
    """
    y, x = pixels.shape[-2:]
    if y % 2 or x % 2:
        pixels = np.pad(pixels, [(0, 0)] * (pixels.ndim - 2) + [(0, y % 2), (0, x % 2)], mode="edge")
    if pixels.dtype.kind == "f":
        return _halve_fractions(pixels)
    sums = _SUMS.get(pixels.dtype.str[1:])
    if sums is None:  # 64 bits: nothing holds their sum, and nobody sees the difference of one in 2^53
        quarters = _four(pixels.astype(np.float64) / 4)
        return np.clip(np.floor(quarters + 0.5), *_limits(pixels.dtype)).astype(pixels.dtype)
    total = _four(pixels, sums)
    total += 2
    total >>= 2
    return total.astype(pixels.dtype)


def _four(pixels: Num[np.ndarray, "*front y x"], dtype: str | None = None) -> Num[np.ndarray, "*front h w"]:
    rows = np.add(pixels[..., 0::2, :], pixels[..., 1::2, :], dtype=dtype)
    return rows[..., 0::2] + rows[..., 1::2]


def _halve_fractions(pixels: Num[np.ndarray, "*front y x"]) -> Num[np.ndarray, "*front h w"]:
    wide = pixels.astype(np.float64, copy=False)
    finite = np.isfinite(wide)
    if finite.all():
        return _four(wide / 4).astype(pixels.dtype)
    count = _four(finite.astype(np.uint8))
    quarters = _four(np.where(finite, wide, 0) / 4)
    with np.errstate(invalid="ignore"):
        return np.where(count, quarters / np.maximum(count, 1) * 4, np.nan).astype(pixels.dtype)


def _limits(dtype: np.dtype) -> tuple[float, float]:
    """The least and the greatest fraction of 64 bits that become integers of this type."""
    limits = np.iinfo(dtype)
    return float(limits.min), np.nextafter(float(limits.max), 0)
