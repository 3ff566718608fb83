"""Intervals by the bootstrap: they hold what they should, follow the groups, and are the same every time."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from useg.errors import DataError, SettingsError
from useg.metrics.bootstrap import MIN_GROUPS, bootstrap
from useg.metrics.overlap import overlap_scores

STACKS = st.integers(2, 3).flatmap(
    lambda k: npst.arrays(
        np.int64, st.tuples(st.integers(2, 8), st.just(k), st.just(k)), elements=st.integers(0, 10**9)
    )
)


@settings(max_examples=40)
@given(stack=STACKS, seed=st.integers(0, 3))
def test_bounds_are_ordered_and_between_the_extremes_of_single_images(stack: np.ndarray, seed: int) -> None:
    found = bootstrap(list(stack), draws=50, seed=seed)
    whole = overlap_scores(list(stack))
    for bounds, name in ((found.dice, "dice"), (found.iou, "iou")):
        # A pooled ratio is a weighted mean of those of the images, so no draw leaves their range.
        single = np.array([getattr(overlap_scores([matrix]), name) for matrix in stack])
        for k, (low, high) in enumerate(bounds):
            if np.isnan(getattr(whole, name)[k]):
                assert np.isnan(low)
                assert np.isnan(high)
            elif not np.isnan(low):
                assert np.nanmin(single[:, k]) - 1e-9 <= low <= high <= np.nanmax(single[:, k]) + 1e-9
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["unit"] == "images"


@settings(max_examples=20)
@given(stack=STACKS)
def test_the_same_seed_gives_the_same_bounds(stack: np.ndarray) -> None:
    assert json.dumps(bootstrap(list(stack), draws=30).as_dict()) == json.dumps(
        bootstrap(list(stack), draws=30).as_dict()
    )


def test_equal_images_leave_no_doubt() -> None:
    matrix = np.array([[50, 7], [3, 40]])
    found = bootstrap([matrix] * 5)
    whole = overlap_scores([matrix])
    for k in (0, 1):
        assert found.dice[k] == pytest.approx((whole.dice[k],) * 2)
        assert found.iou[k] == pytest.approx((whole.iou[k],) * 2)
    assert found.foreground_dice == pytest.approx((whole.foreground_dice,) * 2)
    assert found.foreground_iou == pytest.approx((whole.foreground_iou,) * 2)


def _images(rng: np.random.Generator, groups: int, per_group: int, group_sd: float) -> tuple[list[np.ndarray], list]:
    """Images whose accuracy differs by group and, a little, by image."""
    matrices, names = [], []
    for g in range(groups):
        level = rng.normal(0.8, group_sd)
        for _ in range(per_group):
            share = np.clip(level + rng.normal(0, 0.02), 0.05, 0.99)
            hits = round(1000 * share)
            matrices.append(np.array([[8000, 1000 - hits], [1000 - hits, hits]]))
            names.append(f"group {g}")
    return matrices, names


def test_about_95_of_100_intervals_hold_the_true_score() -> None:
    """Simulated: images drawn from a known law, whose pooled Dice is 0.8 by construction."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        matrices, _ = _images(rng, groups=25, per_group=1, group_sd=0.05)
        low, high = bootstrap(matrices, draws=400).foreground_dice
        inside += low <= 0.8 <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_groups_that_resemble_each_other_widen_the_interval() -> None:
    matrices, names = _images(np.random.default_rng(2), groups=10, per_group=10, group_sd=0.06)
    by_group, by_image = bootstrap(matrices, names), bootstrap(matrices)
    assert (by_group.unit, by_group.units, by_image.unit, by_image.units) == ("groups", 10, "images", 100)
    width = [high - low for low, high in (by_group.foreground_dice, by_image.foreground_dice)]
    assert width[0] > 1.8 * width[1]


def test_single_images_are_drawn_where_groups_are_few_or_hold_one_image_each() -> None:
    matrices, names = _images(np.random.default_rng(3), groups=MIN_GROUPS - 1, per_group=4, group_sd=0.05)
    assert bootstrap(matrices, names).unit == "images"
    alone = [str(i) for i in range(len(matrices))]
    assert bootstrap(matrices, alone) == bootstrap(matrices)
    # An image without a group stands for itself and makes the eighth.
    more = [*matrices, matrices[0]]
    assert (bootstrap(more, [*names, None]).unit, bootstrap(more, [*names, None]).units) == ("groups", MIN_GROUPS)


def test_one_image_says_nothing_of_others() -> None:
    blank = np.zeros((2, 2), int)
    found = bootstrap([np.array([[5, 1], [1, 5]]), blank])
    assert found.units == 1
    assert np.isnan(found.foreground_dice).all()
    assert np.isnan(bootstrap([blank]).dice).all()


def test_what_cannot_be_drawn_is_told() -> None:
    with pytest.raises(DataError, match="no image was scored"):
        bootstrap([])
    with pytest.raises(DataError, match="1 groups for 2 images"):
        bootstrap([np.eye(2, dtype=int)] * 2, ["a"])
    with pytest.raises(SettingsError, match="give a level"):
        bootstrap([np.eye(2, dtype=int)] * 2, level=1.0)
