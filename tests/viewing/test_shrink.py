"""Halving: means of 2 x 2 pixels of any number type, and nothing that is not a number spreads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from useg.viewing.shrink import halve

INTEGERS = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"]
SIDES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


def even(pixels: np.ndarray) -> np.ndarray:
    """An odd last row or column again."""
    y, x = pixels.shape[-2:]
    return np.pad(pixels, [(0, 0), (0, y % 2), (0, x % 2)], mode="edge")


def blocks(pixels: np.ndarray) -> np.ndarray:
    """`C Y X 4`, the four pixels of each new one."""
    c, y, x = pixels.shape
    return pixels.reshape(c, y // 2, 2, x // 2, 2).transpose(0, 1, 3, 2, 4).reshape(c, y // 2, x // 2, 4)


@given(st.data())
def test_integers_become_their_mean_rounded(data: st.DataObject) -> None:
    pixels = data.draw(hnp.arrays(data.draw(st.sampled_from(INTEGERS)), data.draw(SIDES)))
    found = halve(pixels)
    assert found.dtype == pixels.dtype
    four = blocks(even(pixels))
    if pixels.dtype.itemsize == 8:  # in float64
        assert np.allclose(found.astype(float), four.astype(float).mean(-1), rtol=1e-15, atol=0.5)
    else:
        assert (found == np.floor(four.astype(np.int64).sum(-1) / 4 + 0.5)).all()


@given(st.data())
def test_fractions_become_the_mean_of_those_that_are_finite(data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from(["f2", "f4", "f8"])))
    pixels = data.draw(hnp.arrays(dtype, data.draw(SIDES)))
    found, four = halve(pixels), blocks(even(pixels))
    assert found.dtype == dtype
    counts = np.isfinite(four).sum(-1)
    assert (np.isnan(found) == (counts == 0)).all()
    for value, block in zip(found[counts > 0], four[counts > 0], strict=True):
        there = block[np.isfinite(block)].astype(float)
        assert value == pytest.approx((there / len(there)).sum(), rel=1e-2 if dtype == "f2" else 1e-5, abs=1e-7)
