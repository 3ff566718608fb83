"""Warping: the table against counted components, known errors of topology, and what must always hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from useg.errors import DataError
from useg.metrics.warping import simple_points, warp, warping_error

FULL = np.ones((3, 3), dtype=int)


def test_table_against_counted_components() -> None:
    """Once around from the right, clockwise; 4-connected interior by an edge, 8-connected border."""
    ring = [(1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0), (0, 1), (0, 2)]
    edges = [(1, 2), (2, 1), (1, 0), (0, 1)]
    for code, simple in enumerate(simple_points()):
        patch = np.zeros((3, 3), dtype=bool)
        for k, place in enumerate(ring):
            patch[place] = code >> k & 1
        interior, _ = ndimage.label(patch)
        border = ~patch
        border[1, 1] = False
        touching = {interior[place] for place in edges} - {0}
        assert simple == (len(touching) == 1 and ndimage.label(border, FULL)[1] == 1), f"neighbourhood {code:08b}"


def cells() -> np.ndarray:
    """Two cells of 9 x 4 with a border of one pixel between and around them."""
    truth = np.zeros((11, 11), dtype=bool)
    truth[1:10, 1:5] = truth[1:10, 6:10] = True
    return truth


def test_a_boundary_drawn_elsewhere_is_free() -> None:
    truth = cells()
    for shift in ((0, 1), (1, 0), (1, 1), (-1, 1)):
        shifted = np.roll(truth, shift, axis=(0, 1))
        assert (shifted != truth).any()
        assert warping_error(truth, shifted) == 0
    thin = ndimage.binary_erosion(truth)
    assert warping_error(truth, thin) == 0
    assert warping_error(thin, truth) == 0


def test_a_gap_in_a_membrane_costs_its_pixels() -> None:
    truth, torn = cells(), cells()
    torn[4:7, 5] = True
    assert warping_error(truth, torn) == pytest.approx(3 / 121)
    assert np.argwhere(warp(truth, torn) != torn).tolist() == [[4, 5], [5, 5], [6, 5]]


def test_a_membrane_too_many_costs_pixels() -> None:
    truth, split = cells(), cells()
    split[5, 1:5] = False
    assert warping_error(truth, split) == pytest.approx(1 / 121)  # shrinks to one bridging pixel


def test_an_invented_dot_costs_its_pixels() -> None:
    truth, dotted = np.zeros((2, 10, 10), dtype=bool)
    truth[1:5, 1:5] = dotted[1:5, 1:5] = True
    dotted[7:9, 7:9] = True
    assert warping_error(truth, dotted) == pytest.approx(4 / 100)
    # The other way round the dot can shrink, but not vanish.
    assert warping_error(dotted, truth) == pytest.approx(1 / 100)


def test_a_hole_costs_pixels() -> None:
    truth, holed = np.zeros((2, 9, 9), dtype=bool)
    truth[1:8, 1:8] = holed[1:8, 1:8] = True
    holed[4, 4] = False
    assert warping_error(truth, holed) == pytest.approx(1 / 81)
    assert warping_error(holed, truth) == pytest.approx(1 / 81)


def test_cells_that_touch_at_a_corner_are_two() -> None:
    """Interior is 4-connected: opening the corner between them joins them."""
    truth = np.zeros((6, 6), dtype=bool)
    truth[1:3, 1:3] = truth[3:5, 3:5] = True
    joined = truth.copy()
    joined[2, 3] = True
    assert warping_error(truth, joined) == pytest.approx(1 / 36)


def test_the_image_ends_in_border() -> None:
    whole, cut = np.ones((2, 4, 4), dtype=bool)
    cut[:, 0] = False
    assert warping_error(whole, cut) == 0
    assert warping_error(whole, ~whole) == pytest.approx(1 / 16)  # one pixel of the region must stay
    assert warping_error(~whole, whole) == 1


def masks() -> st.SearchStrategy[np.ndarray]:
    return npst.arrays(np.bool_, (7, 8))


@given(masks(), masks())
def test_topology_stays_and_no_simple_point_is_left(truth: np.ndarray, proposal: np.ndarray) -> None:
    warped = warp(truth, proposal)
    assert warped.shape == truth.shape
    # Only pixels that differed have moved, so the error never exceeds the pixel error.
    assert (warped == proposal)[truth == proposal].all()
    assert warping_error(truth, proposal) <= np.mean(truth != proposal)
    assert topology(warped) == topology(truth)
    for y, x in np.argwhere(warped != proposal):
        flipped = np.pad(warped, 1)
        patch = flipped[y : y + 3, x : x + 3]
        code = sum(int(patch[1 + dy, 1 + dx]) << k for k, (dy, dx) in enumerate(CLOCKWISE))
        assert not simple_points()[code]


CLOCKWISE = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]


def topology(mask: np.ndarray) -> tuple[int, int]:
    """Regions (4-connected) and borders (8-connected, with the outside)."""
    return ndimage.label(mask)[1], ndimage.label(np.pad(~mask, 1, constant_values=True), FULL)[1]


@given(masks())
def test_what_agrees_stays(truth: np.ndarray) -> None:
    assert warping_error(truth, truth) == 0
    assert (warp(truth, truth) == truth).all()


def test_bad_shapes() -> None:
    flat = np.zeros((3, 4), dtype=bool)
    with pytest.raises(DataError, match="one slice Y X"):
        warping_error(flat, flat.T)
    with pytest.raises(DataError, match="one slice Y X"):
        warp(flat[None], flat[None])
