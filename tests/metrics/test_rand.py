"""Region scores: worked by hand, against scikit-image, and by their symmetries."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from useg.errors import DataError, SettingsError
from useg.metrics.rand import (
    THRESHOLDS,
    at_threshold,
    best_over_thresholds,
    grow_regions,
    rand_error,
    region_scores,
)


def regions(least: int = 0) -> st.SearchStrategy[np.ndarray]:
    return npst.arrays(np.int64, (5, 6), elements=st.integers(least, 4))


def test_a_merger_by_hand() -> None:
    """Two regions of 2 taken for one of 4: sum p² = 8, sum s² = 8, sum t² = 16; one region tells nothing."""
    v_rand, v_info = region_scores(np.array([[1, 1, 2, 2]]), np.array([[5, 5, 5, 5]]))
    assert v_rand == pytest.approx(8 / 12)
    assert v_info == 0


def test_a_split_by_hand() -> None:
    """{4, 4} against {4, 2, 2}: sum p² = 24, s² = 32, t² = 24; I = H(S) = 1 bit, H(T) = 1.5 bits."""
    truth = np.repeat([1, 2], 4)[None]
    v_rand, v_info = region_scores(truth, np.repeat([3, 3, 1, 9], 2)[None])
    assert v_rand == pytest.approx(24 / 28)
    assert v_info == pytest.approx(1 / 1.25)


def test_border_of_the_truth_counts_nowhere() -> None:
    truth = np.array([[1, 1, 1, 0, 1, 1, 1]], dtype=bool)
    assert region_scores(truth, np.array([[4, 4, 4, 9, 2, 2, 2]])) == pytest.approx((1, 1))
    assert region_scores(truth, np.array([[4, 4, 4, 4, 2, 2, 2]])) == pytest.approx((1, 1))


def test_components_of_the_truth_are_four_connected() -> None:
    corner = np.array([[True, False], [False, True]])
    assert region_scores(corner, np.array([[1, 0], [0, 2]])) == pytest.approx((1, 1))


def test_pixels_in_no_region_are_alone() -> None:
    """One region of 3 of which one pixel is called border: sum p² = 4 + 1 = sum t², s² = 9."""
    truth, labels = np.array([[1, 1, 1]]), np.array([[6, 6, 0]])
    assert region_scores(truth, labels)[0] == pytest.approx(2 * 5 / (9 + 5))
    assert rand_error(truth, labels) == pytest.approx(1 - 10 / 14)


def test_degenerate_cases() -> None:
    one = np.ones((3, 3), dtype=np.uint8)
    assert region_scores(one, one * 7) == (1, 1)  # H(S) = H(T) = 0
    assert region_scores(one, np.arange(1, 10).reshape(3, 3)) == pytest.approx((2 * 9 / (81 + 9), 0))
    assert all(math.isnan(score) for score in region_scores(one == 0, one))  # no interior: nothing to say
    assert region_scores(one, one * 0)[1] == 0


@given(regions(), st.permutations(range(1, 5)), st.integers(0, 2**62))
def test_numbers_of_regions_mean_nothing(truth: np.ndarray, names: list[int], far: int) -> None:
    labels = np.arange(30).reshape(5, 6) // 4 + 1
    renamed = np.array([0, *names])[truth]
    assert region_scores(renamed, labels) == pytest.approx(region_scores(truth, labels), nan_ok=True)
    assert region_scores(truth, labels + far) == pytest.approx(region_scores(truth, labels), nan_ok=True)


@given(regions(1), regions(1))
def test_truth_and_proposal_may_swap(a: np.ndarray, b: np.ndarray) -> None:
    scores = region_scores(a, b)
    assert region_scores(b, a) == pytest.approx(scores)
    assert all(0 <= score <= 1 for score in scores)
    assert region_scores(a, a) == pytest.approx((1, 1))


@given(regions(), regions(1))
def test_agrees_with_scikit_image(truth: np.ndarray, labels: np.ndarray) -> None:
    """Which leaves out the pairs of a pixel with itself, and gives the conditional entropies."""
    from skimage.metrics import adapted_rand_error, variation_of_information

    truth[0, :2] = 1  # a pair at least
    labels[0, :2] = 1
    inside = truth > 0
    n = inside.sum()
    sizes = [np.bincount(side[inside]) for side in (truth, labels)]
    both = sum(float((size**2).sum()) for size in sizes)
    v_rand, v_info = region_scores(truth, labels)
    error, _, _ = adapted_rand_error(truth, labels, ignore_labels=(0,))  # type: ignore[no-untyped-call]
    assert (v_rand * both - 2 * n) / (both - 2 * n) == pytest.approx(1 - error)

    # It divides by all pixels even when some are left out, so it is handed the interior only.
    apart = variation_of_information(truth[inside], labels[inside]).sum()  # type: ignore[no-untyped-call]
    entropies = 0.0
    for size in sizes:
        shares = size[size > 0] / n
        entropies -= (shares * np.log2(shares)).sum()
    if entropies:
        assert v_info == pytest.approx((entropies - apart) / entropies, abs=1e-9)


def test_bad_regions() -> None:
    flat = np.ones((2, 3), dtype=int)
    with pytest.raises(DataError, match=r"\(3, 2\).*\(2, 3\)"):
        region_scores(flat, flat.T)
    with pytest.raises(DataError, match="region -1"):
        region_scores(flat, -flat)


def test_regions_grow_until_they_meet() -> None:
    """Two bright ends; the pixels between go to the side that they are connected to by brighter pixels."""
    row = np.array([[0.9, 0.4, 0.3, 0.1, 0.2, 0.8]], dtype=np.float32)
    grown = grow_regions(np.repeat(row, 3, axis=0), 0.5)
    assert grown.min() == 1
    assert (grown[:, :3] == 1).all() and (grown[:, 4:] == 2).all()
    assert (grow_regions(row, 0.95) == 1).all()  # no seed: one region
    assert (grow_regions(row, 0.0) == 1).all()  # all seed


@given(npst.arrays(np.int64, (6, 7), elements=st.integers(0, 1)), st.randoms(use_true_random=False))
def test_growing_is_the_watershed_of_the_whole_image(mask: np.ndarray, random: object) -> None:
    from scipy import ndimage
    from skimage.segmentation import watershed

    order = np.arange(42)
    random.shuffle(order)  # type: ignore[attr-defined]
    probability = (order.reshape(6, 7) + 45 * mask) / 100  # all different; above 0.44 where the mask is
    seeds = ndimage.label(probability > 0.44)[0]
    grown = grow_regions(probability, 0.44)
    if not seeds.any():
        seeds[:] = 1
    assert (grown == watershed(-probability, seeds)).all()  # type: ignore[no-untyped-call]


def membrane() -> tuple[np.ndarray, np.ndarray]:
    """Two cells and a border between them that is half certain: 0.4 in its middle pixel, 0.2 elsewhere."""
    truth = np.ones((5, 7), dtype=bool)
    truth[:, 3] = False
    probability = np.where(truth, 0.9, 0.2).astype(np.float32)
    probability[2, 3] = 0.4
    return truth, probability


def test_the_best_threshold_is_found() -> None:
    truth, probability = membrane()
    merged = at_threshold([(truth, probability)], 0.3)
    assert merged.v_rand == pytest.approx(2 * 2 * 15**2 / (2 * 15**2 + 30**2))
    assert merged.v_info == 0
    best = best_over_thresholds([(truth, probability)])
    assert best.threshold == 0.4  # the first at which the border closes: 0.4 is not above 0.4
    assert best.as_dict()["v_rand"] == pytest.approx(1)
    assert best.v_info == pytest.approx(1)
    assert best.rand_error == pytest.approx(0)


def test_a_wide_border_costs_only_before_growing() -> None:
    truth, probability = membrane()
    probability[:, 2] = 0.3
    scores = at_threshold([(truth, probability)], 0.5)
    assert scores.v_rand == pytest.approx(1)
    pairs = 10**2 + 15**2 + 5  # 5 pixels of the left cell are called border
    assert scores.rand_error == pytest.approx(1 - 2 * pairs / (2 * 15**2 + pairs))
    assert scores.rand_error_threshold == 0.5


def test_slices_are_averaged_and_empty_ones_left_out() -> None:
    truth, probability = membrane()
    torn = probability.copy()
    torn[2, 3] = 0.9
    stack = [(truth, probability), (truth, torn), (np.zeros_like(truth), probability)]
    both = at_threshold(iter(stack), 0.5)
    assert (both.slices, both.empty_slices) == (2, 1)
    assert both.v_rand == pytest.approx((1 + 2 / 3) / 2)
    assert both.v_info == pytest.approx(0.5)


def test_bad_stacks() -> None:
    truth, probability = membrane()
    with pytest.raises(DataError, match="none of the 1 slices"):
        best_over_thresholds([(np.zeros_like(truth), probability)])
    with pytest.raises(DataError, match="none of the 0 slices"):
        best_over_thresholds([])
    with pytest.raises(DataError, match="slice 0 has a prediction of shape"):
        best_over_thresholds([(truth, probability[:3])])
    for bad in (1.5, -0.5, math.nan):
        with pytest.raises(DataError, match="softmax"):
            grow_regions(np.full((2, 2), bad), 0.5)
        with pytest.raises(SettingsError, match=r"give 0\.\.1"):
            grow_regions(probability, bad)
    with pytest.raises(SettingsError, match="no threshold"):
        best_over_thresholds([(truth, probability)], [])


def test_default_thresholds() -> None:
    assert THRESHOLDS[0] == 0.1 and THRESHOLDS[-1] == 0.95
    assert np.diff(THRESHOLDS) == pytest.approx(np.full(17, 0.05))
