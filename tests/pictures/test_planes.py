"""Volumes on paper: every pixel shows the voxel that lies there, in the right proportions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from useg.pictures.planes import GAP, LONGEST, fullest, sheet_of, worst_slices

SIZES = st.tuples(*[st.integers(1, 12)] * 3)


@settings(deadline=None, max_examples=40)
@given(SIZES, st.data())
def test_planes_are_those_of_the_volume(size: tuple[int, int, int], data: st.DataObject) -> None:
    through = tuple(data.draw(st.integers(0, n - 1)) for n in size)
    slices = data.draw(st.lists(st.integers(0, size[0] - 1), max_size=3))
    volume = np.arange(1, 1 + np.prod(size)).reshape(size)
    sheet = sheet_of(size, through, slices=slices)
    paper = sheet.draw(volume)
    z, y, x = size
    width = max(2 * x + y + 2 * GAP, (x + GAP) * len(slices) - GAP)
    assert paper.shape == (max(z, y) + (y + GAP if slices else 0), width)
    np.testing.assert_array_equal(paper[:y, :x], volume[through[0]])
    np.testing.assert_array_equal(paper[:z, x + GAP : 2 * x + GAP], volume[::-1, through[1]])
    np.testing.assert_array_equal(paper[:z, 2 * (x + GAP) : 2 * (x + GAP) + y], volume[::-1, :, through[2]])
    for place, index in enumerate(slices):
        left = place * (x + GAP)
        np.testing.assert_array_equal(paper[-y:, left : left + x], volume[index])
    assert (paper > 0).sum() == y * x + z * x + z * y + len(slices) * y * x
    np.testing.assert_array_equal(sheet.draw(np.stack([volume, -volume])), [paper, -paper])


@settings(deadline=None, max_examples=40)
@given(SIZES, st.tuples(*[st.sampled_from([0.5, 1.0, 2.0, 3.5])] * 3))
def test_lengths_are_those_in_space(size: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    sheet = sheet_of(size, (0, 0, 0), spacing)
    flat = sheet.planes[0]
    z, y, x = (round(n * edge / min(spacing)) for n, edge in zip(size, spacing, strict=True))
    assert (len(flat.rows), len(flat.columns), len(sheet.planes[1].rows)) == (y, x, z)
    # Every voxel of an axis is drawn, and equally wide, give or take the rounding.
    for drawn, n in ((flat.rows, size[1]), (flat.columns, size[2]), (sheet.planes[1].rows, size[0])):
        counts = np.bincount(drawn, minlength=n)
        assert len(counts) == n and counts.min() >= 1 and np.ptp(counts) <= 1


def test_large_volumes_are_thinned_out_in_proportion() -> None:
    sheet = sheet_of((100, 3000, 1500), (0, 0, 0), (5.0, 1.0, 1.0))
    assert (len(sheet.planes[0].rows), len(sheet.planes[0].columns)) == (LONGEST, LONGEST // 2)
    assert len(sheet.planes[1].rows) == round(500 * LONGEST / 3000)


def test_the_fullest_planes_hold_the_foreground() -> None:
    ring = np.zeros((9, 20, 20), bool)
    y, x = np.mgrid[:20, :20] - 9.5
    ring[6] = np.abs(np.hypot(y, x) - 7) < 1.5
    through = fullest(ring)
    assert through[0] == 6
    assert all(ring.take(index, axis).any() for axis, index in enumerate(through))
    assert fullest(np.zeros((4, 5, 7), bool)) == (2, 2, 3)


def test_the_worst_slices_lie_apart() -> None:
    wrong = np.zeros((40, 10, 10), bool)
    for index, count in ((20, 9), (21, 8), (5, 7), (30, 3), (31, 2), (39, 1)):
        wrong[index].ravel()[:count] = True
    assert worst_slices(wrong) == (20, 5, 30)
    assert worst_slices(np.zeros((4, 3, 3), bool)) == ()
    words = sheet_of(wrong.shape, (20, 0, 0), slices=worst_slices(wrong)).words
    assert words == "slice 21, row 1, column 1; below, slices 21, 6, 31"
