"""Objects that are marked and not painted."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from useg.data.partial import unpainted


def discs(places: list[tuple[int, int]], radius: int, size: int = 96) -> np.ndarray:
    y, x = np.ogrid[:size, :size]
    ids = np.zeros((size, size), np.int32)
    for number, (cy, cx) in enumerate(places, 1):
        ids[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = number
    return ids


def test_what_is_around_an_unpainted_marker_is_unknown() -> None:
    places = [(20, 20), (20, 70), (70, 45)]
    whole, markers = discs(places, 11), discs(places, 2)
    painted = np.where(whole == 3, 0, whole).astype(np.int32)
    unknown = unpainted(painted, markers)
    assert unknown[whole == 3].all()
    assert not unknown[(whole == 1) | (whole == 2)].any()
    assert not unknown[0:4].any()
    assert unknown.mean() < 0.25


@given(st.lists(st.tuples(st.integers(0, 95), st.integers(0, 95)), min_size=1, max_size=6), st.integers(0, 6))
def test_painted_pixels_and_painted_markers_stay_known(places: list[tuple[int, int]], kept: int) -> None:
    whole, markers = discs(places, 6), discs(places, 1)
    painted = np.where(whole <= kept, whole, 0).astype(np.int32)
    unknown = unpainted(painted, markers)
    assert not unknown[painted > 0].any()
    if np.isin(np.unique(markers[markers > 0]), np.unique(markers[painted > 0])).all():
        assert not unknown.any()
    elif not painted.any():
        assert unknown.all()
