"""Calibration: the error by its definition, and a calibration that takes out what another put in."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from useg.labels import IGNORE
from useg.metrics.calibration import (
    BINS,
    RANGE,
    Calibration,
    Reliability,
    calibrate,
    count_reliability,
    reliability,
)


def honest(classes: int, pixels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and classes drawn by them."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), pixels).T
    truth = (rng.random(pixels) > probabilities.cumsum(0)).sum(0).clip(max=classes - 1)
    return probabilities, truth


def at(temperature: float, probabilities: np.ndarray) -> np.ndarray:
    return Calibration(temperature, (0.0,) * len(probabilities)).apply(probabilities)


@pytest.mark.parametrize("classes", [2, 5])
def test_honest_probabilities_have_no_error_and_temperature_1(classes: int) -> None:
    probabilities, truth = honest(classes, 200_000, 0)
    assert reliability([count_reliability(probabilities, truth)]).error < 0.01
    found = calibrate(probabilities, truth)
    assert found.temperature == pytest.approx(1, abs=0.02)
    assert found.shift == pytest.approx([0] * classes, abs=0.05)


@given(st.floats(0.7, 5), st.integers(2, 4), st.integers(0, 9))
def test_the_temperature_that_was_put_in_is_taken_out(temperature: float, classes: int, seed: int) -> None:
    probabilities, truth = honest(classes, 20_000, seed)
    spoilt = at(1 / temperature, probabilities)  # too sure for temperatures above 1
    assert calibrate(spoilt, truth).temperature == pytest.approx(temperature, rel=0.1)
    np.testing.assert_allclose(at(temperature, spoilt), probabilities, atol=1e-6)


@given(
    temperature=st.floats(0.7, 5),
    bias=st.lists(st.floats(-1, 1), min_size=2, max_size=4),
    seed=st.integers(0, 9),
)
def test_the_bias_that_was_put_in_is_taken_out(temperature: float, bias: list[float], seed: int) -> None:
    probabilities, truth = honest(len(bias), 20_000, seed)
    spoilt = Calibration(1 / temperature, tuple(b / temperature for b in bias)).apply(probabilities)
    found = calibrate(spoilt, truth)
    mended = found.apply(spoilt)
    assert cross_entropy(mended, truth) <= cross_entropy(spoilt, truth) + 1e-3
    assert np.abs(mended - probabilities).mean() < 0.02
    np.testing.assert_array_equal(found.weigh(spoilt).argmax(0), mended.argmax(0))
    np.testing.assert_allclose(found.undone.apply(mended), spoilt, atol=1e-6)


def test_a_class_that_no_pixel_has_is_left_alone() -> None:
    probabilities, truth = honest(3, 5_000, 0)
    seen = truth != 2
    assert calibrate(probabilities[:, seen], truth[seen]).shift[2] == 0


def cross_entropy(probabilities: np.ndarray, truth: np.ndarray) -> float:
    return float(-np.log(probabilities[truth, np.arange(truth.size)]).mean())


def test_the_error_by_its_definition() -> None:
    probabilities = np.array([[0.9, 0.9, 0.9, 0.9, 0.61], [0.1, 0.1, 0.1, 0.1, 0.39]])
    truth = np.array([0, 0, 0, 1, 1])
    found = reliability([count_reliability(probabilities, truth)])
    assert found.error == pytest.approx((4 * abs(0.75 - 0.9) + abs(0 - 0.61)) / 5)
    assert sum(found.counts) == 5


@given(st.integers(0, 99), st.integers(1, 4))
def test_parts_add_up_and_what_does_not_count_does_not(seed: int, parts: int) -> None:
    probabilities, truth = honest(3, 300, seed)
    whole = count_reliability(probabilities, truth)
    cuts = np.array_split(np.arange(300), parts)
    np.testing.assert_allclose(np.sum([count_reliability(probabilities[:, c], truth[c]) for c in cuts], 0), whole)
    within = np.random.default_rng(seed).random(300) < 0.5
    hidden = np.where(within, truth, IGNORE)
    np.testing.assert_array_equal(
        count_reliability(probabilities, hidden), count_reliability(probabilities, truth, within=within)
    )


@given(st.floats(0.3, 8))
def test_labels_stay(temperature: float) -> None:
    probabilities, _ = honest(4, 500, 1)
    np.testing.assert_array_equal(at(temperature, probabilities).argmax(0), probabilities.argmax(0))


def test_nothing_is_known_of_no_pixel() -> None:
    empty = reliability([np.zeros((3, BINS))])
    assert math.isnan(empty.error)
    assert empty.as_dict()["error"] is None
    assert empty.as_dict()["accuracy"] == [None] * BINS
    assert calibrate(np.zeros((2, 0)), np.zeros(0, int)) == Calibration(1, (0, 0))


def test_a_network_that_diverged_is_sure_of_nothing() -> None:
    nothing = np.full((2, 4), np.nan)
    assert reliability([count_reliability(nothing, np.array([0, 1, 1, IGNORE]))]).counts == (3, *[0] * (BINS - 1))
    assert calibrate(nothing, np.array([0, 1, 1, 0])) == Calibration(1, (0, 0))


def test_certain_pixels_keep_the_temperature_in_range() -> None:
    right = np.array([[1.0, 1.0], [0.0, 0.0]])
    for truth in ([0, 0], [1, 1]):
        assert RANGE[0] <= calibrate(right, np.array(truth)).temperature <= RANGE[1]


def test_error_is_between_0_and_1() -> None:
    assert Reliability((2,), (1.0,), (0.0,)).error == 1
