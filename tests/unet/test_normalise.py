"""Normalisation: what it makes of ordinary images and of awkward ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from useg import parts
from useg.unet.normalise import SAMPLE_EDGE, NormaliseSettings, measure, subsample

few = settings(max_examples=40, deadline=None)
WHOLE = NormaliseSettings(clip=(0, 100))


def noise(seed: int, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (100 + 20 * rng.standard_normal(shape)).astype(dtype)


@few
@given(seed=st.integers(0, 999), dims=st.sampled_from([2, 3]), dtype=st.sampled_from(["uint8", "uint16", "float32"]))
def test_each_channel_gets_mean_0_and_deviation_1(seed: int, dims: int, dtype: str) -> None:
    image = noise(seed, (3, *[12] * dims), dtype)
    image[1] = image[1] // 2 + 30
    result = measure(image, WHOLE).apply(image)
    assert result.dtype == np.float32
    axes = tuple(range(1, dims + 1))
    np.testing.assert_allclose(result.mean(axes), 0, atol=1e-4)
    np.testing.assert_allclose(result.std(axes), 1, atol=1e-4)


@few
@given(seed=st.integers(0, 999), factor=st.floats(0.1, 50), offset=st.floats(-100, 100))
def test_exposure_does_not_matter(seed: int, factor: float, offset: float) -> None:
    image = noise(seed, (1, 16, 16), "float64")
    other = factor * image + offset
    settings = NormaliseSettings()
    np.testing.assert_allclose(measure(image, settings).apply(image), measure(other, settings).apply(other), atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 999),
    wedge=st.integers(0, 9),
    dtype=st.sampled_from(["uint8", "int16", "float32"]),
    clip=st.sampled_from([(0, 100), (0.1, 99.9), (5, 60)]),
)
def test_part_by_part_is_as_in_one_go(seed: int, wedge: int, dtype: str, clip: tuple[float, float]) -> None:
    image, settings = noise(seed, (2, 6, 20, 19), dtype), NormaliseSettings(clip=clip)
    image[:, :, :wedge] = 0
    whole = measure(image, settings)
    # By numpy alone: the mean and the deviation of what is no padding, between the percentiles of it.
    inside = image[:, ~(image == 0).all(0)].astype(np.float64) if wedge else image.reshape(2, -1).astype(np.float64)
    clipped = [row.clip(*np.percentile(row, clip)) for row in inside]
    np.testing.assert_array_equal(whole.shift, np.array([row.mean() for row in clipped], np.float32))
    np.testing.assert_array_equal(whole.scale, np.array([row.std() for row in clipped], np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART", 500)
        found = measure(image, settings)
    np.testing.assert_allclose(found.shift, whole.shift, rtol=1e-6)
    np.testing.assert_allclose(found.scale, whole.scale, rtol=1e-6)


def test_channels_do_not_touch_each_other() -> None:
    image = noise(0, (2, 10, 10))
    other = image.copy()
    other[1] *= 7
    settings = NormaliseSettings()
    np.testing.assert_array_equal(measure(image, settings).apply(image)[0], measure(other, settings).apply(other)[0])


def test_values_beyond_the_percentiles_do_not_count_but_stay() -> None:
    image = noise(0, (1, 100, 100))
    image[0, 0, :5] = 1e6  # 0.05 % of the pixels
    usual, robust = measure(image, WHOLE), measure(image, NormaliseSettings(clip=(1, 99)))
    assert robust.scale[0] == pytest.approx(20, rel=0.1)
    assert usual.scale[0] > 1000
    assert robust.apply(image).max() > 1e4
    # The percentiles themselves, by numpy.
    low, high = np.percentile(image, (1, 99))
    assert robust.shift[0] == pytest.approx(image.clip(low, high).astype(float).mean())
    assert robust.scale[0] == pytest.approx(image.clip(low, high).astype(float).std())


@few
@given(
    seed=st.integers(0, 999), wedge=st.integers(1, 40), end=st.sampled_from([-2000, 9000]), dims=st.sampled_from([1, 3])
)
def test_padding_does_not_change_how_the_rest_looks(seed: int, wedge: int, end: int, dims: int) -> None:
    image = noise(seed, (dims, 64, 64), "int16")
    padded = image.copy()
    padded[:, :, :wedge] = end
    settings = NormaliseSettings()
    alone, beside = measure(image[:, :, wedge:], settings), measure(padded, settings)
    np.testing.assert_array_equal(alone.shift, beside.shift)
    np.testing.assert_array_equal(alone.scale, beside.scale)


def test_a_dark_background_and_a_single_channel_are_no_padding() -> None:
    image = noise(0, (2, 64, 64)).clip(100)  # half of the pixels at the lowest value, and many just above it
    for channels in (image, np.stack([image[0], noise(1, (64, 64))])):
        settings = NormaliseSettings(clip=(0, 100))
        np.testing.assert_allclose(measure(channels, settings).shift, channels.mean((1, 2)), rtol=1e-5)
    image = noise(0, (2, 64, 64))
    image[0, :20] = 1000  # something that one channel shows and the other does not
    np.testing.assert_allclose(measure(image, WHOLE).shift, image.mean((1, 2)), rtol=1e-5)


@few
@given(
    value=st.one_of(st.integers(0, 255).map(np.uint8), st.floats(-1e3, 1e3, width=32).map(np.float32)),
    edge=st.integers(1, 40),
)
def test_a_constant_channel_becomes_0(value: np.generic, edge: int) -> None:
    image = np.full((1, edge, edge), value)
    intensity = measure(image, NormaliseSettings())
    assert not intensity.apply(image).any()
    assert intensity.scale[0] == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 123.456])
def test_a_speck_in_a_constant_channel_stays_a_number(value: float, dtype: str) -> None:
    """The mean of many equal numbers is not quite that number; the rounding is no deviation to divide by."""
    image = np.full((1, 100, 100), value, dtype)
    image[0, 50, 50] += 1
    assert measure(image, NormaliseSettings()).apply(image).max() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_count_nowhere_and_become_the_mean(broken: float) -> None:
    image = noise(0, (2, 10, 10))
    image[0, 3:5] = broken
    settings = WHOLE
    intensity = measure(image, settings)
    good = np.delete(image[0], [3, 4], axis=0).astype(float)
    assert intensity.shift[0] == pytest.approx(good.mean())
    assert intensity.scale[0] == pytest.approx(good.std())
    result = intensity.apply(image)
    assert not result[0, 3:5].any()
    assert np.isfinite(result).all()
    assert result[1].any()
    image[1, 0, 0], image[1, 0, 1] = np.inf, -np.inf
    assert np.isfinite(intensity.apply(image)).all()


def test_a_channel_without_a_finite_pixel_becomes_0() -> None:
    image = np.full((1, 4, 4), np.nan, np.float32)
    assert not measure(image, NormaliseSettings()).apply(image).any()


def test_fixed_and_none() -> None:
    image = noise(0, (2, 5, 5), "uint16")
    fixed = measure(image, NormaliseSettings(kind="fixed", mean=[10, 20], std=[2, 4]))
    expected = (image.astype(np.float32) - np.array([10, 20])[:, None, None]) / np.array([2, 4])[:, None, None]
    np.testing.assert_allclose(fixed.apply(image), expected, rtol=1e-6)
    np.testing.assert_array_equal(measure(image, NormaliseSettings(kind="none")).apply(image), image)


@few
@given(height=st.integers(1, 3), width=st.integers(1, 3 * SAMPLE_EDGE), seed=st.integers(0, 99))
def test_statistics_come_from_a_strided_subsample(height: int, width: int, seed: int) -> None:
    """The rule itself: every n-th pixel of an axis, with the smallest n that leaves at most SAMPLE_EDGE."""
    image = noise(seed, (1, height, width), "uint16")
    small = subsample(image)
    step = next(n for n in range(1, 5) if len(range(0, width, n)) <= SAMPLE_EDGE)
    np.testing.assert_array_equal(small, image[:, :, ::step])
    assert np.shares_memory(small, image)
    by_all, by_some = measure(image, NormaliseSettings()), measure(small, NormaliseSettings())
    np.testing.assert_array_equal(by_all.shift, by_some.shift)
    np.testing.assert_array_equal(by_all.scale, by_some.scale)


def test_the_image_is_left_alone() -> None:
    image = noise(0, (1, 6, 6))
    before = image.copy()
    measure(image, NormaliseSettings()).apply(image)
    np.testing.assert_array_equal(image, before)
