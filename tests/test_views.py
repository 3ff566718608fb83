"""What tiles see of an image: mirror images beyond its border, and the image turned."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from useg.images.windows import windows_of
from useg.unet.geometry import plan_tiles
from useg.unet.settings import UNetSettings
from useg.views import read_mirrored, symmetric_views


@settings(max_examples=40, deadline=None)
@given(
    size=st.lists(st.integers(1, 20), min_size=2, max_size=3),
    padding=st.sampled_from(["valid", "same"]),
    largest=st.integers(1, 60),
)
def test_beyond_the_border_lie_mirror_images(size: list[int], padding: str, largest: int) -> None:
    geometry = UNetSettings.model_validate({"depth": 1, "padding": padding}).geometry
    image = np.arange(2 * np.prod(size)).reshape(2, *size)
    padded = np.pad(image, [(0, 0)] + [(60, 60)] * len(size), mode="reflect")
    for tile in plan_tiles([geometry] * len(size), size, [largest] * len(size)):
        window = tuple(slice(60 + span.first, 60 + span.last) for span in tile.spans)
        np.testing.assert_array_equal(read_mirrored(windows_of(image), tile), padded[(slice(None), *window)])


@pytest.mark.parametrize("flips", [[], ["x"], ["y", "transpose"], ["x", "y", "transpose"]])
@pytest.mark.parametrize("dims", [2, 3])
def test_views_are_all_different_and_can_be_undone(flips: list[str], dims: int) -> None:
    array = np.arange(2 * 4**dims).reshape(2, *[4] * dims)
    views = symmetric_views(flips, dims)
    assert len({view.apply(array).tobytes() for view in views}) == len(views) == 2 ** len(flips)
    for view in views:
        np.testing.assert_array_equal(view.undo(view.apply(array)), array)
        # Depth and channels are never turned.
        assert view.apply(array).shape == array.shape
        assert {tuple(sorted(c.ravel())) for c in view.apply(array)} == {tuple(sorted(c.ravel())) for c in array}


@given(st.lists(st.integers(1, 9), min_size=2, max_size=3), st.data())
def test_a_turned_image_is_read_in_windows(size: list[int], data: st.DataObject) -> None:
    array = np.arange(2 * np.prod(size)).reshape(2, *size)
    ends = [sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in size]
    window = tuple(slice(start, max(stop, start + 1)) for start, stop in ends)
    for view in symmetric_views(["x", "y", "transpose"], len(size)):
        turned, there = view.of(windows_of(array)), view.turn(window, size)
        assert turned.header.size == view.turn_size(size) == view.apply(array).shape[1:]
        np.testing.assert_array_equal(turned.read(there), view.apply(array)[(slice(None), *there)])
        np.testing.assert_array_equal(view.undo(turned.read(there)), array[(slice(None), *window)])
