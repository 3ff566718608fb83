"""Which gray values are seen: windows keep the order of gray values, and what is no number is black."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from useg.viewing.display import BYTES, overall, ranges_of, to_bytes

DTYPES = ["u1", "u2", "i2", "u4", "i8", "f4", "f8"]
VALUES = st.floats(allow_nan=False, allow_infinity=False)


@given(st.data(), VALUES, VALUES)
def test_brighter_pixels_are_never_shown_darker(data: st.DataObject, low: float, high: float) -> None:
    pixels = np.sort(data.draw(hnp.arrays(data.draw(st.sampled_from(DTYPES)), st.integers(1, 40))))
    pixels = pixels[~np.isnan(pixels)]
    shown = to_bytes(pixels, low, high)
    assert (np.diff(shown.astype(int)) >= 0).all()
    wide = pixels.astype(np.float64)
    assert (shown[wide <= low] == 0).all()
    if high > low:
        assert (shown[wide >= high] == 255).all()


@given(st.floats(0, 2**16), st.floats(0, 2**16))
def test_large_16_bit_pictures_are_shown_as_small_ones(low: float, high: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, (300, 300), np.uint16)
    parts = [to_bytes(part, low, high) for part in np.array_split(pixels, 4)]
    assert (to_bytes(pixels, low, high) == np.concatenate(parts)).all()


def test_what_is_no_number_is_black() -> None:
    found = to_bytes(np.array([np.nan, -np.inf, np.inf, 1.0], np.float32), 0.0, 1.0)
    assert found.tolist() == [0, 0, 255, 255]


@given(st.data())
def test_ranges_lie_within_the_extremes_of_what_is_finite(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["u2", "i2", "i8", "f4", "f8"]))
    sample = data.draw(hnp.arrays(dtype, st.tuples(st.integers(1, 4), st.integers(1, 50))))
    found = ranges_of(sample)
    assert len(found) == len(sample)
    for channel, each in zip(sample, found, strict=True):
        numbers = (sample if len(sample) == 3 else channel).astype(np.float64)
        numbers = numbers[np.isfinite(numbers)]
        if numbers.size and numbers.min() < numbers.max():
            assert numbers.min() == each.least <= each.low < each.high <= each.most == numbers.max()
    assert overall(found).least == min(each.least for each in found)


@given(st.floats(-1e6, 1e6))
def test_an_even_image_is_neither_black_nor_white(value: float) -> None:
    values = np.full(9, value)
    (each,) = ranges_of(values[None])
    assert set(to_bytes(values, each.low, each.high)) <= {127, 128}


def test_bytes_stay_as_they_are() -> None:
    levels = np.arange(256, dtype=np.uint8)
    assert ranges_of(levels[None]) == (BYTES,)
    assert (to_bytes(levels, BYTES.low, BYTES.high) == levels).all()


def test_colours_share_one_range_and_other_channels_do_not() -> None:
    ramp = np.arange(1000, dtype=np.uint16)
    colours = ranges_of(np.stack([ramp, 2 * ramp, 3 * ramp]))
    assert len(set(colours)) == 1
    others = ranges_of(np.stack([ramp, 2 * ramp]))
    assert others[1].high == 2 * others[0].high
