"""Classes in a fixed order: found along their axis and no other, and not where it is chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from useg.data.dataset import Example
from useg.data.order import ENOUGH, ordered_axes


def volume(rng: np.random.Generator, axis: int, *, turned: bool = False) -> Example:
    """Two boxes of class 1 and 2, one behind the other along an axis, somewhere in a volume."""
    labels = np.zeros((20, 24, 22), np.uint8)
    start = rng.integers(1, 8, 3)
    for k in (1, 2):
        corner = start.copy()
        corner[axis] += 5 * (2 - k if turned else k - 1)
        labels[tuple(slice(c, c + 5) for c in corner)] = k
    return Example("v", labels[None], labels)


@given(axis=st.integers(0, 2), turned=st.booleans(), seed=st.integers(0, 99))
def test_an_order_is_found_along_its_axis(axis: int, turned: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    examples = [volume(rng, axis, turned=turned) for _ in range(ENOUGH)]
    expected: list[tuple[int, int] | None] = [None, None, None]
    expected[axis] = (1, 2)
    assert ordered_axes(examples, 3) == expected


@pytest.mark.parametrize("count", [4, 12])
def test_chance_is_no_order(count: int) -> None:
    """Too few images, or as many one way as the other."""
    rng = np.random.default_rng(0)
    examples = [volume(rng, 1, turned=count > ENOUGH and i % 2 == 0) for i in range(count)]
    assert ordered_axes(examples, 3) == [None] * 3


def test_one_class_has_no_order() -> None:
    rng = np.random.default_rng(1)
    examples = [volume(rng, 0) for _ in range(9)]
    only = [Example(e.name, e.image, np.where(e.labels == 1, e.labels, 0)) for e in examples]
    assert ordered_axes(only, 3) == [None] * 3
