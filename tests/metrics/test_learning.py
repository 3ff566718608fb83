"""A learning curve: known laws are found again, and what two or four points cannot tell is in the interval."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from useg.errors import DataError
from useg.metrics.learning import LearningFit, fit_learning

SIZES = (6, 12, 24, 48)


def confusions_of(dice: np.ndarray, pixels: int = 100_000) -> np.ndarray:
    """Confusion matrices of two classes with the given Dice, point by point and image by image."""
    hits = np.round(dice * pixels).astype(np.int64)
    found = np.zeros((*dice.shape, 2, 2), np.int64)
    found[..., 0, 0] = 10 * pixels
    found[..., 1, 1] = hits
    found[..., 1, 0] = found[..., 0, 1] = pixels - hits
    return found


def law(a: float, b: float, c: float, sizes: tuple[int, ...] = SIZES, held: int = 12) -> np.ndarray:
    return confusions_of(np.repeat((a - b * np.array(sizes, float) ** -c)[:, None], held, axis=1))


def gains(found: LearningFit) -> list[float]:
    return [number for each in found.ahead for number in (each.low, each.gain, each.high)]


@settings(max_examples=40)
@given(st.floats(0.7, 1.0), st.floats(0.2, 0.6), st.floats(0.25, 1.0))
def test_a_law_is_found_again(a: float, b: float, c: float) -> None:
    found = fit_learning(SIZES, law(a, b, c))
    for each in found.ahead:
        true = b * 48.0**-c * (1 - each.factor**-c)
        assert each.low <= true + 0.001 and true - 0.001 <= each.high
        assert abs(each.gain - true) < 0.03
    assert found.scores[-1] == pytest.approx(a - b * 48.0**-c, abs=1e-4)
    fitted = [found.a - found.b * n**-found.c for n in SIZES]
    assert fitted == pytest.approx(found.scores, abs=0.02)


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 500), min_size=2, max_size=4, unique=True).map(sorted),
    st.integers(1, 6),
    st.integers(0, 1000),
)
def test_whatever_the_scores_the_interval_is_one(sizes: list[int], held: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = fit_learning(sizes, confusions_of(rng.random((len(sizes), held)), 50), seed=seed)
    for each in found.ahead:
        assert 0 <= each.low <= each.gain <= each.high <= 1
    assert all(b >= a for a, b in zip(gains(found)[:3], gains(found)[3:], strict=True))  # four times beats twice
    assert found.a <= 1 and found.b >= 0 and found.c > 0
    document = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert document["verdict"] in ("grows", "flat", "unsure")
    assert len(document["ahead"]) == 2 and document["words"]
    assert ("only" in found.words[-1]) == (held < 5)
    assert (
        fit_learning(sizes, confusions_of(np.random.default_rng(seed).random((len(sizes), held)), 50), seed=seed)
        == found
    )


def test_the_order_of_the_images_decides_nothing_that_matters() -> None:
    rng = np.random.default_rng(0)
    dice = np.clip(np.array([0.5, 0.6, 0.66, 0.7])[:, None] + rng.normal(0, 0.05, (4, 30)), 0, 1)
    one, other = fit_learning(SIZES, confusions_of(dice)), fit_learning(SIZES, confusions_of(dice[:, ::-1]))
    assert gains(one) == pytest.approx(gains(other), abs=0.01)
    assert one.scores == other.scores


def test_a_steep_curve_grows_and_a_flat_one_is_flat() -> None:
    steep = fit_learning(SIZES, law(0.95, 1.2, 0.5))
    assert steep.verdict == "grows"
    assert steep.words[0].startswith("twice as many annotated images (96) would bring about +0.0")
    assert steep.words[1].startswith("four times as many annotated images (192) would bring about +0.")
    flat = fit_learning(SIZES, confusions_of(np.full((4, 12), 0.97)))
    assert flat.verdict == "flat"
    assert "would change little" in flat.words[0] and "the curve is flat" in flat.words[-1]


def test_scores_that_jump_are_too_noisy_to_tell() -> None:
    found = fit_learning(SIZES, confusions_of(np.repeat([[0.5], [0.62], [0.48], [0.55]], 12, axis=1)))
    assert found.verdict == "unsure"
    assert "too noisy" in found.words[-1]


def test_two_points_know_less_than_four() -> None:
    four = fit_learning(SIZES, law(0.9, 0.8, 0.5))
    two = fit_learning(SIZES[2:], law(0.9, 0.8, 0.5)[2:])
    assert two.ahead[1].high - two.ahead[1].low > 1.2 * (four.ahead[1].high - four.ahead[1].low)
    assert any("two points" in line for line in two.words)


def test_images_that_disagree_widen_the_interval() -> None:
    """Every image has a curve of its own, so that which ones were held out matters."""
    rng = np.random.default_rng(1)
    steep = rng.uniform(0, 1.6, 12)
    dice = 0.9 - steep * np.array(SIZES, float)[:, None] ** -0.5
    mixed, even = (
        fit_learning(SIZES, confusions_of(np.clip(dice, 0, 1))),
        fit_learning(SIZES, law(0.9, steep.mean(), 0.5)),
    )
    assert mixed.ahead[1].high - mixed.ahead[1].low > even.ahead[1].high - even.ahead[1].low


def test_classes_are_averaged_as_everywhere_else() -> None:
    from useg.metrics.overlap import overlap_scores

    rng = np.random.default_rng(2)
    confusions = rng.integers(0, 50, (3, 8, 4, 4))
    confusions[:, :, 2] = 0  # a class that no truth holds
    found = fit_learning((2, 4, 8), confusions)
    assert found.scores == pytest.approx([overlap_scores(list(point)).foreground_dice for point in confusions])


@pytest.mark.parametrize("sizes", [(4,), (4, 4), (8, 4), (0, 4)])
def test_what_is_no_curve(sizes: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="two points or more"):
        fit_learning(sizes, confusions_of(np.full((len(sizes), 3), 0.5)))


def test_nothing_to_judge() -> None:
    empty = np.zeros((2, 3, 2, 2), np.int64)
    empty[..., 0, 0] = 9
    with pytest.raises(DataError, match="foreground"):
        fit_learning((1, 2), empty)
