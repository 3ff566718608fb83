"""Blocks of an image: they cover it once, keep to the memory allowed, and are empty by a rule that can be told."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models import make_card
from useg.blocks import BlockPlan, choose_block, fits_in_memory, is_empty
from useg.errors import SettingsError
from useg.predict import PredictSettings
from useg.runner import bytes_per_pixel
from useg.unet.settings import UNetSettings


@given(st.lists(st.integers(0, 255), min_size=1, max_size=30), st.floats(0, 300))
def test_a_block_is_empty_by_the_range_of_its_values(values: list[int], spread: float) -> None:
    pixels = np.array(values, np.uint8).reshape(1, 1, -1)
    assert is_empty(pixels, [spread]) == (max(values) - min(values) < 0.1 * spread)
    assert not is_empty(pixels, [])
    # All channels count: one with something in it is enough.
    assert not is_empty(np.concatenate([np.full_like(pixels, 7), pixels]), [300.0, 0.0])


@given(
    size=st.lists(st.integers(1, 100_000), min_size=2, max_size=3),
    padding=st.sampled_from(["same", "valid"]),
    depth=st.integers(0, 4),
    megabytes=st.floats(1, 4000),
    precision=st.sampled_from(["float32", "bfloat16"]),
)
def test_blocks_keep_to_the_memory(size: list[int], padding: str, depth: int, megabytes: float, precision: str) -> None:
    chosen = UNetSettings.model_validate(
        {"dims": len(size), "padding": padding, "depth": depth, "width": 8, "norm": "batch"}
    )
    card, g = make_card(chosen), chosen.geometry
    limit = int(megabytes * 1e6)
    try:
        chunk, block = choose_block(card, size, 1, limit, PredictSettings(precision=precision))
    except SettingsError:
        assert bytes_per_pixel(card, precision) * g.smallest_tile ** len(size) > 0.8 * limit
        return
    tiles = []
    for n, c, b in zip(size, chunk, block, strict=True):
        assert b % c == 0 and c % g.stride == 0
        tiles.append(max(g.tile(n, s, min(s + b, n)).length for s in {0, b * (n // b // 2), (n - 1) // b * b}))
    if min(block) > g.stride:
        assert np.prod([float(n) for n in tiles]) * bytes_per_pixel(card, precision) <= limit


def test_what_fits_in_memory() -> None:
    card = make_card(UNetSettings(padding="same", norm="batch", width=16))
    assert fits_in_memory(card, (2000, 2000), 4_000_000, 1_000_000_000, PredictSettings(), objects=True)
    assert not fits_in_memory(card, (20_000, 20_000), 400_000_000, 4_000_000_000, PredictSettings(), objects=False)
    assert not fits_in_memory(
        card, (50_000, 50_000), 2_500_000_000, 10**12, PredictSettings(), objects=False
    )  # too large to be read


def test_a_plan_numbers_its_blocks() -> None:
    plan = BlockPlan.model_construct(size=(50, 70), block=(32, 32))
    covered = np.zeros(plan.size, int)
    for index in range(plan.blocks):
        covered[plan.core(index)] += 1
    assert plan.blocks == 6 and (covered == 1).all()
