"""The engine of a prediction: what of a tile's output it returns, and how much memory a tile takes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import axes_apart, make_card, make_network
from useg.errors import SettingsError
from useg.runner import TorchRunner, bytes_per_pixel, largest_tile
from useg.unet.settings import UNetSettings


@settings(max_examples=25, deadline=None)
@given(
    size=st.lists(st.integers(1, 1000), min_size=2, max_size=3),
    depth=st.integers(0, 3),
    padding=st.sampled_from(["valid", "same"]),
    factor=st.sampled_from([1.0, 1.1, 2.5, 30.0]),
    data=st.data(),
)
def test_the_largest_tile_keeps_the_limit(
    size: list[int], depth: int, padding: str, factor: float, data: st.DataObject
) -> None:
    chosen = UNetSettings.model_validate(
        {"dims": len(size), "depth": depth, "padding": padding, "width": 2} | data.draw(axes_apart(len(size), depth))
    )
    card, axes = make_card(chosen), chosen.axes
    limit = int(np.prod([float(g.smallest_tile) for g in axes]) * bytes_per_pixel(card) * factor) + 1
    largest = largest_tile(card, size, limit)
    # What is really read, tile by tile along each axis, is what must fit.
    reads = [max(s.length for s in g.tiles_within(n, most)) for g, n, most in zip(axes, size, largest, strict=True)]
    assert np.prod([float(n) for n in reads]) * bytes_per_pixel(card) <= limit


def test_slices_are_read_whole_and_few_at_a_time() -> None:
    """A halo of 2 slices costs little, one of 180 pixels much."""
    card = make_card(UNetSettings(dims=3, depth=4, width=8, padding="same", neighbours=1))
    slices, *edges = largest_tile(card, (400, 512, 512), int(4_000_000 * bytes_per_pixel(card)))
    assert edges == [512, 512] and 10 < slices < 20


def test_the_runner_returns_the_window_and_leaves_the_network_alone() -> None:
    network = make_network(UNetSettings(padding="same", norm="batch", depth=2, width=3), 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tile = np.random.default_rng(0).normal(size=(1, 32, 48)).astype(np.float32)
    runner = TorchRunner(network, "cpu", "float32")
    whole = runner(tile, [slice(0, 32), slice(0, 48)])
    np.testing.assert_allclose(runner(tile, [slice(3, 9), slice(40, 48)]), whole[:, 3:9, 40:48], atol=1e-5)
    assert all((value == before[name]).all() for name, value in network.state_dict().items())


def test_lower_precision_takes_half_the_memory() -> None:
    card = make_card(UNetSettings(padding="same", norm="batch", width=64))
    assert 0.45 < bytes_per_pixel(card, "bfloat16") / bytes_per_pixel(card) < 0.55
    with pytest.raises(SettingsError, match="allow more memory"):
        largest_tile(card, (500, 500), 1_000_000)
