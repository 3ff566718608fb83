"""Entropy and expected Dice, against their definitions and against what happens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from useg.metrics.uncertainty import entropy, expected_dice


@given(st.integers(2, 6), st.integers(0, 99))
def test_entropy_is_0_for_certainty_and_1_for_no_idea(classes: int, seed: int) -> None:
    some = np.random.default_rng(seed).dirichlet(np.ones(classes), 50).T
    found = entropy(some)
    np.testing.assert_allclose(found, -(some * np.log(some)).sum(0) / np.log(classes), atol=1e-9)
    assert entropy(np.eye(classes)).max() == 0
    np.testing.assert_allclose(entropy(np.full((classes, 3), 1 / classes)), 1)


@given(st.integers(2, 4), st.integers(0, 20))
def test_the_dice_to_expect_is_the_mean_over_truths_that_could_be(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.4), 600).T
    labels = p.argmax(0)
    dice = []
    for _ in range(60):
        truth = (rng.random(600) > p.cumsum(0)).sum(0).clip(max=classes - 1)
        both = [((truth == k) & (labels == k)).sum() for k in range(classes)]
        dice.append([2 * both[k] / ((truth == k).sum() + (labels == k).sum()) for k in range(classes)])
    np.testing.assert_allclose(expected_dice(p, labels), np.mean(dice, 0), atol=0.02)


def test_a_class_that_is_nowhere_likely_has_no_dice() -> None:
    found = expected_dice(np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([0, 0]))
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1])
