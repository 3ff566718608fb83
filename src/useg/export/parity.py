"""Whether another engine gives what torch gives: the largest difference over tiles of random sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from useg.runner import Runner
from useg.unet.settings import UNetSettings

SIZES, TOLERANCE = 20, 1e-4
"""How many sizes are tried, and by how much probabilities may differ."""
STEPS = 4
"""Sizes lie up to so many steps of the network's stride above its smallest."""


def random_sizes(settings: UNetSettings, seed: int = 0, first: int = 0) -> list[tuple[int, ...]]:
    """Sizes that the network can take, each axis drawn by itself, from `first` steps above the smallest."""
    random = np.random.default_rng(seed)
    steps = random.integers(first, first + STEPS, (SIZES, settings.dims)).tolist()
    return [
        tuple(axis.smallest + axis.stride * step for axis, step in zip(settings.axes, each, strict=True))
        for each in steps
    ]


def largest_difference(ours: Runner, theirs: Runner, settings: UNetSettings, sizes: Sequence[tuple[int, ...]]) -> float:
    """The largest difference of any number that two runners give for noise of these sizes; NaN where one gives NaN."""
    random, worst = np.random.default_rng(0), 0.0
    for size in sizes:
        tile = random.normal(size=(settings.in_channels, *size)).astype(np.float32)
        keep = [slice(0, axis.output_size(n)) for axis, n in zip(settings.axes, size, strict=True)]
        worst = float(np.maximum(worst, np.abs(ours(tile, keep) - theirs(tile, keep)).max()))
    return worst
