"""Arrays part by part: what is found is what numpy finds in the whole, however small the parts are."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from useg import parts as room
from useg.parts import boxes, bytes_of, centre, count, count_along, find, middle, parts, percentiles, same

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PART", 7)


def drawn(seed: int, size: list[int], step: int) -> np.ndarray:
    """Few values, so that many are equal; with a step it does not lie in one piece."""
    array = np.random.default_rng(seed).integers(0, 4, [n * step for n in size]).astype(np.uint8)
    return array[(slice(None, None, step),) * len(size)]


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=3)
seeds, steps = st.integers(0, 999), st.sampled_from([1, 2])


@few
@given(seed=seeds, size=sizes, step=steps)
def test_parts_are_the_whole_in_order(seed: int, size: list[int], step: int) -> None:
    array = drawn(seed, size, step)
    each = list(parts(array))
    assert all(part.size <= 7 for part in each)
    assert np.array_equal(np.concatenate([part.ravel() for part in each]), array.ravel())
    assert b"".join(map(bytes, bytes_of(array))) == array.tobytes()
    assert same(array, array.copy())
    other = array.copy()
    other.flat[seed % other.size] += 1
    assert not same(array, other)


@few
@given(seed=seeds, size=sizes, step=steps, value=st.integers(0, 4))
def test_counts_and_places_are_those_of_numpy(seed: int, size: list[int], step: int, value: int) -> None:
    array = drawn(seed, size, step)

    def holds(part: np.ndarray) -> np.ndarray:
        return part == value

    places = np.flatnonzero(array == value)
    assert count(array, holds) == len(places)
    ranks = np.random.default_rng(seed).permutation(len(places))[:5]
    assert np.array_equal(find(array, holds, ranks), places[ranks])
    for axis in range(array.ndim):
        others = tuple(k for k in range(array.ndim) if k != axis)
        assert np.array_equal(count_along(array, axis, holds), (array == value).sum(axis=others))


@few
@given(size=sizes, edge=st.integers(1, 5), most=st.integers(1, 60))
def test_boxes_cover_each_place_once_and_the_middle_is_bounded(size: list[int], edge: int, most: int) -> None:
    seen = np.zeros(size, int)
    for window in boxes(size, [edge] * len(size)):
        seen[window] += 1
        assert max(seen[window].shape) <= edge
    assert (seen == 1).all()
    seen[middle(size, most)] += 1
    assert seen.max() >= 2 and ((seen == 2).sum() <= most or min(seen[middle(size, most)].shape) == 1)
    assert (seen == 2).all() or seen.size > most


@few
@given(size=sizes, edge=st.integers(1, 5))
def test_the_centre_is_as_long_as_asked_and_as_far_from_both_ends(size: list[int], edge: int) -> None:
    for n, window in zip(size, centre(size, edge), strict=True):
        assert window.stop - window.start == min(n, edge)
        assert 0 <= (n - window.stop) - window.start <= 1


@few
@given(
    seed=seeds,
    length=st.integers(1, 60),
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]),
    q=st.lists(st.sampled_from([0.0, 0.1, 1.0, 33.3, 50.0, 99.0, 99.9, 100.0]), min_size=1, max_size=3),
)
def test_percentiles_are_those_of_numpy_to_the_bit(seed: int, length: int, dtype: str, q: list[float]) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(length) * 10.0 ** rng.integers(0, 4)
    values = values.astype("i8").astype(dtype) if dtype[0] != "f" else values.astype(dtype)
    found = percentiles(lambda: parts(values), q)
    assert found == np.percentile(values.astype(np.float64), q).tolist()
